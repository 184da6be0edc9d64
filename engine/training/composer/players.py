"""The rhythm section: drums, bass, accompaniment and pads, each from the plan and a pattern of the style.

Players write straight time in beats; `compose` moves their notes where the swing wants them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from engine.training.composer.instruments import DRUM_KEYS
from engine.training.composer.patterns import Event, bar_events
from engine.training.composer.piece import TICKS_PER_BEAT, Chord, Note, Section
from engine.training.composer.plan import Plan
from engine.training.composer.theory import nearest_pitch, voice_chord

_HITS = {"X": 116, "x": 96, "o": 66, "g": 42}
_FILLS = {
    "4/4": (
        ("s ........x.x.xxxx",), ("s ........xxxx....", "T ............xx..", "t ..............xx"),
        ("s ..........x.x.x.", "m ...........x.x.x"), ("s ............xxxx",),
        ("T ........x.x.....", "m ............x...", "t ..............x."),
    ),
    "3/4": (("s ......x.x.xx",), ("T ......xx....", "t ........x.x.")),
    "6/8": (("s ...xxx",), ("T ...x..", "m ....x.", "t .....x")),
    "12/8": (("s .........xxx",), ("T ......xxx...", "t .........x.x")),
}  # fmt: skip
_CUT = {"4/4": Fraction(2), "3/4": Fraction(3, 2), "6/8": Fraction(1), "12/8": Fraction(2)}
_CRASH, _HAT_LETTERS = "C", "hbyqp"


def play_drums(rng: random.Random, plan: Plan, playing: Callable[[Section], bool]) -> list[Note]:
    """A groove for each letter of the form; the last bar of a section may end in a fill, the next begins with a cymbal."""
    grooves = plan.style.grooves[plan.metre.name]
    chosen = {"A": rng.choice(grooves), "B": rng.choice(grooves)}
    chosen["intro"] = chosen["A"]
    crashes = plan.style.fills >= 0.5
    notes: list[Note] = []
    filled = False
    for section in plan.sections:
        if not playing(section):
            filled = False
            continue
        lines = chosen[section.label]
        if section.label == "intro":
            lines = tuple(line for line in lines if line[0] in _HAT_LETTERS) or lines[:1]
        if filled and crashes:
            notes.append(_hit(rng, _CRASH, Fraction(section.first_bar * plan.metre.beats), 92))
        fill = rng.choice(_FILLS[plan.metre.name]) if rng.random() < plan.style.fills else ()
        last = section.first_bar + section.bars - 1
        cut = (last + 1) * plan.metre.beats - _CUT[plan.metre.name]
        for bar in range(section.first_bar, last + 1):
            for line in lines:
                for event in bar_events(line[1:], plan.metre.beats, bar):
                    if not (fill and event.start >= cut and line[0] not in "kC"):
                        notes.append(_hit(rng, line[0], event.start, _HITS[event.token]))
        for line in fill:
            events = bar_events(line[1:], plan.metre.beats, last)
            notes.extend(_hit(rng, line[0], event.start, 90) for event in events)
        filled = bool(fill)
    return notes


def play_bass(rng: random.Random, plan: Plan, playing: Callable[[Section], bool]) -> list[Note]:
    """A line for each letter of the form, on the roots and the other tones of the chords."""
    lines = plan.style.bass_lines[plan.metre.name]
    chosen = {"A": rng.choice(lines), "B": rng.choice(lines)}
    chosen["intro"] = chosen["A"]
    notes: list[Note] = []
    root = plan.style.bass_centre
    for section in filter(playing, plan.sections):
        for bar in range(section.first_bar, section.first_bar + section.bars):
            for event in bar_events(chosen[section.label], plan.metre.beats, bar):
                chord = plan.chord_at(event.start)
                root = _near_centre(chord.root, root, plan.style.bass_centre)
                pitch = _bass_pitch(rng, plan, event, chord, root)
                strong = event.start.denominator == 1
                end = event.end - (event.end - event.start) / 12
                notes.append(Note(event.start, _on_grid(end), pitch, _velocity(rng, 96 if strong else 86)))
    return notes


def play_chords(rng: random.Random, plan: Plan, playing: Callable[[Section], bool]) -> list[Note]:
    """A figure for each letter of the form, on voicings that move as little as they can."""
    figures = plan.style.figures[plan.metre.name]
    chosen = {"A": rng.choice(figures), "B": rng.choice(figures)}
    chosen["intro"] = chosen["A"]
    notes: list[Note] = []
    voicings = _voicings(plan, plan.style.chord_centre, 4)
    for section in filter(playing, plan.sections):
        for bar in range(section.first_bar, section.first_bar + section.bars):
            for event in bar_events(chosen[section.label], plan.metre.beats, bar):
                chord = plan.chord_at(event.start)
                length = (min(event.end, chord.end) - event.start) * Fraction(plan.style.chord_articulation)
                level = plan.style.chord_level - (16 if event.token == "c" else 0)
                end = _on_grid(event.start + length)
                for pitch in _figure_pitches(event.token, voicings[chord.start], chord):
                    notes.append(Note(event.start, end, pitch, _velocity(rng, level)))
    return _without_overlaps(notes)


def play_pad(rng: random.Random, plan: Plan, playing: Callable[[Section], bool]) -> list[Note]:
    """Every chord held for as long as it lasts."""
    voicings = _voicings(plan, 62, 3)
    notes: list[Note] = []
    for section in filter(playing, plan.sections):
        first = section.first_bar * plan.metre.beats
        last = first + section.bars * plan.metre.beats
        for chord in plan.chords:
            if first <= chord.start < last:
                level = _velocity(rng, 72)
                notes.extend(Note(chord.start, chord.end, pitch, level) for pitch in voicings[chord.start])
    return notes


def _bass_pitch(rng: random.Random, plan: Plan, event: Event, chord: Chord, root: int) -> int:
    tones = chord.pitch_classes
    degree = {"3": 1, "5": 2, "7": 3}.get(event.token)
    if event.token == "8":
        return root + 12
    if event.token == "a":
        following = plan.chord_at(event.end)
        target = _near_centre(following.root, root, plan.style.bass_centre)
        return target + rng.choice((-1, -1, 1, -2))
    if event.token == "6":
        return root + 9
    if degree is None or degree >= len(tones):
        # A chord of two is root and fifth; one without a seventh has its octave there.
        if len(tones) == 2 and event.token == "5":
            return root + (tones[1] - tones[0]) % 12
        return root + (12 if event.token == "7" else 0)
    return root + (tones[degree] - tones[0]) % 12


def _figure_pitches(token: str, voicing: tuple[int, ...], chord: Chord) -> tuple[int, ...]:
    if token in "Cc":
        return voicing
    if token == "B":
        return (nearest_pitch(chord.root, voicing[0] - 12),)
    octave, voice = divmod(int(token), len(voicing))
    return (voicing[voice] + 12 * octave,)


def _voicings(plan: Plan, centre: int, voices: int) -> dict[Fraction, tuple[int, ...]]:
    """By the chord's start. Where a chord has more tones than there are voices, the bass has the root."""
    result: dict[Fraction, tuple[int, ...]] = {}
    previous: tuple[int, ...] = ()
    for chord in plan.chords:
        tones = chord.pitch_classes
        if len(tones) > voices:
            tones = tones[1 : voices + 1] if voices >= 4 else (tones[0], tones[1], tones[-1])
        voicing: tuple[int, ...]
        if len(tones) == 2:
            bottom = nearest_pitch(tones[0], centre - 4)
            voicing = (bottom, bottom + (tones[1] - tones[0]) % 12, bottom + 12)
        else:
            voicing = voice_chord(tones, centre, previous)
        result[chord.start] = previous = voicing
    return result


def _near_centre(pitch_class: int, previous: int, centre: int) -> int:
    """Close to the note before, unless that leads out of an octave around the centre."""
    pitch = nearest_pitch(pitch_class, previous)
    return pitch if abs(pitch - centre) <= 7 else nearest_pitch(pitch_class, centre)


def _without_overlaps(notes: list[Note]) -> list[Note]:
    """End a note where the same key is struck again: a synthesiser knows one note per key."""
    following: dict[int, Fraction] = {}
    result = []
    for note in reversed(notes):
        end = min(note.end, following.get(note.pitch, note.end))
        following[note.pitch] = note.start
        result.append(Note(note.start, end, note.pitch, note.velocity))
    result.reverse()
    return result


def _hit(rng: random.Random, letter: str, start: Fraction, velocity: int) -> Note:
    return Note(start, start + Fraction(1, 8), DRUM_KEYS[letter], _velocity(rng, velocity, 4))


def _velocity(rng: random.Random, level: int, spread: int = 6) -> int:
    return max(1, min(127, level + rng.randint(-spread, spread)))


def _on_grid(beat: Fraction) -> Fraction:
    return Fraction(round(beat * TICKS_PER_BEAT), TICKS_PER_BEAT)
