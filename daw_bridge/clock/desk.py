"""The clock as the bridge has it: set over OSC or followed, told beat by beat, and kept by streams that begin on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

import msgspec

from daw_bridge.audio.output import CardReading
from daw_bridge.clock.clocks import Clock, InternalClock
from daw_bridge.clock.host import ADDRESSES, HostClock
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.starts import Starts
from daw_bridge.clock.timeline import Timeline
from protocols.bridge_messages import (
    Beat,
    ClockRequest,
    ClockState,
    LocateClock,
    PlayAgain,
    Playback,
    SetClock,
    StartClock,
    StopClock,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Event
from protocols.osc.codec import Argument
from protocols.osc.front import Peer

BEAT_AHEAD_S = Fraction(1, 20)
"""How long before it is heard a beat is told."""

_MAX_SURFACES = 32
R = TypeVar("R", bound=Playback | PlayAgain)


class ClockDesk:
    """Clocks and what depends on them. For the I/O loop's thread.

    Args:
        read: the card's account of its time.
        publish: tells listeners.
    """

    def __init__(self, read: Callable[[], CardReading | None], publish: Callable[[Event], None]) -> None:
        self.stage = StageTime(read)
        self.clock: Clock = InternalClock(self.stage.now)
        self.starts = Starts(self.stage, lambda: self.clock)
        self._publish = publish
        self._told: Fraction | None = None
        self._surfaces: dict[Peer, None] = {}

    def handle(self, request: ClockRequest) -> ClockState:
        """Carry a request out.

        Raises:
            RequestError: NOT_ALLOWED for what only the host can do while the host counts.
        """
        if isinstance(request, SetClock) and request.source not in (None, self.clock.source):
            self._take_source(str(request.source))
        clock, now = self.clock, self.clock.now()
        match request:
            case SetClock(bpm=bpm, beats_per_bar=beats_per_bar):
                if bpm is not None:
                    self._own("bpm", bpm).set_tempo(bpm, now)
                if beats_per_bar is not None:
                    clock.timeline.beats_per_bar = beats_per_bar
            case StartClock():
                if not clock.timeline.playing(now):
                    self._own("clock", "start").start(now)
            case StopClock():
                self._own("clock", "stop").stop(now)
            case LocateClock(beat=beat):
                self._own("beat", beat).locate(beat, now)
                self._told = None
        return self.state()

    def state(self) -> ClockState:
        """The clock at a glance."""
        clock, now = self.clock, self.clock.now()
        beat = clock.timeline.beat_at(now)
        return ClockState(
            source=clock.source,
            playing=clock.timeline.playing(now),
            bpm=float(clock.timeline.at(now).bpm),
            beats_per_bar=clock.timeline.beats_per_bar,
            position=str(clock.timeline.position(beat)),
            beat=float(beat),
        )

    def in_time(self, request: R) -> R:
        """A request that names no tempo takes that of a clock that plays, or that will when it sounds."""
        now = self.clock.now()
        bpm = self.clock.timeline.at(now).bpm
        counts = self.clock.timeline.playing(now) or request.at != "now"
        if not isinstance(request, Playback) or request.bpm or not counts:
            return request
        return msgspec.structs.replace(request, bpm=float(bpm)) if SLOWEST_BPM <= bpm <= FASTEST_BPM else request

    def overhear(self, address: str, arguments: Sequence[Argument], sender: Peer) -> bool:
        """Take a message of a host's transport; True when it needs no answer.

        A surface sends whatever else it shows too: what comes from one is not answered, unless it is meant for the bridge.
        """
        if address not in ADDRESSES:
            return sender in self._surfaces and not address.startswith("/bridge/")
        if len(self._surfaces) >= _MAX_SURFACES and sender not in self._surfaces:
            self._surfaces.pop(next(iter(self._surfaces)))
        self._surfaces[sender] = None
        if isinstance(self.clock, HostClock):
            self.clock.receive(address, arguments)
        return True

    def pump(self) -> None:
        """To be called every few milliseconds."""
        if isinstance(self.clock, HostClock):
            self.clock.pump()
        self._tell_beat()
        self.starts.pump()

    def _tell_beat(self) -> None:
        """Tell the latest beat that has not been told; one at a time, whatever the loop has missed."""
        timeline, now = self.clock.timeline, self.clock.now()
        soon = now + BEAT_AHEAD_S
        piece = timeline.at(soon)
        if not piece.playing:
            self._told = None
            return
        beat = Fraction(timeline.beat_at(soon) // 1)
        if beat == self._told or (self._told is None and beat < piece.beat):
            return
        self._told = beat
        position = timeline.position(beat)
        ms = round(float(piece.seconds_at(beat) - now) * 1000, 3)
        self._publish(Beat(bar=position.bar, beat=position.beat, bpm=float(piece.bpm), ms=ms))

    def _own(self, field: str, value: object) -> Timeline:
        if not self.clock.led:
            raise RequestError(ErrorCode.NOT_ALLOWED, field, value, f"what the {self.clock.source} says")
        return self.clock.timeline

    def _take_source(self, source: str) -> None:
        """Let another count; it begins at the tempo and metre of the last one, standing."""
        now = self.clock.now()
        timeline = Timeline(self.clock.timeline.at(now).bpm, self.clock.timeline.beats_per_bar)
        kind: type[HostClock] | type[InternalClock] = HostClock if source == "host" else InternalClock
        self.clock = kind(self.stage.now, timeline)
        self._told = None
