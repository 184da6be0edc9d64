"""Where rows of all streams lie side by side: their caches, the texts they look at, and what goes in and out of a step.

A batch is a range of rows. Neighbours that are not part of it, but lie in between, are run along: what they write stands in the
slot that their next column will write anew, and nobody reads what they give.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TEXT_GRAIN = 16
"""Places for texts come in multiples of this."""
_SPARE_SLOTS = 2
"""For the column that makes a chunk's number of columns even, and for a neighbour that has no room left."""
_MOST_ROWS = 32
_MOST_BYTES = 8 << 30 if hasattr(mmap, "MAP_PRIVATE") else 1 << 30
"""Of an arena's caches. That is address space: memory follows what is written, but for Windows, which sets it aside."""


class Shape(NamedTuple):
    """What an arena's model asks of it.

    Attributes:
        layers: of the model.
        kv_heads: heads of keys and values in self-attention.
        heads: in cross-attention; 0 where there is none.
        head_dim: numbers of a head.
        dim: width of the residual stream.
        scores: numbers that the heads give for a column.
        dtype: of the caches.
    """

    layers: int
    kv_heads: int
    heads: int
    head_dim: int
    dim: int
    scores: int
    dtype: torch.dtype

    @property
    def slot_bytes(self) -> int:
        """What one slot of one row takes in the caches."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


class Arena:
    """Rows for sessions of one model, in even numbers. One thread at a time.

    Args:
        shape: of the model.
        rows: the fewest it has to have.
        slots: of each row that can be used.

    Attributes:
        slots: that can be used.
        rows: how many there are.
        version: changes whenever memory has moved.
        lengths: for each row, the slot that it writes next, as far as is known: int32 ``[rows]``.
        x: what the layers hear of a step, ``[rows, 1, dim]``.
        hidden: the last norm's output, ``[rows, 1, dim]``.
        logits: ``[rows, 1, scores]``.
        text: what cross-attention looks at, ``[layers, 2, rows, heads, length, head_dim]``; zeros beyond each row's own length.
        text_bias: 0 where a row's text is, minus infinity beyond, ``[rows, 1, 1, length]``.
    """

    def __init__(self, shape: Shape, rows: int, slots: int) -> None:
        self.shape, self.slots = shape, slots
        every = slots + _SPARE_SLOTS
        row_bytes = shape.slot_bytes * every
        self._memory, self.rows = _as_much_as_there_is(row_bytes, _even(rows))
        with torch.inference_mode(False):
            whole = torch.frombuffer(
                self._memory, dtype=shape.dtype, count=row_bytes * self.rows // shape.dtype.itemsize
            )
        caches = whole.view(shape.layers, 2, self.rows, shape.kv_heads, every, shape.head_dim)
        self.caches = list(caches.unbind())
        self.version = 0
        self.lengths = np.zeros(self.rows, dtype=np.int32)
        with torch.inference_mode(False):
            self.x = torch.zeros(self.rows, 1, shape.dim)
            self.hidden = torch.zeros(self.rows, 1, shape.dim)
            self.logits = torch.zeros(self.rows, 1, shape.scores)
        self._taken = [False] * self.rows
        self._looked_at: list[Tensor | None] = [None] * self.rows
        self._lay_texts(TEXT_GRAIN)

    @property
    def empty(self) -> bool:
        """Whether no session has a row of it."""
        return not any(self._taken)

    def take(self, rows: int) -> int | None:
        """The first of so many rows that lie side by side, from now on taken; None where there is no room."""
        free = 0
        for row, taken in enumerate(self._taken):
            free = 0 if taken else free + 1
            if free == rows:
                first = row + 1 - rows
                self._taken[first : row + 1] = [True] * rows
                return first
        return None

    def give_back(self, first: int, rows: int) -> None:
        """Let rows go."""
        self._taken[first : first + rows] = [False] * rows
        self._looked_at[first : first + rows] = [None] * rows
        self.lengths[first : first + rows] = 0

    def forget(self, first: int, rows: int) -> None:
        """Hand back the memory of rows whose session has let them go; on any thread."""
        if not hasattr(self._memory, "madvise") or not hasattr(mmap, "MADV_DONTNEED"):
            return
        row_bytes = self.caches[0][0, 0].nbytes
        for part in range(2 * self.shape.layers):
            begin = (part * self.rows + first) * row_bytes
            low = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
            high = (begin + rows * row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if high > low:
                self._memory.madvise(mmap.MADV_DONTNEED, low, high - low)

    def views(self, first: int, rows: int) -> list[Tensor]:
        """A session's caches, layer by layer: ``[2, rows, kv_heads, slots, head_dim]``."""
        return [cache[:, first : first + rows, :, : self.slots] for cache in self.caches]

    def look_at(self, first: int, texts: Sequence[Tensor | None]) -> None:
        """What these rows' cross-attention looks at: ``[layers, 2, heads, length, head_dim]`` each; None and length 0 give zero."""
        longest = max((text.shape[3] for text in texts if text is not None), default=0)
        if longest > self.text.shape[4]:
            self._lay_texts(-(-longest // TEXT_GRAIN) * TEXT_GRAIN)
        for row, text in enumerate(texts, start=first):
            if text is not self._looked_at[row] or text is None:
                self._write_text(row, text)

    def _lay_texts(self, length: int) -> None:
        layers, heads, head_dim = self.shape.layers, self.shape.heads, self.shape.head_dim
        size = 8 * layers * self.rows * heads * length * head_dim
        with torch.inference_mode(False):
            # As the caches: rows that nobody has take no memory.
            whole = torch.frombuffer(_address_space(size), dtype=torch.float32) if size else torch.empty(0)
            self.text = whole[: size // 4].view(layers, 2, self.rows, heads, length, head_dim)
            self.text_bias = torch.zeros(self.rows, 1, 1, length)
        self.version += 1
        for row, text in enumerate(self._looked_at):
            if text is not None:
                self._write_text(row, text)

    def _write_text(self, row: int, text: Tensor | None) -> None:
        self._looked_at[row] = text
        length = 0 if text is None else text.shape[3]
        if text is not None and length:
            self.text[:, :, row, :, :length] = text
        self.text[:, :, row, :, length:] = 0
        # A row without text looks at zeros: were they all masked, softmax would give NaN.
        self.text_bias[row, 0, 0, length:] = -torch.inf if length else 0
        self.text_bias[row, 0, 0, :length] = 0


def _as_much_as_there_is(row_bytes: int, fewest: int) -> tuple[mmap.mmap, int]:
    """Address space for rows, and how many they are: an even number.

    Raises:
        MemoryError: not even the fewest fit.
    """
    most = min(_MOST_BYTES // row_bytes, _MOST_ROWS)
    rows = max(fewest, most - most % 2)
    while True:
        try:
            return _address_space(rows * row_bytes), rows
        except OSError as error:  # a system that promises no more than it has
            if rows == fewest:
                raise MemoryError(f"no {rows * row_bytes} bytes for the caches of {rows} rows") from error
            rows = max(fewest, _even(rows // 2))


def _even(rows: int) -> int:
    return rows + rows % 2


def _address_space(size: int) -> mmap.mmap:
    """Zeros that take memory as they are written to."""
    size = math.ceil(size / mmap.PAGESIZE) * mmap.PAGESIZE
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, size, flags=flags)
