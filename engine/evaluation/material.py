"""Held-out music: pieces that no training hears, what a user would type to get them, and how they sound."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.conditioning.words import key_in, metre_in, tempo_in
from engine.training.composer import compose
from engine.training.composer.theory import MODES
from engine.training.data import Clip, PieceRecord, Split
from engine.training.data.build import HELD_OUT_EVERY
from engine.training.data.records import record_of
from engine.training.data.sampler import step_generator
from engine.training.data.shards import AUDIO, from_pcm, to_pcm
from engine.training.rendering import SAMPLE_RATE, Renderer, render_many
from protocols.errors import ErrorCode, RequestError

FIRST_SEED = 400_000 * HELD_OUT_EVERY
"""Of the composer. A data set that begins at seed 0 has these pieces only if it holds out more than 3,000 hours: they are not even
what a training is watched by.
"""

Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A crop of a held-out piece. Sound is float32 ``[samples]``, mono.

    Attributes:
        clip: what is known about the crop; it begins with a bar.
        prompt: what a user types to get such music; it always says tempo and key, and the metre unless it is 4/4.
        mix: all players.
        other: another crop of the same piece, away from this one where the piece is long enough.
        lead: the melody's player alone; None when only the mix is kept.
    """

    clip: Clip
    prompt: str
    mix: Samples
    other: Samples
    lead: Samples | None

    @property
    def scale(self) -> frozenset[int]:
        """The pitch classes of the piece's key."""
        return scale_of(self.clip.record)


def scale_of(record: PieceRecord) -> frozenset[int]:
    """The pitch classes of a piece's key."""
    return frozenset((record.tonic + step) % 12 for step in MODES[record.mode].steps)


def render_held_out(
    count: int,
    seconds: Fraction,
    seed: int = 0,
    *,
    workers: int = 1,
    sample_rate: int = SAMPLE_RATE,
    progress: Callable[[int], None] | None = None,
) -> list[HeldOut]:
    """Compose and render held-out pieces, and crop one clip from each.

    Args:
        count: clips.
        seconds: length of a clip; pieces that are shorter are left out.
        seed: of where the crops begin, and which pieces are composed.
        workers: processes that render; 1 renders in this one.
        sample_rate: in Hz.
        progress: called with how many clips there are.

    Raises:
        RequestError: what `engine.training.rendering` raises.
    """
    samples = round(seconds * sample_rate)
    first = FIRST_SEED + HELD_OUT_EVERY * 100_000 * seed
    pieces: Iterator[tuple[PieceRecord, Samples, Samples]]
    pieces = _render(itertools.count(first, HELD_OUT_EVERY), workers, sample_rate)
    clips: list[HeldOut] = []
    for record, mix, lead in pieces:
        if len(mix) < samples:
            continue
        rng = step_generator(seed, record.seed)
        start, other = _starts(record, samples, sample_rate, rng)
        clip = Clip(record, _caption(record, rng), Fraction(start, sample_rate), seconds)
        parts = [part[at : at + samples].copy() for part, at in ((mix, start), (mix, other), (lead, start))]
        clips.append(HeldOut(clip, _prompt(clip), parts[0], parts[1], parts[2]))
        if progress is not None:
            progress(len(clips))
        if len(clips) == count:
            break
    return clips


def read_held_out(
    folder: Path | str, count: int, seconds: Fraction, seed: int = 0, *, progress: Callable[[int], None] | None = None
) -> list[HeldOut]:
    """Crop clips from the shards of a split of audio, each from another piece as long as there are enough.

    Raises:
        RequestError: as `Split`; ``unsupported`` for a split of codes, ``out_of_range`` when no piece is that long.
    """
    split = Split(folder)
    if split.kind != AUDIO:
        raise RequestError(ErrorCode.UNSUPPORTED, "data", split.kind, f"a split of {AUDIO}")
    samples = round(seconds * split.rate)
    long_enough = [piece for piece, record in enumerate(split.records) if record.length >= samples]
    if not long_enough:
        longest = max(record.length for record in split.records) / split.rate
        raise RequestError(
            ErrorCode.OUT_OF_RANGE, "seconds", float(seconds), f"up to {float(longest):g}, the longest piece"
        )
    clips = []
    for index, piece in zip(range(count), itertools.cycle(long_enough), strict=False):
        record = split.records[piece]
        rng = step_generator(seed, index)
        start, other = _starts(record, samples, int(split.rate), rng)
        clip = Clip(record, _caption(record, rng), start / split.rate, seconds)
        mix, second = (from_pcm(split.read(piece, at, samples)) for at in (start, other))
        clips.append(HeldOut(clip, _prompt(clip), mix, second, None))
        if progress is not None:
            progress(len(clips))
    return clips


def _render(seeds: Iterator[int], workers: int, sample_rate: int) -> Iterator[tuple[PieceRecord, Samples, Samples]]:
    """Endless pieces with their mix and their lead, rounded as shards keep them."""
    if workers > 1:
        rendered = render_many(seeds, workers, sample_rate=sample_rate)
    else:
        renderer = Renderer(sample_rate=sample_rate)
        rendered = ((piece, renderer.render(piece)) for piece in map(compose, seeds))
    for piece, sound in rendered:
        yield record_of(piece, 0, len(sound.mix)), from_pcm(to_pcm(sound.mix)), sound.lead


def _starts(record: PieceRecord, samples: int, rate: int, rng: np.random.Generator) -> tuple[int, int]:
    """Two beginnings of bars from which a whole crop is left, in samples; the second as far from the first as a piece allows."""
    bar = record.seconds_at(record.metre.beats) * rate
    places = [round(index * bar) for index in range(record.bars)]
    places = [place for place in places if place + samples <= record.length]
    first = places[int(rng.integers(len(places)))]
    apart = [place for place in places if abs(place - first) >= samples]
    return first, apart[int(rng.integers(len(apart)))] if apart else max(places, key=lambda place: abs(place - first))


def _caption(record: PieceRecord, rng: np.random.Generator) -> str:
    """A caption that names no other key than the piece's: some call a dorian piece minor."""
    scale = scale_of(record)
    fitting = [caption for caption in record.captions if key_in(caption) in (None, scale)]
    return fitting[int(rng.integers(len(fitting)))] if fitting else record.style.replace("_", " ")


def _prompt(clip: Clip) -> str:
    """The caption, with what it does not say of tempo, key and metre."""
    record, text = clip.record, clip.caption
    if tempo_in(text) is None:
        text += f", {round(record.bpm)} bpm"
    if key_in(text) is None:
        text += f", in {record.key}"
    metre = metre_in(text)
    if (metre or (4, 2)) != (record.metre.beats, record.metre.division):
        text += f", {record.metre.name} time"
    return text
