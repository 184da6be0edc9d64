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
from protocols.melody import (
    MAX_FRAME_RATE,
    MAX_NOTES,
    MAX_RATE,
    MAX_SECONDS,
    MAX_TEXT,
    ChromaRow,
    MelodyLine,
    MelodyNote,
    decode_melody,
)

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


def row(**changes: object) -> str:
    return json.dumps({"rate": [2, 1], "length": [5, 2], "chroma": "0077-"} | changes)


def test_a_row_of_chroma_and_the_notes_that_it_is_heard_as() -> None:
    made = ChromaRow.of_pitches([0, 0, 7, 7, -1], Fraction(2), Fraction(5, 2))
    assert made.encode() == '{"rate":[2,1],"length":[5,2],"chroma":"0077-"}'
    assert decode_melody(row()) == made
    assert made.pitches == [0, 0, 7, 7, -1]
    assert (made.seconds, made.frame_rate, made.note_count) == (Fraction(5, 2), 2, 2)
    assert made.line() == MelodyLine.of_seconds([(0, 1, 60), (1, 2, 67)], Fraction(5, 2))
    assert ChromaRow((1, 1), (1, 2), "B").line().notes == (MelodyNote(0, 1, 71),), "the last frame ends with the row"


def test_either_form_is_known_by_what_it_holds() -> None:
    assert isinstance(decode_melody(line()), MelodyLine)
    assert isinstance(decode_melody(row().encode()), ChromaRow)
    for text in (line(chroma="0"), row(notes=[[0, 1, 60]])):
        with pytest.raises(RequestError) as caught:
            decode_melody(text)
        assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, "melody")


@settings(deadline=None)
@given(
    st.fractions(min_value=Fraction(1, 3), max_value=MAX_FRAME_RATE, max_denominator=4096),
    st.fractions(min_value=Fraction(1, 10), max_value=4, max_denominator=44_100),
    st.data(),
)
def test_a_row_is_the_same_after_a_journey(rate: Fraction, length: Fraction, data: st.DataObject) -> None:
    pitches = [data.draw(st.integers(-1, 11)) for _ in range(min(60, -(-length * rate // 1)))]
    pitches = (pitches * int(1 + length * rate))[: -(-length * rate // 1)]
    pitches[0] = 3
    made = ChromaRow.of_pitches(pitches, rate, length)
    assert decode_melody(made.encode()) == made
    assert made.pitches == pitches
    assert (made.frame_rate, made.seconds) == (rate, length)
    assert made.line().seconds == length
    assert made.note_count == len(made.line().notes)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ErrorCode.MALFORMED, row(rate=2)),
        (ErrorCode.MALFORMED, row(rate=[2.5, 1])),
        (ErrorCode.MALFORMED, row(length=[5])),
        (ErrorCode.MALFORMED, row(chroma=[0, 0])),
        (ErrorCode.MALFORMED, row(chroma="0077c")),
        (ErrorCode.MALFORMED, row(chroma="00 7-")),
        (ErrorCode.MALFORMED, row(chroma="0077")),
        (ErrorCode.MALFORMED, row(chroma="0077--")),
        (ErrorCode.MALFORMED, row(name="la")),
        (ErrorCode.EMPTY, row(chroma="-----")),
        (ErrorCode.OUT_OF_RANGE, row(rate=[0, 1])),
        (ErrorCode.OUT_OF_RANGE, row(rate=[2, 0])),
        (ErrorCode.OUT_OF_RANGE, row(rate=[-2, -1])),
        (ErrorCode.OUT_OF_RANGE, row(rate=[10**17, 1])),
        (ErrorCode.OUT_OF_RANGE, row(rate=[MAX_FRAME_RATE + 1, 1])),
        (ErrorCode.OUT_OF_RANGE, row(length=[1, 11], chroma="0")),
        (ErrorCode.OUT_OF_RANGE, row(length=[5, 0])),
        (ErrorCode.TOO_LONG, row(length=[MAX_SECONDS * 2 + 1, 2])),
        (ErrorCode.TOO_LONG, row(rate=[1000, 1], length=[1200, 1], chroma="0" * (MAX_TEXT - 100))),
        (ErrorCode.TOO_LARGE, row(chroma="0" * MAX_TEXT)),
        (ErrorCode.MALFORMED, '{"chroma": '),
    ],
)
def test_what_is_no_row_is_refused(code: ErrorCode, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_melody(text)
    assert (caught.value.code, caught.value.field) == (code, "melody"), caught.value.text
    assert caught.value.allowed
    assert len(caught.value.text) < 300


@pytest.mark.parametrize("value", [3, None, b"\xff", "[" * 100_000, '{"chroma":' + "[" * 100_000])
def test_what_is_no_melody_in_either_form_is_refused(value: str | bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode_melody(value)
    assert caught.value.field == "melody"
    assert caught.value.code in (ErrorCode.BAD_TYPE, ErrorCode.MALFORMED)


def test_a_row_that_changes_all_the_time_is_too_long_for_notes() -> None:
    made = ChromaRow.of_pitches([0, 7] * (MAX_NOTES // 2 + 1), Fraction(1000), Fraction(MAX_NOTES + 2, 1000))
    with pytest.raises(RequestError, match="too_long"):
        made.line()


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
