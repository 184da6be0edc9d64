"""Processes of ours that are spoken to in lines of JSON, without the loop ever waiting for one."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from typing import Any

from daw_bridge.audio.devices import child_environment

MAX_LINES = 1024
"""Lines that wait to be written; with more the process hangs."""


class Child:
    """A process that runs a module. It ends when its input does.

    Threads: everything is for one thread. None of it blocks; threads of its own write and read the pipes.

    Args:
        module: what ``python -m`` runs.
        first: the first line that it is told.
    """

    def __init__(self, module: str, first: dict[str, Any]) -> None:
        self._module = module
        self._heard = time.monotonic()
        self._lines: queue.Queue[bytes | None] = queue.Queue(MAX_LINES)
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self.tell(first)
        threading.Thread(target=self._write, name=f"{module} in", daemon=True).start()

    @property
    def silent_s(self) -> float:
        """Seconds since it was heard from, by `read`."""
        return time.monotonic() - self._heard

    def tell(self, line: dict[str, Any]) -> bool:
        """Say a line; False when too many wait already."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(json.dumps(line).encode() + b"\n")
            return True
        return False

    def read(self) -> list[dict[str, Any] | None]:
        """What it has said since the last call; None at last when it has ended, or could not begin."""
        said: list[dict[str, Any] | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                said.append(self._answers.get_nowait())
                self._heard = time.monotonic()
        return said

    def close(self) -> None:
        """Let it end: gently, or where it hangs, at once."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            if self._process is not None:
                self._process.kill()

    def _write(self) -> None:
        """The writing thread."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
            )
        except OSError:  # no process can be started
            self._answers.put(None)
            return
        self._process = process
        assert process.stdin is not None
        threading.Thread(target=self._listen, args=(process,), name=f"{self._module} out", daemon=True).start()
        with contextlib.suppress(OSError, ValueError):
            while (line := self._lines.get()) is not None:
                process.stdin.write(line)
                process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """The reading thread."""
        assert process.stdout is not None
        for line in process.stdout:
            self._answers.put(json.loads(line))
        process.wait()
        self._answers.put(None)
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
