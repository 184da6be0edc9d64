"""Conversions of time: exact, and rounded the one way that is promised."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from protocols.units import (
    as_fraction,
    beats_to_seconds,
    rescale,
    samples_to_seconds,
    seconds_to_frames,
    seconds_to_samples,
)

rates = st.sampled_from([8000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000]) | st.integers(1, 768000)
frame_rates = st.sampled_from([Fraction(50), Fraction(75), Fraction(25, 2)]) | st.fractions(Fraction(1, 10), 1000)
lengths = st.floats(0, 1e6) | st.fractions(0, 10**6)
positions = st.integers(-(2**40), 2**40)


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_a_number_is_what_was_typed(digits: int, places: int) -> None:
    typed = Fraction(digits, 10**places)
    assert as_fraction(float(f"{digits}e-{places}")) == typed
    assert as_fraction(typed) is typed


@given(lengths, frame_rates)
def test_frames_cover_the_length_and_not_one_more(seconds: float | Fraction, rate: Fraction) -> None:
    frames = seconds_to_frames(seconds, rate)
    assert type(frames) is int
    assert frames / rate >= as_fraction(seconds) > (frames - 1) / rate


def test_a_tenth_of_a_second_is_five_frames() -> None:
    assert seconds_to_frames(0.1, Fraction(50)) == 5
    assert seconds_to_frames(0.7, Fraction(50)) == 35
    assert seconds_to_frames(0.1 + 0.2, Fraction(50)) == 16  # 0.30000000000000004 was typed
    assert seconds_to_frames(0, Fraction(50)) == 0


@given(st.floats(-1e6, 1e6) | st.fractions(-(10**6), 10**6), rates)
def test_the_nearest_sample(seconds: float | Fraction, rate: int) -> None:
    sample = seconds_to_samples(seconds, rate)
    assert type(sample) is int
    assert Fraction(-1, 2) < sample - as_fraction(seconds) * rate <= Fraction(1, 2)


def test_half_a_sample_rounds_up_on_both_sides_of_zero() -> None:
    assert [seconds_to_samples(Fraction(half, 2), 1) for half in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    assert seconds_to_samples(-0.7, 1) == -1


@given(positions, rates)
def test_samples_to_seconds_and_back(samples: int, rate: int) -> None:
    assert seconds_to_samples(samples_to_seconds(samples, rate), rate) == samples


@given(positions, rates, rates)
def test_rescale_is_the_nearest_position(position: int, old: int, new: int) -> None:
    found = rescale(position, old, new)
    assert Fraction(-1, 2) < found - Fraction(position * new, old) <= Fraction(1, 2)
    assert found == seconds_to_samples(samples_to_seconds(position, old), new)


@given(positions, rates, st.integers(1, 64))
def test_rescale_to_a_multiple_and_back_loses_nothing(position: int, rate: int, factor: int) -> None:
    assert rescale(position, rate, rate) == position
    assert rescale(rescale(position, rate, rate * factor), rate * factor, rate) == position


@given(st.lists(st.integers(1, 10**6), max_size=20), rates, rates)
def test_rescaled_blocks_do_not_drift(blocks: list[int], old: int, new: int) -> None:
    edges = [sum(blocks[:count]) for count in range(len(blocks) + 1)]
    total = sum(rescale(end, old, new) - rescale(start, old, new) for start, end in pairwise(edges))
    assert total == rescale(edges[-1], old, new)


@given(st.integers(0, 10**6), st.decimals(20, 400, places=2))
def test_beats_add_up(beats: int, bpm: object) -> None:
    tempo = float(str(bpm))
    assert beats_to_seconds(beats, tempo) == beats * beats_to_seconds(1, tempo)
    assert beats_to_seconds(beats, tempo) * Fraction(str(bpm)) == 60 * beats


def test_beats_at_familiar_tempi() -> None:
    assert beats_to_seconds(4, 120) == 2
    assert beats_to_seconds(1, 133.3) == Fraction(600, 1333)
    assert seconds_to_samples(beats_to_seconds(16, 174), 44100) == 243310
