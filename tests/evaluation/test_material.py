"""Held-out pieces that are composed and rendered. What is rendered needs FluidSynth and its soundfont."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from engine.evaluation.material import FIRST_SEED, render_held_out
from engine.evaluation.onsets import onset_strength
from engine.evaluation.tempo import estimate_tempo, is_right
from engine.training.data.build import is_held_out
from engine.training.needs import check_rendering
from protocols.errors import RequestError


@pytest.fixture(autouse=True)
def _needs_a_synthesiser() -> None:
    try:
        check_rendering()
    except RequestError as error:
        pytest.skip(str(error))


def test_rendered_clips_are_held_out_and_have_their_lead_and_their_tempo() -> None:
    clips = render_held_out(4, Fraction(8))
    assert all(is_held_out(one.clip.record.seed) and one.clip.record.seed >= FIRST_SEED for one in clips)
    assert [len(one.mix) for one in clips] == [8 * 32_000] * 4
    right = [is_right(estimate_tempo(onset_strength(one.mix, 32_000)), one.clip.bpm) for one in clips]
    assert sum(right) >= 3
    for one in clips:
        assert one.lead is not None
        sings = one.clip.chroma(Fraction(50)) >= 0
        level = np.abs(one.lead[: len(sings) * 640]).reshape(len(sings), 640).max(axis=1)
        if sings.any():
            assert np.median(level[sings]) > 0.01


def test_other_seeds_give_other_pieces() -> None:
    first, second = (render_held_out(1, Fraction(4), seed)[0] for seed in (0, 1))
    assert first.clip.record.seed != second.clip.record.seed
    assert not np.array_equal(first.mix, second.mix)


@pytest.mark.parametrize("module", ["engine.evaluation.__main__", "engine.evaluation.listening"])
def test_what_renders_imports_no_torch(module: str) -> None:
    told = f"import importlib, sys; importlib.import_module({module!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
