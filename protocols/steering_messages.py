"""What holds an endless stream near what it was at first, and in time with the clock: how hosts set it, and what they are told."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.message_parts import Event, RegionLength, RegionStart, Reply, Request, StreamId

Govern = Annotated[
    bool,
    about(
        "Hold loudness and spectrum near the reference for as long as it plays, and change the sampling a little where the music "
        "itself has drifted."
    ),
]
Reference = Annotated[
    str,
    about(
        "What is held: start (the first 8 s of its sound), a loudness in LUFS such as -16 (with the spectrum of the start), or an "
        "audio file.",
        from_number=True,
        max_length=4096,
    ),
]
BeatLock = Annotated[
    bool,
    about(
        "Keep its beats on those of the clock, for a stream that begins `at` a beat or bar: what the music is off is taken out "
        "unheard, at most 0.6 percent of the tempo."
    ),
]
_Lufs = Annotated[float, about("Loudness of the last 3 s as they are made; -120 for silence.", unit="LUFS")]
_ReferenceLufs = Annotated[float, about("Loudness that is held; 0 while it is learnt.", unit="LUFS")]
_Gain = Annotated[float, about("What the sound is turned up.", unit="dB")]
_Bands = Annotated[
    str, about("What each band is turned up, from the lowest, in dB; they meet at 120, 350, 1000, 2800 and 7500 Hz.")
]
_Steered = Annotated[
    str,
    about(
        "What the sampling is changed against: silent, quiet, loud, mushy, noisy, bare or frantic; empty for nothing."
    ),
]
_On = Annotated[bool, about("Whether the stream is governed.")]


class GovernorState(Reply, frozen=True, kw_only=True, tag="governor_state"):
    """A stream's governor at a glance."""

    stream: StreamId
    on: _On
    lufs: _Lufs
    reference: _ReferenceLufs
    gain: _Gain
    bands: _Bands
    steered: _Steered
    learning: Annotated[float, about("Sound that is still wanted for the reference; 0 once it is known.", unit="s")]


class SteeringRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about steering."""

    root: ClassVar[str] = "bridge"


class SetGovernor(SteeringRequest, frozen=True, kw_only=True, tag="govern"):
    """Govern a stream otherwise, or ask how it stands; what is left out stays as it is.

    It is for streams of `/bridge/open`. With `reference start` the next 8 s of sound are what is held from then on, as loud as they
    are heard. A stream that is asked for other words takes the spectrum of what follows, at the loudness that it has.
    """

    reply: ClassVar[type[Reply]] = GovernorState
    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: StreamId
    on: Govern | None = None
    reference: Reference | None = None
    start: RegionStart = 0.0
    length: RegionLength = 0.0


class GovernorTold(Event, frozen=True, kw_only=True, tag="governor"):
    """How a stream's governor stands; told every few seconds while its stream plays."""

    stream: StreamId
    lufs: _Lufs
    reference: _ReferenceLufs
    gain: _Gain
    bands: _Bands
    steered: _Steered


class LockTold(Event, frozen=True, kw_only=True, tag="lock"):
    """How a stream's beats, measured in its sound, lie beside the clock's; told about once a second."""

    stream: StreamId
    error: Annotated[float, about("How late its beats are as they will be heard; negative for early.", unit="ms")]
    confidence: Annotated[float, about("How sure that is, 0 to 1; below 0.5 nothing is corrected.")]
    corrected: Annotated[float, about("What was left out so far, less what was heard twice.", unit="ms")]
    tempo: Annotated[float, about("By how much the music is faster than the clock.", unit="%")]


STEERING_REQUESTS: tuple[type[Request], ...] = (SetGovernor,)
STEERING_EVENTS: tuple[type[Event], ...] = (GovernorTold, LockTold)
