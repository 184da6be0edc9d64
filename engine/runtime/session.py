"""What changes while the LM runs: which rows hear what, and the caches of what they have heard.

Models with cross-attention look at their text from every layer. Melody models (Copet et al., 2023, section 2.3) and style models
(Rouard et al., 2024) hear it before the first code: their sequence is ``[melody or style, text, codes]``, with positions counted
from its beginning. A `Session` has a place for both. See `engine.runtime.conditions` for what is heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.runtime.conditions import Condition, Mix, Parts, Score, parts_of, same_words, weigh
from engine.runtime.sampling import Blend

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM

_PREFIX_GRAIN = 64
"""Caches have room for prefixes up to a multiple of this, so that most new texts find it."""
_SCORE_BLOCK = 64
"""Frames of a score that are projected at once."""


class LayerMemory(NamedTuple):
    """One layer's part of a session: its cache, and what its cross-attention looks at (None: nothing)."""

    keys_values: Tensor
    cross_keys: Tensor | None
    cross_values: Tensor | None


class Session:
    """The state of a batch of aligned streams: caches, position and conditions. One thread at a time.

    Each stream has a row for each of its conditions and, in a guided session, one null row: ``[conditional…; null…]``, in the order
    of the streams. All rows of a stream hear the same codes. The caches are allocated once, and again only for more rows, or for a
    prefix that they have no room for; a position that has not been reached is never read, so starting over costs nothing.

    Prefixes of different lengths end together, so that all rows hear the same frame at the same time; each row counts its
    positions from its own beginning and never looks before it. So no row hears what stands beside it.

    Args:
        lm: the model the session belongs to.
        conditions: one or a mix of them per stream.
        positions: the most codes the session will hold, prefixes not counted.
        guided: whether null rows stand beside the conditional ones.
        frame: of the streams, at which the window begins.

    Raises:
        ValueError: no streams, or more positions than the model has.
    """

    def __init__(
        self,
        lm: MusicgenLM,
        conditions: Sequence[Condition | Mix],
        positions: int,
        *,
        guided: bool = True,
        frame: int = 0,
    ) -> None:
        if not conditions:
            raise ValueError("a session needs at least one stream")
        if positions < 1:
            raise ValueError(f"positions {positions} below 1")
        self.streams = len(conditions)
        self.guided = guided
        self.positions = positions
        self.position = 0
        self.prefix = torch.empty(0, 0, lm.config.dim, device=lm.device, dtype=lm.dtype)
        self.prefix_heard = 0
        self.starts: Tensor | None = None
        self.owners: Tensor | None = None
        """The stream of each conditional row; None where each stream has one."""
        self.blend: Blend | None = None
        """How guidance joins the rows; None where each stream has one conditional row."""
        self.layers: list[LayerMemory] = []
        self.looked_at: list[Tensor] = []
        """What cross-attention looks at, row by row, ``[layers, 2, heads, length, head_dim]`` each; null rows may not be there."""
        self.cross_mask: Tensor | None = None
        self._lm = lm
        self._frame = frame
        self._parts: list[Parts] = []
        self._heard: list[Condition] = []
        self._leads: tuple[int, ...] = ()
        self._caches: list[Tensor] = []
        self._slots = 0
        self._score_block = -1
        self._score_rows: list[tuple[Score, Tensor]] = []
        self._scores: Tensor | None = None
        self._take([parts_of(condition) for condition in conditions], anew=True)

    @property
    def rows(self) -> int:
        """Conditional rows, and null rows where there are any."""
        return len(self._heard) + (self.streams if self.guided else 0)

    @property
    def streams_of_rows(self) -> list[int]:
        """The stream of each row."""
        conditional = [stream for stream, parts in enumerate(self._parts) for _ in parts]
        return conditional + list(range(self.streams)) if self.guided else conditional

    @property
    def leads(self) -> tuple[int, ...]:
        """For each row, how many slots stand before its beginning; all 0 where `starts` is None."""
        return self._leads

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

    def begin(self, frame: int, conditions: Sequence[Condition | Mix] | None = None) -> None:
        """Forget all codes; the next ones belong to a window that begins at this frame of the streams, and so does the melody.

        Args:
            frame: of the streams.
            conditions: of all streams from now on; None leaves them as they are.

        Raises:
            ValueError: a prefix for which the model has no positions.
        """
        parts = self._parts if conditions is None else [parts_of(condition) for condition in conditions]
        self.rewind()
        self._frame = frame
        if self._lm.runner is not None and self._lm.runner.grain:
            # Caches that grow as they fill begin anew: what comes may be heard ahead, and need little of them.
            self._slots = 0
        self._take(parts, anew=True)

    def set_condition(self, stream: int, condition: Condition | Mix) -> None:
        """Change what one stream listens to, from the next codes on. Where only weights change, it costs nothing.

        A condition that was a part before keeps what its row has heard; so does one with the same words and another score. A new
        one goes on from what the row of the greatest weight has heard, and rows that no condition needs any more are dropped.

        With cross-attention, what is cached stays as it was heard, and so it does with a score. What follows a prefix depends
        on it: where there is a new one, the session forgets all codes (``position`` is 0 again) and the caller appends them anew.

        Raises:
            ValueError: a prefix for which the model has no positions; the session stays as it was.
        """
        self._take([*self._parts[:stream], parts_of(condition), *self._parts[stream + 1 :]])

    def scores(self, start: int, end: int) -> Tensor | None:
        """What the scores add to the conditional rows at these positions, ``[rows, end - start, dim]``; None: nothing.

        The position ``p`` gets the row of frame ``p`` of the window: that of codebook 0 which the step samples. Rows are projected
        in whole blocks of frames, for each score by itself: so a step costs an index, and neither the split of a sequence
        into calls nor a neighbour changes a bit of the result.
        """
        if all(condition.score is None for condition in self._heard):
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
        """``[conditional rows, _SCORE_BLOCK, dim]``; the latest block is remembered, score by score."""
        if block != self._score_block:
            self._score_block, self._score_rows, self._scores = block, [], None
        if self._scores is None:
            lm = self._lm
            assert lm.score_weight is not None
            known = {id(score): projected for score, projected in self._score_rows}
            nothing = torch.zeros(_SCORE_BLOCK, lm.config.dim, device=lm.device, dtype=lm.dtype)
            projected = []
            for score in (condition.score for condition in self._heard):
                if score is not None and id(score) not in known:
                    rows = torch.from_numpy(score.rows(block * _SCORE_BLOCK, _SCORE_BLOCK))
                    known[id(score)] = F.linear(rows.to(lm.device, lm.dtype), lm.score_weight)
                projected.append(nothing if score is None else known[id(score)])
            # The scores themselves are kept too: while they are, no other object has their identity.
            scores = (condition.score for condition in self._heard)
            self._score_rows = [(score, known[id(score)]) for score in scores if score is not None]
            self._scores = torch.stack(projected)
        return self._scores

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
    def _take(self, parts: list[Parts], *, anew: bool = False) -> None:
        """Listen to these parts, stream by stream, from now on.

        Args:
            parts: of each stream.
            anew: no code is cached, and the window may be another one.
        """
        heard = [condition for stream in parts for condition, _ in stream]
        same_rows = [len(stream) for stream in parts] == [len(stream) for stream in self._parts]
        if not same_rows or any(new is not old for new, old in zip(heard, self._heard, strict=True)):
            origins = self._origins(parts)
        elif not anew:
            self._weigh(parts)
            return
        else:
            origins = list(range(self.rows))
        prefix, leads, kept = self._lay_prefixes(parts, heard, origins, anew=anew)
        length = prefix.shape[1]
        if kept < length or length != self.prefix_length:
            self.position = 0
        self.prefix, self.prefix_heard, self._leads = prefix, kept, leads
        self.starts = torch.tensor(leads, device=prefix.device).unsqueeze(1) if any(leads) else None
        if [id(condition.score) for condition in heard] != [id(condition.score) for condition in self._heard]:
            self._scores = None
        self._heard = heard
        self._weigh(parts)
        self._reserve(-(-length // _PREFIX_GRAIN) * _PREFIX_GRAIN + self.positions, origins)
        self._pack_memory()

    def _origins(self, parts: list[Parts]) -> list[int]:
        """For each row to be, the present row whose cache it takes over; empty before there are any."""
        origins, first = [], 0
        for old, new in zip(self._parts, parts, strict=False):
            heaviest = max(range(len(old)), key=lambda index: old[index][1])
            for condition, _ in new:
                same = [index for index, (known, _) in enumerate(old) if known is condition]
                same += [index for index, (known, _) in enumerate(old) if same_words(known, condition)]
                origins.append(first + (same[0] if same else heaviest))
            first += len(old)
        return [*origins, *range(first, self.rows)] if origins else []

    def _weigh(self, parts: list[Parts]) -> None:
        """Note which rows belong to which stream, and how much each of them counts."""
        self._parts = parts
        self.owners, self.blend = weigh(parts, self._lm.device)

    def _lay_prefixes(
        self, parts: list[Parts], heard: list[Condition], origins: list[int], *, anew: bool
    ) -> tuple[Tensor, tuple[int, ...], int]:
        """Lay the prefixes side by side: ``[rows, length, dim]``, where each begins, and how much is heard already.

        Raises:
            ValueError: the model has not enough positions.
        """
        dim = self.prefix.shape[2]
        pairs = [
            self.prefix.new_empty(2, 0, dim) if condition.prefix is None else condition.prefix.rows(self._frame)
            for condition in heard
        ]
        before = self.prefix[origins] if origins else self.prefix
        leads_before = tuple(self._leads[row] for row in origins)
        if not anew and all(
            torch.equal(pair[0], row[lead:])
            for pair, row, lead in zip(pairs, before[: len(pairs)], leads_before[: len(pairs)], strict=True)
        ):
            # All of it was heard before, with the null rows that stand beside it now; where rows are dropped, the others stay put.
            return before, leads_before, self.prefix_heard
        rows = [pair[0] for pair in pairs]
        if self.guided:
            rows += [pairs[sum(len(stream) for stream in parts[:index])][1] for index in range(self.streams)]
        longest = max(len(row) for row in rows)
        if longest + self.positions > self._lm.config.max_positions:
            most = self._lm.config.max_positions
            raise ValueError(f"{self.positions} positions after a prefix of {longest} are more than the model's {most}")
        leads = tuple(longest - len(row) for row in rows)
        prefix = self.prefix.new_zeros(len(rows), longest, dim)
        for place, row, lead in zip(prefix, rows, leads, strict=True):
            place[lead:] = row
        kept = min(self.prefix_heard, longest) if leads == leads_before else 0
        if kept:
            agree = (prefix[:, :kept] == before[:, :kept]).all(dim=2).all(dim=0)
            kept = int(agree.cumprod(0).sum())
        return prefix, leads, kept

    def _reserve(self, slots: int, origins: list[int]) -> None:
        """Make the caches at least as long as that, with a row for each of the session's, and bring what was heard to its row."""
        rows, used = self.rows, self.prefix_heard + self.position
        if self._slots < slots:
            # Let the old ones go first: for a large model both would not fit beside each other.
            self._caches.clear()
            self.layers.clear()
            self.prefix_heard = 0
            runner, self._slots = self._lm.runner, slots
            self._caches = self._memory(rows, slots if runner is None else min(slots, runner.grain or slots))
            return
        self.layers.clear()
        moves = [(row, origin) for row, origin in enumerate(origins) if row != origin]
        if all(origin < row for row, origin in moves):
            moves.reverse()  # so that no row is written over before it was read
        crossing = not (all(origin < row for row, origin in moves) or all(origin > row for row, origin in moves))
        before = self._caches
        if before[0].shape[1] < rows:
            self._caches = self._memory(rows, before[0].shape[3])
            for cache, narrow in zip(self._caches, before, strict=True):
                cache[:, : narrow.shape[1], :, :used] = narrow[:, :, :, :used]
        for cache in self._caches:
            heard = cache[:, :, :, :used].clone() if crossing else cache[:, :, :, :used]
            for row, origin in moves:
                cache[:, row, :, :used] = heard[:, origin]

    def _memory(self, rows: int, slots: int) -> list[Tensor]:
        lm, config = self._lm, self._lm.config
        if lm.runner is not None:
            return lm.runner.memory(rows, slots)
        shape = (2, rows, config.kv_heads, slots, config.head_dim)
        return [torch.zeros(shape, device=lm.device, dtype=lm.cache_dtype) for _ in range(config.layers)]

    def make_room(self, end: int) -> None:
        """Have slots up to ``end`` in caches that grow as they fill; see `engine.runtime.runner.Runner.grain`."""
        runner, slots = self._lm.runner, self._caches[0].shape[3]
        if end <= slots or runner is None:
            return
        used, longer = self.prefix_heard + self.position, min(self._slots, -(-end // runner.grain) * runner.grain)
        self.layers.clear()
        for layer, cache in enumerate(self._caches):
            # One after the other, so that the old ones make room for the new.
            self._caches[layer] = cache.new_zeros(*cache.shape[:3], longer, cache.shape[4])
            self._caches[layer][:, :, :, :used] = cache[:, :, :, :used]
        self._pack_memory()

    def _pack_memory(self) -> None:
        """Give every layer its cache, and its rows' keys and values side by side, each masked to its own length."""
        caches = [cache[:, : self.rows] for cache in self._caches]
        looked_at = [condition.keys_values for condition in self._heard]
        if self.guided:
            beside = (stream[0][0].null_keys_values for stream in self._parts)
            looked_at += [keys_values for keys_values in beside if keys_values is not None]
        self.looked_at, self.cross_mask = looked_at, None
        self.layers = [LayerMemory(cache, None, None) for cache in caches]
        if self._lm.runner is not None:
            self._lm.runner.remember(self)
        else:
            self.pack_texts()

    def pack_texts(self) -> None:
        """Give every layer its rows' texts side by side, as the modules look at them, where it has not got them yet."""
        looked_at = self.looked_at
        lengths = [keys_values.shape[3] for keys_values in looked_at]
        longest = max(lengths)
        if longest == 0 or self.layers[0].cross_keys is not None:
            return
        if len(looked_at) == 1:
            packed = looked_at[0].unsqueeze(2)
        else:
            layers, _, heads, _, head_dim = looked_at[0].shape
            packed = looked_at[0].new_zeros(layers, 2, len(looked_at), heads, longest, head_dim)
            for row, (keys_values, length) in enumerate(zip(looked_at, lengths, strict=True)):
                packed[:, :, row, :, :length] = keys_values
            if min(lengths) < longest:
                # A null condition looks at zeros, which gives zero: were it masked everywhere, softmax would give NaN.
                seen = torch.tensor([length or longest for length in lengths], device=packed.device)
                self.cross_mask = (torch.arange(longest, device=packed.device) < seen[:, None])[:, None, None, :]
        self.layers = [
            LayerMemory(memory.keys_values, keys, values)
            for memory, (keys, values) in zip(self.layers, (layer.unbind() for layer in packed), strict=True)
        ]
