"""The layers of a codec's network as they run on a stream: rows come in by any number, final rows go out.

A layer holds weights only and is shared by every stream; what a stream has to remember between two calls is a
state object that the caller keeps. Nothing is computed twice: a convolution keeps the inputs that later outputs
still need, a transposed convolution its last input, the LSTM its hidden and cell state. The right context of a
non-causal convolution shows up as delay; the padding at both ends of a stream is the reference's.

Tensors here are ``[batch, rows, channels]``. With the channels last, a convolution over a few rows is one matrix
product of windows that lie side by side in memory, and a transposed convolution whose kernel is twice its stride
is a convolution of two taps whose output only has to be viewed as more rows.

`engine.runtime.strided_layers` has what makes fewer rows, `engine.runtime.settled_layers` what has to see them all. The network is
SEANet (Tagliasacchi et al. 2020) as used by EnCodec (Défossez et al. 2022, arXiv:2210.13438).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.activations import Activation, Elu
from protocols.errors import ErrorCode, RequestError

PAD_MODES: Final = ("constant", "reflect", "replicate")

# oneDNN packs the LSTM's weights again at every call, which costs as much as this many steps do one by one.
_STEPWISE_ROWS: Final = 16

# A state is a view of the rows it ends, since a copy costs a kernel; of longer rows it is a copy, to let them go.
_VIEWED_VALUES: Final = 1 << 16


_ELU: Final = Elu()

State = TypeVar("State")


@dataclass(slots=True)
class Window:
    """What a convolution remembers of one stream.

    Attributes:
        rows: inputs that later outputs still need, with the left padding once ``started``.
        started: whether the left padding has been put before the stream's first row.
        skip: output rows at the start of the stream that are still to be trimmed.
    """

    rows: Tensor | None
    started: bool
    skip: int


@dataclass(slots=True)
class Recurrence:
    """What an LSTM remembers of one stream: hidden and cell state, each ``[layers, batch, channels]``."""

    hidden: Tensor
    cell: Tensor


class Layer(ABC, Generic[State]):
    """A layer of the network: weights without state, safe to share between streams and threads.

    Attributes:
        rate: output rows per input row.
        stride: input rows per output row.
        delay: output rows held back behind the newest input row, once the stream has started.
        width: values per input row in the largest matrix that the layer makes.
    """

    rate: int = 1
    stride: int = 1
    delay: int = 0
    width: int

    @abstractmethod
    def new_state(self, batch: int) -> State:
        """The state before the first row of ``batch`` streams that run in step."""

    def begin_at(self, frame: int, state: State) -> None:
        """Let a new state begin at this frame of a stream, for layers to which that makes a difference."""

    @abstractmethod
    def step(self, rows: Tensor | None, state: State, last: bool) -> Tensor | None:
        """Take rows ``[batch, n, in]``, give the output rows that became final ``[batch, m, out]``; None is no row.

        ``last`` says that the stream ends with these rows: the right padding goes in and all that was held back
        comes out. The layer may overwrite ``rows``.
        """


def tensor_bytes(states: list[Any]) -> int:
    """Memory of the tensors in states of layers: the whole of what views are views of."""
    total = 0
    for state in states:
        for name in () if state is None else state.__dataclass_fields__:
            value = getattr(state, name)
            tensors = value if isinstance(value, list) else [value]
            total += sum(tensor.untyped_storage().nbytes() for tensor in tensors if isinstance(tensor, Tensor))
    return total


def pad_rows(rows: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pad ``[batch, n, channels]`` in time; a reflection wider than the input sees zeros after its last row."""
    columns = rows.transpose(1, 2)
    missing = max(left, right) + 1 - rows.shape[1] if mode == "reflect" else 0
    if missing > 0:
        # As in EnCodec: the zeros take part in both reflections, then as many columns fall off the right end.
        columns = F.pad(F.pad(columns, (0, missing)), (left, right), mode)[..., :-missing]
    else:
        columns = F.pad(columns, (left, right), mode)
    return columns.transpose(1, 2).contiguous()


