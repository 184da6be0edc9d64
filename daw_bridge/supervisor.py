"""Keeps the engine and the bridge running as child processes: starts them, restarts what dies, stops them in order."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from daw_bridge.audio.devices import child_environment
from protocols.errors import ErrorCode, RequestError
from protocols.settings import Settings

Wake = queue.SimpleQueue[None]
"""What the supervisor sleeps on: unlike an event, it may be put to inside a signal handler."""
Ports = Mapping[str, int]
Announced = Mapping[str, Ports]
"""What the programs said when they were ready, by the program's name."""

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
HEALTHY_S = 30.0
ENGINE_START_S = 1800.0
"""A model may have to be downloaded first."""
BRIDGE_START_S = 30.0
_STOP_S = 8.0
_TERMINATE_S = 2.0
_WATCH_S = 0.5
_ANNOUNCEMENT_BYTES = 4096


@dataclass(frozen=True)
class Program:
    """One process to keep running.

    Attributes:
        name: what its announcement calls it: ``{"ready": name, "port": …}``.
        command: how it is started.
        start_s: how long it may take until it announces itself.
        wiring: more arguments, from what was announced so far (by the program itself, too, before it died); None while
            something that it needs is not there yet.
        leads: when it leaves by itself with exit code 0, everything is stopped.
    """

    name: str
    command: Sequence[str]
    start_s: float
    wiring: Callable[[Announced], Sequence[str] | None] = lambda announced: ()
    leads: bool = False


def engine_program(flags: Iterable[str] = ()) -> Program:
    """The engine, which comes back on the ports that it had.

    Args:
        flags: settings as ``section.name=value``, for the engine's ``--set``.
    """

    def wiring(announced: Announced) -> list[str]:
        return _set(f"engine.{name}={port}" for name, port in announced.get("engine", {}).items())

    return Program("engine", _child_command("engine", flags), ENGINE_START_S, wiring)


def bridge_program(settings: Settings, flags: Iterable[str] = ()) -> Program:
    """The bridge, which looks for the engine at the port that the engine announced, and comes back on the port that it had.

    Args:
        settings: tell at which address the engine listens, and whether its port is known before it is there.
        flags: settings as ``section.name=value``, for the bridge's ``--set``.
    """
    host = "127.0.0.1" if settings.engine.host in ("", "0.0.0.0") else settings.engine.host

    def wiring(announced: Announced) -> list[str] | None:
        port = announced.get("engine", {}).get("port", settings.engine.port)
        own = [f"bridge.{name}={number}" for name, number in announced.get("bridge", {}).items()]
        return _set([f"bridge.engine=tcp://{host}:{port}", *own]) if port else None

    return Program("bridge", _child_command("daw_bridge", flags), BRIDGE_START_S, wiring, leads=True)


class Supervisor:
    """Runs programs as children that never outlive it.

    A child is told to leave by the end of its standard input, which comes on every system, and even when this process is
    killed. Children form groups of their own, so that Ctrl-C reaches only the supervisor, which stops them in order: the last
    program first. A child that dies is started again after 0.2 s, doubled at each death up to 5 s, until it has been well for
    30 s.

    Threads: `request_stop` is for any thread and for signal handlers, the rest for one thread.

    Args:
        programs: in the order in which they are needed.
        log: file that the children's standard error goes to; None for this process's own.
        tell: hears each announcement, and why a child is started again, in one line.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        log: IO[Any] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._changed = Wake()
        self._stop_wanted = False
        self._tell = tell
        self._children = [_Child(program, log, self._changed) for program in programs]
        self._announced: dict[str, Ports] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def announced(self) -> Announced:
        """The ports of every program that has been ready."""
        return self._announced

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by the program's name."""
        return {child.program.name: child.pid for child in self._children if child.pid}

    def start(self) -> Announced:
        """Start every program and wait until all are ready, or `request_stop` was called.

        Raises:
            RequestError: one of them ended or was not ready in time; the others are stopped.
        """
        try:
            while not self._stop_wanted and not all(child.ready for child in self._children):
                for child in self._children:
                    self._advance(child)
                    if child.fault or child.left:
                        raise RequestError(
                            ErrorCode.INTERNAL, child.program.name, child.fault or "left", "a process that starts"
                        )
                self._wait()
        except BaseException:
            self.stop()
            raise
        return self._announced

    def run(self) -> None:
        """Keep every program running until `request_stop`, or until one that leads has left in order; then stop them."""
        try:
            while not self._stop_wanted:
                for child in self._children:
                    self._advance(child)
                    if child.left and child.program.leads:
                        return
                    if child.fault:
                        line = f"{child.program.name} {child.fault}"
                        self._tell(f"{line}; starting it again in {child.restart_later():.1f} s")
                self._wait()
        finally:
            self.stop()

    def request_stop(self) -> None:
        """Make `start` and `run` return."""
        self._stop_wanted = True
        self._changed.put(None)

    def stop(self) -> None:
        """Stop every child in order, within bounded time; those that do not leave are killed."""
        for child in reversed(self._children):
            child.stop()

    def _advance(self, child: _Child) -> None:
        arguments = child.program.wiring(self._announced) if child.due else None
        if arguments is not None:
            child.start(arguments)
        ports = child.watch()
        if ports is not None:
            self._announced[child.program.name] = ports
            self._tell(f"{child.program.name} ready: {', '.join(f'{name} {port}' for name, port in ports.items())}")

    def _wait(self) -> None:
        due = min((child.seconds_until_due for child in self._children), default=_WATCH_S)
        with contextlib.suppress(queue.Empty):
            self._changed.get(timeout=max(0.0, min(due, _WATCH_S)))


