"""How a process of ours says that it serves, and when it leaves: the manners that the supervisor counts on."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType


def announce(process: str, ports: dict[str, int]) -> None:
    """Print one JSON line for whoever started the process: who is ready, and on which ports."""
    sys.stdout.write(json.dumps({"ready": process, **ports}) + "\n")
    sys.stdout.flush()


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` when the system or the user asks the process to end. For the main thread."""

    def leave(number: int, frame: FrameType | None) -> None:
        stop()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop`` once the standard input ends: the parent holds its other end, and closes it by leaving, however it leaves."""

    def wait() -> None:
        # Past Python's own buffer, whose lock would be held for ever when the process ends for another reason.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        stop()

    threading.Thread(target=wait, name="parent", daemon=True).start()
