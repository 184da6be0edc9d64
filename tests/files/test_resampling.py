"""Resampling as AudioCraft's models heard it: against its recorded data, and its own laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_files.regions import mix_and_resample
from audio_files.resampling import SincResampler, sinc_fits


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return np.random.RandomState(3).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def whole(sound: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    return SincResampler(source_rate, rate, sound.shape[1]).resample_chunk(sound, last=True)


def test_equals_audiocraft(golden_dir: Path) -> None:
    with np.load(golden_dir / "utils.npz") as recorded:
        sound, expected = recorded["resample_in"], recorded["resample_44100_to_32000"]
    ours = mix_and_resample(sound, 44_100, sample_rate=32_000, channels=1, resampling="sinc")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-6)


@given(cuts=st.lists(st.integers(0, 4000), max_size=6), rates=st.sampled_from([(44_100, 32_000), (16_000, 48_000)]))
def test_blocks_make_no_difference(cuts: list[int], rates: tuple[int, int]) -> None:
    sound = noise(4000, 2)
    resampler = SincResampler(*rates, 2)
    parts = [resampler.resample_chunk(part) for part in np.split(sound, sorted(cuts))]
    parts.append(resampler.resample_chunk(sound[:0], last=True))
    joined = np.concatenate(parts)
    assert len(joined) == len(sound) * rates[1] // rates[0]
    np.testing.assert_allclose(joined, whole(sound, *rates), rtol=0, atol=1e-6)


def test_a_constant_stays_one_to_its_edges() -> None:
    np.testing.assert_allclose(whole(np.full((1000, 1), 0.5, np.float32), 48_000, 32_000), 0.5, atol=1e-6)


def test_a_tone_stays_one() -> None:
    time = np.arange(44_100)[:, None] / 44_100
    ours = whole(np.sin(2 * np.pi * 1000 * time).astype(np.float32), 44_100, 32_000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(32_000)[:, None] / 32_000)
    np.testing.assert_allclose(ours[200:-200], expected[200:-200], atol=2e-4)


def test_one_sample() -> None:
    assert whole(noise(1), 16_000, 48_000).shape == (3, 1)


def test_rates_without_a_common_factor_are_left_to_soxr() -> None:
    assert sinc_fits(44_100, 48_000)
    assert not sinc_fits(44_101, 32_000)
    with pytest.raises(ValueError, match="44101"):
        SincResampler(44_101, 32_000, 1)
    ours = mix_and_resample(noise(44_101).T, 44_101, sample_rate=32_000, channels=1, resampling="sinc")
    assert np.array_equal(ours, mix_and_resample(noise(44_101).T, 44_101, sample_rate=32_000, channels=1))
