"""What a JASCO model hears frame by frame, written exactly from what it is told: chords by number, drums as codes, notes.

Tal et al. (2024), section 3: chords by the names of the Chordino plug-in; drums as the coarsest of the codec's codes, blurred in
time so that their rhythm is heard and not their sound; the melody as one of 53 semitones in each frame. The models were trained on
what programs heard in recordings; here it is what was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from protocols.chords import NO_CHORD, ChordChange
from protocols.errors import ErrorCode, RequestError
from protocols.melody import AnyMelody, MelodyLine

LOWEST_NOTE = 43
"""The melody's first semitone, G2, as found by comparing AudioCraft's examples with their sound."""

_OCTAVE = 12
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAME = re.compile(r"(?P<root>[A-Ga-g])(?P<sign>[#♯b♭]?)(?P<kind>[^/]*)(?:/(?P<bass>[A-G])(?P<bass_sign>[#♯b♭]?))?")
_KINDS = {
    "": ("", "maj", "major", "M"),
    "m": ("m", "min", "minor", "-"),
    "7": ("7", "dom7"),
    "maj7": ("maj7", "M7", "major7", "Δ", "Δ7"),
    "m7": ("m7", "min7", "-7", "minor7"),
    "6": ("6", "maj6"),
    "m6": ("m6", "min6", "-6"),
    "dim": ("dim", "°", "o"),
    "aug": ("aug", "+"),
    "m7b5": ("m7b5", "min7b5", "-7b5", "ø", "ø7", "half-dim"),
}
_SPELT = {spelt: kind for kind, spellings in _KINDS.items() for spelt in spellings}


@dataclass(frozen=True)
class ChordNumbers:
    """Which number each chord has in a model. Never changes; any thread.

    Attributes:
        numbers: by name, as the model's own list spells it.
    """

    numbers: dict[str, int]

    def number(self, name: str) -> int:
        """The number of a chord, however it is spelt: ``Db`` is ``C#``, ``Amin7`` is ``Am7``.

        Raises:
            RequestError: about ``chords``: OUT_OF_RANGE for one that the model does not know.
        """
        if name in self.numbers:
            return self.numbers[name]
        if name.upper() in ("N.C.", "NC", "NONE"):
            return self.numbers[NO_CHORD]
        match = _NAME.fullmatch(name)
        kind = None if match is None else _SPELT.get(match["kind"])
        if match is not None and kind is not None:
            basses = [""]
            if match["bass"]:
                basses = [f"/{bass}" for bass in _spellings(match["bass"], match["bass_sign"])]
            for root, bass in product(_spellings(match["root"].upper(), match["sign"]), basses):
                found = self.numbers.get(f"{root}{kind}{bass}")
                if found is not None:
                    return found
        kinds = ", ".join(f"A{kind}" for kind in _KINDS)
        allowed = f"{NO_CHORD} for none, or a chord that the model knows: {kinds}; a few of them over another bass, such as C/E"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "chords", name, allowed)

    def frames(
        self, changes: Sequence[ChordChange], bpm: float | Fraction | None, frame_rate: Fraction, frames: int
    ) -> Tensor:
        """The number of each frame's chord ``[frames]``: that which began last before it or with it, of several the latest named.

        Raises:
            RequestError: about ``chords``; see `number` and `ChordChange.seconds`.
        """
        result = np.full(frames, self.numbers[NO_CHORD], dtype=np.int64)
        for number, at in sorted(
            ((self.number(change.name), change.seconds(bpm)) for change in changes), key=lambda pair: pair[1]
        ):
            result[max(0, -int(-at * frame_rate // 1)) :] = number
        return torch.from_numpy(result)


def _spellings(letter: str, sign: str) -> list[str]:
    """All names of the pitch class that a letter and a sign name."""
    shift = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
    wanted = (_NATURALS[letter] + shift[sign]) % _OCTAVE
    names = (f"{name}{sign}" for sign in ("", "#", "b") for name in _NATURALS)
    return [name for name in names if (_NATURALS[name[0]] + shift[name[1:]]) % _OCTAVE == wanted]


def melody_matrix(melody: AnyMelody, frame_rate: Fraction, frames: int, bins: int) -> Tensor:
    """A written melody as the model hears it: ``[frames, bins]``, 1 for the semitone that sounds.

    A frame takes the note that sounds when it begins, and a note that is over before another frame begins has the frame in which it
    begins. What is below or above the model's range is told in the nearest octave inside it. The line is repeated after its exact
    length. One that was read from sound as pitch classes is told around middle C.
    """
    line = melody if isinstance(melody, MelodyLine) else melody.line()
    notes: NDArray[np.int64] = np.full(frames, -1, dtype=np.int64)
    end = Fraction(frames) / frame_rate
    turn = 0
    while turn * line.seconds < end:
        for note in line.notes:
            begins = turn * line.seconds + Fraction(note.start, line.rate)
            ends = turn * line.seconds + Fraction(note.end, line.rate)
            if begins >= end:
                break
            first, last = -int(-begins * frame_rate // 1), -int(-ends * frame_rate // 1)
            if last == first:
                first = int(begins * frame_rate // 1)
                if first < frames and notes[first] < 0:
                    notes[first] = note.pitch
                continue
            notes[first:last] = note.pitch
        turn += 1
    sounding = notes >= 0
    low, high = LOWEST_NOTE, LOWEST_NOTE + bins - 1
    notes = np.where(notes < low, notes + _OCTAVE * -(-(low - notes) // _OCTAVE), notes)
    notes = np.where(notes > high, notes - _OCTAVE * -(-(notes - high) // _OCTAVE), notes)
    matrix = torch.zeros(frames, bins)
    matrix[torch.from_numpy(sounding.nonzero()[0]), torch.from_numpy(notes[sounding] - low)] = 1
    return matrix


def blurred(latents: Tensor, frames: int) -> Tensor:
    """The mean of each run of ``frames`` frames in the place of all of them: ``[n, width]``. The end is mirrored to a whole run."""
    count, width = latents.shape
    short = -count % frames
    if short:
        latents = F.pad(latents.T[None], (0, short), mode="reflect")[0].T
    means = latents.reshape(-1, frames, width).sum(dim=1) / frames
    return means.repeat_interleave(frames, dim=0)[:count]
