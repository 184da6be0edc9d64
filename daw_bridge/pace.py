"""How much sound must be ready before a stream starts, so that it does not stop in the middle."""

from __future__ import annotations

LEAST_LEAD_S = 10.0
MOST_LEAD_S = 60.0
_COMFORTABLE = 1.5
_MARGIN_S = 0.3


class Pace:
    """What is known of the engine's speed, in audio seconds made per second, from the streams it has made lately."""

    def __init__(self) -> None:
        self._realtime: float | None = None

    def measured(self, realtime: float) -> None:
        """Take a stream's speed into account."""
        if realtime > 0:
            self._realtime = realtime if self._realtime is None else 0.7 * self._realtime + 0.3 * realtime

    def prebuffer(self, seconds: float) -> float:
        """What must be ready before a stream of ``seconds`` starts (0: no end), in seconds.

        Nothing beyond the usual when the engine is comfortably faster than the music. When it is not, as much as it will fall
        behind until the end: a later start is better than holes.
        """
        if self._realtime is None or self._realtime >= _COMFORTABLE:
            return 0.0
        behind = seconds * max(0.0, 1 - self._realtime)
        return behind + _MARGIN_S


def lead_of(seconds: float) -> float:
    """How far ahead of the player the engine may make a stream that lasts ``seconds``."""
    return min(max(LEAST_LEAD_S, seconds), MOST_LEAD_S)
