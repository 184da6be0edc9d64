"""How a process of ours starts, says that it serves, and leaves: the manners that the supervisor counts on."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import Settings, load_settings


class Served(Protocol):
    """A process put together and ready to run."""

    @property
    def ports(self) -> dict[str, int]:
        """The ports that it serves, by name."""

    def run(self) -> None:
        """Serve until `stop`."""

    def stop(self) -> None:
        """Leave `run`. Any thread, and signal handlers."""


def serve(
    name: str, description: str, make: Callable[[Settings], Served], arguments: Sequence[str] | None = None
) -> int:
    """Be a process: read the command line and the settings, start, run until told to stop (a signal, ``/quit``).

    Args:
        name: ``engine`` or ``bridge``.
        description: for ``--help``.
        make: puts the process together; called once settings and logs stand, so that heavy imports can wait for it.
        arguments: of the command line; the process's own when left out.

    Returns:
        The exit code: 2 when it could not start, with the reason on the standard error stream.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="override a setting")
    parser.add_argument("--announce", action="store_true", help="print the ports as one JSON line when ready")
    parser.add_argument("--follow-stdin", action="store_true", help="leave when the standard input ends")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.set)
        configure_logs(settings.log, name)
        process = make(settings)
    except RequestError as error:
        sys.stderr.write(f"{name}: {error.text}\n")
        return 2
    _stop_on_signals(process.stop)
    if options.follow_stdin:
        _stop_with_parent(process.stop)
    if options.announce:
        sys.stdout.write(json.dumps({"ready": name, **process.ports}) + "\n")
        sys.stdout.flush()
    process.run()
    return 0


def _stop_on_signals(stop: Callable[[], None]) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        stop()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)


def _stop_with_parent(stop: Callable[[], None]) -> None:
    """Stop once the standard input ends: the parent holds its other end, and closes it by leaving, however it leaves."""

    def wait() -> None:
        # Past Python's own buffer, whose lock would be held for ever when the process ends for another reason.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        stop()

    threading.Thread(target=wait, name="parent", daemon=True).start()
