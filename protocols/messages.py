"""What can be asked of the engine and what it answers: every request, reply and event, each written once.

From these classes come the ZeroMQ form (`protocols.wire`), the OSC addresses (`protocols.osc.form`), the reference page
(`protocols.reference`) and the help of the command line. A parameter is added in one place: of a request here, of a reply or an
event in `protocols.answers`, and in `protocols.message_parts` what several of them share. All of it can be imported from here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.answers import *  # noqa: F403
from protocols.answers import (
    EngineStatus,
    Finished,
    JournalList,
    Loaded,
    MelodyRead,
    ModelList,
    Opened,
    ReplicaList,
    StreamList,
    VersionInfo,
    Welcome,
)
from protocols.codec_messages import *  # noqa: F403
from protocols.codec_messages import CODEC_REQUESTS
from protocols.exchange_messages import *  # noqa: F403
from protocols.exchange_messages import TRANSFER_REQUESTS
from protocols.fields import INT32_MAX, about
from protocols.message_parts import *  # noqa: F403
from protocols.message_parts import (
    AnyStream,
    Background,
    Blend,
    Bpm,
    Chords,
    Decoder,
    DoubleGuidance,
    Drums,
    DrumsStart,
    DrumsText,
    Duration,
    FinalGuidance,
    Guidance,
    JournalId,
    Key,
    Lead,
    Melody,
    Metre,
    Morph,
    Path,
    Prompt,
    RegionLength,
    RegionStart,
    Reply,
    Request,
    Seam,
    Sections,
    Seed,
    SentChannels,
    SentRate,
    Separation,
    Spans,
    Steps,
    StreamId,
    Stride,
    StyleDetail,
    StyleLength,
    StylePath,
    StyleSamples,
    StyleStart,
    StyleText,
    Temperature,
    TextGuidance,
    TopK,
    TopP,
    Weights,
)
from protocols.model_messages import *  # noqa: F403
from protocols.model_messages import MODEL_REQUESTS

# --- Requests that open a stream -----------------------------------------------------------------------------------


class Sampling(Request, frozen=True, kw_only=True):
    """What is asked for and what shapes the choice of tokens, in every request that opens a stream."""

    prompt: Prompt = ""
    weights: Weights = ""
    blend: Blend = "embedding"
    bpm: Bpm = 0.0
    key: Key = ""
    metre: Metre = ""
    temperature: Temperature = 1.0
    top_k: TopK = 250
    top_p: TopP = 0.0
    guidance: Guidance = 3.0
    double_guidance: DoubleGuidance = 1.0
    stride: Stride = 0.0
    decoder: Decoder = ""
    steps: Steps = ""
    final_guidance: FinalGuidance = 1.0
    spans: Spans = "nonoverlap"
    chords: Chords = ""
    drums: Drums = ""
    drums_start: DrumsStart = 0.0
    text_guidance: TextGuidance = 0.0
    style_path: StylePath = ""
    style_start: StyleStart = 0.0
    style_length: StyleLength = 0.0
    style_detail: StyleDetail = 0
    seed: Seed = -1


class StreamRequest(Sampling, frozen=True, kw_only=True):
    """Base of the requests that open a stream in the engine. Over OSC they are answered when the take is written."""

    reply: ClassVar[type[Reply]] = Opened
    osc_reply: ClassVar[type[Reply] | None] = Finished
    lead: Lead = 10.0
    sections: Sections = ""
    melody: Melody = ""
    style_codes: StyleText = ""
    drums_codes: DrumsText = ""
    style_samples: StyleSamples = 0
    key_hint: Annotated[Key, about("Likely key, where neither `key` nor the words tell it.", osc=False)] = ""
    script: Annotated[
        str,
        about(
            "Changes to come, as a take's sidecar holds them (JSON): each with its frame.", osc=False, max_length=2**23
        ),
    ] = ""
    from_frame: Annotated[
        int,
        about(
            "Codec frame to begin with; those before it are made and not sent, as for a take that was resumed.",
            osc=False,
            ge=0,
            le=2**27,
        ),
    ] = 0
    fingerprint: Annotated[
        str,
        about(
            "Only the model with this fingerprint may make it; empty for whichever is loaded.", osc=False, max_length=64
        ),
    ] = ""
    patient: Annotated[
        bool,
        about(
            "It waits for its owner, who may never play it: it takes no place and what others need comes first, until the owner "
            "acknowledges anything.",
            osc=False,
        ),
    ] = False
    background: Background = False


class Generate(StreamRequest, frozen=True, kw_only=True, tag="generate"):
    """Make a piece from words: a stream with an end."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    duration: Duration = 15.0


class RegionRequest(StreamRequest, frozen=True, kw_only=True):
    """Base of the requests whose stream begins with audio: a file's region, or samples or codes sent with the request."""

    path: Path = ""
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    sample_rate: SentRate = 0
    channels: SentChannels = 1
    codebooks: Annotated[
        int,
        about(
            "Codebooks of the codes sent along (uint16, codebook after codebook) in place of samples.",
            osc=False,
            ge=0,
            le=64,
        ),
    ] = 0
    seam: Seam = True
    seam_record: Annotated[
        str,
        about("The seam to make, as a take's sidecar holds it; it goes with codes.", osc=False, max_length=2**18),
    ] = ""


class Continue(RegionRequest, frozen=True, kw_only=True, tag="continue"):
    """Go on from the end of an audio region: a stream whose first frames were encoded from audio."""

    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    duration: Duration = 15.0


