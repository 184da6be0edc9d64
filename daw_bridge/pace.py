"""How much sound must be ready before a stream starts, so that it does not stop in the middle."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from protocols.messages import AudioHeader
from protocols.settings import BridgeSettings

LEAST_LEAD_S = 10.0
MOST_LEAD_S = 60.0
_COMFORTABLE = 1.5
_MARGIN_S = 0.3

_FAST = 2.0
"""Audio seconds per second from which on a stream gains on its player from the first block."""

_WATCHED_S = 1.0
_STREAMS = 16
_SAFETY = 2.0
_LEAST_CUSHION_S = 0.01
"""What is kept ready: so many times what the worst of the latest streams would have needed, and that much at least."""

_ENOUGH, _MOST_DOUBTED = 4, 64
"""Streams that must have begun before less than the setting will do; twice as many each time that one has run dry."""


@dataclass
class _Beginning:
    """The first second of a stream as it arrives.

    Attributes:
        sound: that has arrived, in seconds.
        early: the least of a block's arrival less the sound there is with it, over the blocks at which the voice may have begun.
        cushion: what must have been ready where it did begin, so that it never ran dry since.
    """

    sound: float = 0.0
    early: float = float("inf")
    cushion: float = 0.0


class Pace:
    """What is known of the engine's speed, in audio seconds made per second, and how evenly sound arrives, from the latest streams.

    Args:
        bridge: whose settings say how much sound is enough, and whether less of it will do.
    """

    def __init__(self, bridge: BridgeSettings) -> None:
        self._most = bridge.prebuffer_ms / 1000
        self._fade = bridge.fade_ms / 1000
        self._adaptive = bridge.prebuffer == "adaptive"
        self._realtime: float | None = None
        self._beginnings: dict[int, _Beginning] = {}
        self._cushions: deque[float] = deque(maxlen=_STREAMS)
        self._even = 0
        self._enough = _ENOUGH

    def measured(self, realtime: float) -> None:
        """Take a stream's speed into account."""
        if realtime > 0:
            self._realtime = realtime if self._realtime is None else 0.7 * self._realtime + 0.3 * realtime

    def arrived(self, header: AudioHeader, now: float) -> None:
        """Watch a stream's first second: a block of it has arrived, at ``now`` by the monotonic clock."""
        if header.position == 0:
            self._beginnings[header.stream] = _Beginning()
        if (watched := self._beginnings.get(header.stream)) is None:
            return
        # Where playing began with an earlier block, all sound that was there before this one must have lasted until now.
        watched.cushion = max(watched.cushion, now - watched.early - watched.sound)
        before = watched.sound
        watched.sound += header.frames / header.sample_rate
        if before < self._most:
            watched.early = min(watched.early, now - watched.sound)
        if watched.sound >= _WATCHED_S:
            self._cushions.append(watched.cushion)
            self._even += 1
            del self._beginnings[header.stream]

    def ended(self, stream: int, underruns: int) -> None:
        """A stream is over. One that ran dry takes back what was learnt."""
        self._beginnings.pop(stream, None)
        if underruns:
            self._even, self._enough = 0, min(2 * self._enough, _MOST_DOUBTED)

    def prebuffer(self, seconds: float, block: float = 0.0, streams: int = 0) -> float:
        """What must be ready before a stream starts, in seconds of sound.

        When the engine is comfortably faster than the music, the setting is enough, or as much as the latest streams would have
        needed. When it is not, as much as it will fall behind until the end: a later start is better than holes.

        Args:
            seconds: of the stream; 0 for no end.
            block: of the sound card, which it takes at once, in seconds.
            streams: how many are made already, with which the new one shares the engine.
        """
        if self._realtime is not None and self._realtime < _COMFORTABLE:
            return max(self._most, seconds * max(0.0, 1 - self._realtime) + _MARGIN_S)
        shown = self._realtime is not None and self._realtime >= _FAST and self._even >= self._enough
        if not shown or not self._adaptive:
            return self._most
        cushion = max(_LEAST_CUSHION_S, _SAFETY * max(self._cushions)) * (1 + streams)
        return min(self._most, block + self._fade + cushion)


def lead_of(seconds: float) -> float:
    """How far ahead of the player the engine may make a stream that lasts ``seconds``."""
    return min(max(LEAST_LEAD_S, seconds), MOST_LEAD_S)
