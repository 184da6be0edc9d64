"""What changes while the LM runs: the conditions that streams listen to, and the caches of what they have heard.

A text reaches the LM in one of two ways. Models with cross-attention look at it from every layer. Melody models (Copet et al.,
2023, section 2.3) hear it before the first code, after the melody: their sequence is ``[chroma, text, codes]``, with positions
counted from its beginning. A `Condition` has a place for both, and so has a `Session`; what a model has no use for is empty.

A score is heard in neither way: each of its rows is added to the embedding of the step that samples the row's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM

NULL_BIN = 0
"""The null melody is this bin of chroma in every frame, and not zeros: so the models were trained, and so silence comes out too."""


_PREFIX_GRAIN = 64
"""Caches have room for prefixes up to a multiple of this, so that most new texts find it."""
_SCORE_BLOCK = 64
"""Frames of a score that are projected at once."""


class Melody(Protocol):
    """A melody that goes on for as long as a stream does; see `engine.conditioning.melody`."""

    def window(self, frame: int) -> Tensor:
        """The bins of chroma, whole numbers ``[chroma_frames]``, of a window that begins at this frame of the stream."""


class Score(Protocol):
    """What is known about the frames of a stream, one by one; see `engine.conditioning.score`."""

    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        """The features ``[count, score_features]`` of the frames from ``frame`` of the stream on."""


@dataclass(frozen=True)
class Prefix:
    """What a melody model hears before the codes.

    Attributes:
        chroma: ``[bins, dim]``, each bin's embedding.
        frames: how many frames of chroma stand at the beginning.
        melody: where they come from; None is the null melody.
        text: ``[length, dim]`` projected text, zeros where it is masked. The null row has zeros throughout.
    """

    chroma: Tensor
    frames: int
    melody: Melody | None
    text: Tensor

    @property
    def length(self) -> int:
        return self.frames + len(self.text)

    def rows(self, frame: int) -> Tensor:
        """The conditional and the null row, ``[2, length, dim]``, for a window that begins at ``frame`` of the stream."""
        null = self.chroma[NULL_BIN].expand(self.frames, -1)
        sung = null if self.melody is None else self.chroma[self.melody.window(frame).to(self.chroma.device)]
        if sung.shape != null.shape:
            raise ValueError(f"a melody of {len(sung)} frames, not {self.frames}")
        return torch.stack((torch.cat((sung, self.text)), torch.cat((null, torch.zeros_like(self.text)))))


@dataclass(frozen=True)
class Condition:
    """What one stream listens to, ready for the LM; made by `MusicgenLM.condition`.

    It belongs to no session: the same condition may be used by any number of streams, at any time.

    Attributes:
        keys_values: what cross-attention looks at, ``[layers, 2, heads, length, head_dim]``. Length 0 is the null condition:
            projected null text is all zeros and attention has no bias, so that its output is exactly zero and need not be computed.
        prefix: what is heard before the codes; None where text is heard by cross-attention.
        score: what is heard frame by frame; None adds nothing.
    """

    keys_values: Tensor
    prefix: Prefix | None = None
    score: Score | None = None

    @property
    def length(self) -> int:
        return self.keys_values.shape[3]


class LayerMemory(NamedTuple):
    """One layer's part of a session: its cache, and what its cross-attention looks at (None: nothing)."""

    keys_values: Tensor
    cross_keys: Tensor | None
    cross_values: Tensor | None


