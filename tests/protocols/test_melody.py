"""Melodies on their way: exact, the same after a journey, and refused with one clear error when they are none."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import ErrorCode, RequestError
from protocols.melody import MAX_NOTES, MAX_RATE, MAX_SECONDS, MAX_TEXT, MelodyLine, MelodyNote

MOMENTS = st.fractions(min_value=0, max_value=100, max_denominator=997)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[Fraction, Fraction, int]]:
    moments = sorted(draw(st.sets(MOMENTS, min_size=2, max_size=12)))
    pairs = zip(moments[::2], moments[1::2], strict=False)
    return [(start, end, draw(st.integers(0, 127))) for start, end in pairs]


def line(**changes: object) -> str:
    return json.dumps({"rate": 2, "length": 8, "notes": [[0, 1, 60], [1, 4, 67]]} | changes)


def test_known_text() -> None:
    made = MelodyLine.of_seconds([(0, 0.5, 60), (0.5, Fraction(2), 67)], 4)
    assert made.encode() == '{"rate":2,"length":8,"notes":[[0,1,60],[1,4,67]]}'
    assert MelodyLine.decode(line()) == made
    assert made.seconds == 4


def test_a_loop_at_97_bpm_is_exact() -> None:
    beat = Fraction(60, 97)
    made = MelodyLine.of_seconds([(0, beat, 60), (beat / 3 * 4, 2 * beat, 62)], 32 * beat)
    assert made.rate == 97
    assert 1000 * made.seconds == 1000 * 32 * beat
    assert Fraction(made.notes[1].start, made.rate) == beat * 4 / 3


@settings(deadline=None)
@given(spans(), st.fractions(min_value=101, max_value=MAX_SECONDS, max_denominator=97))
def test_what_is_said_is_what_is_heard(notes: list[tuple[Fraction, Fraction, int]], length: Fraction) -> None:
    made = MelodyLine.of_seconds(notes, length)
    assert MelodyLine.decode(made.encode()) == made
    assert MelodyLine.decode(made.encode().encode()) == made
    if made.rate != 1_000_000:
        assert made.seconds == length
        assert [(Fraction(n.start, made.rate), Fraction(n.end, made.rate), n.pitch) for n in made.notes] == notes
    assert abs(made.seconds - length) <= Fraction(1, 2_000_000)


@settings(deadline=None)
@given(spans())
def test_numbers_fit_into_a_double(notes: list[tuple[Fraction, Fraction, int]]) -> None:
    made = MelodyLine.of_seconds(notes, MAX_SECONDS)
    assert all(int(float(value)) == value for note in made.notes for value in (note.start, note.end))
    assert made.length <= MAX_SECONDS * MAX_RATE < 2**53


def test_moments_that_no_grid_holds_are_rounded_to_microseconds() -> None:
    apart = [Fraction(1, prime) for prime in (1009, 1013, 1019, 1021, 1031)]
    notes = [(moment + index, moment + index + Fraction(1, 2), 60) for index, moment in enumerate(apart)]
    made = MelodyLine.of_seconds([*notes, (6, 6 + Fraction(1, 10**7), 61)], 8)
    assert made.rate == 1_000_000
    assert len(made.notes) == 5
    for note, (start, end, _) in zip(made.notes, notes, strict=True):
        assert abs(Fraction(note.start, made.rate) - start) <= Fraction(1, 2_000_000)
        assert abs(Fraction(note.end, made.rate) - end) <= Fraction(1, 2_000_000)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ErrorCode.MALFORMED, ""),
        (ErrorCode.MALFORMED, "{"),
        (ErrorCode.MALFORMED, "[]"),
        (ErrorCode.MALFORMED, "null"),
        (ErrorCode.MALFORMED, b"\xff\xfe"),
        (ErrorCode.MALFORMED, '{"notes":' + "[" * 100_000),
        (ErrorCode.MALFORMED, '{"rate": 2, "length": 8}'),
        (ErrorCode.MALFORMED, line(tempo=3)),
        (ErrorCode.MALFORMED, line(rate="2")),
        (ErrorCode.MALFORMED, line(rate=True)),
        (ErrorCode.MALFORMED, line(length=7.5)),
        (ErrorCode.MALFORMED, '{"rate": 2, "length": NaN, "notes": [[0, 1, 60]]}'),
        (ErrorCode.MALFORMED, line(notes=[[0, 1]])),
        (ErrorCode.MALFORMED, line(notes=[[0, 1, 60, 100]])),
        (ErrorCode.MALFORMED, line(notes=[[0, 1, None]])),
        (ErrorCode.MALFORMED, line(notes=[[1, 1, 60]])),
        (ErrorCode.MALFORMED, line(notes=[[2, 1, 60]])),
        (ErrorCode.MALFORMED, line(notes=[[0, 2, 60], [1, 3, 62]])),
        (ErrorCode.MALFORMED, line(notes=[[2, 3, 60], [0, 1, 62]])),
        (ErrorCode.EMPTY, line(notes=[])),
        (ErrorCode.OUT_OF_RANGE, line(rate=0)),
        (ErrorCode.OUT_OF_RANGE, line(rate=-2)),
        (ErrorCode.OUT_OF_RANGE, line(rate=MAX_RATE + 1)),
        (ErrorCode.OUT_OF_RANGE, line(rate=10**18)),
        (ErrorCode.OUT_OF_RANGE, line(length=0)),
        (ErrorCode.OUT_OF_RANGE, line(length=-8)),
        (ErrorCode.OUT_OF_RANGE, line(notes=[[0, 1, 128]])),
        (ErrorCode.OUT_OF_RANGE, line(notes=[[0, 1, -1]])),
        (ErrorCode.OUT_OF_RANGE, line(notes=[[-1, 1, 60]])),
        (ErrorCode.OUT_OF_RANGE, line(notes=[[0, 9, 60]])),
        (ErrorCode.TOO_LONG, line(length=2 * MAX_SECONDS + 1)),
        (
            ErrorCode.TOO_LONG,
            line(rate=MAX_NOTES, notes=[[at, at + 1, 60] for at in range(MAX_NOTES + 1)], length=40_000),
        ),
        (ErrorCode.TOO_LARGE, " " * (MAX_TEXT + 1)),
        (ErrorCode.BAD_TYPE, 3),
        (ErrorCode.BAD_TYPE, None),
    ],
)
def test_what_is_no_melody_is_refused(code: ErrorCode, text: str | bytes) -> None:
    with pytest.raises(RequestError) as caught:
        MelodyLine.decode(text)
    assert (caught.value.code, caught.value.field) == (code, "melody"), caught.value.text
    assert caught.value.allowed
    assert caught.value.value
    assert len(caught.value.text) < 250


@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with pytest.raises(RequestError):
        MelodyLine.decode(text)


def test_a_wrong_line_cannot_be_made_at_all() -> None:
    with pytest.raises(RequestError, match="one note at a time"):
        MelodyLine(2, 8, (MelodyNote(0, 3, 60), MelodyNote(2, 4, 62)))
    with pytest.raises(RequestError, match="empty"):
        MelodyLine.of_seconds([], 4)
    with pytest.raises(RequestError, match="too_long"):
        MelodyLine.of_seconds([(0, 1, 60)], MAX_SECONDS + 1)


def test_it_needs_neither_torch_nor_sockets() -> None:
    code = "import sys, protocols.melody; print({'torch', 'zmq', 'socket'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
