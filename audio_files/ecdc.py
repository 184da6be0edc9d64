"""Files of the ``encodec`` package (Défossez et al. 2022, ``.ecdc``), as far as their codes are packed and not predicted.

A file begins with ``ECDC``, a version (0), the length of a JSON header (uint32, big-endian) and that header: ``m`` which codec,
``al`` samples per channel, ``nc`` codebooks, ``lm`` whether a language model squeezed the codes, for which that model's weights
would be needed. The codes follow as `audio_files.bit_packing` packs them; of the codec at 48 kHz chunk by chunk, each behind its
scale (float32, big-endian) and beginning with a byte of its own. There are no checksums.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from audio_files.bit_packing import pack, packed_size, unpack
from audio_files.coded import MAX_SAMPLES, NO_SCALES, CodedBlock, CodedHeader
from protocols.errors import ErrorCode, RequestError

ECDC_SUFFIX = ".ecdc"
ECDC_MAGIC = b"ECDC"

_HEAD = struct.Struct("!4sBI")
_SCALE = struct.Struct("!f")
_MAX_HEADER = 2**14
_READ_FRAMES = 4096
"""A multiple of 8, so that what is read at once ends with a byte."""
_CODEBOOKS = {"encodec_24khz": (2, 4, 8, 16, 32), "encodec_48khz": (2, 4, 8, 16)}
_HEADERS = {
    "encodec_24khz": CodedHeader(
        codec="encodec-24khz", sample_rate=24_000, channels=1, hop_length=320, codebooks=1, card=1024
    ),
    "encodec_48khz": CodedHeader(
        codec="encodec-48khz",
        sample_rate=48_000,
        channels=2,
        hop_length=320,
        codebooks=1,
        card=1024,
        chunk_samples=48_000,
        chunk_stride=47_520,
    ),
}


def package_name(header: CodedHeader) -> str:
    """What the ``encodec`` package calls the codec of such a file; empty when it has none like it.

    A codec is told by its name, that of the catalogue, of the hub or of the package, and its shape.
    """
    for name, like in _HEADERS.items():
        facts = ("sample_rate", "channels", "hop_length", "card", "chunk_samples", "chunk_stride")
        named = header.codec.lower().replace("_", "-").endswith(like.codec)
        if named and all(getattr(header, fact) == getattr(like, fact) for fact in facts):
            return name if header.codebooks in _CODEBOOKS[name] else ""
    return ""


class EcdcReader:
    """Reads such a file, in constant memory; see `audio_files.coded.CodedSource`.

    Args:
        file: open for reading, at its beginning.
        name: of the file, for errors.

    Raises:
        RequestError: MALFORMED for a damaged header; UNSUPPORTED for a codec or version that is not known, and for codes that a
            language model squeezed.
    """

    def __init__(self, file: BinaryIO, name: str = "") -> None:
        self.frames = 0
        self.samples = 0
        self.damage = ""
        self._file = file
        self._name = name
        values = self._read_header()
        codec, codebooks, samples = values.get("m"), values.get("nc"), values.get("al")
        if not isinstance(codec, str) or codec not in _HEADERS:
            raise self._refusal(ErrorCode.UNSUPPORTED, f"one of {', '.join(_HEADERS)}, not {str(codec)[:40]}")
        if values.get("lm") is not False:
            allowed = "codes that are packed; these were squeezed by a language model (lm), whose weights they need"
            raise self._refusal(ErrorCode.UNSUPPORTED, allowed)
        if type(codebooks) is not int or codebooks not in _CODEBOOKS[codec]:
            raise self._refusal(ErrorCode.MALFORMED, f"nc of {', '.join(map(str, _CODEBOOKS[codec]))}")
        if type(samples) is not int or not 0 <= samples <= MAX_SAMPLES:
            raise self._refusal(ErrorCode.MALFORMED, "al, the number of samples, as a whole number")
        like = _HEADERS[codec]
        self.header = msgspec.structs.replace(like, codebooks=codebooks)
        self._total = samples

    def blocks(self) -> Iterator[CodedBlock]:
        """The blocks up to the end or the damage, in order; once."""
        header = self.header
        length, stride = header.chunk_samples or self._total, header.chunk_stride or self._total
        for start in range(0, self._total, stride or 1):
            samples = min(self._total - start, length)
            frames = math.ceil(samples * header.frames_per_second / header.sample_rate)
            scales = NO_SCALES
            if header.chunk_stride:
                head = self._file.read(_SCALE.size)
                if len(head) < _SCALE.size:
                    self._cut()
                    return
                scales = np.frombuffer(head, ">f4").astype(np.float32)
                if not (np.isfinite(scales).all() and scales[0] > 0):
                    self.damage = f"a scale of {scales[0]}; {self.frames} frames before that are whole"
                    return
            for block in self._stretch(frames, scales):
                self.frames += block.codes.shape[1]
                ends = start + samples if header.chunk_stride else self.frames * header.hop_length
                self.samples = min(self._total, ends)
                yield block
            if self.damage:
                return
        if self._file.read(1):
            self.damage = "something follows its end"

    def _stretch(self, frames: int, scales: NDArray[np.float32]) -> Iterator[CodedBlock]:
        """The blocks of codes that follow each other without a gap; a chunk is one."""
        codebooks, card = self.header.codebooks, self.header.card
        for done in range(0, frames, _READ_FRAMES):
            wanted = min(_READ_FRAMES, frames - done)
            content = self._file.read(packed_size(codebooks, wanted, card))
            whole = wanted
            while packed_size(codebooks, whole, card) > len(content):
                whole -= 1
            if whole and (
                whole == wanted or not len(scales)
            ):  # a chunk that is not whole cannot be joined to the one before
                codes = unpack(content[: packed_size(codebooks, whole, card)], codebooks, whole, card)
                yield CodedBlock(self.frames, codes, scales)
            if whole < wanted:
                self._cut()
                return

    def _read_header(self) -> dict[str, object]:
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:4] != ECDC_MAGIC:
            raise self._refusal(ErrorCode.MALFORMED, f"a file of the encodec package ({ECDC_SUFFIX})")
        _, version, length = _HEAD.unpack(head)
        if version != 0:
            raise self._refusal(ErrorCode.UNSUPPORTED, f"version 0 of the encodec package's files, not {version}")
        content = self._file.read(min(length, _MAX_HEADER + 1))
        if length > _MAX_HEADER or len(content) < length:
            raise self._refusal(ErrorCode.MALFORMED, "a header that is there")
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._refusal(ErrorCode.MALFORMED, f"a header of JSON: {error}") from None
        if not isinstance(values, dict):
            raise self._refusal(ErrorCode.MALFORMED, "a header that is a JSON object")
        return values

    def _cut(self) -> None:
        self.damage = (
            f"it ends too early; {self.frames} frames ({self.samples / self.header.sample_rate:.4g} s) are whole"
        )

    def _refusal(self, code: ErrorCode, allowed: str) -> RequestError:
        return RequestError(code, "path", self._name, allowed)


class EcdcWriter:
    """Writes such a file, in constant memory, which the ``encodec`` package reads.

    Args:
        file: open for writing, at its beginning.
        header: of a codec that the package knows, see `package_name`.
        samples: per channel, of all the sound: the format wants it first.

    Raises:
        RequestError: UNSUPPORTED for a codec that the package does not know.
        OSError: the file cannot be written.
    """

    def __init__(self, file: BinaryIO, header: CodedHeader, samples: int) -> None:
        name = package_name(header)
        if not name:
            held = f"{header.codec} with {header.codebooks} codebooks"
            allowed = "encodec-24khz or encodec-48khz at one of their bandwidths; write .codes for any other codec"
            raise RequestError(ErrorCode.UNSUPPORTED, "out", held, allowed)
        self.header = header
        self.frames = 0
        self.bytes = 0
        self._file = file
        self._samples = samples
        self._started = 0
        self._rest: NDArray[np.integer] = np.zeros((header.codebooks, 0), np.uint16)
        content = json.dumps({"m": name, "al": samples, "nc": header.codebooks, "lm": False}).encode()
        self._put(_HEAD.pack(ECDC_MAGIC, 0, len(content)) + content)

    def write(self, codes: NDArray[np.integer], scales: NDArray[np.float32] = NO_SCALES) -> None:
        """Append codes ``[codebooks, frames]``; of the codec that works in chunks, whole chunks and the scale of each."""
        header = self.header
        self.frames += codes.shape[1]
        if not header.chunk_stride:
            joined = np.concatenate((self._rest, codes), axis=1)
            whole = joined.shape[1] // 8 * 8
            self._put(pack(joined[:, :whole], header.card))
            self._rest = joined[:, whole:]
            return
        for scale in scales.tolist():
            frames = -(-min(header.chunk_samples, self._samples - self._started) // header.hop_length)
            self._put(_SCALE.pack(scale) + pack(codes[:, :frames], header.card))
            codes = codes[:, frames:]
            self._started += header.chunk_stride

    def finish(self, samples: int) -> None:
        """Write what waits; the number of samples is the one that was said first."""
        assert samples == self._samples, (samples, self._samples)
        self._put(pack(self._rest, self.header.card))

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self.bytes += len(content)
