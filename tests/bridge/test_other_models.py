"""A bridge whose engine changes its model, told step by step by an engine that is made of one socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import pytest
import soundfile
import zmq

from protocols import PROTOCOL_VERSION
from protocols.fields import fields_of
from protocols.messages import ModelChanged, Welcome
from tests.support.clients import OscPeer
from tests.support.processes import bridge_settings, running, wait_until

ONE = {"model": "one", "fingerprint": "1" * 64, "status": "trained", "sample_rate": 32_000, "channels": 1}
TWO = {"model": "two", "fingerprint": "2" * 64, "status": "trained", "sample_rate": 24_000, "channels": 2}
NONE = {"model": "", "fingerprint": "", "status": "untrained", "sample_rate": 0, "channels": 0}
REFUSED = {"type": "fail", "code": "unsupported", "field": "fingerprint", "value": "", "allowed": "another", "text": ""}


class ScriptedEngine:
    """A ROUTER that greets, and otherwise says what the test says."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.ports = {"port": self.router.bind_to_random_port("tcp://127.0.0.1")}
        self.facts: dict[str, Any] = ONE
        self._client = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.context.destroy(linger=0)

    def expect(self, *kinds: str) -> tuple[int, dict[str, Any], bytes]:
        """Wait for a request of one of these kinds: its id, its content and its payload."""
        while True:
            assert self.router.poll(20_000), f"no {kinds}"
            self._client, _, content, *payload = self.router.recv_multipart()
            request, message = msgspec.msgpack.decode(content)
            match message["type"]:
                case "hello":
                    fixed = {"protocol": PROTOCOL_VERSION, "version": "0", "instance": 1, "max_message": 2**25}
                    self.reply(request, type="welcome", **fixed, **self._told())
                case kind if kind in kinds:
                    return request, message, payload[0] if payload else b""
                case _:
                    self.reply(request, type="done")
            if message["type"] in kinds:
                return request, message, b""

    def reply(self, request: int, **fields: Any) -> None:
        self.router.send_multipart([self._client, b"R", msgspec.msgpack.encode([request, fields])])

    def change(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.router.send_multipart(
            [self._client, b"E", msgspec.msgpack.encode({"type": "model_changed", **self._told()})]
        )

    def _told(self) -> dict[str, Any]:
        return {**self.facts, "frame_samples": 640, "melodies": True}


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def host(engine: ScriptedEngine, tmp_path: Path) -> Iterator[OscPeer]:
    settings = bridge_settings(tmp_path, engine)  # type: ignore[arg-type]
    with running("daw_bridge", settings, tmp_path / "log") as bridge, OscPeer(bridge.ports["osc_port"]) as host:
        engine.expect("hello")
        wait_until(lambda: model_of(host) == "one")
        yield host


def model_of(host: OscPeer) -> str:
    host.heard.clear()
    host.send("/status")
    values = host.wait("/status.reply")
    return str(dict(zip(values[::2], values[1::2], strict=True))["model"])


def test_whoever_is_greeted_and_whoever_is_told_of_another_model_learn_the_same() -> None:
    process = {"protocol", "version", "instance", "max_message"}
    assert set(fields_of(Welcome)) - set(fields_of(ModelChanged)) == process
    assert set(fields_of(ModelChanged)) <= set(fields_of(Welcome))


def test_a_request_that_crosses_a_switch_is_made_ready_again(
    engine: ScriptedEngine, host: OscPeer, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "region.wav", np.zeros(48_000), 48_000)
    host.send("/bridge/continue", 1, str(tmp_path / "region.wav"), "duration", 0.5, "sound", 0)
    for facts, following in ((ONE, TWO), (TWO, ONE)):
        request, asked, payload = engine.expect("continue")
        told = (asked["fingerprint"], asked["sample_rate"], asked["channels"])
        assert told == (facts["fingerprint"], facts["sample_rate"], facts["channels"])
        assert len(payload) == 4 * facts["channels"] * facts["sample_rate"]
        engine.change(following)
        engine.reply(request, **REFUSED)
    request, asked, _ = engine.expect("continue")
    assert asked["sample_rate"] == 32_000
    engine.reply(request, type="opened", stream=1, seed=1)
    assert host.wait("/bridge/queued", 1)[1] == 1
    assert not any(path == "/fail" for path, _ in host.heard)
    assert len(list((tmp_path / "takes").iterdir())) == 1, "what was begun for the other models is gone"


def test_a_request_that_crosses_an_unloading_is_refused(engine: ScriptedEngine, host: OscPeer) -> None:
    host.send("/bridge/play", 1, "a song", "sound", 0)
    request, _, _ = engine.expect("generate")
    engine.change(NONE)
    engine.reply(request, **REFUSED)
    assert host.wait("/fail", "/bridge/play", 1)[2] == "no_model"
    assert host.ask("/bridge/play", 2, "a song") == ("/fail", ["no_model", host.heard[-1][1][3]])
    engine.change(TWO)
    wait_until(lambda: model_of(host) == "two")


def test_loading_is_the_engines_and_its_answer_the_hosts(engine: ScriptedEngine, host: OscPeer) -> None:
    host.send("/bridge/load", 1, "musicgen-large", "dtype", "bfloat16")
    request, asked, _ = engine.expect("load")
    assert asked == {"type": "load", "model": "musicgen-large", "device": "", "dtype": "bfloat16", "decoder": ""}
    engine.reply(request, type="loaded", model="musicgen-large", seconds=7.5, weights_mb=12_000.0)
    assert host.wait("/done", "/bridge/load", 1)[2:] == ["musicgen-large", 7.5, 12_000.0]
    host.send("/bridge/unload", 2)
    request, _, _ = engine.expect("unload")
    engine.reply(request, type="fail", code="no_model", field="model", value="", allowed="one", text="")
    assert host.wait("/fail", "/bridge/unload", 2)[2] == "no_model"
