"""Pads and controllers in the bridge's language: what is played on MIDI inputs, and what that asks for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.fields import INT32_MAX, about
from protocols.messages import Event, Reply, Request

MAX_ACTION = 4000
MAX_READY = 4

TriggerName = Annotated[str, about("Its name; your own choice.", max_length=80)]
PadSource = Annotated[
    str,
    about(
        "What plays it: a note by number (60) or name (C3, the same), a range of them (36-51, C1-D#2), any, cc:64 for a switch "
        "that sends a controller, program:5 for a program change, learn for whatever is played next; empty for OSC alone.",
        max_length=20,
        from_number=True,
    ),
]
Action = Annotated[
    str,
    about(
        "What it asks for: a request to the bridge as one text, its address first, such as /bridge/play 'warm strings' duration 4; "
        "or words for a prompt, which are played until the pad ends it, or for 15 s where it is a one_shot.",
        max_length=MAX_ACTION,
    ),
]
Channel = Annotated[int, about("MIDI channel, 1 to 16; 0 for any.", ge=0, le=16)]
FromInput = Annotated[
    str, about("Part of the name of the input that it is played on; empty for any that is open.", max_length=200)
]
Curve = Annotated[
    float,
    about("How it rises from the low to the high end: 1 straight, 2 late, 0.5 early.", ge=0.1, le=10),
]


class TriggerRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about pads and controllers."""

    root: ClassVar[str] = "bridge"


class MapPad(TriggerRequest, frozen=True, kw_only=True, tag="trigger/map"):
    """Let a note ask for something, in place of an earlier pad of this name. It is kept for the bridge's next runs.

    A pad that opens a stream by `/bridge/play`, `/bridge/open`, `/bridge/continue`, `/bridge/midi` or `/bridge/again` can be held,
    toggled, choked and kept ready. Such a stream is not written to a file unless the action says `save 1`. Of other requests a
    `hold` and a `toggle` ask for `off` at their end.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("name", "note", "action")
    name: TriggerName
    note: PadSource
    action: Action
    channel: Channel = 0
    input: FromInput = ""
    mode: Annotated[
        Literal["one_shot", "hold", "toggle"],
        about("one_shot plays to its end, hold until the key is let go, toggle until it is struck again."),
    ] = "one_shot"
    off: Annotated[str, about("What a hold or a toggle asks for at its end, as `action`.", max_length=MAX_ACTION)] = ""
    velocity: Annotated[
        Literal["level", "guidance", "none"],
        about(
            "What the velocity sets. A pad whose guidance it sets is not kept ready: its sound depends on the stroke."
        ),
    ] = "level"
    low: (
        Annotated[
            float, about("At velocity 1: dB added to the level (-24 if left out), or guidance (1).", ge=-120, le=20)
        ]
        | None
    ) = None
    high: (
        Annotated[
            float, about("At velocity 127: dB added to the level (0 if left out), or guidance (6).", ge=-120, le=20)
        ]
        | None
    ) = None
    curve: Curve = 1.0
    choke: Annotated[
        str, about("Group of which one sounds at a time: a new one takes the other's place.", max_length=80)
    ] = ""
    prime: Annotated[
        int,
        about(
            "How many streams are kept ready for it, so that a note is heard at once; 0 for none. "
            "Of all pads together at most `bridge.ready`.",
            ge=0,
            le=MAX_READY,
        ),
    ] = 1


class MapController(TriggerRequest, frozen=True, kw_only=True, tag="trigger/cc"):
    """Let a controller set something, in place of an earlier one of this name. It is kept for the bridge's next runs.

    `parameter` is guidance, temperature, top_k, top_p, double_guidance or bpm of a stream, weight1 to weight8 of its prompts,
    crossfade between its first two, its level in dB; master (the level of everything), clock (the tempo of the clock); or a request
    to the bridge with {value} in it. Of what moves fast 25 values a second are sent, the last one always.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("parameter", "control", "low", "high")
    parameter: Annotated[str, about("What it sets.", max_length=MAX_ACTION)]
    control: Annotated[
        str,
        about(
            "Number of the controller, 0 to 127; bend, pressure or program; learn for whatever is moved next.",
            max_length=20,
            from_number=True,
        ),
    ]
    low: Annotated[float, about("Value at its lower end.", ge=-1e6, le=1e6)]
    high: Annotated[float, about("Value at its upper end; it may be the smaller one.", ge=-1e6, le=1e6)]
    name: Annotated[str, about("Its name; empty takes the parameter's.", max_length=80)] = ""
    stream: Annotated[int, about("Number of the stream that is meant; 0 for every stream.", ge=0, le=INT32_MAX)] = 0
    pad: Annotated[
        str, about("Pad whose streams are meant, those to come too; empty for those of `stream`.", max_length=80)
    ] = ""
    channel: Channel = 0
    input: FromInput = ""
    curve: Curve = 1.0
    takeover: Annotated[
        Literal["pickup", "jump"],
        about("pickup waits until the controller passes the value as it is, so that nothing jumps; jump does not."),
    ] = "pickup"


