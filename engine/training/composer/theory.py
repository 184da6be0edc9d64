"""Scales, chords that are built on them, and how voices move from one to the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SHARP_NAMES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
_FLAT_NAMES = ("C", "D flat", "D", "E flat", "E", "F", "G flat", "G", "A flat", "A", "B flat", "B")
_SYMBOLS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SHARP_MAJORS = (0, 2, 4, 6, 7, 9, 11)
_QUALITIES = {
    (0, 4, 7): "", (0, 3, 7): "m", (0, 3, 6): "dim", (0, 4, 8): "aug", (0, 7): "5", (0, 5, 7): "sus4", (0, 2, 7): "sus2",
    (0, 4, 7, 11): "maj7", (0, 4, 7, 10): "7", (0, 3, 7, 10): "m7", (0, 3, 6, 10): "m7b5", (0, 3, 7, 11): "mMaj7",
    (0, 3, 6, 9): "dim7", (0, 4, 8, 11): "maj7#5", (0, 4, 8, 10): "7#5",
    (0, 4, 7, 11, 2): "maj9", (0, 4, 7, 10, 2): "9", (0, 3, 7, 10, 2): "m9", (0, 4, 7, 10, 1): "7b9", (0, 3, 7, 10, 1): "m7b9",
}  # fmt: skip
_NUMERAL = re.compile(r"([1-7])(M|s)?")


@dataclass(frozen=True, slots=True)
class Mode:
    """A scale: its name, its seven steps in semitones above the tonic, and the five of them that make its pentatonic."""

    name: str
    steps: tuple[int, ...]
    pentatonic: tuple[int, ...]

    @property
    def is_minor(self) -> bool:
        """Whether its third is minor."""
        return self.steps[2] == 3


MODES = {
    mode.name: mode
    for mode in (
        Mode("major", (0, 2, 4, 5, 7, 9, 11), (0, 1, 2, 4, 5)),
        Mode("minor", (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 4, 6)),
        Mode("dorian", (0, 2, 3, 5, 7, 9, 10), (0, 2, 3, 4, 6)),
        Mode("mixolydian", (0, 2, 4, 5, 7, 9, 10), (0, 1, 2, 4, 5)),
        Mode("phrygian", (0, 1, 3, 5, 7, 8, 10), (0, 2, 3, 4, 6)),
        Mode("lydian", (0, 2, 4, 6, 7, 9, 11), (0, 1, 2, 4, 5)),
    )
}


def pitch_class_name(pitch_class: int, mode: Mode) -> str:
    """The name of a tonic, such as "B flat"; sharps or flats as the key's signature has them."""
    relative_major = {"major": 0, "dorian": 10, "phrygian": 8, "lydian": 7, "mixolydian": 5, "minor": 3}[mode.name]
    sharp = (pitch_class + relative_major) % 12 in _SHARP_MAJORS
    return (_SHARP_NAMES if sharp else _FLAT_NAMES)[pitch_class % 12]


def scale_pitch(tonic: int, mode: Mode, step: int) -> int:
    """The pitch that is ``step`` scale steps above the tonic (below, if negative); tonics from 0 to 11 are in octave -1."""
    octave, degree = divmod(step, 7)
    return tonic + 12 * octave + mode.steps[degree]


def build_chord(tonic: int, mode: Mode, numeral: str, size: int) -> tuple[tuple[int, ...], str]:
    """A chord on a degree of the scale.

    Args:
        tonic: pitch class of the key.
        mode: of the key.
        numeral: "1" to "7". "M" behind it makes the third major whatever the scale has (the dominant in minor), "s" makes a
            suspended fourth.
        size: thirds' count plus one: 3 a triad, 4 a seventh, 5 a ninth; 2 leaves out the third.

    Returns:
        Pitch classes from the root upwards, and the symbol.

    Raises:
        ValueError: not such a numeral.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise ValueError(f"numeral {numeral!r}")
    degree = int(match[1]) - 1
    root = scale_pitch(tonic, mode, degree)
    above = [scale_pitch(tonic, mode, degree + 2 * third) - root for third in range(max(size, 3))]
    if size == 2:
        above = [0, 7] if above[2] == 7 else [0, above[1], above[2]]
    elif match[2] == "M":
        above[1] = 4
    elif match[2] == "s":
        above[1] = 5
    if size >= 3 and above[2] != 7:
        above = above[:4]  # a ninth above a diminished or augmented fifth is in no style here
    quality = _QUALITIES.get(tuple(interval % 12 for interval in above), "")
    return tuple((root + interval) % 12 for interval in above), _SYMBOLS[root % 12] + quality


def voice_chord(pitch_classes: Sequence[int], centre: int, previous: Sequence[int] = ()) -> tuple[int, ...]:
    """Close-position voicing around ``centre`` whose voices move least from ``previous``.

    Every inversion within an octave of the centre is tried; of equal ones the lower wins.
    """
    best: tuple[float, tuple[int, ...]] | None = None
    for inversion in range(len(pitch_classes)):
        order = [*pitch_classes[inversion:], *pitch_classes[:inversion]]
        for bottom in range(centre - 14, centre + 5):
            if bottom % 12 != order[0]:
                continue
            voices = [bottom]
            for pitch_class in order[1:]:
                voices.append(voices[-1] + ((pitch_class - voices[-1]) % 12 or 12))
            voicing = tuple(voices)
            cost = 0.5 * abs(sum(voicing) / len(voicing) - centre)
            if previous:
                cost += sum(min(abs(pitch - old) for old in previous) for pitch in voicing) / len(voicing)
            if best is None or (cost, voicing) < best:
                best = cost, voicing
    assert best is not None
    return best[1]


def nearest_pitch(pitch_class: int, target: int) -> int:
    """The pitch of that class which is closest to ``target``; of two, the lower."""
    above = target + (pitch_class - target) % 12
    return above if above - target < 6 else above - 12
