"""A melody as it travels and as it stands in a take's sidecar: single notes, one after the other, in exact time.

Moments are whole ticks of a rate that each line brings along. Whatever has tempo and metre falls on such a grid: a note of a MIDI
file on multiples of 1/(ticks per beat · 10⁶) s, a bar at 97 bpm on 1/97 s. So a line that is repeated for hours is still with its
beat; whole microseconds would round every turn of the loop anew. All numbers fit into a double, which is what other languages read
JSON's numbers into.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import msgspec

from protocols.errors import ErrorCode, RequestError
from protocols.units import as_fraction

MAX_NOTES = 16_384
MAX_SECONDS = 3600
MIN_SECONDS = Fraction(1, 10)
"""A shorter loop is a tone and no melody."""
MAX_RATE = 10**12
"""Ticks per second. An hour of them is below 2**53."""
MAX_TEXT = 2**20
"""Characters of a line that is written down."""

_FIELD = "melody"
_COARSE_RATE = 1_000_000
_HIGHEST_PITCH = 127


class MelodyNote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One note.

    Attributes:
        start: in ticks from the line's beginning.
        end: in ticks; the note sounds up to, not at, its end.
        pitch: MIDI key number, middle C is 60.
    """

    start: int
    end: int
    pitch: int


class MelodyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A melody of single notes. Never changes; any thread.

    Attributes:
        rate: ticks per second.
        length: in ticks; then the line begins again.
        notes: in order, none before the last one's end, all within the length.

    Raises:
        RequestError: about ``melody``, when it is made: EMPTY without notes; TOO_LONG (notes, length); OUT_OF_RANGE (rate,
            length, a pitch, a note outside the line); MALFORMED (a note without length, notes that overlap or are out of order).
    """

    rate: int
    length: int
    notes: tuple[MelodyNote, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.rate <= MAX_RATE:
            raise _refusal(ErrorCode.OUT_OF_RANGE, f"rate {self.rate}", f"1 to {MAX_RATE} ticks per second")
        if self.length > MAX_SECONDS * self.rate:
            raise _refusal(ErrorCode.TOO_LONG, f"over {MAX_SECONDS} s", f"at most {MAX_SECONDS} s")
        if self.length < MIN_SECONDS * self.rate:
            raise _refusal(ErrorCode.OUT_OF_RANGE, f"length {self.length}", f"at least {float(MIN_SECONDS):g} s")
        if not self.notes:
            raise _refusal(ErrorCode.EMPTY, "no notes", "one note or more")
        if len(self.notes) > MAX_NOTES:
            raise _refusal(ErrorCode.TOO_LONG, f"{len(self.notes)} notes", f"at most {MAX_NOTES} notes")
        before = 0
        for number, note in enumerate(self.notes, 1):
            if not 0 <= note.pitch <= _HIGHEST_PITCH:
                raise _refusal(ErrorCode.OUT_OF_RANGE, f"note {number}: pitch {note.pitch}", "0 to 127")
            if note.start < 0 or note.end > self.length:
                found = f"note {number}: {note.start} to {note.end}"
                raise _refusal(ErrorCode.OUT_OF_RANGE, found, f"within 0 to {self.length}, the line's length")
            if note.start >= note.end:
                raise _refusal(
                    ErrorCode.MALFORMED, f"note {number}: {note.start} to {note.end}", "an end after its start"
                )
            if note.start < before:
                found = f"note {number} begins at {note.start}, the one before it ends at {before}"
                raise _refusal(ErrorCode.MALFORMED, found, "one note at a time, in order")
            before = note.end

    @classmethod
    def of_seconds(
        cls, notes: Iterable[tuple[Fraction | float, Fraction | float, int]], length: Fraction | float
    ) -> MelodyLine:
        """A line of moments in seconds, with the lowest rate on which all of them fall.

        Where that is above `MAX_RATE`, all moments are rounded to microseconds, and notes shorter than that are left out.

        Args:
            notes: start, end and MIDI pitch, in order.
            length: after how many seconds the line begins again.

        Raises:
            RequestError: about ``melody``; see the class.
        """
        spans = [(as_fraction(start), as_fraction(end), pitch) for start, end, pitch in notes]
        whole = as_fraction(length)
        denominators = {whole.denominator}
        denominators.update(moment.denominator for start, end, _ in spans for moment in (start, end))
        rate = 1
        for denominator in denominators:
            rate = math.lcm(rate, denominator)
            if rate > MAX_RATE:
                return cls._rounded(spans, whole)
        exact = tuple(MelodyNote(int(start * rate), int(end * rate), pitch) for start, end, pitch in spans)
        return cls(rate, int(whole * rate), exact)

    @classmethod
    def decode(cls, text: str | bytes) -> MelodyLine:
        """Read what `encode` has written.

        Raises:
            RequestError: about ``melody``: BAD_TYPE when it is no text, TOO_LARGE above `MAX_TEXT`, MALFORMED when it is not
                JSON of this form; and see the class.
        """
        if not isinstance(text, str | bytes):
            raise _refusal(ErrorCode.BAD_TYPE, type(text).__name__, "text")
        if len(text) > MAX_TEXT:
            raise _refusal(ErrorCode.TOO_LARGE, f"{len(text)} characters", f"at most {MAX_TEXT} characters")
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:  # msgspec has its own for a wrong form
            form = '{"rate": ticks per second, "length": ticks, "notes": [[start, end, pitch], ...]}'
            raise _refusal(ErrorCode.MALFORMED, str(error), form) from error

    def encode(self) -> str:
        """The line as JSON on one line, such as ``{"rate":2,"length":4,"notes":[[0,1,60],[1,4,67]]}``."""
        return msgspec.json.encode(self).decode()

    @property
    def seconds(self) -> Fraction:
        """The length in seconds, exactly."""
        return Fraction(self.length, self.rate)

    @classmethod
    def _rounded(cls, spans: list[tuple[Fraction, Fraction, int]], length: Fraction) -> MelodyLine:
        rounded = ((round(start * _COARSE_RATE), round(end * _COARSE_RATE), pitch) for start, end, pitch in spans)
        notes = tuple(MelodyNote(*span) for span in rounded if span[0] != span[1])
        return cls(_COARSE_RATE, round(length * _COARSE_RATE), notes)


def _refusal(code: ErrorCode, found: str, allowed: str) -> RequestError:
    return RequestError(code, _FIELD, found, allowed)
