"""Throw-away JACK servers without a sound card, and a recorder for what other programs play on them.

The recorder is a process of its own (``python -m tests.support.jack``): a JACK client whose server dies can hang or abort
the process that it lives in.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_NUMBERS = itertools.count(1)
_HEADER_WORDS = 3  # frames recorded, wired, xruns
_MAX_SECONDS = 60


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Return as soon as ``condition()`` is true; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)


def require_jack() -> None:
    """Skip the test, saying why, where there is no jackd, no PortAudio or no JACK-Client."""
    if shutil.which("jackd") is None:
        pytest.skip("jackd is not installed (Debian: jackd2)")
    if ctypes.util.find_library("portaudio") is None:
        pytest.skip("the PortAudio library is not installed (Debian: libportaudio2)")
    if importlib.util.find_spec("jack") is None:
        pytest.skip("the package JACK-Client is not installed")


class JackServer:
    """A JACK server on the dummy driver, in real time, under a name of its own.

    Clients find it through ``environment``; a process that is to use it is started with that, or a test sets it with
    ``monkeypatch.setenv``. Used as a context manager it runs inside the ``with``.

    Args:
        rate: Hz.
        period: frames in one callback.
    """

    def __init__(self, rate: int = 48_000, period: int = 1024) -> None:
        require_jack()
        self.rate = rate
        self.period = period
        self.name = f"test-{os.getpid()}-{next(_NUMBERS)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead JACK clients to this server and keep them from starting another."""
        return {"JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1", "JACK_NO_AUDIO_RESERVATION": "1"}

    def start(self, rate: int | None = None) -> None:
        """Start the server and wait until clients can connect."""
        self.rate = rate or self.rate
        # Fewer ports than the default keep the shared memory under a container's 64 MB.
        server = ["jackd", "--no-realtime", "--no-mlock", "--port-max", "128", "-n", self.name]
        driver = ["-d", "dummy", "-r", str(self.rate), "-p", str(self.period), "-C", "2", "-P", "2"]
        environment = {**os.environ, **self.environment}
        self._process = subprocess.Popen(
            server + driver, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process = self._process

        def ready() -> bool:
            assert process.poll() is None, f"jackd ended with {process.returncode}"
            return subprocess.run(["jack_lsp"], env=environment, capture_output=True).returncode == 0

        wait_until(ready, "a JACK server that takes clients")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server with a signal; SIGKILL is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        self._killed = how is signal.SIGKILL
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:  # jackd 1.9.21 may hang when a client vanished without a goodbye
            self._killed = True
            process.kill()
            process.wait()

    def __enter__(self) -> JackServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        if self._killed:
            # A killed server keeps one of the machine's eight places until another of its name ends in order.
            self.start()
            self.end()


def patch_back(server: JackServer, client: str = "daw-bridge") -> None:
    """Connect a client's first two outputs to its own inputs, which hear nothing else from then on."""
    environment = {**os.environ, **server.environment}
    for channel in range(2):
        target = f"{client}:in_{channel}"
        subprocess.run(
            ["jack_disconnect", f"system:capture_{channel + 1}", target], env=environment, capture_output=True
        )
        source = f"{client}:out_{channel}"
        subprocess.run(["jack_connect", source, target], env=environment, check=True, capture_output=True)


class JackRecorder:
    """Records both channels of the first client whose ports begin with ``prefix``, as soon as it appears.

    Args:
        server: running.
        folder: where to keep the recording.
        prefix: start of the port names.
    """

    def __init__(self, server: JackServer, folder: Path, prefix: str = "daw-bridge") -> None:
        path = folder / f"recording-{server.name}-{next(_NUMBERS)}.raw"
        size = _HEADER_WORDS * 8 + server.rate * _MAX_SECONDS * 2 * 4
        with path.open("wb") as file:
            file.truncate(size)
        self._words, self._samples = _map_recording(path)
        command = [sys.executable, "-m", "tests.support.jack", server.name, prefix, str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)

    @property
    def wired(self) -> bool:
        """The other client has been found and connected."""
        return bool(self._words[1])

    @property
    def xruns(self) -> int:
        """Periods that some client of the server missed."""
        return int(self._words[2])

    @property
    def frames(self) -> int:
        """Frames recorded so far."""
        return int(self._words[0])

    def recorded(self) -> NDArray[np.float32]:
        """What has been heard so far [frames, 2]."""
        return np.array(self._samples[: self.frames])

    def __enter__(self) -> JackRecorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _map_recording(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    words = np.memmap(path, np.int64, "r+", shape=(_HEADER_WORDS,))
    samples = np.memmap(path, np.float32, "r+", offset=_HEADER_WORDS * 8)
    return words, samples.reshape(-1, 2)


def _record(server: str, prefix: str, path: Path) -> None:
    import jack

    words, samples = _map_recording(path)
    client = jack.Client("recorder", servername=server, no_start_server=True)
    inputs = [client.inports.register(f"in_{channel}") for channel in range(2)]

    def process(frames: int) -> None:
        start = int(words[0])
        if start + frames <= len(samples):
            for channel, port in enumerate(inputs):
                samples[start : start + frames, channel] = port.get_array()
            words[0] = start + frames

    def xrun(_delay: float) -> None:
        words[2] += 1

    client.set_process_callback(process)
    client.set_xrun_callback(xrun)
    with client:
        while not words[1]:
            outputs = client.get_ports(prefix, is_output=True, is_audio=True)
            if len(outputs) >= len(inputs):
                with contextlib.suppress(jack.JackErrorCode):  # it has ports, but is not active yet
                    for source, target in zip(outputs, inputs, strict=False):
                        if not target.is_connected_to(source):
                            client.connect(source, target)
                    words[1] = 1
            time.sleep(0.005)
        sys.stdin.read()


if __name__ == "__main__":
    _record(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
