"""The clock's part of the bridge's language: what sets it, what it tells, and how a stream's start is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.fields import about
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Event, Reply, Request, StreamId

At = Annotated[
    Literal["now", "beat", "bar"],
    about("When it sounds: as soon as it can, or exactly on the next beat or bar line of the clock that it can keep."),
]
ClockSource = Annotated[str, about("Who counts: internal or host.")]
ClockPlaying = Annotated[bool, about("Whether beats pass.")]
ClockBpm = Annotated[float, about("Tempo of the clock.", unit="beats/min")]
ClockPosition = Annotated[str, about("Bar and beat, such as 5.3, as they are heard now.")]
_Bar = Annotated[int, about("The bar, from 1.")]
_BeatInBar = Annotated[int, about("The beat in it, from 1.")]


class ClockState(Reply, frozen=True, kw_only=True, tag="clock_state"):
    """The clock at a glance."""

    source: ClockSource
    playing: ClockPlaying
    bpm: ClockBpm
    beats_per_bar: Annotated[int, about("Beats in a bar.")]
    position: ClockPosition
    beat: Annotated[float, about("Beats since the start of bar 1.", unit="beats")]


class ClockRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked of the clock."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = ClockState


class SetClock(ClockRequest, frozen=True, kw_only=True, tag="clock"):
    """Set the clock, or ask for its state; what is left out stays as it is.

    A host's transport counts once its control surface (Reaper: OSC, pattern Default) sends to this port; its tempo is set there.
    While a clock plays, requests without `bpm` take its tempo; so do those that begin on a beat.
    """

    source: Annotated[Literal["internal", "host"], about("Who counts: the bridge, or the host's transport.")] | None = (
        None
    )
    bpm: Annotated[float, about("Tempo.", unit="beats/min", ge=SLOWEST_BPM, le=FASTEST_BPM)] | None = None
    beats_per_bar: (
        Annotated[int, about("Beats in a bar; for a host's clock, those of its own.", ge=1, le=32)] | None
    ) = None


class StartClock(ClockRequest, frozen=True, kw_only=True, tag="clock/start"):
    """Let the clock go on from where it stands."""


class StopClock(ClockRequest, frozen=True, kw_only=True, tag="clock/stop"):
    """Let the clock stand still. Streams play on; what waits for a beat begins with the next stream, or when the clock goes on."""


class LocateClock(ClockRequest, frozen=True, kw_only=True, tag="clock/locate"):
    """Move the clock to a beat."""

    osc_positional: ClassVar[tuple[str, ...]] = ("beat",)
    beat: Annotated[float, about("Beats since the start of bar 1.", unit="beats", ge=0, le=1e6)]


class Beat(Event, frozen=True, kw_only=True, tag="beat"):
    """A beat of the clock, told a little ahead."""

    bar: _Bar
    beat: _BeatInBar
    bpm: ClockBpm
    ms: Annotated[float, about("From this message until it is heard; negative when it has passed.", unit="ms")]


class Scheduled(Event, frozen=True, kw_only=True, tag="scheduled"):
    """Where a stream will begin; told again when the clock or the sound card moves it."""

    stream: StreamId
    bar: _Bar
    beat: _BeatInBar
    sample: Annotated[int, about("Frame of the sound card, counted from its opening.", unit="samples")]
    seconds: Annotated[float, about("From this message until it is heard.", unit="s")]


class Late(Event, frozen=True, kw_only=True, tag="late"):
    """A stream will not be ready at this beat; `scheduled` names the bar line at which it begins instead."""

    stream: StreamId
    bar: _Bar
    beat: _BeatInBar


CLOCK_REQUESTS: tuple[type[Request], ...] = (SetClock, StartClock, StopClock, LocateClock)
CLOCK_EVENTS: tuple[type[Event], ...] = (Scheduled, Late, Beat)
