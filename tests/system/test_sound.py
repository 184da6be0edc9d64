"""The whole chain with real parts: OSC in, engine, bridge, PortAudio on a JACK server, and another JACK client that listens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soxr
from numpy.typing import NDArray

from daw_bridge.audio.ramp import fade_curve
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.jack import JackRecorder, JackServer
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until

RATE = 48000
FADE = round(0.005 * RATE)
ATTEMPTS = 3
"""How often the server's own missed periods, which lose samples that had left PortAudio in time, are put up with."""


@pytest.fixture(scope="module")
def jack() -> Iterator[JackServer]:
    with JackServer(RATE) as server:
        yield server


def played(recording: NDArray[np.float32]) -> NDArray[np.float32]:
    """What was heard between silence and silence, one channel; both must be the same."""
    assert np.array_equal(recording[:, 0], recording[:, 1]), "mono is heard on both sides"
    heard = np.flatnonzero(recording[:, 0])
    return recording[heard[0] : heard[-1] + 1, 0] if len(heard) else recording[:0, 0]


def engine_samples(engine: Process, **request: object) -> NDArray[np.float32]:
    """The same music from the engine itself, at the card's rate."""
    with ZmqPeer(engine.ports["port"]) as peer:
        _, samples = peer.stream("generate", **request)
    return soxr.resample(samples[:, 0], 32000, RATE, quality="HQ")


def test_what_leaves_portaudio_is_what_the_engine_made(jack: JackServer, tmp_path: Path) -> None:
    seconds = 12.0
    sound = ("bridge.output=JACK", "bridge.prebuffer_ms=400")
    with (
        running("engine", engine_settings(tmp_path), tmp_path / "engine.log") as engine,
        running(
            "daw_bridge", bridge_settings(tmp_path, engine, *sound), tmp_path / "bridge.log", jack.environment
        ) as bridge,
        OscPeer(bridge.ports["osc_port"]) as host,
    ):
        wait_until(lambda: is_ready(host))
        for _ in range(ATTEMPTS):
            with JackRecorder(jack, tmp_path) as recorder:
                wait_until(lambda recorder=recorder: recorder.wired)
                host.heard.clear()
                outcome, answer = host.ask("/bridge/play", 1, "groove", "duration", seconds, "seed", 21, "save", 0)
                recording, xruns = recorder.recorded(), recorder.xruns
            if not xruns:
                break
        else:
            pytest.skip(f"this machine is too busy for a JACK server: {xruns} periods missed by the server itself")
        expected = engine_samples(engine, prompt="groove", duration=seconds, seed=21)
    heard = played(recording)
    reason, length, underruns = answer[1], answer[2], answer[5]
    assert (outcome, reason, length, underruns) == ("/done", "done", seconds, 0)
    assert abs(len(heard) - len(expected)) <= FADE, "the fades' ends may be too quiet to count"
    # The fade in begins at the first sample; line both up by it, then everything between the fades is equal.
    lag = int(np.argmax([np.dot(heard[FADE : FADE + 4096], expected[FADE + k : FADE + k + 4096]) for k in range(8)]))
    body = slice(FADE, len(heard) - FADE - 8)
    difference = np.abs(heard[body] - expected[lag:][body])
    assert difference.max() < 1e-6
    rise = fade_curve(FADE)[:, 0]
    assert np.abs(heard[: FADE - lag] - (expected[lag:FADE] * rise[lag:])).max() < 1e-6


def test_without_a_journal_a_stream_whose_engine_is_killed_ends_in_a_fade(jack: JackServer, tmp_path: Path) -> None:
    engine_port, engine_osc, bridge_osc = free_ports(3)
    command = [sys.executable, "-c", "from daw_bridge.cli import main; main()", "up"]
    for setting in [
        *engine_settings(tmp_path),
        "files.journal=none",
        "files.state=none",
        f"engine.port={engine_port}",
        f"engine.osc_port={engine_osc}",
        f"bridge.engine=tcp://127.0.0.1:{engine_port}",
        f"bridge.osc_port={bridge_osc}",
        "bridge.output=JACK",
    ]:
        command += ["--set", setting]
    environment = {**os.environ, **jack.environment, "OMP_NUM_THREADS": "2"}
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        with OscPeer(bridge_osc) as host:
            wait_until(lambda: is_ready(host), 60, "up is serving")
            host.send("/notify", 1)
            for _ in range(ATTEMPTS):
                recording, xruns = kill_while_it_sounds(jack, tmp_path, host, up.pid)
                if not xruns:
                    break
            else:
                pytest.skip(f"this machine is too busy for a JACK server: {xruns} periods missed by the server itself")
            heard = played(recording)
            outcome, answer = host.ask("/bridge/play", 2, "drone", "duration", 1.0, "seed", 5)
            assert (outcome, answer[1]) == ("/done", "done"), "the next request works"
            with ZmqPeer(engine_port) as peer:
                stream = peer.ask("open", prompt="drone", seed=5, lead=len(heard) / RATE + 1)["stream"]
                wait_until(lambda: peer.receive(0.1) and len(peer.samples(stream)) > len(heard) / RATE * 32000 + 16000)
                expected = soxr.resample(peer.samples(stream)[:, 0], 32000, RATE, quality="HQ")
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)
    assert up.returncode == 0, log.read_text()[-2000:]
    assert np.abs(heard[FADE:-FADE] - expected[FADE : len(heard) - FADE]).max() < 1e-6
    envelope = np.abs(expected[len(heard) - FADE : len(heard)]) * fade_curve(FADE)[::-1, 0]
    assert np.all(np.abs(heard[-FADE:]) <= envelope + 1e-3), "it ended in a fade, not in a click"


def kill_while_it_sounds(
    jack: JackServer, folder: Path, host: OscPeer, supervisor: int
) -> tuple[NDArray[np.float32], int]:
    """Kill the engine under a stream, wait for the next engine; what was heard, and the server's missed periods."""
    host.heard.clear()
    with JackRecorder(jack, folder) as recorder:
        wait_until(lambda: recorder.wired)
        host.send("/bridge/open", 1, "drone", "seed", 5, "latency", 1.0)
        stream = host.wait("/bridge/queued", 1)[1]
        host.wait("/bridge/sounding", stream)
        wait_until(lambda: np.count_nonzero(recorder.recorded()[:, 0]) > RATE, what="a second of sound")
        os.kill(engine_pid(supervisor), signal.SIGKILL)
        assert host.wait("/done", "/bridge/open", 1)[3] == "engine_lost"
        host.wait("/bridge/engine", "lost")
        before = recorder.frames
        wait_until(lambda: recorder.frames > before + RATE // 2, what="the callback goes on")
        recording, xruns = recorder.recorded(), recorder.xruns
    assert not recording[-1024:].any(), "silence follows"
    host.wait("/bridge/engine", "ready", seconds=60)
    return recording, xruns


def is_ready(host: OscPeer) -> bool:
    host.send("/status")
    while (message := host.receive(0.2)) is not None:
        if message[0] == "/status.reply":
            return dict(zip(message[1][::2], message[1][1::2], strict=True))["engine"] == "ready"
    return False


def engine_pid(parent: int) -> int:
    children = psutil.Process(parent).children(recursive=True)
    return next(child.pid for child in children if "engine" in child.cmdline())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
