"""Results on disk become the tables of the page, and nothing else on it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import run_all
from benchmarks._figures import summarise, table
from benchmarks._machine import describe_machine
from benchmarks.first_sound import STAGES


def decode_result() -> dict[str, object]:
    figures = {"step_ms": 12.5, "peer_step_ms": None, "floor_step_ms": 3.25, "codec_ms_per_frame": 0.5}
    figures |= {"realtime": 1.5, "peer_realtime": None, "bandwidth_gb_s": 20.0}
    facts = {"benchmark": "decode", "model": "pocket", "dtype": "float32", "device": "cpu", "threads": 2}
    return {**figures, **facts, "load_after": 0.5, "machine": describe_machine()}


def sound_result() -> dict[str, object]:
    summary = summarise([10.0, 20.0, 30.0])
    return {
        "benchmark": "first_sound",
        "model": "pocket",
        **summary,
        "engine_only": {"prebuffer_full": summary},
        "split": dict.fromkeys(STAGES, summary),
        "prebuffer_ms": 60.0,
        "underruns": 0,
        "output": "paced, no sound card",
        "load_after": 0.5,
        "machine": describe_machine(),
    }


def conditioning_result() -> dict[str, object]:
    summary = summarise([10.0, 20.0, 30.0])
    changes = {"change_to_frame": summary}
    endless = {"minutes": 10.0, "late_frames": 0, "margin": summary}
    return {
        "benchmark": "conditioning",
        "clips": 50,
        "bars": 8,
        "agreement": 0.92,
        "clip_to_condition_ms": summary,
        "live": {"model": "pocket", "changes": changes, "endless": endless},
        "load_after": 0.5,
        "machine": describe_machine(),
    }


def test_percentiles_are_values_that_were_measured() -> None:
    summary = summarise([float(value) for value in range(50, 0, -1)])
    assert summary == {"p50_ms": 25.0, "p95_ms": 48.0, "p99_ms": 50.0, "min_ms": 1.0, "max_ms": 50.0}
    with pytest.raises(ValueError, match="nothing"):
        summarise([])


def test_a_table_lines_up() -> None:
    lines = table(["what", "ms"], [["a step", 1.0], ["b", None]]).splitlines()
    assert lines == ["| what   |   ms |", "| ------ | ---: |", "| a step | 1.00 |", "| b      |    – |"]


def test_results_become_the_pages_tables(tmp_path: Path) -> None:
    (tmp_path / "decode-pocket-float32.json").write_text(json.dumps(decode_result()))
    (tmp_path / "first_sound-pocket.json").write_text(json.dumps(sound_result()))
    (tmp_path / "conditioning-pocket.json").write_text(json.dumps(conditioning_result()))
    page = tmp_path / "README.md"
    page.write_text(f"before\n{run_all._BEGIN}\nold\n{run_all._END}\nafter\n")
    results = run_all.read_results(tmp_path)
    assert [result["benchmark"] for result in results] == ["first_sound", "conditioning", "decode"], (
        "in the order of the jobs"
    )
    for _ in range(2):
        run_all.write_page(results, page)
    text = page.read_text()
    assert (text[:7], text[-6:]) == ("before\n", "after\n")
    assert "old" not in text
    for cell in ("| pocket, float32, cpu |", "12.5", "20.0"):
        assert cell in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("mine")
    with pytest.raises(ValueError, match="marks"):
        run_all.write_page([decode_result()], page)
    assert page.read_text() == "mine"


def test_the_projects_own_page_and_results_are_whole() -> None:
    text = run_all.PAGE.read_text(encoding="utf-8")
    assert text.count(run_all._BEGIN) == text.count(run_all._END) == 1
    for result in run_all.read_results():
        assert result["benchmark"] in ("first_sound", "conditioning", "decode", "live", "endless")


def test_jobs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(run_all.JOBS)
    assert run_all.main(["--only", "no such job"]) == 2
