"""Metres as people write them: 3/4, 6/8, 7/8."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from protocols.errors import ErrorCode, RequestError

_WRITTEN = re.compile(r"\s*(\d{1,2})\s*/\s*(2|4|8|16)\s*")
_ALLOWED = "a metre such as 3/4, 6/8, 5/4 or 7/8, of 1 to 16 beats; empty for none"
MOST_BEATS = 16
"""In a bar."""


class Metre(NamedTuple):
    """How beats make bars; the beat is what the tempo counts: a quarter, but a dotted one in 6/8, 9/8 and 12/8.

    Attributes:
        beats_per_bar: 7/8 has three and a half.
        division: parts that a beat falls into: 3 where it is dotted, else 2.
    """

    beats_per_bar: int | Fraction
    division: int


def read_metre(text: str) -> Metre:
    """The metre that is written.

    Raises:
        RequestError: about ``metre``: OUT_OF_RANGE.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "metre", text, _ALLOWED)
    count, unit = int(match[1]), int(match[2])
    if unit == 8 and count > 3 and count % 3 == 0:
        metre = Metre(count // 3, 3)
    else:
        beats = Fraction(4 * count, unit)
        metre = Metre(int(beats) if beats.denominator == 1 else beats, 2)
    if not 1 <= metre.beats_per_bar <= MOST_BEATS:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "metre", text, _ALLOWED)
    return metre
