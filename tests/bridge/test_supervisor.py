"""The supervisor with real child processes: small ones that behave as the engine and the bridge do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from daw_bridge import supervisor
from daw_bridge.supervisor import Program, Supervisor, bridge_program, engine_program
from protocols.errors import RequestError
from protocols.settings import EngineSettings, Settings

# Announces itself with the port it was given (or its own process id), notes when it leaves, leaves when its input ends.
CHILD = """
import json, os, pathlib, sys
name, journal, port = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else os.getpid()
print("loading", flush=True)
print(json.dumps({"ready": name, "port": port}), flush=True)
order = sys.stdin.read()
with journal.open("a") as file:
    file.write(name + " left\\n")
"""
WAIT_S = 20.0


def child(name: str, journal: Path, **more: object) -> Program:
    return Program(name, (sys.executable, "-c", CHILD, name, str(journal)), WAIT_S, **more)  # type: ignore[arg-type]


def script(name: str, text: str, start_s: float = WAIT_S, **more: object) -> Program:
    return Program(name, (sys.executable, "-c", text), start_s, **more)  # type: ignore[arg-type]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def running() -> Iterator[Callable[[Supervisor], threading.Thread]]:
    """Runs supervisors on threads of their own and stops them when the test is over."""
    started: list[tuple[Supervisor, threading.Thread]] = []

    def run(it: Supervisor) -> threading.Thread:
        thread = threading.Thread(target=it.run)
        thread.start()
        started.append((it, thread))
        return thread

    yield run
    for it, thread in started:
        it.request_stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_starts_all_and_stops_the_last_one_first(journal: Path) -> None:
    with Supervisor([child("engine", journal), child("bridge", journal)]) as it:
        announced = it.start()
        assert set(announced) == {"engine", "bridge"}
        assert {name: ports["port"] for name, ports in announced.items()} == it.pids
        assert not journal.exists()
    assert journal.read_text().splitlines() == ["bridge left", "engine left"]


def test_a_program_waits_for_what_it_needs(journal: Path) -> None:
    def wiring(announced: supervisor.Announced) -> list[str] | None:
        return [str(announced["engine"]["port"])] if "engine" in announced else None

    with Supervisor([child("bridge", journal, wiring=wiring), child("engine", journal)]) as it:
        announced = it.start()
        assert announced["bridge"] == announced["engine"]


def test_restarts_a_killed_child_on_its_own_port(journal: Path, running: Callable[..., threading.Thread]) -> None:
    def wiring(announced: supervisor.Announced) -> list[str]:
        return [str(port) for port in announced.get("engine", {}).values()]

    told: list[str] = []
    it = Supervisor([child("engine", journal, wiring=wiring)], tell=told.append)
    port = it.start()["engine"]["port"]
    running(it)
    first = it.pids["engine"]
    psutil.Process(first).kill()
    wait_for(lambda: it.pids.get("engine", first) != first and len(told) >= 3)
    assert it.announced["engine"]["port"] == port
    assert "starting it again in 0.2 s" in told[1]
    assert told[2] == f"engine ready: port {port}"


def test_waits_longer_after_each_death(
    running: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_S", 0.05)
    told: list[str] = []
    it = Supervisor([script("engine", "raise SystemExit(3)")], tell=told.append)
    running(it)
    wait_for(lambda: len(told) >= 5)
    delays = [float(line.split()[-2]) for line in told[:5]]
    assert delays == sorted(delays)
    assert set(delays) <= {0.0, 0.1}
    assert all("exit code 3" in line for line in told)


def test_the_leaders_orderly_end_stops_everything(journal: Path, running: Callable[..., threading.Thread]) -> None:
    leader = script(
        "bridge", """import json; print(json.dumps({"ready": "bridge"}), flush=True); input()""", leads=True
    )
    it = Supervisor([child("engine", journal), leader])
    it.start()
    engine = psutil.Process(it.pids["engine"])
    bridge = next(c for c in it._children if c.program.name == "bridge")._process
    assert bridge is not None
    assert bridge.stdin is not None
    bridge.stdin.write(b"leave\n")
    bridge.stdin.flush()
    running(it).join(WAIT_S)
    assert journal.read_text() == "engine left\n"
    assert not engine.is_running()


@pytest.mark.parametrize("text", ["raise SystemExit(2)", "print('not ready')", 'print(\'{"ready": "other"}\')'])
def test_a_first_start_that_fails_is_an_error_and_leaves_nothing_behind(text: str, journal: Path) -> None:
    it = Supervisor([child("engine", journal), script("bridge", text)])
    with pytest.raises(RequestError, match="bridge = ended with exit code"):
        it.start()
    assert not it.pids


def test_a_child_that_never_gets_ready_is_stopped() -> None:
    it = Supervisor([script("engine", "import sys; sys.stdin.read()", start_s=0.3)])
    with pytest.raises(RequestError, match=r"was not ready after 0\.3 s"):
        it.start()
    assert not it.pids


def test_a_child_that_does_not_leave_is_made_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_STOP_S", 0.1)
    monkeypatch.setattr(supervisor, "_TERMINATE_S", 0.3)
    stubborn = """
import json, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"ready": "engine"}), flush=True)
time.sleep(600)
"""
    with Supervisor([script("engine", stubborn)]) as it:
        it.start()
        process = psutil.Process(it.pids["engine"])
    assert not process.is_running()


def test_output_after_the_announcement_is_drained() -> None:
    loud = """
import json, sys
print(json.dumps({"ready": "engine"}), flush=True)
for _ in range(40):
    print("x" * 10_000)
print("done", file=sys.stderr, flush=True)
sys.stdin.read()
"""
    log = Path(os.devnull).open("w")  # noqa: SIM115 -- closed below
    with log, Supervisor([script("engine", loud)], log=log) as it:
        it.start()
    assert not it.pids


@pytest.mark.skipif(sys.platform == "win32", reason="kills its parent the POSIX way")
def test_children_do_not_outlive_a_killed_supervisor(journal: Path, tmp_path: Path) -> None:
    child_file = tmp_path / "child.py"
    child_file.write_text(CHILD)
    parent = f"""
import sys
from daw_bridge.supervisor import Program, Supervisor
it = Supervisor([Program("engine", (sys.executable, {str(child_file)!r}, "engine", {str(journal)!r}), 20.0)])
it.start()
print(it.pids["engine"], flush=True)
it.run()
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        orphan = psutil.Process(int(process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    wait_for(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
    assert journal.read_text() == "engine left\n"


def test_the_engine_comes_back_on_its_ports_and_the_bridge_finds_it() -> None:
    engine = engine_program(["engine.port=0"])
    assert engine.wiring({}) == []
    announced = {"engine": {"port": 5000, "osc_port": 5001}, "bridge": {"osc_port": 5002}}
    assert engine.wiring(announced) == ["--set", "engine.port=5000", "--set", "engine.osc_port=5001"]
    assert list(engine.command[-4:]) == ["--set", "engine.port=0", "--announce", "--follow-stdin"]
    anywhere = Settings(engine=EngineSettings(port=0, host="0.0.0.0"))
    bridge = bridge_program(anywhere)
    assert bridge.wiring({}) is None
    assert bridge.wiring(announced) == ["--set", "bridge.engine=tcp://127.0.0.1:5000", "--set", "bridge.osc_port=5002"]
    assert bridge_program(Settings()).wiring({}) == ["--set", "bridge.engine=tcp://127.0.0.1:7770"]
