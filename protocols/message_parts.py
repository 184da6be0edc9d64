"""What messages are made of: their bases, and the parameters that several of them share, each with its range, unit and meaning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from protocols.fields import INT32_MAX, about
from protocols.melody import MAX_TEXT

PROMPT_SEPARATOR = "||"
Prompt = Annotated[
    str,
    about(
        "Words that describe the music; empty for none. Several prompts, up to 8, stand between `||`: warm strings || harp.",
        max_length=2000,
    ),
]
Weights = Annotated[
    str,
    about("How much each of several prompts counts, in order, such as 0.7 0.3; empty for equal ones.", max_length=200),
]
BlendName = Literal["embedding", "guidance"]
Blend = Annotated[
    BlendName,
    about(
        "How several prompts are joined, and old and new ones while they morph: embedding is one text in between, guidance lets "
        "each of them pull with its weight (a little more work for each)."
    ),
]
SLOWEST_BPM, FASTEST_BPM = 20, 300
Bpm = Annotated[
    float,
    about(
        f"Tempo, at least {SLOWEST_BPM}; 0 leaves it to the words. The beat of 6/8 and 12/8 is the dotted quarter.",
        unit="beats/min",
        ge=0,
        le=FASTEST_BPM,
    ),
]
Key = Annotated[
    str,
    about("Key, such as A minor, Bb major or F# dorian; empty leaves it to the words.", max_length=40),
]
Metre = Annotated[
    str,
    about(
        "Metre, such as 3/4, 6/8, 5/4 or 7/8; empty leaves it to the words. Bars count from the new material.",
        max_length=10,
    ),
]
Sections = Annotated[
    str,
    about(
        "Other words from moments of the new material on: `8 dark strings || 16b over 4 full orchestra` is from second 8, and from "
        "beat 16 at the request's tempo, turning to them over four beats. At most 64.",
        max_length=4000,
    ),
]
_MELODY = (
    'Melody to follow as JSON: `{"rate": 2, "length": 4, "notes": [[0, 1, 60], [1, 4, 67]]}` is two notes in a loop of 4 ticks, 2 '
    'a second; `{"rate": [2, 1], "length": [5, 2], "chroma": "0077-"}` is a row of pitch classes, 2 a second in a loop of 5/2 s; '
    "empty for none. It begins with the new material. One that comes later is heard at once, in step with the bars: a turn of it "
    "begins at the next bar line, or here where no tempo is known."
)
Melody = Annotated[str, about(_MELODY, max_length=MAX_TEXT)]
SeparationName = Literal["auto", "demucs", "harmonic", "none"]
Separation = Annotated[
    SeparationName,
    about(
        "How drums and bass are taken out before the melody is read: by demucs (daw-bridge[demucs]), harmonic (a filter) or none; "
        "auto is demucs where it is installed with its weights, else harmonic."
    ),
]
Path = Annotated[str, about("Audio file on the machine that reads it.", max_length=4096)]
SentRate = Annotated[
    int, about("Rate of the samples sent along; 0 when a path is given.", unit="Hz", osc=False, ge=0, le=768000)
]
SentChannels = Annotated[int, about("Channels of the samples sent along, interleaved.", osc=False, ge=1, le=32)]
RegionStart = Annotated[float, about("Where the region starts in the file.", unit="s", ge=0, le=1e6)]
RegionLength = Annotated[float, about("Length of the region; 0 for all up to the file's end.", unit="s", ge=0, le=3600)]
Seam = Annotated[
    bool,
    about("Lead the region's own sound and level over into the new material; off leaves the model's sound as it is."),
]
Duration = Annotated[float, about("Length of the new material.", unit="s", ge=0.1, le=3600)]
Temperature = Annotated[float, about("Randomness of the choice of tokens; 0 is greedy.", ge=0, le=4)]
TopK = Annotated[int, about("Sample among the k likeliest tokens; 0 for all.", ge=0, le=65536)]
TopP = Annotated[float, about("Sample among the likeliest tokens up to this probability; 0 is off.", ge=0, le=1)]
Guidance = Annotated[float, about("How strongly the words are followed (cfg_coef).", ge=0, le=20)]
Morph = Annotated[
    float,
    about(
        "Over how many beats prompts, guidance and temperature turn into the new ones, at 120 beats/min where no tempo is known; 0 "
        "for at once.",
        unit="beats",
        ge=0,
        le=1024,
    ),
]
Stride = Annotated[
    float,
    about(
        "How much later each window begins than the one before, in a stream that is longer than the model hears at once "
        "(extend_stride); 0 for the model's own. A small one leaves more of an audio prompt to be heard.",
        unit="s",
        ge=0,
        le=600,
    ),
]
Seed = Annotated[
    int, about("Same seed, settings and device: same music. -1 picks one and reports it.", ge=-1, le=INT32_MAX)
]
UsedSeed = Annotated[Seed, about("The seed that is used: ask with it again for the same music.")]
Lead = Annotated[
    float,
    about("How far the engine may run ahead of what its owner has played.", unit="s", ge=0.1, le=120),
]
JournalId = Annotated[
    str, about("Name of a stream's journal; empty where none is kept, or for a stream that ended early.", max_length=40)
]
StreamId = Annotated[int, about("Number of the stream.", ge=1, le=INT32_MAX)]
AnyStream = Annotated[int, about("Number of the stream; 0 for every stream.", ge=0, le=INT32_MAX)]

ModelName = Annotated[str, about("Name of the model; empty while there is none.")]
ModelStatus = Literal["trained", "preview", "untrained"]
HowTrained = Annotated[
    ModelStatus,
    about(
        "How far the model is: a preview makes music, but below the marks set for it; one that is untrained makes noise."
    ),
]
Fingerprint = Annotated[
    str, about("Names the model's files by their content; empty while there is none.", max_length=64)
]
FrameSamples = Annotated[int, about("Samples in one codec frame.", unit="samples")]
HearsMelodies = Annotated[bool, about("Whether the model hears melodies.")]
SampleRate = Annotated[int, about("Rate of the model's audio.", unit="Hz")]
Channels = Annotated[int, about("Channels of the model's audio.")]
Instance = Annotated[int, about("Changes whenever the engine starts anew; streams of another instance are gone.")]
Release = Annotated[str, about("Release of the software.")]
Protocol = Annotated[int, about("Version of the protocol.")]

Note = Annotated[str, about("What became of the input, where that is not plain: a melody, a prompt that was cut.")]
EndReason = Literal["done", "cancelled", "failed", "owner_lost", "engine_lost", "stopping"]
EndedBecause = Annotated[EndReason, about("Why it is over.")]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that is sent.

    ``osc_positional`` names what comes first over OSC, in order, ``osc_rest`` what takes all numbers that follow.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ()
    osc_rest: ClassVar[str] = ""


class Reply(Message, frozen=True, kw_only=True):
    """Base of the answers to requests."""


class Done(Reply, frozen=True, kw_only=True, tag="done"):
    """The request was carried out and there is nothing more to say."""


class Request(Message, frozen=True, kw_only=True):
    """Base of everything that can be asked; it is answered by exactly one reply, of this class when all is well.

    ``reply`` is what a ZeroMQ client gets, ``osc_reply`` what an OSC client gets where that is another.
    """

    root: ClassVar[str] = "engine"
    reply: ClassVar[type[Reply]] = Done
    osc_reply: ClassVar[type[Reply] | None] = None

    @property
    def takes_time_tag(self) -> bool:
        """Whether it is handed over ahead of its time, since whoever carries it out keeps to the time tag itself."""
        return False


class Event(Message, frozen=True, kw_only=True):
    """Base of what the engine says by itself while it works."""
