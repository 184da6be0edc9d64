"""MIDI clips on a model that hears no melody: played to it by FluidSynth where that is there, told in words where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daw_bridge.clip_sound import play_clip
from daw_bridge.midi_file import read_midi_clip
from tests.bridge.test_clip_sound import heard, missing
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, engine_settings, running
from tests.support.tiny_checkpoints import write_tiny_checkpoint
from tests.system.test_melodies import NOTES, alike, sidecar, sound, write_clip

PLAYED = "this model hears no melody: it goes on from the clip"
TOLD = "this model hears no melody: the clip is told in words"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def word_engine(folder: Path) -> Iterator[Process]:
    write_tiny_checkpoint(folder / "words")
    settings = engine_settings(folder, f"engine.model={folder / 'words'}")
    with running("engine", settings, folder / "engine.log") as process:
        yield process


@pytest.fixture(scope="module")
def word_bridge(folder: Path, word_engine: Process) -> Iterator[Process]:
    with running("daw_bridge", bridge_settings(folder, word_engine), folder / "bridge.log") as process:
        yield process


@pytest.fixture
def host(word_bridge: Process) -> Iterator[OscPeer]:
    with host_of(word_bridge) as peer:
        yield peer


def asked(answer: list[Any]) -> dict[str, Any]:
    request: dict[str, Any] = sidecar(answer)["request"]
    return request


def test_the_engine_says_whether_its_model_hears_melodies(word_engine: Process) -> None:
    with ZmqPeer(word_engine.ports["port"]) as peer:
        assert peer.welcome["melodies"] is False


@heard
def test_a_clip_is_played_to_the_model(host: OscPeer, word_engine: Process, folder: Path) -> None:
    path = write_clip(folder / "tune.mid")
    outcome, answer = host.ask("/bridge/midi", 1, str(path), "prompt", "sad piano", "bpm", 120.0, "seed", 5, "sound", 0)
    assert outcome == "/done", answer
    request = asked(answer)
    assert (request["type"], request["duration"], request["bpm"]) == ("continue", 2.0, 120.0)
    assert (request["melody"], request["prompt"], request["seam"]) == ("", "sad piano", False)
    assert f"{PLAYED}, 2 s, played by FluidSynth with " in answer[-1]
    assert "left out" not in answer[-1]
    assert len(sound(answer)) == 2 * 32000

    clip = read_midi_clip(path, allowed_folders=None)
    played = play_clip(clip, clip.length_seconds * 97 / 120, sample_rate=32000, channels=1)
    fields = {name: request[name] for name in ("prompt", "bpm", "key", "key_hint", "duration", "seam")}
    with ZmqPeer(word_engine.ports["port"]) as peer:
        direct = peer.stream("continue", played.audio.tobytes(), sample_rate=32000, channels=1, seed=5, **fields)
    assert alike(sound(answer), direct[1][:, 0]), "what the model goes on from is the clip as sound"

    outcome, again = host.ask("/bridge/again", 2, str(Path(answer[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(sound(answer), sound(again))


@heard
def test_notes_that_were_sent_are_played_too(host: OscPeer, folder: Path) -> None:
    host.ask("/bridge/notes/begin", 1, "riff", "bpm", 120.0)
    host.ask("/bridge/notes/add", 2, "riff", 0, *NOTES)
    outcome, answer = host.ask("/bridge/play", 3, "sad piano", "notes", "riff", "duration", 0.5, "sound", 0)
    assert (outcome, asked(answer)["type"], asked(answer)["duration"]) == ("/done", "continue", 0.5)
    assert answer[-1].startswith("riff: 120 bpm, 4/4, ")
    assert PLAYED in answer[-1]
    assert host.ask("/bridge/notes/file", 4, "tune", str(write_clip(folder / "tune.mid")))[0] == "/done"
    host.send("/bridge/open", 5, "sad piano", "notes", "tune", "sound", 0, "save", 1)
    stream = host.wait("/bridge/queued", 5)[1]
    assert PLAYED in host.wait("/bridge/started", stream)[-1]
    host.wait("/bridge/progress", stream)
    host.ask("/bridge/cancel", 6, stream)
    assert asked(host.wait("/done", "/bridge/open", 5)[2:])["sample_rate"] == 32000


def test_beside_an_audio_region_the_clip_is_told_in_words(host: OscPeer, folder: Path) -> None:
    host.ask("/bridge/notes/begin", 1, "riff", "bpm", 120.0)
    host.ask("/bridge/notes/add", 2, "riff", 0, *NOTES)
    region = host.ask("/bridge/play", 3, "x", "duration", 0.5, "sound", 0)[1][4]
    outcome, answer = host.ask("/bridge/continue", 4, region, "notes", "riff", "duration", 0.5, "sound", 0)
    assert (outcome, asked(answer)["bpm"]) == ("/done", 120.0)
    assert f"{TOLD}, beside the audio region" in answer[-1]


@pytest.mark.parametrize("case", ["no program", "no soundfont", "broken soundfont"])
def test_without_fluidsynth_it_is_told_in_words_and_what_is_missing(
    case: str, word_engine: Process, folder: Path
) -> None:
    more, environment = [], {}
    if case == "no program":
        environment = {"PATH": ""}
    else:
        if missing():
            pytest.skip(missing())
        font = folder / f"{case}.sf2"
        more = [f"files.soundfont={font}"]
        if case == "broken soundfont":
            font.write_text("these are no samples")
    settings = bridge_settings(folder, word_engine, *more)
    with running("daw_bridge", settings, folder / "other.log", environment) as bridge, host_of(bridge) as peer:
        path = write_clip(folder / "tune.mid")
        outcome, answer = peer.ask("/bridge/midi", 1, str(path), "prompt", "sad piano", "sound", 0)
    assert outcome == "/done", answer
    fields = asked(answer)
    assert (fields["type"], fields["bpm"], fields["melody"]) == ("generate", 97.0, "")
    assert fields["duration"] == pytest.approx(240 / 97)
    assert TOLD in answer[-1]
    wanted = {"no program": "fluidsynth", "no soundfont": "files.soundfont", "broken soundfont": "soundfont"}
    assert wanted[case] in answer[-1]
