"""Streaming resampling equals resampling everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from daw_bridge.audio.resample import Resampler

RATES = [(32_000, 48_000), (16_000, 48_000), (32_000, 44_100), (44_100, 48_000), (48_000, 44_100), (48_000, 16_000)]


@given(rates=st.sampled_from(RATES), channels=st.integers(1, 3), sizes=st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_chunking_equals_one_shot(rates: tuple[int, int], channels: int, sizes: list[int]) -> None:
    source, target = rates
    sound = np.random.default_rng(len(sizes)).uniform(-1, 1, (sum(sizes), channels)).astype(np.float32)
    resampler = Resampler(source, target, channels)
    parts = [resampler.process(chunk) for chunk in np.split(sound, np.cumsum(sizes)[:-1])] if sizes else []
    out = np.concatenate([*parts, resampler.flush()])
    assert out.dtype == np.float32
    assert abs(len(out) - len(sound) * target / source) <= 0.5
    whole = soxr.resample(sound, source, target)
    assert out.shape == whole.shape
    assert np.allclose(out, whole, atol=1e-6, rtol=0)


def test_single_frames() -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (2000, 1)).astype(np.float32)
    resampler = Resampler(32_000, 44_100, 1)
    parts = [resampler.process(sound[i : i + 1]) for i in range(len(sound))]
    out = np.concatenate([*parts, resampler.flush()])
    assert np.allclose(out, soxr.resample(sound, 32_000, 44_100), atol=1e-6, rtol=0)


def test_equal_rates_pass_through_untouched() -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    resampler = Resampler(48_000, 48_000, 2)
    assert resampler.process(sound) is sound
    assert resampler.flush().shape == (0, 2)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_rests_of_a_view_that_is_not_contiguous(source: int, target: int) -> None:
    wide = np.random.default_rng(0).uniform(-1, 1, (4000, 4)).astype(np.float32)
    resampler = Resampler(source, target, 2)
    out = np.concatenate([resampler.process(wide[:, ::2]), resampler.flush()])
    assert np.allclose(out, soxr.resample(np.ascontiguousarray(wide[:, ::2]), source, target), atol=1e-6, rtol=0)
