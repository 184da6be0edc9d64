"""Makes data sets: composes, renders and writes shards, one a worker at a time, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from audio_files.soundfonts import find_soundfont
from engine.training.composer import MAX_SEED, REVISION, compose
from engine.training.data.folders import claim, sole_writer
from engine.training.data.records import read_index, record_of
from engine.training.data.shards import AUDIO, shard_index, to_pcm, write_shard
from engine.training.rendering import SAMPLE_RATE, check_workers, worker_pool, worker_renderer
from protocols.errors import ErrorCode, RequestError

TRAIN, HELD_OUT = "train", "held_out"
HELD_OUT_EVERY = 25
"""Seeds that this divides are never trained on, whatever data set they would be in."""
MAX_HOURS = 10_000

_PIECES = 64
_MEAN_SECONDS = 29.5
_SAME_RECIPE = "an empty folder, or one with a data set of this seed, soundfont, sample rate and composer"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the pieces of a data set depend on; equal recipes give equal data, and only they may fill one folder."""

    composer: int
    soundfont: str
    sample_rate: int
    seed0: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the building of a data set is: finished shards of all, and the hours of music in those that are finished."""

    shards: int
    total: int
    hours: float


def build_dataset(
    folder: Path | str,
    hours: float,
    *,
    held_out_hours: float = 0.5,
    workers: int = 1,
    seed0: int = 0,
    soundfont: Path | str | None = None,
    sample_rate: int = SAMPLE_RATE,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write a data set of about ``hours`` of music to train on and ``held_out_hours`` to measure on.

    Its shards are in ``folder/held_out`` and ``folder/train``; see `shards` for their form. Shards that are there already are
    kept: a stopped build goes on where it was, and the same call with more hours adds to a data set. Which pieces are in a
    shard depends on its number and ``seed0`` alone.

    Args:
        folder: made when it is not there.
        hours: of music to train on.
        held_out_hours: of music to measure on.
        workers: processes, of one thread each.
        seed0: the first seed; data sets with seeds far apart share no piece.
        soundfont: as in `Renderer`.
        sample_rate: in Hz.
        progress: called after each shard.

    Raises:
        RequestError: ``out_of_range`` for hours that are not within 0 to `MAX_HOURS`, or a seed below 0; ``not_allowed`` when the
            folder cannot be written or holds a data set of another recipe, ``too_large`` when the disk is full, ``busy`` while
            another run writes to it; everything that `Renderer` and `worker_pool` raise.
    """
    for name, value, most in (
        ("hours", hours, MAX_HOURS),
        ("held_out_hours", held_out_hours, MAX_HOURS),
        ("seed0", seed0, MAX_SEED // 2),
    ):
        if not 0 <= value <= most:
            raise RequestError(ErrorCode.OUT_OF_RANGE, name, value, f"0 to {most}")
    check_workers(workers)
    folder, font = Path(folder), find_soundfont(soundfont)
    with sole_writer(folder):
        claim(folder, asdict(Recipe(REVISION, _digest(font), sample_rate, seed0)), _SAME_RECIPE)
        tasks = [(HELD_OUT, number) for number in range(shards_for(held_out_hours))]
        tasks += [(TRAIN, number) for number in range(shards_for(hours))]
        open_tasks, count, seconds = [], 0, 0.0
        for split, number in tasks:
            index = shard_index(folder / split, number)
            if index.exists():
                count, seconds = count + 1, seconds + read_index(index).seconds
            else:
                open_tasks.append((split, number))
        if not open_tasks:
            return
        with worker_pool(min(workers, len(open_tasks))) as pool:
            running = {
                pool.submit(_build_shard, folder / split, number, shard_seeds(split, number, seed0), font, sample_rate)
                for split, number in open_tasks
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    seconds += future.result()
                    count += 1
                    if progress is not None:
                        progress(Progress(count, len(tasks), seconds / 3600.0))


def shards_for(hours: float) -> int:
    """How many shards about that much music is."""
    return math.ceil(hours * 3600.0 / (_PIECES * _MEAN_SECONDS))


def is_held_out(seed: int) -> bool:
    """Whether a seed's piece is never trained on."""
    return seed % HELD_OUT_EVERY == 0


def shard_seeds(split: str, number: int, seed0: int) -> list[int]:
    """The seeds of one shard of a split."""
    wanted = split == HELD_OUT
    seeds: Iterator[int] = (seed for seed in itertools.count(seed0) if is_held_out(seed) == wanted)
    return list(itertools.islice(seeds, number * _PIECES, (number + 1) * _PIECES))


def _build_shard(folder: Path, number: int, seeds: Sequence[int], soundfont: Path, sample_rate: int) -> float:
    """Write a shard; returns its seconds of music."""
    renderer = worker_renderer(soundfont, sample_rate)
    parts, records, offset = [], [], 0
    for seed in seeds:
        piece = compose(seed)
        samples = to_pcm(renderer.render(piece).mix)
        parts.append(samples)
        records.append(record_of(piece, offset, len(samples)))
        offset += len(samples)
    write_shard(folder, number, AUDIO, Fraction(renderer.sample_rate), parts, records)
    return offset / renderer.sample_rate


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
