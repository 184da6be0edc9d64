"""The MIDI outputs of this machine, each sent to by a process of its own that is told ahead what to send when.

For the same reasons as `midi_input`: RtMidi stays out of the bridge, and a bridge that is busy sends nothing late.

First line in: ``{"output": name}``; one line out: ``{"opened": name}`` or ``{"error": …}``. Then in: ``{"send": [[ns, hex], …]}``
with moments of ``time.perf_counter_ns``, in order, ``{"drop": ns}`` to send nothing that is due from then on. Out: ``{"late": ns}``
four times a second, how late the latest message of that time left. When its input ends, the process stops whoever follows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, TextIO

from daw_bridge.audio.devices import error_as_dict, error_from_dict
from daw_bridge.child import Child
from daw_bridge.midi_input import (
    SCAN_SECONDS,
    SILENCE_SECONDS,
    WATCH_SECONDS,
    InputPort,
    choose_input,
    leave,
    ports_of,
    say,
    scan,
    systems,
)
from protocols.errors import ErrorCode, RequestError

OutputPort = InputPort

_GOODBYE_SECONDS = 0.5
_STOP = b"\xfc"
_NEAR_NS = 1_500_000  # the last stretch before a message is slept in one piece


def scan_outputs() -> list[OutputPort]:
    """Look at what is connected now, in a fresh process. Any thread.

    Raises:
        RequestError: about ``port``; as `scan_inputs`.
    """
    return [OutputPort(**entry) for entry in scan(__name__, "port")]


class MidiOutput:
    """An output that is open, or about to be.

    Threads: everything is for the loop's thread. None of it blocks.

    Args:
        wanted: see `choose_input`.

    Attributes:
        name: of the output, once it is open.
        error: why it cannot be opened, or is gone.
        late: how late the latest message of the last quarter of a second left, seconds.
    """

    def __init__(self, wanted: str) -> None:
        self.name = ""
        self.error: RequestError | None = None
        self.late = 0.0
        self._wanted = wanted
        self._child = Child(__name__, {"output": wanted})

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Send messages, each at its moment (``time.perf_counter_ns``), after everything that was to be sent before."""
        self._tell({"send": [(at, message.hex()) for at, message in messages]})

    def drop(self, at: int) -> None:
        """Send nothing that is due at this moment or later."""
        self._tell({"drop": at})

    def pump(self) -> None:
        """Take in what the process says; then ``name``, ``error`` and ``late`` are up to date."""
        for line in self._child.read():
            match line:
                case {"late": late}:
                    self.late = late / 1e9
                case {"opened": name}:
                    self.name = name
                case {"error": error}:
                    self.error = error_from_dict(error)
                case None:
                    self.error = self.error or self._gone()
        if self._child.silent_s > (SILENCE_SECONDS if self.name else SCAN_SECONDS):
            self.error = self.error or self._gone()

    def close(self) -> None:
        """Stop whoever follows, and give the output back."""
        self._child.close()

    def _gone(self) -> RequestError:
        if self.name:
            return RequestError(ErrorCode.UNKNOWN_DEVICE, "port", self.name, "an output that stays connected")
        return RequestError(ErrorCode.INTERNAL, "port", self._wanted, "a MIDI system that answers")

    def _tell(self, line: dict[str, Any]) -> None:
        if not self._child.tell(line):  # the process hangs in its MIDI system
            self.error = self.error or self._gone()


# --- in the process ---------------------------------------------------------------------------------------------------


class _Sink:
    """An open port, and what is to be sent to it. `run` on one thread, the rest on another."""

    def __init__(self, wanted: str) -> None:
        clients = systems("port")
        port = choose_input(ports_of(clients), wanted, "port")
        self.name = port.name
        self._client = clients.pop(port.api)
        for other in clients.values():
            other.delete()
        try:
            self._client.open_port(self._client.get_ports().index(port.name))
        except Exception as error:  # RtMidi's own, or a port that has just gone
            allowed = f"an output that opens: {error}"
            raise RequestError(ErrorCode.UNSUPPORTED, "port", port.name, allowed) from error
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._changed = threading.Condition()
        self._closing = False

    def take(self, line: dict[str, Any]) -> None:
        with self._changed:
            if "drop" in line:
                self._waiting = deque(one for one in self._waiting if one[0] < line["drop"])
            self._waiting.extend((at, bytes.fromhex(message)) for at, message in line.get("send", ()))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def run(self, replies: TextIO) -> None:
        """Send until it is closed, or the port is gone."""
        with contextlib.suppress(AttributeError, OSError):  # where the system knows and allows it
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
        watched, late = time.monotonic(), 0
        while not self._closing:
            due = self._next(WATCH_SECONDS)
            if due is not None:
                at, message = due
                self._client.send_message(message)
                late = max(late, time.perf_counter_ns() - at)
            if time.monotonic() - watched > WATCH_SECONDS:
                if self.name not in self._client.get_ports():
                    return
                say(replies, {"late": late})
                watched, late = time.monotonic(), 0
        self._client.send_message(_STOP)

    def goodbye(self) -> None:
        self._client.close_port()
        self._client.delete()

    def _next(self, seconds: float) -> tuple[int, bytes] | None:
        """Wait for the next message's moment; None when none comes in time, or what waits has changed."""
        with self._changed:
            left = self._waiting[0][0] - time.perf_counter_ns() if self._waiting else None
            if left is None or left > _NEAR_NS:
                self._changed.wait(seconds if left is None else min(seconds, (left - _NEAR_NS) / 1e9))
                return None
            first = self._waiting.popleft()
        time.sleep(max(0.0, (first[0] - time.perf_counter_ns()) / 1e9))
        return first


def _main() -> None:
    commands: BinaryIO = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # MIDI libraries print to stdout; the pipe is for replies alone
    try:
        if "--list" in sys.argv:
            say(replies, {"ports": [asdict(port) for port in ports_of(systems("port"))]})
            os._exit(0)
        sink = _Sink(json.loads(commands.readline())["output"])
    except RequestError as error:
        say(replies, {"error": error_as_dict(error)})
        os._exit(0)

    def listen() -> None:
        for line in commands:
            sink.take(json.loads(line))
        sink.close()
        time.sleep(_GOODBYE_SECONDS)
        os._exit(0)  # the last message hangs

    say(replies, {"opened": sink.name})
    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(Exception):  # nobody listens any more, or RtMidi's own
        sink.run(replies)
    leave(sink.goodbye)


if __name__ == "__main__":
    _main()
