"""A score: what is known, frame by frame, about the music that is to come: where the beat is, which melody, which harmony.

Our own models hear it beside the words. Each codec frame has a row of features, which the LM projects and adds to the embedding
of the step that samples this frame (AudioCraft's fuser calls that ``input_interpolate``). MusicGen-melody hears its melody as a
prefix instead, whose places the attention must learn to find; a row that arrives with its own frame needs no finding, can change
at any moment without hearing anything again, and goes on for as long as a stream does. Features that are not given are zeros and
add nothing: without a score such a model is a plain MusicGen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PITCH_CLASSES = 12
"""C is 0, B is 11."""
SILENCE = -1
"""Stands in a melody where nothing sounds."""

FORM = 1
"""Names this layout of features in checkpoints. Raised when a feature changes its place or meaning."""

MELODY = 0
"""12 pitch classes, then "the melody rests", then "a note of the melody begins in this frame"."""
CHORD = 14
"""12 pitch classes, several at once."""
SCALE = 26
"""12 pitch classes: those of the key."""
GRID = 38
"""Where the frame is in its beat and bar; see `_grid_rows`."""

_CYCLES = (1, 2, 3, 4, 6)
_ONSETS = 5
_LONGEST_BAR = 6
FEATURES = GRID + 1 + 2 * len(_CYCLES) + _ONSETS + 2 * _LONGEST_BAR + 2
"""Length of a row."""


@dataclass(frozen=True, slots=True)
class BeatGrid:
    """Where beats and bars are.

    Attributes:
        bpm: beats per minute, exactly.
        beats_per_bar: how many beats make a bar; the last one may be cut short, as in 7/8.
        division: parts that a beat falls into: 2, or 3 in compound metres, whose beat is the dotted note.
        origin: the beat, counted from a bar line, at which frame 0 begins.
    """

    bpm: Fraction
    beats_per_bar: int | Fraction = 4
    division: int = 2
    origin: Fraction = Fraction(0)

    def beat_at(self, frame: int, frame_rate: Fraction) -> Fraction:
        """The beat at which a frame begins, exactly."""
        return self.origin + Fraction(frame) / frame_rate * self.bpm / 60

    def next_bar(self, frame: int, frame_rate: Fraction) -> Fraction:
        """The moment at or after the beginning of a frame at which a bar begins, in frames, exactly."""
        beats = -self.beat_at(frame, frame_rate) % self.beats_per_bar
        return frame + beats * 60 / self.bpm * frame_rate

    def continued(
        self, frame: int, frame_rate: Fraction, bpm: Fraction, beats_per_bar: int | Fraction, division: int
    ) -> BeatGrid:
        """The grid of another tempo or metre that goes on from this frame, in the middle of a beat wherever this one is."""
        beat = self.beat_at(frame, frame_rate) % self.beats_per_bar
        origin = beat - Fraction(frame) / frame_rate * bpm / 60
        return BeatGrid(bpm, beats_per_bar, division, origin % beats_per_bar)


class FrameMelody(Protocol):
    """A melody, frame by frame, that goes on for as long as anyone listens; `Melody`, and `engine.conditioning.melody_line`."""

    def at(self, frame: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pitch classes (`SILENCE` where it rests) and onsets, ``[count]`` each, from a frame on, which may be below 0."""


