"""Sections as hosts write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from protocols.errors import ErrorCode, RequestError
from protocols.sections import MAX_SECTIONS, Section, frames_of, read_sections, write_sections

RATE = Fraction(50)


def test_sections_are_read_and_written() -> None:
    text = "0 intro || 8 dark strings ||16.5s  full orchestra, 8 horns|| 32b over 4 chorus over the hills"
    sections = read_sections(text)
    assert sections == (
        Section(Fraction(0), False, "intro"),
        Section(Fraction(8), False, "dark strings"),
        Section(Fraction(33, 2), False, "full orchestra, 8 horns"),
        Section(Fraction(32), True, "chorus over the hills", Fraction(4)),
    )
    assert read_sections(write_sections(sections)) == sections
    assert read_sections("8 8-bit arcade") == (Section(Fraction(8), False, "8-bit arcade"),)
    assert read_sections("  ") == ()


def test_moments_are_frames() -> None:
    sections = read_sections("0 a || 1.009 b || 4b c || 2.5 d")
    assert frames_of(sections, 120, RATE, None) == [0, 50, 100, 125]
    assert frames_of(sections[2:3], Fraction(90), RATE, 134) == [133]


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("strings", ErrorCode.MALFORMED, "part 1: strings"),
        ("8 strings || chorus", ErrorCode.MALFORMED, "part 2: chorus"),
        ("8 strings || 16x chorus", ErrorCode.MALFORMED, "part 2: 16x chorus"),
        ("8strings", ErrorCode.MALFORMED, "part 1: 8strings"),
        ("-1 strings", ErrorCode.MALFORMED, "part 1: -1 strings"),
        ("8", ErrorCode.EMPTY, "part 1: 8"),
        ("8 strings ||", ErrorCode.MALFORMED, "part 2:"),
        ("8 over 2000 strings", ErrorCode.OUT_OF_RANGE, "part 1: 8 over 2000 strings"),
        ("||".join(f"{n} a" for n in range(MAX_SECTIONS + 1)), ErrorCode.TOO_LONG, "65 parts"),
    ],
)
def test_what_is_wrong_names_the_part(text: str, code: ErrorCode, names: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_sections(text)
    assert (caught.value.code, caught.value.field, caught.value.value) == (code, "sections", names)


@pytest.mark.parametrize(
    ("text", "bpm", "code", "names"),
    [
        ("4b a", None, ErrorCode.MISSING, "4b a"),
        ("4 a || 4.001 b", None, ErrorCode.OUT_OF_RANGE, "part 2: 4.001 b"),
        ("4 a || 2 b", None, ErrorCode.OUT_OF_RANGE, "part 2: 2 b"),
        ("1 a || 10 b", None, ErrorCode.OUT_OF_RANGE, "part 2: 10 b"),
    ],
)
def test_moments_must_make_sense(text: str, bpm: float | None, code: ErrorCode, names: str) -> None:
    with pytest.raises(RequestError) as caught:
        frames_of(read_sections(text), bpm, RATE, 500)
    assert (caught.value.code, caught.value.field, caught.value.value) == (code, "sections", names)
