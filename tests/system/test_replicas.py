"""Two replicas on one machine, placed by Ray: one of them is killed while both play, and then the front."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.clients import OscPeer, ZmqPeer
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until
from tests.system.test_sound import is_ready

pytest.importorskip("ray")

RATE = 32_000
SECONDS = 8.0
ROUNDING = 2e-6  # of files of 24 bits, and of codes that were decoded in other pieces; another code would be heard


def family(engine: Process) -> list[psutil.Process]:
    """All that was started for it: Ray, its agents, the replicas and what waits for its end."""
    return psutil.Process(engine.popen.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    left = psutil.wait_procs(processes, timeout=0)[1]
    return not any(process.status() != psutil.STATUS_ZOMBIE for process in left if process.is_running())


def take_of(host: OscPeer, request: int) -> NDArray[np.float32]:
    """What was written of a stream, once its request is answered."""
    answer = host.wait("/done", "/bridge/play", request, seconds=60)
    assert answer[3] == "done", answer
    return soundfile.read(answer[6], dtype="float32")[0]


@pytest.mark.timeout(300)
def test_a_replica_that_is_killed_is_gone_on_for_and_comes_back(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path, "engine.replicas=2", "engine.threads=1")
    with running("engine", settings, tmp_path / "engine.log") as engine:
        started = family(engine)
        with (
            running("daw_bridge", bridge_settings(tmp_path, engine), tmp_path / "bridge.log") as bridge,
            OscPeer(bridge.ports["osc_port"]) as host,
        ):
            wait_until(lambda: is_ready(host))
            host.send("/notify", 1)
            for request, seed in ((1, 5), (2, 6)):
                host.send("/bridge/play", request, "drone", "seed", seed, "duration", SECONDS, "bpm", 120.0, "save", 1)
            streams = [host.wait("/bridge/queued", request)[1] for request in (1, 2)]
            for stream in streams:
                wait_until(lambda stream=stream: host.receive(0.05) and played(host, stream) > 1.0, 40)
            with ZmqPeer(engine.ports["port"]) as peer:
                before = peer.ask("replicas")["items"]
            assert [(item["state"], item["streams"]) for item in before] == [("ready", 1)] * 2
            host.heard.clear()
            os.kill(before[0]["pid"], signal.SIGKILL)
            takes = [take_of(host, request) for request in (1, 2)]
            assert ["lost"] not in [values[:1] for address, values in host.heard if address == "/bridge/engine"]

        with ZmqPeer(engine.ports["port"]) as peer:
            gone_on = [item for item in peer.ask("journals")["items"] if item["begins"] > 0]
            assert len(gone_on) == 1, "one stream was gone on with from its journal, the other was not touched"
            for seed, take in zip((5, 6), takes, strict=True):
                _, undisturbed = peer.stream("generate", prompt="drone", seed=seed, bpm=120.0, duration=SECONDS)
                assert len(take) == round(SECONDS * RATE)
                assert np.abs(take - undisturbed[:, 0]).max() < ROUNDING, "both are what they would have been"
            wait_until(lambda: peer.ask("replicas")["items"][0]["state"] == "ready", 60, "it comes back")
            back = peer.ask("replicas")["items"][0]
            assert (back["restarts"], back["pid"] != before[0]["pid"]) == (1, True)
            opened = [peer.ask("open", prompt="drone", lead=0.2)["stream"] for _ in range(2)]
            assert [item["streams"] for item in peer.ask("replicas")["items"]] == [1, 1], (
                "and gets its part of the work"
            )
            assert peer.ask("cancel", stream=0)["type"] == "done"
            for stream in opened:
                assert peer.event("ended", stream)["reason"] == "cancelled"
        started += [process for process in family(engine) if process not in started]
        engine.kill()
        wait_until(lambda: gone(started), 15, "nothing outlives the front")


def played(host: OscPeer, stream: int) -> float:
    """Seconds of a stream that were made, as last told."""
    told = [values[1] for address, values in host.heard if address == "/bridge/progress" and values[0] == stream]
    return told[-1] if told else 0.0
