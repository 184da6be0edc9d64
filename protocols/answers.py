"""What the engine answers and what it says by itself while it works: every reply and event, each written once."""

from __future__ import annotations

from typing import Annotated

from protocols.codec_messages import CODEC_EVENTS, CODEC_REPLIES
from protocols.exchange_messages import TRANSFER_REPLIES
from protocols.fields import about
from protocols.message_parts import (
    Channels,
    DecoderNames,
    Done,
    EndedBecause,
    Event,
    Fingerprint,
    FrameSamples,
    HearsMelodies,
    HowResampled,
    HowTrained,
    Instance,
    JournalId,
    LoadedPrecision,
    Makes,
    Melody,
    Message,
    ModelName,
    Note,
    Prompt,
    Protocol,
    Release,
    Reply,
    RunBy,
    SampleRate,
    StreamId,
    StyleSeconds,
    UsedSeed,
)
from protocols.model_messages import MODEL_EVENTS, MODEL_REPLIES

# --- Replies -------------------------------------------------------------------------------------------------------


class Welcome(Reply, frozen=True, kw_only=True, tag="welcome"):
    """The answer to the first message: what the engine is and how its audio is made."""

    protocol: Protocol
    version: Release
    instance: Instance
    model: ModelName
    fingerprint: Fingerprint
    status: HowTrained
    sample_rate: SampleRate
    channels: Channels
    frame_samples: FrameSamples
    max_message: Annotated[int, about("Largest message that is accepted.", unit="bytes")]
    melodies: HearsMelodies = True
    style_seconds: StyleSeconds = 0.0
    kind: Makes = "music"
    decoders: DecoderNames = "codec"
    resampling: HowResampled = "soxr"
    dtype: LoadedPrecision = ""
    runner: RunBy = ""


class Opened(Reply, frozen=True, kw_only=True, tag="opened"):
    """A stream was accepted; it starts when the streams before it allow."""

    stream: StreamId
    seed: UsedSeed
    waiting: Annotated[int, about("Streams that come before it.")] = 0
    journal: JournalId = ""
    frame: Annotated[
        int, about("Frame of new material with which its sound begins, of one that goes on.", osc=False)
    ] = 0
    bpm: Annotated[
        float, about("Its tempo, told by fields or words; 0 where it is not known.", unit="beats/min", osc=False)
    ] = 0.0


class MelodyRead(Reply, frozen=True, kw_only=True, tag="melody_read"):
    """The melody of an audio region."""

    seconds: Annotated[float, about("Length of the region; then the melody begins again.", unit="s")]
    sounding: Annotated[float, about("For how much of it a melody sounds.", unit="s")]
    note: Note
    melody: Melody


