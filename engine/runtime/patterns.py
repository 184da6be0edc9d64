"""Codebook patterns: which frame of each codebook stands at which step of the LM's sequence.

An LM samples one column of codes at each step, at most one code per codebook. A pattern says, for a number of frames, which column
each code stands in. Slots without a code hold the special token; so does the whole of step 0, from which the first codes are
sampled. In each codebook frames come in order, so that frames are completed in order too, one per step at most.

The patterns are those of Copet et al. (2023), section 2.2, in the forms that AudioCraft gives them: delay (MusicGen's own),
parallel, flattened ("unroll"), and those which sample coarse codebooks for the whole window before the fine ones, after AudioLM
and MusicLM (Borsos et al., 2022; Agostinelli et al., 2023). Others may be added: see `CodebookPattern`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LAYOUTS_KEPT = 64


class Layout:
    """A pattern laid out for a number of frames. Never changes; any thread.

    Args:
        table: ``[codebooks, steps]``, the frame that stands in each slot; negative where none does. Numbers past the last frame are
            slots that are left open, as at the end of a delay pattern.
        frames: how many there are.

    Raises:
        ValueError: a table in which step 0 holds a code, a frame is missing, or a codebook's frames are not in order.
    """

    def __init__(self, table: NDArray[np.int64], frames: int) -> None:
        if table.ndim != 2 or not table.size or (table[:, 0] >= 0).any():
            raise ValueError("a layout's first step holds no code: it is what the first one is sampled from")
        for codebook, row in enumerate(table):
            standing = row[row >= 0]
            if not np.array_equal(standing[:frames], np.arange(frames)) or (np.diff(standing) <= 0).any():
                raise ValueError(f"codebook {codebook} does not have each of {frames} frames once and in order")
        self.table = table
        self.frames = frames
        self.codebooks: int = table.shape[0]
        self.steps: int = table.shape[1]
        inside = (table >= 0) & (table < frames)
        self._inside = torch.from_numpy(inside)
        # Frames come in order, so that the k-th slot of a codebook is its k-th frame's.
        self.slot_steps: NDArray[np.int64] = np.nonzero(inside)[1].reshape(self.codebooks, frames)
        """``[codebooks, frames]``: the step at which each code stands."""
        self._first = self.slot_steps.min(axis=0)
        self._last = self.slot_steps.max(axis=0)
        completed = np.full(self.steps, -1)
        completed[self._last] = np.arange(frames)
        self.completed: list[int] = completed.tolist()
        """For each step, the frame that it completes; -1 for none."""
        highest = np.maximum.accumulate(table.max(axis=0)) + 1
        self.begun: list[int] = [0, *highest.clip(min=0).tolist()]
        """For each step, and the end: the first frame of which nothing stands before it, past the last one too."""

    @property
    def max_delay(self) -> int:
        """How many frames past the last one have slots: AudioCraft's ``max_delay``."""
        return self.begun[-1] - self.frames

    @property
    def valid_steps(self) -> int:
        """As many steps as AudioCraft trains on: those after them belong to frames past the end, at least in part."""
        return self.steps - self.max_delay

    @property
    def coordinates(self) -> list[list[tuple[int, int]]]:
        """Frame and codebook of every slot, step by step."""
        return [
            [(int(frame), codebook) for codebook, frame in enumerate(column) if frame >= 0] for column in self.table.T
        ]

    @cached_property
    def flat_slots(self) -> Tensor:
        """``[frames, codebooks]``: where each code stands in a sequence whose codebooks and steps are one dimension."""
        return torch.from_numpy(np.ascontiguousarray((self.slot_steps + self.steps * _rows(self.codebooks)).T))

    def first_step(self, frame: int) -> int:
        """The first step that holds a code of ``frame``; the end where there is no such frame."""
        return int(self._first[frame]) if frame < self.frames else self.steps

    def completing_step(self, frame: int) -> int:
        """The step that completes ``frame``."""
        return int(self._last[frame])

    def slots(self, first: int, end: int) -> Tensor:
        """Where frames ``first`` to ``end`` (not included) stand: boolean ``[codebooks, steps]``."""
        return torch.from_numpy((self.table >= first) & (self.table < min(end, self.frames)))

    @property
    def mask(self) -> Tensor:
        """Where codes stand: boolean ``[codebooks, steps]``."""
        return self._inside.clone()

    def sequence(self, codes: Tensor, special_token: int) -> Tensor:
        """Lay out ``codes``, the first frames or all of them.

        Args:
            codes: ``[batch, codebooks, n]``, no more than there are frames.
            special_token: fills every slot that ``codes`` leave open.

        Returns:
            ``[batch, codebooks, steps]``.
        """
        batch, _, known = codes.shape
        sequence = codes.new_full((batch, self.codebooks, self.steps), special_token)
        steps = torch.from_numpy(self.slot_steps[:, :known]).to(codes.device)
        return sequence.scatter_(2, steps.expand(batch, -1, -1), codes)

    def codes(self, sequence: Tensor, first: int, end: int) -> Tensor:
        """Read frames ``first`` to ``end`` (not included) of a sequence: ``[batch, codebooks, end - first]``, a copy.

        Args:
            sequence: ``[batch, codebooks, steps]``, or anything that stands in its slots.
            first: a frame.
            end: a frame.
        """
        steps = torch.from_numpy(self.slot_steps[:, first:end]).to(sequence.device)
        return sequence.gather(2, steps.expand(len(sequence), -1, -1))


