"""ReaStream in the bridge's language: the sound as a track of the host takes it, over UDP and without a cable."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.message_parts import Event, Reply, Request

_Host = Annotated[str, about("Where it is sent to.")]
_Port = Annotated[int, about("The UDP port there.")]
_Name = Annotated[str, about("The identifier that the plug-in picks it by.")]
_Marks = Annotated[bool, about("Whether a channel of marks follows those of the sound.")]
_Channels = Annotated[int, about("Channels of a packet, that of the marks included; 0 while nothing is sent.")]
_Rate = Annotated[int, about("Rate of the sound card and of the packets; 0 while nothing is sent.", unit="Hz")]
_First = Annotated[int, about("Frame of the sound card that the first packet began with; -1 before.", unit="samples")]
_Bar = Annotated[int, about("Bar of the clock at that frame, from 1; 0 while the clock stood.")]
_Beat = Annotated[float, about("Beat in it, from 1, with its fraction.", unit="beats")]
_Hop = Annotated[
    float,
    about(
        "From the sound card's block to its last packet; what the network, the plug-in and the host add is not in it.",
        unit="ms",
    ),
]


class ReaStreamState(Reply, frozen=True, kw_only=True, tag="reastream_state"):
    """How the sound is sent."""

    on: Annotated[bool, about("Whether it shall be sent.")]
    state: Annotated[str, about("off, waiting (for a sound card, or for the process that sends), or sending.")]
    host: _Host
    port: _Port
    name: _Name
    marks: _Marks
    channels: _Channels
    sample_rate: _Rate
    packets: Annotated[int, about("Packets sent since it was switched on.")]
    dropped: Annotated[int, about("Packets that the system did not take; each is a gap for the host.")]
    gaps: Annotated[int, about("Places where frames were left out: another card, or a machine that was too busy.")]
    unmarked: Annotated[int, about("Frames that left before their marks were known.", unit="samples")]
    first: _First
    bar: _Bar
    beat: _Beat
    hop_ms: _Hop
    longest_hop_ms: Annotated[float, about("The longest of them.", unit="ms")]
    note: Annotated[str, about("Why nothing is sent although it shall be.")]


class ReaStreamRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about ReaStream."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = ReaStreamState


class SetReaStream(ReaStreamRequest, frozen=True, kw_only=True, tag="reastream"):
    """Send what the sound card plays as ReaStream, Reaper's audio over UDP, or no longer.

    What is left out stays as it is, and all of it is remembered for the next run. With `marks 1` one more channel follows those of
    the sound: one sample of 1.0 on each bar line of the clock, of 0.5 on each other beat, 0 elsewhere.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("on",)
    on: Annotated[bool, about("Whether it is sent.")]
    host: (
        Annotated[
            str,
            about(
                "Name or IPv4 address of the host's machine: this one, or one that the setting `bridge.reastream_hosts` names.",
                min_length=1,
                max_length=255,
            ),
        ]
        | None
    ) = None
    port: Annotated[int, about("UDP port there; the plug-in's is 58710.", ge=1, le=65535)] | None = None
    name: (
        Annotated[
            str, about("Identifier to pick it by in the plug-in, of at most 31 bytes.", min_length=1, max_length=31)
        ]
        | None
    ) = None
    marks: Annotated[bool, about("Add a channel of marks, so that a take can be moved onto the beat.")] | None = None


class HowReaStreams(ReaStreamRequest, frozen=True, kw_only=True, tag="reastream/state"):
    """How the sound is sent."""


class ReaStreaming(Event, frozen=True, kw_only=True, tag="reastreaming"):
    """The first packet has left, after it was switched on or after another sound card took over."""

    host: _Host
    port: _Port
    name: _Name
    channels: _Channels
    sample_rate: _Rate
    marks: _Marks
    first: _First
    bar: _Bar
    beat: _Beat
    hop_ms: _Hop


REASTREAM_REQUESTS: tuple[type[Request], ...] = (SetReaStream, HowReaStreams)
REASTREAM_EVENTS: tuple[type[Event], ...] = (ReaStreaming,)
