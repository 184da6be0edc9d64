"""An audio region at a real engine and bridge: its melody read, kept, heard by a model, and heard again from the sidecar."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from protocols.melody import ChromaRow, MelodyLine, decode_melody
from tests.support.answers import sidecar, sound
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.hosts import host_of
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running
from tests.support.tiny_checkpoints import write_tiny_checkpoint

RATE = 44_100
TUNE = ((60, 0.5), (64, 0.5), (67, 1.0))
SECONDS = Fraction(2)


def sung(tune: tuple[tuple[int, float], ...] = TUNE) -> NDArray[np.float32]:
    """Notes with harmonics, one after the other, each with an attack."""
    parts = []
    for pitch, seconds in tune:
        time = np.arange(round(seconds * RATE)) / RATE
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(0.6**number * np.sin(2 * np.pi * number * hertz * time) for number in range(1, 6))
        parts.append(0.3 * tone * np.minimum(1, time / 0.01) * np.exp(-time))
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module", params=["own", "melody"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that hears scores, or one that hears chroma, and recordings."""
    path = tmp_path_factory.mktemp(str(request.param))
    if request.param == "own":
        write_own_model(path / "model", window_seconds=Fraction(4, 5))
    else:
        write_tiny_checkpoint(path / "model", chroma_length=16)
    soundfile.write(path / "tune.wav", sung(), RATE)
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


def is_the_tune(text: str) -> bool:
    """Whether what was read is the tune, in either form."""
    melody = decode_melody(text)
    pitches = [note.pitch % 12 for note in (melody if isinstance(melody, MelodyLine) else melody.line()).notes]
    return melody.seconds == SECONDS and pitches == [0, 4, 7]


