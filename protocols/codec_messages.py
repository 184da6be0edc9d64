"""The codec as a service of its own: sound to files of codes, and files of codes to sound, beside what plays.

A job is taken at once, worked on by a thread of its own, and over with `codec/ended` (ZeroMQ) or its answer (OSC). Short pieces
need no files: samples go and come as float32, interleaved and little-endian, codes as the bytes of a file of codes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX, about, fields_of
from protocols.message_parts import (
    Event,
    JournalId,
    RegionStart,
    Reply,
    Request,
    SentChannels,
    SentRate,
)

MAX_CONTENT = 16 * 2**20
"""Bytes of a result that comes with the event that tells of it; what is larger must have a path."""

CodecName = Annotated[
    str,
    about(
        "Codec: a name of the catalogue, owner/name on the hub, or a folder; empty for the loaded model's own, or for the one "
        "that a file of codes names.",
        max_length=4096,
    ),
]
JobId = Annotated[int, about("Number of the job.", ge=1, le=INT32_MAX)]
AnyJob = Annotated[int, about("Number of the job; 0 for every job of yours.", ge=0, le=INT32_MAX)]
Out = Annotated[
    str,
    about(
        "File to write, inside one of the allowed folders; empty for a new one in the takes folder, or none where samples or "
        "codes are sent along.",
        max_length=4096,
    ),
]
ReplaceFile = Annotated[bool, about("Whether a file that is there already is replaced.")]
CodecWork = Literal["encode", "decode"]
JobEnd = Literal["done", "cancelled", "failed"]
_Seconds = Annotated[float, about("Sound that was coded so far.", unit="s")]
_Frames = Annotated[int, about("Codec frames.", unit="frames")]
_Codebooks = Annotated[int, about("Codes in one frame.")]


class Recoded(Reply, frozen=True, kw_only=True, tag="recoded"):
    """A job is over: what was written, and what it took."""

    job: JobId
    reason: Annotated[JobEnd, about("Why it is over: done or cancelled.")]
    path: Annotated[str, about("The file that was written; empty where there is none.")]
    codec: Annotated[str, about("The codec, by name.")]
    seconds: Annotated[float, about("Length of the sound.", unit="s")]
    frames: _Frames
    codebooks: _Codebooks
    kbps: Annotated[float, about("What the file of codes takes for a second of sound.", unit="kbit/s")]
    size: Annotated[int, about("Size of what was written.", unit="bytes")]
    realtime: Annotated[float, about("Audio seconds per second of work.")]
    note: Annotated[str, about("What became of the input, where that is not plain.")] = ""


class CodecQueued(Reply, frozen=True, kw_only=True, tag="codec_queued"):
    """A job was taken."""

    job: JobId
    waiting: Annotated[int, about("Jobs that come before it.")] = 0


class CodecProgress(Event, frozen=True, kw_only=True, tag="codec/progress"):
    """How far a job is; the first one tells its number."""

    job: JobId
    work: Annotated[CodecWork, about("What is done: encode or decode.")]
    path: Annotated[str, about("The file that is read; empty for what was sent along.")]
    seconds: _Seconds
    total_seconds: Annotated[float, about("Length of all of it; 0 where that is not known.", unit="s")]


class CodecEnded(Event, frozen=True, kw_only=True, tag="codec/ended"):
    """A job is over: what `recoded` has, or why nothing came of it."""

    job: JobId
    reason: Annotated[JobEnd, about("Why it is over.")]
    path: Annotated[str, about("The file that was written; empty where the result is sent along.")] = ""
    codec: Annotated[str, about("The codec, by name.")] = ""
    seconds: Annotated[float, about("Length of the sound.", unit="s")] = 0.0
    frames: _Frames = 0
    codebooks: _Codebooks = 0
    kbps: Annotated[float, about("What the file of codes takes for a second of sound.", unit="kbit/s")] = 0.0
    size: Annotated[int, about("Size of what was written.", unit="bytes")] = 0
    realtime: Annotated[float, about("Audio seconds per second of work.")] = 0.0
    note: Annotated[str, about("What became of the input, where that is not plain.")] = ""
    sample_rate: Annotated[int, about("Rate of the sound.", unit="Hz")] = 0
    channels: Annotated[int, about("Channels of the sound.")] = 0
    content: Annotated[
        bytes, about("The bytes of the file of codes, or float32 samples; empty where there is a path.", osc=False)
    ] = b""
    code: Annotated[str, about("Which kind of error; see the error codes.")] = ""
    field: Annotated[str, about("The parameter that is wrong.")] = ""
    value: Annotated[str, about("What was given, shortened.")] = ""
    allowed: Annotated[str, about("The range or the choices, in words.")] = ""
    text: Annotated[str, about("Why it failed, in one line.")] = ""


def recoded(ended: CodecEnded) -> Recoded | RequestError:
    """What answers whoever waits for a job, once it is over."""
    if ended.reason == "failed":
        code = ErrorCode(ended.code) if ended.code in set(ErrorCode) else ErrorCode.INTERNAL
        return RequestError(code, ended.field, ended.value, ended.allowed)
    return Recoded(**{name: getattr(ended, name) for name in fields_of(Recoded)})


class CodecInfo(Reply, frozen=True, kw_only=True, tag="codec"):
    """A codec that is in memory."""

    name: Annotated[str, about("What it was asked for as.")]
    fingerprint: Annotated[str, about("Names its codebooks by their content.", max_length=64)]
    sample_rate: Annotated[int, about("Rate of its sound.", unit="Hz")]
    channels: Annotated[int, about("Channels of its sound.")]
    frame_rate: Annotated[float, about("Frames in a second.", unit="1/s")]
    codebooks: _Codebooks
    card: Annotated[int, about("Codes that a codebook has.")]
    kbps: Annotated[float, about("What all codebooks take.", unit="kbit/s")]
    memory_mb: Annotated[float, about("What its weights take; 0 for the loaded model's own.", unit="MB")]


class CodecList(Reply, frozen=True, kw_only=True, tag="codec_list"):
    """The codecs that are in memory."""

    items: Annotated[list[CodecInfo], about("The loaded model's first.")]


class CodedFile(Reply, frozen=True, kw_only=True, tag="coded_file"):
    """What a file of codes holds."""

    codec: Annotated[str, about("The codec, by name.")]
    fingerprint: Annotated[str, about("Names the codebooks by their content.", max_length=64)]
    sample_rate: Annotated[int, about("Rate of the sound.", unit="Hz")]
    channels: Annotated[int, about("Channels of the sound.")]
    seconds: Annotated[float, about("Length of the sound that can be read.", unit="s")]
    frames: _Frames
    codebooks: _Codebooks
    card: Annotated[int, about("Codes that a codebook has.")]
    kbps: Annotated[float, about("What the file takes for a second of sound.", unit="kbit/s")]
    size: Annotated[int, about("Size of the file.", unit="bytes")]
    damage: Annotated[str, about("What is wrong with it; empty for a file that is whole.")]


class CodesWritten(Reply, frozen=True, kw_only=True, tag="codes_written"):
    """A file of codes was written."""

    path: Annotated[str, about("Where it lies.")]
    seconds: Annotated[float, about("Length of its sound.", unit="s")]
    frames: _Frames
    codebooks: _Codebooks
    size: Annotated[int, about("Size of the file.", unit="bytes")]


class CodecRequest(Request, frozen=True, kw_only=True):
    """Base of the requests that the engine's codec service carries out."""


