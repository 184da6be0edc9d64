"""Shards on disk: raw numbers in one file, what is known about them in another, read without copying.

A split is a folder of pairs: ``00042.pcm`` (int16 samples) or ``00042.codes`` (uint16, frame after frame, a frame's codebooks
side by side), both little-endian, and ``00042.index`` (msgpack, `records.ShardIndex`). The index is written last and each file
gets its name in one step, so that a shard with an index is a whole one: a split may be read while it is still being written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.training.data.folders import write_whole, written
from engine.training.data.records import INDEX_VERSION, PieceRecord, ShardIndex, fingerprint, read_index
from protocols.errors import ErrorCode, RequestError

AUDIO, CODES = "audio", "codes"
INDEX_SUFFIX = ".index"

_SUFFIXES = {AUDIO: ".pcm", CODES: ".codes"}
_TYPES = {AUDIO: np.dtype("<i2"), CODES: np.dtype("<u2")}
_FULL_SCALE = 32_767.0


class Split:
    """Pieces of a data set in the shards of one folder, as they are when it is opened. Any thread may read.

    Attributes:
        kind: `AUDIO` or `CODES`.
        rate: samples or frames per second.
        width: codebooks; 1 for audio.
        card: entries of a codebook; 0 for audio.
        records: of all pieces, in the order of the shards.
        fingerprint: names this set of pieces; it differs when shards were added since.
        shards: how many there are.
        numbers: of the shards, in their order.

    Args:
        folder: of the shards.
        shards: how many of them to take, from number 0 on; by default all that are finished. A training that must be
            repeatable while more data is being made says how many it means: workers finish shards in any order.

    Raises:
        RequestError: ``not_found`` without the folder, ``empty`` while shards that were asked for are not finished, or none is,
            ``out_of_range`` for fewer than one, ``malformed`` or ``version`` for files that cannot be read or do not belong
            together.
    """

    def __init__(self, folder: Path | str, shards: int | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RequestError(ErrorCode.NOT_FOUND, "data", str(folder), "a folder of shards")
        if shards is not None and shards < 1:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "shards", shards, "1 or more")
        finished = finished_shards(self.folder)
        self.numbers = finished[:shards]
        if not finished or (shards is not None and self.numbers != list(range(shards))):
            raise RequestError(
                ErrorCode.EMPTY, "data", str(folder), f"{shards or 'at least 1'} finished shards from 0 on"
            )
        paths = [shard_index(self.folder, number) for number in self.numbers]
        indices = [read_index(path) for path in paths]
        first = indices[0]
        self.kind, self.rate, self.width, self.card = first.kind, first.rate, first.width, first.card
        self.shards = len(indices)
        self.records: list[PieceRecord] = []
        self._shard_of: list[int] = []
        self._data: list[NDArray[Any]] = []
        for number, (path, index) in enumerate(zip(paths, indices, strict=True)):
            if (index.kind, index.rate, index.width, index.card) != (self.kind, self.rate, self.width, self.card):
                raise RequestError(ErrorCode.MALFORMED, "data", str(path), f"{self.kind} like the other shards'")
            self._data.append(_map(path, index))
            self.records.extend(index.records)
            self._shard_of.extend([number] * len(index.records))
        self.fingerprint = fingerprint(self.records)

    @property
    def seconds(self) -> float:
        """How much music there is."""
        return float(sum(record.length for record in self.records) / self.rate)

    def pieces_of(self, shard: int) -> range:
        """The pieces of a shard, by its place in `numbers`."""
        return range(bisect_left(self._shard_of, shard), bisect_right(self._shard_of, shard))

    def read(self, piece: int, start: int, length: int) -> NDArray[Any]:
        """A part of a piece as it is stored, without copying: int16 ``[samples]`` or uint16 ``[frames, codebooks]``.

        Raises:
            IndexError: not within the piece.
        """
        record = self.records[piece]
        if min(start, length) < 0 or start + length > record.length:
            raise IndexError(f"{start} to {start + length} of a piece of {record.length}")
        first = record.offset + start
        return self._data[self._shard_of[piece]][first : first + length]

    def audio(self, piece: int, start: int = 0, length: int | None = None) -> NDArray[np.float32]:
        """A part of a piece as float32 ``[samples]``, full scale at 1."""
        length = self.records[piece].length - start if length is None else length
        return from_pcm(self.read(piece, start, length))

    def codes(self, piece: int, start: int = 0, length: int | None = None) -> NDArray[np.uint16]:
        """A part of a piece as uint16 ``[codebooks, frames]``."""
        length = self.records[piece].length - start if length is None else length
        return np.ascontiguousarray(self.read(piece, start, length).T)


def to_pcm(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round float samples to 16 bits."""
    scaled: NDArray[np.float32] = np.rint(np.clip(samples, -1.0, 1.0) * np.float32(_FULL_SCALE))
    return scaled.astype(np.int16)


def from_pcm(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inverse of `to_pcm`."""
    return samples.astype(np.float32) * np.float32(1.0 / _FULL_SCALE)


def write_shard(
    folder: Path,
    number: int,
    kind: str,
    rate: Fraction,
    parts: list[NDArray[Any]],
    records: list[PieceRecord],
    card: int = 0,
) -> None:
    """Write one shard, its index last.

    Args:
        folder: of the split; made when it is not there.
        number: of the shard.
        kind: `AUDIO` or `CODES`.
        rate: samples or frames per second.
        parts: one array a piece: int16 ``[samples]``, or ``[frames, codebooks]``.
        records: of the same pieces, with their offsets.
        card: entries of a codebook.

    Raises:
        RequestError: ``too_large`` when there is no room, ``not_allowed`` when it cannot be written for another reason.
    """
    width = 1 if kind == AUDIO else parts[0].shape[1]
    index = ShardIndex(INDEX_VERSION, kind, rate.numerator, rate.denominator, width, card, tuple(records))
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = (np.ascontiguousarray(part, dtype=_TYPES[kind]).data for part in parts)
        write_whole(shard_index(folder, number).with_suffix(_SUFFIXES[kind]), content)
        write_whole(shard_index(folder, number), [msgspec.msgpack.encode(index)])


def shard_index(folder: Path, number: int) -> Path:
    """The file whose presence says that a shard is finished."""
    return folder / f"{number:05d}{INDEX_SUFFIX}"


def finished_shards(folder: Path) -> list[int]:
    """The numbers of the shards in a folder that are finished, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"*{INDEX_SUFFIX}") if path.stem.isdecimal())


def _map(path: Path, index: ShardIndex) -> NDArray[Any]:
    data = path.with_suffix(_SUFFIXES[index.kind])
    units = max((record.offset + record.length for record in index.records), default=0)
    try:
        mapped = np.memmap(data, dtype=_TYPES[index.kind], mode="r")
    except (OSError, ValueError) as error:
        raise RequestError(ErrorCode.MALFORMED, "data", str(data), "the data of a shard") from error
    if len(mapped) != units * index.width:
        raise RequestError(ErrorCode.MALFORMED, "data", str(data), f"{units * index.width} numbers, as the index says")
    return mapped if index.kind == AUDIO else mapped.reshape(-1, index.width)
