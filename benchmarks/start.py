"""How long until it is there: a help text, a bridge that answers, an engine that answers; and what a busy neighbour costs.

Each figure is of fresh processes, started as a user starts them and asked as a client asks them. ``warm`` is what a second start
takes; ``cold`` is one whose files the system was asked to forget, as far as no other process holds them (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq

from benchmarks._engine_line import EngineLine
from benchmarks._figures import show, table
from benchmarks._limits import at_least, at_most, lines
from benchmarks._machine import describe_machine, load
from daw_bridge.osc_client import probe
from engine.cores import LEFT_TO_THE_HOST, WAITING, model_threads, physical_cores
from protocols.settings import FILE_VARIABLE

HELP_S, BRIDGE_S, ENGINE_S = 0.3, 1.0, 5.0
SLOWER_AT_MOST = 3.0
"""How many times slower a stream may become beside a process that keeps one core busy."""
HELPS = ((), ("play",), ("models",), ("bridge",), ("bench",))
PARTS = ("help", "bridge", "engine", "neighbour")

_LOOK_S = 0.002
_PATIENCE_S = 120.0
_DTYPES = ("auto", "float32")


def measure(
    *, repeats: int = 7, cores: int = 2, cold: bool = True, only: Sequence[str] = PARTS, seconds: float = 2.0
) -> dict[str, Any]:
    """Measure all parts, or some.

    Args:
        repeats: fresh processes for each warm figure; a third of them for a cold one.
        cores: that bridge and engine may use; the neighbour's part takes all of this process's.
        cold: measure cold starts, too; only where the system can be asked to forget files.
        only: parts of `PARTS`.
        seconds: how long a stream is made beside a neighbour.
    """
    machine = describe_machine()
    states = ("warm", "cold") if cold and hasattr(os, "posix_fadvise") else ("warm",)
    all_of_them = physical_cores()
    starts: dict[str, Any] = {}
    neighbour: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, _on_cores(all_of_them[-cores:]):
        tried: dict[str, Callable[[], float]] = {}
        if "help" in only:
            tried |= {" ".join((*words, "--help")): lambda words=words: _help(words) for words in HELPS}  # type: ignore[misc]
        if "bridge" in only:
            tried["bridge"] = lambda: _bridge(Path(name))
        if "engine" in only:
            tried["engine"] = lambda: _engine(Path(name))
        for what, start in tried.items():
            start()  # compiles what was not compiled yet
            starts[what] = {state: _times(start, repeats, state) for state in states}
    if "neighbour" in only:
        neighbour = _neighbours(len(all_of_them), seconds)
    return {
        "benchmark": "start",
        "model": "pocket",
        "device": "cpu",
        "threads": model_threads(0, min(cores, len(all_of_them))),
        "cores": min(cores, len(all_of_them)),
        "repeats": repeats,
        "starts": starts,
        "neighbour": neighbour,
        "limits": _limits(starts, neighbour),
        "machine": machine,
        "load_after": load(),
    }


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    states = ("warm", "cold")
    rows = [
        [what, *(times.get(state, {}).get("median_s") for state in states), times["warm"]["max_s"]]
        for what, times in result["starts"].items()
    ]
    text = ""
    if rows:
        text += table(["seconds until there", "warm", "cold", "warm, slowest"], rows)
        text += f"\nmedians of {result['repeats']} fresh processes on {result['cores']} cores\n\n"
    if result["neighbour"]:
        rows = [
            [
                f"{one['dtype']} by {one['runner']}, {one['threads']} threads that {one['waiting']}",
                one["alone"],
                one["beside"],
                one["slower"],
            ]
            for one in result["neighbour"]
        ]
        text += table(["x real time", "alone", "beside a busy process", "times slower"], rows)
    machine = result["machine"]
    return (
        text
        + f"\n{machine['cpu']}; load {machine['load']} before, {result['load_after']} after\n"
        + lines(result["limits"])
    )


def _limits(starts: dict[str, Any], neighbour: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def warm(what: str) -> float | None:
        return starts[what]["warm"]["median_s"] if what in starts else None

    ours = [one["slower"] for one in neighbour if one["ours"]]
    kept = [one["beside"] for one in neighbour if one["ours"] and one["dtype"] == "auto"]
    return [
        at_most("daw-bridge --help, s", HELP_S, warm("--help")),
        at_most("bridge answers OSC, s", BRIDGE_S, warm("bridge")),
        at_most("engine with pocket answers ZeroMQ, s", ENGINE_S, warm("engine")),
        at_most("slower beside a busy process, times", SLOWER_AT_MOST, max(ours, default=None)),
        at_least("x real time beside a busy process", 1.0, min(kept, default=None)),
    ]


# --- Starts --------------------------------------------------------------------------------------------------------


def _times(start: Callable[[], float], repeats: int, state: str) -> dict[str, float]:
    values = []
    for _ in range(repeats if state == "warm" else max(1, repeats // 3)):
        if state == "cold":
            _forget_files()
        values.append(start())
    named = {"median_s": statistics.median(values), "min_s": min(values), "max_s": max(values)}
    return {name: round(value, 3) for name, value in named.items()}


def _help(words: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([_program(), *words, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _bridge(folder: Path) -> float:
    port = _free_port(socket.SOCK_DGRAM)
    flags = [f"bridge.osc_port={port}", "bridge.output=none", "bridge.oscquery_port=0"]
    with _serving("bridge", flags, folder) as alive:
        return _until(alive, lambda: probe(port, timeout=_LOOK_S * 10) is not None)


def _engine(folder: Path) -> float:
    port = _free_port(socket.SOCK_STREAM)
    flags = ["engine.model=pocket", f"engine.port={port}", "engine.osc_port=0", "engine.oscquery_port=0"]
    with _serving("engine", flags, folder) as alive:
        return _until(alive, lambda: _greeted(port))


@contextmanager
def _serving(name: str, flags: Sequence[str], folder: Path) -> Iterator[Callable[[], float]]:
    """A process of ours; gives how long it has been there, which raises RuntimeError once it has gone."""
    own = [
        *flags,
        "files.state=none",
        "log.level=error",
        *(f"files.{kind}={folder / kind}" for kind in ("takes", "exchange", "journal")),
    ]
    command = [_program(), name, *(part for flag in own for part in ("--set", flag))]
    environment = {**os.environ, FILE_VARIABLE: str(folder / "none.toml")}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def alive() -> float:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with exit code {process.returncode}")
        return time.perf_counter() - began

    try:
        yield alive
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(alive: Callable[[], float], answers: Callable[[], bool]) -> float:
    while True:
        found, seconds = answers(), alive()
        if found:
            return seconds
        if seconds > _PATIENCE_S:
            raise RuntimeError(f"no answer after {_PATIENCE_S:g} s")
        time.sleep(_LOOK_S)


def _greeted(port: int) -> bool:
    """Whether the engine says hello; a port that nobody listens on is not waited for."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=_LOOK_S * 10).close()
    except OSError:
        return False
    try:
        EngineLine(port).close()
    except (RuntimeError, zmq.ZMQError):
        return False
    return True