class _Child:
    """One program's process, and all of them that came before it."""

    def __init__(self, program: Program, log: IO[Any] | None, changed: Wake) -> None:
        self.program = program
        self.ready = False
        self.left = False
        self.fault = ""
        self._log = log
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._announcements: list[Ports] = []
        self._began = self._ready_since = 0.0
        self._due_at: float | None = time.monotonic()
        self._delay = FIRST_DELAY_S

    @property
    def pid(self) -> int:
        """Of the running process; 0 when there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    @property
    def due(self) -> bool:
        """Whether it is time to start."""
        return self._due_at is not None and time.monotonic() >= self._due_at

    @property
    def seconds_until_due(self) -> float:
        """How long until `due`; or until the process has used up its time to get ready."""
        if self._due_at is not None:
            left = self._due_at - time.monotonic()
            return left if left > 0 else _WATCH_S  # it waits for another program
        return _WATCH_S if self.ready else self._began + self.program.start_s - time.monotonic()

    def start(self, arguments: Sequence[str]) -> None:
        """Start the process."""
        self.ready = self.left = False
        self.fault = ""
        self._due_at = None
        self._began = time.monotonic()
        self._announcements = []
        self._process = subprocess.Popen(
            [*self.program.command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=child_environment(),
            **_own_group(),
        )
        assert self._process.stdout is not None
        reader = threading.Thread(
            target=_read_announcements,
            args=(self._process.stdout, self.program.name, self._announcements, self._changed),
            name=f"{self.program.name}-announcements",
            daemon=True,
        )
        reader.start()

    def watch(self) -> Ports | None:
        """Look at the process: the ports when it has just become ready, else None; `fault` says how it failed."""
        if self._process is None or self.fault or self.left:
            return None
        code = self._process.poll()
        if code is not None:
            self.left = code == 0 and self.ready
            if not (self.left and self.program.leads):
                self.fault = f"ended with exit code {code}"
            self._release()
            return None
        now = time.monotonic()
        if self.ready:
            if now - self._ready_since > HEALTHY_S:
                self._delay = FIRST_DELAY_S
            return None
        if self._announcements:
            self.ready, self._ready_since = True, now
            return self._announcements[0]
        if now - self._began > self.program.start_s:
            self.stop()
            self.fault = f"was not ready after {self.program.start_s:g} s"
        return None

    def restart_later(self) -> float:
        """Plan the next start; returns in how many seconds."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_DELAY_S)
        self._due_at = time.monotonic() + delay
        self.ready, self.fault = False, ""
        return delay

    def stop(self) -> None:
        """Ask the process to leave, wait, then make it."""
        self.ready = False
        self._due_at = None
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone already
            process.stdin.close()
        for force, seconds in ((process.terminate, _STOP_S), (process.kill, _TERMINATE_S), (None, _TERMINATE_S)):
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                if force is not None:
                    force()
        self._release()

    def _release(self) -> None:
        """Close this side of the pipes; the reader closes its own at the end of the output."""
        process, self._process = self._process, None
        self.ready = False
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _read_announcements(output: IO[bytes], name: str, found: list[Ports], changed: Wake) -> None:
    """Take the ready line from a child's output and drain the rest, so that the child never waits for a reader."""
    with output:
        while line := output.readline(_ANNOUNCEMENT_BYTES):
            ports = _announcement(line, name)
            if ports is not None and not found:
                found.append(ports)
                changed.put(None)
    changed.put(None)


def _announcement(line: bytes, name: str) -> Ports | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or content.pop("ready", None) != name:
        return None
    return {key: value for key, value in content.items() if isinstance(value, int)}


def module_command(module: str, flags: Iterable[str]) -> list[str]:
    """How one of our processes is started with the interpreter that runs now."""
    # -P: a folder called "engine" where the musician happens to stand is not taken for ours.
    return [sys.executable, "-P", "-m", module, *_set(flags)]


def _child_command(module: str, flags: Iterable[str]) -> list[str]:
    return [*module_command(module, flags), "--announce", "--follow-stdin"]


def _set(flags: Iterable[str]) -> list[str]:
    return [part for flag in flags for part in ("--set", flag)]


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