class CodebookPattern(ABC):
    """How frames are laid out in steps. Immutable and hashable; any thread.

    A pattern of one's own says how many codebooks it has, and gives a `Layout` table for any number of frames. What is sampled up
    to a step never depends on what stands behind it: whatever the layout, a frame is complete when its last code is sampled.
    """

    @property
    @abstractmethod
    def num_codebooks(self) -> int:
        """Rows of the codes."""

    @abstractmethod
    def table(self, frames: int) -> NDArray[np.int64]:
        """See `Layout`; ``[codebooks, steps]``."""

    def layout(self, frames: int) -> Layout:
        """The pattern for so many frames, 1 or more. Those asked for lately are kept."""
        return _layout(self, frames)

    def steps(self, frames: int) -> int:
        """The length of the sequence that holds ``frames`` frames: the width of the table, which need not be made for it."""
        return int(self.table(frames).shape[1])

    def positions(self, frames: int) -> int:
        """How many positions an LM needs for ``frames`` frames: nothing is sampled from the last column."""
        return self.steps(frames) - 1

    def most_frames(self, positions: int) -> int:
        """The most frames for which an LM with so many positions has enough of them; 0 where it has none."""
        if positions < self.positions(1):
            return 0
        counts = range(positions + 1)  # every frame takes a step or more
        return bisect_right(counts, positions, lo=1, key=self.positions) - 1

    def sequence(self, codes: Tensor, frames: int, special_token: int) -> Tensor:
        """Lay out ``codes`` as the beginning of a sequence of ``frames`` frames; see `Layout.sequence`."""
        return self.layout(frames).sequence(codes, special_token)


@lru_cache(_LAYOUTS_KEPT)
def _layout(pattern: CodebookPattern, frames: int) -> Layout:
    if frames < 1:
        raise ValueError(f"a layout of {frames} frames, not 1 or more")
    return Layout(pattern.table(frames), frames)


