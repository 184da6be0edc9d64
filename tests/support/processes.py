"""Real processes for tests: an engine and a bridge on free ports, started as the supervisor starts them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.models import untrained_pocket

START_SECONDS = 60.0
STOP_SECONDS = 15.0


def wait_until(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Return the condition's first true value; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s: {what or condition}")


class Process:
    """One of our processes: its ports, and ways to end it."""

    def __init__(
        self, module: str, settings: Sequence[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.log = log
        command = [sys.executable, "-m", module, "--announce", "--follow-stdin"]
        for setting in settings:
            command += ["--set", setting]
        with log.open("ab") as errors:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "2", **(environment or {})},
            )
        assert self.popen.stdout is not None
        ready, _, _ = select.select([self.popen.stdout], [], [], START_SECONDS)
        line = self.popen.stdout.readline() if ready else b""
        if not line:
            self.popen.kill()
            raise AssertionError(f"{module} did not start:\n{log.read_text()[-4000:]}")
        self.ports: dict[str, int] = {name: port for name, port in json.loads(line).items() if name != "ready"}

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Ask it to leave by closing its standard input; its exit code."""
        assert self.popen.stdin is not None
        with contextlib.suppress(OSError):
            self.popen.stdin.close()
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise AssertionError(f"did not stop:\n{self.log.read_text()[-4000:]}") from None


@contextlib.contextmanager
def running(
    module: str, settings: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[Process]:
    """A process for the length of a ``with``."""
    process = Process(module, settings, log, environment)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.stop()


def engine_settings(folder: Path, *more: str) -> list[str]:
    """Settings of an engine that is alone with its test."""
    return [
        f"engine.model={untrained_pocket()}",
        "engine.port=0",
        "engine.osc_port=0",
        "engine.oscquery_port=0",
        "engine.zeroconf=0",
        "engine.threads=2",
        "log.format=console",
        f"files.takes={folder / 'takes'}",
        f"files.allowed={folder}",
        f"files.exchange={folder / 'exchange'}",
        f"files.journal={folder / 'journal'}",
        *more,
    ]


def bridge_settings(folder: Path, engine: Process, *more: str) -> list[str]:
    """Settings of a bridge for that engine; without a sound card unless ``more`` says otherwise."""
    return [
        f"bridge.engine=tcp://127.0.0.1:{engine.ports['port']}",
        "bridge.osc_port=0",
        "bridge.oscquery_port=0",
        "bridge.zeroconf=0",
        "bridge.output=none",
        "log.format=console",
        f"files.takes={folder / 'takes'}",
        f"files.allowed={folder}",
        f"files.exchange={folder / 'exchange'}",
        f"files.templates={folder / 'templates.toml'}",
        "files.state=none",
        *more,
    ]
