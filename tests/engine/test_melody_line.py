"""Written melodies as models hear them: the same as a recording's, as training counts frames, and in time for ever."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.conditioning.melody import SILENCE, MelodyFacts, chroma
from engine.conditioning.melody_line import FADE_SECONDS, LoopedLine, leading_pitches, melody_condition
from engine.conditioning.score import MELODY, Score
from engine.training.composer import Piece, compose
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from protocols.melody import MAX_NOTES, MAX_SECONDS, MelodyLine

RATE = Fraction(50)
FACTS = MelodyFacts(sample_rate=32_000, frame_rate=RATE, window_frames=1500, frames=235)
REACH = FACTS.fft_size / FACTS.sample_rate / 2
"""Seconds that a frame of chroma looks to either side."""
STEADY = {"electric piano": 4, "drawbar organ": 16, "recorder": 74, "square lead": 80}


def scale(notes: int, seconds: Fraction, length: Fraction | None = None, share: Fraction = Fraction(1)) -> MelodyLine:
    """Notes up from middle C, one beginning every ``seconds``."""
    spans = [(at * seconds, (at + share) * seconds, 60 + at % 24) for at in range(notes)]
    return MelodyLine.of_seconds(spans, notes * seconds if length is None else length)


def sines(line: MelodyLine, turns: int = 1) -> NDArray[np.float32]:
    """The line played by the plainest of instruments."""
    length = int(line.seconds * FACTS.sample_rate)
    sound = np.zeros(length, dtype=np.float32)
    for note in line.notes:
        start, end = (round(Fraction(moment, line.rate) * FACTS.sample_rate) for moment in (note.start, note.end))
        tone = np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * np.arange(end - start) / FACTS.sample_rate)
        tone *= np.minimum(1, np.minimum(np.arange(end - start), np.arange(end - start)[::-1]) / 160)
        sound[start:end] = 0.3 * tone[: length - start]
    return np.tile(sound, turns)


def read(sound: NDArray[np.float32], frames: int) -> NDArray[np.int64]:
    return np.asarray(chroma(torch.from_numpy(sound), FACTS).argmax(dim=1).numpy()[:frames])


def written(line: MelodyLine, frames: int, frame: int = 0) -> NDArray[np.int64]:
    return np.asarray(melody_condition(line, replace(FACTS, frames=frames)).window(frame).numpy())


def line_of_piece(piece: Piece) -> MelodyLine:
    spans = [(piece.seconds_at(note.start), piece.seconds_at(note.end), note.pitch) for note in piece.lead]
    return MelodyLine.of_seconds(spans, piece.seconds)


@st.composite
def lines(draw: st.DrawFn) -> MelodyLine:
    """Notes and rests of 1 to 400 hundredths of a second, in a tempo that no frame fits."""
    unit = Fraction(1, draw(st.sampled_from((100, 97, 1000))))
    steps = draw(
        st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60), st.integers(0, 127)), min_size=1, max_size=8)
    )
    spans, now = [], Fraction(0)
    for rest, length, pitch in steps:
        spans.append((now + rest * unit, now + (rest + length) * unit, pitch))
        now = spans[-1][1]
    return MelodyLine.of_seconds(spans, max(now + draw(st.integers(0, 40)) * unit, Fraction(1, 10)))


def test_a_frame_of_chroma_is_the_window_around_its_moment() -> None:
    """A note of its own length around the moment is what leads; one much shorter than the window is overruled."""
    line = MelodyLine.of_seconds([(0, 2, 60), (2, 4, 62), (4, Fraction(405, 100), 64), (Fraction(405, 100), 8, 65)], 8)
    moments = np.arange(62) / 7.8125
    expected = np.where(moments < 2, 0, np.where(moments < 4.025, 2, 5))
    assert written(line, 62).tolist() == expected.tolist()


def test_a_rest_is_seen_where_nothing_is_under_the_window_nor_fading() -> None:
    line = MelodyLine.of_seconds([(2, 4, 67), (7, 8, 62)], 10)
    pitches = leading_pitches(line, FACTS)
    moments = (np.arange(len(pitches)) + 0.5) * 10 / len(pitches)
    fade = float(FADE_SECONDS)
    silent = pitches == SILENCE
    slack = 0.03  # the ends of the window weigh next to nothing, and moments stand for cells
    assert silent[moments < 2 - REACH - slack].all()
    assert not silent[(moments > 2 - REACH + slack) & (moments < 4 + fade + REACH - slack)].any()
    assert silent[(moments > 4 + fade + REACH + slack) & (moments < 7 - REACH - slack)].all()
    assert silent[moments > 8 + fade + REACH + slack].all()
    assert set(written(line, 10)[:10]) == {FACTS.null_bin}


def test_a_rest_shorter_than_the_window_is_not_heard() -> None:
    staccato = scale(16, Fraction(1, 2), share=Fraction(1, 4))
    assert SILENCE not in leading_pitches(staccato, FACTS)


@pytest.mark.parametrize("seconds", [Fraction(1, 2), Fraction(60, 97), Fraction(3, 10)])
def test_sines_are_read_as_they_are_written(seconds: Fraction) -> None:
    line = scale(24, seconds)
    frames = int(2 * line.seconds * FACTS.rate)
    heard = read(sines(line, turns=2), frames)
    same = heard == written(line, frames)
    assert same[2:-2].mean() >= 0.98, "within"
    assert same.mean() >= 0.96, "with both ends, where a recording is mirrored and a loop goes on"


def test_composed_lines_are_read_as_they_are_written() -> None:
    """Frames of chroma of the rendered sound, none left out; `benchmarks.conditioning` has the figure for other instruments."""
    try:
        renderer = Renderer(sample_rate=FACTS.sample_rate)
    except RequestError as error:
        pytest.skip(str(error))
    same: list[bool] = []
    for seed, program in enumerate(STEADY.values()):
        piece = compose(seed)
        lead = next(track for track in piece.tracks if track.role == "lead")
        alone = replace(piece, tracks=(replace(lead, program=program),))
        frames = int(piece.seconds * FACTS.rate)
        same += (read(renderer.render(alone).lead, frames) == written(line_of_piece(piece), frames)).tolist()
    renderer.close()
    assert len(same) > 600
    assert np.mean(same) >= 0.9


def test_frames_are_counted_as_in_training() -> None:
    for seed, style in ((1, "pop"), (2, "jazz"), (3, "waltz")):
        piece = compose(seed, style)
        assert piece.lead
        frames = int(piece.seconds * 50)
        pitches, onsets = LoopedLine(line_of_piece(piece), RATE).at(0, frames)
        short = [note for note in piece.lead if piece.seconds_at(note.end - note.start) <= 1 / RATE]
        assert (pitches != piece.chroma(50, frames)).sum() <= len(short)
        starts = {int(piece.seconds_at(note.start) * 50) for note in piece.lead}
        assert np.flatnonzero(onsets).tolist() == sorted(starts & set(range(frames)))


def test_short_notes_are_heard() -> None:
    moments = [Fraction(1), Fraction(201, 100), Fraction(5), Fraction(503, 100)]
    lengths = [Fraction(1, 1000), Fraction(1, 100), Fraction(3, 100), Fraction(1, 1000)]
    spans = [(at, at + length, 60 + index) for index, (at, length) in enumerate(zip(moments, lengths, strict=True))]
    pitches, onsets = LoopedLine(MelodyLine.of_seconds(spans, 8), RATE).at(0, 400)
    heard = [(int(frame), int(pitches[frame])) for frame in np.flatnonzero(pitches != SILENCE)]
    assert heard == [(50, 0), (100, 1), (250, 2), (251, 3)]
    assert np.flatnonzero(onsets).tolist() == [50, 100, 250, 251]


def test_of_two_notes_with_one_frame_the_longer_has_it() -> None:
    spans = [(Fraction(101, 100), Fraction(1025, 1000), 60), (Fraction(1025, 1000), Fraction(1030, 1000), 62)]
    assert LoopedLine(MelodyLine.of_seconds(spans, 2), RATE).at(50, 3)[0].tolist() == [SILENCE, 0, SILENCE]
    spans = [(Fraction(1015, 1000), Fraction(1022, 1000), 60), (Fraction(1022, 1000), Fraction(1035, 1000), 62)]
    assert LoopedLine(MelodyLine.of_seconds(spans, 2), RATE).at(50, 3)[0].tolist() == [SILENCE, 2, SILENCE]


def test_a_short_note_is_heard_before_one_that_begins_in_its_frame_too() -> None:
    spans = [(Fraction(1002, 1000), Fraction(1008, 1000), 60), (Fraction(1008, 1000), Fraction(1100, 1000), 62)]
    pitches, onsets = LoopedLine(MelodyLine.of_seconds(spans, 2), RATE).at(50, 6)
    assert (pitches.tolist(), onsets.tolist()) == ([0, 2, 2, 2, 2, SILENCE], [True, *[False] * 5])


@settings(max_examples=200, deadline=None)
@given(lines(), st.integers(-(10**7), 10**7), st.sampled_from((RATE, Fraction(75), Fraction(125, 4))))
def test_looping_is_exact(line: MelodyLine, frame: int, rate: Fraction) -> None:
    pitches, onsets = LoopedLine(line, rate).at(frame, 40)
    spans = [(Fraction(n.start, line.rate), Fraction(n.end, line.rate), n.pitch % 12) for n in line.notes]
    for index in range(40):
        moment, step = (frame + index) / rate % line.seconds, 1 / rate
        begun = [(start + turn, end + turn) for turn in (0, line.seconds) for start, end, _ in spans]
        begun = [(start, end) for start, end in begun if moment <= start < moment + step]
        assert onsets[index] == bool(begun)
        if not any(end <= moment + step for _, end in begun):
            sounding = [pitch for start, end, pitch in spans if start <= moment < end]
            assert pitches[index] == (sounding[0] if sounding else SILENCE)
        else:
            assert pitches[index] != SILENCE


@settings(max_examples=40, deadline=None)
@given(lines(), st.integers(0, 10**6))
def test_chroma_loops_exactly(line: MelodyLine, turns: int) -> None:
    """A window that begins a whole number of turns later is the same one, however many turns that is."""
    facts = replace(FACTS, frame_rate=Fraction(line.rate), frames=100)
    condition = melody_condition(line, facts, origin=17)
    assert torch.equal(condition.window(17), condition.window(17 + turns * line.length))
    assert torch.equal(condition.window(17), melody_condition(line, facts).window(0))


def test_a_score_hears_the_line() -> None:
    line = scale(8, Fraction(1, 2))
    melody = LoopedLine(line, RATE).written(200)
    rows = Score(RATE, melody=melody).rows(0, 400)
    assert rows[:, MELODY : MELODY + 12].argmax(axis=1)[::25].tolist() == [0, 1, 2, 3, 4, 5, 6, 7] * 2
    assert np.flatnonzero(rows[:, MELODY + 13]).tolist() == list(range(0, 400, 25))
    assert not rows[:, MELODY + 12].any()


@pytest.mark.parametrize("begins", [Fraction(13), Fraction(40, 3), Fraction(-7, 11), Fraction(100_001, 7)])
def test_a_line_begins_wherever_it_is_to(begins: Fraction) -> None:
    """Against the same line whose notes are moved instead."""
    line = scale(7, Fraction(1, 3))
    placed = LoopedLine(line, RATE).beginning(begins)
    first = math.floor(begins)
    _, onsets = placed.at(first - 2, 4 * 60)
    expected = sorted({math.floor(begins + note * RATE / 3) - (first - 2) for note in range(-1, 20)})
    assert np.flatnonzero(onsets).tolist() == [frame for frame in expected if 0 <= frame < 240]
    pitches, _ = placed.at(math.ceil(begins), 5)
    assert pitches[0] == line.notes[0].pitch % 12
    many_turns = 3 * 10**6 * 7 * 50 // 3
    assert [part.tolist() for part in placed.at(first, 300)] == [
        part.tolist() for part in placed.at(first + many_turns, 300)
    ]


def test_a_line_may_be_longer_or_shorter_than_what_hears_it() -> None:
    long, short = scale(200, Fraction(1, 2)), scale(1, Fraction(1, 10))
    assert written(long, 235).tolist() == written(long, 780)[:235].tolist()
    assert set(written(short, 235)) == {0}
    assert LoopedLine(long, RATE).at(0, 20)[0].tolist() == [0] * 20
    pitches, onsets = LoopedLine(short, RATE).at(0, 20)
    assert (pitches.tolist(), np.flatnonzero(onsets).tolist()) == ([0] * 20, [0, 5, 10, 15])


def test_the_longest_line_is_served() -> None:
    line = scale(MAX_NOTES, Fraction(MAX_SECONDS, MAX_NOTES), Fraction(MAX_SECONDS))
    pitches = leading_pitches(line, FACTS)
    assert len(pitches) >= 12 * MAX_SECONDS * FACTS.rate
    assert (pitches[:: len(pitches) // 64] >= 0).all()