def _program() -> str:
    """``daw-bridge`` as it is installed beside this interpreter."""
    found = Path(sysconfig.get_path("scripts")) / ("daw-bridge.exe" if sys.platform == "win32" else "daw-bridge")
    if not found.is_file():
        raise RuntimeError(f"{found.name} is not installed beside this interpreter: pip install -e .")
    return str(found)


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _forget_files() -> None:
    """Ask the system to forget the files of all packages and of ours; those that another process has mapped stay."""
    roots = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")} | {
        Path(__file__).parents[1] / "engine"
    }
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                file = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)


@contextmanager
def _on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Keep this process and its children on these cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# --- A busy neighbour ----------------------------------------------------------------------------------------------


def _neighbours(cores: int, seconds: float) -> list[dict[str, Any]]:
    """One stream alone and beside a process that keeps a core busy: with our threads, and with as many as there are cores."""
    ways = [
        {"ours": True, "threads": model_threads(0, cores), "waiting": "sleep", "environment": WAITING},
        {"ours": False, "threads": max(cores, LEFT_TO_THE_HOST), "waiting": "spin", "environment": {}},
    ]
    results = []
    for dtype in _DTYPES:
        for way in ways:
            alone = _stream(way, dtype, seconds)
            with _busy():
                beside = _stream(way, dtype, seconds)
            told = {name: value for name, value in way.items() if name != "environment"}
            slower = alone["realtime"] / beside["realtime"]
            figures = {"alone": alone["realtime"], "beside": beside["realtime"], "slower": slower}
            figures = {name: round(value, 3) for name, value in figures.items()}
            results.append({"dtype": dtype, "runner": alone["runner"], **told, **figures})
    return results


def _stream(way: dict[str, Any], dtype: str, seconds: float) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_", "GOMP_"))}
    arguments = ["--threads", str(way["threads"]), "--dtype", dtype, "--seconds", str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._neighbour", *arguments],
        env={**inherited, **way["environment"]},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@contextmanager
def _busy() -> Iterator[None]:
    """A process that does nothing but work, as a host's plug-ins may."""
    with ExitStack() as stack:
        worker = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        yield


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="fresh processes for each figure")
    parser.add_argument("--cores", type=int, default=2, help="that bridge and engine may use")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; again for more")
    parser.add_argument("--no-cold", action="store_true", help="leave cold starts out")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a stream beside a neighbour")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    given = parser.parse_args(arguments)
    if given.repeats < 1 or given.cores < 1 or given.seconds <= 0:
        parser.error("repeats and cores are 1 or more, seconds above 0")
    result = measure(
        repeats=given.repeats,
        cores=given.cores,
        cold=not given.no_cold,
        only=given.only or PARTS,
        seconds=given.seconds,
    )
    show(result, describe(result), as_json=given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
