"""Whether onnxruntime multiplies matrices of few bits as the plain product does, on this machine."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from engine.runtime.quantised import BlockWeight, Form

TOLERANCE = 1e-4
"""Of the largest number that is expected. Sums in another order differ by a hundredth of it, another way to round by dozens."""

_ROWS = (2, 4, 6)
_SHAPES: tuple[tuple[Form, int, int], ...] = (("int8", 256, 96), ("int8", 40, 33), ("int4", 64, 48))


@cache
def why_not() -> str | None:
    """Multiply a few small matrices both ways, once for this process.

    Returns:
        None where the products agree and a row's does not depend on the rows beside it; else what is wrong, in words.
    """
    try:
        for form, inputs, outputs in _SHAPES:
            if (wrong := _compared(form, inputs, outputs)) is not None:
                return wrong
    except Exception as error:  # a library that is missing or half there, or a build without these operators
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _compared(form: Form, inputs: int, outputs: int) -> str | None:
    rows = torch.arange(_ROWS[-1] * inputs, dtype=torch.float32).mul_(0.7).sin_().view(_ROWS[-1], inputs)
    rows *= torch.linspace(0.1, 3, _ROWS[-1]).unsqueeze(1)
    weight = BlockWeight(
        torch.arange(outputs * inputs, dtype=torch.float32).mul_(1.3).cos_().view(outputs, inputs), form
    )
    multiply = Product(weight)
    expected = weight.product(rows)
    made = multiply(rows)
    if float((made - expected).abs().max()) > TOLERANCE * float(expected.abs().max()):
        return f"products of {form} that differ from the plain ones"
    if any(not torch.equal(multiply(rows[:few]), made[:few]) for few in _ROWS):
        return f"products of {form} that depend on how many rows there are"
    return None


class Product:
    """A matrix in few bits, by onnxruntime."""

    def __init__(self, weight: BlockWeight) -> None:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        outputs, inputs = weight.shape
        node = helper.make_node(
            "MatMulNBits",
            ["x", "codes", "scales"],
            ["y"],
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=weight.bits,
            block_size=weight.block,
            accuracy_level=4,
        )
        graph = helper.make_graph(
            [node],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1, inputs])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1, outputs])],
            [
                numpy_helper.from_array(weight.codes.numpy(), "codes"),
                numpy_helper.from_array(weight.scales.flatten().numpy(), "scales"),
            ],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: Tensor) -> Tensor:
        made = self._session.run(None, {"x": rows.unsqueeze(1).numpy()})[0]
        return torch.from_numpy(made).squeeze(1)
