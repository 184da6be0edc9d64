"""Rows of a score: known answers, exactness far from the beginning, and scores that change on the way."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from engine.conditioning.score import (
    CHORD,
    FEATURES,
    GRID,
    MELODY,
    SCALE,
    SILENCE,
    BeatGrid,
    ChangingScore,
    Melody,
    Score,
)

RATE = Fraction(50)
BAR, BEAT, HALF, THIRD, QUARTER = range(GRID + 11, GRID + 16)
WHICH_BEAT = GRID + 16
BAR_LENGTH = WHICH_BEAT + 6
COMPOUND, TEMPO = FEATURES - 2, FEATURES - 1


def rows_of(grid: BeatGrid, frame: int, count: int) -> np.ndarray:
    return Score(RATE, grid=grid).rows(frame, count)


def begins(rows: np.ndarray, feature: int, frame: int = 0) -> list[int]:
    return [frame + int(index) for index in np.flatnonzero(rows[:, feature])]


def test_a_score_that_knows_nothing_is_zeros() -> None:
    rows = Score(RATE).rows(7, 5)
    assert rows.shape == (5, FEATURES)
    assert rows.dtype == np.float32
    assert not rows.any()


def test_beats_and_bars_at_120() -> None:
    rows = rows_of(BeatGrid(Fraction(120)), 0, 200)
    assert begins(rows, BEAT) == [0, 25, 50, 75, 100, 125, 150, 175]
    assert begins(rows, BAR) == [0, 100]
    assert begins(rows, HALF) == [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125, 137, 150, 162, 175, 187]
    assert begins(rows[:26], THIRD) == [0, 8, 17, 25]
    assert begins(rows[:26], QUARTER) == [0, 6, 12, 19, 25]
    assert rows[:100, WHICH_BEAT : WHICH_BEAT + 6].argmax(axis=1).tolist() == [index // 25 for index in range(100)]
    assert (rows[:, GRID] == 1).all()
    assert (rows[:, BAR_LENGTH : BAR_LENGTH + 6] == [0, 0, 0, 1, 0, 0]).all()
    assert not rows[:, COMPOUND].any()
    assert not rows[:, TEMPO].any(), "120 bpm is the middle"


def test_where_in_the_beat() -> None:
    rows = rows_of(BeatGrid(Fraction(150)), 0, 20)
    for frame, row in enumerate(rows):
        for index, cycles in enumerate((1, 2, 3, 4, 6)):
            angle = 2 * math.pi * cycles * frame / 20
            assert row[GRID + 1 + 2 * index] == pytest.approx(math.cos(angle), abs=1e-6)
            assert row[GRID + 2 + 2 * index] == pytest.approx(math.sin(angle), abs=1e-6)


def test_a_compound_metre() -> None:
    rows = rows_of(BeatGrid(Fraction(60), beats_per_bar=2, division=3), 0, 200)
    assert begins(rows, BAR) == [0, 100]
    assert begins(rows, BEAT) == [0, 50, 100, 150]
    assert begins(rows[:51], THIRD) == [0, 17, 33, 50]
    assert (rows[:, COMPOUND] == 1).all()
    assert (rows[:, BAR_LENGTH : BAR_LENGTH + 6] == [0, 1, 0, 0, 0, 0]).all()
    assert (rows[:, TEMPO] == -1).all(), "an octave below 120 bpm"


def test_a_bar_that_begins_elsewhere() -> None:
    grid = BeatGrid(Fraction(120), origin=Fraction(3))
    assert begins(rows_of(grid, 0, 200), BAR) == [25, 125]
    assert rows_of(grid, 0, 1)[0, WHICH_BEAT + 3] == 1


def test_rows_do_not_depend_on_where_one_begins_to_ask() -> None:
    grid = BeatGrid(Fraction(97123, 1000), 3, 2, Fraction(7, 5))
    whole = rows_of(grid, 100, 300)
    assert np.array_equal(
        whole, np.concatenate([rows_of(grid, 100, 1), rows_of(grid, 101, 63), rows_of(grid, 164, 236)])
    )


@pytest.mark.parametrize(
    ("bpm", "beats", "rate"),
    [
        (Fraction(97123, 1000), 4, RATE),
        (Fraction(100, 3), 3, RATE),
        (Fraction(173), 4, Fraction(44100, 1024)),
    ],
)
def test_ten_thousand_bars_later_the_beat_is_where_it_should_be(bpm: Fraction, beats: int, rate: Fraction) -> None:
    """Against exact fractions: a moment belongs to the frame whose beginning is within half a frame of it."""
    score = Score(rate, grid=BeatGrid(bpm, beats))
    first = round(10_000 * beats * 60 / bpm * rate) - 20
    rows = score.rows(first, 400)
    for feature, length in (
        (BAR, Fraction(beats)),
        (BEAT, Fraction(1)),
        (THIRD, Fraction(1, 3)),
        (QUARTER, Fraction(1, 4)),
    ):
        expected = []
        for frame in range(first, first + 400):
            middle = (frame + Fraction(1, 2)) / rate * bpm / 60
            since = middle - middle // length * length
            expected.append(since < bpm / 60 / rate)
        assert rows[:, feature].astype(bool).tolist() == expected
    at = [Fraction(frame) / rate * bpm / 60 % beats for frame in range(first, first + 400)]
    assert rows[:, WHICH_BEAT : WHICH_BEAT + 6].argmax(axis=1).tolist() == [int(beat) for beat in at]
    assert rows[:, GRID + 1] == pytest.approx(
        np.array([math.cos(2 * math.pi * float(beat % 1)) for beat in at]), abs=1e-6
    )


@pytest.mark.parametrize("grid", [BeatGrid(Fraction(97123, 1000), 3, 2, Fraction(7, 5)), BeatGrid(Fraction(120))])
def test_the_next_bar_line_is_exact(grid: BeatGrid) -> None:
    for frame in (0, 1, 99, 100, 12_345):
        moment = grid.next_bar(frame, RATE)
        bar = grid.beats_per_bar * 60 / grid.bpm * RATE
        assert frame <= moment < frame + bar
        assert (grid.origin + moment / RATE * grid.bpm / 60) % grid.beats_per_bar == 0


def test_a_melody_without_frames_tells_nothing() -> None:
    assert not Score(RATE, melody=Melody.of_pitches([])).rows(0, 5).any()
    assert Score(RATE, melody=Melody.of_pitches([SILENCE])).rows(0, 5)[:, MELODY + 12].all()


def test_a_grid_goes_on_in_the_middle_of_a_beat() -> None:
    grid = BeatGrid(Fraction(92))
    frame = 77
    for bpm in (Fraction(133), Fraction(60), Fraction(1337, 10)):
        after = grid.continued(frame, RATE, bpm, 4, 2)
        assert after.beat_at(frame, RATE) % 4 == grid.beat_at(frame, RATE) % 4
        assert 0 <= after.origin < 4
        step = bpm / 60 / RATE
        assert (after.beat_at(frame + 1, RATE) - grid.beat_at(frame, RATE) - step) % 4 == 0
        grid, frame = after, frame + 1001


def test_a_grid_after_many_changes_is_still_exact_and_small() -> None:
    grid, beat = BeatGrid(Fraction(92)), Fraction(0)
    rng = np.random.default_rng(1)
    frame = 0
    for _ in range(500):
        frames = int(rng.integers(1, 400))
        beat += Fraction(frames) * grid.bpm / 60 / RATE
        frame += frames
        grid = grid.continued(frame, RATE, Fraction(int(rng.integers(20_000, 300_001)), 1000), 4, 2)
    assert grid.beat_at(frame, RATE) % 4 == beat % 4
    assert grid.origin.denominator <= 3_000_000
    assert rows_of(grid, frame, 64)[:, WHICH_BEAT : WHICH_BEAT + 4].sum() == 64


def test_another_metre_goes_on_from_the_same_beat() -> None:
    after = BeatGrid(Fraction(120)).continued(80, RATE, Fraction(120), 3, 2)
    assert after.beat_at(80, RATE) % 3 == Fraction(80, 25) - 3
    assert after.beats_per_bar == 3


def test_melody_chords_and_scale_have_their_places() -> None:
    chords = np.zeros((2, 12), np.float32)
    chords[0, [0, 4, 7]] = 1
    score = Score(
        RATE,
        melody=Melody.of_pitches([SILENCE, 9, 9, 11]),
        chords=chords,
        scale=frozenset({0, 7}),
        origin=10,
    )
    rows = score.rows(8, 7)
    pitches = [9, 11, SILENCE, 9, 9, 11, SILENCE]
    assert rows[:, MELODY : MELODY + 13].argmax(axis=1).tolist() == [pitch if pitch >= 0 else 12 for pitch in pitches]
    assert (rows[:, MELODY : MELODY + 13].sum(axis=1) == 1).all()
    assert rows[:, MELODY + 13].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert rows[:, CHORD : CHORD + 12].sum(axis=1).tolist() == [3, 0, 3, 0, 3, 0, 3]
    assert np.flatnonzero(rows[3, SCALE : SCALE + 12]).tolist() == [0, 7]
    assert not rows[:, GRID:].any()


def test_a_melody_of_pitches_begins_a_note_where_they_change() -> None:
    melody = Melody.of_pitches([5, 5, SILENCE, 5, 7, 7])
    assert melody.onsets.tolist() == [True, False, False, True, True, False]
    assert Melody.of_pitches([5, 5]).onsets.tolist() == [True, False]
    assert Melody.of_pitches([]).onsets.tolist() == []


def scale_score(pitch: int) -> Score:
    return Score(RATE, scale=frozenset({pitch}))


def heard(score: ChangingScore, frame: int, count: int) -> list[int]:
    return [int(pitch) for pitch in score.rows(frame, count)[:, SCALE : SCALE + 12].argmax(axis=1)]


def test_frames_keep_the_score_that_they_were_made_under() -> None:
    score = ChangingScore.steady(scale_score(1), memory=50)
    assert heard(score, 0, 3) == [1, 1, 1]
    after = score.changed(10, scale_score(2)).changed(12, scale_score(3))
    assert heard(after, 8, 6) == [1, 1, 2, 2, 3, 3]
    assert heard(after, 11, 1) == [2]
    assert heard(after, 12, 1) == [3]
    assert heard(after, 100, 2) == [3, 3]
    assert after.latest.scale == frozenset({3})
    assert heard(score, 8, 6) == [1] * 6, "a score never changes itself"


def test_two_changes_at_one_frame_are_the_last_one() -> None:
    score = ChangingScore.steady(scale_score(1), memory=50)
    assert heard(score.changed(0, scale_score(2)), 0, 2) == [2, 2]
    assert heard(score.changed(5, scale_score(2)).changed(5, scale_score(3)), 4, 2) == [1, 3]


def test_what_nobody_can_ask_for_any_more_is_forgotten() -> None:
    score = ChangingScore.steady(scale_score(0), memory=20)
    for index in range(1, 101):
        score = score.changed(7 * index, scale_score(index % 12))
        last = 7 * index
        first = max(0, last - 19)
        assert heard(score, first, last + 1 - first) == [frame // 7 % 12 for frame in range(first, last + 1)]
    assert len(score.parts) == 4


def test_a_bar_of_seven_eighths_begins_where_it_should() -> None:
    grid = BeatGrid(Fraction(120), Fraction(7, 2))
    for first in (0, 87, 10**7 * 875 // 10):
        rows = rows_of(grid, first, 400)
        lines = [
            math.ceil(Fraction(175, 2) * bar - Fraction(1, 2)) for bar in range(first * 2 // 175, first * 2 // 175 + 7)
        ]
        expected = [line for line in lines if first <= line < first + 400]
        assert begins(rows, BAR, first) == expected
    rows = rows_of(grid, 0, 176)
    assert begins(rows, BEAT) == [0, 25, 50, 75, 87, 112, 137, 162, 175], "the last beat is half as long"
    assert rows[:88, WHICH_BEAT : WHICH_BEAT + 6].argmax(axis=1).tolist() == [index // 25 for index in range(88)]
    assert grid.next_bar(1, RATE) == Fraction(175, 2)


def test_a_bar_of_five_beats() -> None:
    rows = rows_of(BeatGrid(Fraction(120), 5), 0, 250)
    assert begins(rows, BAR) == [0, 125]
    assert (rows[:, BAR_LENGTH + 4] == 1).all()
