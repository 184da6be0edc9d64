"""Results on disk become the tables of the page, and nothing else on it changes."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import run_all
from benchmarks._figures import summarise, table
from benchmarks._limits import at_least, at_most, broken, lines
from benchmarks._machine import describe_machine
from benchmarks._page import figures
from benchmarks.first_sound import STAGES


def decode_result() -> dict[str, Any]:
    tokens = {"tokens": 200, "different": 1, "ties": 1}
    one = {"dtype": "int8", "runner": "onnx", "step_ms": 12.5, "floor_step_ms": 3.25, "codec_ms_per_frame": 0.5}
    ways = [one | {"realtime": 1.5, "tokens": tokens}]
    ways.append(ways[0] | {"dtype": "float32", "runner": "plain", "step_ms": 50.0, "tokens": None})
    figures = {"peer_step_ms": None, "peer_realtime": None, "peer_int8_step_ms": None, "bandwidth_gb_s": 20.0}
    facts = {"benchmark": "decode", "model": "pocket", "device": "cpu", "threads": 2, "context": 500}
    limits = [at_least("real time", 4, 1.5), at_most("something that was not measured", 1, None)]
    return {**ways[0], **figures, **facts, "precisions": ways, "limits": limits, **when()}


def streams_result() -> dict[str, Any]:
    figures = {"streams": 6, "seconds": 60.0, "peer_streams": 2, "floor_streams": 55, "engine_mb": 512.0}
    facts = {
        "benchmark": "streams",
        "model": "pocket",
        "dtype": "int8",
        "runner": "onnx",
        "device": "cpu",
        "threads": 2,
    }
    return {**figures, **facts, "memory_per_stream_mb": 13.5, "limits": [at_least("live streams", 4, 6)], **when()}


def codec_result() -> dict[str, Any]:
    minute = {"ms": 0.44, "processor_ms": 0.8}
    figures = {"ms_per_frame": {"1": 2.4, "8": 0.44}, "ms_per_frame_whole_file": 0.4, "peer_ms_per_frame": None}
    ages = {"first_minute": minute, "last_minute": minute, "side_by_side": {"ratio": 1.001}, "minutes": 60.0}
    facts = {"benchmark": "codec", "model": "pocket", "device": "cpu", "threads": 2, "floor_ms_per_frame": 0.2}
    return {**figures, **ages, **facts, "limits": [], **when()}


def when() -> dict[str, Any]:
    return {"load_after": 0.5, "machine": describe_machine()}


def sound_result() -> dict[str, Any]:
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


def conditioning_result() -> dict[str, Any]:
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
    for name, result in {
        "decode-pocket": decode_result(),
        "streams-pocket": streams_result(),
        "codec-pocket": codec_result(),
        "first_sound-pocket": sound_result(),
        "conditioning-pocket": conditioning_result(),
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    page = tmp_path / "README.md"
    page.write_text(f"before\n{run_all._BEGIN}\nold\n{run_all._END}\nafter\n")
    results = run_all.read_results(tmp_path)
    assert [result["benchmark"] for result in results] == [
        "first_sound",
        "decode",
        "streams",
        "codec",
        "conditioning",
    ], "in the order of the jobs"
    missing = run_all.unmeasured(tmp_path)
    for _ in range(2):
        run_all.write_page(results, page, missing)
    text = page.read_text()
    assert (text[:7], text[-6:]) == ("before\n", "after\n")
    assert "\nold\n" not in text
    cells = [
        "| pocket, int8, onnx ",
        "| pocket, float32, plain ",
        "199 of 200, 1 ties",
        "26%",
        "**missed**",
        "open",
        "1.001",
        "55",
    ]
    assert [cell for cell in cells if cell not in text] == []
    assert "`python -m benchmarks.decode --model-shape musicgen-medium --device cuda" in text, "what has no result"
    assert "`python -m benchmarks.streams --model pocket" not in text


def test_results_of_before_there_were_columns_are_still_shown() -> None:
    old = {
        key: value for key, value in decode_result().items() if key not in ("precisions", "limits", "runner", "tokens")
    }
    assert "| pocket, int8 " in figures([old])


def test_limits_that_are_missed_are_named() -> None:
    assert broken(decode_result()) == ["real time: 1.5 (≥ 4: MISSED)"]
    assert broken(streams_result()) == broken({}) == []
    assert at_most("x", 1, 1)["kept"]
    assert at_least("x", 1, 1)["kept"]
    assert lines([at_most("x", 1, None)]) == "limit of x: not measured (≤ 1: open)\n"


def test_groups_and_names_choose_jobs() -> None:
    assert set(run_all.chosen(None)) == {name for name, job in run_all.JOBS.items() if job.group != "cuda"}
    assert set(run_all.chosen(["cuda"])) == {name for name, job in run_all.JOBS.items() if job.group == "cuda"}
    assert run_all.chosen(["decode-pocket", "streams-pocket"]) == ["decode-pocket", "streams-pocket"]
    assert run_all.chosen(["nothing"]) == []


def test_every_job_is_a_command_that_its_benchmark_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    class TakenError(Exception):
        pass

    def parse(parser: argparse.ArgumentParser, given: list[str] | None = None) -> Any:
        found, unknown = argparse.ArgumentParser.parse_known_args(parser, given)
        assert unknown == []
        raise TakenError(found)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    for job in run_all.JOBS.values():
        module, *arguments = job.command.split()
        with pytest.raises(TakenError):
            import_module(f"benchmarks.{module}").main([*arguments, "--json"])


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
        kinds = {job.command.split()[0] for job in run_all.JOBS.values()} | {"endless"}
        assert result["benchmark"] in kinds


def test_jobs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all.main(["--list"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(run_all.JOBS)
    assert run_all.main(["--only", "no such job"]) == 2