class EngineStatus(Reply, frozen=True, kw_only=True, tag="engine_status"):
    """The engine at a glance."""

    state: Annotated[str, about("ready, or empty while there is no model.")]
    model: ModelName
    loading: Annotated[str, about("The model that is being loaded; empty for none.")]
    status: HowTrained
    device: Annotated[str, about("Where the model computes: cpu, cuda:0, mps …")]
    dtype: Annotated[str, about("Precision of its weights.")]
    runner: RunBy = ""
    threads: Annotated[int, about("CPU threads of the model.")]
    sample_rate: SampleRate
    channels: Channels
    streams_running: Annotated[int, about("Streams that are being made.")]
    streams_waiting: Annotated[int, about("Streams that wait for their turn.")]
    clients: Annotated[int, about("ZeroMQ clients that are connected.")]
    frames: Annotated[int, about("Codec frames sampled since the start.")]
    realtime: Annotated[float, about("Audio seconds made per second of work, lately.")]
    late_frames: Annotated[
        int,
        about(
            "Frames since the start that came later than a listener needed them who played from the first sample on."
        ),
    ] = 0
    shared: Annotated[
        float, about("Streams to a step of the model, lately: they share what it costs to read its weights.")
    ] = 0.0
    requests: Annotated[int, about("Requests since the start.")]
    errors: Annotated[int, about("Requests that were refused.")]
    busy: Annotated[int, about("Requests refused because the queue was full.")]
    memory_mb: Annotated[float, about("Memory of the process.", unit="MB")]
    weights_mb: Annotated[float, about("What the weights of all loaded models take of it, or of the GPU's.", unit="MB")]
    gpu_mb: Annotated[float, about("Memory of the GPU that is in use; 0 without one.", unit="MB")]
    gpu_reserved_mb: Annotated[float, about("Memory of the GPU that the engine holds, in use or not.", unit="MB")]
    cached_texts: Annotated[int, about("Texts that are kept as the model hears them.")]
    cached_melodies: Annotated[int, about("Melodies that are kept as the model hears them.")]
    cached_mb: Annotated[float, about("What these texts and melodies take.", unit="MB")]
    uptime: Annotated[float, about("Since the process started.", unit="s")]
    journal: Annotated[str, about("Whether streams are kept to be resumed: on, off, or what went wrong last.")] = "off"
    codec_jobs: Annotated[int, about("Codec jobs that wait or are worked on.")] = 0
    codec_mb: Annotated[float, about("What codecs take that were loaded for such jobs.", unit="MB")] = 0.0
    replicas: Annotated[
        str, about("Replicas that serve, and how many there should be: 2/2; empty for an engine by itself.")
    ] = ""


class ReplicaInfo(Reply, frozen=True, kw_only=True, tag="replica"):
    """One of the engines that share the streams."""

    replica: Annotated[int, about("Its number, from 1.")]
    state: Annotated[str, about("starting, ready, loading another model, or lost.")]
    node: Annotated[str, about("Address of its machine.")]
    pid: Annotated[int, about("Its process there; 0 for none.")]
    device: Annotated[str, about("Where its model computes, as it calls it: with one GPU each, all are cuda:0.")]
    model: ModelName
    streams: Annotated[int, about("Streams that it makes, and those that wait there.")]
    realtime: Annotated[float, about("Audio seconds made per second of work, lately.")]
    memory_mb: Annotated[float, about("Memory of its process.", unit="MB")]
    gpu_mb: Annotated[float, about("Memory of its GPU that is in use; 0 without one.", unit="MB")]
    restarts: Annotated[int, about("How often it was started again.")]
    fault: Annotated[str, about("What went wrong there last; empty for nothing.")] = ""


class ReplicaList(Reply, frozen=True, kw_only=True, tag="replica_list"):
    """The engines that share the streams; none for an engine by itself."""

    items: Annotated[list[ReplicaInfo], about("The replicas.")]


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
    loaded: Annotated[bool, about("Whether new streams are made by it.")]
    summary: Annotated[str, about("What it is good for.")]
    weights_mb: Annotated[
        float,
        about(
            "What its weights take now; for a model that is not loaded any more, until its last stream is over.",
            unit="MB",
        ),
    ] = 0.0
    kind: Annotated[str, about("What it makes or is: music, sound, codec, decoder or part.")] = "music"
    sample_rate: Annotated[int, about("Of its sound; 0 where it is not known yet.", unit="Hz")] = 0
    channels: Annotated[int, about("Of its sound; 0 where it is not known yet.")] = 0
    window: Annotated[float, about("What it hears at once; 0 where there is no such bound.", unit="s")] = 0.0
    decoders: Annotated[
        str, about("Of a loaded model, decoders that its codes can be given to, with spaces between them.")
    ] = ""
    hears: Annotated[str, about("What it can be told: text, melody, style, chords, drums, score.")] = ""
    downloaded: Annotated[bool, about("Whether all that it needs is on the engine's disk.")] = False
    disk_mb: Annotated[float, about("What its own files take there.", unit="MB")] = 0.0
    download_mb: Annotated[
        float, about("About how much a download of it and all it needs is; 0 where it is not known.", unit="MB")
    ] = 0.0
    memory_mb: Annotated[
        float,
        about(
            "About what it needs on the engine's device with one stream that plays, by formula; 0 where it is not known.",
            unit="MB",
        ),
    ] = 0.0
    fits: Annotated[bool, about("Whether that much is free there now, as far as it is known.")] = True


