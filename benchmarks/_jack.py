"""A JACK server without a sound card, so that the audio callback comes from a real sound system, in real time, on any Linux."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START_S = 10.0
_STOP_S = 3.0


def missing_for_jack() -> str:
    """What this machine lacks to run one; empty when it lacks nothing."""
    if shutil.which("jackd") is None or shutil.which("jack_lsp") is None:
        return "jackd is not installed"
    return "" if ctypes.util.find_library("portaudio") else "the PortAudio library is not installed"


@contextmanager
def jack_server(rate: int, period: int) -> Iterator[dict[str, str]]:
    """Run a server on JACK's dummy driver; gives the environment variables that lead clients to it.

    Args:
        rate: Hz.
        period: frames in one callback.

    Raises:
        RuntimeError: it did not start.
    """
    name = f"benchmark-{os.getpid()}"
    clients = {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1", "JACK_NO_AUDIO_RESERVATION": "1"}
    # Fewer ports than the default: their shared memory would not fit into a container's 64 MB.
    server = ["jackd", "--no-realtime", "--no-mlock", "--port-max", "128", "-n", name]
    driver = ["-d", "dummy", "-r", str(rate), "-p", str(period), "-C", "2", "-P", "2"]
    process = subprocess.Popen(
        [*server, *driver], env={**os.environ, **clients}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_server(process, {**os.environ, **clients})
        yield clients
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_server(process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    deadline = time.monotonic() + _START_S
    while subprocess.run(["jack_lsp"], env=environment, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the JACK server did not start")
        time.sleep(0.02)