class CodecJob(CodecRequest, frozen=True, kw_only=True):
    """Base of the requests that are worked on for a while. Over OSC they are answered when they are done."""

    reply: ClassVar[type[Reply]] = CodecQueued
    osc_reply: ClassVar[type[Reply] | None] = Recoded
    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    out: Out = ""
    codec: CodecName = ""
    replace: ReplaceFile = False


class Encode(CodecJob, frozen=True, kw_only=True, tag="codec/encode"):
    """Encode an audio file into a file of codes, or samples that are sent along into the bytes of one.

    A name that ends with .ecdc is written as the encodec package reads it, for the codecs that it knows.
    """

    path: Annotated[str, about("Audio file on the machine that reads it.", max_length=4096)] = ""
    bandwidth: Annotated[
        float, about("The most that the codes may take; 0 for what `codebooks` says.", unit="kbit/s", ge=0, le=10_000)
    ] = 0.0
    codebooks: Annotated[int, about("Codes of each frame, the coarsest first; 0 for all.", ge=0, le=128)] = 0
    stereo: Annotated[
        bool,
        about(
            "Code both sides of stereo where the codec is mono, as the stereo models do; its codes are twice as many."
        ),
    ] = False
    start: RegionStart = 0.0
    length: Annotated[float, about("Length of the region; 0 for all up to the file's end.", unit="s", ge=0, le=1e6)] = (
        0.0
    )
    sample_rate: SentRate = 0
    channels: SentChannels = 1