@dataclass(frozen=True)
class DelayPattern(CodebookPattern):
    """Each codebook behind the one before it. MusicGen's delays are 0, 1, 2, 3; a stereo pair of codebooks shares one.

    Attributes:
        delays: of each codebook, in frames.
        flatten_first: so many frames at the beginning have their codes one after the other instead.
        empty_initial: so many steps without a code follow the first one.

    Raises:
        ValueError: no delays, or numbers below 0.
    """

    delays: tuple[int, ...]
    flatten_first: int = 0
    empty_initial: int = 0

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) < 0:
            raise ValueError(f"delays {self.delays} must be one or more numbers from 0 up")
        if self.flatten_first < 0 or self.empty_initial < 0:
            raise ValueError(
                f"flatten_first {self.flatten_first} and empty_initial {self.empty_initial} must be 0 or more"
            )

    @classmethod
    def musicgen(cls, num_codebooks: int, channels: int) -> DelayPattern:
        """The pattern all MusicGen models were trained with; stereo codebooks come as left, right, left, right…"""
        return cls(tuple(codebook // channels for codebook in range(num_codebooks)))

    @classmethod
    def parallel(cls, num_codebooks: int, empty_initial: int = 0) -> DelayPattern:
        """All codes of a frame at once."""
        return cls((0,) * num_codebooks, empty_initial=empty_initial)

    @property
    def num_codebooks(self) -> int:
        return len(self.delays)

    @property
    def max_delay(self) -> int:
        return max(self.delays)

    def steps(self, frames: int) -> int:
        flat = min(frames, self.flatten_first)
        return 1 + self.empty_initial + flat * len(self.delays) + max(frames + self.max_delay - self.flatten_first, 0)

    def table(self, frames: int) -> NDArray[np.int64]:
        books = self.num_codebooks
        blank = np.full((books, 1 + self.empty_initial), -1)
        flat = _one_by_one(np.arange(min(frames, self.flatten_first)).repeat(books), np.arange(books), books)
        moments = np.arange(self.flatten_first, frames + self.max_delay)
        delayed = moments - np.array(self.delays)[:, None]
        delayed[delayed < self.flatten_first] = -1
        return np.hstack((blank, flat, delayed))


@dataclass(frozen=True)
class UnrollPattern(CodebookPattern):
    """Several steps per frame ("flattening"), and delays between the codebooks if wanted.

    Attributes:
        flattening: of each codebook, at which of a frame's steps it stands. Codebooks of one step stand side by side.
        delays: of each codebook, in frames; the same for codebooks of one step.

    Raises:
        ValueError: steps or delays that are below 0, not ascending, or of different numbers; different delays in one step.
    """

    flattening: tuple[int, ...]
    delays: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.flattening or len(self.flattening) != len(self.delays):
            raise ValueError(f"flattening {self.flattening} and delays {self.delays} must have one number per codebook")
        for name, numbers in (("flattening", self.flattening), ("delays", self.delays)):
            if min(numbers) < 0 or list(numbers) != sorted(numbers):
                raise ValueError(f"{name} {numbers} must be numbers from 0 up in ascending order")
        if len(set(zip(self.flattening, self.delays, strict=True))) != len(set(self.flattening)):
            raise ValueError(f"delays {self.delays} differ within a step of flattening {self.flattening}")

    @classmethod
    def flat(cls, num_codebooks: int) -> UnrollPattern:
        """One code per step."""
        return cls(tuple(range(num_codebooks)), (0,) * num_codebooks)

    @property
    def num_codebooks(self) -> int:
        return len(self.flattening)

    def steps(self, frames: int) -> int:
        moments = frames + max(self.delays)
        delays = dict(zip(self.flattening, self.delays, strict=True))
        return 1 + (max(self.flattening) + 1) * moments - sum(delays.values())

    def table(self, frames: int) -> NDArray[np.int64]:
        moments = np.arange(frames + max(self.delays))
        delay_of = dict(zip(self.flattening, self.delays, strict=True))
        # Each column stands at a moment; among those of one moment, blank ones come first, then the oldest frames, then steps.
        columns = []
        for inner in range(max(self.flattening) + 1):
            delay = delay_of.get(inner)
            at = moments if delay is None else moments[moments >= delay]
            frame = np.full(len(at), -1) if delay is None else at - delay
            columns.append(np.stack((at, frame, np.full(len(at), inner))))
        at, frame, inner = np.hstack(columns)
        order = np.lexsort((inner, frame, at))
        frame, inner = frame[order], inner[order]
        body = np.where(inner == np.array(self.flattening)[:, None], frame, -1)
        return np.hstack((np.full((self.num_codebooks, 1), -1), body))


@dataclass(frozen=True)
class CoarseFirstPattern(CodebookPattern):
    """The first codebook for all frames, then the others. No frame is complete before the first pass is over.

    Attributes:
        delays: of the second codebook and those after it, in frames.

    Raises:
        ValueError: no second codebook, or delays below 0.
    """

    delays: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) < 0:
            raise ValueError(f"delays {self.delays} must be one or more numbers from 0 up")

    @property
    def num_codebooks(self) -> int:
        return 1 + len(self.delays)

    def steps(self, frames: int) -> int:
        return 1 + 2 * frames + max(self.delays)

    def table(self, frames: int) -> NDArray[np.int64]:
        coarse = np.arange(-1, frames)
        fine = np.arange(frames + max(self.delays)) - np.array(self.delays)[:, None]
        fine[fine < 0] = -1
        whole = np.full((self.num_codebooks, len(coarse) + fine.shape[1]), -1)
        whole[0, : len(coarse)] = coarse
        whole[1:, len(coarse) :] = fine
        return whole


@dataclass(frozen=True)
class GroupedPattern(CodebookPattern):
    """Groups of codebooks, each for all frames and one code per step: MusicLM's order, nearly.

    Attributes:
        books: how many codebooks.
        group_by: codebooks in a group; divides their number.

    Raises:
        ValueError: a group that does not divide them.
    """

    books: int
    group_by: int = 2

    def __post_init__(self) -> None:
        if self.books < 1 or self.group_by < 1 or self.books % self.group_by:
            raise ValueError(f"group_by {self.group_by} must divide {self.books} codebooks")

    @property
    def num_codebooks(self) -> int:
        return self.books

    def steps(self, frames: int) -> int:
        return 1 + frames * self.books

    def table(self, frames: int) -> NDArray[np.int64]:
        moments = np.arange(frames).repeat(self.group_by)
        passes = [
            _one_by_one(moments, np.arange(first, first + self.group_by), self.books)
            for first in range(0, self.books, self.group_by)
        ]
        return np.hstack((np.full((self.books, 1), -1), *passes))


def _rows(count: int) -> NDArray[np.int64]:
    return np.arange(count)[:, None]


def _one_by_one(moments: NDArray[np.int64], turns: NDArray[np.int64], books: int) -> NDArray[np.int64]:
    """Columns with one code each: of the frames ``moments``, and the codebooks ``turns`` again and again."""
    taken = np.resize(turns, len(moments))
    return np.where(taken == _rows(books), moments, -1)
