"""What makes a style: everything that the players choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

STRAIGHT = Fraction(1, 2)

CELLS: Mapping[str, Mapping[int, tuple[tuple[str, float], ...]]] = {
    "sparse": {
        2: (("x---", 4), ("----", 5), ("....", 2), ("x-x-", 1), ("..x-", 0.7)),
        3: (("x--", 4), ("---", 5), ("...", 2), ("x-x", 0.7)),
    },
    "calm": {
        2: (("x---", 5), ("----", 2), ("....", 0.8), ("x-x-", 3), ("x--x", 0.7), ("..x-", 0.7)),
        3: (("x--", 5), ("---", 2), ("...", 0.8), ("x-x", 3), ("xxx", 0.8)),
    },
    "moving": {
        2: (("x---", 3), ("x-x-", 5), ("----", 0.8), ("--x-", 1.2), ("x--x", 1), ("..x-", 1), ("....", 0.5), ("x-xx", 0.6)),
        3: (("x--", 3), ("x-x", 4), ("xxx", 3), ("---", 0.8), ("...", 0.5)),
    },
    "busy": {
        2: (("x-x-", 4), ("xxxx", 1.6), ("x-xx", 2), ("xxx-", 1.2), ("x--x", 2), ("--x-", 1), ("x---", 1.5), ("..xx", 0.6)),
        3: (("xxx", 5), ("x-x", 3), ("x--", 1.5), ("-xx", 0.7)),
    },
    "syncopated": {
        2: (("x--x", 3), ("--x-", 3), ("x-x-", 2), (".x-x", 1.5), ("x---", 1.5), ("-x-x", 1), ("....", 1), ("..x-", 1.5)),
        3: (("x-x", 3), ("-x-", 1.5), ("x--", 2), ("xxx", 1), ("...", 1)),
    },
}  # fmt: skip
"""Rhythms of one beat and how often a melody takes them, by density and by the metre's division; patterns as in `patterns`."""


@dataclass(frozen=True)
class LeadStyle:
    """How a melody moves.

    Attributes:
        densities: of the first theme, chosen from; the keys of `CELLS`.
        pentatonic: probability that a piece's melody uses only five steps of the scale between chord tones.
        leap: probability of moving more than one step.
        articulation: share of its written length that a note sounds.
        rest_bars: probability that the second bar of a theme is left to the others.
    """

    densities: tuple[str, ...] = ("calm", "moving")
    pentatonic: float = 0.3
    leap: float = 0.25
    articulation: float = 0.95
    rest_bars: float = 0.1


@dataclass(frozen=True)
class Style:
    """A style of music. A choice is drawn evenly; what stands twice is drawn twice as often.

    Attributes:
        name: its name in the catalogue.
        names: what captions call it, the first one more often; "{lead}" becomes the melody's instrument, "{group}" a word for
            the number of different instruments ("trio"), for styles whose melody is always there.
        moods: words that suit it.
        bpm: lowest and highest tempo.
        modes: names of modes.
        metres: names of metres.
        progressions: by "major" or "minor" (the mode's third), chords as `theory.build_chord` reads them, bar by bar; "/" parts
            a bar.
        chord_sizes: notes in a chord.
        bars_per_chord: how many bars a progression's bar is stretched over.
        leads: instruments of the melody; () for none.
        chords: instruments of the accompaniment.
        basses: instruments of the bass.
        pads: instruments of held chords.
        kits: drum kits.
        presence: probability that a part plays at all, by role; 1 where it is not named.
        grooves: by metre, drum patterns as lines of a letter of `instruments.DRUM_KEYS` and a pattern; "X" accents, "x"
            hits, "o" taps, "g" is a ghost note.
        bass_lines: by metre; "1", "3", "5", "7" and "8" are the chord's tones, "a" approaches the next root.
        figures: by metre; "C" is the chord, "c" the chord softly, "B" its root in the bass, a digit one of its voices from
            below.
        swings: how far offbeats are late.
        swing_unit: the beats that an offbeat halves: 1 swings eighths, 1/2 sixteenths.
        lead: how the melody moves.
        bass_centre: around which the bass plays.
        chord_centre: around which chords are voiced.
        chord_articulation: share of its written length that a chord sounds.
        chord_level: velocity of chords.
        fills: probability that drums fill the last bar of a section.
        form_bars: bars of a section.
    """

    name: str
    names: tuple[str, ...]
    moods: tuple[str, ...]
    bpm: tuple[int, int]
    modes: tuple[str, ...]
    progressions: Mapping[str, tuple[str, ...]]
    leads: tuple[str, ...]
    chords: tuple[str, ...]
    figures: Mapping[str, tuple[str, ...]]
    basses: tuple[str, ...] = ()
    bass_lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pads: tuple[str, ...] = ()
    kits: tuple[str, ...] = ()
    grooves: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    presence: Mapping[str, float] = field(default_factory=dict)
    metres: tuple[str, ...] = ("4/4",)
    chord_sizes: tuple[int, ...] = (3,)
    bars_per_chord: tuple[int, ...] = (1,)
    swings: tuple[Fraction, ...] = (STRAIGHT,)
    swing_unit: Fraction = Fraction(1)
    lead: LeadStyle = field(default_factory=LeadStyle)
    bass_centre: int = 38
    chord_centre: int = 60
    chord_articulation: float = 0.95
    chord_level: int = 78
    fills: float = 0.8
    form_bars: tuple[int, ...] = (4,)
