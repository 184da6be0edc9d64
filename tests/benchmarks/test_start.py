"""The benchmark of starts: what it starts, and what its record says."""

from __future__ import annotations

import os

import pytest

from benchmarks import start
from benchmarks._limits import broken


def test_help_and_bridge_are_started_as_a_user_starts_them(capsys: pytest.CaptureFixture[str]) -> None:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    result = start.measure(repeats=1, cores=1, cold=False, only=("help", "bridge"))
    assert list(result["starts"]) == [*(" ".join((*words, "--help")) for words in start.HELPS), "bridge"]
    assert all(0 < times["warm"]["median_s"] <= times["warm"]["max_s"] for times in result["starts"].values())
    assert [limit["value"] is None for limit in result["limits"]] == [False, False, True, True, True]
    assert not usable or os.sched_getaffinity(0) == usable, "this process has its cores back"
    text = start.describe(result)
    assert "| bridge" in text
    assert "1 cores" in text
    assert "not measured" in text


def test_limits_are_of_warm_starts_and_of_our_threads() -> None:
    starts = {"--help": {"warm": {"median_s": 0.2}, "cold": {"median_s": 9.0}}, "engine": {"warm": {"median_s": 6.0}}}
    ours = {"ours": True, "dtype": "auto", "slower": 1.5, "beside": 2.0}
    peers = {"ours": False, "dtype": "auto", "slower": 40.0, "beside": 0.1}
    limits = start._limits(starts, [ours, peers])
    assert [limit["kept"] for limit in limits] == [True, None, False, True, True]
    assert len(broken({"limits": limits})) == 1


def test_a_process_that_leaves_is_told() -> None:
    def gone() -> float:
        raise RuntimeError("engine ended with exit code 2")

    with pytest.raises(RuntimeError, match="exit code 2"):
        start._until(gone, lambda: False)
