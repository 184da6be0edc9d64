"""Small sound files that are the same bytes whenever the sound is the same."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

_POLYNOMIAL = 0x04C11DB7
_SERIAL = 1
_HEADER = 27


def write_ogg(path: Path, samples: NDArray[np.float32], sample_rate: int, compression: float = 0.7) -> None:
    """Write a mono clip ``[samples]`` as Ogg Vorbis; samples beyond full scale are clipped.

    Args:
        path: is replaced.
        samples: in -1…1.
        sample_rate: in Hz.
        compression: from 0, the best, to 1, the smallest.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()
    soundfile.write(
        content,
        np.clip(np.nan_to_num(samples), -1, 1),
        sample_rate,
        format="OGG",
        subtype="VORBIS",
        compression_level=compression,
    )
    path.write_bytes(with_serial(content.getvalue(), _SERIAL))


def with_serial(content: bytes, serial: int) -> bytes:
    """An Ogg file of one stream with that serial number, which encoders draw by chance (RFC 3533, section 6).

    Raises:
        ValueError: no Ogg file.
    """
    pages, at = bytearray(content), 0
    while at < len(pages):
        if pages[at : at + 4] != b"OggS" or at + _HEADER > len(pages):
            raise ValueError(f"no Ogg page at byte {at}")
        segments = pages[at + _HEADER - 1]
        end = at + _HEADER + segments + sum(pages[at + _HEADER : at + _HEADER + segments])
        struct.pack_into("<I", pages, at + 14, serial)
        struct.pack_into("<I", pages, at + 22, 0)
        struct.pack_into("<I", pages, at + 22, _checksum(bytes(pages[at:end])))
        at = end
    return bytes(pages)


def _checksum(page: bytes) -> int:
    value, table = 0, _table()
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ table[(value >> 24) ^ byte]
    return value


@cache
def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)) & 0xFFFFFFFF
        rows.append(value)
    return tuple(rows)
