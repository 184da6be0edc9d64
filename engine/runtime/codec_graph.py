"""A codec's decoder through onnxruntime: the streaming layers of a network, as far as they have a form as a graph.

The graph takes and gives the very states that the layers keep, so that each call may go either way. It does what nearly every
call is: some rows in the middle of a stream. The layers themselves do its beginning, where padding is still to come, and its end.

It multiplies with weights that were laid out once for the kernels, where torch lays operands out at every call, and its threads
take work from each other instead of waiting for each other at every operation: a core that another process has taken costs a share
of the speed and not all of it. Everything is in single precision; sums are made in another order than by the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from engine.runtime.activations import Activation, Elu
from engine.runtime.spectral_layers import ConvNeXt, Head, Normalised
from engine.runtime.streaming_layers import Conv, Layer, Lstm, Recurrence, Residual, Window

_FLOAT: Final = TensorProto.FLOAT
_IR_VERSION, _OPSET = 10, 21
_WARNINGS = 3
"""Of onnxruntime's log: errors and worse only."""

_TO_THE_END = 1 << 40
_MOST_ROWS = 16
"""Input rows at once: more of them gain nothing, and their matrices leave the cache."""

Array = NDArray[Any]


class DecoderGraph:
    """The first layers of a network as one graph. Safe to share between streams and threads, as they are.

    Args:
        layers: of the network, in order; at least the first of them has a form, see `covered`.
        threads: of the CPU.

    Attributes:
        layers: how many of them it runs; what follows gets the rows that `step` returns.
        channels: of its input.
    """

    def __init__(self, layers: Sequence[Layer[Any]], threads: int) -> None:
        import onnxruntime

        self.layers = covered(layers)
        assert self.layers
        self._layers = layers[: self.layers]
        first = _convolution(self._layers[0])
        assert first is not None
        self.channels = first.channels
        writer = _Writer(self.channels)
        rows = "rows"
        for layer in self._layers:
            rows = _FORMS[type(layer)](writer, layer, rows)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _WARNINGS
        # Between two chunks the cores are the model's, and the host's.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(
            writer.model(rows).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs, self._outputs = writer.inputs, [*writer.outputs, "made"]

    def takes(self, rows: Tensor, states: Sequence[Any]) -> bool:
        """Whether it can do this call: some rows of streams that are past their beginning."""
        return rows.shape[1] > 0 and all(
            _runs(layer, state) for layer, state in zip(self._layers, states, strict=False)
        )

    def step(self, rows: Tensor, states: Sequence[Any]) -> Tensor:
        """Run rows ``[batch, n, in]`` through its layers: ``[batch, m, out]``. What `takes` refuses is not for it."""
        if rows.shape[1] <= _MOST_ROWS:
            return self._step(rows, states)
        pieces = rows.chunk(math.ceil(rows.shape[1] / _MOST_ROWS), 1)
        return torch.cat([self._step(piece, states) for piece in pieces], 1)

    def _step(self, rows: Tensor, states: Sequence[Any]) -> Tensor:
        given = [value for layer, state in zip(self._layers, states, strict=False) for value in _values(layer, state)]
        feeds = {name: value.contiguous().numpy() for name, value in zip(self._inputs, [rows, *given], strict=True)}
        *left, made = cast("list[Array]", self._session.run(self._outputs, feeds))
        rest = iter(left)
        for layer, state in zip(self._layers, states, strict=False):
            if isinstance(state, Recurrence):
                layers = range(len(cast(Lstm, layer).steps))
                pairs = [(torch.from_numpy(next(rest)), torch.from_numpy(next(rest))) for _ in layers]
                state.hidden, state.cell = (torch.stack(values) for values in zip(*pairs, strict=True))
            elif _past(layer):
                state.rows = torch.from_numpy(next(rest))
        return torch.from_numpy(made)


def covered(layers: Sequence[Layer[Any]]) -> int:
    """How many of the first layers have a form as a graph: all of them, or all but the last, or none.

    They have none off a CPU and in another precision than single.
    """
    if not layers or _convolution(layers[0]) is None:
        return 0
    count = next((count for count, layer in enumerate(layers) if not _has_form(layer)), len(layers))
    return count if count >= len(layers) - 1 else 0


