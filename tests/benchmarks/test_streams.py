"""The benchmark of live streams at its smallest: a real engine, a tiny model, listeners that cannot wait; and how the highest
number is searched."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks import _steps, streams
from benchmarks._engine import confined
from benchmarks._players import Listener
from tests.support.own_models import write_own_model

RATE, FRAME = 1000, 20


def test_streams_are_held_in_real_time_and_every_try_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SETTLE_S", 0.2)
    monkeypatch.setattr(_steps, "_READ_SECONDS", 0.01)
    folder = tmp_path / "tiny"
    write_own_model(folder, window_seconds=Fraction(2))
    result = streams.measure(str(folder), threads=1, seconds=0.6, probe_seconds=0.3, most=2, peer=False)
    assert 0 <= result["streams"] <= 2
    assert len(result["tries"]) >= 1
    for one in result["tries"]:
        assert one["held"] == (one["late_frames"] == 0 and one["fault"] is None and one["closest_ms"] >= 0)
        assert one["engine_mb"] > 50
        assert one["joined_ms_max"] > 0
    assert result["floor_streams"] > 2, "what memory alone would hold"
    assert (result["peer_streams"], result["limits"], result["threads"]) == (None, [], 1)
    assert json.loads(json.dumps(result)) == result
    assert "live streams without a late frame" in streams.describe(result)


@pytest.mark.parametrize("most", [1, 2, 7, 64])
def test_the_search_finds_the_highest_number_that_holds(most: int) -> None:
    for highest in range(most + 1):
        tried: list[int] = []

        def holds(number: int, tried: list[int] = tried, highest: int = highest) -> bool:
            tried.append(number)
            return number <= highest

        assert streams.search(holds, most) == highest
        assert len(set(tried)) == len(tried), "nothing is tried twice"
        assert all(1 <= number <= most for number in tried)
        assert len(tried) <= 12


def test_limits_are_those_of_the_machine_and_the_model() -> None:
    found = {"streams": 5, "gpu_one_stream_mb": 6000.0}
    (live,) = streams._limits("pocket", "cpu", 4, found)
    assert (live["limit"], live["value"], live["kept"]) == (4, 5, True)
    assert streams._limits("pocket", "cpu", 2, found) == []
    on_a_gpu = streams._limits("musicgen-medium", "cuda:0", 4, found)
    assert [(limit["limit"], limit["kept"]) for limit in on_a_gpu] == [(48, False), (5000, False)]


def listener() -> Listener:
    one = Listener(1, asked=9.0)
    one.take(0, 100, 10.0, RATE, FRAME, prebuffer=0.06)  # sounds from now on: sample n is due at 10 s + n ms
    return one


def test_a_listener_sounds_once_the_prebuffer_is_there() -> None:
    one = Listener(1, asked=9.0)
    one.take(0, 40, 9.5, RATE, FRAME, prebuffer=0.06)
    assert (one.began, one.played(9.9, RATE)) == (None, 0)
    one.take(40, 40, 10.0, RATE, FRAME, prebuffer=0.06)
    assert (one.began, one.joined_s) == (10.0, 1.0)
    assert (one.played(10.05, RATE), one.played(10.5, RATE)) == (50, 80), "no more than there is"


def test_what_comes_after_its_moment_is_late_by_whole_frames() -> None:
    one = listener()
    one.take(100, 30, 10.09, RATE, FRAME, 0.06)
    assert (one.late_frames, round(one.closest, 6)) == (0, 0.01)
    one.take(130, 30, 10.131, RATE, FRAME, 0.06)
    assert (one.late_frames, round(one.closest, 6)) == (2, -0.001)
    one.forgive()
    assert (one.late_frames, one.closest) == (0, float("inf"))


def test_what_never_comes_is_late_too() -> None:
    one = listener()
    one.close(10.0, RATE, FRAME)
    assert (one.late_frames, one.closest) == (0, 0.1)
    one.close(10.1815, RATE, FRAME)
    assert one.late_frames == 5
    silent = Listener(2, asked=9.0)
    silent.close(20.0, RATE, FRAME)
    assert silent.closest == 0.0, "one that never sounded has no margin"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to a few cores")
def test_processes_are_kept_to_a_few_cores_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    with confined(1) as chosen:
        assert os.sched_getaffinity(0) == set(chosen)
        assert len(chosen) == 1
    assert os.sched_getaffinity(0) == before
    with confined(0) as chosen:
        assert (chosen, os.sched_getaffinity(0)) == ([], before)
    with pytest.raises(RuntimeError, match="cores wanted"), confined(len(before) + 1):
        pass


def test_bad_input_is_refused() -> None:
    for arguments in (["--most", "0"], ["--seconds", "0"], ["--model-shape", "musicgen-huge"]):
        with pytest.raises(SystemExit):
            streams.main(arguments)
    assert streams.main(["--cores", "4096"]) == 1
