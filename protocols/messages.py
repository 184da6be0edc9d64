"""What can be asked of the engine and what it answers: every request, reply and event, each written once.

From these classes come the ZeroMQ form (`protocols.wire`), the OSC addresses (`protocols.osc.form`), the reference page
(`protocols.reference`) and the help of the command line. A parameter is added here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from protocols.fields import INT32_MAX, about
from protocols.melody import MAX_TEXT

Prompt = Annotated[str, about("Words that describe the music; empty for none.", max_length=2000)]
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
_MELODY = (
    'Melody to follow as JSON: `{"rate": 2, "length": 4, "notes": [[0, 1, 60], [1, 4, 67]]}` is two notes in a loop of 4 ticks, 2 '
    "a second; empty for none. It begins with the new material. One that comes later is heard at once, in step with the bars: a "
    "turn of it begins at the next bar line, or here where no tempo is known."
)
Melody = Annotated[str, about(_MELODY, osc=False, max_length=MAX_TEXT)]
Path = Annotated[str, about("Audio file on the machine that reads it.", max_length=4096)]
RegionStart = Annotated[float, about("Where the region starts in the file.", unit="s", ge=0, le=1e6)]
RegionLength = Annotated[float, about("Length of the region; 0 for all up to the file's end.", unit="s", ge=0, le=3600)]
Duration = Annotated[float, about("Length of the new material.", unit="s", ge=0.1, le=3600)]
Temperature = Annotated[float, about("Randomness of the choice of tokens; 0 is greedy.", ge=0, le=4)]
TopK = Annotated[int, about("Sample among the k likeliest tokens; 0 for all.", ge=0, le=65536)]
TopP = Annotated[float, about("Sample among the likeliest tokens up to this probability; 0 is off.", ge=0, le=1)]
Guidance = Annotated[float, about("How strongly the words are followed (cfg_coef).", ge=0, le=20)]
Seed = Annotated[
    int, about("Same seed, settings and device: same music. -1 picks one and reports it.", ge=-1, le=INT32_MAX)
]
UsedSeed = Annotated[Seed, about("The seed that is used: ask with it again for the same music.")]
Lead = Annotated[
    float,
    about("How far the engine may run ahead of what its owner has played.", unit="s", ge=0.1, le=120),
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


class Event(Message, frozen=True, kw_only=True):
    """Base of what the engine says by itself while it works."""


# --- Replies -------------------------------------------------------------------------------------------------------


class Welcome(Reply, frozen=True, kw_only=True, tag="welcome"):
    """The answer to the first message: what the engine is and how its audio is made."""

    protocol: Protocol
    version: Release
    instance: Instance
    model: ModelName
    fingerprint: Annotated[str, about("Names the weights by their content.")]
    status: HowTrained
    sample_rate: SampleRate
    channels: Channels
    frame_samples: Annotated[int, about("Samples in one codec frame.", unit="samples")]
    max_message: Annotated[int, about("Largest message that is accepted.", unit="bytes")]


class Opened(Reply, frozen=True, kw_only=True, tag="opened"):
    """A stream was accepted; it starts when the streams before it allow."""

    stream: StreamId
    seed: UsedSeed
    waiting: Annotated[int, about("Streams that come before it.")] = 0


class EngineStatus(Reply, frozen=True, kw_only=True, tag="engine_status"):
    """The engine at a glance."""

    state: Annotated[str, about("ready")]
    model: ModelName
    status: HowTrained
    device: Annotated[str, about("Where the model computes: cpu, cuda:0, mps …")]
    dtype: Annotated[str, about("Precision of its weights.")]
    threads: Annotated[int, about("CPU threads of the model.")]
    sample_rate: SampleRate
    channels: Channels
    streams_running: Annotated[int, about("Streams that are being made.")]
    streams_waiting: Annotated[int, about("Streams that wait for their turn.")]
    clients: Annotated[int, about("ZeroMQ clients that are connected.")]
    frames: Annotated[int, about("Codec frames sampled since the start.")]
    realtime: Annotated[float, about("Audio seconds made per second of work, lately.")]
    requests: Annotated[int, about("Requests since the start.")]
    errors: Annotated[int, about("Requests that were refused.")]
    busy: Annotated[int, about("Requests refused because the queue was full.")]
    memory_mb: Annotated[float, about("Memory of the process.", unit="MB")]
    uptime: Annotated[float, about("Since the process started.", unit="s")]


class VersionInfo(Reply, frozen=True, kw_only=True, tag="version_info"):
    """Release and protocol."""

    name: Annotated[str, about("Which process answers: engine or bridge.")]
    version: Release
    protocol: Protocol
    instance: Instance


class ModelInfo(Reply, frozen=True, kw_only=True, tag="model"):
    """One model of the catalogue."""

    name: ModelName
    source: Annotated[str, about("Where its weights come from.")]
    licence: Annotated[str, about("Licence of its weights.")]
    parameters: Annotated[int, about("Weights of the language model, in millions.")]
    status: HowTrained
    loaded: Annotated[bool, about("Whether the engine runs it now.")]
    summary: Annotated[str, about("What it is good for.")]


class ModelList(Reply, frozen=True, kw_only=True, tag="model_list"):
    """The catalogue."""

    items: Annotated[list[ModelInfo], about("The models.")]


class StreamInfo(Reply, frozen=True, kw_only=True, tag="stream"):
    """One stream, as a list shows it."""

    stream: StreamId
    kind: Annotated[str, about("The request that opened it.")]
    state: Annotated[str, about("How far it is: preparing, waiting, running …")]
    prompt: Prompt
    seed: UsedSeed
    seconds: Annotated[float, about("Audio made so far.", unit="s")]
    total_seconds: Annotated[float, about("Length when done; 0 without an end.", unit="s")]
    client: Annotated[str, about("Who opened it.")]


class StreamList(Reply, frozen=True, kw_only=True, tag="stream_list"):
    """The streams that wait or run."""

    items: Annotated[list[StreamInfo], about("The streams.")]


class Fail(Reply, frozen=True, kw_only=True, tag="fail"):
    """The request was refused: which kind of error, which field, what was given and what is allowed."""

    code: Annotated[str, about("Which kind of error; see the error codes.")]
    field: Annotated[str, about("The parameter that is wrong; empty when it is the message itself.")] = ""
    value: Annotated[str, about("What was given, shortened.")] = ""
    allowed: Annotated[str, about("The range or the choices, in words.")] = ""
    text: Annotated[str, about("All of it in one line.")] = ""


class Finished(Reply, frozen=True, kw_only=True, tag="finished"):
    """A stream is over and its file is closed: the answer to the request that opened it."""

    stream: StreamId
    reason: EndedBecause
    seconds: Annotated[float, about("Length of what was made.", unit="s")]
    seed: UsedSeed
    path: Annotated[str, about("The take; empty when none was written.")]
    underruns: Annotated[int, about("Times the stream ran dry while it played.")]
    first_sound_ms: Annotated[float, about("Request to first sample at the callback; 0 without sound.", unit="ms")]
    note: Note = ""


# --- Requests that open a stream -----------------------------------------------------------------------------------


class Sampling(Request, frozen=True, kw_only=True):
    """What is asked for and what shapes the choice of tokens, in every request that opens a stream."""

    prompt: Prompt = ""
    bpm: Bpm = 0.0
    key: Key = ""
    temperature: Temperature = 1.0
    top_k: TopK = 250
    top_p: TopP = 0.0
    guidance: Guidance = 3.0
    seed: Seed = -1


class StreamRequest(Sampling, frozen=True, kw_only=True):
    """Base of the requests that open a stream in the engine. Over OSC they are answered when the take is written."""

    reply: ClassVar[type[Reply]] = Opened
    osc_reply: ClassVar[type[Reply] | None] = Finished
    lead: Lead = 10.0
    melody: Melody = ""
    key_hint: Annotated[Key, about("Likely key, where neither `key` nor the words tell it.", osc=False)] = ""
    script: Annotated[
        str,
        about(
            "Changes to come, as a take's sidecar holds them (JSON): each with its frame.", osc=False, max_length=2**23
        ),
    ] = ""


class Generate(StreamRequest, frozen=True, kw_only=True, tag="generate"):
    """Make a piece from words: a stream with an end."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    duration: Duration = 15.0


