"""One journal on disk: records that are only ever appended, each with its length and its checksum.

A file begins with ``MAGIC``. A record is a head of 9 bytes, little-endian (length of the content, CRC-32 of kind and content,
kind), and its content:

``H``  msgpack `Header`: what the stream was asked for. The first record.
``F``  a number of frames: which frame the first is (uint64), their level in dB (float32), uint16 codes, frame after frame.
``G``  the generator's state: how many frames there were (uint64), and the state's bytes.
``C``  msgpack of a change as sidecars have it, when it took effect.
``E``  msgpack `End`. The last record of a stream that ended; one that was cut short has none.

What follows a record that is broken or not whole is not read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.journal.replay import Recording
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Recipe

MAGIC = b"DBJ\x00\x00\x00\x00\x01"
_HEAD = struct.Struct("<IIc")
_FRAMES = struct.Struct("<Qf")
_STATE = struct.Struct("<Q")
_LARGEST = 1 << 28


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal begins with.

    Attributes:
        recipe: of the stream, with the changes that lay behind it.
        script: changes to come, as the request had them.
        began: seconds since 1970.
        sample_rate: in Hz.
        frame_samples: samples in a frame.
        first_frame: with which its sound begins.
    """

    recipe: Recipe
    script: str = ""
    began: float
    sample_rate: int
    frame_samples: int
    first_frame: int = 0


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream ended."""

    reason: str
    text: str = ""


class Journal(msgspec.Struct, kw_only=True):
    """A journal as it was read, as far as it is whole.

    Attributes:
        frames: of new material.
        codes: uint16 ``[frames, codebooks]``.
        states: the generator's, each with the number of frames there were.
        changes: those of the header and those that took effect since.
        levels: pairs of a frame and the level in dB from there on.
        end: None for a stream that was cut short, or still plays.
    """

    header: Header
    frames: int
    codes: NDArray[np.uint16]
    states: list[tuple[int, bytes]]
    changes: list[dict[str, Any]]
    levels: list[tuple[int, float]]
    end: End | None

    @property
    def seconds(self) -> float:
        """Length of what was made, from the stream's beginning."""
        return self.frames * self.header.frame_samples / self.header.sample_rate


def record(kind: bytes, content: bytes) -> bytes:
    """A record as it stands in the file."""
    return _HEAD.pack(len(content), zlib.crc32(content, zlib.crc32(kind)), kind) + content


def header_record(header: Header) -> bytes:
    """The record that a file begins with."""
    return record(b"H", msgspec.msgpack.encode(header))


def frames_record(first: int, codes: NDArray[np.uint16], level_db: float) -> bytes:
    """Codes ``[frames, codebooks]`` from frame ``first`` on."""
    return record(b"F", _FRAMES.pack(first, level_db) + codes.astype("<u2").tobytes())


def state_record(frames: int, state: bytes) -> bytes:
    """The generator's state after so many frames."""
    return record(b"G", _STATE.pack(frames) + state)


def change_record(change: dict[str, Any]) -> bytes:
    """A change that took effect."""
    return record(b"C", msgspec.msgpack.encode(change))


def end_record(end: End) -> bytes:
    """The last record."""
    return record(b"E", msgspec.msgpack.encode(end))


def recording_records(recording: Recording) -> Iterator[bytes]:
    """What a stream that goes on has behind it."""
    if len(recording.codes):
        yield frames_record(0, recording.codes, float("nan"))
    for frames, state in recording.states:
        yield state_record(frames, state)


def records(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The whole records of a file, in order."""
    view, at = memoryview(content), len(MAGIC)
    if content[:at] != MAGIC:
        return
    while at + _HEAD.size <= len(view):
        length, checksum, kind = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        body = view[at : at + length]
        if length > _LARGEST or len(body) < length or zlib.crc32(body, zlib.crc32(kind)) != checksum:
            return
        yield kind, body
        at += length


def read_journal(path: Path) -> Journal:
    """Read a journal, as far as it is whole.

    Raises:
        RequestError: ``not_found``, or ``malformed`` for a file that is no journal.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise RequestError(ErrorCode.NOT_FOUND, "journal", path.stem, "a journal that is listed") from None
    header: Header | None = None
    codes: list[NDArray[np.uint16]] = []
    states: list[tuple[int, bytes]] = []
    changes: list[dict[str, Any]] = []
    levels: list[tuple[int, float]] = []
    end, frames = None, 0
    try:
        for kind, body in records(content):
            if kind == b"H" and header is None:
                header = msgspec.msgpack.decode(body, type=Header)
                changes = [dict(change) for change in header.recipe.changes]
            elif header is None:
                break
            elif kind == b"F":
                first, level = _FRAMES.unpack_from(body)
                if first != frames:
                    break
                rows = np.frombuffer(body[_FRAMES.size :], "<u2").reshape(-1, header.recipe.codebooks)
                codes.append(rows)
                levels.append((first, level))
                frames += len(rows)
            elif kind == b"G":
                states.append((_STATE.unpack_from(body)[0], bytes(body[_STATE.size :])))
            elif kind == b"C":
                changes.append(msgspec.msgpack.decode(body))
            elif kind == b"E":
                end = msgspec.msgpack.decode(body, type=End)
    except (msgspec.MsgspecError, ValueError, struct.error) as error:
        raise _malformed(path, str(error)) from None
    if header is None:
        raise _malformed(path, "no header")
    joined = np.concatenate(codes) if codes else np.zeros((0, header.recipe.codebooks), np.uint16)
    return Journal(header=header, frames=frames, codes=joined, states=states, changes=changes, levels=levels, end=end)


def _malformed(path: Path, why: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, "journal", path.stem, f"a journal that can be read: {why}")
