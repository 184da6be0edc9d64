"""A melody as it travels and as it stands in a take's sidecar, exact in time: single notes in order, or a row of chroma.

Moments of notes are whole ticks of a rate that each line brings along. Whatever has tempo and metre falls on such a grid: a note of
a MIDI file on multiples of 1/(ticks per beat · 10⁶) s, a bar at 97 bpm on 1/97 s. So a line that is repeated for hours is still
with its beat; whole microseconds would round every turn of the loop anew. All numbers fit into a double, which is what other
languages read JSON's numbers into.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

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
"""Characters of a melody that is written down."""
MAX_FRAME_RATE = 1000
"""Frames of chroma per second."""
REST = "-"
"""Stands in a row of chroma where nothing sounds."""

_FIELD = "melody"
_T = TypeVar("_T")
_COARSE_RATE = 1_000_000
_HIGHEST_PITCH = 127
_CLASSES = "0123456789AB"
_MIDDLE_C = 60
_MOST_FRAMES = MAX_TEXT - 200  # of a row, which has a rate and a length beside them
_LARGEST = 2**53  # that a double holds exactly


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
        return _read(text, cls, _LINE_FORM)

    def encode(self) -> str:
        """The line as JSON on one line, such as ``{"rate":2,"length":4,"notes":[[0,1,60],[1,4,67]]}``."""
        return msgspec.json.encode(self).decode()

    @property
    def seconds(self) -> Fraction:
        """The length in seconds, exactly."""
        return Fraction(self.length, self.rate)

    @property
    def note_count(self) -> int:
        """How many notes it has."""
        return len(self.notes)

    @classmethod
    def _rounded(cls, spans: list[tuple[Fraction, Fraction, int]], length: Fraction) -> MelodyLine:
        rounded = ((round(start * _COARSE_RATE), round(end * _COARSE_RATE), pitch) for start, end, pitch in spans)
        notes = tuple(MelodyNote(*span) for span in rounded if span[0] != span[1])
        return cls(_COARSE_RATE, round(length * _COARSE_RATE), notes)


class ChromaRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What leads in each frame of a recording, as melody models were trained to hear it. Never changes; any thread.

    Attributes:
        rate: frames per second, as numerator and denominator.
        length: in seconds, as numerator and denominator; then the row begins again, in the middle of its last frame if need be.
        chroma: one character per frame: the pitch class, 0 (C) to 9, A (A sharp) and B (B), or `REST`.

    Raises:
        RequestError: about ``melody``, when it is made: EMPTY where nothing sounds; TOO_LONG (frames, length); OUT_OF_RANGE
            (rate, length); MALFORMED (another character, frames that are not as many as begin within the length).
    """

    rate: tuple[int, int]
    length: tuple[int, int]
    chroma: str

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("length", self.length)):
            if not all(1 <= part <= _LARGEST for part in value):
                allowed = f"a numerator and a denominator from 1 to {_LARGEST}"
                raise _refusal(ErrorCode.OUT_OF_RANGE, f"{name} {list(value)}", allowed)
        if self.frame_rate > MAX_FRAME_RATE:
            found, allowed = f"rate {float(self.frame_rate):g}", f"at most {MAX_FRAME_RATE} frames per second"
            raise _refusal(ErrorCode.OUT_OF_RANGE, found, allowed)
        if self.seconds > MAX_SECONDS:
            raise _refusal(ErrorCode.TOO_LONG, f"over {MAX_SECONDS} s", f"at most {MAX_SECONDS} s")
        if self.seconds < MIN_SECONDS:
            found, allowed = f"length {float(self.seconds):g}", f"at least {float(MIN_SECONDS):g} s"
            raise _refusal(ErrorCode.OUT_OF_RANGE, found, allowed)
        if len(self.chroma) > _MOST_FRAMES:
            raise _refusal(ErrorCode.TOO_LONG, f"{len(self.chroma)} frames", f"at most {_MOST_FRAMES} frames")
        if strange := re.search(f"[^{_CLASSES}{REST}]", self.chroma):
            found = f"frame {strange.start()}: {strange[0]!r}"
            raise _refusal(ErrorCode.MALFORMED, found, f"0 to 9, A or B, or {REST} for a rest")
        wanted = math.ceil(self.seconds * self.frame_rate)
        if len(self.chroma) != wanted:
            found = f"{len(self.chroma)} frames in {float(self.seconds):g} s"
            raise _refusal(ErrorCode.MALFORMED, found, f"{wanted}: as many as begin within the length")
        if not self.chroma.strip(REST):
            raise _refusal(ErrorCode.EMPTY, "nothing but rests", "one frame that sounds, or more")

    @classmethod
    def of_pitches(cls, pitches: Iterable[int], rate: Fraction, length: Fraction) -> ChromaRow:
        """A row of pitch classes, 0 to 11, and numbers below 0 where nothing sounds.

        Args:
            pitches: one for each frame that begins within the length.
            rate: frames per second.
            length: after how many seconds the row begins again.

        Raises:
            RequestError: about ``melody``; see the class.
        """
        chroma = "".join(REST if pitch < 0 else _CLASSES[pitch] for pitch in pitches)
        return cls(rate.as_integer_ratio(), length.as_integer_ratio(), chroma)

    @classmethod
    def decode(cls, text: str | bytes) -> ChromaRow:
        """Read what `encode` has written.

        Raises:
            RequestError: about ``melody``; see `MelodyLine.decode` and the class.
        """
        return _read(text, cls, _ROW_FORM)

    def encode(self) -> str:
        """The row as JSON on one line, such as ``{"rate":[2,1],"length":[5,2],"chroma":"0077-"}``."""
        return msgspec.json.encode(self).decode()

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, exactly."""
        return Fraction(*self.rate)

    @property
    def seconds(self) -> Fraction:
        """The length in seconds, exactly."""
        return Fraction(*self.length)

    @property
    def pitches(self) -> list[int]:
        """The pitch class of each frame; -1 where nothing sounds."""
        return [_CLASSES.find(character) for character in self.chroma]

    @property
    def note_count(self) -> int:
        """How many notes the row is heard as."""
        return sum(1 for _ in self._notes())

    def line(self) -> MelodyLine:
        """The row as notes around middle C, one for as long as the pitch class stays.

        Raises:
            RequestError: about ``melody``: TOO_LONG where that is more than `MAX_NOTES`; see `MelodyLine`.
        """
        return MelodyLine.of_seconds(self._notes(), self.seconds)

    def _notes(self) -> Iterator[tuple[Fraction, Fraction, int]]:
        frame = 1 / self.frame_rate
        for run in re.finditer(rf"([^{REST}])\1*", self.chroma):
            yield run.start() * frame, min(run.end() * frame, self.seconds), _MIDDLE_C + _CLASSES.index(run[1])


AnyMelody = MelodyLine | ChromaRow
"""A melody in either of the forms in which it is written."""

_LINE_FORM = '{"rate": ticks per second, "length": ticks, "notes": [[start, end, pitch], ...]}'
_ROW_FORM = '{"rate": [frames, seconds], "length": [numerator, denominator] in seconds, "chroma": "0077-"}'


class _Form(msgspec.Struct):
    """Which of the forms a text has."""

    chroma: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def decode_melody(text: str | bytes) -> AnyMelody:
    """Read a melody in either form: notes, or a row of ``chroma``.

    Raises:
        RequestError: about ``melody``; see `MelodyLine.decode` and `ChromaRow`.
    """
    form = _read(text, _Form, f"{_LINE_FORM} or {_ROW_FORM}")
    return MelodyLine.decode(text) if form.chroma is msgspec.UNSET else ChromaRow.decode(text)


def _read(text: str | bytes, kind: type[_T], form: str) -> _T:
    if not isinstance(text, str | bytes):
        raise _refusal(ErrorCode.BAD_TYPE, type(text).__name__, "text")
    if len(text) > MAX_TEXT:
        raise _refusal(ErrorCode.TOO_LARGE, f"{len(text)} characters", f"at most {MAX_TEXT} characters")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:  # msgspec has its own for a wrong form
        raise _refusal(ErrorCode.MALFORMED, str(error), form) from error


def _refusal(code: ErrorCode, found: str, allowed: str) -> RequestError:
    return RequestError(code, _FIELD, found, allowed)
