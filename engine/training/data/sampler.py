"""Crops of a split, the same ones for the same seed and step: a training that is resumed hears what it would have heard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.training.data.records import PieceRecord
from engine.training.data.shards import AUDIO, CODES, Split, from_pcm
from protocols.errors import ErrorCode, RequestError

CHROMA_RATE = Fraction(32_000, 4096)
"""Frames of chroma per second that melody models hear."""


class Alignment(StrEnum):
    """Where crops begin."""

    BAR = "bar"
    BEAT = "beat"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Clip:
    """A crop and what is known about it. Times are exact, and of the crop unless said otherwise.

    Attributes:
        record: of its piece.
        caption: one of its piece's captions.
        start: in seconds from the piece's beginning, where the crop begins to the sample or frame.
        seconds: length.
    """

    record: PieceRecord
    caption: str
    start: Fraction
    seconds: Fraction

    @property
    def bpm(self) -> float:
        return float(self.record.bpm)

    @property
    def key(self) -> str:
        return self.record.key

    def chroma(self, rate: Fraction = CHROMA_RATE, frames: int | None = None) -> NDArray[np.int64]:
        """The melody's pitch class at the moment of each frame of chroma ``[frames]``, `composer.NO_PITCH` where there is none.

        Args:
            rate: frames per second.
            frames: by default, as many as begin within the crop.
        """
        frames = math.ceil(self.seconds * rate) if frames is None else frames
        return self.record.chroma(rate, frames, self.start)

    def beat_positions(self, rate: Fraction | int, frames: int) -> NDArray[np.float32]:
        """Where in its bar each frame's moment is, in beats from 0 up to the bar's length ``[frames]``."""
        beats = [(self.start + index / Fraction(rate)) * self.record.bpm / 60 for index in (0, 1)]
        positions = float(beats[0]) + np.arange(frames) * float(beats[1] - beats[0])
        # A moment that rounding puts just before a bar belongs to the bar.
        return np.asarray((positions + 1e-6) % self.record.metre.beats, dtype=np.float32)

    @property
    def beat_times(self) -> NDArray[np.float64]:
        """When beats fall within the crop, in seconds."""
        return self._times(1)

    @property
    def bar_times(self) -> NDArray[np.float64]:
        """When bars begin within the crop, in seconds."""
        return self._times(self.record.metre.beats)

    def _times(self, stride: int) -> NDArray[np.float64]:
        unit = self.record.seconds_at(stride)
        # Half a unit of rounding, at the most 10 ms, may put a crop just behind the beat that it begins with.
        first = math.ceil(self.start / unit - Fraction(1, 50) / unit)
        whole = self.record.bars * self.record.metre.beats // stride
        last = min(whole, math.ceil((self.start + self.seconds) / unit))
        return np.array([max(0.0, float(index * unit - self.start)) for index in range(first, last)])


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Crops of sound.

    Attributes:
        audio: float32 ``[batch, samples]``.
        clips: what is known about them.
    """

    audio: NDArray[np.float32]
    clips: tuple[Clip, ...]

    @property
    def captions(self) -> list[str]:
        return [clip.caption for clip in self.clips]

    def chroma(self, rate: Fraction = CHROMA_RATE, frames: int | None = None) -> NDArray[np.int64]:
        """`Clip.chroma` of all ``[batch, frames]``."""
        return np.stack([clip.chroma(rate, frames) for clip in self.clips])


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """Crops of codes.

    Attributes:
        codes: int64 ``[batch, codebooks, frames]``, as embedding tables want them.
        clips: what is known about them.
    """

    codes: NDArray[np.int64]
    clips: tuple[Clip, ...]

    @property
    def captions(self) -> list[str]:
        return [clip.caption for clip in self.clips]

    def chroma(self, rate: Fraction = CHROMA_RATE, frames: int | None = None) -> NDArray[np.int64]:
        """`Clip.chroma` of all ``[batch, frames]``."""
        return np.stack([clip.chroma(rate, frames) for clip in self.clips])