class ModelList(Reply, frozen=True, kw_only=True, tag="model_list"):
    """The catalogue."""

    items: Annotated[list[ModelInfo], about("The models.")]


class Loaded(Reply, frozen=True, kw_only=True, tag="loaded"):
    """Another model is loaded; new streams are made by it."""

    model: ModelName
    seconds: Annotated[float, about("How long that took.", unit="s")]
    weights_mb: Annotated[float, about("What its weights take.", unit="MB")]


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


class JournalInfo(Reply, frozen=True, kw_only=True, tag="journal"):
    """One stream that can be resumed, as a list shows it."""

    journal: JournalId
    kind: Annotated[str, about("The request that opened it.")]
    prompt: Prompt
    seed: UsedSeed
    model: ModelName
    fingerprint: Fingerprint
    seconds: Annotated[float, about("Up to where the stream was made, from its beginning.", unit="s")]
    begins: Annotated[float, about("Where it began to sound: more than 0 for one that was resumed itself.", unit="s")]
    state: Annotated[str, about("playing, cut_short, or why it ended.")]
    bytes: Annotated[int, about("Size of its file.", unit="bytes")]


class JournalList(Reply, frozen=True, kw_only=True, tag="journal_list"):
    """The streams that can be resumed."""

    items: Annotated[list[JournalInfo], about("The journals.")]


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


# --- Events --------------------------------------------------------------------------------------------------------


class ModelChanged(Event, frozen=True, kw_only=True, tag="model_changed"):
    """From now on new streams are made by this model; those that run end on theirs. Without a model all of it is empty or 0."""

    model: ModelName
    fingerprint: Fingerprint
    status: HowTrained
    sample_rate: SampleRate
    channels: Channels
    frame_samples: FrameSamples
    melodies: HearsMelodies
    style_seconds: StyleSeconds = 0.0
    kind: Makes = "music"
    decoders: DecoderNames = "codec"
    resampling: HowResampled = "soxr"
    dtype: LoadedPrecision = ""
    runner: RunBy = ""


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
    section: Annotated[int, about("Number of the section that begins with it, from 1; 0 for another change.")] = 0


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
        about("The request with every default filled in, but for its script and its seam."),
    ]
    seed: UsedSeed
    model: ModelName
    fingerprint: Fingerprint
    status: HowTrained
    device: Annotated[str, about("Where the model computed.")]
    dtype: Annotated[str, about("Precision of its weights.")]
    engine_version: Release
    torch_version: Annotated[str, about("Release of PyTorch.")]
    prompt_codes: Annotated[bytes, about("Codes of the audio prompt, uint16 little-endian, codebook after codebook.")]
    codebooks: Annotated[int, about("Codebooks of these codes.")]
    seam_record: Annotated[str, about("How the audio prompt leads over into the new material; empty: it does not.")] = (
        ""
    )
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


REPLIES: tuple[type[Reply], ...] = (
    Done,
    Welcome,
    Opened,
    EngineStatus,
    VersionInfo,
    ModelList,
    StreamList,
    ReplicaList,
    JournalList,
    MelodyRead,
    Loaded,
    *TRANSFER_REPLIES,
    *CODEC_REPLIES,
    *MODEL_REPLIES,
    Fail,
)
EVENTS: tuple[type[Event], ...] = (
    ModelChanged,
    Started,
    Progress,
    Updated,
    Missed,
    Recipe,
    Ended,
    *CODEC_EVENTS,
    *MODEL_EVENTS,
)
