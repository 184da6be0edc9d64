"""Streams that were opened at the clock's tempo follow it when it changes, and its metre."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Protocol

from daw_bridge.clock.clocks import Clock, told_tempo
from daw_bridge.wording import Wording
from protocols.bridge_messages import BridgeUpdate
from protocols.messages import FASTEST_BPM, SLOWEST_BPM
from protocols.metre import MOST_BEATS
from protocols.osc.front import Asker

LEAST_CHANGE = 0.002
"""Of the tempo that a stream has; less is left to where its bars begin."""

_ADDRESS = "/bridge/update"


class TimedStream(Protocol):
    """What is needed of `BridgeStream`."""

    number: int
    engine_number: int
    asker: Asker
    wording: Wording

    @property
    def request(self) -> object:
        """What it was opened for."""


class TempoDesk:
    """Tells streams the clock's tempo: when it is off by more than 0.2 percent, and at most once a beat. For the I/O loop's thread.

    A stream whose tempo somebody has set since goes its own way from then on. A new number of beats in a bar is told as well, to
    those whose metre is the clock's or nobody's.

    Args:
        clock: the clock that counts now.
        streams: those that are open.
        update: changes a stream.
    """

    requests: Any = ()

    def __init__(
        self,
        clock: Callable[[], Clock],
        streams: Callable[[], Iterable[TimedStream]],
        update: Callable[[BridgeUpdate, Asker], None],
    ) -> None:
        self._clock = clock
        self._streams = streams
        self._update = update
        self._told: dict[int, tuple[float, Fraction]] = {}  # by number: tempo and when; no tempo for one that left
        self._bars: dict[int, int] = {}  # by number: beats in a bar

    def handle(self, request: object, asker: Asker) -> None:
        """Nothing is asked of it."""

    def pump(self) -> None:
        """To be called every few milliseconds."""
        following = [one for one in self._streams() if one.number and getattr(one.request, "in_time", False)]
        if not following:
            self._told.clear()
            self._bars.clear()
            return
        now, bpm = self._clock().now(), told_tempo(self._clock())
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return
        beats = self._clock().timeline.beats_per_bar
        for stream in following:
            self._tell(stream, bpm, now)
            self._tell_bars(stream, beats)
        self._told = {one.number: self._told[one.number] for one in following}
        self._bars = {one.number: self._bars[one.number] for one in following}

    def close(self) -> None:
        """Nothing to do."""

    def _tell_bars(self, stream: TimedStream, beats: int) -> None:
        had = self._bars.setdefault(stream.number, beats)
        if beats == had or not stream.engine_number:
            return
        self._bars[stream.number] = beats
        if beats <= MOST_BEATS and stream.wording.facts.metre in ("", f"{had}/4"):
            update = BridgeUpdate(stream=stream.number, metre=f"{beats}/4")
            self._update(update, Asker(stream.asker.peer, _ADDRESS, 0))

    def _tell(self, stream: TimedStream, bpm: float, now: Fraction) -> None:
        has = stream.wording.facts.bpm
        told, when = self._told.setdefault(stream.number, (has, now - 60))
        if not told:
            return
        if has != told:
            self._told[stream.number] = 0.0, when
        elif stream.engine_number and abs(bpm - has) > LEAST_CHANGE * has and now - when >= 60 / bpm:
            self._told[stream.number] = bpm, now
            self._update(BridgeUpdate(stream=stream.number, bpm=bpm), Asker(stream.asker.peer, _ADDRESS, 0))
