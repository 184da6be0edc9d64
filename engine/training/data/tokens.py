"""Turns a split of audio into one of codes, with any codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.training.data.build import Progress
from engine.training.data.folders import claim, sole_writer
from engine.training.data.records import read_index
from engine.training.data.shards import AUDIO, CODES, Split, shard_index, write_shard
from engine.training.rendering import check_workers, worker_pool
from protocols.errors import ErrorCode, RequestError

_MAX_CARD = 1 << 16


class Encoder(Protocol):
    """A codec, as far as this needs one."""

    def encode(self, audio: NDArray[np.float32]) -> Any:
        """Codes ``[codebooks, frames]`` of mono samples ``[samples]`` in -1…1; anything that numpy can read, on the CPU."""


def encode_split(
    source: Path | str,
    target: Path | str,
    encoder: Encoder,
    *,
    frame_rate: Fraction | int,
    card: int,
    encoder_name: str = "",
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Encode every piece of an audio split; shards that are there already are kept, so that a stopped run goes on.

    Args:
        source: folder of the audio split.
        target: folder of the split of codes; made when it is not there.
        encoder: does the work, piece by piece.
        frame_rate: of the codes, in frames per second.
        card: entries of a codebook, at most 65,536.
        encoder_name: names the encoder and its weights, such as by a digest: codes of others are not added to.
        workers: processes; with more than one, each has a copy of ``encoder``, which is pickled for every shard and so should be
            light, such as a folder's name and what opens it at its first use.
        progress: called after each shard.

    Raises:
        RequestError: ``unsupported`` for a source of codes; ``out_of_range`` for a rate or a card that cannot be;
            ``not_allowed`` for a target that holds codes of other pieces, another encoder, rate or card, or cannot be written,
            ``too_large`` when the disk is full, ``busy`` while another run writes to it; ``malformed`` when the encoder gives
            another number of frames than the length and the rate make (one more or less is rounding), changes its number of
            codebooks, or gives what is not whole numbers within the codebook; as `Split` and `worker_pool`.
    """
    target, rate = Path(target), Fraction(frame_rate)
    if rate <= 0:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "frame_rate", str(frame_rate), "above 0")
    if not 1 <= card <= _MAX_CARD:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "card", card, f"1 to {_MAX_CARD}")
    # Opened once: shards that are finished while this runs are left for the next run.
    split = Split(source)
    if split.kind != AUDIO:
        raise RequestError(ErrorCode.UNSUPPORTED, "data", split.kind, "a split of audio")
    check_workers(workers)
    recipe = {"encoder": encoder_name, "frame_rate": str(rate), "card": card}
    with sole_writer(target):
        claim(target, recipe, "an empty folder, or one with codes of this encoder, frame rate and card")
        open_shards, count, seconds = [], 0, 0.0
        for shard, number in enumerate(split.numbers):
            if shard_index(target, number).exists():
                seconds += _held_seconds(split, shard, target)
                count += 1
                if progress is not None:
                    progress(Progress(count, split.shards, seconds / 3600.0))
            else:
                open_shards.append(shard)
        for made in _encode_shards(encoder, split, open_shards, target, rate, card, workers):
            seconds += made
            count += 1
            if progress is not None:
                progress(Progress(count, split.shards, seconds / 3600.0))


def _held_seconds(split: Split, shard: int, target: Path) -> float:
    """The seconds of music in a shard of codes that is there already."""
    index = read_index(shard_index(target, split.numbers[shard]))
    if [record.seed for record in index.records] != [split.records[piece].seed for piece in split.pieces_of(shard)]:
        allowed = "a folder without codes of other pieces"
        raise RequestError(ErrorCode.NOT_ALLOWED, "folder", str(target), allowed)
    return index.seconds


def _encode_shards(
    encoder: Encoder, split: Split, shards: list[int], target: Path, rate: Fraction, card: int, workers: int
) -> Iterator[float]:
    """Write shards; gives the seconds of music of each when it is done."""
    if workers == 1 or len(shards) < 2:
        for shard in shards:
            yield _encode_shard(encoder, split, split.numbers[shard], target, rate, card)
        return
    with worker_pool(min(workers, len(shards))) as pool:
        numbers = [split.numbers[shard] for shard in shards]
        running = {
            pool.submit(_encode_elsewhere, encoder, split.folder, number, target, rate, card) for number in numbers
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _encode_elsewhere(encoder: Encoder, source: Path, number: int, target: Path, rate: Fraction, card: int) -> float:
    return _encode_shard(encoder, _opened(source), number, target, rate, card)


@cache
def _opened(source: Path) -> Split:
    """A worker's own view of the source; shards that were finished since the run began do no harm."""
    return Split(source)


def _encode_shard(encoder: Encoder, split: Split, number: int, target: Path, rate: Fraction, card: int) -> float:
    """Write a shard of codes; returns its seconds of music."""
    parts: list[NDArray[np.uint16]] = []
    records, offset = [], 0
    for piece in split.pieces_of(split.numbers.index(number)):
        codes = _encode(encoder, split, piece, rate, card)
        if parts and codes.shape[1] != parts[0].shape[1]:
            held, allowed = f"{codes.shape[1]} codebooks", f"{parts[0].shape[1]} codebooks, as before"
            raise RequestError(ErrorCode.MALFORMED, "codes", held, allowed)
        parts.append(codes)
        records.append(msgspec.structs.replace(split.records[piece], offset=offset, length=len(codes)))
        offset += len(codes)
    write_shard(target, number, CODES, rate, parts, records, card)
    return float(offset / rate)


def _encode(encoder: Encoder, split: Split, piece: int, rate: Fraction, card: int) -> NDArray[np.uint16]:
    """Codes ``[frames, codebooks]`` of a piece."""
    codes = np.asarray(encoder.encode(split.audio(piece)))
    frames = split.records[piece].length / split.rate * rate
    if codes.ndim != 2 or abs(codes.shape[1] - frames) > 1:
        held = f"codes {list(codes.shape)}"
        raise RequestError(
            ErrorCode.MALFORMED, "codes", held, f"[codebooks, frames] with about {float(frames):.1f} frames"
        )
    if codes.dtype.kind not in "iu":
        raise RequestError(ErrorCode.MALFORMED, "codes", str(codes.dtype), "whole numbers")
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < card:
        raise RequestError(ErrorCode.MALFORMED, "codes", f"{codes.min()} to {codes.max()}", f"0 to {card - 1}")
    return np.ascontiguousarray(codes.T.astype(np.uint16))