def test_a_region_is_followed_and_the_take_made_again(host: OscPeer, engine: Process, folder: Path) -> None:
    outcome, held = host.ask("/bridge/notes/audio", 1, "hummed", str(folder / "tune.wav"), "separation", "none")
    assert outcome == "/done", held
    assert held[0] == "hummed"
    assert held[1] == 3
    assert held[2] == 2
    assert 1.8 < held[3] <= 2
    assert held[4].startswith("read from the mix as it is: ")

    asked = ("duration", 1.2, "seed", 5, "sound", 0)
    outcome, answer = host.ask("/bridge/play", 2, "sad piano", "notes", "hummed", *asked)
    assert outcome == "/done", answer
    request = sidecar(answer)["request"]
    assert is_the_tune(request["melody"])
    assert request["bpm"] == 0
    assert answer[-1].startswith("tune.wav: read from the mix as it is: ")
    assert answer[-1].endswith("2 s long, of which the stream has 1.2 s")
    outcome, plain = host.ask("/bridge/play", 3, "sad piano", *asked)
    assert not np.array_equal(sound(answer), sound(plain)), "it is heard"
    outcome, again = host.ask("/bridge/again", 4, str(Path(answer[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(sound(answer), sound(again))


def test_a_running_stream_gets_a_recorded_melody_and_is_made_again(host: OscPeer, folder: Path) -> None:
    assert host.ask("/bridge/notes/audio", 1, "hummed", str(folder / "tune.wav"))[0] == "/done"
    host.send("/bridge/open", 2, "sad piano", "save", 1, "sound", 0, "latency", 0.3, "seed", 5)
    stream = host.wait("/bridge/queued", 2)[1]
    host.wait("/bridge/started", stream)
    assert host.ask("/bridge/update", 3, stream, "notes", "hummed")[0] == "/done"
    host.wait("/bridge/updated", stream)
    host.wait("/bridge/progress", stream)
    host.ask("/bridge/cancel", 9, stream)
    first = host.wait("/done", "/bridge/open", 2)[2:]
    (change,) = sidecar(first)["changes"]
    assert decode_melody(change["melody"]).seconds == SECONDS
    assert "bpm" not in change
    outcome, again = host.ask("/bridge/again", 10, str(Path(first[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(sound(first), sound(again))


def test_the_engine_reads_files_and_samples_alike(engine: Process, folder: Path) -> None:
    with ZmqPeer(engine.ports["port"]) as peer:
        file = peer.ask("melody", path=str(folder / "tune.wav"), separation="none")
        assert file["type"] == "melody_read", file
        assert is_the_tune(file["melody"])
        kind = ChromaRow if "chroma" in peer.welcome["model"] or '"chroma"' in file["melody"] else MelodyLine
        assert isinstance(decode_melody(file["melody"]), kind)
        samples = soundfile.read(folder / "tune.wav", dtype="float32")[0]
        many = np.repeat(samples[:, None], 11, axis=1)
        sent = peer.ask("melody", many.astype("<f4").tobytes(), sample_rate=RATE, channels=11, separation="none")
        assert sent["melody"] == file["melody"]
        assert sent["note"].startswith("the region's 11 channels are mixed to mono; ")
        part = peer.ask("melody", path=str(folder / "tune.wav"), start=0.5, length=0.5, separation="none")
        assert part["seconds"] == 0.5
        assert {note.pitch % 12 for note in notes_of(part["melody"])} == {4}


def notes_of(text: str) -> tuple[Any, ...]:
    melody = decode_melody(text)
    return (melody if isinstance(melody, MelodyLine) else melody.line()).notes


def test_over_osc_the_engine_answers_with_text_that_it_takes_again(engine: Process, folder: Path) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        outcome, answer = peer.ask("/engine/melody", 1, str(folder / "tune.wav"), "separation", "none")
        assert outcome == "/done", answer
        assert is_the_tune(answer[-1])
        outcome, made = peer.ask("/engine/generate", 2, "sad piano", "duration", 0.4, "seed", 3, "melody", answer[-1])
        assert outcome == "/done", made
        assert sidecar(made)["request"]["melody"] == answer[-1]


@pytest.mark.parametrize(
    ("write", "asked", "code", "field"),
    [
        (lambda path: soundfile.write(path, np.zeros(RATE), RATE), {}, "empty", "melody"),
        (lambda path: soundfile.write(path, np.full(1, 0.5), 96_000), {}, "empty", "length"),
        (lambda path: soundfile.write(path, np.full(2, 0.5), RATE), {}, "out_of_range", "melody"),
        (lambda path: write_nans(path), {}, "malformed", "path"),
        (lambda path: path.write_text("la la la"), {}, "not_audio", "path"),
        (lambda path: soundfile.write(path, np.zeros(700 * 1000, np.int16), 1000), {}, "too_long", "length"),
        (lambda path: soundfile.write(path, sung(), RATE), {"start": 3.0}, "out_of_range", "start"),
        (lambda path: soundfile.write(path, sung(), RATE), {"separation": "magic"}, "out_of_range", "separation"),
        (lambda path: None, {}, "not_found", "path"),
    ],
    ids=[
        "silence",
        "one sample",
        "two samples",
        "NaN",
        "no audio",
        "too long",
        "start after the end",
        "separation",
        "no file",
    ],
)
def test_a_region_without_a_melody_is_refused_by_both(
    host: OscPeer, engine: Process, folder: Path, write: Any, asked: dict[str, Any], code: str, field: str
) -> None:
    path = folder / f"{code}-{field}.wav"
    write(path)
    with ZmqPeer(engine.ports["port"]) as peer:
        reply = peer.ask("melody", path=str(path), **asked)
    assert (reply["type"], reply["code"], reply["field"]) == ("fail", code, field), reply
    values = [part for pair in asked.items() for part in pair]
    outcome, answer = host.ask("/bridge/notes/audio", 7, "bad", str(path), *values)
    assert (outcome, answer[0]) == ("/fail", code), answer
    outcome, answer = host.ask("/bridge/play", 8, "x", "notes", "bad")
    assert (outcome, answer[0]) == ("/fail", "not_found"), "nothing is kept"


def write_nans(path: Path) -> None:
    samples = sung()
    samples[100] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
