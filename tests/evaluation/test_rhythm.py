"""Onsets and tempo of sounds whose tempo is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluation.onsets import RATE, onset_rate, onset_strength, onset_times
from engine.evaluation.tempo import FASTEST, SLOWEST, beat_alignment, estimate_tempo, is_right

SAMPLE_RATE = 32_000


def clicks(
    bpm: float, seconds: float = 10.0, first: float = 0.0, accents: tuple[float, ...] = (1.0,), noise: float = 0.0
) -> NDArray[np.float32]:
    """Short decaying bursts on the beat, over some noise."""
    rng = np.random.default_rng(1)
    samples = noise * rng.standard_normal(round(seconds * SAMPLE_RATE))
    burst = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
    for index, time in enumerate(np.arange(first, seconds - 0.06, 60 / bpm)):
        at = round(time * SAMPLE_RATE)
        samples[at : at + len(burst)] += 0.3 * accents[index % len(accents)] * burst
    return samples.astype(np.float32)


@pytest.mark.parametrize("bpm", [52.0, 63.5, 75.0, 92.0, 107.3, 120.0, 131.0, 150.0, 174.0])
def test_the_tempo_of_clicks_is_found(bpm: float) -> None:
    estimated = estimate_tempo(onset_strength(clicks(bpm, noise=0.01), SAMPLE_RATE))
    assert is_right(estimated, bpm)
    nearest = min((bpm / 2, bpm, 2 * bpm), key=lambda octave: abs(estimated / octave - 1))
    assert estimated == pytest.approx(nearest, rel=0.01)


@pytest.mark.parametrize("bpm", [88.0, 120.0, 140.0])
def test_accents_and_an_upbeat_do_not_move_the_tempo(bpm: float) -> None:
    played = clicks(2 * bpm, first=0.173, accents=(1.0, 0.25, 0.5, 0.25), noise=0.005)
    assert is_right(estimate_tempo(onset_strength(played, SAMPLE_RATE)), bpm)


def test_a_waltz_keeps_its_beat() -> None:
    played = clicks(138.0, accents=(1.0, 0.5, 0.5), noise=0.005)
    assert is_right(estimate_tempo(onset_strength(played, SAMPLE_RATE)), 138.0)


def test_silence_and_short_clips_have_no_tempo() -> None:
    assert estimate_tempo(onset_strength(np.zeros(10 * SAMPLE_RATE, np.float32), SAMPLE_RATE)) == 0.0
    assert estimate_tempo(onset_strength(clicks(120.0, 1.0), SAMPLE_RATE)) == 0.0
    assert estimate_tempo(np.zeros(0)) == 0.0
    assert not is_right(0.0, 120.0)


def test_noise_gets_some_tempo_within_the_range_and_no_error() -> None:
    noise = np.random.default_rng(2).standard_normal(10 * SAMPLE_RATE).astype(np.float32)
    estimated = estimate_tempo(onset_strength(noise, SAMPLE_RATE))
    assert estimated == 0.0 or SLOWEST <= estimated <= FASTEST


@pytest.mark.parametrize(
    ("estimated", "right"),
    [
        (120.0, True),
        (124.7, True),
        (125.0, False),
        (60.0, True),
        (240.0, True),
        (80.0, False),
        (180.0, False),
        (40.0, False),
    ],
)
def test_a_tempo_is_right_within_four_percent_or_an_octave(estimated: float, right: bool) -> None:
    assert is_right(estimated, 120.0) is right


def test_onsets_are_found_where_they_are() -> None:
    times = onset_times(onset_strength(clicks(100.0, first=0.31, noise=0.003), SAMPLE_RATE))
    wanted = np.arange(0.31, 9.94, 0.6)
    assert len(times) == len(wanted)
    assert np.abs(times - wanted).max() < 0.03


def test_the_onset_rate_counts_onsets_per_second_at_any_level() -> None:
    played = clicks(240.0, noise=0.003)
    rate = onset_rate(onset_strength(played, SAMPLE_RATE))
    assert rate == pytest.approx(4.0, abs=0.2)
    assert onset_rate(onset_strength(played * np.float32(0.05), SAMPLE_RATE)) == pytest.approx(rate, abs=0.11)


def test_a_held_tone_has_its_one_onset() -> None:
    time = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.2 * np.sin(2 * np.pi * 440 * time) * (time > 1)).astype(np.float32)
    assert len(onset_times(onset_strength(tone, SAMPLE_RATE))) == 1


def test_strength_has_a_frame_per_moment_and_silence_none() -> None:
    strength = onset_strength(clicks(120.0, 3.0), SAMPLE_RATE)
    assert strength.shape == (3 * RATE,)
    assert (strength >= 0).all()
    assert not onset_strength(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE).any()
    assert onset_rate(onset_strength(np.zeros(0, np.float32), SAMPLE_RATE)) == 0.0


def test_onsets_on_the_grid_align_and_others_do_not() -> None:
    strength = onset_strength(clicks(120.0, first=0.25, noise=0.003), SAMPLE_RATE)
    assert beat_alignment(strength, 120.0, first_beat=0.25) > 4
    assert beat_alignment(strength, 120.0, first_beat=0.0) < 0.5
    assert beat_alignment(strength, 97.0) < 2
    assert np.isnan(beat_alignment(np.zeros(1000), 120.0))