class Open(RegionRequest, frozen=True, kw_only=True, tag="open"):
    """Open a stream without an end, from words and, if given, an audio region; it plays until it is cancelled."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    lead: Lead = 1.0


class Resume(Request, frozen=True, kw_only=True, tag="resume"):
    """Go on with a stream from its journal, exactly as it would have gone on: at the end of it, or from an earlier moment.

    From an earlier moment it goes on as it was then; what was changed later comes again only if `changes` says so. With a `seed` it
    takes another way from there. It is a new stream, whose first sample is that of this moment.
    """

    reply: ClassVar[type[Reply]] = Opened
    osc_reply: ClassVar[type[Reply] | None] = Finished
    osc_positional: ClassVar[tuple[str, ...]] = ("journal",)
    journal: JournalId
    seconds: Annotated[
        float, about("Moment of the stream; -1 for the end, or for `frame`.", unit="s", ge=-1, le=1_000_000)
    ] = -1.0
    frame: Annotated[
        int, about("Moment of the stream, if `seconds` is -1; -1 for the end.", unit="frames", ge=-1, le=2**27)
    ] = -1
    seed: Seed | None = None
    exact: Annotated[
        bool,
        about(
            "Hear the window again step by step, so that each token is certain to be as it would have been; else in large "
            "pieces, several times as fast, and at times a token differs."
        ),
    ] = True
    changes: Annotated[bool, about("Whether what was changed after this moment is changed again.")] = False
    lead: Lead | None = None
    background: Background = False


class ReadMelody(Request, frozen=True, kw_only=True, tag="melody"):
    """Read the melody of an audio region, of a file or of samples sent along, in the form that the model hears best."""

    reply: ClassVar[type[Reply]] = MelodyRead
    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    path: Path = ""
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    separation: Separation = "auto"
    sample_rate: SentRate = 0
    channels: SentChannels = 1


# --- Requests about streams ----------------------------------------------------------------------------------------


class Update(Request, frozen=True, kw_only=True, tag="update"):
    """Change a stream while it runs; what is left out stays as it is."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: AnyStream
    prompt: Prompt | None = None
    weights: Weights | None = None
    blend: Blend | None = None
    morph: Morph = 0.0
    bpm: Bpm | None = None
    key: Key | None = None
    metre: Metre | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    guidance: Guidance | None = None
    double_guidance: DoubleGuidance | None = None
    seed: Seed | None = None
    melody: Melody | None = None
    style_path: StylePath | None = None
    style_start: StyleStart | None = None
    style_length: StyleLength | None = None
    style_detail: StyleDetail | None = None
    style_codes: StyleText | None = None
    style_samples: StyleSamples = 0


class Cancel(Request, frozen=True, kw_only=True, tag="cancel"):
    """End a stream now; what it made so far stays."""

    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    stream: AnyStream


class Streams(Request, frozen=True, kw_only=True, tag="streams"):
    """List the streams that wait or run."""

    reply: ClassVar[type[Reply]] = StreamList


class Journals(Request, frozen=True, kw_only=True, tag="journals"):
    """List the streams that can be resumed, the latest first, at most 200."""

    reply: ClassVar[type[Reply]] = JournalList


class Forget(Request, frozen=True, kw_only=True, tag="forget"):
    """Delete the journal of a stream that is over."""

    osc_positional: ClassVar[tuple[str, ...]] = ("journal",)
    journal: JournalId


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


class Replicas(Request, frozen=True, kw_only=True, tag="replicas"):
    """List the engines that share the streams, where there are several."""

    reply: ClassVar[type[Reply]] = ReplicaList


class Version(Request, frozen=True, kw_only=True, tag="version"):
    """Which release and protocol this is."""

    reply: ClassVar[type[Reply]] = VersionInfo


class Models(Request, frozen=True, kw_only=True, tag="models"):
    """List the models that can be loaded by name, and the one that is."""

    reply: ClassVar[type[Reply]] = ModelList


class Load(Request, frozen=True, kw_only=True, tag="load"):
    """Load another model while everything plays on; answered when new streams are made by it. Those that run end on theirs.

    Until then both are in memory: where that is too much, unload first. One model is loaded at a time.
    """

    reply: ClassVar[type[Reply]] = Loaded
    osc_positional: ClassVar[tuple[str, ...]] = ("model",)
    model: Annotated[
        str,
        about(
            "A name of the catalogue, that of an installed package's model with its options, owner/name on the hub, or a folder "
            "inside the engine's allowed ones.",
            max_length=4096,
        ),
    ]
    device: Annotated[str, about("auto, cpu, cuda, cuda:1, mps …; empty for that of the settings.", max_length=20)] = ""
    dtype: Annotated[
        str, about("auto, float32, float16, bfloat16, int8 or int4; empty for that of the settings.", max_length=20)
    ] = ""
    decoder: Annotated[
        Decoder, about("Decoder of streams that name none; empty for that of the settings, where it fits the model.")
    ] = ""


class Unload(Request, frozen=True, kw_only=True, tag="unload"):
    """Give the model's memory back, at once or, while streams play on it, when the last one is over.

    New streams are refused with `no_model` until another is loaded.
    """


class Quit(Request, frozen=True, kw_only=True, tag="quit"):
    """Stop the process in order: streams end, files are closed."""


ENGINE_REQUESTS: tuple[type[Request], ...] = (
    Generate,
    Continue,
    Open,
    Resume,
    ReadMelody,
    Update,
    Cancel,
    Streams,
    Journals,
    Forget,
    Listen,
    Unlisten,
    Acknowledge,
    Hello,
    Ping,
    Status,
    Replicas,
    Version,
    Models,
    Load,
    Unload,
    *MODEL_REQUESTS,
    *CODEC_REQUESTS,
    *TRANSFER_REQUESTS,
    Quit,
)
