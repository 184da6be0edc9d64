"""Which cores the models get, and how their threads wait."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from engine import cores
from engine.cores import MOST_THREADS, WAITING, loading_threads, model_cores, model_threads, pinned, wait_quietly


@pytest.mark.parametrize(("there", "given"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 6), (128, MOST_THREADS)])
def test_two_cores_are_the_hosts(there: int, given: int) -> None:
    assert model_threads(0, there) == given
    assert model_threads(3, there) == 3, "what is asked for is given"


@pytest.mark.parametrize(("there", "model", "left"), [(2, 1, 1), (4, 2, 1), (8, 4, 3), (128, 16, MOST_THREADS)])
def test_loading_takes_what_is_left_but_one(there: int, model: int, left: int) -> None:
    assert loading_threads(model, there) == left


def test_models_are_pinned_to_the_last_cores() -> None:
    assert model_cores(2, (0, 2, 4, 6)) == (4, 6)
    assert model_cores(4, (0, 2, 4, 6)) == (0, 2, 4, 6)
    assert model_cores(5, (0, 2, 4, 6)) == ()


def test_hyperthreads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, siblings in {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}.items():
        folder = tmp_path / f"cpu{core}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(cores, "_SYSTEM", tmp_path)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(cores, "_usable", lambda: {0, 1, 4, 5, 9})
    assert cores.physical_cores() == (0, 1, 9), "what the system says nothing of is a core of its own"


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("800000 100000", 4), ("?", 4)]
)
def test_a_containers_share_counts(quota: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cores, "_SYSTEM", tmp_path)
    monkeypatch.setattr(cores, "_usable", lambda: {0, 1, 2, 3})
    assert len(cores.physical_cores()) == count


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    environment = {"KMP_BLOCKTIME": "7"}
    wait_quietly(environment)
    assert environment == {**WAITING, "KMP_BLOCKTIME": "7"}
    wait_quietly(told := {"OMP_WAIT_POLICY": "ACTIVE"})
    assert told == {"OMP_WAIT_POLICY": "ACTIVE"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are pinned on Linux only")
def test_what_is_started_on_cores_stays_there() -> None:
    before = os.sched_getaffinity(0)
    last = max(before)
    found: list[set[int]] = []
    again = threading.Event()

    def look() -> None:
        found.append(os.sched_getaffinity(0))
        again.wait(10)
        found.append(os.sched_getaffinity(0))

    with pinned((last,)) as kept:
        assert kept
        assert os.sched_getaffinity(0) == {last}
        thread = threading.Thread(target=look)
        thread.start()
    again.set()
    thread.join()
    assert found == [{last}, {last}]
    assert os.sched_getaffinity(0) == before
    with pinned(()) as kept:
        assert not kept
        assert os.sched_getaffinity(0) == before
