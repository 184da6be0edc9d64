"""Sections of a piece: at which moments its words become others, such as ``8 dark strings || 16b over 4 full orchestra``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocols.errors import ErrorCode, RequestError
from protocols.message_parts import PROMPT_SEPARATOR, Morph
from protocols.units import beats_to_seconds

MAX_SECTIONS = 64
_FIELD = "sections"
_NUMBER = r"\d{1,7}(?:\.\d{1,9})?"
_PART = re.compile(
    rf"(?P<at>{_NUMBER})(?P<unit>s|b)?(?:\s+over\s+(?P<over>{_NUMBER}))?(?:\s+(?P<words>.+))?", re.DOTALL
)
_FORM = (
    "a moment in seconds, or in beats with a b, then words: 8 dark strings, 16b chorus; over 4 after the moment turns to them "
    f"in four beats; {PROMPT_SEPARATOR} between sections"
)
_LONGEST_MORPH = next(meta.le for meta in Morph.__metadata__)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Section:
    """Words from a moment of the new material on.

    Attributes:
        at: the moment, in seconds or beats.
        beats: whether it is counted in beats.
        words: one prompt.
        over: beats in which the words turn into these; 0 for at once.
    """

    at: Fraction
    beats: bool
    words: str
    over: Fraction = Fraction(0)

    def __str__(self) -> str:
        over = f" over {_decimal(self.over)}" if self.over else ""
        return f"{_decimal(self.at)}{'b' if self.beats else ''}{over} {self.words}"

    def seconds(self, bpm: float | Fraction | None) -> Fraction:
        """The moment in seconds, where a beat lasts as long as this tempo says.

        Raises:
            RequestError: beats without a tempo.
        """
        if not self.beats:
            return self.at
        if not bpm:
            raise RequestError(ErrorCode.MISSING, _FIELD, str(self), "moments in seconds, or bpm beside beats")
        return beats_to_seconds(self.at, bpm)


def read_sections(text: str) -> tuple[Section, ...]:
    """The sections that a text tells, in order; none for an empty one.

    Raises:
        RequestError: about ``sections``, naming the part: MALFORMED, OUT_OF_RANGE, TOO_LONG with more than `MAX_SECTIONS`.
    """
    if not text.strip():
        return ()
    parts = text.split(PROMPT_SEPARATOR)
    if len(parts) > MAX_SECTIONS:
        raise RequestError(ErrorCode.TOO_LONG, _FIELD, f"{len(parts)} parts", f"at most {MAX_SECTIONS}")
    return tuple(_read(number, part.strip()) for number, part in enumerate(parts, 1))


def write_sections(sections: Sequence[Section]) -> str:
    """The text that tells them; see `read_sections`."""
    return f" {PROMPT_SEPARATOR} ".join(map(str, sections))


def frames_of(
    sections: Sequence[Section], bpm: float | Fraction | None, frame_rate: Fraction, frames: int | None
) -> list[int]:
    """The codec frame of new material with which each section begins: the nearest to its moment.

    Args:
        sections: in order.
        bpm: tempo of the request; None or 0 where it has none.
        frame_rate: codec frames per second.
        frames: how many there are; None without an end.

    Raises:
        RequestError: about ``sections``, naming the part: beats without a tempo, a section that does not begin later than the one
            before, or not before the end.
    """
    begins: list[int] = []
    for number, section in enumerate(sections, 1):
        frame = round(section.seconds(bpm) * frame_rate)
        if begins and frame <= begins[-1]:
            raise _refusal(ErrorCode.OUT_OF_RANGE, number, str(section), "a moment later than that of the part before")
        if frames is not None and frame >= frames:
            end = float(frames / frame_rate)
            raise _refusal(ErrorCode.OUT_OF_RANGE, number, str(section), f"a moment before the end, at {end:g} s")
        begins.append(frame)
    return begins


def _read(number: int, part: str) -> Section:
    match = _PART.fullmatch(part)
    if match is None:
        raise _refusal(ErrorCode.MALFORMED, number, part, _FORM)
    if match["words"] is None:
        raise _refusal(ErrorCode.EMPTY, number, part, "words after the moment")
    over = Fraction(match["over"] or 0)
    if over > _LONGEST_MORPH:
        raise _refusal(ErrorCode.OUT_OF_RANGE, number, part, f"over at most {_LONGEST_MORPH:g} beats")
    return Section(Fraction(match["at"]), match["unit"] == "b", match["words"], over)


def _refusal(code: ErrorCode, number: int, part: str, allowed: str) -> RequestError:
    return RequestError(code, _FIELD, f"part {number}: {part}", allowed)


def _decimal(value: Fraction) -> str:
    return f"{float(value):.15g}"
