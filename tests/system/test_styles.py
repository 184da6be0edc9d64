"""A recording's style at a real engine and bridge: heard from a file, changed while a stream plays, and heard again without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from protocols.style import StyleCodes
from tests.support.answers import sidecar, sound
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, engine_settings, running
from tests.support.style_models import recording, write_style_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("styles")
    write_style_checkpoint(path / "model", seconds=4)
    soundfile.write(path / "a.wav", recording(4.0), 32_000, subtype="FLOAT")
    soundfile.write(path / "b.wav", recording(4.0, pitch=330.0), 32_000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Process]:
    settings = engine_settings(folder, f"engine.model={folder / 'model'}")
    with running("engine", settings, folder / "engine.log") as process:
        yield process


@pytest.fixture(scope="module")
def bridge(folder: Path, engine: Process) -> Iterator[Process]:
    with running("daw_bridge", bridge_settings(folder, engine), folder / "bridge.log") as process:
        yield process


@pytest.fixture
def host(bridge: Process) -> Iterator[OscPeer]:
    with host_of(bridge) as peer:
        yield peer


def test_a_style_is_heard_and_the_take_made_again_when_the_file_is_gone(host: OscPeer, folder: Path) -> None:
    file = folder / "gone.wav"
    file.write_bytes((folder / "a.wav").read_bytes())
    asked = ("a happy song", "duration", 0.6, "seed", 5, "sound", 0, "loudness", "none")
    outcome, answer = host.ask(
        "/bridge/play", 1, *asked, "style_path", str(file), "style_start", 0.5, "double_guidance", 3.0
    )
    assert outcome == "/done", answer
    assert answer[-1].endswith(
        "the model hears a style of 10 tokens, 3 codebooks of it, and the words with a double guidance of 3"
    )
    request = sidecar(answer)["request"]
    assert request["style_path"] == ""
    assert len(StyleCodes.decode(request["style_codes"]).codes) == 4
    outcome, plain = host.ask("/bridge/play", 2, *asked)
    assert not np.array_equal(sound(answer), sound(plain)), "it is heard"
    file.unlink()
    outcome, again = host.ask(
        "/bridge/again", 3, str(Path(answer[4]).with_suffix(".json")), "sound", 0, "loudness", "none"
    )
    assert outcome == "/done", again
    assert np.array_equal(sound(answer), sound(again))


def test_a_running_stream_takes_another_style_and_is_made_again(host: OscPeer, folder: Path) -> None:
    host.send("/bridge/open", 4, "a happy song", "save", 1, "sound", 0, "loudness", "none", "latency", 0.3, "seed", 5)
    stream = host.wait("/bridge/queued", 4)[1]
    host.wait("/bridge/started", stream)
    for address, *arguments in (
        ("/bridge/update", 5, stream, "style_path", str(folder / "b.wav")),
        (f"/bridge/stream/{stream}/double_guidance", 4.0),
        (f"/bridge/stream/{stream}/style_start", 0.75),
    ):
        host.heard.clear()
        host.send(address, *arguments)
        host.wait("/bridge/updated", stream)
    outcome, refusal = host.ask("/bridge/update", 6, stream, "style_path", str(folder / "nothing.wav"))
    assert outcome == "/fail"
    assert "style_path" in " ".join(map(str, refusal))
    host.wait("/bridge/progress", stream)
    host.ask("/bridge/cancel", 7, stream)
    first = host.wait("/done", "/bridge/open", 4)[2:]
    changes = sidecar(first)["changes"]
    styles = [StyleCodes.decode(change["style_codes"]) for change in changes if "style_codes" in change]
    assert len(styles) == 2
    assert styles[0] != styles[1], "another place in the same file"
    assert [change["double_guidance"] for change in changes if "double_guidance" in change] == [4.0]
    outcome, again = host.ask(
        "/bridge/again", 8, str(Path(first[4]).with_suffix(".json")), "sound", 0, "loudness", "none"
    )
    assert outcome == "/done", again
    assert np.array_equal(sound(first), sound(again))


def test_the_engine_reads_files_and_samples_alike(engine: Process, folder: Path) -> None:
    with ZmqPeer(engine.ports["port"]) as peer:
        assert peer.welcome["style_seconds"] == 3.0
        words = {"prompt": "a happy song", "duration": 0.2, "seed": 1}
        recipes = []
        sent = recording(4.0)[:96_000].astype("<f4").tobytes()
        for values, payload in (({"style_path": str(folder / "a.wav")}, b""), ({"style_samples": 96_000}, sent)):
            peer.stream("generate", payload, **words, **values)
            recipes.append(peer.event("recipe")["request"]["style_codes"])
        assert recipes[0] == recipes[1] != ""
        opened = peer.ask("open", prompt="x", seed=1, lead=1.0)
        assert peer.ask("update", sent, stream=opened["stream"], style_samples=96_000)["type"] == "done"
        refused = peer.ask("update", stream=opened["stream"], style_path=str(folder / "nothing.wav"))
        assert (refused["type"], refused["field"]) == ("fail", "style_path")
        assert peer.ask("cancel", stream=opened["stream"])["type"] == "done"
