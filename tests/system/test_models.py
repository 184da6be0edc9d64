"""Models loaded, switched and unloaded on a real engine, beside what plays; and what a bridge and its hosts learn of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from protocols import PROTOCOL_VERSION
from protocols.melody import MelodyLine
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until
from tests.support.tiny_checkpoints import write_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_own_model(folder / "one")
    write_own_model(folder / "two", seed=2, sample_rate=24_000)
    (folder / "broken").mkdir()
    return folder


@pytest.fixture(scope="module")
def models_engine(folder: Path) -> Iterator[Process]:
    with running("engine", engine_settings(folder, f"engine.model={folder / 'one'}"), folder / "engine.log") as process:
        yield process


@pytest.fixture(scope="module")
def models_bridge(folder: Path, models_engine: Process) -> Iterator[Process]:
    with running("daw_bridge", bridge_settings(folder, models_engine), folder / "bridge.log") as process:
        yield process


@pytest.fixture
def peer(folder: Path, models_engine: Process) -> Iterator[ZmqPeer]:
    """A client of an engine that has the first model."""
    with ZmqPeer(models_engine.ports["port"]) as peer:
        if peer.welcome["model"] != "one":
            wait_until(lambda: peer.ask("load", model=str(folder / "one"))["type"] == "loaded")
            peer.events.clear()
        yield peer


@pytest.fixture
def host(peer: ZmqPeer, models_bridge: Process) -> Iterator[OscPeer]:
    """A host of a bridge that knows of the first model."""
    with OscPeer(models_bridge.ports["osc_port"]) as host:
        wait_until(lambda: report(host)["model"] == "one")
        yield host


def report(host: OscPeer) -> dict[str, Any]:
    host.heard.clear()
    host.send("/status")
    values = host.wait("/status.reply")
    return dict(zip(values[::2], values[1::2], strict=True))


def loaded(peer: ZmqPeer) -> dict[str, tuple[bool, bool]]:
    """The models in memory: whether new streams get them."""
    items = peer.ask("models")["items"]
    return {item["name"]: item["loaded"] for item in items if item["weights_mb"] or item["loaded"]}


def test_a_stream_plays_on_undisturbed_while_models_come_and_go(peer: ZmqPeer, folder: Path) -> None:
    asked = {"prompt": "slow piano", "seed": 3, "duration": 6.0, "lead": 0.3}
    _, undisturbed = peer.stream("generate", **asked)
    stream = peer.ask("generate", **asked)["stream"]
    peer.event("started", stream)
    for name in ("two", "one", "two"):
        reply = peer.ask("load", model=str(folder / name))
        assert (reply["type"], reply["model"]) == ("loaded", name), reply
        changed = peer.event("model_changed")
        assert (changed["model"], changed["sample_rate"]) == (name, {"one": 32_000, "two": 24_000}[name])
    assert loaded(peer) == {"one": False, "two": True}, "the stream is still there"
    peer.send("acknowledge", stream=stream, position=len(peer.samples(stream)))
    ended, samples = peer.finish(stream)
    assert ended["reason"] == "done"
    assert np.array_equal(samples, undisturbed)
    assert peer.event("recipe", stream)["model"] == "one"
    wait_until(lambda: loaded(peer) == {"two": True}, what="the first model is freed")

    opened = peer.ask("generate", prompt="x", duration=1.0)
    started = peer.event("started", opened["stream"])
    _, samples = peer.finish(opened["stream"])
    assert (started["model"], started["sample_rate"], len(samples)) == ("two", 24_000, 24_000)
    assert peer.headers[-1][5] == 24_000
    with ZmqPeer(peer.port) as other:
        assert (other.welcome["model"], other.welcome["sample_rate"]) == ("two", 24_000)


def test_changes_reach_a_stream_whose_model_is_on_its_way_out(peer: ZmqPeer, folder: Path) -> None:
    stream = peer.ask("open", prompt="a song", lead=0.2, seed=1)["stream"]
    peer.event("started", stream)
    peer.ask("load", model=str(folder / "two"))
    peer.ask("unload")
    line = MelodyLine.of_seconds([(0, 1, 60)], 1).encode()
    assert peer.ask("update", stream=stream, prompt="sad piano", melody=line)["type"] == "done"
    wait_until(lambda: acknowledged(peer, stream) and peer.receive(0.2) and said(peer, "updated"))
    peer.ask("cancel", stream=stream)
    recipe = peer.event("recipe", stream)
    assert (recipe["model"], recipe["changes"][0]["prompt"]) == ("one", "sad piano")


def acknowledged(peer: ZmqPeer, stream: int) -> int:
    return peer.send("acknowledge", stream=stream, position=len(peer.samples(stream)))


def said(peer: ZmqPeer, kind: str) -> bool:
    return any(event["type"] == kind for event in peer.events)


def test_without_a_model_streams_are_refused_until_one_is_loaded(peer: ZmqPeer, folder: Path) -> None:
    before = peer.ask("status")
    assert (before["state"], before["model"]) == ("ready", "one")
    assert before["weights_mb"] > 0
    assert peer.ask("unload")["type"] == "done"
    changed = peer.event("model_changed")
    assert (changed["model"], changed["fingerprint"], changed["sample_rate"]) == ("", "", 0)
    after = peer.ask("status")
    assert (after["state"], after["model"], after["weights_mb"], after["sample_rate"]) == ("empty", "", 0, 0)
    assert (after["cached_texts"], after["cached_mb"]) == (0, 0)
    for kind in ("generate", "open", "continue"):
        refused = peer.ask(kind, prompt="x")
        assert (refused["type"], refused["code"], refused["field"]) == ("fail", "no_model", "model")
        assert "load" in refused["allowed"]
    assert peer.ask("unload")["code"] == "no_model"
    with ZmqPeer(peer.port) as other:
        assert (other.welcome["model"], other.welcome["sample_rate"]) == ("", 0)
    assert peer.ask("load", model=str(folder / "one"))["type"] == "loaded"
    assert peer.stream("generate", prompt="x", duration=0.5)[0]["reason"] == "done"


def test_two_loads_at_once_and_one_that_fails(peer: ZmqPeer, folder: Path) -> None:
    first = peer.send("load", model=str(folder / "two"))
    assert peer.ask("status")["loading"] == str(folder / "two")
    second = peer.ask("load", model=str(folder / "one"))
    assert (second["code"], second["field"]) == ("busy", "model")
    assert str(folder / "two") in second["allowed"]
    assert peer.reply(first)["type"] == "loaded"
    broken = peer.ask("load", model=str(folder / "broken"))
    assert (broken["type"], broken["code"]) == ("fail", "not_found")
    assert peer.ask("load", model="/etc")["code"] == "not_allowed"
    assert peer.ask("load", model="pocket", device="toaster")["code"] == "unknown_device"
    status = peer.ask("status")
    assert (status["model"], status["loading"]) == ("two", "")


def test_a_client_that_leaves_while_its_model_is_loaded(peer: ZmqPeer, folder: Path) -> None:
    with ZmqPeer(peer.port) as ghost:
        ghost.send("load", model=str(folder / "two"))
        wait_until(lambda: peer.ask("status")["loading"])
    assert peer.event("model_changed")["model"] == "two"
    assert peer.stream("generate", prompt="x", duration=0.3)[0]["reason"] == "done"


@pytest.mark.parametrize(("dtype", "at_least_mb"), [("float32", 100), ("int8", 25)])
def test_memory_is_given_back_and_an_engine_leaves_in_order_while_it_loads(
    folder: Path, dtype: str, at_least_mb: int
) -> None:
    write_tiny_checkpoint(folder / "heavy", dim=512, layers=8, heads=8)
    settings = engine_settings(folder, f"engine.model={folder / 'one'}", f"engine.dtype={dtype}")
    with running("engine", settings, folder / "memory.log") as process, ZmqPeer(process.ports["port"]) as peer:
        heavy = peer.ask("load", model=str(folder / "heavy"), seconds=60)
        peer.stream("generate", prompt="x", duration=0.2)
        full = peer.ask("status")
        assert heavy["weights_mb"] > at_least_mb
        assert full["weights_mb"] == heavy["weights_mb"]
        assert peer.ask("unload")["type"] == "done"
        empty = peer.ask("status")
        assert empty["weights_mb"] == 0
        assert empty["memory_mb"] < full["memory_mb"] - 0.8 * heavy["weights_mb"]

        peer.send("load", model=str(folder / "heavy"))
        wait_until(lambda: peer.ask("status")["loading"])
        assert process.stop() == 0


def test_a_stream_that_asks_for_one_model_is_not_made_by_another(peer: ZmqPeer, folder: Path) -> None:
    first = peer.ask("hello", protocol=PROTOCOL_VERSION)["fingerprint"]
    made, _ = peer.stream("generate", prompt="x", duration=0.3, fingerprint=first)
    assert "fingerprint" not in peer.event("recipe", made["stream"])["request"]
    peer.ask("load", model=str(folder / "two"))
    refused = peer.ask("generate", prompt="x", fingerprint=first)
    assert (refused["code"], refused["field"], refused["value"]) == ("unsupported", "fingerprint", first[:12])


# --- A bridge and its hosts ----------------------------------------------------------------------------------------


def sound(answer: list[Any]) -> tuple[np.ndarray, int]:
    audio, rate = soundfile.read(answer[4], dtype="float32")
    return audio, rate


def test_a_host_switches_models_and_makes_its_takes_again(host: OscPeer, folder: Path) -> None:
    host.ask("/notify", 1)
    asked = ("duration", 0.5, "sound", 0, "seed", 4)
    _, first = host.ask("/bridge/play", 2, "a song", *asked)
    sidecar = str(Path(first[4]).with_suffix(".json"))
    outcome, answer = host.ask("/bridge/load", 3, str(folder / "two"))
    assert (outcome, answer[0]) == ("/done", "two")
    assert host.wait("/bridge/engine", "ready", "two")
    assert report(host)["model"] == "two"
    outcome, second = host.ask("/bridge/play", 4, "a song", *asked)
    assert (outcome, sound(second)[1], len(sound(second)[0])) == ("/done", 24_000, 12_000)
    outcome, refused = host.ask("/bridge/again", 5, sidecar, "sound", 0)
    assert (outcome, refused[0]) == ("/fail", "unsupported")

    assert host.ask("/bridge/load", 6, str(folder / "one"))[0] == "/done"
    outcome, again = host.ask("/bridge/again", 7, sidecar, "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(sound(first)[0], sound(again)[0])

    assert host.ask("/bridge/unload", 8) == ("/done", [])
    host.wait("/bridge/engine", "ready", "")
    assert (report(host)["engine"], report(host)["model"]) == ("ready", "")
    outcome, refused = host.ask("/bridge/play", 9, "a song", *asked)
    assert (outcome, refused[0]) == ("/fail", "no_model")
    assert host.ask("/bridge/load", 10, str(folder / "one"))[0] == "/done"
    assert host.ask("/bridge/play", 11, "a song", *asked)[0] == "/done"


def test_an_osc_host_of_the_engine_is_told(peer: ZmqPeer, models_engine: Process, folder: Path) -> None:
    with OscPeer(models_engine.ports["osc_port"]) as host:
        host.send("/notify", 1)
        host.wait("/done", "/notify")
        outcome, answer = host.ask("/engine/load", 1, str(folder / "two"), "dtype", "bfloat16")
        assert (outcome, answer[0]) == ("/done", "two"), answer
        assert host.wait("/engine/model_changed", "two")[3] == 24_000
        assert peer.ask("status")["dtype"] == "bfloat16"
        assert host.ask("/engine/unload", 2) == ("/done", [])
        host.wait("/engine/model_changed", "")
        outcome, answer = host.ask("/engine/generate", 3, "x")
        assert (outcome, answer[0]) == ("/fail", "no_model")


def test_from_the_command_line(host: OscPeer, models_bridge: Process, models_engine: Process, folder: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        ports = {
            "DAW_BRIDGE_BRIDGE_OSC_PORT": str(models_bridge.ports["osc_port"]),
            "DAW_BRIDGE_ENGINE_OSC_PORT": str(models_engine.ports["osc_port"]),
            "DAW_BRIDGE_SETTINGS": "/nonexistent",
        }
        command = [sys.executable, "-c", "from daw_bridge.cli import main; main()", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **ports}
        )

    loaded = run("load", str(folder / "two"))
    assert re.fullmatch(r"two in \d+\.\d s, \d+ MB\n", loaded.stdout), loaded
    listed = {model["name"]: model for model in json.loads(run("models", "--json").stdout)}
    assert listed["two"]["loaded"]
    assert listed["two"]["weights_mb"] > 0
    assert run("unload").returncode == 0
    status = json.loads(run("status", "--json").stdout)
    assert (status["bridge"]["model"], status["engine"]["state"], status["engine"]["weights_mb"]) == ("", "empty", 0)
    refused = run("play", "a song", "--no-sound")
    assert refused.returncode != 0
    assert "no_model" in refused.stderr
