"""SEANet as a chain of streaming layers, built from the weights of a transformers EnCodec decoder."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from engine.runtime.streaming_layers import Conv, Layer, Lstm, Residual
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers.models.encodec.modeling_encodec import EncodecDecoder


# Values in the largest matrix of a layer. On a CPU it should stay in the cache and be memory that the allocator
# reuses; on an accelerator the bound only keeps a long file from filling the memory.
_CPU_VALUES: Final = 1 << 20
_ACCELERATOR_VALUES: Final = 1 << 26


class StreamingNetwork:
    """A chain of layers, for any number of streams: ``step`` with the states that ``new_states`` made.

    Where a layer would make too large a matrix, its rows are split and every piece runs to the end of the chain:
    the early layers, whose weights are what takes time, see many rows at once, the late ones few.

    Attributes:
        rate: output rows per input row.
        delay: output rows held back behind the newest input row, once a stream has started.

    Args:
        layers: in order.
        values: how many values the largest matrix of a layer may have, per stream.
    """

    def __init__(self, layers: list[Layer[Any]], values: int) -> None:
        self.layers = tuple(layers)
        self._limits = [max(1, values // layer.width) for layer in layers]
        self.rate, self.delay = 1, 0
        for layer in layers:
            self.rate *= layer.rate
            self.delay = self.delay * layer.rate + layer.delay

    def new_states(self, batch: int, frame: int = 0) -> list[Any]:
        """One state per layer, before the first row, which is that of this frame."""
        states = [layer.new_state(batch) for layer in self.layers]
        for layer, state in zip(self.layers, states, strict=True):
            layer.begin_at(frame, state)
        return states

    def step(self, rows: Tensor | None, states: list[Any], last: bool = False) -> Tensor | None:
        """Run rows ``[batch, n, in]`` through all layers: the final rows ``[batch, m, out]``; None is no row.

        ``last`` ends the stream; its states are spent then. May overwrite ``rows``.
        """
        return self._run(0, rows, states, last)

    def _run(self, first: int, rows: Tensor | None, states: list[Any], last: bool) -> Tensor | None:
        for index in range(first, len(self.layers)):
            if rows is not None and rows.shape[1] > self._limits[index]:
                # The same number of rows in each, so that no piece is left with a few.
                pieces = rows.chunk(math.ceil(rows.shape[1] / self._limits[index]), 1)
                results = [self._run(index, piece, states, last and piece is pieces[-1]) for piece in pieces]
                final = [result for result in results if result is not None]
                return torch.cat(final, 1) if final else None
            rows = self.layers[index].step(rows, states[index], last)
            if rows is None and not last:
                return None
        return rows


def build_network(decoder: EncodecDecoder, device: torch.device, dtype: torch.dtype) -> StreamingNetwork:
    """Copy a SEANet decoder's weights, weight norm folded in, into layers that run on a stream.

    The last convolution stays in float32, so that the samples are not rounded to a half float's few bits.

    Raises:
        RequestError: ``unsupported`` when the padding mode or a layer has no streaming form.
    """
    # Importing them costs seconds and is done when there is a model to convert: whoever has one has paid already.
    from transformers.models.encodec import modeling_encodec as reference

    layers: list[Layer[Any]] = []
    activate = False
    for module in decoder.layers:
        if isinstance(module, nn.ELU):
            activate = True
            continue
        if isinstance(module, reference.EncodecConv1d):
            final = module is decoder.layers[-1]
            layers.append(_conv(module, activate, device, torch.float32 if final else dtype))
        elif isinstance(module, reference.EncodecConvTranspose1d):
            layers.append(_transposed(module, activate, device, dtype))
        elif isinstance(module, reference.EncodecResnetBlock):
            layers.append(_residual(module, device, dtype))
        elif isinstance(module, reference.EncodecLSTM):
            lstm = copy.deepcopy(module.lstm).to(device=device, dtype=dtype).requires_grad_(False).eval()
            lstm.batch_first = True
            layers.append(Lstm(lstm))
        else:
            raise RequestError(ErrorCode.UNSUPPORTED, "codec", type(module).__name__, "SEANet layers")
        activate = False
    return StreamingNetwork(layers, _CPU_VALUES if device.type == "cpu" else _ACCELERATOR_VALUES)


def _weights(module: Any, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Copies of a convolution's weight, its weight norm folded in, and bias."""
    return [
        value.detach().to(device=device, dtype=dtype, copy=True) for value in (module.conv.weight, module.conv.bias)
    ]


def _conv(module: Any, activate: bool, device: torch.device, dtype: torch.dtype) -> Conv:
    weight, bias = _weights(module, device, dtype)
    dilation = int(module.conv.dilation[0])
    total = (weight.shape[2] - 1) * dilation
    right = 0 if module.causal else total // 2
    pad = (total - right, right)
    return Conv(weight, bias, dilation=dilation, pad=pad, pad_mode=module.pad_mode, activate=activate)


def _transposed(module: Any, activate: bool, device: torch.device, dtype: torch.dtype) -> Conv:
    weight, bias = _weights(module, device, dtype)
    channels, out, kernel = weight.shape
    rate = int(module.conv.stride[0])
    assert kernel == 2 * rate, (kernel, rate)
    right = math.ceil(rate * module.trim_right_ratio) if module.causal else rate // 2
    # Output row t * rate + r is x[t] @ w[r] + x[t - 1] @ w[r + rate]: the later half belongs to the older tap.
    taps = weight.view(channels, out, 2, rate).flip(2).permute(3, 1, 0, 2).reshape(rate * out, channels, 2)
    return Conv(
        taps,
        bias.repeat(rate),
        pad=(1, 1),
        pad_mode="constant",
        activate=activate,
        rate=rate,
        trim=(rate - right, right),
    )


def _residual(module: Any, device: torch.device, dtype: torch.dtype) -> Residual:
    _, inner, _, outer = module.block
    weight, bias = _weights(outer, device, dtype)
    shortcut = None
    if not isinstance(module.shortcut, nn.Identity):
        matrix, shortcut_bias = _weights(module.shortcut, device, dtype)
        shortcut, bias = matrix.squeeze(2), bias + shortcut_bias
    return Residual(_conv(inner, False, device, dtype), weight.squeeze(2), bias, shortcut)
