"""What the composer makes: notes in exact beats, and everything that is known about the music they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.training.composer.theory import Mode, pitch_class_name

NO_PITCH = -1
"""Stands in chroma where no note sounds; the same value as `engine.conditioning.melody.SILENCE`."""
TICKS_PER_BEAT = 960
"""Every note begins and ends on this grid, which holds halves down to 1/64, triplets and quintuplets of a beat."""


@dataclass(frozen=True, slots=True)
class Metre:
    """How beats make bars.

    Attributes:
        name: as a score writes it.
        beats: per bar. The beat is what the tempo counts: a dotted quarter in 6/8 and 12/8.
        division: parts that a beat falls into, 2 in simple and 3 in compound metres.
    """

    name: str
    beats: int
    division: int


METRES = {
    metre.name: metre for metre in (Metre("4/4", 4, 2), Metre("3/4", 3, 2), Metre("6/8", 2, 3), Metre("12/8", 4, 3))
}


@dataclass(frozen=True, slots=True)
class Note:
    """One note.

    Attributes:
        start: in beats from the piece's beginning.
        end: in beats.
        pitch: MIDI key number, middle C is 60; in a drum track the General MIDI percussion key.
        velocity: 1 to 127.
    """

    start: Fraction
    end: Fraction
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Track:
    """One player.

    Attributes:
        role: "lead", "bass", "drums", "chords" or "pad"; at most one track of a piece has each.
        instrument: what a caption calls it.
        program: General MIDI program, 0 to 127; of a drum track, the kit.
        notes: by start; those of the lead do not overlap.
    """

    role: str
    instrument: str
    program: int
    notes: tuple[Note, ...]

    @property
    def is_drums(self) -> bool:
        return self.role == "drums"


@dataclass(frozen=True, slots=True)
class Chord:
    """A harmony and when it sounds.

    Attributes:
        start: in beats.
        end: in beats.
        root: pitch class, C is 0.
        pitch_classes: from the root upwards in thirds.
        name: as a lead sheet writes it.
    """

    start: Fraction
    end: Fraction
    root: int
    pitch_classes: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the form: its letter (or "intro"), its first bar and its length in bars."""

    label: str
    first_bar: int
    bars: int


@dataclass(frozen=True)
class Piece:
    """A composed piece.

    Attributes:
        seed: what it was composed from.
        style: name in the catalogue of styles.
        bpm: beats per minute, exactly; the beat is the metre's.
        tonic: pitch class, C is 0.
        mode: of the scale.
        metre: of every bar.
        swing: where the offbeat falls within its beat (or half beat, see the style): 1/2 is straight, 2/3 a triplet's.
        bars: how many there are. The piece ends with its last bar.
        sections: the form.
        chords: one after the other, without gaps.
        tracks: the players.
        captions: descriptions in varied words, all true; the first one is the caption.
        tags: style, genre and mood words.
    """

    seed: int
    style: str
    bpm: Fraction
    tonic: int
    mode: Mode
    metre: Metre
    swing: Fraction
    bars: int
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    tracks: tuple[Track, ...]
    captions: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def caption(self) -> str:
        return self.captions[0]

    @property
    def key(self) -> str:
        """Such as "A minor"; "D dorian" for a church mode."""
        return f"{pitch_class_name(self.tonic, self.mode)} {self.mode.name}"

    @property
    def beats(self) -> int:
        """Length in beats."""
        return self.bars * self.metre.beats

    @property
    def seconds(self) -> Fraction:
        """Length in seconds, exactly."""
        return self.seconds_at(Fraction(self.beats))

    @property
    def beat_times(self) -> list[Fraction]:
        """When each beat falls, in seconds."""
        return [self.seconds_at(Fraction(beat)) for beat in range(self.beats)]

    @property
    def bar_times(self) -> list[Fraction]:
        """When each bar begins, in seconds."""
        return self.beat_times[:: self.metre.beats]

    @property
    def lead(self) -> tuple[Note, ...]:
        """The melody, one note at a time; empty in a piece without one."""
        return next((track.notes for track in self.tracks if track.role == "lead"), ())

    def seconds_at(self, beat: Fraction) -> Fraction:
        """The time of a place in the music, in seconds."""
        return beat * 60 / self.bpm

    def chroma(self, frame_rate: Fraction | int, frames: int | None = None) -> NDArray[np.int64]:
        """The melody's pitch class at every frame's moment ``[frames]``: 0 (C) to 11 (B), or `NO_PITCH`.

        Args:
            frame_rate: frames per second, exactly; frame ``i`` is the moment ``i / frame_rate``.
            frames: how many; by default, as many as begin within the piece.

        Raises:
            ValueError: ``frame_rate`` is not above 0.
        """
        rate = Fraction(frame_rate)
        if rate <= 0:
            raise ValueError(f"frame_rate {frame_rate}: above 0")
        if frames is None:
            frames = math.ceil(self.seconds * rate)
        ticks = [(to_ticks(note.start), to_ticks(note.end), note.pitch) for note in self.lead]
        return chroma_of_notes(ticks, self.bpm, Fraction(0), rate, frames)


def to_ticks(beats: Fraction) -> int:
    """Beats in ticks, exactly.

    Raises:
        ValueError: not on the grid of `TICKS_PER_BEAT`.
    """
    ticks = beats * TICKS_PER_BEAT
    if ticks.denominator != 1:
        raise ValueError(f"beat {beats} is not on the grid of {TICKS_PER_BEAT} ticks")
    return ticks.numerator


def chroma_of_notes(
    notes: Sequence[tuple[int, int, int]], bpm: Fraction, first: Fraction, rate: Fraction, frames: int
) -> NDArray[np.int64]:
    """The pitch class that sounds at each of ``frames`` moments, ``first + i / rate`` seconds; `NO_PITCH` where none does.

    Args:
        notes: start and end in ticks, and pitch; one at a time, in order. A note sounds from its start up to, not at, its end.
        bpm: of the ticks' beats.
        first: seconds from the piece's beginning to frame 0.
        rate: frames per second.
        frames: how many.
    """
    result = np.full(frames, NO_PITCH, dtype=np.int64)
    if not notes or not frames:
        return result
    # Moments in ticks are whole multiples of one unit, so that comparing them with notes is exact.
    ticks_per_second = bpm / 60 * TICKS_PER_BEAT
    start, step = first * ticks_per_second, ticks_per_second / rate
    unit = math.lcm(start.denominator, step.denominator)
    moments = int(start * unit) + np.arange(frames, dtype=np.int64) * int(step * unit)
    table = np.asarray(notes, dtype=np.int64)
    index = np.searchsorted(table[:, 0] * unit, moments, side="right") - 1
    sounding = (index >= 0) & (moments < table[index, 1] * unit)
    result[sounding] = table[index[sounding], 2] % 12
    return result
