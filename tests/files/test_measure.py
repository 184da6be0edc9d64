"""Measurements against signals whose numbers are known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_files.loudness import LoudnessMeter
from audio_files.measure import measure
from protocols.errors import RequestError

RATE = 48_000


def sine(hz: float, seconds: float = 2.0, level: float = 1.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_a_sine() -> None:
    found = measure(np.stack([sine(1000, level=0.5)] * 2), RATE)
    assert found.seconds == 2.0
    assert found.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert found.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert found.spectral_centroid_hz == pytest.approx(1000, rel=0.01)
    assert (found.silent_share, found.clipped_samples) == (0.0, 0)
    assert found.dc_offset == pytest.approx(0.0, abs=1e-6)
    bands = dict(found.octave_bands_dbfs)
    assert bands[1000.0] == pytest.approx(-9.03, abs=0.02)
    assert max(level for hz, level in bands.items() if hz != 1000.0) < -60
    assert len(bands) == 10
    assert "1000: -9.0" in str(found)


@pytest.mark.parametrize("hz", [31.5, 63, 125, 250, 500, 2000, 4000, 8000, 16_000])
def test_every_octave_finds_its_centre(hz: float) -> None:
    bands = dict(measure(sine(hz), RATE).octave_bands_dbfs)
    assert max(bands, key=bands.__getitem__) == hz
    assert bands[hz] == pytest.approx(-3.01, abs=0.1)


def test_white_noise_gains_three_decibels_an_octave() -> None:
    found = measure(np.random.default_rng(0).standard_normal(RATE * 10) * 0.1, RATE)
    levels = [level for hz, level in found.octave_bands_dbfs if hz >= 250]
    np.testing.assert_allclose(np.diff(levels), 3.0, atol=0.4)
    assert found.spectral_centroid_hz == pytest.approx(RATE / 4, rel=0.02)


def test_faults_are_counted() -> None:
    audio = np.zeros((2, RATE), dtype=np.float32)
    audio[0, : RATE // 2] = sine(440, 0.5, 0.1)
    audio[1] += 0.25
    audio[1, :3] = [1.0, -1.0, 32_767 / 32_768]
    found = measure(audio, RATE)
    assert found.clipped_samples == 3
    assert found.dc_offset == pytest.approx(0.25, abs=1e-4)
    assert measure(audio[:1], RATE).silent_share == 0.5


def test_silence_and_single_samples() -> None:
    found = measure(np.zeros(RATE), RATE)
    assert (found.rms_dbfs, found.peak_dbfs, found.lufs) == (-math.inf,) * 3
    assert found.spectral_centroid_hz is None
    assert found.silent_share == 1.0
    one = measure(np.array([0.5]), RATE)
    assert one.rms_dbfs == pytest.approx(-6.02, abs=0.01)
    assert one.lufs is None
    assert "no loudness" in str(one)
    assert measure(np.ones(3), 2).lufs is None
    assert measure(np.zeros((6, RATE)), RATE).lufs is None


@pytest.mark.parametrize(
    "audio", [np.zeros((0, 5)), np.zeros((1, 1, 1)), np.zeros(5, np.int16), np.array([np.nan]), [0.0]]
)
def test_what_cannot_be_measured_is_refused(audio: npt.NDArray[np.float32]) -> None:
    with pytest.raises(RequestError, match="audio"):
        measure(audio, RATE)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100]),
    channels=st.integers(1, 5),
    seconds=st.floats(0.4, 3.0),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    seed=st.integers(0, 99),
)
def test_the_meter_agrees_with_pyloudnorm_in_any_blocks(
    rate: int, channels: int, seconds: float, cuts: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = math.ceil(seconds * rate)
    swell = np.repeat(rng.choice([0.0, 1e-3, 0.1, 0.5], 31), rate // 10 + 1)[:frames, None]
    audio = rng.standard_normal((frames, channels)) * swell
    meter = LoudnessMeter(rate, channels)
    for part in np.split(audio, sorted(int(cut * frames) for cut in cuts)):
        meter.push(part)
    expected = pyloudnorm.Meter(rate).integrated_loudness(audio)
    found = meter.integrated()
    assert found is not None
    assert found == pytest.approx(expected, abs=2e-3)


def test_blocks_that_end_on_a_tenth_of_a_second_change_nothing() -> None:
    audio = np.random.default_rng(1).standard_normal((RATE, 1)) * 0.1
    whole, tenths = LoudnessMeter(RATE, 1), LoudnessMeter(RATE, 1)
    whole.push(audio)
    for part in np.split(audio, 10):
        tenths.push(part)
    assert tenths.integrated() == pytest.approx(whole.integrated(), abs=1e-9)
    assert LoudnessMeter(RATE, 1).integrated() is None
