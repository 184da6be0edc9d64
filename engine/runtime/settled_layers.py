"""Layers that average over all rows of a signal and so wait for its last one: group norm over channels and time.

They belong to codecs that take a signal in chunks (EnCodec 48 kHz: a second each), so that what they hold back is a chunk. The
rules are those of `engine.runtime.streaming_layers`; with ``last`` everything comes out at once.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.runtime.activations import Activation
from engine.runtime.streaming_layers import Layer


class GroupNorm:
    """Group norm with one group (Wu and He 2018) over ``[batch, rows, channels]``.

    Args:
        weight: ``[channels]``.
        bias: ``[channels]``.
        eps: added to the variance.
    """

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps

    def __call__(self, rows: Tensor) -> Tensor:
        normed = F.layer_norm(rows.float(), rows.shape[1:], eps=self.eps).to(rows.dtype)
        return torch.addcmul(self.bias, normed, self.weight)


@dataclass(slots=True)
class Held:
    """Rows ``[batch, n, channels]`` that wait for the last ones."""

    pieces: list[Tensor] = field(default_factory=list)


class WholeSignal(Layer[Held]):
    """A layer that sees all rows of a signal at once: it holds them back up to the last one."""

    @abstractmethod
    def whole(self, rows: Tensor) -> Tensor | None:
        """What becomes of all rows of a signal."""

    def new_state(self, batch: int) -> Held:
        return Held()

    def step(self, rows: Tensor | None, state: Held, last: bool) -> Tensor | None:
        if rows is not None:
            state.pieces.append(rows)
        if not last or not state.pieces:
            return None
        joined = torch.cat(state.pieces, 1) if len(state.pieces) > 1 else state.pieces[0]
        state.pieces = []
        return self.whole(joined)


class Settled(WholeSignal):
    """A layer with a norm behind it.

    Args:
        layer: a convolution of any kind, which trims nothing.
        norm: over all that it makes.
        trim: normed rows to drop at the start and the end.
        activation: what the input goes through first; the layer has none itself.
    """

    def __init__(
        self, layer: Layer[Any], norm: GroupNorm, trim: tuple[int, int] = (0, 0), activation: Activation | None = None
    ) -> None:
        self.layer, self.norm, self.trim, self.activation = layer, norm, trim, activation
        self.rate, self.stride, self.width = layer.rate, layer.stride, layer.width

    def whole(self, rows: Tensor) -> Tensor | None:
        """All rows of a signal at once."""
        if self.activation is not None:
            rows = self.activation(rows)
        result = self.layer.step(rows, self.layer.new_state(rows.shape[0]), True)
        if result is None:
            return None
        left, right = self.trim
        return self.norm(result)[:, left : result.shape[1] - right]


class SettledResidual(WholeSignal):
    """A residual block whose convolutions have norms.

    Args:
        branch: its two convolutions, with the activations before them.
        shortcut: the convolution of the shortcut, or None for the identity.
    """

    def __init__(self, branch: tuple[Settled, Settled], shortcut: Settled | None) -> None:
        self.branch, self.shortcut = branch, shortcut
        self.width = max(layer.width for layer in branch)

    def whole(self, rows: Tensor) -> Tensor | None:
        """All rows of a signal at once."""
        hidden: Tensor | None = rows
        for layer in self.branch:
            assert hidden is not None
            hidden = layer.whole(hidden)
        shortcut = rows if self.shortcut is None else self.shortcut.whole(rows)
        assert hidden is not None
        assert shortcut is not None
        return hidden + shortcut


class Pointwise(Layer[None]):
    """An activation as a layer of its own, after the last convolution of a network.

    Args:
        activation: of the rows.
        channels: of a row.
    """

    def __init__(self, activation: Activation, channels: int) -> None:
        self.activation, self.width = activation, channels

    def new_state(self, batch: int) -> None:
        return None

    def step(self, rows: Tensor | None, state: None, last: bool) -> Tensor | None:
        return None if rows is None else self.activation(rows)
