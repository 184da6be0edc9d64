"""Pads and controllers on a real MIDI system, a real bridge and engine: what is struck is heard, and what is turned is set."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackServer
from tests.support.midi import Keyboard, require_midi
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running

DRONE = "/bridge/open 'sad piano' latency 0.4"


@pytest.fixture(scope="module")
def jack() -> Iterator[JackServer]:
    require_midi()
    with JackServer(period=256) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triggers")
    write_own_model(path / "tiny", window_seconds=Fraction(4, 5))
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Process]:
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    with running("engine", settings, folder / "engine.log") as process:
        yield process


def bridge_beside(engine: Process, folder: Path, jack: JackServer) -> Any:
    settings = bridge_settings(folder, engine, "bridge.output=JACK", f"files.state={folder / 'state.json'}")
    return running("daw_bridge", settings, folder / "bridge.log", jack.environment)


@pytest.fixture(scope="module")
def bridge(engine: Process, folder: Path, jack: JackServer) -> Iterator[Process]:
    with bridge_beside(engine, folder, jack) as process:
        yield process


@pytest.fixture(scope="module")
def keyboard(jack: JackServer) -> Iterator[Keyboard]:
    with Keyboard(jack) as plugged_in:
        yield plugged_in


@pytest.fixture
def host(bridge: Process, keyboard: Keyboard) -> Iterator[OscPeer]:
    with host_of(bridge) as peer:
        assert peer.ask("/bridge/trigger/clear", 1)[0] == "/done"
        outcome, answer = peer.ask("/bridge/trigger/input", 2, "keyboard")
        assert outcome == "/done", answer
        assert "keyboard" in answer[0]
        yield peer
        peer.ask("/bridge/trigger/clear", 3)
        peer.ask("/bridge/stop", 4)


def on(note: int, velocity: int = 100) -> str:
    return f"90 {note:02x} {velocity:02x}"


def off(note: int) -> str:
    return f"80 {note:02x} 00"


def strike(keyboard: Keyboard, *messages: str) -> None:
    keyboard.play([(0.0, message) for message in messages])


def rows(host: OscPeer) -> dict[str, dict[str, Any]]:
    host.heard.clear()
    assert host.ask("/bridge/triggers", 90)[0] == "/done"
    items = [values[3:] for path, values in host.heard if path == "/bridge/triggers.item"]
    found = [dict(zip(item[::2], item[1::2], strict=True)) for item in items]
    return {row["name"]: row for row in found}


def ended(host: OscPeer, stream: int) -> str:
    """Why a stream ended."""
    return str(host.wait("/bridge/ended", stream)[1])


def test_a_pad_that_is_ready_is_heard_at_once_and_held(host: OscPeer, keyboard: Keyboard) -> None:
    assert host.ask("/bridge/trigger/map", 10, "drone", 60, DRONE, "mode", "hold")[0] == "/done"
    host.wait("/bridge/pad", "drone", "ready")
    row = rows(host)["drone"]
    assert (row["kind"], row["source"], row["mode"], row["state"]) == ("pad", "60", "hold", "ready")
    strike(keyboard, on(61), on(60, 80))
    name, note, velocity, stream, latency = host.wait("/bridge/triggered", "drone")
    assert (name, note, velocity) == ("drone", 60, 80)
    assert 0 < latency < 5000
    host.wait("/bridge/pad", "drone", "sounding")
    strike(keyboard, on(60, 0))
    assert ended(host, stream) == "cancelled"
    host.heard.clear()
    host.wait("/bridge/pad", "drone", "ready"), "the next one is made ahead"
    strike(keyboard, on(60))
    assert host.wait("/bridge/triggered", "drone")[3] > stream
    strike(keyboard, off(60))


def test_a_toggle_plays_until_it_is_struck_again(host: OscPeer, keyboard: Keyboard) -> None:
    assert host.ask("/bridge/trigger/map", 10, "loop", "C3", DRONE, "mode", "toggle", "prime", 0)[0] == "/done"
    strike(keyboard, on(60), off(60))
    stream = host.wait("/bridge/triggered", "loop")[3]
    assert rows(host)["loop"]["state"] == "sounding"
    strike(keyboard, on(60), off(60))
    assert ended(host, stream) == "cancelled"
    host.wait("/bridge/pad", "loop", "off")


def test_a_one_shot_plays_to_its_end(host: OscPeer, keyboard: Keyboard) -> None:
    shot = "/bridge/play 'sad piano' duration 0.4 seed 5"
    assert host.ask("/bridge/trigger/map", 10, "shot", "36-47", shot)[0] == "/done"
    host.wait("/bridge/pad", "shot", "ready")
    strike(keyboard, on(40), off(40))
    stream = host.wait("/bridge/triggered", "shot")[3]
    assert ended(host, stream) == "done"


def test_one_of_a_group_sounds_at_a_time(host: OscPeer, keyboard: Keyboard) -> None:
    for index, name in enumerate(("left", "right")):
        host.ask("/bridge/trigger/map", 10 + index, name, 60 + index, DRONE, "mode", "toggle", "choke", "hats")
    host.wait("/bridge/pad", "left", "ready")
    host.wait("/bridge/pad", "right", "ready")
    strike(keyboard, on(60))
    left = host.wait("/bridge/triggered", "left")[3]
    strike(keyboard, on(61))
    right = host.wait("/bridge/triggered", "right")[3]
    assert ended(host, left) == "cancelled"
    assert rows(host)["right"]["state"] == "sounding"
    strike(keyboard, on(61))
    assert ended(host, right) == "cancelled"


def test_a_controller_sets_what_it_learned(host: OscPeer, keyboard: Keyboard) -> None:
    host.send("/bridge/open", 10, "sad piano", "guidance", 3.0, "sound", 0, "latency", 0.3, "save", 0)
    stream = host.wait("/bridge/queued", 10)[1]
    host.wait("/bridge/started", stream)
    assert host.ask("/bridge/trigger/learn", 11, "guidance")[0] == "/done"
    strike(keyboard, "b0 15 00")
    assert host.wait("/bridge/learned", "guidance")[1:] == ["cc:21", 1]
    assert host.ask("/bridge/trigger/cc", 12, "guidance", 21, 1.0, 6.0, "takeover", "jump")[0] == "/done"
    strike(keyboard, *(f"b0 15 {value:02x}" for value in range(0, 128, 4)), "b0 15 7f")
    host.wait("/bridge/updated", stream)
    host.send("/bridge/trigger/cc", 13, "master", 22, -20.0, 0.0)
    host.wait("/done", "/bridge/trigger/cc", 13)
    strike(keyboard, "b0 16 7f", "b0 16 00")
    for _ in range(200):
        found = rows(host)
        if (found["guidance"]["state"], found["master"]["state"]) == ("6", "-20"):
            break
    assert (found["guidance"]["state"], found["master"]["state"]) == ("6", "-20"), "the last value arrives"
    host.ask("/bridge/level", 14, 0, 0.0)
    host.ask("/bridge/cancel", 15, stream)


def test_what_is_meant_for_every_stream_leaves_what_is_kept_ready(host: OscPeer) -> None:
    assert host.ask("/bridge/trigger/map", 10, "drone", 60, DRONE)[0] == "/done"
    ready = host.wait("/bridge/queued", 0)[1]
    host.wait("/bridge/pad", "drone", "ready")
    outcome, answer = host.ask("/bridge/update", 11, 0, "temperature", 0.5)
    assert (outcome, answer) == ("/done", []), "none is played"
    host.send("/bridge/open", 12, "sad piano", "sound", 0, "latency", 0.3, "save", 0)
    played = host.wait("/bridge/queued", 12)[1]
    host.wait("/bridge/started", played)
    assert host.ask("/bridge/update", 13, 0, "temperature", 0.5)[0] == "/done"
    host.wait("/bridge/updated", played)
    assert not [values for path, values in host.heard if path == "/bridge/updated" and values[0] == ready]
    assert host.ask("/bridge/cancel", 14, 0)[0] == "/done"
    assert ended(host, played) == "cancelled"
    assert rows(host)["drone"]["state"] == "ready"


def test_a_pad_that_learns_and_one_that_is_refused(host: OscPeer, keyboard: Keyboard) -> None:
    assert host.ask("/bridge/trigger/map", 10, "panic", "learn", "/bridge/cancel 999")[0] == "/done"
    assert rows(host)["panic"]["state"] == "learn"
    strike(keyboard, on(70))
    assert host.wait("/bridge/learned", "panic")[1:] == ["70", 1]
    strike(keyboard, off(70), on(70))
    _, code, text = host.wait("/bridge/trigger_failed", "panic")
    assert (code, "999" in text) == ("unknown_stream", True)
    outcome, answer = host.ask("/bridge/trigger/map", 11, "x", 60, "/bridge/play y duration 0")
    assert (outcome, answer[0]) == ("/fail", "out_of_range"), answer
    outcome, answer = host.ask("/bridge/trigger/input", 12, "theremin")
    assert (outcome, answer[0]) == ("/fail", "unknown_device"), answer


def test_the_map_is_there_after_a_restart(
    host: OscPeer, engine: Process, folder: Path, jack: JackServer, tmp_path: Path, keyboard: Keyboard
) -> None:
    with bridge_beside(engine, tmp_path, jack) as first, host_of(first) as peer:
        assert peer.ask("/bridge/trigger/map", 1, "drone", 60, DRONE, "mode", "hold")[0] == "/done"
        assert peer.ask("/bridge/trigger/cc", 2, "master", 7, -60.0, 0.0)[0] == "/done"
        assert peer.ask("/bridge/trigger/input", 3, "keyboard")[0] == "/done"
    with bridge_beside(engine, tmp_path, jack) as second, host_of(second) as peer:
        peer.send("/notify", 1)
        peer.wait("/bridge/pad", "drone", "ready")
        while "open" not in {row["state"] for row in rows(peer).values()}:
            pass
        strike(keyboard, on(60))
        stream = peer.wait("/bridge/triggered", "drone")[3]
        strike(keyboard, off(60))
        assert ended(peer, stream) == "cancelled"
        assert rows(peer)["master"]["source"] == "cc:7"


def test_a_key_that_was_held_ends_with_its_cable(host: OscPeer, jack: JackServer) -> None:
    with Keyboard(jack) as other:
        names = {row["name"] for row in rows(host).values() if row["kind"] == "input"}
        assert len(names) == 1
        host.send("/bridge/trigger/input", 10, "keyboard-01")
        host.wait("/done", "/bridge/trigger/input", 10)
        assert host.ask("/bridge/trigger/map", 11, "drone", 60, DRONE, "mode", "hold", "prime", 0)[0] == "/done"
        other.play([(0.0, on(60))])
        stream = host.wait("/bridge/triggered", "drone")[3]
        other.unplug()
        host.wait("/bridge/trigger_input")
    assert ended(host, stream) == "cancelled"
    assert host.ask("/bridge/trigger/input", 12, "keyboard-01", "open", 0)[0] == "/done"
