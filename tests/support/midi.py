"""A MIDI keyboard for tests: another process with an output port on a throw-away JACK server, played through mido."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from tests.support.jack import JackServer

CLIENT, EARS = "keyboard", "ears"


def require_midi() -> None:
    """Skip the test, saying why, where there is no python-rtmidi."""
    if importlib.util.find_spec("rtmidi") is None:
        pytest.skip("the package python-rtmidi is not installed")


class Keyboard:
    """Plays what it is told. Used as a context manager it is plugged in inside the ``with``.

    Args:
        server: running.
    """

    def __init__(self, server: JackServer) -> None:
        require_midi()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.midi"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **server.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._line()

    def play(self, performance: Sequence[tuple[float, str]]) -> list[float]:
        """Play messages (hexadecimal bytes) at moments in seconds; returns when each was sent, in seconds from the first one."""
        for at, message in performance:
            self._write(f"{at} {message}")
        self._write("play")
        sent = [float(self._line()) for _ in performance]
        return [at - sent[0] for at in sent]

    def unplug(self) -> None:
        """Leave, as a keyboard does whose cable is pulled."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def __enter__(self) -> Keyboard:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the keyboard has stopped"
        return line


class Ears:
    """A MIDI input in another process, which writes down what it hears and when.

    Args:
        server: running.
    """

    def __init__(self, server: JackServer) -> None:
        require_midi()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.midi", "--ears"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **server.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the ears are deaf"
        self._heard: list[tuple[float, str]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def heard(self) -> list[tuple[float, str]]:
        """Messages in hexadecimal bytes, with their moments in seconds (``time.perf_counter``)."""
        return list(self._heard)

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, message = line.split()
            self._heard.append((float(at), message))


def _listen() -> None:
    import rtmidi

    port = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, EARS)
    port.ignore_types(timing=False)
    port.set_callback(lambda event, _: print(time.perf_counter(), bytes(event[0]).hex(), flush=True))  # noqa: T201
    port.open_virtual_port("in")
    print("ready", flush=True)  # noqa: T201
    signal.signal(signal.SIGTERM, lambda *_: port.close_port() or sys.exit())
    while True:
        time.sleep(1)


def _main() -> None:
    import mido

    mido.set_backend("mido.backends.rtmidi/UNIX_JACK", load=True)
    waiting: list[tuple[float, mido.Message]] = []
    with mido.open_output("keys", virtual=True, client_name=CLIENT) as port:
        print("ready", flush=True)  # noqa: T201
        for line in sys.stdin:
            at, _, message = line.strip().partition(" ")
            if at != "play":
                waiting.append((float(at), mido.Message.from_hex(message)))
                continue
            begin = time.perf_counter()
            for moment, played in waiting:
                time.sleep(max(0.0, begin + moment - time.perf_counter()))
                sent = time.perf_counter()
                port.send(played)
                print(sent, flush=True)  # noqa: T201
            waiting.clear()


if __name__ == "__main__":
    _listen() if "--ears" in sys.argv else _main()
