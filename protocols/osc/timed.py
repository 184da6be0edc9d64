"""Requests that came ahead of their time: kept until the time tag of their bundle says that it is now."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from protocols.errors import ErrorCode, RequestError

MAX_WAITING = 512
"""Requests that wait at once."""
HORIZON_S = 10.0
"""How far a time tag may be from now, either way. One beyond that tells of another machine's clock, and means "at once"."""

CallLater = Callable[[float, Callable[[], None]], None]
"""Calls something after so many seconds."""


class TimedRequests:
    """What waits for its time. For the I/O loop's thread only.

    Args:
        later: calls back after so many seconds; None lets nothing wait.
        wall: the system's clock, seconds since 1970.
    """

    def __init__(self, later: CallLater | None, wall: Callable[[], float] = time.time) -> None:
        self._later = later
        self._wall = wall
        self._numbers = itertools.count()
        self._waiting: dict[int, Callable[[RequestError], None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def meant(self, when: float | None) -> float | None:
        """A time tag in seconds that can be believed, else None: for at once."""
        return when if when is not None and abs(when - self._wall()) <= HORIZON_S else None

    def put_off(self, when: float | None, call: Callable[[], None], dropped: Callable[[RequestError], None]) -> bool:
        """Call something at its time; False where that is now or over.

        Args:
            when: as `meant` tells it.
            call: at its time.
            dropped: in place of that, should everything be stopped before.

        Raises:
            RequestError: BUSY where too many wait.
        """
        ahead = 0.0 if when is None else when - self._wall()
        if ahead <= 0 or self._later is None:
            return False
        if len(self._waiting) >= MAX_WAITING:
            raise RequestError(
                ErrorCode.BUSY, "time tag", f"{MAX_WAITING} requests wait", f"at most {MAX_WAITING} ahead of their time"
            )
        number = next(self._numbers)
        self._waiting[number] = dropped

        def due() -> None:
            if self._waiting.pop(number, None) is not None:
                call()

        self._later(ahead, due)
        return True

    def drop(self) -> None:
        """Forget all that waits: whoever asked is told."""
        waiting, self._waiting = self._waiting, {}
        for dropped in waiting.values():
            dropped(RequestError(ErrorCode.NOT_ALLOWED, "time tag", "ahead", "a time before everything was stopped"))
