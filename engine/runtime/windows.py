"""The next window of a stream, heard ahead while the present one is still sampled, so that its beginning keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.runtime.lm import Condition, Mix, MusicgenLM, Session
from engine.runtime.patterns import DelayPattern

CHUNK = 16
"""Positions that are heard ahead at once: about the work of one step more, between two frames."""


class WindowAhead:
    """Hears the frames that the next window shares with the present one, a chunk now and then. One thread at a time.

    The next window's sequence is the present one's from column ``stride`` on, but for the frames before its beginning. So its
    column ``p`` is known once column ``stride + p`` is sampled, and heard here once the present window has heard it too: then no
    change of a score reaches it any more. The work is spread evenly over the steps that the present window has left. When it is
    done follows from steps alone, never from the clock: so a stream hears the same at every run.

    The session of the next window is made with its first piece of work. After that, two of them take turns.

    Args:
        lm: the model.
        positions: the most codes that a session will hold.
        window: the most frames the LM hears at once.
        stride: how many frames later each window starts than the one before.
        chunk: the most positions that one piece of work goes through.
    """

    def __init__(self, lm: MusicgenLM, positions: int, *, window: int, stride: int, chunk: int = CHUNK) -> None:
        pattern = DelayPattern(lm.config.delays)
        self._lm = lm
        self._positions = positions
        self._stride = stride
        self._window = window
        self._shared = window - stride
        self._delay = pattern.max_delay
        self._chunk = chunk
        self._session: Session | None = None
        self._open = False
        self._offset = self._opening = 0
        self._anchor = (0, 0)
        # From this step on all that is shared is known, or, without any delay, all but one frame.
        self._end = window + min(1, self._delay)
        self._blank = ~pattern.slots(0, self._shared, self._shared)[:, : self._shared].to(lm.device)

    @property
    def is_open(self) -> bool:
        """Whether anything was done for the next window."""
        return self._open

    def begin(self, offset: int, step: int, prefix: int) -> None:
        """The present window is about to sample column ``step``; the next one begins at frame ``offset`` of the stream.

        Args:
            offset: in frames.
            step: a column of the present window's sequence.
            prefix: how many positions stand before the codes.
        """
        self._open = False
        self._offset = offset
        # As late as leaves a step for each position, and not before the window's first frame, which is waited for.
        self._opening = min(max(step + self._delay + 1, self._end - self._shared - prefix), self._window + self._delay)

    def due(self, step: int) -> bool:
        """Whether there is work to do before column ``step`` is sampled."""
        if not self._open:
            return step >= self._opening
        assert self._session is not None
        began, had = self._anchor
        total = self._session.prefix_length + self._shared
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
        columns = sequence[..., self._stride + start : self._stride + end]
        columns = columns.masked_fill(self._blank[:, start:end], self._lm.config.special_token)
        self._lm.advance(self._lm.embed(columns), session)

    def set_condition(self, stream: int, condition: Condition | Mix, step: int) -> None:
        """Change what one stream listens to, before column ``step`` is sampled; see `Session.set_condition`."""
        if self._open and self._session is not None:
            heard = self._heard
            self._session.set_condition(stream, condition)
            if self._heard < heard:
                self._anchor = (step, self._heard)

    def exchange(self, session: Session) -> Session:
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
        return min(max(step - 1 - self._stride, 0), self._shared)
