"""Layers of loops in another run of the bridge: their takes are read again, and wait to be played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from daw_bridge.loops.kept import KeptLoops
from daw_bridge.loops.take import Take, TakeFile
from protocols.errors import ErrorCode, RequestError
from protocols.settings import FileSettings

RATE = 24_000


class Layer:
    """A layer that plays nothing."""

    def __init__(self) -> None:
        self.track = self
        self.gain = 1.0
        self.level_db, self.muted = 0.0, False
        self.take: Take | None = None
        self.done: list[str] = []

    def set_level(self, gain: float) -> None:
        self.gain = gain

    def keep(self, take: Take) -> None:
        self.take = take
        self.done.append("kept")

    def mute(self, mute: bool, at: str) -> None:
        self.muted = mute

    def stop(self, at: str) -> None:
        self.done.append("stopped")

    def clear(self) -> None:
        self.take = None
        self.done.append("cleared")


class Desk:
    """Layers, and files that are read when it is told."""

    def __init__(self) -> None:
        self.layers: dict[int, Any] = {}
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any], None], Callable[[RequestError], None]]] = []

    def layer(self, number: int) -> Any:
        return self.layers.setdefault(number, Layer())

    def read(self, work: Callable[[], Any], go: Callable[[Any], None], fail: Callable[[RequestError], None]) -> None:
        self.waiting.append((work, go, fail))

    def go(self) -> None:
        for work, go, fail in self.waiting:
            try:
                go(work())
            except RequestError as error:
                fail(error)
        self.waiting = []


def kept_by(desk: Desk, folder: Path) -> KeptLoops:
    return KeptLoops(desk, FileSettings(allowed=[str(folder)], takes=str(folder)), desk)


@pytest.fixture
def first(tmp_path: Path) -> Desk:
    """Two layers: one of four beats at 111 bpm whose take is on disk, and one that is still being written."""
    length = round(4 * 60 / 111 * RATE)
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, (length + 2400, 2)).astype(np.float32)
    soundfile.write(tmp_path / "loop.wav", sound, RATE, "FLOAT")
    desk = Desk()
    layer = desk.layer(2)
    layer.take = Take("loop", sound, length, 4, RATE)
    layer.take.file = TakeFile(tmp_path / "loop.wav", 0.0, length / RATE)
    layer.level_db, layer.muted = -6.0, True
    desk.layer(3).take = Take("unwritten", sound, length, 4, RATE)
    return desk


def test_a_layer_has_its_take_again(first: Desk, tmp_path: Path) -> None:
    state = msgspec.json.decode(msgspec.json.encode(kept_by(first, tmp_path).state()))
    assert list(state) == ["2"], "what is on disk"
    desk = Desk()
    kept = kept_by(desk, tmp_path)
    kept.restore(state)
    assert kept.state() == state, "while it is being read too"
    revision = kept.revision
    desk.go()
    assert kept.state() == state
    assert kept.revision == revision
    layer, take = desk.layers[2], desk.layers[2].take
    assert (take.beats, layer.level_db, layer.muted) == (4, -6.0, True)
    assert take.seconds == pytest.approx(4 * 60 / 111, abs=1e-4)
    assert layer.gain == pytest.approx(10 ** (-6 / 20))
    assert layer.done == ["stopped", "kept"]

    kept.restore({"2": {**state["2"], "level": -9.0}})
    assert not desk.waiting, "it holds this file already"
    assert (layer.level_db, layer.done) == (-9.0, ["stopped", "kept"])
    kept.restore({})
    assert layer.done[-1] == "cleared"


def test_files_that_are_gone_and_values_that_make_no_sense(first: Desk, tmp_path: Path) -> None:
    good = kept_by(first, tmp_path).state()["2"]
    desk = Desk()
    kept = kept_by(desk, tmp_path)
    gone = {**good, "path": str(tmp_path / "gone.wav")}
    with pytest.raises(RequestError) as refused:
        kept.restore({"1": good, "2": gone, "9": good, "3": {**good, "beats": 0}, "x": 5})
    assert refused.value.code is ErrorCode.MALFORMED
    desk.go()
    assert list(kept.state()) == ["1"]
    outside = {**good, "path": "/etc/passwd"}
    kept.restore({"1": outside})
    desk.go()
    assert kept.state() == {"1": good}, "what cannot be read leaves the layer as it is"
