"""Convolutions that make fewer rows, for encoders on a stream; the rules are those of `engine.runtime.streaming_layers`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.runtime.activations import Activation
from engine.runtime.streaming_layers import PAD_MODES, Layer, pad_rows
from protocols.errors import ErrorCode, RequestError


@dataclass(slots=True)
class Strides:
    """What a strided convolution remembers of one stream.

    Attributes:
        rows: the last inputs, with the left padding once ``started``.
        first: which of them the next window begins with.
        taken: inputs so far.
        started: whether the left padding has been put before the stream's first row.
    """

    rows: Tensor | None = None
    first: int = 0
    taken: int = 0
    started: bool = False


class Strided(Layer[Strides]):
    """A convolution whose window moves on by ``stride`` rows, after an optional activation.

    Args:
        weight: ``[out, in, taps]``.
        bias: ``[out]``.
        stride: of the window, in rows.
        pad: rows of padding at the start and the end of a stream.
        pad_mode: one of ``PAD_MODES``.
        fill: whether the end is padded further until the last rows fill a window, so that ``n`` rows give ``ceil(n / stride)``.
        activation: what the input goes through first.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: int,
        pad: tuple[int, int],
        pad_mode: str,
        fill: bool = True,
        activation: Activation | None = None,
    ) -> None:
        out, channels, taps = weight.shape
        assert bias.shape == (out,), (bias.shape, out)
        if pad_mode not in PAD_MODES:
            raise RequestError(ErrorCode.UNSUPPORTED, "pad_mode", pad_mode, ", ".join(PAD_MODES))
        self.channels, self.taps, self.stride = channels, taps, stride
        self.pad_left, self.pad_right = pad
        self.pad_mode, self.fill, self.activation = pad_mode, fill, activation
        self.width = max(taps * channels // stride, out)
        # The most that the right padding can be, and one more: what a reflection at the end looks back to.
        self.history = self.pad_right + stride if pad_mode == "reflect" else 1
        self.start_rows = {"constant": 0, "replicate": 1, "reflect": max(self.pad_left + 1, self.history)}[pad_mode]
        self.weight = weight.permute(2, 1, 0).reshape(taps * channels, out).contiguous()
        self.bias = bias

    def new_state(self, batch: int) -> Strides:
        return Strides()

    def step(self, rows: Tensor | None, state: Strides, last: bool) -> Tensor | None:
        if rows is not None:
            assert rows.shape[2:] == (self.channels,), (rows.shape, self.channels)
            rows = rows.to(self.weight.dtype)
            if self.activation is not None:
                rows = self.activation(rows, inplace=True)
            state.taken += rows.shape[1]
            if state.rows is not None:
                rows = torch.cat((state.rows, rows), 1)
        else:
            rows = state.rows
        if rows is None:
            return None
        if not state.started and not last and rows.shape[1] < self.start_rows:
            state.rows = rows
            return None
        left = 0 if state.started else self.pad_left
        right = self.pad_right + (-state.taken % self.stride if self.fill else 0) if last else 0
        if left or right:
            rows = pad_rows(rows, left, right, self.pad_mode)
        state.started = True
        outputs = (rows.shape[1] - state.first - self.taps) // self.stride + 1
        result = self._product(rows[:, state.first :], outputs) if outputs > 0 else None
        state.first += max(outputs, 0) * self.stride
        dropped = max(0, min(state.first, rows.shape[1] - self.history))
        # A copy, so that the rows it is taken from are let go.
        state.rows, state.first = rows[:, dropped:].clone(), state.first - dropped
        return result

    def _product(self, rows: Tensor, outputs: int) -> Tensor:
        batch, _, channels = rows.shape
        stride = rows.stride()
        windows = rows.as_strided(
            (batch, outputs, self.taps * channels), (stride[0], self.stride * stride[1], stride[2])
        )
        return torch.addmm(self.bias, windows.reshape(batch * outputs, -1), self.weight).view(batch, outputs, -1)
