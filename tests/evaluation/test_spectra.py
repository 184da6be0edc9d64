"""Levels, spectra and distances of sounds that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.evaluation.frechet import frechet_distance
from engine.evaluation.levels import is_clipping, is_silent
from engine.evaluation.spectra import embed, multi_resolution_distance, spectral_centroid
from protocols.errors import RequestError

SAMPLE_RATE = 32_000
TIME = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE


def sine(hertz: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * TIME)).astype(np.float32)


def test_silence_is_silent_and_music_is_not() -> None:
    assert is_silent(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    assert is_silent(sine(440, 10 ** (-55 / 20)), SAMPLE_RATE)
    assert not is_silent(sine(440, 10 ** (-40 / 20)), SAMPLE_RATE)
    assert is_silent(np.zeros(0, np.float32), SAMPLE_RATE)


def test_a_clip_that_is_silent_for_the_greater_part_is_silent() -> None:
    clip = sine(440)
    clip[: int(0.4 * len(clip))] = 0
    assert not is_silent(clip, SAMPLE_RATE)
    clip[: int(0.6 * len(clip))] = 0
    assert is_silent(clip, SAMPLE_RATE)


def test_what_is_no_number_is_no_sound() -> None:
    clip = sine(440)
    clip[7] = np.nan
    assert is_silent(clip, SAMPLE_RATE)


def test_a_clip_clips_when_more_than_a_thousandth_is_at_full_scale() -> None:
    assert is_clipping(np.clip(sine(440, 2.0), -1, 1))
    assert not is_clipping(sine(440, 0.99))
    few = sine(440)
    few[: len(few) // 2000] = 1.0
    assert not is_clipping(few)
    few[: len(few) // 500] = -1.0
    assert is_clipping(few)


def test_the_centroid_of_a_sine_is_its_frequency() -> None:
    assert spectral_centroid(sine(3000), SAMPLE_RATE) == pytest.approx(3000, rel=0.02)
    both = spectral_centroid(sine(1000) + sine(5000), SAMPLE_RATE)
    assert both == pytest.approx(3000, rel=0.03)


def test_the_centroid_of_noise_is_the_middle_and_of_silence_none() -> None:
    noise = np.random.default_rng(5).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    assert spectral_centroid(noise, SAMPLE_RATE) == pytest.approx(SAMPLE_RATE / 4, rel=0.03)
    assert math.isnan(spectral_centroid(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE))
    assert math.isnan(spectral_centroid(np.zeros(0, np.float32), SAMPLE_RATE))


def test_equal_sound_has_no_distance_and_noise_the_more_the_louder() -> None:
    real = torch.from_numpy(np.stack([sine(440), sine(880)]))
    noise = torch.from_numpy(np.random.default_rng(6).standard_normal((2, len(TIME))).astype(np.float32))
    assert multi_resolution_distance(real, real) == 0.0
    near, far = (multi_resolution_distance(real + level * noise, real) for level in (0.01, 0.1))
    assert 0.5 < near < far


def test_silence_has_a_spectral_convergence_of_one_and_the_distance_of_its_floor() -> None:
    noise = torch.from_numpy(np.random.default_rng(7).standard_normal((1, len(TIME))).astype(np.float32)) * 0.1
    distance = multi_resolution_distance(torch.zeros_like(noise), noise)
    # The logarithms of this noise lie some 5 to 6 above the floor of 1e-5.
    assert 1 + 4 < distance < 1 + 8


def test_an_embedding_is_one_row_a_second_and_knows_level_and_colour() -> None:
    rows = embed(sine(440), SAMPLE_RATE)
    assert rows.shape == (4, 64)
    # Ten times the level is one more in log10, where the sine is; a steady sound does not vary.
    assert (embed(sine(440, 0.3), SAMPLE_RATE) - embed(sine(440, 0.03), SAMPLE_RATE)).max() == pytest.approx(
        1, abs=0.02
    )
    assert rows[1, 32:].max() < 0.05
    assert embed(np.zeros(100, np.float32), SAMPLE_RATE).shape == (0, 64)


def test_the_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(8)
    first = rng.standard_normal((200_000, 3))
    second = rng.standard_normal((200_000, 3)) * np.array([2.0, 1.0, 3.0]) + np.array([1.0, 0.0, -2.0])
    # The squared distance of the means, and per axis the squared difference of the standard deviations.
    assert frechet_distance(first, second) == pytest.approx(1 + 4 + 1 + 0 + 4, rel=0.02)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_the_frechet_distance_heeds_correlation() -> None:
    rng = np.random.default_rng(9)
    base = rng.standard_normal((100_000, 2))
    turned = base @ np.array([[1.0, 0.9], [0.0, np.sqrt(1 - 0.81)]])
    assert frechet_distance(base, turned) > 0.1


def test_one_embedding_is_no_distribution() -> None:
    with pytest.raises(RequestError, match="2 or more"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))
