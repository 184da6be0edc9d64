"""The next window of a stream, heard ahead while the present one is still sampled, so that its beginning keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.runtime.conditions import Condition, Mix
from engine.runtime.language_model import LanguageModel, LMSession
from engine.runtime.patterns import Layout

CHUNK = 16
"""Positions that are heard ahead at once: about the work of one step more, between two frames."""


class WindowAhead:
    """Hears the frames that the next window shares with the present one, a chunk now and then. One thread at a time.

    A column of the next window's sequence is known once the present one has sampled all of its codes, and heard here once the
    present window has heard them too: then no change of a score reaches it any more. With MusicGen's delays, column ``p`` is the
    present one's ``stride + p``, but for the frames before its beginning. The work is spread evenly over the steps that the present
    window has left. When it is done follows from steps alone, never from the clock: so a stream hears the same at every run.

    The session of the next window is made with its first piece of work. After that, two of them take turns.

    Args:
        lm: the model.
        positions: the most codes that a session will hold.
        window: the most frames the LM hears at once.
        stride: how many frames later each window starts than the one before.
        chunk: the most positions that one piece of work goes through.
    """

    def __init__(self, lm: LanguageModel, positions: int, *, window: int, stride: int, chunk: int = CHUNK) -> None:
        self._lm = lm
        self._positions = positions
        self._stride = stride
        self._present = lm.pattern.layout(window)
        self._chunk = chunk
        self._session: LMSession | None = None
        self._open = False
        self._offset = self._opening = self._end = 0
        self._anchor = (0, 0)
        self._columns = _Columns(self._present, lm.pattern.layout(window), stride, lm.device)

    @property
    def is_open(self) -> bool:
        """Whether anything was done for the next window."""
        return self._open

    def begin(self, offset: int, frames: int, known: int, prefix: int) -> None:
        """The present window is about to be sampled; the next one begins at frame ``offset`` of the stream.

        Args:
            offset: in frames.
            frames: length of the next window.
            known: how many frames the present window begins with.
            prefix: how many positions stand before the codes.
        """
        self._open = False
        self._offset = offset
        if frames != self._columns.following.frames:
            self._columns = _Columns(self._present, self._lm.pattern.layout(frames), self._stride, self._lm.device)
        waited_for, last = self._present.completing_step(known), self._present.steps - 1
        # From this step on all that is shared is known; or, where that is after the last one, all that will be.
        self._end = min(self._columns.ready[-1] + 2, last)
        if self._present.completing_step(0) > self._end:
            self._end = last  # all is known before the first frame is complete: there is time until the last one
        # As late as leaves a step for each position, and not before the window's first frame, which is waited for.
        self._opening = min(max(waited_for + 1, self._end - self._columns.count - prefix), last)

    def due(self, step: int) -> bool:
        """Whether there is work to do before column ``step`` is sampled."""
        if not self._open:
            return step >= self._opening
        assert self._session is not None
        began, had = self._anchor
        total = self._session.prefix_length + self._columns.count
        pace = total if step >= self._end else had + (total - had) * (step - began) // (self._end - began)
        reach = min(pace, self._session.prefix_length + self._known(step))
        left = reach - self._heard
        return left >= self._chunk or (left > 0 and step >= self._end)

    def work(self, sequence: Tensor, step: int, conditions: Sequence[Condition | Mix]) -> None:
        """Do one bounded piece of work: open the session (its melodies are worked out then), or hear a chunk.

        Args:
            sequence: the present window's, ``[streams, codebooks, columns]``, known up to ``step``.
            step: the column that is sampled next.
            conditions: of all streams, as they are now.
        """
        if not self._open:
            if self._session is None:
                self._session = self._lm.session(conditions, self._positions, frame=self._offset)
            else:
                self._session.begin(self._offset, conditions)
            self._open = True
            self._anchor = (step, self._heard)
            return
        session = self._session
        assert session is not None
        if session.prefix_pending:
            self._lm.hear_prefix(session, self._chunk)
            return
        start = session.position
        end = min(start + self._chunk, self._known(step))
        self._lm.hear(self._columns.read(sequence, start, end, self._lm.special_token), session)

    def set_condition(self, stream: int, condition: Condition | Mix, step: int) -> None:
        """Change what one stream listens to, before column ``step`` is sampled; see `Session.set_condition`."""
        if self._open and self._session is not None:
            heard = self._heard
            self._session.set_condition(stream, condition)
            if self._heard < heard:
                self._anchor = (step, self._heard)

    def exchange(self, session: LMSession) -> LMSession:
        """Give the session that was prepared, and keep the one that is over for the window after it."""
        assert self._open
        assert self._session is not None
        prepared, self._session, self._open = self._session, session, False
        return prepared

    @property
    def _heard(self) -> int:
        assert self._session is not None
        return self._session.prefix_heard + self._session.position

    def _known(self, step: int) -> int:
        """How many of the shared positions the present window has heard before it samples ``step``."""
        return int(np.searchsorted(self._columns.ready, step - 2, side="right"))


class _Columns:
    """The columns with which the next window begins, as they are found in the present one's sequence.

    Attributes:
        following: the next window's layout.
        ready: for each of them, the present window's step with which its last code is known; never falls.
    """

    def __init__(self, present: Layout, following: Layout, stride: int, device: torch.device) -> None:
        self.following = following
        shared = present.frames - stride
        table = following.table[:, : following.first_step(shared) - 1]
        blank = table < 0
        sources = np.zeros_like(table)
        for source, row, empty, steps in zip(sources, table, blank, present.slot_steps, strict=True):
            source[~empty] = steps[stride + row[~empty]]
        self.ready: NDArray[np.int64] = _ready(sources, blank)
        self._sources = torch.from_numpy(sources).to(device)
        self._blank = torch.from_numpy(blank).to(device)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.ready)

    def read(self, sequence: Tensor, start: int, end: int, special_token: int) -> Tensor:
        """Columns ``start`` to ``end`` (not included) out of the present sequence ``[streams, codebooks, steps]``."""
        sources = self._sources[:, start:end].expand(len(sequence), -1, -1)
        return sequence.gather(2, sources).masked_fill(self._blank[:, start:end], special_token)


def _ready(sources: NDArray[np.int64], blank: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A column without codes is taken up with what stands around it, at the same pace."""
    ready = np.where(blank, -1, sources).max(axis=0)
    held = np.flatnonzero(ready >= 0)
    if not len(held):
        return np.zeros(len(ready), dtype=np.int64)
    first = int(held[0])
    ready[:first] = (ready[first] - np.arange(first, 0, -1)).clip(min=0)
    return np.maximum.accumulate(ready)
