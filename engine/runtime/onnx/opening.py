"""onnxruntime's sessions as this package wants them, and what it does with the codes that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor

from engine.runtime.onnx.graph import OPS, ROUNDED_ACTIVATIONS, given_outside, serialised

LEVEL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
"""The graph is as it should be: further rules would join nodes that are faster apart."""
_ERRORS = 3
"""Of onnxruntime's log: errors and worse only."""


def open_session(model: bytes, weights: Mapping[str, Tensor], threads: int, *, level: Any = LEVEL) -> Any:
    """A session on the CPU.

    Args:
        model: serialised.
        weights: given from outside. onnxruntime goes on reading their memory, but for codes that it packs; see `packs_codes`.
        threads: that a run may take.
        level: what onnxruntime may change of the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS
    options.graph_optimization_level = level
    # Between two steps others want the cores: torch's threads, which decode, and the host's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor.numpy()) for tensor in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def packs_codes(bits: int, block: int) -> bool:
    """Whether onnxruntime makes a layout of its own of such codes when it opens a session, and never reads the given ones again.

    It does where it has a kernel for this processor. Tried out: a product is the same after its codes were written over.
    """
    inputs, outputs = 2 * block, 32
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 256, (outputs, 2, block * bits // 8), dtype=torch.uint8, generator=generator)
    weights = {"codes": codes, "scales": torch.ones(2 * outputs)}
    form: dict[str, Any] = {"K": inputs, "N": outputs, "bits": bits, "block_size": block}
    node = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain=OPS, accuracy_level=ROUNDED_ACTIVATIONS, **form
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, inputs])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, outputs])
    held = [given_outside(name, value) for name, value in weights.items()]
    session = open_session(serialised(helper.make_graph([node], "product", [x], [y], held)), weights, 1)
    asked = {"x": torch.randn(2, inputs, generator=generator).numpy()}
    before = session.run(None, asked)[0]
    codes.fill_(1 << bits - 1 if bits == 8 else 0x88)
    return bool(np.array_equal(before, session.run(None, asked)[0]))
