"""Never silence: the engine is killed under a stream, again and again; the music goes on, in time, without losing a sample."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.clients import OscPeer, ZmqPeer
from tests.support.jack import JackRecorder, JackServer
from tests.support.processes import bridge_settings, engine_settings, running, wait_until
from tests.system.test_sound import engine_pid, free_ports, is_ready

RATE = 48_000
BAR = 2 * RATE
ROUNDING = 2e-6  # of files of 24 bits, and of codes that were decoded in other pieces; another code would be heard


@contextmanager
def studio_up(folder: Path, jack: JackServer) -> Iterator[tuple[OscPeer, int, int]]:
    """`daw-bridge up` on a JACK server: a host, the engine's port, the supervisor's process."""
    engine_port, engine_osc, bridge_osc = free_ports(3)
    command = [sys.executable, "-c", "from daw_bridge.cli import main; main()", "up"]
    for setting in [
        *engine_settings(folder),
        "files.state=none",
        f"engine.port={engine_port}",
        f"engine.osc_port={engine_osc}",
        f"bridge.engine=tcp://127.0.0.1:{engine_port}",
        f"bridge.osc_port={bridge_osc}",
        "bridge.output=JACK",
    ]:
        command += ["--set", setting]
    log = folder / "up.log"
    with log.open("wb") as output:
        environment = {**os.environ, **jack.environment, "OMP_NUM_THREADS": "2"}
        up = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        with OscPeer(bridge_osc) as host:
            wait_until(lambda: is_ready(host), 60, "up is serving")
            host.send("/notify", 1)
            yield host, engine_port, up.pid
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(30)
    assert up.returncode == 0, log.read_text()[-2000:]


@pytest.mark.timeout(300)
def test_an_engine_that_is_killed_is_not_missed(tmp_path: Path) -> None:
    with JackServer(RATE) as jack, studio_up(tmp_path, jack) as (host, engine_port, supervisor):
        with JackRecorder(jack, tmp_path) as recorder:
            wait_until(lambda: recorder.wired)
            host.send("/bridge/open", 1, "drone", "seed", 5, "latency", 1.0, "bpm", 120.0, "save", 1, "govern", 0)
            stream = host.wait("/bridge/queued", 1)[1]
            host.wait("/bridge/sounding", stream)
            for _ in range(2):
                second = recorder.frames + BAR + RATE // 2
                wait_until(lambda second=second: recorder.frames > second)
                host.heard.clear()
                os.kill(engine_pid(supervisor), signal.SIGKILL)
                host.wait("/bridge/engine", "lost")
                host.wait(
                    "/bridge/held", stream, "holding"
                )  # the engine's death, or a busy machine's slowness before it
                host.heard.clear()
                host.wait("/bridge/engine", "ready", seconds=60)
                host.wait("/bridge/held", stream, "back", seconds=60)
            later = recorder.frames + BAR
            wait_until(lambda: recorder.frames > later)
            recording, xruns = recorder.recorded()[:, 0], recorder.xruns
            host.send("/bridge/cancel", 2, stream)
            answer = host.wait("/done", "/bridge/open", 1)
        reason, path, underruns = answer[3], Path(answer[6]), answer[7]
        assert reason == "cancelled"
        take, rate = soundfile.read(path, dtype="float32")
        with ZmqPeer(engine_port) as peer:
            number = peer.ask("open", prompt="drone", seed=5, bpm=120.0, lead=len(take) / rate + 1)["stream"]
            wait_until(lambda: peer.receive(0.1) and len(peer.samples(number)) > len(take), 60)
            undisturbed = peer.samples(number)[: len(take), 0]
            peer.ask("cancel", stream=number)
        assert np.abs(take - undisturbed).max() < ROUNDING, "the take has no gap and is what it would have been"
        outcome, again = host.ask("/bridge/again", 200, str(path.with_suffix(".json")), "sound", 0)
        assert outcome == "/done", again
        made_again, _ = soundfile.read(again[4], dtype="float32")
        assert np.abs(made_again - take).max() < ROUNDING, "its sidecar makes it again"

    if xruns:
        pytest.skip(f"what was heard is not judged: the JACK server itself missed {xruns} periods")
    assert underruns == 0
    begin = int(np.flatnonzero(recording)[0])
    heard = recording[begin:]
    loudness = [float(np.abs(heard[start : start + RATE // 10]).max()) for start in range(0, len(heard), RATE // 10)]
    assert min(loudness[:-1]) > 0.2 * np.median(loudness), "never silence"
    steepest = np.abs(np.diff(take)).max() * rate / RATE
    assert np.abs(np.diff(heard)).max() < 1.5 * steepest, "no click: no step beyond those of the music"


def played(host: OscPeer, stream: int) -> float:
    """Seconds of a stream that were played, as last told."""
    told = [
        arguments[3] for address, arguments in host.heard if address == "/bridge/progress" and arguments[0] == stream
    ]
    return told[-1] if told else 0.0


def listen(host: OscPeer) -> bool:
    """Take in a message, if one comes."""
    return host.receive(0.05) is not None


def test_the_past_over_osc(tmp_path: Path) -> None:
    """Rewind, branch, undo, export and resume: one stream after the other takes the place of the one before, on a bar line."""
    with (
        running("engine", engine_settings(tmp_path), tmp_path / "engine.log") as engine,
        running("daw_bridge", bridge_settings(tmp_path, engine), tmp_path / "bridge.log") as bridge,
        OscPeer(bridge.ports["osc_port"]) as host,
    ):
        wait_until(lambda: is_ready(host))
        host.ask("/bridge/clock", 1, "bpm", 240.0)
        host.send("/bridge/open", 2, "drone", "seed", 5, "latency", 0.3, "save", 1, "at", "bar")
        first = host.wait("/bridge/queued", 2)[1]
        host.wait("/bridge/sounding", first)
        assert host.ask("/bridge/undo", 3, first)[0] == "/fail", "nothing to undo yet"
        wait_until(lambda: listen(host) and played(host, first) > 2.2)
        outcome, answer = host.ask("/bridge/update", 4, first, "guidance", 1.0)
        assert outcome == "/done", answer
        changed = host.wait("/bridge/updated", first)
        assert changed[2] > 2.0

        host.send("/bridge/undo", 5, first)
        second = host.wait("/bridge/queued", 5)[1]
        answer = host.wait("/done", "/bridge/open", 2)
        assert answer[3] == "cancelled", "its place is taken"
        original, rate = soundfile.read(answer[6], dtype="float32")
        host.wait("/bridge/sounding", second)
        wait_until(lambda: listen(host) and played(host, second) > 2.2)
        host.send("/bridge/branch", 6, second, 2, "seed", 9)
        third = host.wait("/bridge/queued", 6)[1]
        undone, _ = soundfile.read(host.wait("/done", "/bridge/undo", 5)[6], dtype="float32")
        bar = rate  # of four beats at 240 bpm
        since = int(changed[2] * rate // bar) * bar
        same = int(changed[2] * rate) - since - rate // 10  # less what the decoder looks ahead
        assert same > 0
        assert np.allclose(undone[:same], original[since : since + same], atol=1e-6), "it goes on as it was"
        there = original[since + same + rate // 5 :]
        assert len(there) > rate // 5
        assert not np.allclose(undone[same + rate // 5 :][: len(there)], there, atol=1e-3), "without the change"

        host.wait("/bridge/sounding", third)
        wait_until(lambda: listen(host) and played(host, third) > 2.2)
        host.send("/bridge/cancel", 7, third)
        branched, _ = soundfile.read(host.wait("/done", "/bridge/branch", 6)[6], dtype="float32")
        assert host.ask("/bridge/journals", 8)[0] == "/done"
        newest = host.wait("/bridge/journals.item", 8, 0)[4]
        host.send("/bridge/export", 9, "journal", newest)
        exported = host.wait("/done", "/bridge/export", 9)
        everything, _ = soundfile.read(exported[6], dtype="float32")
        ahead = rate // 10
        assert np.allclose(everything[: bar - ahead], original[: bar - ahead], atol=1e-6), "all of it, from bar 1 on"
        after = everything[bar:][: len(branched)]
        assert len(after) > bar
        assert np.allclose(after, branched[: len(after)], atol=1e-6), "the way that was taken from bar 2"
        assert not np.allclose(after[:bar], original[bar : 2 * bar], atol=1e-3)
