"""What all players agree on before the first note: tempo, key, metre, form and harmony."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from engine.training.composer.piece import METRES, Chord, Metre, Section
from engine.training.composer.style import Style
from engine.training.composer.theory import MODES, Mode, build_chord

FRAME_RATE = 50
"""Of the codecs, in frames per second. Most tempos are chosen so that a beat is a whole number of frames: easier to learn."""

_WHOLE_FRAMES = 0.85
_SHORTEST, _LONGEST = 20, 40
_FORMS = {
    1: ("A",),
    2: ("AA", "AB"),
    3: ("AAB", "ABA", "iAB", "iAA"),
    4: ("AABA", "AABB", "iABA", "iAAB"),
    5: ("iAABB", "iABAB", "AABAB"),
    6: ("iAABAB", "AABABA", "iABABB", "AABBAA"),
}


@dataclass(frozen=True)
class Plan:
    """The frame of a piece; see `Piece` for what the fields mean."""

    style: Style
    bpm: Fraction
    tonic: int
    mode: Mode
    metre: Metre
    swing: Fraction
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    pentatonic: bool = field(default=False)

    @property
    def bars(self) -> int:
        last = self.sections[-1]
        return last.first_bar + last.bars

    def chord_at(self, beat: Fraction) -> Chord:
        """The harmony of a moment; beyond the end the first one, because pieces come round."""
        index = bisect_right(self._chord_starts, beat) - 1
        chord = self.chords[index]
        return chord if beat < chord.end else self.chords[0]

    @cached_property
    def _chord_starts(self) -> list[Fraction]:
        return [chord.start for chord in self.chords]


def make_plan(rng: random.Random, style: Style) -> Plan:
    """Draw the frame of a piece in a style."""
    metre = METRES[rng.choice(style.metres)]
    mode = MODES[rng.choice(style.modes)]
    tonic = rng.randrange(12)
    bpm = draw_tempo(rng, *style.bpm)
    swing = rng.choice(style.swings) if metre.division == 2 else Fraction(1, 2)
    sections = _draw_form(rng, style, bpm, metre)
    chords = _draw_harmony(rng, style, sections, tonic, mode, metre)
    return Plan(style, bpm, tonic, mode, metre, swing, sections, chords, rng.random() < style.lead.pentatonic)


def draw_tempo(rng: random.Random, low: int, high: int) -> Fraction:
    """A tempo in a range, mostly one whose beat, and if possible its half and quarter, is a whole number of codec frames."""
    lengths = range(-(-60 * FRAME_RATE // high), 60 * FRAME_RATE // low + 1)
    if lengths and rng.random() < _WHOLE_FRAMES:
        weights = [4 if length % 4 == 0 else 2 if length % 2 == 0 else 1 for length in lengths]
        return Fraction(60 * FRAME_RATE, rng.choices(lengths, weights)[0])
    return Fraction(rng.randint(low, high))


def _draw_form(rng: random.Random, style: Style, bpm: Fraction, metre: Metre) -> tuple[Section, ...]:
    """Sections of equal length that make `_SHORTEST` to `_LONGEST` seconds together."""
    bar_seconds = metre.beats * 60 / bpm
    bars = rng.choice(style.form_bars)
    while bars > 2 and 2 * bars * bar_seconds > _LONGEST:
        bars //= 2
    while bars * len(_FORMS) * bar_seconds < _SHORTEST:
        bars *= 2
    counts = [count for count in _FORMS if _SHORTEST <= count * bars * bar_seconds <= _LONGEST]
    letters = rng.choice(_FORMS[rng.choice(counts)])
    names = {"i": "intro"}
    return tuple(Section(names.get(letter, letter), index * bars, bars) for index, letter in enumerate(letters))


def _draw_harmony(
    rng: random.Random, style: Style, sections: Sequence[Section], tonic: int, mode: Mode, metre: Metre
) -> tuple[Chord, ...]:
    """Each letter of the form has a progression of its own, except that B often keeps A's."""
    choices = style.progressions["minor" if mode.is_minor else "major"]
    first = rng.choice(choices)
    progressions = {"A": first, "intro": first, "B": rng.choice(choices)}
    size, stretch = rng.choice(style.chord_sizes), rng.choice(style.bars_per_chord)
    chords: list[Chord] = []
    for section in sections:
        numerals = progressions[section.label].split()
        for bar in range(section.bars):
            halves = numerals[bar // stretch % len(numerals)].split("/")
            for index, numeral in enumerate(halves):
                start = Fraction((section.first_bar + bar) * metre.beats) + Fraction(index * metre.beats, len(halves))
                end = start + Fraction(metre.beats, len(halves))
                classes, name = build_chord(tonic, mode, numeral, size)
                if chords and chords[-1].name == name and section.first_bar * metre.beats != start:
                    start = chords.pop().start
                chords.append(Chord(start, end, classes[0], classes, name))
    return tuple(chords)
