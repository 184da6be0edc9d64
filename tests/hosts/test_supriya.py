"""The example for supriya: what the bridge makes is played by a synth of a real scsynth."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.support.jack import JackRecorder, JackServer
from tests.support.osc_tap import OscTap, recorded
from tests.support.processes import Process
from tests.support.supercollider import EXAMPLES, free_udp_port

RATE = 48000


def test_a_take_is_played_by_a_synth(bridge: Process, tmp_path: Path) -> None:
    if shutil.which("scsynth") is None:
        pytest.skip("scsynth is not installed (Debian: supercollider-server)")
    if importlib.util.find_spec("supriya") is None:
        pytest.skip("the package supriya is not installed")
    with (
        JackServer(RATE) as jack,
        OscTap(bridge.ports["osc_port"]) as tap,
        JackRecorder(jack, tmp_path, "Super") as recorder,
    ):
        run = subprocess.run(
            [sys.executable, EXAMPLES / "supriya_example.py", "groove", "1.5", str(tap.port), str(free_udp_port())],
            env={**os.environ, **jack.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        heard = recorder.recorded()
    assert run.returncode == 0, run.stderr
    take, rate = soundfile.read(run.stdout.strip(), dtype="float32")
    assert len(take) == 1.5 * rate
    assert np.array_equal(heard[:, 0], heard[:, 1])
    dry = soxr.resample(take, rate, RATE, quality="HQ")
    assert likeness(heard[:, 0], dry) > 0.5, "the take at its own pitch, in a room"
    assert likeness(heard[:, 0], take) < 0.2, "at another pitch it is not like it"
    recorded("supriya", tap.sent, "supriya")


def likeness(heard: np.ndarray, sound: np.ndarray) -> float:
    """The largest correlation, 0 to 1, of a sound with any part of a recording."""
    size = 1 << (len(heard) + len(sound)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sound, size)), size)[: len(heard)]
    energy = np.concatenate(([0.0], np.cumsum(np.square(heard, dtype=np.float64))))
    ends = np.minimum(np.arange(len(heard)) + len(sound), len(heard))
    local = np.sqrt(np.maximum(energy[ends] - energy[: len(heard)], 1e-9)) * np.linalg.norm(sound)
    loud = local > 0.1 * local.max()
    return float(np.max(np.abs(product[loud]) / local[loud]))