class Session:
    """The state of a batch of aligned streams: caches, position and conditions. One thread at a time.

    A guided session holds two rows per stream, ``[conditional…; null…]``. The caches are allocated once, and again only for a
    prefix that they have no room for; a position that has not been reached is never read, so starting over costs nothing.

    Prefixes of different lengths end together, so that all rows hear the same frame at the same time; each row counts its
    positions from its own beginning and never looks before it. So no row hears what stands beside it.

    Args:
        lm: the model the session belongs to.
        conditions: one per stream.
        positions: the most codes the session will hold, prefixes not counted.
        guided: whether null rows stand beside the conditional ones.
        frame: of the streams, at which the window begins.

    Raises:
        ValueError: no streams, or more positions than the model has.
    """

    def __init__(
        self, lm: MusicgenLM, conditions: Sequence[Condition], positions: int, *, guided: bool = True, frame: int = 0
    ) -> None:
        if not conditions:
            raise ValueError("a session needs at least one stream")
        if positions < 1:
            raise ValueError(f"positions {positions} below 1")
        self.streams = len(conditions)
        self.rows = 2 * self.streams if guided else self.streams
        self.positions = positions
        self.position = 0
        self.prefix = torch.empty(self.rows, 0, lm.config.dim, device=lm.device, dtype=lm.dtype)
        self.prefix_heard = 0
        self.starts: Tensor | None = None
        self.layers: list[LayerMemory] = []
        self.cross_mask: Tensor | None = None
        self._lm = lm
        self._frame = frame
        self._score_block: tuple[int, Tensor] | None = None
        self._leads: tuple[int, ...] = ()
        self._caches: list[Tensor] = []
        self._pack_prefixes(conditions)
        self._conditions = list(conditions)
        self._pack_memory()

    @property
    def guided(self) -> bool:
        return self.rows != self.streams

    @property
    def prefix_length(self) -> int:
        """Positions that stand before the first code; 0 in models with cross-attention."""
        return self.prefix.shape[1]

    @property
    def prefix_pending(self) -> int:
        """How much of the prefix is still to be heard before the next codes; see `MusicgenLM.hear_prefix`."""
        return self.prefix_length - self.prefix_heard

    def rewind(self, position: int = 0) -> None:
        """Forget the codes from ``position`` on; the next codes are taken to stand there."""
        if not 0 <= position <= self.position:
            raise ValueError(f"cannot rewind to {position} from {self.position}")
        self.position = position

    def begin(self, frame: int) -> None:
        """Forget all codes; the next ones belong to a window that begins at this frame of the streams, and so does the melody."""
        self.rewind()
        self._frame = frame
        self._score_block = None
        self._pack_prefixes(self._conditions)

    def set_condition(self, stream: int, condition: Condition) -> None:
        """Change what one stream listens to, from the next codes on.

        With cross-attention, what is cached stays as it was heard, and so it does with a score. What follows a prefix depends
        on it: where a prefix changes, the session forgets all codes (``position`` is 0 again) and the caller appends them anew.

        Raises:
            ValueError: a prefix for which the model has no positions; the session stays as it was.
        """
        conditions = [*self._conditions[:stream], condition, *self._conditions[stream + 1 :]]
        self._pack_prefixes(conditions)
        self._conditions = conditions
        self._score_block = None
        self._pack_memory()

    def scores(self, start: int, end: int) -> Tensor | None:
        """What the scores add to the conditional rows at these positions, ``[streams, end - start, dim]``; None: nothing.

        The position ``p`` gets the row of frame ``p`` of the window: that of codebook 0 which the step samples. Rows are projected
        in whole blocks of frames, for each stream by itself: so a step costs an index, and neither the split of a sequence
        into calls nor a neighbour changes a bit of the result.
        """
        if all(condition.score is None for condition in self._conditions):
            return None
        parts = []
        frame, last = self._frame + start, self._frame + end
        while frame < last:
            block, first = divmod(frame, _SCORE_BLOCK)
            count = min(last - frame, _SCORE_BLOCK - first)
            parts.append(self._project_scores(block)[:, first : first + count])
            frame += count
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _project_scores(self, block: int) -> Tensor:
        """``[streams, _SCORE_BLOCK, dim]``; the latest block is remembered."""
        if self._score_block is not None and self._score_block[0] == block:
            return self._score_block[1]
        lm = self._lm
        assert lm.score_weight is not None
        projected = torch.zeros(self.streams, _SCORE_BLOCK, lm.config.dim, device=lm.device, dtype=lm.dtype)
        for stream, condition in enumerate(self._conditions):
            if condition.score is not None:
                rows = torch.from_numpy(condition.score.rows(block * _SCORE_BLOCK, _SCORE_BLOCK))
                projected[stream] = F.linear(rows.to(lm.device, lm.dtype), lm.score_weight)
        self._score_block = (block, projected)
        return projected

    def places(self, start: int, end: int) -> Tensor:
        """Each row's positions in these slots of the cache, ``[rows, end - start]``; for rows that do not start together."""
        assert self.starts is not None
        return (torch.arange(start, end, device=self.starts.device) - self.starts).clamp_(min=0)

    def mask(self, start: int, end: int) -> Tensor | None:
        """Which slots up to ``end`` those from ``start`` on may look at; None where that is all up to themselves."""
        n, device = end - start, self.prefix.device
        if self.starts is None:
            if n == 1 or start == 0:
                return None
            return torch.ones(n, end, dtype=torch.bool, device=device).tril_(start)
        seen = torch.arange(end, device=device)
        seeing = torch.arange(start, end, device=device).unsqueeze(1)
        # A slot before a row's beginning sees itself: were it blind, softmax would give NaN, which no later mask could hide.
        own = (seen >= self.starts.unsqueeze(1)) & (seen <= seeing) | (seen == seeing)
        return own.unsqueeze(1)

    @torch.inference_mode()
    def _pack_prefixes(self, conditions: Sequence[Condition]) -> None:
        """Lay the prefixes side by side and keep what is cached of them as far as old and new agree."""
        dim = self.prefix.shape[2]
        pairs = [
            self.prefix.new_empty(2, 0, dim) if condition.prefix is None else condition.prefix.rows(self._frame)
            for condition in conditions
        ]
        longest = max(pair.shape[1] for pair in pairs)
        if longest + self.positions > self._lm.config.max_positions:
            most = self._lm.config.max_positions
            raise ValueError(f"{self.positions} positions after a prefix of {longest} are more than the model's {most}")
        leads = tuple(longest - pair.shape[1] for pair in pairs)
        packed = self.prefix.new_zeros(self.rows // self.streams, self.streams, longest, dim)
        for stream, (pair, lead) in enumerate(zip(pairs, leads, strict=True)):
            packed[:, stream, lead:] = pair[: len(packed)]
        prefix = packed.flatten(0, 1)

        kept = min(self.prefix_heard, longest) if leads == self._leads else 0
        if kept:
            agree = (prefix[:, :kept] == self.prefix[:, :kept]).all(dim=2).all(dim=0)
            kept = int(agree.cumprod(0).sum())
        if kept < longest or longest != self.prefix_length:
            self.position = 0
        self.prefix, self.prefix_heard, self._leads = prefix, kept, leads
        rows = torch.tensor(leads * len(packed), device=prefix.device)
        self.starts = rows.unsqueeze(1) if any(leads) else None

    def _reserve(self, slots: int) -> None:
        """Make the caches at least as long as that."""
        if self._caches and self._caches[0].shape[3] >= slots:
            return
        # Let the old ones go first: for a large model both would not fit beside each other.
        self._caches.clear()
        self.layers.clear()
        self.prefix_heard = 0
        lm, config = self._lm, self._lm.config
        shape = (config.layers, 2, self.rows, config.heads, slots, config.head_dim)
        self._caches = list(torch.zeros(shape, device=lm.device, dtype=lm.cache_dtype).unbind())

    @torch.inference_mode()
    def _pack_memory(self) -> None:
        """Give every layer its cache, and its streams' keys and values side by side, each masked to its own length."""
        self._reserve(-(-self.prefix_length // _PREFIX_GRAIN) * _PREFIX_GRAIN + self.positions)
        lengths = [condition.length for condition in self._conditions]
        longest = max(lengths)
        self.cross_mask = None
        if longest == 0:
            self.layers = [LayerMemory(cache, None, None) for cache in self._caches]
            return
        if self.streams == 1:
            packed = self._conditions[0].keys_values.unsqueeze(2)
        else:
            first = self._conditions[0].keys_values
            layers, _, heads, _, head_dim = first.shape
            packed = first.new_zeros(layers, 2, self.streams, heads, longest, head_dim)
            for stream, condition in enumerate(self._conditions):
                packed[:, :, stream, :, : condition.length] = condition.keys_values
            if min(lengths) < longest:
                # A null stream looks at zeros, which gives zero: were it masked everywhere, softmax would give NaN.
                seen = torch.tensor([length or longest for length in lengths], device=packed.device)
                self.cross_mask = (torch.arange(longest, device=packed.device) < seen[:, None])[:, None, None, :]
        self.layers = [
            LayerMemory(cache, keys, values)
            for cache, (keys, values) in zip(self._caches, (layer.unbind() for layer in packed), strict=True)
        ]
