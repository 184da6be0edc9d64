"""The past of streams, as hosts ask for it: to go back in one, to take another way, to undo, to go on with one that is over."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.clock_messages import At
from protocols.fields import about
from protocols.messages import (
    Event,
    Finished,
    Forget,
    JournalId,
    Journals,
    Reply,
    Request,
    Seed,
    StreamId,
)
from protocols.sound_messages import Format, Level, Loudness, Replaces, Save, Sound, TakeName

SameWay = Annotated[
    Seed,
    about(
        "Another way from there: -1 draws one. Without it the music is what it was, as far as nothing else was changed."
    ),
]
_OfStream = Annotated[int, about("Number of a stream that plays.", ge=1, le=2**31 - 1)]


class PastRequest(Request, frozen=True, kw_only=True):
    """Base of the requests that make a stream from one that was; they are answered when the new one is over."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Finished
    sound: Sound = True
    save: Save = True
    format: Format = "wav"
    loudness: Loudness = "auto"
    name: TakeName = ""
    level: Level = 0.0
    at: At = "now"
    replaces: Replaces = 0


class Rewind(PastRequest, frozen=True, kw_only=True, tag="rewind"):
    """Go back in a stream by whole bars. What plays goes on until the new stream takes its place, on the bar line that is told.

    What was changed since is undone. Where no clock plays, `at now` takes over as soon as it can.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("stream", "bars")
    stream: _OfStream
    bars: Annotated[int, about("How many bars.", unit="bars", ge=0, le=100_000)] = 4
    seed: SameWay | None = None
    at: At = "bar"


class Branch(PastRequest, frozen=True, kw_only=True, tag="branch"):
    """Take another way from a bar of a stream that plays; it takes the stream's place, or with `beside` plays beside it."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream", "bar")
    stream: _OfStream
    bar: Annotated[int, about("Bar of the stream, from 1, at whose start the ways part.", ge=1, le=1_000_000)]
    seed: SameWay = -1
    beside: Annotated[bool, about("Let the stream play on.")] = False
    at: At = "bar"


class Undo(PastRequest, frozen=True, kw_only=True, tag="undo"):
    """Take the last change of a stream back: it goes on from the bar in which that came, as if it had not."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: _OfStream
    at: At = "bar"


class PlayResume(PastRequest, frozen=True, kw_only=True, tag="resume"):
    """Go on with a stream from its journal, as `/engine/resume`, and play it. `/bridge/journals` lists them."""

    osc_positional: ClassVar[tuple[str, ...]] = ("journal",)
    journal: JournalId
    seconds: Annotated[float, about("Moment of the stream; -1 for the end.", unit="s", ge=-1, le=1_000_000)] = -1.0
    seed: SameWay | None = None
    exact: Annotated[
        bool, about("As `/engine/resume`: each token as it would have been, or several times as fast.")
    ] = True
    changes: Annotated[bool, about("Whether what was changed after this moment is changed again.")] = False


class Export(PastRequest, frozen=True, kw_only=True, tag="export"):
    """Make all of a stream again from its journal, into a file with a sidecar, as fast as the engine can; it may still play."""

    stream: Annotated[int, about("Number of a stream that plays; 0 for a journal.", ge=0, le=2**31 - 1)] = 0
    journal: JournalId = ""
    sound: Sound = False


class BridgeJournals(Journals, frozen=True, kw_only=True, tag="journals"):
    """List the streams that can be gone on with, the latest first, at most 200."""

    root: ClassVar[str] = "bridge"


class BridgeForget(Forget, frozen=True, kw_only=True, tag="journals/forget"):
    """Delete the journal of a stream that is over."""

    root: ClassVar[str] = "bridge"


class Held(Event, frozen=True, kw_only=True, tag="held"):
    """A stream that would have fallen silent plays its last bars again, or goes on from there."""

    stream: StreamId
    state: Annotated[Literal["holding", "back"], about("holding while the last bars play again; back with what is new")]
    reason: Annotated[Literal["late", "engine_lost"], about("The engine was too slow, or it is gone.")]


PAST_REQUESTS: tuple[type[Request], ...] = (Rewind, Branch, Undo, PlayResume, Export, BridgeJournals, BridgeForget)
