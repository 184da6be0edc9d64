"""Bundles with time tags at a real bridge: a host's ticks, requests that wait, and sound that begins at its time to the sample."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from protocols.osc.codec import encode, time_tag_of
from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackRecorder, JackServer
from tests.support.processes import Process, bridge_settings, running, wait_until

RATE = 48_000
ATTEMPTS = 3
"""How often the server's own missed periods are put up with."""


@pytest.fixture
def performer(studio: Path, engine: Process, tmp_path: Path) -> Iterator[OscPeer]:
    """A host of a bridge whose clock is nobody else's."""
    with (
        running("daw_bridge", bridge_settings(studio, engine), tmp_path / "bridge.log") as bridge,
        host_of(bridge) as peer,
    ):
        yield peer


def send_at(host: OscPeer, when: float, *messages: bytes) -> None:
    """Send a bundle for a moment of the system's clock."""
    elements = b"".join(len(message).to_bytes(4, "big") + message for message in messages)
    host.send_raw(b"#bundle\0" + time_tag_of(when).to_bytes(8, "big") + elements)


def state(host: OscPeer) -> dict[str, Any]:
    host.heard.clear()
    outcome, values = host.ask("/bridge/clock", 900)
    assert outcome == "/done"
    names = ["source", "playing", "bpm", "beats_per_bar", "position", "beat"]
    return dict(zip(names, values, strict=False))


def test_ticks_count_once_the_host_leads(performer: OscPeer) -> None:
    outcome, answer = performer.ask("/bridge/clock/tick", 1, 4.0)
    assert (outcome, answer[0]) == ("/fail", "not_allowed")
    assert "source = internal" in answer[1]
    assert performer.ask("/bridge/clock", 2, "source", "host")[0] == "/done"
    outcome, answer = performer.ask("/bridge/clock/tick", 3, 4.0, "bpm", 90.0, "beats_per_bar", 3, "playing", 0)
    assert (outcome, answer) == ("/done", [0.0])
    assert state(performer) == {
        "source": "host", "playing": False, "bpm": 90, "beats_per_bar": 3, "position": "2.2", "beat": 4,
    }  # fmt: skip


def test_a_tick_is_about_the_moment_of_its_time_tag(performer: OscPeer) -> None:
    performer.ask("/bridge/clock", 1, "source", "host")
    song = time.time() - 100.0  # beat 0 of a song at 90 beats per minute
    for number in range(1, 5):
        ahead = time.time() + 0.2
        tick = encode("/bridge/clock/tick", number, (ahead - song) * 1.5, "bpm", 90.0)
        send_at(performer, ahead, tick)
        assert abs(performer.wait("/done", "/bridge/clock/tick", number)[2]) < (1 if number > 1 else 1e-6)
    wait_until(lambda: state(performer)["beat"])  # it begins at the time tag
    before = time.time()
    beat = state(performer)["beat"]
    assert (before - song) * 1.5 - 0.005 <= beat <= (time.time() - song) * 1.5 + 0.005


def test_requests_are_carried_out_in_the_order_of_their_times(performer: OscPeer) -> None:
    now = time.time()
    send_at(performer, now + 0.4, encode("/bridge/clock", 3, "bpm", 140.0))
    send_at(performer, now + 0.2, encode("/bridge/clock", 2, "bpm", 130.0))
    send_at(performer, now - 1, encode("/bridge/clock", 1, "bpm", 120.0))
    answers = []
    for number in (1, 2, 3):
        answers.append((performer.wait("/done", "/bridge/clock", number)[4], time.time() - now))
    assert [bpm for bpm, _ in answers] == [120, 130, 140]
    assert answers[1][1] >= 0.2
    assert answers[2][1] >= 0.4
    assert [given[1] for _, given in performer.heard if given[0] == "/bridge/clock"][-3:] == [1, 2, 3]


def test_stop_drops_what_waits(performer: OscPeer) -> None:
    send_at(performer, time.time() + 5, encode("/bridge/clock", 7, "bpm", 99.0))
    performer.ask("/bridge/stop", 8)
    assert performer.wait("/fail", "/bridge/clock", 7)[2] == "not_allowed"


def onsets(heard: NDArray[np.float32]) -> list[int]:
    """Where sound begins after a tenth of a second of silence."""
    sounding = np.flatnonzero(heard[:, 0])
    return [int(frame) for frame in sounding[np.diff(sounding, prepend=-RATE) > RATE // 10]]


def play_at_times(jack: JackServer, host: OscPeer, folder: Path) -> tuple[NDArray[np.float32], int, list[list[Any]]]:
    """Three pieces half a second long that are to begin 1.7 s apart; the recording, missed periods, what was promised."""
    promised = []
    with JackRecorder(jack, folder) as recorder:
        wait_until(lambda: recorder.wired)
        first = time.time() + 2.0
        for number in range(3):
            piece = ("groove", "duration", 0.5, "seed", 3, "save", 0)
            send_at(host, first + 1.7 * number, encode("/bridge/play", number + 1, *piece))
        for number in range(3):
            outcome = host.wait("/done", "/bridge/play", number + 1)
            told = [given for name, given in host.heard if name == "/bridge/scheduled" and given[0] == outcome[2]]
            promised.append(told[-1])
        assert not [name for name, _ in host.heard if name == "/bridge/late"]
        host.heard.clear()
        last = recorder.frames + RATE // 10
        wait_until(lambda: recorder.frames >= last)
        return recorder.recorded(), recorder.xruns, promised


def test_sound_begins_at_its_time_tag_on_a_sound_card(engine: Process, studio: Path, tmp_path: Path) -> None:
    settings = bridge_settings(studio, engine, "bridge.output=JACK", "bridge.prebuffer_ms=200")
    with (
        JackServer(RATE) as jack,
        running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as bridge,
        host_of(bridge) as host,
    ):
        for _ in range(ATTEMPTS):
            recording, xruns, promised = play_at_times(jack, host, tmp_path)
            if not xruns:
                break
        else:
            pytest.skip(f"this machine is too busy for a JACK server: {xruns} periods missed by the server itself")
    heard = onsets(recording)
    samples = [promise[3] for promise in promised]
    assert [onset - heard[0] for onset in heard] == pytest.approx([one - samples[0] for one in samples], abs=1)
    # The card's own clock and the system's differ by what a dummy driver wakes up late, which the bridge averages.
    assert np.diff(samples) == pytest.approx([1.7 * RATE] * 2, abs=0.005 * RATE)


def test_what_is_not_ready_at_its_time_says_so(engine: Process, studio: Path, tmp_path: Path) -> None:
    settings = bridge_settings(studio, engine, "bridge.output=JACK", "bridge.prebuffer_ms=200")
    with (
        JackServer(RATE) as jack,
        running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as bridge,
        host_of(bridge) as host,
    ):
        send_at(host, time.time() + 0.02, encode("/bridge/play", 1, "groove", "duration", 0.5, "save", 0))
        late = host.wait("/bridge/late")
        assert host.wait("/done", "/bridge/play", 1)[2:4] == [late[0], "done"]
        assert host.wait("/bridge/sounding", late[0])