@dataclass(frozen=True, eq=False)
class Melody:
    """A melody of a whole number of frames, which are repeated; one without frames tells nothing, not even that it rests.

    Attributes:
        pitches: pitch classes ``[frames]``, `SILENCE` where it rests.
        onsets: where a note begins, boolean ``[frames]``.
    """

    pitches: NDArray[np.int64]
    onsets: NDArray[np.bool_]

    @classmethod
    def of_pitches(cls, pitches: Sequence[int] | NDArray[np.int64]) -> Melody:
        """A melody of which only the pitch classes are known: a note begins where they change."""
        row = np.asarray(pitches, dtype=np.int64)
        onsets = (row != np.roll(row, 1)) & (row != SILENCE)
        if len(row):
            onsets[0] = row[0] != SILENCE
        return cls(row, onsets)

    def __len__(self) -> int:
        return len(self.pitches)

    def at(self, frame: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pitch classes and onsets, ``[count]`` each, from a frame on; see `FrameMelody`."""
        at = np.arange(frame, frame + count) % len(self)
        return self.pitches[at], self.onsets[at]


@dataclass(frozen=True, eq=False)
class Score:
    """Everything that is known about a stream's music. Never changes; any thread. What is None is not known.

    Attributes:
        frame_rate: codec frames per second, exactly.
        grid: of beats and bars.
        melody: begins at frame ``origin``; what is before that belongs to an earlier turn of it.
        chords: pitch classes that sound, ``[frames, 12]`` of 0 and 1, repeated as the melody is.
        scale: pitch classes of the key.
        origin: frame of the stream at which melody and chords begin, an audio prompt's frames counted.
    """

    frame_rate: Fraction
    grid: BeatGrid | None = None
    melody: FrameMelody | None = None
    chords: NDArray[np.float32] | None = None
    scale: frozenset[int] | None = None
    origin: int = 0

    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        """The features ``[count, FEATURES]`` of the frames from ``frame`` on."""
        result = np.zeros((count, FEATURES), dtype=np.float32)
        if self.melody:
            pitches, onsets = self.melody.at(frame - self.origin, count)
            result[np.arange(count), MELODY + np.where(pitches == SILENCE, PITCH_CLASSES, pitches)] = 1
            result[:, MELODY + PITCH_CLASSES + 1] = onsets
        if self.chords is not None and len(self.chords):
            frames = np.arange(frame - self.origin, frame - self.origin + count)
            result[:, CHORD : CHORD + PITCH_CLASSES] = self.chords[frames % len(self.chords)]
        if self.scale is not None:
            result[:, [SCALE + pitch for pitch in self.scale]] = 1
        if self.grid is not None:
            result[:, GRID:] = _grid_rows(self.grid, self.frame_rate, frame, count)
        return result


@dataclass(frozen=True, eq=False)
class ChangingScore:
    """A score that is exchanged while its stream goes on. Never changes itself; any thread.

    Frames keep the score that they were made under, which matters where they are heard again, at the beginning of the next window.

    Attributes:
        parts: each with the frame of the stream from which on it holds, in order; the first one holds before that too.
        memory: how many frames before the latest change may still be asked for.
    """

    parts: tuple[tuple[int, Score], ...]
    memory: int

    @classmethod
    def steady(cls, score: Score, memory: int) -> ChangingScore:
        """One score from the beginning on."""
        return cls(((0, score),), memory)

    @property
    def latest(self) -> Score:
        """The score that holds now."""
        return self.parts[-1][1]

    def changed(self, frame: int, score: Score) -> ChangingScore:
        """With another score from ``frame`` on."""
        parts = [part for part in self.parts if part[0] < frame]
        ends = [*(first for first, _ in parts[1:]), frame]
        kept = (part for part, end in zip(parts, ends, strict=False) if end > frame - self.memory)
        return ChangingScore((*kept, (frame, score)), self.memory)

    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        """The features ``[count, FEATURES]`` of the frames from ``frame`` on."""
        last = frame + count
        starts = [frame, *(min(max(first, frame), last) for first, _ in self.parts[1:])]
        pairs = zip(starts, [*starts[1:], last], self.parts, strict=True)
        return np.concatenate([score.rows(start, end - start) for start, end, (_, score) in pairs if end > start])


def _grid_rows(grid: BeatGrid, frame_rate: Fraction, frame: int, count: int) -> NDArray[np.float32]:
    """That there is a grid; cosines and sines of 1, 2, 3, 4 and 6 cycles per beat; whether a bar, a beat, its half, its third and
    its quarter begin in the frame; which beat of the bar it is; how many the bar has; whether beats fall into three; the
    tempo in octaves above 120 bpm.
    """
    first = grid.beat_at(frame, frame_rate)
    step = grid.bpm / 60 / frame_rate
    # Whole multiples of one unit that every subdivision is a multiple of: exact at any distance from the beginning.
    unit = first.denominator * step.denominator * 12
    bar, width = int(unit * grid.beats_per_bar), int(step * unit)
    line = int(first * unit) % bar + np.arange(count, dtype=np.int64) * width
    at = line % bar
    phase = (at % unit) / unit
    parts: list[NDArray[np.float64]] = [np.ones(count)]
    for cycles in _CYCLES:
        parts += [np.cos(2 * np.pi * cycles * phase), np.sin(2 * np.pi * cycles * phase)]
    # A moment belongs to the frame whose middle is within half a frame of it: that is where its sound is heard first.
    middle = (line + width // 2) % bar
    for length in (bar, unit, unit // 2, unit // 3, unit // 4):
        parts.append((middle % length < width).astype(np.float64))
    beat, beats = at // unit, math.ceil(grid.beats_per_bar)
    parts += [(beat == index).astype(np.float64) for index in range(_LONGEST_BAR)]
    parts += [np.full(count, float(beats == index + 1)) for index in range(_LONGEST_BAR)]
    parts += [np.full(count, float(grid.division == 3)), np.full(count, float(np.log2(float(grid.bpm) / 120)))]
    return np.stack(parts, axis=1).astype(np.float32)
