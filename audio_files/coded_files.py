"""Files of codes, whichever kind: opened by what they begin with, and told about without decoding anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audio_files.coded import MAGIC, SUFFIX, CodedHeader, CodedReader, CodedSource
from audio_files.ecdc import ECDC_MAGIC, ECDC_SUFFIX, EcdcReader
from audio_files.exchange import note_use
from audio_files.locations import locate_file
from protocols.codec_messages import CodedFile
from protocols.errors import ErrorCode, RequestError

CODED_SUFFIXES = (SUFFIX, ECDC_SUFFIX)
MAX_SENT = 16 * 2**20
"""Bytes of a file of codes that is sent along with a request: hours of sound."""


@dataclass(frozen=True)
class CodedFacts:
    """What a file of codes holds.

    Attributes:
        kind: "codes" for ours, "ecdc" for those of the ``encodec`` package.
        header: which codec, and how the codes lie.
        frames: that can be read.
        samples: per channel, that they stand for.
        bytes: size of the file.
        damage: what is wrong, in words; empty for a file that is whole.
    """

    kind: str
    header: CodedHeader
    frames: int
    samples: int
    bytes: int
    damage: str

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / self.header.sample_rate

    @property
    def kbps(self) -> float:
        """Kilobits that the file takes for a second of sound, everything counted."""
        return self.bytes * 8 / 1000 / self.seconds if self.samples else 0.0

    @property
    def told(self) -> CodedFile:
        """All of it, as a client is told."""
        header = self.header
        return CodedFile(
            codec=header.codec,
            fingerprint=header.fingerprint,
            sample_rate=header.sample_rate,
            channels=header.channels,
            seconds=self.seconds,
            frames=self.frames,
            codebooks=header.codebooks,
            card=header.card,
            kbps=round(self.kbps, 3),
            size=self.bytes,
            damage=self.damage,
        )


def is_coded(path: str | Path) -> bool:
    """Whether a file has the name of a file of codes; what it holds is not looked at."""
    return Path(path).suffix.lower() in CODED_SUFFIXES


def is_coded_content(content: bytes) -> bool:
    """Whether bytes begin as a file of codes does."""
    return content.startswith((MAGIC[:-1], ECDC_MAGIC))


def read_codes_from(file: BinaryIO, name: str = "") -> CodedSource:
    """Begin to read codes from an open file, of whichever kind.

    Args:
        file: open for reading, at its beginning; it can be sought in.
        name: of the file, for errors.

    Raises:
        RequestError: as `CodedReader` and `EcdcReader`; MALFORMED for a file that is neither's.
    """
    start = file.read(len(MAGIC))
    file.seek(0)
    if start[: len(ECDC_MAGIC)] == ECDC_MAGIC:
        return EcdcReader(file, name)
    return CodedReader(file, name)


@contextmanager
def open_coded(path: Path) -> Iterator[CodedSource]:
    """A file of codes, open while the ``with`` lasts.

    Raises:
        RequestError: NOT_FOUND for a file that cannot be read; as `read_codes_from`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise RequestError(
            ErrorCode.NOT_FOUND, "path", str(path), f"a file that can be read; {error.strerror}"
        ) from None
    with file:
        yield read_codes_from(file, path.name)


def facts_of(path: Path) -> CodedFacts:
    """Read a file through and tell what it holds; nothing is decoded.

    Raises:
        RequestError: as `open_coded`.
    """
    try:
        with path.open("rb") as file:
            return facts_from(file, path.name)
    except OSError as error:
        raise _unreadable(path, error) from None


def facts_from(file: BinaryIO, name: str = "") -> CodedFacts:
    """As `facts_of`, of an open file, which is read through.

    Raises:
        RequestError: as `read_codes_from`.
        OSError: it cannot be read.
    """
    source = read_codes_from(file, name)
    for _ in source.blocks():
        pass
    kind = "ecdc" if isinstance(source, EcdcReader) else "codes"
    size = file.seek(0, os.SEEK_END)
    return CodedFacts(kind, source.header, source.frames, source.samples, size, source.damage)


def _unreadable(path: Path, error: OSError) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, "path", str(path), f"a file that can be read; {error.strerror}")


def file_of_codes(path: str, allowed_folders: Sequence[Path] | None) -> bytes:
    """All bytes of a file of codes, to be sent to whoever reads it.

    Raises:
        RequestError: as `locate_file`; TOO_LARGE, MALFORMED for a file of another kind.
    """
    location = locate_file(path, allowed_folders)
    try:
        with location.open("rb") as file:
            content = file.read(MAX_SENT + 1)
    except OSError as error:
        raise _unreadable(location, error) from None
    if len(content) > MAX_SENT:
        raise RequestError(ErrorCode.TOO_LARGE, "path", location.name, f"at most {MAX_SENT} bytes")
    if not is_coded_content(content):
        raise RequestError(ErrorCode.MALFORMED, "path", location.name, f"a file of codes ({', '.join(CODED_SUFFIXES)})")
    note_use(location)
    return content
