"""Sound as a codec's codes on disk: written and read in constant memory, and whole up to where a file is damaged.

A file of ours (``.codes``) begins with ``MAGIC``, whose last byte is the version. Then come records: a head of 9 bytes,
little-endian (length of the content, CRC-32 of kind and content, kind), and the content:

``H``  JSON `CodedHeader`: which codec, and how its codes lie. The first record.
``B``  a block: which frame its first is (uint64), how many frames and scales there are (uint32, uint16), the scales of the
       chunks that begin in it (float32; none of most codecs), and the codes as `audio_files.bit_packing` packs them.
``E``  how many frames and samples there are (two uint64), and the SHA-256 of all bytes before this record. The last record.

What follows a record that is broken or not whole is not read. The same codes make the same bytes.

Files of the ``encodec`` package (``.ecdc``) are read too, see `audio_files.ecdc`.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, BinaryIO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from audio_files.bit_packing import bits_of, pack, packed_size, unpack
from protocols.errors import ErrorCode, RequestError
from protocols.fields import about, build

SUFFIX = ".codes"
MAGIC = b"DBCODES\x01"
BLOCK_FRAMES = 512
"""Frames of one block, where the codec does not work in chunks: what a file that was cut loses at most."""
MAX_CODEBOOKS, MAX_CARD, MAX_CHANNELS = 128, 65_536, 2
MAX_SAMPLES = 2**40

_HEAD = struct.Struct("<IIc")
_BLOCK = struct.Struct("<QIH")
_END = struct.Struct("<QQ32s")
_MAX_HEADER = 2**14
_MAX_RECORD = 2**24
_MAX_BLOCK_FRAMES = 2**16
NO_SCALES: NDArray[np.float32] = np.zeros(0, np.float32)
"""Of a codec that does not scale."""


class CodedHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Which codec made the codes, and how they lie."""

    codec: Annotated[str, about("Name or folder of the codec, as it was asked for.", max_length=200)]
    fingerprint: Annotated[
        str, about("Names the codebooks by their content; empty where it is not known.", max_length=64)
    ] = ""
    sample_rate: Annotated[int, about("Rate of the sound.", unit="Hz", ge=1000, le=768_000)]
    channels: Annotated[int, about("Channels of the sound.", ge=1, le=MAX_CHANNELS)]
    hop_length: Annotated[int, about("Samples in one frame.", unit="samples", ge=1, le=2**20)]
    codebooks: Annotated[int, about("Codes in one frame.", ge=1, le=MAX_CODEBOOKS)]
    card: Annotated[int, about("Codes that a codebook has.", ge=1, le=MAX_CARD)]
    chunk_samples: Annotated[
        int, about("Samples of a chunk that is coded by itself; 0: all is one.", unit="samples", ge=0, le=2**24)
    ] = 0
    chunk_stride: Annotated[
        int, about("By how much each chunk begins later than the one before.", unit="samples", ge=0, le=2**24)
    ] = 0
    frame_rate: Annotated[
        str, about("Frames in a second as a fraction; empty for rate through samples of a frame.", max_length=40)
    ] = ""

    @property
    def frames_per_second(self) -> Fraction:
        """Exactly."""
        return Fraction(self.frame_rate) if self.frame_rate else Fraction(self.sample_rate, self.hop_length)

    @property
    def bits_per_second(self) -> float:
        """What the codes alone take."""
        overlap = self.chunk_samples / self.chunk_stride if self.chunk_stride else 1.0
        return float(self.frames_per_second) * self.codebooks * bits_of(self.card) * overlap

    def check(self) -> CodedHeader:
        """This header, if its fields go together.

        Raises:
            RequestError: MALFORMED, which of them do not.
        """
        if bool(self.chunk_samples) is not bool(self.chunk_stride) or self.chunk_stride > self.chunk_samples:
            allowed = f"1 to chunk_samples = {self.chunk_samples}, or both 0"
            raise RequestError(ErrorCode.MALFORMED, "chunk_stride", self.chunk_stride, allowed)
        if self.frame_rate:
            try:
                rate = Fraction(self.frame_rate)
            except (ValueError, ZeroDivisionError):
                rate = Fraction(0)
            if not 0 < rate <= self.sample_rate:
                raise RequestError(ErrorCode.MALFORMED, "frame_rate", self.frame_rate, "a fraction such as 50/1")
        return self

    def samples_of(self, frames: int) -> int:
        """The most samples per channel that so many frames stand for."""
        if not self.chunk_stride:
            return math.ceil(frames / self.frames_per_second * self.sample_rate)
        whole, rest = divmod(frames, -(-self.chunk_samples // self.hop_length))
        if rest:
            return whole * self.chunk_stride + min(self.chunk_samples, rest * self.hop_length)
        return (whole - 1) * self.chunk_stride + self.chunk_samples if whole else 0


@dataclass(frozen=True, eq=False, slots=True)
class CodedBlock:
    """Codes that follow each other.

    Attributes:
        first: which frame of the file its first is, counted over all blocks.
        codes: uint16 ``[codebooks, frames]``.
        scales: float32 ``[n]``, what the sound of each chunk that begins in it is multiplied by, or the sound of the whole signal,
            in its first block; empty for a codec that does not scale.
    """

    first: int
    codes: NDArray[np.uint16]
    scales: NDArray[np.float32]


class CodedSource(Protocol):
    """A file of codes that is being read. Once `blocks` is through, the rest is known.

    Attributes:
        header: which codec, and how the codes lie.
        frames: that were read so far.
        samples: per channel, that they stand for; exact once a whole file is read.
        damage: what is wrong behind the last block, in words; empty for a file that is whole.
    """

    header: CodedHeader
    frames: int
    samples: int
    damage: str

    def blocks(self) -> Iterator[CodedBlock]:
        """The blocks up to the end or the damage, in order; once."""


class CodedWriter:
    """Writes a file of codes, in constant memory. Whoever opened the file closes and publishes it.

    Args:
        file: open for writing, at its beginning.
        header: of the file.

    Raises:
        RequestError: MALFORMED for a header whose fields do not go together.
        OSError: the file cannot be written.
    """

    def __init__(self, file: BinaryIO, header: CodedHeader) -> None:
        build(CodedHeader, msgspec.structs.asdict(header.check()))
        self.header = header
        self.frames = 0
        self.bytes = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._waiting: list[NDArray[np.integer]] = []
        self._scales = NO_SCALES
        self._put(MAGIC)
        self._record(b"H", msgspec.json.encode(header))

    def write(self, codes: NDArray[np.integer], scales: NDArray[np.float32] = NO_SCALES) -> None:
        """Append codes ``[codebooks, frames]``, and the scales of what begins in them; of a codec in chunks, whole chunks.

        Raises:
            RequestError: BAD_TYPE for another shape, OUT_OF_RANGE for a code or a scale that is none.
            OSError: the file cannot be written.
        """
        header = self.header
        if codes.ndim != 2 or codes.dtype.kind not in "iu" or codes.shape[0] != header.codebooks:
            held = f"{codes.dtype} {codes.shape}"
            raise RequestError(ErrorCode.BAD_TYPE, "codes", held, f"whole numbers [{header.codebooks}, frames]")
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < header.card:
            wrong = int(codes.min()) if codes.min() < 0 else int(codes.max())
            raise RequestError(ErrorCode.OUT_OF_RANGE, "codes", wrong, f"0 to {header.card - 1}")
        if len(scales) and not (np.isfinite(scales).all() and scales.min() > 0):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", scales.tolist(), "finite numbers above 0")
        self._scales = np.concatenate((self._scales, scales))
        self._waiting.append(codes)
        self._flush(1 if header.chunk_stride else BLOCK_FRAMES)

    def finish(self, samples: int) -> None:
        """Write what waits and the last record.

        Args:
            samples: per channel, of the sound that the codes stand for; the last frame may be partly filled.

        Raises:
            OSError: the file cannot be written.
        """
        self._flush(1)
        digest = self._digest.digest()
        self._record(b"E", _END.pack(self.frames, samples, digest))

    def _flush(self, at_least: int) -> None:
        """Write blocks of what waits, all of the same length but the last, as long as there are so many frames."""
        while sum(codes.shape[1] for codes in self._waiting) >= at_least:
            joined = np.concatenate(self._waiting, axis=1)
            most = _MAX_BLOCK_FRAMES if self.header.chunk_stride else BLOCK_FRAMES
            self._block(joined[:, :most])
            self._waiting = [joined[:, most:]]

    def _block(self, codes: NDArray[np.integer]) -> None:
        frames = codes.shape[1]
        head = _BLOCK.pack(self.frames, frames, len(self._scales)) + self._scales.astype("<f4").tobytes()
        self._record(b"B", head + pack(codes, self.header.card))
        self.frames += frames
        self._scales = NO_SCALES

    def _record(self, kind: bytes, content: bytes) -> None:
        self._put(_HEAD.pack(len(content), zlib.crc32(content, zlib.crc32(kind)), kind) + content)

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)


class CodedReader:
    """Reads a file of codes, in constant memory; see `CodedSource`.

    Args:
        file: open for reading, at its beginning.
        name: of the file, for errors.

    Raises:
        RequestError: MALFORMED for a file that is none of ours, or whose header is damaged; UNSUPPORTED for another version.
    """

    def __init__(self, file: BinaryIO, name: str = "") -> None:
        self.frames = 0
        self.samples = 0
        self.damage = ""
        self._file = file
        self._digest = hashlib.sha256()
        self._at = 0
        start = file.read(len(MAGIC))
        if start[:-1] != MAGIC[:-1] or len(start) < len(MAGIC):
            raise RequestError(ErrorCode.MALFORMED, "path", name, f"a file of codes ({SUFFIX})")
        if start != MAGIC:
            allowed = f"a file of codes of version {MAGIC[-1]}; this one has {start[-1]}"
            raise RequestError(ErrorCode.UNSUPPORTED, "path", name, allowed)
        self._digest.update(start)
        self._at += len(start)
        self.header = self._read_header(name)

    def blocks(self) -> Iterator[CodedBlock]:
        """The blocks up to the end or the damage, in order; once."""
        while True:
            before = self._digest.digest()
            record = self._record()
            if record is None:
                return
            kind, content = record
            if kind == b"E":
                self._end(content, before)
                return
            block = self._block(content) if kind == b"B" else None
            if block is None:
                self._stop("a block that cannot be read")
                return
            self.frames += block.codes.shape[1]
            self.samples = self.header.samples_of(self.frames)
            yield block

    def _read_header(self, name: str) -> CodedHeader:
        record = self._record(_MAX_HEADER)
        if record is None or record[0] != b"H":
            raise RequestError(ErrorCode.MALFORMED, "path", name, f"a file of codes; {self.damage or 'no header'}")
        try:
            values = msgspec.json.decode(record[1])
            if not isinstance(values, dict):
                raise RequestError(ErrorCode.BAD_TYPE, "header", values, "a JSON object")
            return build(CodedHeader, values).check()
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise RequestError(ErrorCode.MALFORMED, "path", name, f"a file of codes; its header: {error}") from None
        except RequestError as error:
            raise RequestError(ErrorCode.MALFORMED, "path", name, f"a file of codes; {error.text}") from None

    def _record(self, largest: int = _MAX_RECORD) -> tuple[bytes, bytes] | None:
        """The next record; None where there is none that is whole, which is a damage."""
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            self._stop("it ends too early")
            return None
        length, checksum, kind = _HEAD.unpack(head)
        if length > largest:
            self._stop("a record that cannot be read")
            return None
        content = self._file.read(length)
        if len(content) < length:
            self._stop("it ends too early")
            return None
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            self._stop("a record whose checksum is wrong")
            return None
        self._digest.update(head)
        self._digest.update(content)
        self._at += _HEAD.size + length
        return kind, content

    def _block(self, content: bytes) -> CodedBlock | None:
        """A block as it stands in its record; None when it is none."""
        if len(content) < _BLOCK.size:
            return None
        first, frames, count = _BLOCK.unpack_from(content)
        header, at = self.header, _BLOCK.size + 4 * count
        if first != self.frames or not 1 <= frames <= _MAX_BLOCK_FRAMES or count > frames:
            return None
        if len(content) != at + packed_size(header.codebooks, frames, header.card):
            return None
        scales = np.frombuffer(content, "<f4", count, _BLOCK.size).astype(np.float32)
        codes = unpack(memoryview(content)[at:], header.codebooks, frames, header.card)
        if int(codes.max()) >= header.card or not np.isfinite(scales).all() or (scales <= 0).any():
            return None
        return CodedBlock(first, codes, scales)

    def _end(self, content: bytes, digest: bytes) -> None:
        if len(content) != _END.size:
            self._stop("an end that cannot be read")
            return
        frames, samples, said = _END.unpack(content)
        if frames != self.frames or not 0 <= samples <= self.samples:
            self._stop(f"its end tells of {frames} frames and {samples} samples")
        elif said != digest:
            self._stop("the checksum of the whole is wrong")
        elif self._file.read(1):
            self.samples = samples
            self.damage = "something follows its end"
        else:
            self.samples = samples

    def _stop(self, why: str) -> None:
        seconds = self.samples / self.header.sample_rate if hasattr(self, "header") else 0.0
        self.damage = f"{why}, at byte {self._at}; {self.frames} frames ({seconds:.4g} s) before that are whole"
