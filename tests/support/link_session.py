"""A Link session that nobody else hears: a network namespace with only loopback, in it another peer and the bridge's clock.

``run_session`` starts ``python -m tests.support.link_session`` in such a namespace and returns what came of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

QUANTUM = 4
TEMPO = 97.0
_SIOCSIFFLAGS = 0x8914
_UP_LOOPBACK_RUNNING_MULTICAST = 0x1 | 0x8 | 0x40 | 0x1000
_SECONDS = 60


def run_session(peer: str) -> dict[str, Any]:
    """What a session of the bridge's clock with a peer, ``library`` or ``LinkHut``, was like; skips where there can be none."""
    if importlib.util.find_spec("_link") is None:
        pytest.skip("the package LinkPython-extern is not installed")
    if peer == "LinkHut" and (shutil.which("LinkHut") is None or shutil.which("jackd") is None):
        pytest.skip("LinkHut or jackd is not installed (Debian: ableton-link-utils, jackd2)")
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("network namespaces need Linux and unshare")
    namespace = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no network namespaces")
    command = [*namespace, sys.executable, "-m", "tests.support.link_session", peer]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _main(kind: str) -> dict[str, Any]:
    from daw_bridge.clock.link import LinkClock
    from daw_bridge.clock.stage import StageTime
    from daw_bridge.clock.timeline import Timeline

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sh14s", b"lo", _UP_LOOPBACK_RUNNING_MULTICAST, b"\0" * 14)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, flags)
    peer: _Library | _LinkHut = _Library() if kind == "library" else _LinkHut()
    stage = StageTime(lambda: None)
    clock = LinkClock(stage.now, Timeline(140, QUANTUM))

    def pump(seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            clock.pump()
            if until():
                return True
            time.sleep(0.01)
        return False

    try:
        met = pump(20, lambda: clock.peers == 1 and clock.timeline.playing(clock.now()) and peer.peers == 1)
        pump(1)
        result: dict[str, Any] = {
            "met": met,
            "tempo": peer.tempo,
            "bridge_tempo": float(clock.timeline.at(clock.now()).bpm),
        }
        errors = []
        for _ in range(200):
            pump(0.01)
            at, beat = peer.where()
            now, perf = clock.now(), time.perf_counter_ns()
            bridge = float(clock.timeline.beat_at(now)) - (perf - at) / 1e9 * peer.tempo / 60
            off = (bridge - beat + QUANTUM / 2) % QUANTUM - QUANTUM / 2
            errors.append(off * 60_000 / peer.tempo)
        result["errors_ms"] = sorted(abs(error) for error in errors)
        clock.propose(110)
        result["proposed"] = pump(10, lambda: abs(peer.tempo - 110) < 0.01)
        return result
    finally:
        clock.close()
        peer.close()


class _Library:
    """Another user of the library, who was there first."""

    def __init__(self) -> None:
        from daw_bridge.clock.link_process import LinkPeer

        self._peer = LinkPeer(TEMPO, QUANTUM, False)
        time.sleep(0.5)

    @property
    def peers(self) -> int:
        return int(self._peer.report()["peers"])

    @property
    def tempo(self) -> float:
        return float(self._peer.report()["bpm"])

    def where(self) -> tuple[int, float]:
        report = self._peer.report()
        return report["at"], report["beat"]

    def close(self) -> None:
        self._peer.leave()


class _LinkHut:
    """Ableton's own example of a peer, on a JACK server; it writes a line many times a second, as fast as it is read."""

    def __init__(self) -> None:
        from tests.support.jack import JackServer

        self._jack = JackServer()
        self._jack.start()
        self._process = subprocess.Popen(
            ["LinkHut"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self._jack.environment},
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._text = b""
        self._shown: list[str] = []
        self._at = 0
        self._process.stdin.write(b"a")  # take part
        self._process.stdin.flush()
        while not self._columns() or "yes" not in self._shown[0]:
            time.sleep(0.01)

    @property
    def peers(self) -> int:
        return int(self._columns()[1])

    @property
    def tempo(self) -> float:
        columns = self._columns()
        return float(columns[4]) if columns else 0.0

    def where(self) -> tuple[int, float]:
        seen = self._at
        while self._at == seen:  # a fresh line
            self._columns()
        return self._at, float(self._shown[5])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"q")  # a client that leaves without a word may hang the server
        self._process.stdin.flush()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
        self._process.kill()
        self._process.wait()
        self._jack.end()

    def _columns(self) -> list[str]:
        """enabled, peers, quantum, start stop sync, tempo, beats, metro."""
        assert self._process.stdout is not None
        news = self._process.stdout.read()
        if news:
            at = time.perf_counter_ns()
            *lines, self._text = (self._text + news).replace(b"\n", b"\r").split(b"\r")
            rows = [line.decode().split("|") for line in lines if line.count(b"|") == 6 and b"enabled" not in line]
            if rows:
                self._shown, self._at = rows[-1], at
        return self._shown


if __name__ == "__main__":
    print(json.dumps(_main(sys.argv[1])))  # noqa: T201
