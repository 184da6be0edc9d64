"""MIDI clock over a real MIDI system, from and to other processes, and a bridge that finds its clock as it was."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackServer
from tests.support.midi import Ears, Keyboard, require_midi
from tests.support.processes import Process, bridge_settings, running, wait_until

TICK_S = 0.02
"""125 bpm."""
TICK, START, STOP = "f8", "fa", "fc"
NAMES = (
    "source", "playing", "bpm", "beats_per_bar", "position", "beat", "input", "outputs", "start_stop_sync", "peers",
)  # fmt: skip


@pytest.fixture(scope="module")
def jack() -> Iterator[JackServer]:
    require_midi()
    with JackServer(period=256) as server:
        yield server


@pytest.fixture
def settings(studio: Path, engine: Process, tmp_path: Path) -> list[str]:
    return bridge_settings(studio, engine, f"files.state={tmp_path / 'state.json'}")


def clock(host: OscPeer, address: str = "/bridge/clock", *arguments: Any) -> dict[str, Any]:
    outcome, values = host.ask(address, 1, *arguments)
    assert outcome == "/done", values
    host.heard.clear()
    return dict(zip(NAMES, values, strict=True))


def refused(host: OscPeer, address: str, *arguments: Any) -> str:
    outcome, values = host.ask(address, 1, *arguments)
    assert outcome == "/fail", values
    host.heard.clear()
    return str(values[1])


def test_another_machines_clock_is_followed(jack: JackServer, settings: list[str], tmp_path: Path) -> None:
    with (
        Keyboard(jack) as keyboard,
        running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as bridge,
        host_of(bridge) as host,
    ):
        assert "keyboard" in refused(host, "/bridge/clock", "source", "midi", "input", "flute")
        state = clock(host, "/bridge/clock", "source", "midi", "input", "keyb")
        assert (state["source"], state["playing"]) == ("midi", False)
        wait_until(lambda: "keyboard" in clock(host)["input"])
        ticks = [(0.01 + TICK_S * tick, TICK) for tick in range(200)]
        keyboard.play([(0.0, START), *ticks])
        state = clock(host)
        assert state["playing"]
        assert state["bpm"] == pytest.approx(125, rel=0.02)
        assert state["beat"] == pytest.approx(200 / 24, abs=0.5)
        assert clock(host, "/bridge/clock/start")["playing"], "it plays already"
        refused(host, "/bridge/clock/stop")
        wait_until(lambda: not clock(host)["playing"])
        keyboard.play([(0.0, START), *ticks[:60], (1.3, STOP)])
        wait_until(lambda: (clock(host)["playing"], clock(host)["position"]) == (False, "1.3"))


def test_others_follow_and_the_next_run_sends_on(jack: JackServer, settings: list[str], tmp_path: Path) -> None:
    with Ears(jack) as ears:
        with (
            running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as bridge,
            host_of(bridge) as host,
        ):
            assert host.ask("/bridge/midi/outputs", 1)[0] == "/done"
            assert any("ears" in str(message) for message in host.heard)
            host.heard.clear()
            assert "ears" in refused(host, "/bridge/clock/send", "flute")
            assert "ears" in clock(host, "/bridge/clock/send", "ears")["outputs"]
            clock(host, "/bridge/clock", "bpm", 125.0)
            wait_until(lambda: len(ears.heard) > 20)
            assert {message for _, message in ears.heard} == {TICK}, "the tempo is told before the start"
            clock(host, "/bridge/clock/start")
            wait_until(lambda: len(ears.heard) > 300)
            clock(host, "/bridge/clock/stop")
            wait_until(lambda: STOP in [message for _, message in ears.heard])
        messages = [message for _, message in ears.heard]
        assert [message for message in messages if message != TICK] == [START, STOP, STOP], (
            "the last as the bridge leaves"
        )
        begun, ended = messages.index(START) + 1, messages.index(STOP)
        moments = [at for at, _ in ears.heard[begun:ended]]
        assert len(moments) > 200
        gaps = [late - early for early, late in itertools.pairwise(moments)]
        assert statistics.fmean(gaps) == pytest.approx(TICK_S, rel=0.02)
        already = len(ears.heard)
        with (
            running("daw_bridge", settings, tmp_path / "again.log", jack.environment) as bridge,
            host_of(bridge) as host,
        ):
            state = clock(host)
            assert (state["source"], state["bpm"], state["playing"]) == ("internal", 125, False)
            assert "ears" in state["outputs"]
            wait_until(lambda: len(ears.heard) > already + 20)
            assert clock(host, "/bridge/clock/send", "ears", "on", 0)["outputs"] == ""
