"""Audio that is handed over: a path for a host to write to, and files sent to the engine and fetched from it in chunks.

Chunks go over ZeroMQ only. An upload is begun with its size and SHA-256, sent in order, and ended: then it lies under its path. A
transfer that was broken off is gone on with where it stopped, by whoever knows its name or begins the same upload again.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.message_parts import Reply, Request

MAX_CHUNK = 2**20
"""Bytes of a file in one message."""

MAX_TRANSFER = 2**40
_Size = Annotated[int, about("Size of the whole file.", unit="bytes", osc=False, ge=1, le=MAX_TRANSFER)]
_Position = Annotated[int, about("First byte of it.", unit="bytes", osc=False, ge=0, le=MAX_TRANSFER)]
_Next = Annotated[int, about("First byte that is wanted next.", unit="bytes", ge=0, le=MAX_TRANSFER)]
_Digest = Annotated[str, about("SHA-256 of the whole file, as 64 hexadecimal digits.", osc=False, max_length=64)]
TransferId = Annotated[str, about("Name of the transfer.", osc=False, max_length=32)]
_ServedPath = Annotated[str, about("The file, on the engine's machine.", osc=False, max_length=4096)]


# --- The bridge's exchange folder ------------------------------------------------------------------------------------


class ExchangePath(Reply, frozen=True, kw_only=True, tag="exchange_path"):
    """Where a host may write audio that it hands over."""

    path: Annotated[str, about("A path in the exchange folder at which there is nothing yet.")]


class Exchange(Request, frozen=True, kw_only=True, tag="exchange"):
    """Ask for a new path in the exchange folder, to write audio to and name it in any request.

    Write under the same path with `.part` behind it and rename, where your host can. It is deleted by age and size.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = ExchangePath
    osc_positional: ClassVar[tuple[str, ...]] = ("suffix",)
    suffix: Annotated[str, about("Suffix of the file, such as wav, aif or mid.", max_length=9)] = "wav"


# --- Files over the network --------------------------------------------------------------------------------------------


class TransferOpened(Reply, frozen=True, kw_only=True, tag="transfer"):
    """A transfer that can go on."""

    transfer: TransferId
    position: _Next
    size: _Size
    sha256: _Digest
    path: _ServedPath


class ChunkTaken(Reply, frozen=True, kw_only=True, tag="chunk_taken"):
    """A chunk of an upload is written."""

    position: _Next


class Chunk(Reply, frozen=True, kw_only=True, tag="chunk"):
    """A chunk of a download."""

    position: _Position
    content: Annotated[bytes, about("The bytes from there on.", osc=False)]


class Uploaded(Reply, frozen=True, kw_only=True, tag="uploaded"):
    """A file is there, whole."""

    path: Annotated[str, about("Where it lies on the engine's machine: any request may name it.", max_length=4096)]
    size: _Size


class TransferRequest(Request, frozen=True, kw_only=True):
    """Base of the requests about files in chunks."""


class BeginUpload(TransferRequest, frozen=True, kw_only=True, tag="upload"):
    """Begin to send a file into the engine's exchange folder, or go on with one of the same name, size and content."""

    reply: ClassVar[type[Reply]] = TransferOpened
    name: Annotated[
        str,
        about(
            "The file's name; its suffix is kept, and of the rest what any system can spell.", osc=False, max_length=255
        ),
    ]
    size: _Size
    sha256: _Digest


class SendChunk(TransferRequest, frozen=True, kw_only=True, tag="upload/chunk"):
    """Send the next bytes of an upload as the third frame, at most 1 MiB."""

    reply: ClassVar[type[Reply]] = ChunkTaken
    transfer: TransferId
    position: _Position


class EndUpload(TransferRequest, frozen=True, kw_only=True, tag="upload/end"):
    """Check size and content of an upload, and give the file its path. With another content it is dropped."""

    reply: ClassVar[type[Reply]] = Uploaded
    transfer: TransferId


class BeginDownload(TransferRequest, frozen=True, kw_only=True, tag="download"):
    """Begin to fetch a file from the engine's takes folder or exchange folder."""

    reply: ClassVar[type[Reply]] = TransferOpened
    path: _ServedPath


class FetchChunk(TransferRequest, frozen=True, kw_only=True, tag="download/chunk"):
    """Fetch bytes of a download, from any position."""

    reply: ClassVar[type[Reply]] = Chunk
    transfer: TransferId
    position: _Position
    length: Annotated[int, about("How many; fewer come at the end.", unit="bytes", osc=False, ge=1, le=MAX_CHUNK)] = (
        MAX_CHUNK
    )


class CloseTransfer(TransferRequest, frozen=True, kw_only=True, tag="transfer/close"):
    """End a download, or drop an upload that is not ended."""

    transfer: TransferId


EXCHANGE_REQUESTS: tuple[type[Request], ...] = (Exchange,)
TRANSFER_REQUESTS: tuple[type[Request], ...] = (
    BeginUpload,
    SendChunk,
    EndUpload,
    BeginDownload,
    FetchChunk,
    CloseTransfer,
)
TRANSFER_REPLIES: tuple[type[Reply], ...] = (TransferOpened, ChunkTaken, Chunk, Uploaded)