class RegionRequest(StreamRequest, frozen=True, kw_only=True):
    """Base of the requests whose stream begins with audio: a file's region, or samples or codes sent with the request."""

    path: Path = ""
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    sample_rate: Annotated[
        int, about("Rate of the samples sent along; 0 when a path is given.", unit="Hz", osc=False, ge=0, le=768000)
    ] = 0
    channels: Annotated[int, about("Channels of the samples sent along, interleaved.", osc=False, ge=1, le=32)] = 1
    codebooks: Annotated[
        int,
        about(
            "Codebooks of the codes sent along (uint16, codebook after codebook) in place of samples.",
            osc=False,
            ge=0,
            le=64,
        ),
    ] = 0


class Continue(RegionRequest, frozen=True, kw_only=True, tag="continue"):
    """Go on from the end of an audio region: a stream whose first frames were encoded from audio."""

    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    duration: Duration = 15.0


class Open(RegionRequest, frozen=True, kw_only=True, tag="open"):
    """Open a stream without an end, from words and, if given, an audio region; it plays until it is cancelled."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    lead: Lead = 1.0


# --- Requests about streams ----------------------------------------------------------------------------------------


class Update(Request, frozen=True, kw_only=True, tag="update"):
    """Change a stream while it runs; what is left out stays as it is."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: AnyStream
    prompt: Prompt | None = None
    bpm: Bpm | None = None
    key: Key | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    guidance: Guidance | None = None
    melody: Melody | None = None


