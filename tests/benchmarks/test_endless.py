"""The figures of an endless stream: of one that is a few seconds long, and that they are worked out right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._endless import WANTED_LU, ModelSource, describe_endless, measure_endless, measure_endless_sound
from engine.checkpoints import load_model
from tests.support.own_models import write_own_model


def test_a_short_endless_stream_has_all_figures(tmp_path: Path) -> None:
    write_own_model(tmp_path / "tiny")
    bundle = load_model(str(tmp_path / "tiny"), device="cpu")
    result = measure_endless_sound(
        lambda request: ModelSource(bundle, request), 3, minute_seconds=4, prompt="sad piano", seed=3
    )
    for name in ("raw", "governed"):
        figures = result[name]
        assert len(figures["lufs"]) == 3
        off = [lufs - result["reference_lufs"] for lufs in figures["lufs"]]
        assert figures["worst_lu"] == pytest.approx(max(off, key=abs), abs=0.011)
        assert figures["mean_lu"] == pytest.approx(sum(map(abs, off)) / 3, abs=0.011)
        assert figures["onset_drift"] > 0
    assert result["raw"]["lufs"][0] == result["governed"]["lufs"][0], "while it learns it touches nothing"
    assert result["kept"] == (abs(result["governed"]["worst_lu"]) <= WANTED_LU and result["rss_growth"] < 0.01)
    assert len(result["rss_mib"]) == 3
    assert "LUFS" in describe_endless(result)


def test_a_real_engine_is_measured(tmp_path: Path) -> None:
    write_own_model(tmp_path / "tiny")
    result = measure_endless(str(tmp_path / "tiny"), 3, threads=1, minute_seconds=4)
    assert 0 < result["journal_bytes"] < result["journal_bound_bytes"]
    assert min(result["rss_mib"]) > 50
    assert len(result["governed"]["lufs"]) == 3
