"""How takes are levelled: against AudioCraft's ``audio_write``, and back again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files.loudness import Levelling, LoudnessMeter, LoudnessMode, level
from audio_files.sidecars import read_sidecar
from audio_files.takes import TakeWriter

RATE = 32_000
MODES = {"peak": "peak", "clip": "clip", "rms": "rms", "lufs": "loudness", "loud": "loudness_comp"}
"""Our modes, and what they are called in the recorded data."""


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "utils.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith(("loud", "norm", "lufs", "written"))}


def loudness(audio: np.ndarray) -> float:
    meter = LoudnessMeter(RATE, len(audio))
    meter.push(audio.T)
    measured = meter.integrated()
    assert measured is not None
    return measured


@pytest.mark.parametrize("channels", ["mono", "stereo"])
@pytest.mark.parametrize("mode", MODES)
def test_equals_audiocraft(recorded: dict[str, np.ndarray], channels: str, mode: str) -> None:
    audio = recorded[f"loud_wav_{channels}"]
    np.testing.assert_allclose(
        level(audio, RATE, LoudnessMode(mode)), recorded[f"norm_{channels}_{MODES[mode]}"], rtol=0, atol=1e-4
    )
    assert loudness(audio) == pytest.approx(float(recorded[f"lufs_{channels}"]), abs=1e-3)


def test_what_is_nearly_silent_is_left_alone(recorded: dict[str, np.ndarray]) -> None:
    quiet = recorded["norm_quiet_loudness"]
    assert np.array_equal(level(quiet, RATE, LoudnessMode.LOUD), quiet)


def test_a_take_is_written_with_the_same_numbers(recorded: dict[str, np.ndarray], tmp_path: Path) -> None:
    with TakeWriter(tmp_path, "x", sample_rate=RATE, channels=2, subtype="PCM_16", loudness="loud") as writer:
        writer.write(recorded["loud_wav_stereo"].T)
        take = writer.finish({})
    written, _ = soundfile.read(take.path, dtype="int16")
    assert np.abs(written.astype(int) - recorded["written_int16"]).max() <= 1


@pytest.mark.parametrize("mode", ["none", "lufs", "peak", "loud", "rms", "clip"])
def test_levelling_is_undone(mode: str, tmp_path: Path) -> None:
    sound = np.random.RandomState(1).normal(0, 0.05, (RATE, 2)).astype(np.float32)
    with TakeWriter(tmp_path, "x", sample_rate=RATE, channels=2, subtype="FLOAT", loudness=mode) as writer:
        writer.write(sound)
        take = writer.finish({})
    heard, _ = soundfile.read(take.path, dtype="float32")
    levelling = Levelling.of_sidecar(read_sidecar(take.sidecar_path)["audio"])
    assert levelling.mode == mode
    np.testing.assert_allclose(levelling.undo(heard), sound, rtol=0, atol=1e-6)


def test_loud_rounds_peaks_off_instead_of_holding_back() -> None:
    sound = np.random.RandomState(1).normal(0, 0.01, (1, 2 * RATE)).astype(np.float32)
    sound[0, 5000] = 0.7
    kept, rounded = level(sound, RATE, LoudnessMode.LUFS), level(sound, RATE, LoudnessMode.LOUD)
    assert np.abs(rounded).max() <= 1
    assert loudness(rounded) > loudness(kept) + 3
