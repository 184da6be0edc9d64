"""An engine of its own, as a process on a free port, without a bridge; and processes that are kept to a few cores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks._engine_line import EngineLine
from benchmarks._rig import with_environment
from daw_bridge.supervisor import Supervisor, engine_program
from protocols.messages import EngineStatus
from protocols.settings import FILE_VARIABLE


@dataclass(frozen=True)
class Engine:
    """An engine that runs.

    Attributes:
        line: to it, greeted.
        process: it.
    """

    line: EngineLine
    process: psutil.Process

    def status(self) -> EngineStatus:
        """Its own account of itself; see `EngineLine.status`."""
        return self.line.status()

    @property
    def resident_mb(self) -> float:
        """Memory of the process that is really there, in MB (10⁶ bytes)."""
        return float(self.process.memory_info().rss) / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Time of processors that it has used so far."""
        spent = self.process.cpu_times()
        return float(spent.user + spent.system)


@contextmanager
def engine(model: str, *, threads: int = 0, flags: Sequence[str] = ()) -> Iterator[Engine]:
    """Start an engine, wait until it is ready and stop it in the end.

    Args:
        model: what it loads.
        threads: CPU threads of the model; 0 for the engine's own choice.
        flags: more settings, as ``section.name=value``.

    Raises:
        RequestError: it did not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        stack.enter_context(with_environment({FILE_VARIABLE: str(folder / "none.toml")}))
        own = [
            f"engine.model={model}",
            f"engine.threads={threads}",
            "engine.port=0",
            "engine.osc_port=0",
            "engine.oscquery=false",
            "engine.zeroconf=false",
            f"files.journal={folder / 'journal'}",
            f"files.takes={folder / 'takes'}",
            "log.level=error",
            *flags,
        ]
        supervisor = stack.enter_context(Supervisor([engine_program(own)]))
        port = supervisor.start()["engine"]["port"]
        line = stack.enter_context(closing(EngineLine(port)))
        yield Engine(line, psutil.Process(supervisor.pids["engine"]))


@contextmanager
def confined(cores: int) -> Iterator[list[int]]:
    """Keep this process, and all that it starts meanwhile, to so many of its processors; 0 for all that it has.

    Yields:
        their numbers; empty for all.

    Raises:
        RuntimeError: there are not so many, or the system has no such way.
    """
    if not cores:
        yield []
        return
    if not hasattr(os, "sched_setaffinity"):
        raise RuntimeError("this system does not let a process be kept to a few cores")
    before = os.sched_getaffinity(0)
    if cores > len(before):
        raise RuntimeError(f"{cores} cores wanted, {len(before)} there")
    chosen = sorted(before)[:cores]
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)
