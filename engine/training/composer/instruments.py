"""The instruments that styles choose from, as General MIDI numbers them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument.

    Attributes:
        name: what a caption calls it.
        program: General MIDI program from 0; of a drum kit, the percussion program.
        low: lowest pitch as a lead.
        high: highest pitch as a lead.
    """

    name: str
    program: int
    low: int = 60
    high: int = 84


def _catalogue(*rows: tuple[str, int] | tuple[str, int, int, int]) -> dict[str, Instrument]:
    return {row[0]: Instrument(*row) for row in rows}


INSTRUMENTS = _catalogue(
    ("piano", 0, 60, 86),
    ("bright piano", 1, 60, 86),
    ("honky-tonk piano", 3, 60, 84),
    ("electric piano", 4, 58, 82),
    ("fm electric piano", 5, 60, 84),
    ("clavinet", 7, 55, 79),
    ("celesta", 8, 67, 91),
    ("music box", 10, 67, 91),
    ("vibraphone", 11, 60, 84),
    ("tubular bells", 14, 60, 79),
    ("drawbar organ", 16, 58, 82),
    ("rock organ", 18, 58, 82),
    ("accordion", 21, 60, 84),
    ("harmonica", 22, 60, 82),
    ("nylon guitar", 24, 55, 79),
    ("steel guitar", 25, 55, 79),
    ("jazz guitar", 26, 55, 79),
    ("clean electric guitar", 27, 55, 81),
    ("muted guitar", 28, 50, 74),
    ("overdriven guitar", 29, 55, 81),
    ("distorted guitar", 30, 55, 81),
    ("acoustic bass", 32),
    ("fingered bass", 33),
    ("picked bass", 34),
    ("fretless bass", 35),
    ("slap bass", 36),
    ("synth bass", 38),
    ("deep synth bass", 39),
    ("violin", 40, 60, 88),
    ("viola", 41, 55, 76),
    ("cello", 42, 48, 72),
    ("contrabass", 43),
    ("pizzicato strings", 45, 55, 84),
    ("harp", 46, 55, 84),
    ("strings", 48, 58, 86),
    ("slow strings", 49, 58, 84),
    ("synth strings", 50, 58, 84),
    ("choir", 52, 58, 80),
    ("trumpet", 56, 58, 82),
    ("trombone", 57, 48, 70),
    ("muted trumpet", 59, 58, 80),
    ("french horn", 60, 50, 74),
    ("brass", 61, 55, 79),
    ("alto saxophone", 65, 56, 80),
    ("tenor saxophone", 66, 52, 76),
    ("oboe", 68, 60, 84),
    ("clarinet", 71, 55, 82),
    ("flute", 73, 62, 88),
    ("recorder", 74, 64, 86),
    ("pan flute", 75, 62, 84),
    ("whistle", 78, 67, 88),
    ("square lead", 80, 60, 86),
    ("saw lead", 81, 58, 84),
    ("calliope lead", 82, 60, 86),
    ("warm pad", 89, 58, 82),
    ("polysynth", 90, 58, 84),
    ("choir pad", 91, 58, 82),
    ("halo pad", 94, 58, 82),
    ("sweep pad", 95, 58, 82),
    ("crystal", 98, 62, 86),
    ("banjo", 105, 57, 81),
    ("kalimba", 108, 60, 84),
    ("fiddle", 110, 60, 86),
    ("steel drums", 114, 60, 84),
)
"""Melodic instruments by name."""

KITS = _catalogue(
    ("drums", 0),
    ("room drums", 8),
    ("power drums", 16),
    ("electronic drums", 24),
    ("808 drums", 25),
    ("jazz drums", 32),
    ("brushed drums", 40),
    ("orchestral percussion", 48),
)
"""Drum kits by name."""

DRUM_KEYS = {
    "k": 36,
    "r": 37,
    "s": 38,
    "c": 39,
    "e": 40,
    "h": 42,
    "p": 44,
    "o": 46,
    "t": 45,
    "m": 47,
    "T": 50,
    "C": 49,
    "R": 51,
    "B": 53,
    "y": 54,
    "w": 56,
    "b": 82,
    "l": 64,
    "H": 62,
    "q": 75,
}
"""Letters of drum patterns and the General MIDI percussion keys they stand for: kick, rim, snare, clap, second snare, closed, pedal
and open hat, low, middle and high tom, crash, ride, ride bell, tambourine, cowbell, shaker, low and muted high conga, claves."""
