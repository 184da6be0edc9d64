"""Loops in the bridge's language: layers that are recorded, played on the clock's bar lines and gone on with."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.fields import about
from protocols.messages import Done, Event, RegionLength, RegionStart, Reply, Request, Sampling
from protocols.sound_messages import Level

MAX_LAYERS = 8
MAX_VARIATIONS = 8
MAX_LOOP_BARS = 256
MAX_LOOP_SECONDS = 120.0

LayerNumber = Annotated[int, about("The layer.", ge=1, le=MAX_LAYERS)]
AnyLayer = Annotated[int, about("The layer; 0 for all of them.", ge=0, le=MAX_LAYERS)]
LoopPath = Annotated[
    str, about("Audio file on the bridge's machine, inside one of its allowed folders.", max_length=4096)
]
Bars = Annotated[int, about("Length.", unit="bars", ge=1, le=MAX_LOOP_BARS)]
BarsOrSame = Annotated[
    int, about("Length of what is made; 0 for that of the loop.", unit="bars", ge=0, le=MAX_LOOP_BARS)
]
AtLine = Annotated[
    Literal["now", "beat", "bar"], about("When: as soon as it can be heard, or on the next beat or bar line.")
]
AtPlace = Annotated[
    Literal["bar", "loop"],
    about("On the next bar line, at the same place of the loop, or where the loop ends, from its start."),
]
LoopSource = Annotated[
    Literal["input", "output", "stream"],
    about(
        "What is recorded: the sound card's input, all that the bridge plays, or one stream, whose last bars are taken."
    ),
]
Letter = Annotated[Literal["A", "B", "C", "D", "E", "F", "G", "H"], about("Letter of a variation.")]
TakeWords = Annotated[str, about("Name of the take; a variation's begins with its letter.")]
LoopBar = Annotated[int, about("Bar of the clock, from 1; 0 while the clock stands.")]
LoopBeat = Annotated[int, about("Beat in it, from 1; 0 while the clock stands.")]
LoopSample = Annotated[int, about("Frame of the sound card, counted from its opening.", unit="samples")]
LoopSeconds = Annotated[float, about("From this message until it is heard.", unit="s")]


class LoopPlaced(Reply, frozen=True, kw_only=True, tag="loop_placed"):
    """Where a request about a loop takes effect."""

    layer: LayerNumber
    bar: LoopBar
    beat: LoopBeat
    sample: LoopSample
    seconds: LoopSeconds


class LoopInfo(Reply, frozen=True, kw_only=True, tag="loop_info"):
    """One layer."""

    layer: LayerNumber
    state: Annotated[str, about("waiting, recording, playing or stopped")]
    bars: Annotated[float, about("Length of the loop.", unit="bars")]
    level: Level
    muted: Annotated[bool, about("Whether it is muted.")]
    feeding: Annotated[bool, about("Whether it goes on feeding on itself.")]
    making: Annotated[int, about("Takes that are being made.")]
    late: Annotated[int, about("Times the loop played once more because what follows was not ready.")]
    underruns: Annotated[int, about("Times its sound came too late and it was placed anew.")]
    take: TakeWords
    path: Annotated[str, about("File of the take; empty while it is written.")]
    index: Annotated[int, about("Which of its takes plays, from 1.")]
    takes: Annotated[int, about("Takes that can be undone and redone.")]
    variations: Annotated[str, about("Letters of the variations that can be chosen, such as ABCD.")]


class LoopList(Reply, frozen=True, kw_only=True, tag="loop_list"):
    """The layers that hold something."""

    items: Annotated[list[LoopInfo], about("The layers.")]


class LoopRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about a layer."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = LoopPlaced
    osc_positional: ClassVar[tuple[str, ...]] = ("layer",)


class RecordLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/record"):
    """Record from the next bar line on, and play it as a loop from the bar line at which the recording ends.

    An internal clock that stands starts with it. From a stream the bars are taken that it has just played, and the loop begins on
    the next bar line. What is recorded is written to the takes folder too.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "bars", "source")
    layer: LayerNumber
    bars: Bars
    source: LoopSource = "input"
    stream: Annotated[int, about("Number of the stream, for source stream.", ge=0, le=2**31 - 1)] = 0


class PlayLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/play"):
    """Play an audio region as a loop from the next bar line on; answered once it is read.

    An internal clock that stands starts with it. Where its tempo is not the clock's it is stretched, at the same pitch.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "path")
    layer: LayerNumber
    path: LoopPath
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    bars: Annotated[
        int,
        about(
            "How many bars it is; 0 for as many as it has at the clock's tempo, to the nearest.",
            unit="bars",
            ge=0,
            le=MAX_LOOP_BARS,
        ),
    ] = 0


class LoopMaking(Sampling, frozen=True, kw_only=True):
    """Base of what the engine makes for a layer, at the clock's tempo."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = LoopPlaced
    layer: LayerNumber
    bars: BarsOrSame = 0


class ContinueLoop(LoopMaking, frozen=True, kw_only=True, tag="loop/continue"):
    """Let the engine go on from the layer's loop, which plays on; what it makes is the loop from the next loop end on.

    The answer names the loop end that is expected. Where the engine is not ready by then, the loop plays once more and `loop` says
    late, before it does.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "bars")
    feed: Annotated[
        bool, about("Go on from each take that begins, until `/bridge/loop/feed` or `/bridge/loop/stop`.")
    ] = False


class VaryLoop(LoopMaking, frozen=True, kw_only=True, tag="loop/variations"):
    """Make several ways to go on from the layer's loop, side by side, with seeds that count up; `/bridge/loop/choose` plays one."""

    reply: ClassVar[type[Reply]] = Done
    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "count")
    count: Annotated[int, about("How many.", ge=2, le=MAX_VARIATIONS)] = 4


class FeedLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/feed"):
    """Let a layer go on feeding on itself as its last continuation was asked for, or no longer."""

    reply: ClassVar[type[Reply]] = Done
    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "feed")
    layer: LayerNumber
    feed: Annotated[bool, about("Whether it does.")] = True


class ChooseLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/choose"):
    """Play a variation."""

    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "letter")
    layer: LayerNumber
    letter: Letter
    at: AtPlace = "bar"


class UndoLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/undo"):
    """Play the take before."""

    layer: LayerNumber
    at: AtPlace = "bar"


class RedoLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/redo"):
    """Play the take that was undone."""

    layer: LayerNumber
    at: AtPlace = "bar"


class MuteLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/mute"):
    """Mute a layer, which plays on unheard, or let it be heard again."""

    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "mute")
    layer: LayerNumber
    mute: Annotated[bool, about("Whether it is muted.")] = True
    at: AtLine = "now"


class StopLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/stop"):
    """Stop a layer, or all, and what is recorded or made for it; its takes are kept."""

    layer: AnyLayer
    at: AtLine = "bar"


class AgainLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/again"):
    """Play a layer that was stopped, from the next bar line on."""

    layer: LayerNumber


class ClearLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/clear"):
    """Stop a layer at once and forget its takes; their files stay."""

    reply: ClassVar[type[Reply]] = Done
    layer: LayerNumber


class LevelLoop(LoopRequest, frozen=True, kw_only=True, tag="loop/level"):
    """Set the level of a layer."""

    reply: ClassVar[type[Reply]] = Done
    osc_positional: ClassVar[tuple[str, ...]] = ("layer", "level")
    layer: LayerNumber
    level: Level


class Loops(Request, frozen=True, kw_only=True, tag="loops"):
    """List the layers that hold something."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = LoopList


class LoopChange(Event, frozen=True, kw_only=True, tag="loop"):
    """Something becomes of a layer, told a little before it is heard."""

    layer: LayerNumber
    state: Annotated[
        str,
        about(
            "waiting (for the bar line named), recording, playing (a loop begins), changed (another take begins), making, ready (a "
            "variation can be chosen), late (the loop plays once more), moved (placed anew in time), muted, heard, stopped, saved, "
            "failed or cleared"
        ),
    ]
    bar: LoopBar
    beat: LoopBeat
    sample: LoopSample
    seconds: LoopSeconds
    take: TakeWords
    note: Annotated[str, about("The file of what was saved, or what went wrong.")] = ""


LOOP_REQUESTS: tuple[type[Request], ...] = (
    RecordLoop,
    PlayLoop,
    ContinueLoop,
    FeedLoop,
    VaryLoop,
    ChooseLoop,
    UndoLoop,
    RedoLoop,
    LevelLoop,
    MuteLoop,
    StopLoop,
    AgainLoop,
    ClearLoop,
    Loops,
)
LOOP_EVENTS: tuple[type[Event], ...] = (LoopChange,)
