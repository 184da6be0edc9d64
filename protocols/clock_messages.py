"""The clock's part of the bridge's language: what sets it, what it tells, and how a stream's start is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.fields import about
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Event, Reply, Request, StreamId

At = Annotated[
    Literal["now", "beat", "bar"],
    about("When it sounds: as soon as it can, or exactly on the next beat or bar line of the clock that it can keep."),
]
ClockSource = Annotated[str, about("Who counts: internal, host, midi or link.")]
ClockPlaying = Annotated[bool, about("Whether beats pass.")]
ClockBpm = Annotated[float, about("Tempo of the clock.", unit="beats/min")]
ClockPosition = Annotated[str, about("Bar and beat, such as 5.3, as they are heard now.")]
OutputName = Annotated[str, about("Part of a MIDI output's name, see `/bridge/midi/outputs`.", max_length=200)]
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
    input: Annotated[
        str, about("The MIDI input whose clock counts; empty while it is looked for, or another counts.")
    ] = ""
    outputs: Annotated[str, about("The MIDI outputs that get a clock, with commas between them.")] = ""
    start_stop_sync: Annotated[bool, about("Whether a Link session's starts and stops count.")] = False
    peers: Annotated[int, about("Other peers in the Link session.")] = 0


class TickTaken(Reply, frozen=True, kw_only=True, tag="tick_taken"):
    """The clock has followed a tick."""

    off_ms: Annotated[
        float, about("How far the host was ahead of the clock; negative where it was behind; 0 at a start.", unit="ms")
    ]


class MidiOutputInfo(Reply, frozen=True, kw_only=True, tag="midi_output"):
    """One MIDI output."""

    name: Annotated[str, about("Its name, as `/bridge/clock/send` takes it.")]
    api: Annotated[str, about("The system's way to it: LINUX_ALSA, UNIX_JACK, MACOSX_CORE, WINDOWS_MM.")]
    open: Annotated[bool, about("Whether the bridge sends a clock to it now.")]


class MidiOutputList(Reply, frozen=True, kw_only=True, tag="midi_output_list"):
    """The MIDI outputs."""

    items: Annotated[list[MidiOutputInfo], about("The outputs.")]


class ClockRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked of the clock."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = ClockState


class SetClock(ClockRequest, frozen=True, kw_only=True, tag="clock"):
    """Set the clock, or ask for its state; what is left out stays as it is. It is remembered for the bridge's next run.

    A host's transport counts once it sends `/bridge/clock/tick`, or its control surface (Reaper: OSC, pattern Default) sends to
    this port; its tempo is set there, as is that of a MIDI clock. A Link session's tempo is taken when it is joined, and changed
    only where `bpm` is set later on. Link needs the extra `link`.

    While a clock plays, requests without `bpm` take its tempo; so do those that begin on a beat. Their streams follow it.
    """

    source: (
        Annotated[
            Literal["internal", "host", "midi", "link"],
            about("Who counts: the bridge, the host's transport, a MIDI clock, or an Ableton Link session."),
        ]
        | None
    ) = None
    bpm: Annotated[float, about("Tempo.", unit="beats/min", ge=SLOWEST_BPM, le=FASTEST_BPM)] | None = None
    beats_per_bar: (
        Annotated[int, about("Beats in a bar; for a host or a MIDI clock, those of its own.", ge=1, le=32)] | None
    ) = None
    input: (
        Annotated[
            str,
            about(
                "For a MIDI clock: part of the input's name; empty for the one in the settings, else the first.",
                max_length=200,
            ),
        ]
        | None
    ) = None
    start_stop_sync: Annotated[bool, about("For Link: take part in the session's starts and stops.")] | None = None


class ClockTick(ClockRequest, frozen=True, kw_only=True, tag="clock/tick"):
    """A host says which beat it is: now, or at the time tag of the bundle that this comes in. It counts while the source is `host`.

    Ticks may come as seldom as once a bar; between them the clock goes on. A jump, a start, a stop and a tempo that is told count
    at once. Where `bpm` is left out, the ticks tell the tempo. A host that stops says so with `playing` 0; one that says nothing
    for two and a half times as long as usual (at least 3 s) is taken for stopped.
    """

    reply: ClassVar[type[Reply]] = TickTaken
    osc_positional: ClassVar[tuple[str, ...]] = ("beat",)
    beat: Annotated[float, about("Beats since the start of bar 1.", unit="beats", ge=-1e6, le=1e6)]
    bpm: Annotated[float, about("Tempo.", unit="beats/min", ge=SLOWEST_BPM, le=FASTEST_BPM)] | None = None
    beats_per_bar: Annotated[int, about("Beats in a bar.", ge=1, le=32)] | None = None
    playing: Annotated[bool, about("Whether it plays; 0 while it stands there.")] = True

    @property
    def takes_time_tag(self) -> bool:
        """A position may be told ahead of its time."""
        return True


class StartClock(ClockRequest, frozen=True, kw_only=True, tag="clock/start"):
    """Let the clock go on from where it stands; a Link session starts with bar 1 on its next bar line."""


class StopClock(ClockRequest, frozen=True, kw_only=True, tag="clock/stop"):
    """Let the clock stand still. Streams play on; what waits for a beat begins with the next stream, or when the clock goes on."""


class SendClock(ClockRequest, frozen=True, kw_only=True, tag="clock/send"):
    """Send MIDI clock to an output, or no longer: ticks as they are heard, start, stop, continue and song position.

    At beat 0 the clock sends a start; anywhere else, and after a jump, a song position and a continue on the next sixteenth.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("port",)
    port: OutputName
    on: Annotated[bool, about("Whether it is sent.")] = True


class LocateClock(ClockRequest, frozen=True, kw_only=True, tag="clock/locate"):
    """Move the clock to a beat."""

    osc_positional: ClassVar[tuple[str, ...]] = ("beat",)
    beat: Annotated[float, about("Beats since the start of bar 1.", unit="beats", ge=0, le=1e6)]


class MidiOutputs(Request, frozen=True, kw_only=True, tag="midi/outputs"):
    """List the MIDI outputs that a clock can be sent to."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = MidiOutputList


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


CLOCK_REQUESTS: tuple[type[Request], ...] = (
    SetClock,
    ClockTick,
    StartClock,
    StopClock,
    LocateClock,
    SendClock,
    MidiOutputs,
)
CLOCK_EVENTS: tuple[type[Event], ...] = (Scheduled, Late, Beat)
