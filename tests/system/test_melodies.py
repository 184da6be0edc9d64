"""Notes at a real engine and bridge: from a MIDI file or from OSC pages to what the model hears, and back from the sidecar."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from numpy.typing import NDArray

from protocols.melody import MelodyLine
from tests.support.answers import sidecar, sound
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.hosts import host_of
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running

BEAT = Fraction(60, 97)
TUNE = MelodyLine.of_seconds([(0, BEAT, 60), (BEAT, 2 * BEAT, 64), (Fraction(5, 2) * BEAT, 4 * BEAT, 67)], 4 * BEAT)
"""One bar at 97 bpm, as it stands in the clip's upper part and in the pages."""
NOTES = (60, 0, 1, 100, 64, 1, 1, 90, 67, 2.5, 1.5, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("melodies")


@pytest.fixture(scope="module")
def own_engine(folder: Path) -> Iterator[Process]:
    write_own_model(folder / "tiny", window_seconds=Fraction(4, 5))
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    with running("engine", settings, folder / "engine.log") as process:
        yield process


@pytest.fixture(scope="module")
def own_bridge(folder: Path, own_engine: Process) -> Iterator[Process]:
    with running("daw_bridge", bridge_settings(folder, own_engine), folder / "bridge.log") as process:
        yield process


@pytest.fixture
def host(own_bridge: Process) -> Iterator[OscPeer]:
    with host_of(own_bridge) as peer:
        yield peer


def write_clip(path: Path) -> Path:
    """The tune, and a bass on another channel that rests where the tune does."""
    file = mido.MidiFile(ticks_per_beat=480)
    head = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(97))])
    tune, bass = mido.MidiTrack(), mido.MidiTrack()
    rest = 0
    for pitch, length, after in ((60, 480, 0), (64, 480, 240), (67, 720, 0)):
        tune.append(mido.Message("note_on", note=pitch, velocity=90, time=rest))
        tune.append(mido.Message("note_off", note=pitch, time=length))
        rest = after
    bass.append(mido.Message("note_on", channel=1, note=36, velocity=120))
    bass.append(mido.Message("note_off", channel=1, note=36, time=960))
    file.tracks += [head, tune, bass]
    file.save(path)
    return path


def direct(engine: Process, **fields: Any) -> NDArray[np.float32]:
    """What the engine makes of a request that is put to it without a bridge."""
    with ZmqPeer(engine.ports["port"]) as peer:
        return peer.stream("generate", **fields)[1][:, 0]


def alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() < 2**-22)  # a file has 24 bits


def test_the_lead_line_of_a_clip_is_what_the_model_hears(host: OscPeer, own_engine: Process, folder: Path) -> None:
    path = str(write_clip(folder / "tune.mid"))
    asked = ("prompt", "sad piano", "lead", "highest", "seed", 5, "sound", 0)
    outcome, answer = host.ask("/bridge/midi", 1, path, *asked)
    assert outcome == "/done", answer
    request = sidecar(answer)["request"]
    assert (request["prompt"], request["bpm"], request["key"]) == ("sad piano", 97.0, "")
    assert MelodyLine.decode(request["melody"]) == TUNE
    assert answer[-1].startswith("tune.mid: 97 bpm, 4/4, ")
    assert answer[-1].endswith("; the model hears a melody of 3 notes, 2.474 s long")
    assert len(sound(answer)) == round(4 * BEAT * 32000)

    same = {"prompt": "sad piano", "bpm": 97.0, "key_hint": request["key_hint"], "seed": 5}
    same["duration"] = float(4 * BEAT)
    assert alike(sound(answer), direct(own_engine, melody=TUNE.encode(), **same))
    assert not alike(sound(answer), direct(own_engine, **same)), "it is heard"
    outcome, answer = host.ask("/bridge/midi", 2, path, *asked, "lead", "channel:2")
    assert [note.pitch for note in MelodyLine.decode(sidecar(answer)["request"]["melody"]).notes] == [36]


