"""A melody with themes: motifs of a bar that come back, over chords that they adapt to.

A theme belongs to a letter of the form and returns with it, sometimes with another ending. Its bars repeat a rhythm and a contour.
Where a motif comes back over another chord, its notes on strong beats move to the nearest tone of that chord, and the others
keep the contour between them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from engine.training.composer.instruments import Instrument
from engine.training.composer.patterns import parse_pattern
from engine.training.composer.piece import TICKS_PER_BEAT, Chord, Note, Section
from engine.training.composer.plan import Plan
from engine.training.composer.style import CELLS
from engine.training.composer.theory import nearest_pitch

_SHAPES = ("aaba", "abac", "abab", "aaab", "abcb", "aabb")
_NEW_ENDING = 0.35


@dataclass(frozen=True)
class _Motif:
    """The rhythm of a bar as starts and ends within it, and by how many steps each note moves from the one before."""

    rhythm: tuple[tuple[Fraction, Fraction], ...]
    steps: tuple[int, ...]


def play_lead(rng: random.Random, plan: Plan, instrument: Instrument, playing: Callable[[Section], bool]) -> list[Note]:
    """The melody in straight time, one note at a time, within the instrument's range."""
    writer = _Writer(rng, plan, instrument)
    themes: dict[str, list[_Motif | None]] = {}
    notes: list[Note] = []
    for section in filter(playing, plan.sections):
        if section.label not in themes:
            themes[section.label] = writer.theme(section.bars, lift=len(themes))
        elif rng.random() < _NEW_ENDING:
            themes[section.label] = [*themes[section.label][:-1], writer.cadence()]
        notes.extend(writer.play(section, themes[section.label]))
    return notes


class _Writer:
    """Draws themes and sets them to chords."""

    def __init__(self, rng: random.Random, plan: Plan, instrument: Instrument) -> None:
        self._rng = rng
        self._plan = plan
        # A tessitura of a good octave within the range: melodies that use all of it sound aimless.
        room = max(0, instrument.high - instrument.low - 17)
        self._low = instrument.low + rng.randint(0, room)
        self._high = min(instrument.high, self._low + 17)
        steps = plan.mode.pentatonic if plan.pentatonic else range(7)
        self._scale = frozenset((plan.tonic + plan.mode.steps[step]) % 12 for step in steps)
        self._pitch = (self._low + self._high) // 2

    def theme(self, bars: int, lift: int) -> list[_Motif | None]:
        """One motif a bar, None where the melody rests; later themes start higher."""
        self._pitch = min(self._high - 4, (self._low + self._high) // 2 + 3 * lift)
        density = self._rng.choice(self._plan.style.lead.densities)
        motifs = {letter: self._motif(density) for letter in "abc"}
        shape = self._rng.choice(_SHAPES)
        theme: list[_Motif | None] = [motifs[shape[bar % 4]] for bar in range(bars)]
        if bars >= 4 and self._rng.random() < self._plan.style.lead.rest_bars:
            theme[1] = None
        theme[-1] = self.cadence()
        return theme

    def cadence(self) -> _Motif:
        """A bar that comes to rest: few notes, the last of them long, and room to breathe."""
        beats = self._plan.metre.beats
        division = self._plan.metre.division
        lead_in = self._rng.choice((0, 1, 1, min(2, beats - 1)))
        cells = [
            "".join(self._rng.choice(("x-", "xx", "x-") if division == 2 else ("x--", "x-x"))) for _ in range(lead_in)
        ]
        rest = beats - lead_in
        hold = max(1, rest - self._rng.choice((0, 1, 1)))
        cells.append(("x" + "-" * (division - 1)) + "-" * division * (hold - 1) + "." * division * (rest - hold))
        return self._with_contour("".join(cells))

    def play(self, section: Section, theme: Sequence[_Motif | None]) -> list[Note]:
        """A section's notes."""
        style = self._plan.style.lead
        bar_beats = self._plan.metre.beats
        notes: list[Note] = []
        # Where a theme starts depends on the section alone, so that it comes back as it was.
        self._pitch = (self._low + self._high) // 2 + (3 if section.label == "B" else 0)
        for index, motif in enumerate(theme):
            first = Fraction((section.first_bar + index) * bar_beats)
            for number, (start, end) in enumerate(motif.rhythm if motif else ()):
                assert motif is not None
                chord = self._plan.chord_at(first + start)
                strong = start == 0 or end - start >= 1 or first + start == chord.start
                final = index == len(theme) - 1 and number == len(motif.rhythm) - 1
                self._pitch = self._next_pitch(motif.steps[number], chord, strong, final)
                length = (end - start) * Fraction(style.articulation)
                sounding = max(1, round(length * TICKS_PER_BEAT))
                accent = 8 if start == 0 else 3 if start.denominator == 1 else -2
                velocity = max(1, min(127, 100 + accent + self._rng.randint(-5, 5)))
                at = first + start
                notes.append(Note(at, at + Fraction(sounding, TICKS_PER_BEAT), self._pitch, velocity))
        return notes

    def _motif(self, density: str) -> _Motif:
        cells, weights = zip(*CELLS[density][self._plan.metre.division], strict=True)
        while True:
            bar = "".join(self._rng.choices(cells, weights, k=self._plan.metre.beats))
            # The least for a motif is a note within the bar's first half.
            if "x" in bar[: len(bar) // 2 + 1]:
                return self._with_contour(bar)

    def _with_contour(self, bar: str) -> _Motif:
        (events,) = parse_pattern(bar, self._plan.metre.beats)
        leap = self._plan.style.lead.leap
        direction = self._rng.choice((-1, 1))
        steps = []
        for _ in events:
            if self._rng.random() < 0.3:
                direction = -direction
            chance = self._rng.random()
            size = self._rng.choice((2, 2, 3, 4)) if chance < leap else 0 if chance > 0.9 else 1
            steps.append(direction * size)
        return _Motif(tuple((event.start, event.end) for event in events), tuple(steps))

    def _next_pitch(self, steps: int, chord: Chord, strong: bool, final: bool) -> int:
        pitch = self._step(self._pitch, steps, chord)
        if final:
            pitch = self._nearest(chord.pitch_classes[:3], pitch)
        elif strong:
            pitch = self._nearest(chord.pitch_classes[:4], pitch)
        while pitch < self._low:
            pitch += 12
        while pitch > self._high:
            pitch -= 12
        return pitch

    def _step(self, pitch: int, steps: int, chord: Chord) -> int:
        """Move by steps of the scale as the chord colours it: its own tones are in, what they alter is out."""
        altered = [tone for tone in chord.pitch_classes if tone not in self._full_scale]
        allowed = (self._scale | set(chord.pitch_classes)) - {(tone - 1) % 12 for tone in altered}
        if not self._low <= pitch + 2 * steps <= self._high:
            steps = -steps
        direction = 1 if steps > 0 else -1
        for _ in range(abs(steps)):
            pitch += direction
            while pitch % 12 not in allowed:
                pitch += direction
        return pitch if pitch % 12 in allowed else self._nearest(tuple(sorted(allowed)), pitch)

    @property
    def _full_scale(self) -> frozenset[int]:
        return frozenset((self._plan.tonic + step) % 12 for step in self._plan.mode.steps)

    @staticmethod
    def _nearest(classes: Sequence[int], pitch: int) -> int:
        return min((nearest_pitch(tone, pitch) for tone in classes), key=lambda one: (abs(one - pitch), one))
