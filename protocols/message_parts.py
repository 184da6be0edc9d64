"""What messages are made of: their bases, and the parameters that several of them share, each with its range, unit and meaning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from protocols.fields import INT32_MAX, about
from protocols.melody import MAX_TEXT
from protocols.style import MAX_TEXT as MAX_STYLE

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
DoubleGuidance = Annotated[
    float,
    about(
        "Where there are words beside a style, or beside a melody that is heard before the codes: how much they pull, against what "
        "that says alone. 1 is plain guidance; with more, such as 5, the words count more; 0 leaves them out.",
        ge=0,
        le=20,
    ),
]
StylePath = Annotated[
    str,
    about(
        "Audio file whose style the music is to have, for models that hear styles; empty for none. It goes together with words and "
        "with an audio region, and holds for as long as the stream does.",
        max_length=4096,
    ),
]
StyleStart = Annotated[float, about("Where the excerpt of the style starts in its file.", unit="s", ge=0, le=1e6)]
StyleLength = Annotated[
    float,
    about(
        "Length of that excerpt, from 1.5 to 4.5 s in the released model; 0 for the model's own, 3 s. What is shorter is repeated.",
        unit="s",
        ge=0,
        le=30,
    ),
]
StyleDetail = Annotated[
    int,
    about(
        "How closely the style is followed: how many of its codebooks count, up to 6 in the released model; 0 for its own, 3.",
        ge=0,
        le=64,
    ),
]
StyleText = Annotated[
    str,
    about("The style as a take's sidecar holds it, in place of its file.", osc=False, max_length=MAX_STYLE),
]
StyleSamples = Annotated[
    int,
    about(
        "How many samples at the end of the payload are the excerpt of the style: float32, one channel, at the model's rate.",
        osc=False,
        ge=0,
        le=2**24,
    ),
]
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
Steps = Annotated[
    str,
    about(
        "Passes for each codebook of a model that decodes whole segments (MAGNeT), such as `20 10 10 10`, or Euler steps of one "
        "that makes them out of noise (JASCO), such as `50`; empty for the model's own. Other models take none.",
        from_number=True,
        max_length=100,
    ),
]
FinalGuidance = Annotated[
    float,
    about(
        "What guidance falls to while a codebook is decoded, in a model that decodes whole segments (MAGNeT's min_cfg_coef).",
        ge=0,
        le=20,
    ),
]
Chords = Annotated[
    str,
    about(
        "Chords, each with the moment it begins in seconds, or in beats with a b: `C 0, F 2, G7 8b`. For models that hear chords "
        "(JASCO).",
        max_length=8000,
    ),
]
Drums = Annotated[
    str,
    about(
        "Audio file whose drums the music is to have, for models that hear drums (JASCO); empty for none. Best of drums alone: "
        "what else there is goes first where Demucs is installed.",
        max_length=4096,
    ),
]
DrumsStart = Annotated[float, about("Where the drums start in their file.", unit="s", ge=0, le=1e6)]
DrumsText = Annotated[
    str,
    about("The drums as a take's sidecar holds them, in place of their file.", osc=False, max_length=2**18),
]
TextGuidance = Annotated[
    float,
    about("How strongly the words alone are followed, beside all that JASCO is told (cfg_coef_txt).", ge=-20, le=20),
]
SpansName = Literal["nonoverlap", "stride1"]
Spans = Annotated[
    SpansName,
    about(
        "What a model that decodes whole segments (MAGNeT) draws again together: nonoverlap is spans side by side, stride1 spans "
        "that begin anywhere."
    ),
]
Seed = Annotated[
    int, about("Same seed, settings and device: same music. -1 picks one and reports it.", ge=-1, le=INT32_MAX)
]
UsedSeed = Annotated[Seed, about("The seed that is used: ask with it again for the same music.")]
Background = Annotated[
    bool,
    about(
        "Nobody listens while it is made, as with a file: what is listened to comes first, and it takes what is left.",
        osc=False,
    ),
]
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
ModelKind = Literal["music", "sound"]
Makes = Annotated[ModelKind, about("What the model makes: music or sounds.")]
Resampling = Literal["soxr", "sinc"]
LoadedPrecision = Annotated[str, about("Precision of the model's weights: float32, float16, bfloat16, int8 or int4.")]
RunBy = Annotated[str, about("What runs the model: plain, onnx or graphs.")]
HowResampled = Annotated[
    Resampling,
    about("How sound at other rates is brought to the model's, so that it hears what it was trained on.", osc=False),
]
Decoder = Annotated[
    str,
    about(
        "What makes sound of the model's codes: codec (its own), multiband-diffusion, or another that is installed; empty for that "
        "of the settings. Options come behind it: `multiband-diffusion window=2 steps=10`.",
        max_length=4096,
    ),
]
DecoderNames = Annotated[
    str,
    about(
        "Decoders that the model's codes can be given to, with spaces between them; that of the settings comes first."
    ),
]
StyleSeconds = Annotated[
    float, about("Length of the excerpts that the model hears a style of; 0: it hears none.", unit="s")
]
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
