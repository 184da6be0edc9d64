"""Tempo and key at a real engine whose model hears a score: asked for, changed on the way, and made again from what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from daw_bridge.again import remake
from protocols.messages import Recipe, Welcome
from tests.support.clients import ZmqPeer
from tests.support.own_models import write_own_model
from tests.support.processes import Process, engine_settings, running


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder: Path = tmp_path_factory.mktemp("own")
    write_own_model(folder / "tiny", window_seconds=Fraction(4, 5))
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    with running("engine", settings, folder / "engine.log") as process:
        yield process


@pytest.fixture
def peer(own_engine: Process) -> Iterator[ZmqPeer]:
    with ZmqPeer(own_engine.ports["port"]) as peer:
        yield peer


def take(peer: ZmqPeer, stream: int, samples: int, updates: int = 0) -> None:
    """Take a stream up to some sample, and on until it was updated so often."""

    def behind() -> bool:
        told = [event for event in peer.events if event["type"] == "updated" and event["stream"] == stream]
        return len(peer.samples(stream)) < samples or len(told) < updates

    while behind():
        peer.send("acknowledge", stream=stream, position=len(peer.samples(stream)))
        assert peer.receive(20)


def end(peer: ZmqPeer, stream: int) -> dict[str, Any]:
    """End a stream; returns its recipe."""
    peer.ask("cancel", stream=stream)
    peer.event("ended", stream)
    return peer.event("recipe", stream)


def test_an_update_builds_on_what_a_script_has_changed(peer: ZmqPeer) -> None:
    script = json.dumps([{"frame": 2, "prompt": "drums", "key": "C"}, {"frame": 4, "temperature": 0.9}])
    stream = peer.ask("open", prompt="sad piano", bpm=92.0, lead=0.3, script=script)["stream"]
    take(peer, stream, 0, updates=2)
    for fields in ({"bpm": 100.0}, {"key": "D"}, {"bpm": 110.0}):
        peer.ask("update", stream=stream, **fields)
    take(peer, stream, 0, updates=5)
    changes = end(peer, stream)["changes"]
    heard = [(change["prompt"], change["bpm"], change["key"]) for change in changes if "prompt" in change]
    assert heard == [("drums", 92.0, "C"), ("drums", 100.0, "C"), ("drums", 100.0, "D"), ("drums", 110.0, "D")]


def test_a_stream_with_tempo_and_key_changes_on_its_way_and_is_made_again(peer: ZmqPeer) -> None:
    stream = peer.ask("open", prompt="sad piano", bpm=92.0, key="A minor", seed=4, lead=0.3)["stream"]
    peer.event("started", stream)
    assert peer.ask("update", stream=stream, bpm=133.5)["type"] == "done"
    assert peer.ask("update", stream=stream, prompt="happy drums", key="F# dorian")["type"] == "done"
    take(peer, stream, 64_000, updates=2)
    recipe = end(peer, stream)
    made = peer.samples(stream)
    assert (recipe["request"]["bpm"], recipe["request"]["key"]) == (92.0, "A minor")
    first, second = recipe["changes"]
    assert 0 <= first["frame"] <= second["frame"]
    assert (first["prompt"], first["bpm"], first["key"]) == ("sad piano", 133.5, "A minor")
    assert (second["prompt"], second["bpm"], second["key"]) == ("happy drums", 133.5, "F# dorian")

    sidecar = json.loads(msgspec.json.encode(msgspec.convert(recipe, Recipe)))
    sidecar |= {"reason": "cancelled", "audio": {"frames": len(made)}}
    again = remake(sidecar, msgspec.convert(peer.welcome, Welcome))
    assert again.samples == len(made)
    request = msgspec.to_builtins(again.message)
    stream = peer.ask(request.pop("type"), again.payload, **request)["stream"]
    take(peer, stream, len(made))
    end(peer, stream)
    assert np.array_equal(peer.samples(stream)[: len(made)], made)

    _, steady = peer.stream("generate", prompt="sad piano", bpm=92.0, key="A minor", seed=4, duration=2.0)
    assert not np.array_equal(steady, made[:64_000]), "the changes are heard"


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"bpm": 301.0}, "bpm", "0 to 300"),
        ({"bpm": 10.0}, "bpm", "20 to 300"),
        ({"bpm": "fast"}, "bpm", "a number"),
        ({"key": "H minor"}, "key", "A minor"),
        ({"key": 3}, "key", "text"),
    ],
)
def test_a_tempo_or_key_that_cannot_be_is_refused(
    peer: ZmqPeer, fields: dict[str, object], field: str, allowed: str
) -> None:
    stream = peer.ask("open", prompt="x", lead=0.1)["stream"]
    for reply in (
        peer.ask("generate", prompt="x", **fields),
        peer.ask("open", **fields),
        peer.ask("update", stream=stream, **fields),
    ):
        assert (reply["type"], reply["field"]) == ("fail", field)
        assert allowed in reply["allowed"]
    peer.ask("cancel", stream=stream)
