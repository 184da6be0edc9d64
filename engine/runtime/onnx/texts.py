"""Keys and values of a text by onnxruntime: a product for each layer, once for a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engine.runtime.onnx.graph import text_graph, text_linears_of
from engine.runtime.onnx.opening import open_session, packs_codes
from engine.runtime.quantised import BlockWeight

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM


class Texts:
    """What a model's cross-attention looks at, of matrices in few bits. Never changes; any thread, several at a time.

    Texts are prepared beside a thread that steps, so a run takes one thread.

    Args:
        lm: the model, packed; see `covers`. It is not held.
    """

    def __init__(self, lm: MusicgenLM) -> None:
        graph = text_graph(lm)
        weights = [linear.rounded for linear in text_linears_of(lm)]
        self._shape = lm.config.layers, 2 * lm.config.dim
        self._session = open_session(graph.model, graph.weights, 1)
        packed = all(packs_codes(weight.bits, weight.block) for weight in weights if isinstance(weight, BlockWeight))
        # Read as long as the session lives.
        self._kept = [value for value in graph.weights.values() if not (packed and value.dtype is torch.uint8)]

    @staticmethod
    def covers(lm: MusicgenLM) -> bool:
        """Whether the model looks at texts by matrices in few bits; those in single precision are torch's to multiply."""
        linears = text_linears_of(lm)
        return bool(linears) and all(isinstance(linear.rounded, BlockWeight) for linear in linears)

    def __call__(self, text: Tensor) -> Tensor:
        """Projected text ``[length, dim]`` to ``[layers, length, 2 · dim]``: see `engine.runtime.runner.Runner.texts`."""
        length, dim = text.shape
        layers, width = self._shape
        # Kernels for an odd number of rows round otherwise than those for an even one.
        even = length + length % 2
        heard = text.contiguous()
        if even > length:
            heard = torch.cat((heard, heard.new_zeros(1, dim)))
        told = torch.empty(layers, even, width)
        binding = self._session.io_binding()
        binding.bind_input("x", "cpu", 0, np.float32, (even, dim), heard.data_ptr())
        for index, layer in enumerate(told):
            binding.bind_output(f"told{index}", "cpu", 0, np.float32, (even, width), layer.data_ptr())
        self._session.run_with_iobinding(binding)
        return told[:, :length]