def test_notes_that_are_sent_are_what_the_model_hears(host: OscPeer, own_engine: Process) -> None:
    assert host.ask("/bridge/notes/begin", 1, "riff", "bpm", 97.0, "count", 3) == ("/done", ["riff", 0])
    assert host.ask("/bridge/notes/add", 2, "riff", 1, *NOTES[4:]) == ("/done", ["riff", 2])
    outcome, answer = host.ask("/bridge/play", 3, "sad piano", "notes", "riff")
    assert (outcome, answer[0]) == ("/fail", "missing")
    assert host.ask("/bridge/notes/add", 4, "riff", 0, *NOTES[:4]) == ("/done", ["riff", 3])
    outcome, answer = host.ask("/bridge/play", 5, "sad piano", "notes", "riff", "duration", 1.5, "seed", 5, "sound", 0)
    assert outcome == "/done"
    request = sidecar(answer)["request"]
    assert MelodyLine.decode(request["melody"]) == TUNE
    fields = {"prompt": "sad piano", "bpm": 97.0, "key_hint": request["key_hint"], "seed": 5, "duration": 1.5}
    assert alike(sound(answer), direct(own_engine, melody=TUNE.encode(), **fields))


def test_the_notes_of_a_running_stream_change_and_it_is_made_again(host: OscPeer, folder: Path) -> None:
    path = str(write_clip(folder / "tune.mid"))
    assert host.ask("/bridge/notes/file", 1, "tune", path, "lead", "highest") == ("/done", ["tune", 3])
    host.send("/bridge/open", 2, "sad piano", "bpm", 120.0, "save", 1, "sound", 0, "latency", 0.3, "seed", 5)
    stream = host.wait("/bridge/queued", 2)[1]
    host.wait("/bridge/started", stream)
    for request, arguments in enumerate((("notes", "tune"), ("notes", "", "prompt", "drums"), ("notes", "tune")), 3):
        assert host.ask("/bridge/update", request, stream, *arguments)[0] == "/done"
        host.wait("/bridge/updated", stream)
        host.heard = [item for item in host.heard if item[0] != "/bridge/updated"]
    host.wait("/bridge/progress", stream)
    host.ask("/bridge/cancel", 9, stream)
    first = host.wait("/done", "/bridge/open", 2)[2:]
    changes = sidecar(first)["changes"]
    lines = [change["melody"] and MelodyLine.decode(change["melody"]) for change in changes]
    assert lines[1] == ""
    assert lines[0] == lines[2]
    assert lines[0].seconds == 2, "at the tempo of the stream"
    assert [change.get("bpm") for change in changes] == [None, 120.0, None]
    outcome, again = host.ask("/bridge/again", 10, str(Path(first[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(sound(first), sound(again))


def test_changes_arrive_in_the_order_in_which_they_are_asked_for(own_engine: Process) -> None:
    with ZmqPeer(own_engine.ports["port"]) as peer:
        stream = peer.ask("open", prompt="x", lead=0.3)["stream"]
        peer.event("started", stream)
        melodies = [TUNE.encode(), "", TUNE.encode(), ""]
        for melody in melodies:
            peer.send("update", stream=stream, melody=melody)
        for _ in melodies:
            while not any(event["type"] == "updated" for event in peer.events):
                peer.send("acknowledge", stream=stream, position=len(peer.samples(stream)))
                assert peer.receive(20)
            peer.event("updated", stream)
        peer.ask("cancel", stream=stream)
        assert [change["melody"] for change in peer.event("recipe", stream)["changes"]] == melodies


def test_a_melody_that_cannot_be_is_refused_by_the_engine(own_engine: Process) -> None:
    with ZmqPeer(own_engine.ports["port"]) as peer:
        stream = peer.ask("open", prompt="x", lead=0.1)["stream"]
        for melody, code in (("la la", "malformed"), ('{"rate":1,"length":4,"notes":[]}', "empty"), (7, "bad_type")):
            for reply in (
                peer.ask("generate", melody=melody),
                peer.ask("open", melody=melody),
                peer.ask("update", stream=stream, melody=melody),
            ):
                assert (reply["type"], reply["code"], reply["field"]) == ("fail", code, "melody")
        longest = MelodyLine.of_seconds([(index / 8, (index + 1) / 8, 60) for index in range(16_384)], 2048).encode()
        for _ in range(40):
            reply = peer.ask("update", stream=stream, melody=longest)
            if reply["type"] == "fail":
                break
        assert (reply["code"], reply["field"]) == ("too_long", "melody")
        peer.ask("cancel", stream=stream)