def _has_form(layer: Layer[Any]) -> bool:
    match layer:
        case Conv():
            known = layer.activation is None or isinstance(layer.activation, Elu)
            return known and _plain(layer.weight)
        case Residual():
            return all(isinstance(one, Elu) for one in layer.activations) and _plain(layer.weight)
        case Lstm():
            return bool(layer.steps) and _plain(layer.parameter)
        case Normalised():
            return layer.conv.activation is None and layer.conv.rate == 1 and _plain(layer.conv.weight)
        case ConvNeXt():
            return _plain(layer.taps)
        case Head():
            return _plain(layer.weight)
    return False


def _plain(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype is torch.float32


def _convolution(layer: Layer[Any]) -> Conv | None:
    match layer:
        case Conv():
            return layer
        case Residual():
            return layer.inner
        case Normalised():
            return layer.conv
    return None


def _past(layer: Layer[Any]) -> int:
    """Rows that a convolution remembers in the middle of a stream."""
    if isinstance(layer, ConvNeXt):
        return layer.past
    conv = _convolution(layer)
    return 0 if conv is None else conv.span


def _runs(layer: Layer[Any], state: Any) -> bool:
    """Whether a layer's stream is past its beginning."""
    if not isinstance(state, Window):
        return True
    held = 0 if state.rows is None else state.rows.shape[1]
    return state.started and not state.skip and held == _past(layer)


def _values(layer: Layer[Any], state: Any) -> list[Tensor]:
    if isinstance(state, Recurrence):
        return [value for pair in zip(state.hidden.unbind(), state.cell.unbind(), strict=True) for value in pair]
    return [state.rows] if _past(layer) else []


class _Writer:
    """Writes a graph down, operation by operation: ``rows`` are ``[batch, n, channels]``, ``flat`` is ``[batch · n, channels]``.

    Args:
        channels: of the input.
    """

    def __init__(self, channels: int) -> None:
        self.inputs = ["rows"]
        self.outputs: list[str] = []
        self._infos = [_info("rows", ["batch", "frames", channels])]
        self._kept: list[ValueInfoProto] = []
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._names = 0
        self._batch = ""

    def constant(self, value: Tensor | Array) -> str:
        """A weight."""
        name = f"weight{len(self._constants)}"
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self._constants[name] = np.ascontiguousarray(array)
        return name

    def whole(self, *values: int) -> str:
        """Whole numbers, one tensor for all that are equal."""
        name = "whole" + "_".join(map(str, values))
        self._constants.setdefault(name, np.array(values, np.int64))
        return name

    def do(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operation with one result, which is named."""
        return self.several(kind, *inputs, count=1, **attributes)[0]

    def several(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """An operation with several results."""
        names = [f"value{self._names + index}" for index in range(count)]
        self._names += count
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def call(self, value: str, name: str) -> None:
        """Give a value another name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def remembered(self, *shape: int) -> str:
        """A state as it comes in: ``[batch, *shape]``; `remember` says what it becomes, in the same order."""
        name = f"state{len(self.inputs)}"
        self.inputs.append(name)
        self._infos.append(_info(name, ["batch", *shape]))
        return name

    def remember(self, value: str, *shape: int) -> None:
        """A state as it goes out."""
        name = f"kept{len(self.outputs)}"
        self.outputs.append(name)
        self._kept.append(_info(name, ["batch", *shape]))
        self.call(value, name)

    def flat(self, rows: str, channels: int) -> str:
        """Rows of all streams one after the other."""
        return self.do("Reshape", rows, self.whole(-1, channels))

    def rows(self, flat: str, channels: int) -> str:
        """Back to the rows of each stream."""
        if not self._batch:
            self._batch = self.do("Shape", "rows", start=0, end=1)
        return self.do("Reshape", flat, self.do("Concat", self._batch, self.whole(-1, channels), axis=0))

    def slice(self, rows: str, first: int, end: int) -> str:
        """Some rows; ``end`` is counted from the last one, 0 or below."""
        return self.do("Slice", rows, self.whole(first), self.whole(end or _TO_THE_END), self.whole(1))

    def elu(self, values: str, activation: Activation) -> str:
        """See `engine.runtime.activations.Elu`; the kernel of an exponential is twice as fast as that of onnxruntime's own."""
        assert isinstance(activation, Elu)
        below = self.do("Exp", self.do("Min", values, self._number(0.0)))
        below = self.do("Sub", below, self._number(1.0))
        if activation.alpha != 1:
            below = self.do("Mul", below, self._number(activation.alpha))
        return self.do("Add", self.do("Relu", values), below)

    def product(self, flat: str, weight: Tensor, bias: Tensor | str) -> str:
        """``flat @ weight + bias``; the bias is a vector, or rows that were made before."""
        return self.do("Gemm", flat, self.constant(weight), bias if isinstance(bias, str) else self.constant(bias))

    def norm(self, rows: str, affine: tuple[Tensor, Tensor, float]) -> str:
        """A norm over channels."""
        weight, bias, eps = affine
        scale, shift = self.constant(weight), self.constant(bias)
        return self.do("LayerNormalization", rows, scale, shift, axis=-1, epsilon=eps)

    def extended(self, rows: str, past: int, channels: int) -> str:
        """Rows behind those that are remembered."""
        if not past:
            return rows
        joined = self.do("Concat", self.remembered(past, channels), rows, axis=1)
        self.remember(self.slice(joined, -past, 0), past, channels)
        return joined

    def convolved(self, extended: str, conv: Conv) -> str:
        """The products of a convolution, without its activation: flat."""
        out, channels = len(conv.bias), conv.channels
        if conv.narrow:
            return self._narrow(extended, conv, out)
        weight = conv.weight.view(conv.taps, channels, out)
        if conv.taps == 2:
            taps = [self._tap(extended, conv, tap) for tap in range(2)]
            windows = self.do("Concat", *taps, axis=2)
            return self.product(self.flat(windows, 2 * channels), weight.view(-1, out), conv.bias)
        # Tap by tap, each on top of the last: windows of more taps cost more to lay out than to multiply.
        made: Tensor | str = conv.bias
        for tap in range(conv.taps):
            made = self.product(self.flat(self._tap(extended, conv, tap), channels), weight[tap], made)
        assert isinstance(made, str)
        return made

    def body(self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> GraphProto:
        """What was written so far as the body of a loop, whose weights belong to the graph around it."""
        return helper.make_graph(self._nodes, name, inputs, outputs)

    def inside(self) -> _Writer:
        """A writer for the body of a loop, with the same weights."""
        inner = _Writer.__new__(_Writer)
        inner.__dict__.update(self.__dict__, _nodes=[], _names=self._names + 100_000)
        return inner

    def model(self, made: str) -> ModelProto:
        """The whole graph, which gives the states as they have become and the rows ``made``."""
        self.call(made, "made")
        weights = [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        outputs = [*self._kept, _info("made", ["batch", "made_rows", None])]
        graph = helper.make_graph(self._nodes, "decoder", self._infos, outputs, weights)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _number(self, value: float) -> str:
        name = f"number{value:g}"
        self._constants.setdefault(name, np.array(value, np.float32))
        return name

    def _tap(self, extended: str, conv: Conv, tap: int) -> str:
        return self.slice(extended, tap * conv.dilation, tap * conv.dilation - conv.span)

    def _narrow(self, extended: str, conv: Conv, out: int) -> str:
        """Few outputs: one product of single rows, summed along the windows."""
        weight = conv.weight  # [channels, taps * out]
        width = conv.taps * out
        nothing = torch.zeros(width)
        taps = self.rows(self.product(self.flat(extended, conv.channels), weight, nothing), width)
        ends, axes = self.whole, self.whole(1, 2)
        parts = []
        for tap in range(conv.taps):
            end = tap * conv.dilation - conv.span or _TO_THE_END
            first = (tap * conv.dilation, tap * out)
            parts.append(self.do("Slice", taps, ends(*first), ends(end, (tap + 1) * out), axes))
        return self.flat(self.do("Add", self.do("Sum", *parts), self.constant(conv.bias)), out)


def _info(name: str, shape: list[Any]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _FLOAT, shape)


def _write_conv(writer: _Writer, layer: Conv, rows: str) -> str:
    if layer.activation is not None:
        rows = writer.elu(rows, layer.activation)
    flat = writer.convolved(writer.extended(rows, layer.span, layer.channels), layer)
    return writer.rows(flat, len(layer.bias) // layer.rate)


def _write_residual(writer: _Writer, layer: Residual, rows: str) -> str:
    conv, (first, second) = layer.inner, layer.activations
    extended = writer.extended(rows, conv.span, conv.channels)
    hidden = writer.elu(writer.convolved(writer.elu(extended, first), conv), second)
    centre = writer.flat(writer.slice(extended, conv.pad_left, conv.pad_left - conv.span), conv.channels)
    made = writer.product(hidden, layer.weight, layer.bias)
    around = layer.shortcut
    made = writer.do("Add", made, centre) if around is None else writer.product(centre, around.t(), made)
    return writer.rows(made, conv.channels)


def _write_lstm(writer: _Writer, layer: Lstm, rows: str) -> str:
    size, made = layer.lstm.hidden_size, rows
    for weight, recurrent, bias in layer.steps:
        hidden, cell = writer.remembered(size), writer.remembered(size)
        gates = writer.rows(writer.product(writer.flat(made, size), weight, bias), 4 * size)
        body = _recurrence(writer.inside(), writer.constant(recurrent), size)
        hidden, cell, made = writer.several(
            "Scan",
            hidden,
            cell,
            gates,
            count=3,
            body=body,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
        writer.remember(hidden, size)
        writer.remember(cell, size)
    return writer.do("Add", made, rows)


def _recurrence(writer: _Writer, recurrent: str, size: int) -> GraphProto:
    """One step: hidden and cell state and the gates' share of the input to both states and the row that comes out."""
    total = writer.do("Add", "gates", writer.do("MatMul", "hidden", recurrent))
    opened, candidate = writer.several("Split", total, writer.whole(3 * size, size), count=2, axis=1)
    inward, forget, outward = writer.several("Split", writer.do("Sigmoid", opened), count=3, axis=1, num_outputs=3)
    entered = writer.do("Mul", inward, writer.do("Tanh", candidate))
    cell = writer.do("Add", writer.do("Mul", forget, "cell"), entered)
    hidden = writer.do("Mul", outward, writer.do("Tanh", cell))
    names = {"next_hidden": hidden, "next_cell": cell, "made_row": hidden}
    for name, value in names.items():
        writer.call(value, name)
    inputs = [_info(name, ["batch", width]) for name, width in (("hidden", size), ("cell", size), ("gates", 4 * size))]
    return writer.body("step", inputs, [_info(name, ["batch", size]) for name in names])


def _write_normalised(writer: _Writer, layer: Normalised, rows: str) -> str:
    conv = layer.conv
    flat = writer.convolved(writer.extended(rows, conv.span, conv.channels), conv)
    return writer.rows(writer.norm(flat, layer.norm), len(conv.bias))


def _write_convnext(writer: _Writer, layer: ConvNeXt, rows: str) -> str:
    extended = writer.extended(rows, layer.past, layer.channels)
    windows = writer.do("Gather", extended, _windows(writer, rows, layer.past + 1), axis=1)
    weighed = writer.do("Mul", windows, writer.constant(layer.taps.t()))
    hidden = writer.do("ReduceSum", weighed, writer.whole(2), keepdims=0)
    hidden = writer.do("Add", hidden, writer.constant(layer.bias))
    hidden = writer.flat(writer.norm(hidden, layer.norm), layer.channels)
    (expand, expand_bias), (contract, contract_bias) = layer.expand, layer.contract
    hidden = writer.do("Gelu", writer.product(hidden, expand.t(), expand_bias))
    made = writer.product(hidden, contract.t(), contract_bias)
    return writer.do("Add", writer.rows(made, layer.channels), rows)


def _windows(writer: _Writer, rows: str, taps: int) -> str:
    """Which extended rows belong to the window of each row: ``[n, taps]``."""
    count = writer.do("Squeeze", writer.do("Shape", rows, start=1, end=2), writer.whole(0))
    zero, one = writer.constant(np.array(0)), writer.constant(np.array(1))
    first = writer.do("Unsqueeze", writer.do("Range", zero, count, one), writer.whole(1))
    return writer.do("Add", first, writer.constant(np.arange(taps)))


def _write_head(writer: _Writer, layer: Head, rows: str) -> str:
    channels = layer.weight.shape[1]
    flat = writer.product(writer.flat(writer.norm(rows, layer.norm), channels), layer.weight.t(), layer.bias)
    return writer.rows(flat, len(layer.bias))


_FORMS: Final[dict[type, Callable[[_Writer, Any, str], str]]] = {
    Conv: _write_conv,
    Residual: _write_residual,
    Lstm: _write_lstm,
    Normalised: _write_normalised,
    ConvNeXt: _write_convnext,
    Head: _write_head,
}