class CropPlaces:
    """All the places of a split where a crop of some length may begin; each is drawn equally often.

    Args:
        split: of audio or codes.
        length: of a crop, in samples or frames.
        alignment: where crops begin.

    Raises:
        RequestError: ``out_of_range`` when the length is below 1 or no piece is that long.
    """

    def __init__(self, split: Split, length: int, alignment: Alignment = Alignment.BAR) -> None:
        self.split = split
        self.length = length
        self.alignment = alignment
        longest = max(record.length for record in split.records)
        if not 1 <= length <= longest:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "length", length, f"1 to {longest}, the longest piece")
        pieces, starts, counts = [], [], []
        for piece, record in enumerate(split.records):
            room = record.length - length
            if room < 0:
                continue
            if alignment is Alignment.ANY or not record.metre_name:  # nobody knows the bars of a recording
                pieces.append(piece)
                starts.append(0)
                counts.append(room + 1)
                continue
            stride = record.metre.beats if alignment is Alignment.BAR else 1
            step = record.seconds_at(stride) * split.rate
            for index in range(record.bars * record.metre.beats // stride):
                start = round(index * step)
                if start > room:
                    break
                pieces.append(piece)
                starts.append(start)
                counts.append(1)
        self._pieces = np.array(pieces, dtype=np.int64)
        self._starts = np.array(starts, dtype=np.int64)
        self._ends = np.cumsum(np.array(counts, dtype=np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def draw(self, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """``count`` pairs of a piece's number and a start within it, in samples or frames."""
        places = rng.integers(len(self), size=count)
        rows = np.searchsorted(self._ends, places, side="right")
        # Within a row that stands for many places, the offset from its last one counts backwards.
        starts = self._starts[rows] + (self._ends[rows] - 1 - places)
        return list(zip(self._pieces[rows].tolist(), starts.tolist(), strict=True))


class ClipSampler:
    """Crops of an audio split. Equal arguments and steps give equal batches; any thread.

    Args:
        split: of audio.
        samples: length of a crop.
        batch: crops in a batch.
        seed: of all choices.
        alignment: where crops begin.

    Raises:
        RequestError: ``unsupported`` for a split of codes; as `CropPlaces`.
    """

    def __init__(self, split: Split, samples: int, batch: int, seed: int, alignment: Alignment = Alignment.BAR) -> None:
        _check_kind(split, AUDIO)
        self._places = CropPlaces(split, samples, alignment)
        self._batch, self._seed = batch, seed

    def batch(self, step: int) -> ClipBatch:
        """The batch of a step, from 0."""
        rng = step_generator(self._seed, step)
        drawn = self._places.draw(self._batch, rng)
        split, length = self._places.split, self._places.length
        audio = np.empty((len(drawn), length), dtype=np.float32)
        for row, (piece, start) in zip(audio, drawn, strict=True):
            row[:] = from_pcm(split.read(piece, start, length))
        return ClipBatch(audio, _clips(split, drawn, length, rng))


class CodeSampler:
    """Crops of a split of codes. Equal arguments and steps give equal batches; any thread.

    Args:
        split: of codes.
        frames: length of a crop.
        batch: crops in a batch.
        seed: of all choices.
        alignment: where crops begin.

    Raises:
        RequestError: ``unsupported`` for a split of audio; as `CropPlaces`.
    """

    def __init__(self, split: Split, frames: int, batch: int, seed: int, alignment: Alignment = Alignment.BAR) -> None:
        _check_kind(split, CODES)
        self._places = CropPlaces(split, frames, alignment)
        self._batch, self._seed = batch, seed

    def batch(self, step: int) -> CodeBatch:
        """The batch of a step, from 0."""
        rng = step_generator(self._seed, step)
        drawn = self._places.draw(self._batch, rng)
        split, length = self._places.split, self._places.length
        codes = np.empty((len(drawn), split.width, length), dtype=np.int64)
        for row, (piece, start) in zip(codes, drawn, strict=True):
            row[:] = split.read(piece, start, length).T
        return CodeBatch(codes, _clips(split, drawn, length, rng))


def step_generator(seed: int, step: int) -> np.random.Generator:
    """The random generator of one step of a training."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, step))))


def _clips(split: Split, drawn: Sequence[tuple[int, int]], length: int, rng: np.random.Generator) -> tuple[Clip, ...]:
    choices = rng.random(len(drawn))
    clips = []
    for (piece, start), choice in zip(drawn, choices.tolist(), strict=True):
        record = split.records[piece]
        caption = record.captions[int(choice * len(record.captions))]
        clips.append(Clip(record, caption, start / split.rate, length / split.rate))
    return tuple(clips)


def _check_kind(split: Split, kind: str) -> None:
    if split.kind != kind:
        raise RequestError(ErrorCode.UNSUPPORTED, "data", split.kind, f"a split of {kind}")