class Decode(CodecJob, frozen=True, kw_only=True, tag="codec/decode"):
    """Decode a file of codes into an audio file, or the bytes of one into samples.

    Of a file that is damaged, what is whole is decoded, and the note tells.
    """

    path: Annotated[str, about("File of codes on the machine that reads it.", max_length=4096)] = ""
    subtype: Annotated[
        Literal["auto", "PCM_16", "PCM_24", "FLOAT"], about("Samples of the audio file; auto: PCM_24 where it can.")
    ] = "auto"


class CancelCodec(CodecRequest, frozen=True, kw_only=True, tag="codec/cancel"):
    """End a job; nothing of it is left."""

    osc_positional: ClassVar[tuple[str, ...]] = ("job",)
    job: AnyJob


class Codecs(CodecRequest, frozen=True, kw_only=True, tag="codec/list"):
    """List the codecs that are in memory: the loaded model's, and those that files needed lately."""

    reply: ClassVar[type[Reply]] = CodecList


class InspectCodes(CodecRequest, frozen=True, kw_only=True, tag="codec/info"):
    """Tell what a file of codes holds; nothing is decoded."""

    reply: ClassVar[type[Reply]] = CodedFile
    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    path: Annotated[str, about("File of codes on the machine that reads it.", max_length=4096)]


class ExportCodes(CodecRequest, frozen=True, kw_only=True, tag="codec/export"):
    """Write the codes of a stream into a file of codes, from its journal, as the model has made them; it may still play.

    Another stream that goes on from this file hears exactly what the first one did.
    """

    reply: ClassVar[type[Reply]] = CodesWritten
    osc_positional: ClassVar[tuple[str, ...]] = ("journal",)
    journal: JournalId
    out: Annotated[
        str,
        about(
            "File to write (.codes), inside one of the allowed folders; empty for a new one in the takes folder.",
            max_length=4096,
        ),
    ] = ""
    prompt: Annotated[bool, about("Whether the codes of its audio prompt come first.")] = True
    replace: ReplaceFile = False


# --- The bridge's -----------------------------------------------------------------------------------------------------


class BridgeCodecRequest(Request, frozen=True, kw_only=True):
    """Base of what a bridge is asked about codecs and codes. Files are those of its machine, wherever the engine is."""

    root: ClassVar[str] = "bridge"


class BridgeEncode(Encode, BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/encode"):
    """Encode an audio file into a file of codes, by the engine; answered when it is written.

    A name that ends with .ecdc is written as the encodec package reads it, for the codecs that it knows.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Recoded


class BridgeDecode(Decode, BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/decode"):
    """Decode a file of codes into an audio file, by the engine; answered when it is written.

    Of a file that is damaged, what is whole is decoded, and the note tells.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Recoded


class BridgeCancelCodec(CancelCodec, BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/cancel"):
    """End a job; nothing of it is left."""

    root: ClassVar[str] = "bridge"


class BridgeCodecs(Codecs, BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/list"):
    """List the codecs that are in the engine's memory: the loaded model's, and those that files needed lately."""

    root: ClassVar[str] = "bridge"


class BridgeInspectCodes(InspectCodes, BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/info"):
    """Tell what a file of codes holds; nothing is decoded."""

    root: ClassVar[str] = "bridge"


class BridgeExportCodes(BridgeCodecRequest, frozen=True, kw_only=True, tag="codec/export"):
    """Write the codes of a stream into a file of codes, from its journal, as the model has made them; it may still play.

    Another stream that goes on from this file hears exactly what the first one did. The file is the engine's machine's.
    """

    reply: ClassVar[type[Reply]] = CodesWritten
    stream: Annotated[int, about("Number of a stream that plays; 0 for a journal.", ge=0, le=INT32_MAX)] = 0
    journal: JournalId = ""
    out: Annotated[
        str,
        about(
            "File to write (.codes), inside one of the engine's allowed folders; empty for a new one in its takes folder.",
            max_length=4096,
        ),
    ] = ""
    prompt: Annotated[bool, about("Whether the codes of its audio prompt come first.")] = True
    replace: ReplaceFile = False


CODEC_REQUESTS: tuple[type[Request], ...] = (Encode, Decode, CancelCodec, Codecs, InspectCodes, ExportCodes)
BRIDGE_CODEC_REQUESTS: tuple[type[Request], ...] = (
    BridgeEncode,
    BridgeDecode,
    BridgeCancelCodec,
    BridgeCodecs,
    BridgeInspectCodes,
    BridgeExportCodes,
)
CODEC_REPLIES: tuple[type[Reply], ...] = (CodecQueued, Recoded, CodecList, CodedFile, CodesWritten)
CODEC_EVENTS: tuple[type[Event], ...] = (CodecProgress, CodecEnded)
