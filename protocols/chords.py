"""Chords of a piece and the moments at which they begin, such as ``C 0, F 2, G7 8b``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import ErrorCode, RequestError
from protocols.units import beats_to_seconds

MAX_CHORDS = 256
NO_CHORD = "N"
"""What stands where no chord sounds."""

_FIELD = "chords"
_NUMBER = r"\d{1,7}(?:\.\d{1,9})?"
_PART = re.compile(rf"(?P<name>\S{{1,20}})\s+(?P<at>{_NUMBER})(?P<unit>s|b)?")
_FORM = "a chord and the moment it begins, in seconds, or in beats with a b, with commas between: C 0, F 2, G7 8b"


@dataclass(frozen=True)
class ChordChange:
    """A chord from a moment of the new material on.

    Attributes:
        name: as it was written.
        at: the moment, in seconds or beats.
        beats: whether it is counted in beats.
    """

    name: str
    at: Fraction
    beats: bool = False

    def seconds(self, bpm: float | Fraction | None) -> Fraction:
        """The moment in seconds, where a beat lasts as long as this tempo says.

        Raises:
            RequestError: beats without a tempo.
        """
        if not self.beats:
            return self.at
        if not bpm:
            allowed = "moments in seconds, or bpm beside beats"
            raise RequestError(ErrorCode.MISSING, _FIELD, f"{self.name} {float(self.at):g}b", allowed)
        return beats_to_seconds(self.at, bpm)


def read_chords(text: str) -> tuple[ChordChange, ...]:
    """Read chords as they are written; an empty text has none.

    Raises:
        RequestError: about ``chords``: MALFORMED, or TOO_LONG for more than `MAX_CHORDS`.
    """
    if not text.strip():
        return ()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_CHORDS:
        raise RequestError(ErrorCode.TOO_LONG, _FIELD, f"{len(parts)} chords", f"at most {MAX_CHORDS}")
    changes = []
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None:
            raise RequestError(ErrorCode.MALFORMED, _FIELD, part, _FORM)
        changes.append(ChordChange(match["name"], Fraction(match["at"]), match["unit"] == "b"))
    return tuple(changes)
