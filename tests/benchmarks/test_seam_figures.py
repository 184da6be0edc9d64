"""The figures of a seam: what they say of sound that goes on, of a jump, and of a change in level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks._seam import WAYS, describe_seams, measure_seams, seam_figures
from engine.checkpoints import load_model
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from tests.support.own_models import write_own_model

RATE = 32_000


def test_a_tone_that_goes_on_has_neither_jump_nor_change() -> None:
    tone = (0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    goes_on = seam_figures(tone[:RATE], tone[RATE:], RATE)
    assert goes_on["jump"] < 1.5
    assert abs(goes_on["level_db"]) < 0.01
    louder = seam_figures(tone[:RATE], 2 * tone[RATE + 18 :], RATE)
    assert louder["jump"] > 5
    assert louder["level_db"] == pytest.approx(6.02, abs=0.05)


def test_silence_has_figures() -> None:
    silence = np.zeros(RATE, np.float32)
    assert seam_figures(silence, silence, RATE) == {"jump": 0.0, "level_db": 0.0}


def test_a_models_seams_are_measured(tmp_path: Path) -> None:
    try:
        Renderer().close()
    except RequestError as error:
        pytest.skip(str(error))
    write_own_model(tmp_path / "tiny")
    result = measure_seams(load_model(str(tmp_path / "tiny"), device="cpu"), 1)
    assert json.loads(json.dumps(result)) == result
    assert result["led"]["jump_max"] < 3
    assert result["piece"]["jump_max"] < 3
    assert all(len(result["each"][way]) == 1 for way in WAYS)
    assert "led over" in describe_seams(result)