class Cancel(Request, frozen=True, kw_only=True, tag="cancel"):
    """End a stream now; what it made so far stays."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: AnyStream


class Streams(Request, frozen=True, kw_only=True, tag="streams"):
    """List the streams that wait or run."""

    reply: ClassVar[type[Reply]] = StreamList


class Listen(Request, frozen=True, kw_only=True, tag="listen"):
    """Hear a stream that somebody else opened, from now on; a listener that is too slow misses audio and is told."""

    stream: StreamId


class Unlisten(Request, frozen=True, kw_only=True, tag="unlisten"):
    """Stop hearing a stream."""

    stream: StreamId


class Acknowledge(Request, frozen=True, kw_only=True, tag="acknowledge"):
    """Say up to which sample a stream was taken; the engine sends and makes no more than ``lead`` beyond it."""

    stream: StreamId
    position: Annotated[int, about("First sample not taken yet.", unit="samples", osc=False, ge=0, le=2**62)]


# --- Requests about the process ------------------------------------------------------------------------------------


class Hello(Request, frozen=True, kw_only=True, tag="hello"):
    """The first message of a connection: which protocol the client speaks and who it is."""

    reply: ClassVar[type[Reply]] = Welcome
    protocol: Annotated[int, about("Protocol version of the client.", osc=False, ge=0, le=INT32_MAX)]
    client: Annotated[str, about("Name of the client, for logs and lists.", max_length=80)] = ""


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    """Nothing but a sign of life; a client that is silent for long is taken for dead."""


class Status(Request, frozen=True, kw_only=True, tag="status"):
    """How the process is: model, streams, counters."""

    reply: ClassVar[type[Reply]] = EngineStatus


class Version(Request, frozen=True, kw_only=True, tag="version"):
    """Which release and protocol this is."""

    reply: ClassVar[type[Reply]] = VersionInfo


class Models(Request, frozen=True, kw_only=True, tag="models"):
    """List the models that can be loaded by name, and the one that is."""

    reply: ClassVar[type[Reply]] = ModelList


class Quit(Request, frozen=True, kw_only=True, tag="quit"):
    """Stop the process in order: streams end, files are closed."""


# --- Events --------------------------------------------------------------------------------------------------------


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """A stream has left the queue and is being made."""

    stream: StreamId
    seed: UsedSeed
    model: ModelName
    sample_rate: SampleRate
    channels: Channels
    seconds: Annotated[float, about("Length it will have; 0 without an end.", unit="s")]
    note: Note = ""


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """How far a stream is."""

    stream: StreamId
    seconds: Annotated[float, about("Audio made so far.", unit="s")]
    total_seconds: Annotated[float, about("Length when done; 0 without an end.", unit="s")]
    realtime: Annotated[float, about("Audio seconds made per second of work.")]


class Updated(Event, frozen=True, kw_only=True, tag="updated"):
    """A change reached a stream: from this frame on the tokens are sampled under it."""

    stream: StreamId
    frame: Annotated[int, about("First codec frame under the change.", unit="frames")]
    seconds: Annotated[float, about("Where that is in the stream.", unit="s")]


class Missed(Event, frozen=True, kw_only=True, tag="missed"):
    """A listener was too slow: these samples will not be sent to it."""

    stream: StreamId
    start: Annotated[int, about("First sample missed.", unit="samples", osc=False)]
    end: Annotated[int, about("First sample after the gap.", unit="samples", osc=False)]


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """A stream is over."""

    stream: StreamId
    reason: EndedBecause
    samples: Annotated[int, about("Length of what was made.", unit="samples", osc=False)]
    seconds: Annotated[float, about("Length of what was made.", unit="s")]
    text: Annotated[str, about("Why it failed, in one line.")] = ""


class Recipe(Event, frozen=True, kw_only=True, tag="recipe"):
    """Everything needed to make a stream again; sent before ``ended`` and kept in the take's sidecar."""

    stream: StreamId
    request: Annotated[
        dict[str, str | int | float | bool | None],
        about("The request with every default filled in, but for its script."),
    ]
    seed: UsedSeed
    model: ModelName
    fingerprint: Annotated[str, about("Hash of the model's files; equal for equal checkpoints.")]
    status: HowTrained
    device: Annotated[str, about("Where the model computed.")]
    dtype: Annotated[str, about("Precision of its weights.")]
    engine_version: Release
    torch_version: Annotated[str, about("Release of PyTorch.")]
    prompt_codes: Annotated[bytes, about("Codes of the audio prompt, uint16 little-endian, codebook after codebook.")]
    codebooks: Annotated[int, about("Codebooks of these codes.")]
    changes: Annotated[
        list[dict[str, str | int | float | None]],
        about("What was changed while it ran, each with the frame it took effect at."),
    ]


class AudioHeader(Message, frozen=True, kw_only=True, array_like=True):
    """Goes before each block of raw float32 samples (interleaved, little-endian)."""

    stream: Annotated[int, about("Number of the stream.")]
    sequence: Annotated[int, about("Counts the blocks of a stream from 0.")]
    position: Annotated[int, about("Sample position of the block's first sample in the stream.", unit="samples")]
    frames: Annotated[int, about("Samples per channel in this block.")]
    channels: Channels
    sample_rate: SampleRate
    last: Annotated[bool, about("Nothing follows this block.")] = False


ENGINE_REQUESTS: tuple[type[Request], ...] = (
    Generate,
    Continue,
    Open,
    Update,
    Cancel,
    Streams,
    Listen,
    Unlisten,
    Acknowledge,
    Hello,
    Ping,
    Status,
    Version,
    Models,
    Quit,
)
REPLIES: tuple[type[Reply], ...] = (
    Done,
    Welcome,
    Opened,
    EngineStatus,
    VersionInfo,
    ModelList,
    StreamList,
    Fail,
)
EVENTS: tuple[type[Event], ...] = (Started, Progress, Updated, Missed, Recipe, Ended)
