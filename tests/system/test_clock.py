"""The clock of a real bridge: set over OSC, led by a host, and kept to the sample by what PortAudio plays on a JACK server."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackRecorder, JackServer
from tests.support.processes import Process, bridge_settings, running, wait_until

RATE = 48_000
BAR = 2 * RATE
"""Samples of a bar of four beats at 120 bpm."""

ATTEMPTS = 3
"""How often the server's own missed periods are put up with."""


@pytest.fixture
def own_bridge(studio: Path, engine: Process, tmp_path: Path) -> Iterator[Process]:
    """A bridge whose clock is nobody else's."""
    settings = bridge_settings(studio, engine, "bridge.prebuffer_ms=200")
    with running("daw_bridge", settings, tmp_path / "bridge.log") as process:
        yield process


@pytest.fixture
def performer(own_bridge: Process) -> Iterator[OscPeer]:
    with host_of(own_bridge) as peer:
        yield peer


def state(host: OscPeer, *arguments: Any) -> dict[str, Any]:
    outcome, values = host.ask("/bridge/clock", 1, *arguments)
    assert outcome == "/done", values
    host.heard.clear()
    names = ["source", "playing", "bpm", "beats_per_bar", "position", "beat"]
    return dict(zip(names, values, strict=False))


def onsets(heard: NDArray[np.float32]) -> list[int]:
    """Where sound begins after a tenth of a second of silence."""
    sounding = np.flatnonzero(heard[:, 0])
    return [int(frame) for frame in sounding[np.diff(sounding, prepend=-RATE) > RATE // 10]]


def play_on_bars(jack: JackServer, host: OscPeer, folder: Path) -> tuple[NDArray[np.float32], int, list[list[Any]]]:
    """Four streams, asked for at random moments; returns the recording, missed periods, and where they were promised."""
    chance, promised = random.Random(4), []
    with JackRecorder(jack, folder) as recorder:
        wait_until(lambda: recorder.wired)
        for request in range(1, 5):
            time.sleep(chance.uniform(0, 1.5))
            host.heard.clear()
            answer = host.ask("/bridge/play", request, "groove", "duration", 0.5, "seed", 3, "at", "bar", "save", 0)
            assert answer[0] == "/done", answer
            promised.append([message[1] for message in host.heard if message[0] == "/bridge/scheduled"][-1])
        last = recorder.frames + RATE // 10  # what has been played is in the recorder a few periods later
        wait_until(lambda: recorder.frames >= last)
        return recorder.recorded(), recorder.xruns, promised


def test_streams_begin_whole_bars_apart_on_a_sound_card(engine: Process, studio: Path, tmp_path: Path) -> None:
    settings = bridge_settings(studio, engine, "bridge.output=JACK")
    with (
        JackServer(RATE) as jack,
        running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as bridge,
        host_of(bridge) as host,
    ):
        for _ in range(ATTEMPTS):
            recording, xruns, promised = play_on_bars(jack, host, tmp_path)
            if not xruns:
                break
        else:
            pytest.skip(f"this machine is too busy for a JACK server: {xruns} periods missed by the server itself")
    heard = onsets(recording)
    bars = [bar for _, bar, *_ in promised]
    samples = [sample for _, _, _, sample, _ in promised]
    assert len(heard) == len(promised)
    for onset, bar, sample in zip(heard, bars, samples, strict=True):
        assert abs(onset - heard[0] - (bar - bars[0]) * BAR) <= 1
        assert abs(onset - heard[0] - (sample - samples[0])) <= 1
    assert bars == sorted(set(bars))


def test_the_clock_over_osc(performer: OscPeer, tmp_path: Path) -> None:
    assert state(performer) == {
        "source": "internal", "playing": False, "bpm": 120, "beats_per_bar": 4, "position": "1.1", "beat": 0,
    }  # fmt: skip
    assert state(performer, "bpm", 150.0, "beats_per_bar", 3)["bpm"] == 150
    performer.send("/notify", 1)
    performer.ask("/bridge/clock/locate", 2, 6.0)
    assert performer.ask("/bridge/clock/start", 3)[0] == "/done"
    beats = [performer.wait("/bridge/beat", 3, beat) for beat in (1, 2, 3)]
    assert all(bpm == 150 and ms < 51 for _, _, bpm, ms in beats)
    performer.send("/status")
    report = performer.wait("/status.reply")
    report = dict(zip(report[::2], report[1::2], strict=True))
    assert (report["clock"], report["clock_playing"], report["clock_bpm"]) == ("internal", True, 150)

    outcome, answer = performer.ask("/bridge/play", 4, "groove", "duration", 0.5, "at", "beat")
    assert outcome == "/done", answer
    scheduled = [message[1] for message in performer.heard if message[0] == "/bridge/scheduled"][-1]
    sidecar = json.loads(Path(answer[4]).with_suffix(".json").read_text())
    assert sidecar["began"] == {"bar": scheduled[1], "beat": scheduled[2], "sample": scheduled[3]}
    assert sidecar["request"]["bpm"] == 150, "the tempo of a clock that plays"
    outcome, _ = performer.ask("/bridge/clock/stop", 5)
    assert (outcome, state(performer)["playing"]) == ("/done", False)
    assert performer.ask("/bridge/clock", 6, "bpm", 5.0)[0] == "/fail"


def test_a_host_leads_the_clock(performer: OscPeer) -> None:
    assert state(performer, "source", "host")["source"] == "host"
    assert performer.ask("/bridge/clock/start", 2)[0] == "/fail"
    performer.heard.clear()
    performer.send("/tempo/raw", 140.0)
    performer.send("/play", 1.0)
    began = time.monotonic() - 30 * 60 / 140  # the transport was 30 beats in
    while time.monotonic() - began < 15:
        seconds = time.monotonic() - began
        hundredths = int(seconds * 140 / 60 * 100)
        performer.send("/time", seconds)
        performer.send("/beat/str", f"{hundredths // 400 + 1}.{hundredths // 100 % 4 + 1}.{hundredths % 100:02d}")
        time.sleep(1 / 30)
    followed = state(performer)
    assert followed["beat"] == pytest.approx((time.monotonic() - began) * 140 / 60, abs=1)
    assert (followed["playing"], followed["bpm"]) == (True, 140)
    assert not [message for message in performer.heard if message[0] == "/fail"], "a host is not answered"
    performer.send("/stop", 1.0)
    wait_until(lambda: not state(performer)["playing"])


def test_a_stream_follows_the_tempo_that_it_took(performer: OscPeer) -> None:
    assert performer.ask("/bridge/clock", 1, "bpm", 120.0)[0] == "/done"
    assert performer.ask("/bridge/clock/start", 2)[0] == "/done"
    performer.send("/bridge/open", 3, "groove", "save", 1)
    stream = performer.wait("/bridge/sounding")[0]
    assert performer.ask("/bridge/clock", 4, "bpm", 150.0)[0] == "/done"
    performer.wait("/bridge/updated", stream)
    performer.send("/bridge/cancel", 5, stream)
    answer = performer.wait("/done", "/bridge/open")
    path = next(Path(value) for value in answer if str(value).endswith(".wav"))
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["request"]["bpm"] == 120
    assert [change["bpm"] for change in sidecar["changes"] if "bpm" in change] == [150], sidecar["changes"]


def test_the_clock_from_the_command_line(own_bridge: Process) -> None:
    def run(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-c", "from daw_bridge.cli import main; main()", "clock", *words, "--json"]
        port = f"bridge.osc_port={own_bridge.ports['osc_port']}"
        done = subprocess.run([*command, "--set", port], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    assert run("set", "--bpm", "99", "--beats-per-bar", "3")["bpm"] == 99
    assert run("start")["playing"]
    assert not run("stop")["playing"]
    assert run("locate", "7.5")["position"] == "3.2"
    assert run("show")["beats_per_bar"] == 3