class Learn(TriggerRequest, frozen=True, kw_only=True, tag="trigger/learn"):
    """Take the note or controller that is played next for a pad or a controller; an empty name takes none after all.

    The name of a parameter that nothing sets yet makes a controller for it, over its usual range. `/bridge/learned` tells what was
    taken.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: TriggerName


class Strike(TriggerRequest, frozen=True, kw_only=True, tag="trigger/strike"):
    """Play a pad over OSC, as its note would; velocity 0 lets it go."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name", "velocity")
    name: TriggerName
    velocity: Annotated[int, about("How hard.", ge=0, le=127)]


class TriggerInput(Reply, frozen=True, kw_only=True, tag="trigger_input"):
    """A MIDI input that pads and controllers are played on."""

    name: Annotated[str, about("As the system spells it.")]


class OpenTriggerInput(TriggerRequest, frozen=True, kw_only=True, tag="trigger/input"):
    """Let a MIDI input play pads and controllers, as many as you like; answered once it is open.

    It is kept for the bridge's next runs. One that is unplugged is taken up again when it comes back.
    """

    reply: ClassVar[type[Reply]] = TriggerInput
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[
        str,
        about(
            "Part of the input's name, see `/bridge/midi/inputs`; empty for the one in the settings, else the first.",
            max_length=200,
        ),
    ]
    open: Annotated[bool, about("0 gives it back; with an empty name all of them.")] = True


class TriggerInfo(Reply, frozen=True, kw_only=True, tag="trigger_info"):
    """One pad, controller or input."""

    name: Annotated[str, about("Its name.")]
    kind: Annotated[Literal["pad", "controller", "input"], about("What it is.")]
    source: Annotated[str, about("The note, controller or input that plays it.")]
    channel: Channel
    does: Annotated[str, about("What it asks for or sets.")]
    mode: Annotated[str, about("Of a pad one_shot, hold or toggle; of a controller pickup or jump.")]
    state: Annotated[
        str,
        about(
            "Of a pad off, preparing, ready, waiting (for its sound or its beat) or sounding; of a controller its value, or free "
            "while it has none; learn while what is played next is taken; of an input open or lost."
        ),
    ]


class TriggerList(Reply, frozen=True, kw_only=True, tag="trigger_list"):
    """Pads, controllers and inputs."""

    items: Annotated[list[TriggerInfo], about("Pads, controllers, inputs.")]


class Triggers(TriggerRequest, frozen=True, kw_only=True, tag="triggers"):
    """List the pads, the controllers, and the inputs that they are played on."""

    reply: ClassVar[type[Reply]] = TriggerList


class ForgetTrigger(TriggerRequest, frozen=True, kw_only=True, tag="trigger/forget"):
    """Forget a pad or a controller; what the pad plays fades out."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: TriggerName


class ClearTriggers(TriggerRequest, frozen=True, kw_only=True, tag="trigger/clear"):
    """Forget all pads and controllers; inputs stay open."""


class Triggered(Event, frozen=True, kw_only=True, tag="triggered"):
    """A pad was played, and its stream sounds; of a pad that opens none, its request was carried out."""

    name: TriggerName
    note: Annotated[int, about("The note; -1 for what was no note.")]
    velocity: Annotated[int, about("How hard.")]
    stream: Annotated[int, about("Number of its stream; 0 for none.")]
    latency_ms: Annotated[
        float, about("From the moment the note was played to the first sample in the audio callback.", unit="ms")
    ]


class PadState(Event, frozen=True, kw_only=True, tag="pad"):
    """A pad looks another way, as for its light: off, preparing, ready, waiting or sounding."""

    name: TriggerName
    state: Annotated[str, about("See `/bridge/triggers`.")]


class Learned(Event, frozen=True, kw_only=True, tag="learned"):
    """A pad or a controller has its note or controller now."""

    name: TriggerName
    source: Annotated[str, about("What plays it from now on.")]
    channel: Channel


class TriggerFailed(Event, frozen=True, kw_only=True, tag="trigger_failed"):
    """What a pad or a controller asked for was refused."""

    name: TriggerName
    code: Annotated[str, about("As in /fail.")]
    text: Annotated[str, about("Why, in one line.")]


class TriggerInputState(Event, frozen=True, kw_only=True, tag="trigger_input"):
    """A MIDI input for pads and controllers came or went."""

    name: Annotated[str, about("As the system spells it.")]
    state: Annotated[Literal["open", "lost"], about("lost is looked for until it is back.")]


TRIGGER_REQUESTS: tuple[type[Request], ...] = (
    MapPad,
    MapController,
    Learn,
    Strike,
    OpenTriggerInput,
    Triggers,
    ForgetTrigger,
    ClearTriggers,
)
TRIGGER_EVENTS: tuple[type[Event], ...] = (Triggered, PadState, Learned, TriggerFailed, TriggerInputState)
