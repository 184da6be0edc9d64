"""Metres as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from protocols.errors import ErrorCode, RequestError
from protocols.metre import read_metre


@pytest.mark.parametrize(
    ("text", "beats", "division"),
    [
        ("4/4", 4, 2),
        (" 3 / 4 ", 3, 2),
        ("6/8", 2, 3),
        ("9/8", 3, 3),
        ("12/8", 4, 3),
        ("5/4", 5, 2),
        ("7/8", Fraction(7, 2), 2),
        ("5/8", Fraction(5, 2), 2),
        ("3/8", Fraction(3, 2), 2),
        ("2/2", 4, 2),
        ("7/16", Fraction(7, 4), 2),
        ("16/4", 16, 2),
    ],
)
def test_a_metre_is_read(text: str, beats: int | Fraction, division: int) -> None:
    assert read_metre(text) == (beats, division)


@pytest.mark.parametrize("text", ["", "waltz", "4", "0/4", "4/3", "17/4", "3/16", "4/4/4", "-3/4"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_metre(text)
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "metre")