class Conv(Layer[Window]):
    """A convolution of stride 1, or a transposed one of kernel ``2 * rate``, after an optional activation.

    Args:
        weight: ``[out, in, taps]``.
        bias: ``[out]``.
        dilation: distance of two taps in rows.
        pad: rows of padding at the start and the end of a stream.
        pad_mode: one of ``PAD_MODES``.
        activation: what the input goes through first.
        rate: output rows per input row; ``out`` holds them one after the other.
        trim: output rows to drop at the start and the end of a stream.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        dilation: int = 1,
        pad: tuple[int, int],
        pad_mode: str,
        activation: Activation | None = None,
        rate: int = 1,
        trim: tuple[int, int] = (0, 0),
    ) -> None:
        out, channels, taps = weight.shape
        assert bias.shape == (out,), (bias.shape, out)
        assert out % rate == 0, (out, rate)
        if pad_mode not in PAD_MODES:
            raise RequestError(ErrorCode.UNSUPPORTED, "pad_mode", pad_mode, ", ".join(PAD_MODES))
        self.channels, self.taps, self.dilation = channels, taps, dilation
        self.span = (taps - 1) * dilation
        self.pad_left, self.pad_right = pad
        assert pad[0] + pad[1] == self.span or rate > 1
        self.pad_mode, self.activation = pad_mode, activation
        self.rate, self.trim = rate, trim
        self.delay = self.span - self.pad_left + trim[0]
        self.width = max(taps * channels, out)
        # A reflection at the start needs rows that come after it.
        self.start_rows = {"constant": 0, "replicate": 1, "reflect": max(pad) + 1}[pad_mode]
        # Few outputs: products of single rows, summed along the windows, are less to copy than the windows.
        self.narrow = taps * out < channels
        axes = (1, 2, 0) if self.narrow else (2, 1, 0)
        self.weight = weight.permute(*axes).reshape(-1, taps * out if self.narrow else out).contiguous()
        self.bias = bias

    def new_state(self, batch: int) -> Window:
        if self.pad_mode == "constant" and self.pad_left:
            zeros = self.weight.new_zeros(batch, self.pad_left, self.channels)
            return Window(zeros, started=True, skip=self.trim[0])
        return Window(None, started=not self.pad_left, skip=self.trim[0])

    def extend(self, rows: Tensor | None, state: Window, last: bool) -> Tensor | None:
        """Join the rows with those held back: ``[batch, m + span, in]`` for ``m`` new outputs, None for ``m = 0``."""
        if rows is None:
            rows = state.rows
        else:
            assert rows.shape[2:] == (self.channels,), (rows.shape, self.channels)
            if state.rows is not None:
                rows = torch.cat((state.rows, rows), 1)
        if rows is None:
            return None
        if not state.started and not last and rows.shape[1] < self.start_rows:
            state.rows = rows
            return None
        left = 0 if state.started else self.pad_left
        right = self.pad_right if last else 0
        if left or right:
            rows = pad_rows(rows, left, right, self.pad_mode)
        state.started = True
        outputs = rows.shape[1] - self.span
        if outputs <= 0:
            state.rows = rows
            return None
        if self.span:
            state.rows = rows[:, outputs:]
            if rows.numel() > _VIEWED_VALUES:
                state.rows = state.rows.clone()
        return rows

    def product(self, rows: Tensor) -> Tensor:
        """Apply the weights to ``[batch, m + span, in]``: ``[batch, m, out]``."""
        batch, count, channels = rows.shape
        outputs = count - self.span
        if self.narrow:
            taps = torch.mm(rows.reshape(-1, channels), self.weight)
            width = taps.shape[1] // self.taps
            step = self.taps * width
            windows = taps.as_strided(
                (batch, outputs, self.taps, width), (count * step, step, self.dilation * step + width, 1)
            )
            return windows.sum(2).add_(self.bias)
        if self.taps > 1:
            stride = rows.stride()
            rows = rows.as_strided(
                (batch, outputs, self.taps, channels), (stride[0], stride[1], self.dilation * stride[1], stride[2])
            )
        flat = rows.reshape(batch * outputs, self.taps * channels)
        return torch.addmm(self.bias, flat, self.weight).view(batch, outputs, -1)

    def step(self, rows: Tensor | None, state: Window, last: bool) -> Tensor | None:
        if rows is not None:
            rows = rows.to(self.weight.dtype)
            if self.activation is not None:
                rows = self.activation(rows, inplace=True)
        extended = self.extend(rows, state, last)
        if extended is None:
            return None
        result = self.product(extended)
        if self.rate > 1:
            result = result.view(result.shape[0], result.shape[1] * self.rate, -1)
            if state.skip or last:
                result = result[:, state.skip : result.shape[1] - (self.trim[1] if last else 0)]
                state.skip = 0
        return result if result.shape[1] else None


class Residual(Layer[Window]):
    """A residual block: activation, dilated convolution, activation, convolution of one tap, plus the shortcut.

    The rows that the first convolution holds back are raw, so that the shortcut is a slice of them and cannot fall
    out of step.

    Args:
        inner: the dilated convolution, without activation.
        weight: ``[channels, hidden]`` of the second one; ``bias`` ``[channels]`` of it and of the shortcut together.
        shortcut: ``[channels, channels]``, or None for the identity.
        activations: before the first convolution and before the second one.
    """

    def __init__(
        self,
        inner: Conv,
        weight: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        activations: tuple[Activation, Activation] = (_ELU, _ELU),
    ) -> None:
        assert weight.shape[0] == inner.channels
        self.inner, self.activations = inner, activations
        self.delay, self.width = inner.delay, inner.width
        self.weight, self.bias, self.shortcut = weight.t().contiguous(), bias, shortcut

    def new_state(self, batch: int) -> Window:
        return self.inner.new_state(batch)

    def step(self, rows: Tensor | None, state: Window, last: bool) -> Tensor | None:
        extended = self.inner.extend(rows, state, last)
        if extended is None:
            return None
        first, second = self.activations
        hidden = second(self.inner.product(first(extended)), inplace=True)
        batch, outputs, width = hidden.shape
        result = torch.addmm(self.bias, hidden.view(-1, width), self.weight).view(batch, outputs, -1)
        centre = extended[:, self.inner.pad_left : self.inner.pad_left + outputs]
        return result.add_(centre if self.shortcut is None else F.linear(centre, self.shortcut))


class Lstm(Layer[Recurrence]):
    """An LSTM with its input added to its output.

    On a CPU a few rows run step by step on weights that are laid out for it; everything else is torch's own kernel.

    Args:
        lstm: a unidirectional ``nn.LSTM`` with equal input and hidden size; it is kept, not copied.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        assert lstm.input_size == lstm.hidden_size, (lstm.input_size, lstm.hidden_size)
        assert lstm.batch_first
        assert not lstm.bidirectional
        self.lstm = lstm
        self.width = 4 * lstm.hidden_size
        self.parameter = next(lstm.parameters())
        self.steps = self.written_out() if self.parameter.device.type == "cpu" else []

    def written_out(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The weights as running step by step needs them, layer by layer: of the input, of the hidden state, and biases."""
        return [
            (_gates(input_weight), _gates(weight), _gates(input_bias + bias))
            for input_weight, weight, input_bias, bias in self.lstm.all_weights
        ]

    def new_state(self, batch: int) -> Recurrence:
        zeros = self.parameter.new_zeros(self.lstm.num_layers, batch, self.lstm.hidden_size)
        return Recurrence(zeros, zeros)

    def step(self, rows: Tensor | None, state: Recurrence, last: bool) -> Tensor | None:
        if rows is None:
            return None
        assert rows.shape[2:] == (self.lstm.hidden_size,), (rows.shape, self.lstm.hidden_size)
        if self.steps and rows.shape[1] <= _STEPWISE_ROWS:
            return self._stepwise(rows, state).add_(rows)
        result, (state.hidden, state.cell) = self.lstm(rows, (state.hidden, state.cell))
        assert isinstance(result, Tensor)
        return result.add_(rows)

    def _stepwise(self, rows: Tensor, state: Recurrence) -> Tensor:
        """The LSTM written out, row by row; the gates' columns are input, forget, output, candidate."""
        batch, count, size = rows.shape
        hiddens, cells = [], []
        for (input_weight, weight, bias), hidden, cell in zip(
            self.steps, state.hidden.unbind(), state.cell.unbind(), strict=True
        ):
            inputs = torch.addmm(bias, rows.reshape(-1, size), input_weight).view(batch, count, 4 * size)
            outputs = []
            for gates in inputs.unbind(1):
                total = torch.addmm(gates, hidden, weight)
                opened = total[:, : 3 * size].sigmoid_()
                candidate = total[:, 3 * size :].tanh_()
                cell = torch.addcmul(opened[:, size : 2 * size] * cell, opened[:, :size], candidate)
                hidden = cell.tanh().mul_(opened[:, 2 * size :])
                outputs.append(hidden)
            rows = torch.stack(outputs, 1)
            hiddens.append(hidden)
            cells.append(cell)
        state.hidden, state.cell = torch.stack(hiddens), torch.stack(cells)
        return rows


def _gates(weight: Tensor) -> Tensor:
    """Bring torch's gate order (input, forget, candidate, output) to ours, as columns: ``[..., 4 * size]``."""
    first, forget, candidate, output = weight.detach().chunk(4)
    return torch.cat((first, forget, output, candidate)).t().contiguous()
