"""Codes as bits: each code takes as many as its codebook needs, the lowest bit first, one code after the other.

The order is that of the ``encodec`` package's files (Défossez et al. 2022): frame after frame, within a frame codebook after
codebook, filled into bytes from their lowest bit on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bits_of(card: int) -> int:
    """Bits that a code from 0 to ``card - 1`` takes."""
    return max(1, (card - 1).bit_length())


def packed_size(codebooks: int, frames: int, card: int) -> int:
    """Bytes that so many frames take."""
    return (codebooks * frames * bits_of(card) + 7) // 8


def pack(codes: NDArray[np.integer], card: int) -> bytes:
    """Codes ``[codebooks, frames]``, each below ``card``, as bytes; the last byte is filled up with zeros."""
    places = np.arange(bits_of(card), dtype=np.uint32)
    values = np.ascontiguousarray(codes.T, dtype=np.uint32)
    return np.packbits((values[..., None] >> places & 1).astype(np.uint8), bitorder="little").tobytes()


def unpack(content: bytes | memoryview, codebooks: int, frames: int, card: int) -> NDArray[np.uint16]:
    """Read codes ``[codebooks, frames]`` back; the caller sees to it that ``content`` is as long as `packed_size` says."""
    bits = bits_of(card)
    flat = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little", count=codebooks * frames * bits)
    places = np.left_shift(np.uint32(1), np.arange(bits, dtype=np.uint32))
    values = flat.reshape(frames, codebooks, bits) @ places
    return np.ascontiguousarray(values.T).astype(np.uint16)
