"""Max as tests play it: the patch's node.script program and its reader of Live under node, with strict stubs of Max and Live."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage

from host_tables.max_patches import OUTPUTS
from tests.support.osc_tap import OscTap, recorded

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "host_examples" / "ableton_max"
HOST = ROOT / "tests" / "hosts" / "max" / "host.js"
NOBODY = 9  # the port of the discard service
STATE = "u000000001"
"""What Max calls the patch's dict."""


def require_node() -> str:
    """The program node; skips the test, saying why, where it or the script's library is not there."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (Debian: nodejs)")
    if not (FOLDER / "node_modules" / "osc-min").is_dir():
        pytest.skip("npm ci has not been run in host_examples/ableton_max")
    return node


class MaxHost:
    """A patch that runs: send messages to its objects, wait for what they say.

    Args:
        port: the bridge's; without one the script looks where nobody listens.
        live: the set in Live, as tests/hosts/max/live.js reads it, in a file; None for a patch without Live.
        state: what the patch's dict holds.
    """

    def __init__(self, port: int = 0, live: Path | None = None, state: dict[str, Any] | None = None) -> None:
        command = [require_node(), str(HOST), str(FOLDER), ",".join(OUTPUTS), *([str(live)] if live else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.said: list[dict[str, Any]] = []
        self.wait("node", "tell", "ready")
        self._put({"dict": STATE, "value": state or {}})
        self.node("state", "live" if live else "max", STATE)
        self.wait("node", "tell", "bang")
        self.node("port", port or NOBODY)
        if port:
            self.wait("node", "connection", 1)

    def node(self, *message: str | float) -> None:
        """Send a message to node.script."""
        self._put({"node": list(message)})

    def live(self, *message: str) -> None:
        """Send a message to the js object."""
        self._put({"live": list(message)})

    def handlers(self) -> list[str]:
        """The selectors that the script takes."""
        self._put({"handlers": True})
        return list(self.next(lambda line: line["from"] == "handlers", "its handlers", 10)["selectors"])

    def wait(self, source: str, *start: str | float, seconds: float = 30.0) -> list[Any]:
        """The next message of ``node`` or ``live`` that begins so."""

        def fits(line: dict[str, Any]) -> bool:
            return line["from"] == source and line["message"][: len(start)] == list(start)

        return list(self.next(fits, f"{source} {start}", seconds)["message"])

    def status(self, part: str, seconds: float = 30.0) -> str:
        """The next status line that holds these words."""

        def fits(line: dict[str, Any]) -> bool:
            return line["from"] == "node" and line["message"][0] == "status" and part in line["message"][1]

        return str(self.next(fits, f"a status with {part!r}", seconds)["message"][1])

    def kept(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 10.0) -> dict[str, Any]:
        """The patch's dict, as soon as it fulfils a condition."""
        found = self.next(lambda line: line["from"] == "dict" and condition(line["value"]), "the state", seconds)
        return dict(found["value"])

    def next(self, fits: Callable[[dict[str, Any]], bool], what: str, seconds: float = 30.0) -> dict[str, Any]:
        """The next line of the host's that fits; what breaks a rule of Max or Live fails the test at once."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {what} within {seconds} s; heard {self.said[-8:]}") from None
            assert line is not None, f"the script ended; heard {self.said[-8:]}"
            self.said.append(json.loads(line))
            assert not self.faults(), self.faults()
            if fits(self.said[-1]):
                return self.said[-1]

    def close(self) -> None:
        """End it; nothing may have gone wrong that no test expected."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        while (line := self._lines.get(timeout=5)) is not None:
            self.said.append(json.loads(line))
        assert not self.faults(), self.faults()

    def faults(self) -> list[str]:
        """What broke a rule of Max or Live, or was not caught."""
        return [line["text"] for line in self.said if line["from"] == "error"]

    def __enter__(self) -> MaxHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._process.kill()
            self._process.wait()

    def _put(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def max_tap(port: int) -> Iterator[OscTap]:
    """A relay to the bridge for a patch; what the patch has sent is compared with the recording at the end."""
    with OscTap(port) as relay:
        yield relay
    recorded("max", relay.sent, "node.script with osc-min 2.1.2")


def sent(tap: OscTap, address: str) -> list[list[Any]]:
    """What was sent to an address, without the ids."""
    messages = [OscMessage(packet) for packet in tap.sent]
    return [list(message.params)[1:] for message in messages if message.address == address]


def pairs(values: list[Any]) -> dict[str, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))
