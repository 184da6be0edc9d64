"""The clock as the bridge has it: set over OSC or followed, told beat by beat, and kept by streams that begin on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from daw_bridge.audio.output import CardReading
from daw_bridge.clock.clocks import Clock, InternalClock, told_metre, told_tempo
from daw_bridge.clock.host import ADDRESSES, HostClock
from daw_bridge.clock.link import LinkClock, LinkSession, join_session, require_link
from daw_bridge.clock.midi import MidiClock, TransportInput
from daw_bridge.clock.outputs import ClockOutputs, SentOutput
from daw_bridge.clock.sender import START_AHEAD_S
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.starts import Starts
from daw_bridge.clock.timeline import Timeline
from daw_bridge.midi_input import InputPort, MidiInput, choose_input, scan_inputs
from daw_bridge.midi_output import MidiOutput, OutputPort, scan_outputs
from daw_bridge.state_file import StateFile
from protocols.bridge_messages import (
    Beat,
    ClockRequest,
    ClockState,
    ClockTick,
    LocateClock,
    MidiOutputInfo,
    MidiOutputList,
    MidiOutputs,
    PlayAgain,
    Playback,
    SendClock,
    SetClock,
    StartClock,
    StopClock,
    TickTaken,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Event, Reply
from protocols.osc.codec import Argument
from protocols.osc.front import Asker, Peer

log = structlog.get_logger()

BEAT_AHEAD_S = Fraction(1, 20)
"""How long before it is heard a beat is told."""

_MAX_SURFACES = 32
_SECTION = "clock"
_FOLLOWERS = {"host": "the tempo of the host", "midi": "the tempo of the MIDI clock"}
_WAVERING = Fraction(1, 4)
_NOBODY = Asker(Peer("udp", "127.0.0.1", 0), "/bridge/clock", 0)
R = TypeVar("R", bound=Playback | PlayAgain)


class ClockHost(Protocol):
    """What the clock needs of the bridge."""

    def publish(self, event: Event) -> None:
        """Tell whoever listens."""

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


@dataclass(frozen=True)
class Ports:
    """The ways out of the bridge that clocks take; tests have their own.

    Args:
        inputs: looks at the MIDI inputs; slow.
        outputs: looks at the MIDI outputs; slow.
        open_input: opens an input for its clock.
        open_output: opens an output.
        join: joins a Link session.
    """

    inputs: Callable[[], Sequence[InputPort]] = scan_inputs
    outputs: Callable[[], Sequence[OutputPort]] = scan_outputs
    open_input: Callable[[str], TransportInput] = lambda name: MidiInput(name, transport=True)
    open_output: Callable[[str], SentOutput] = MidiOutput
    join: Callable[[dict[str, Any]], LinkSession] = join_session


class ClockDesk:
    """Clocks and what depends on them. For the I/O loop's thread.

    What is set is kept, and found again by the next run: source, tempo, metre, MIDI input and outputs.

    Args:
        read: the card's account of its time.
        host: the bridge.
        midi_input: part of the name of the input for requests that name none.
        state: where it is kept.
        ports: the ways out of the bridge.
        wall: the system's clock, by which time tags tell moments; seconds since 1970.
    """

    requests: Any = ClockRequest | MidiOutputs

    def __init__(
        self,
        read: Callable[[], CardReading | None],
        host: ClockHost,
        midi_input: str = "",
        state: StateFile | None = None,
        ports: Ports | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.stage = StageTime(read)
        self.clock: Clock = InternalClock(self.stage.now)
        self.starts = Starts(self.stage, lambda: self.clock)
        self._host = host
        self._midi_input = midi_input
        self._state = state or StateFile(None)
        self._ports = ports or Ports()
        self._wall = wall
        self.outputs = ClockOutputs(self._ports.open_output)
        self._input = ""
        self._sync = False
        self._bpm = 120.0  # as it was last set here
        self._switches = 0
        self._told: Fraction | None = None
        self._surfaces: dict[Peer, None] = {}
        self._restore()

    @property
    def beats_per_bar(self) -> int:
        """Of the clock that counts."""
        return self.clock.timeline.beats_per_bar

    def handle(self, request: ClockRequest | MidiOutputs, asker: Asker | None = None) -> Reply | None:
        """Carry a request out; None means that it is answered later, once the MIDI system has told its ports.

        Raises:
            RequestError: NOT_ALLOWED for what only somebody else can do while they count; UNSUPPORTED for a source that is not
                installed; NOT_FOUND.
        """
        clock, now = self.clock, self.clock.now()
        match request:
            case SetClock():
                return self._set(request, asker or _NOBODY)
            case ClockTick():
                return self._tick(request, asker or _NOBODY)
            case StartClock():
                if not clock.timeline.playing(now):
                    if isinstance(clock, LinkClock):
                        clock.play(True)
                    else:
                        ahead = START_AHEAD_S if self.outputs.names else 0
                        self._own("clock", "start").start(now + ahead)
            case StopClock():
                if isinstance(clock, LinkClock):
                    clock.play(False)
                else:
                    self._own("clock", "stop").stop(now)
            case LocateClock(beat=beat):
                self._own("beat", beat).locate(beat, now)
                self._told = None
            case SendClock(port=port, on=on):
                if on:
                    find = lambda: choose_input(self._ports.outputs(), port, "port").name  # noqa: E731
                    self._host.in_background(find, asker or _NOBODY, self._send_to)
                    return None
                self.outputs.remove(port)
                self._keep()
            case MidiOutputs():
                self._host.in_background(self._ports.outputs, asker or _NOBODY, self._listed)
                return None
        return self.state()

    def moment_of(self, asker: Asker, ahead: bool = False) -> Fraction | None:
        """The time tag of a request in seconds of the stage; None for at once, or with ``ahead`` where it is over."""
        if asker.when is None:
            return None
        seconds = asker.when - self._wall()
        return None if ahead and seconds <= 0 else self.stage.now() + Fraction(round(seconds * 10**9), 10**9)

    def state(self) -> ClockState:
        """The clock at a glance."""
        clock, now = self.clock, self.clock.now()
        beat = clock.timeline.beat_at(now)
        link = clock if isinstance(clock, LinkClock) else None
        return ClockState(
            source=clock.source,
            playing=clock.timeline.playing(now),
            bpm=float(clock.timeline.at(now).bpm),
            beats_per_bar=clock.timeline.beats_per_bar,
            position=str(clock.timeline.position(beat)),
            beat=float(beat),
            input=clock.input if isinstance(clock, MidiClock) else "",
            outputs=", ".join(self.outputs.names),
            start_stop_sync=self._sync,
            peers=link.peers if link is not None else 0,
        )

    def in_time(self, request: R) -> R:
        """A request that names no tempo takes that of a clock that plays, or that will when it sounds, and its metre.

        Bars of four and of two beats leave the metre to the words.
        """
        now = self.clock.now()
        bpm = told_tempo(self.clock)
        counts = self.clock.timeline.playing(now) or request.at != "now"
        if not isinstance(request, Playback) or request.bpm or not counts:
            return request
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return request
        metre = request.metre or told_metre(self.beats_per_bar)
        return msgspec.structs.replace(request, bpm=bpm, metre=metre, in_time=True)

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
        self.clock.pump()
        self._tell_beat()
        self.starts.pump()
        self.outputs.pump(self.clock)

    def close(self) -> None:
        """Let go of inputs and outputs."""
        self.clock.close()
        self.outputs.close()

    def _tell_beat(self) -> None:
        """Tell the latest beat that has not been told; one at a time, whatever the loop has missed."""
        timeline, now = self.clock.timeline, self.clock.now()
        soon = now + BEAT_AHEAD_S
        piece = timeline.at(soon)
        if not piece.playing:
            self._told = None
            return
        exact = timeline.beat_at(soon)
        beat = Fraction(exact // 1)
        if beat == self._told or (self._told is None and beat < piece.beat):
            return
        if self._told is not None and 0 < self._told - exact < _WAVERING:
            return  # a clock that follows goes back a little now and then
        self._told = beat
        position = timeline.position(beat)
        ms = round(float(piece.seconds_at(beat) - now) * 1000, 3)
        self._host.publish(Beat(bar=position.bar, beat=position.beat, bpm=float(piece.bpm), ms=ms))

    def _own(self, field: str, value: object) -> Timeline:
        if not self.clock.led:
            raise RequestError(ErrorCode.NOT_ALLOWED, field, value, f"what the {self.clock.source} says")
        return self.clock.timeline

    def _set(self, request: SetClock, asker: Asker) -> ClockState | None:
        """Set what is given, the source first."""
        source = request.source or self.clock.source
        if request.bpm is not None and source in _FOLLOWERS:
            raise RequestError(ErrorCode.NOT_ALLOWED, "bpm", request.bpm, _FOLLOWERS[source])
        if source == "link":
            require_link()
        self._switches += request.source is not None
        if source == "midi" and (self.clock.source != "midi" or request.input is not None):
            switch, wanted = self._switches, self._wanted_input(request.input)

            def found(name: str) -> ClockState:
                if switch == self._switches:  # else another source was asked for meanwhile
                    self._input = name
                    self._take_source("midi")
                    self._adjust(request)
                return self.state()

            self._host.in_background(lambda: choose_input(self._ports.inputs(), wanted).name, asker, found)
            return None
        joins = source == "link" != self.clock.source
        if source != self.clock.source:
            self._take_source(source, request.bpm)
        self._adjust(msgspec.structs.replace(request, bpm=None) if joins else request)
        return self.state()

    def _tick(self, tick: ClockTick, asker: Asker) -> TickTaken:
        clock = self.clock
        if not isinstance(clock, HostClock):
            allowed = "host: ask for /bridge/clock source host, and ticks count"
            raise RequestError(ErrorCode.NOT_ALLOWED, "source", clock.source, allowed)
        off = clock.tick(
            tick.beat,
            bpm=tick.bpm,
            beats_per_bar=tick.beats_per_bar,
            playing=tick.playing,
            at=self.moment_of(asker),
        )
        return TickTaken(off_ms=round(float(off) * 1000, 3))

    def _wanted_input(self, given: str | None) -> str:
        return given if given else self._midi_input if given == "" else self._input or self._midi_input

    def _adjust(self, request: SetClock) -> None:
        clock = self.clock
        if request.bpm is not None:
            if isinstance(clock, LinkClock):
                clock.propose(request.bpm)
            else:
                self._own("bpm", request.bpm).set_tempo(request.bpm, clock.now())
            self._bpm = request.bpm
        if request.beats_per_bar is not None:
            clock.timeline.beats_per_bar = request.beats_per_bar
        if request.start_stop_sync is not None:
            self._sync = request.start_stop_sync
            if isinstance(clock, LinkClock):
                clock.sync = self._sync
        if request.input is not None and clock.source != "midi":
            self._input = request.input
        self._keep()

    def _take_source(self, source: str, bpm: float | None = None) -> None:
        """Let another count; it begins at the tempo and metre of the last one, standing."""
        now = self.clock.now()
        timeline = Timeline(bpm or self.clock.timeline.at(now).bpm, self.clock.timeline.beats_per_bar)
        self.clock.close()
        match source:
            case "host":
                self.clock = HostClock(self.stage.now, timeline)
            case "midi":
                self.clock = MidiClock(self.stage.now, timeline, lambda: self._ports.open_input(self._input))
            case "link":
                self.clock = LinkClock(self.stage.now, timeline, self._sync, self._ports.join)
            case _:
                self.clock = InternalClock(self.stage.now, timeline)
        self._told = None

    def _send_to(self, name: str) -> ClockState:
        self.outputs.add(name)
        self._keep()
        return self.state()

    def _listed(self, found: Sequence[OutputPort]) -> MidiOutputList:
        rows = [MidiOutputInfo(name=port.name, api=port.api, open=port.name in self.outputs.names) for port in found]
        return MidiOutputList(items=rows)

    def _keep(self) -> None:
        """Remember what is set, for the next run."""
        clock = self.clock
        kept = {
            "source": clock.source,
            "bpm": self._bpm,
            "beats_per_bar": clock.timeline.beats_per_bar,
            "input": self._input,
            "start_stop_sync": self._sync,
            "outputs": self.outputs.names,
        }
        self._state.put(_SECTION, kept)

    def _restore(self) -> None:
        """Begin with what was set in the last run, as far as that is possible now."""
        kept = self._state.get(_SECTION)
        outputs = kept.pop("outputs", None)
        try:
            was = build(SetClock, kept)
            self._bpm, self._input, self._sync = was.bpm or self._bpm, was.input or "", bool(was.start_stop_sync)
            self.clock.timeline = Timeline(self._bpm, was.beats_per_bar or 4)
            for name in outputs if isinstance(outputs, list) else ():
                self.outputs.add(str(name))
            if was.source == "link":
                require_link()
            if was.source not in (None, self.clock.source):
                self._take_source(str(was.source))
        except RequestError as error:
            log.warning("the clock is not as it was", reason=error.text)
