"""What one step reads and writes: buffers that stand still, so that a captured graph finds them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.session import Session

KEYS, VALUES, TEXT_KEYS, TEXT_VALUES = range(4)
"""The pointers of a row in a layer."""
WRITE, PLACE, FIRST, SLOTS, TEXT = range(5)
"""The numbers of a row: the slot that it writes, its position, the first slot it looks at, the slots of its cache, and its text's
length."""
SPLIT = 128
"""Slots of a cache that one program looks at. Splits are counted from slot 0, so that a row's result depends on that row alone."""

_MOVING = 2
"""How many of the numbers move on with every step; they come first."""


@dataclass(frozen=True, eq=False)
class Block:
    """A session's part of the tables, which holds as long as it hears the same conditions in the same caches; in host memory.

    Attributes:
        pointers: int64 ``[layers, 4, rows]``.
        numbers: int32 ``[5, rows]``; those that move are given for position 0.
        owners: the stream of each row, counted within the session.
        streams: how many streams the session has.
    """

    pointers: Tensor
    numbers: Tensor
    owners: Tensor
    streams: int

    @property
    def rows(self) -> int:
        return self.pointers.shape[2]

    @classmethod
    def of(cls, session: Session) -> Block:
        """Where a session's rows are and what they look at."""
        layers, rows = session.layers, session.rows
        pointers = torch.zeros(len(layers), 4, rows, dtype=torch.long)
        for memory, addresses in zip(layers, pointers, strict=True):
            keys, values = memory.keys_values
            along = torch.arange(rows) * (keys.stride(0) * keys.element_size())
            addresses[KEYS] = keys.data_ptr() + along
            addresses[VALUES] = values.data_ptr() + along
        numbers = torch.zeros(5, rows, dtype=torch.int32)
        numbers[FIRST] = torch.tensor(session.leads, dtype=torch.int32)
        numbers[WRITE] = session.prefix_length
        numbers[PLACE] = numbers[WRITE] - numbers[FIRST]
        numbers[SLOTS] = layers[0].keys_values.shape[3]
        for row, text in enumerate(session.looked_at):
            numbers[TEXT, row] = text.shape[3]
            if text.shape[3]:
                assert text.is_contiguous()
                halves = torch.arange(2 * len(layers)).view(-1, 2) * (text.stride(1) * text.element_size())
                pointers[:, TEXT_KEYS:, row] = text.data_ptr() + halves
        return cls(pointers, numbers, torch.tensor(session.streams_of_rows), session.streams)


class Tables:
    """The buffers of steps of at most ``most`` rows. A step of fewer uses the first rows of each.

    Rows that no session has (a graph is captured for a few numbers of rows only) write, and look at, one slot that nobody reads.

    Args:
        lm: the model.
        most: rows.
    """

    def __init__(self, lm: MusicgenLM, most: int) -> None:
        config, device = lm.config, lm.device
        self.most = most
        self.device = device
        self.cache_dtype = lm.cache_dtype
        self.splits = splits = -(-config.max_positions // SPLIT)

        def buffer(*shape: int, dtype: torch.dtype = lm.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.pointers = buffer(config.layers, 4, most, dtype=torch.long)
        self.numbers = buffer(5, most, dtype=torch.int32)
        self.codes = buffer(most, config.num_codebooks, dtype=torch.long)
        self.scores = buffer(most, config.dim) if lm.score_weight is not None else None
        self.x = buffer(most, config.dim)
        self.qkv = buffer(most, 3 * config.dim)
        self.heard = buffer(most, config.dim)
        self.wide = buffer(most, config.ff_dim)
        self.logits = buffer(most, config.num_codebooks * config.card)
        self.parts = buffer(most, config.heads, splits, config.head_dim, dtype=torch.float32)
        """What each split of a row's context gives, before they are joined."""
        self.peaks = buffer(2, most, config.heads, splits, dtype=torch.float32)
        """The greatest score of each split, and the sum of its exponentials."""
        self._nowhere = buffer(2, config.heads, 1, config.head_dim, dtype=lm.cache_dtype)
        self._blocks: list[Block] = []
        self._streams = buffer(most, dtype=torch.long)
        self._rows = 0
        self._still = torch.zeros(_MOVING, most, dtype=torch.int32)
        self._sessions = torch.zeros(most, dtype=torch.long)
        self._scored = False
        self.clear()

    @property
    def nbytes(self) -> int:
        """What the buffers take on the device."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def clear(self) -> None:
        """Let every row belong to nobody."""
        self._lay([])

    @torch.inference_mode()
    def fill(self, blocks: Sequence[Block], codes: Sequence[Tensor], sessions: Sequence[Session]) -> None:
        """Lay out a step of sessions at their present positions: a block of rows and codes ``[streams, codebooks, 1]`` for each.

        Nothing here waits for the device. While the same sessions take their steps, two small copies are all there is to do.
        """
        if len(blocks) != len(self._blocks) or any(
            new is not old for new, old in zip(blocks, self._blocks, strict=True)
        ):
            self._lay(blocks)
        rows = self._rows
        # Position 0 is that of rows that nobody has.
        positions = torch.tensor([0, *(session.position for session in sessions)], dtype=torch.int32)
        # Memory that is pinned anew for each copy: torch's own allocator hands it out again once the copy is over.
        moved = torch.empty(_MOVING, self.most, dtype=torch.int32, pin_memory=self.device.type == "cuda")
        torch.add(self._still, positions[self._sessions], out=moved)
        self.numbers[:_MOVING].copy_(moved, non_blocking=True)
        together = codes[0] if len(codes) == 1 else torch.cat(tuple(codes))
        torch.index_select(together[:, :, 0], 0, self._streams[:rows], out=self.codes[:rows])
        if self.scores is not None:
            self._score(self.scores, blocks, sessions)

    def _score(self, scores: Tensor, blocks: Sequence[Block], sessions: Sequence[Session]) -> None:
        heard = [session.scores(session.position, session.position + 1) for session in sessions]
        scored = any(score is not None for score in heard)
        if scored or self._scored:
            scores.zero_()
        self._scored = scored
        begin = 0
        for block, score in zip(blocks, heard, strict=True):
            if score is not None:
                scores[begin : begin + len(score)].copy_(score[:, 0])
            begin += block.rows

    def _lay(self, blocks: Sequence[Block]) -> None:
        """Other sessions, or the same in other places: write the tables anew, those of the rows that belong to nobody too."""
        pinned = self.device.type == "cuda"
        pointers = torch.zeros(self.pointers.shape, dtype=torch.long, pin_memory=pinned)
        pointers[:, KEYS], pointers[:, VALUES] = (half.data_ptr() for half in self._nowhere)
        numbers = torch.zeros(self.numbers.shape, dtype=torch.int32, pin_memory=pinned)
        numbers[SLOTS] = 1
        streams = torch.zeros(self.most, dtype=torch.long, pin_memory=pinned)
        sessions = torch.zeros(self.most, dtype=torch.long)
        begin, stream = 0, 0
        for index, block in enumerate(blocks):
            end = begin + block.rows
            pointers[:, :, begin:end] = block.pointers
            numbers[:, begin:end] = block.numbers
            streams[begin:end] = block.owners + stream
            sessions[begin:end] = index + 1
            begin, stream = end, stream + block.streams
        self.pointers.copy_(pointers, non_blocking=True)
        self.numbers.copy_(numbers, non_blocking=True)
        self._streams.copy_(streams, non_blocking=True)
        self._rows, self._still, self._sessions = begin, numbers[:_MOVING].clone(), sessions
        self._blocks = list(blocks)
