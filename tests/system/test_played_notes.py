"""A keyboard on a real MIDI system, a real bridge and engine: what is played becomes what the model hears."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import numpy as np
import psutil
import pytest
import soundfile

from daw_bridge.midi_input import MidiInput, scan_inputs
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackServer
from tests.support.midi import Keyboard, require_midi
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until

BPM = 240.0
BEAT = 0.25
JITTER = 0.02
EXAMPLE = Path(__file__).resolve().parents[2] / "host_examples" / "python" / "play_live.py"
TUNE = ((0, 1, 60), (1, 2.5, 64), (2.5, 3.5, 67))
"""One bar: beats and pitches."""


@pytest.fixture(scope="module")
def jack() -> Iterator[JackServer]:
    require_midi()
    with JackServer(period=256) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played")
    write_own_model(path / "tiny", window_seconds=Fraction(4, 5))
    return path


@pytest.fixture(scope="module")
def bridge(folder: Path, jack: JackServer) -> Iterator[Process]:
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    with (
        running("engine", settings, folder / "engine.log") as engine,
        running(
            "daw_bridge",
            bridge_settings(folder, engine, "bridge.midi_input=keyboard"),
            folder / "bridge.log",
            jack.environment,
        ) as process,
    ):
        yield process


@pytest.fixture
def keyboard(jack: JackServer) -> Iterator[Keyboard]:
    with Keyboard(jack) as plugged_in:
        yield plugged_in


@pytest.fixture
def host(bridge: Process) -> Iterator[OscPeer]:
    with host_of(bridge) as peer:
        yield peer


def performance(*notes: tuple[float, float, int]) -> list[tuple[float, str]]:
    """Notes in beats as messages in seconds."""
    on = [(start * BEAT, f"90 {pitch:02x} 50") for start, _, pitch in notes]
    off = [(end * BEAT, f"80 {pitch:02x} 00") for _, end, pitch in notes]
    return sorted(on + off)


def sidecar(answer: list[Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(answer[4]).with_suffix(".json").read_text())
    return content


def notes_of(text: str) -> list[tuple[float, float, int]]:
    line = MelodyLine.decode(text)
    return [(note.start / line.rate, note.end / line.rate, note.pitch) for note in line.notes]


def is_the_tune(text: str, sent: list[float], tune: tuple[tuple[float, float, int], ...] = TUNE) -> bool:
    """Whether the melody has these pitches, struck when the keyboard sent them."""
    struck = [at for at, (_, message) in zip(sent, performance(*tune), strict=True) if message.startswith("9")]
    found = notes_of(text)
    assert [pitch for _, _, pitch in found] == [pitch for _, _, pitch in tune], found
    errors = [abs(start - at) for (start, _, _), at in zip(found, struck, strict=True)]
    assert max(errors) < JITTER, errors
    return MelodyLine.decode(text).seconds == 4 * Fraction(1, 4)


def test_what_is_played_is_what_the_model_hears(host: OscPeer, keyboard: Keyboard) -> None:
    host.send("/bridge/notes/record", 1, "riff", "bpm", BPM, "length", 4.0)
    assert host.wait("/bridge/recording", "riff", "ready") == ["riff", "ready", 0.0, 0]
    sent = keyboard.play(performance(*TUNE))
    assert host.wait("/bridge/recording", "riff", "playing")[3] >= 1
    held = host.wait("/done", "/bridge/notes/record", 1)[2:]
    assert held[:3] == ["riff", 3, 4.0]
    assert "keyboard" in held[3]
    assert held[4].startswith("riff: 240 bpm, 4/4")
    outcome, answer = host.ask("/bridge/play", 2, "sad piano", "notes", "riff", "duration", 1.2, "seed", 5, "sound", 0)
    assert outcome == "/done", answer
    request = sidecar(answer)["request"]
    assert request["bpm"] == BPM
    assert is_the_tune(request["melody"], sent)
    outcome, again = host.ask("/bridge/again", 3, str(Path(answer[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(soundfile.read(answer[4])[0], soundfile.read(again[4])[0])


def test_a_running_stream_follows_turn_after_turn(host: OscPeer, keyboard: Keyboard) -> None:
    host.send("/bridge/open", 1, "sad piano", "bpm", BPM, "save", 1, "sound", 0, "latency", 0.3, "seed", 5)
    stream = host.wait("/bridge/queued", 1)[1]
    host.wait("/bridge/started", stream)
    host.send("/bridge/notes/record", 2, "riff", "length", 4.0, "turns", 0, "stream", stream)
    host.wait("/bridge/recording", "riff", "ready")
    sent = keyboard.play(performance(*TUNE, (4.5, 5.5, 72), (8.5, 9, 48)))
    host.heard.clear()
    host.wait("/done", "/bridge/update", 0)
    outcome, answer = host.ask("/bridge/notes/stop", 3, "riff")
    assert (outcome, answer) == ("/done", [])
    held = host.wait("/done", "/bridge/notes/record", 2)[2:]
    assert held[:3] == ["riff", 1, 4.0], "the last turn that was whole"
    host.ask("/bridge/cancel", 4, stream)
    answer = host.wait("/done", "/bridge/open", 1)[2:]
    changes = [change["melody"] for change in sidecar(answer)["changes"] if "melody" in change]
    first, second = (notes_of(change) for change in changes[:2])
    assert [pitch for *_, pitch in first] == [60, 64, 67]
    assert [pitch for *_, pitch in second] == [72]
    assert abs(second[0][0] - (sent[6] - 4 * BEAT)) < JITTER
    outcome, again = host.ask("/bridge/again", 5, str(Path(answer[4]).with_suffix(".json")), "sound", 0)
    assert outcome == "/done", again
    assert np.array_equal(soundfile.read(answer[4])[0], soundfile.read(again[4])[0])


def test_the_example_follows_a_keyboard(bridge: Process, keyboard: Keyboard) -> None:
    command = [sys.executable, str(EXAMPLE), "sad piano", "1", str(bridge.ports["osc_port"])]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as example:
        assert example.stdout is not None
        lines = []
        for line in example.stdout:
            lines.append(line.strip())
            if lines[-1] == "play now":
                keyboard.play(performance(*TUNE))
        assert example.wait(60) == 0, lines
    assert any(line.startswith("/done /bridge/notes/record 2 riff 3 8.0 ") for line in lines), lines
    assert "/done /bridge/update 0" in lines
    assert lines[-1].startswith("/done /bridge/open 1 ")


def test_a_cable_is_pulled(host: OscPeer, jack: JackServer) -> None:
    with Keyboard(jack) as keyboard:
        host.send("/bridge/notes/record", 1, "riff", "bpm", BPM)
        host.wait("/bridge/recording", "riff", "ready")
        keyboard.play(performance(*TUNE[:2]))
        host.wait("/bridge/recording", "riff", "playing")
        keyboard.unplug()
        held = host.wait("/done", "/bridge/notes/record", 1)[2:]
    assert held[:2] == ["riff", 2]
    assert held[4].endswith("is gone")


def test_a_midi_system_that_crashes_is_told(
    jack: JackServer, keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in jack.environment.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children())
    source = MidiInput("KEYBOARD")
    wait_until(lambda: source.read() or source.name)
    assert "keyboard" in source.name
    keyboard.play([(0, "90 3c 50"), (0, "f8"), (0, "fe"), (0, "b0 40 7f")])
    played: list[tuple[int, mido.Message]] = []
    wait_until(lambda: played.extend(source.read()) or len(played) >= 2)
    assert [message.type for _, message in played] == ["note_on", "control_change"], "no clock, no active sensing"
    (process,) = set(psutil.Process().children()) - before
    process.kill()
    wait_until(lambda: source.read() or source.error)
    assert source.error is not None
    assert (source.error.code, source.error.value) == (ErrorCode.UNKNOWN_DEVICE, source.name)
    source.close()


def test_inputs_are_listed_and_one_is_recorded_once(host: OscPeer, keyboard: Keyboard) -> None:
    def rows() -> list[dict[str, Any]]:
        host.heard.clear()
        assert host.ask("/bridge/midi/inputs", 1)[0] == "/done"
        items = [values[3:] for path, values in host.heard if path == "/bridge/midi/inputs.item"]
        return [dict(zip(item[::2], item[1::2], strict=True)) for item in items]

    (row,) = rows()
    assert "keyboard" in row["name"]
    assert (row["api"], row["open"]) == ("UNIX_JACK", False)
    host.send("/bridge/notes/record", 2, "riff", "input", row["name"])
    host.wait("/bridge/recording", "riff", "ready")
    assert rows()[0]["open"]
    outcome, answer = host.ask("/bridge/notes/record", 3, "other")
    assert (outcome, answer[0]) == ("/fail", "busy"), answer
    outcome, answer = host.ask("/bridge/notes/stop", 4, "riff")
    assert (outcome, answer) == ("/done", [])
    assert host.wait("/fail", "/bridge/notes/record", 2)[2] == "empty", "nothing was played"


def test_an_input_that_is_not_there_is_refused(host: OscPeer, keyboard: Keyboard) -> None:
    outcome, answer = host.ask("/bridge/notes/record", 1, "riff", "input", "theremin")
    assert (outcome, answer[0]) == ("/fail", "unknown_device"), answer
    assert "keyboard" in answer[1]
    outcome, answer = host.ask("/bridge/notes/record", 2, "riff", "stream", 99)
    assert (outcome, answer[0]) == ("/fail", "unknown_stream"), answer
    outcome, answer = host.ask("/bridge/notes/stop", 3, "riff")
    assert (outcome, answer[0]) == ("/fail", "not_found"), answer


def test_a_machine_without_a_midi_system_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    (tmp_path / "rtmidi.py").write_text("raise ImportError('libasound.so.2: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RequestError) as caught:
        scan_inputs()
    assert (caught.value.code, caught.value.field) == (ErrorCode.UNSUPPORTED, "input")
    assert "libasound.so.2" in caught.value.value
    assert "apt install libasound2" in caught.value.allowed
    source = MidiInput("")
    wait_until(lambda: source.read() or source.error)
    assert source.error is not None
    assert source.error.code is ErrorCode.UNSUPPORTED
    source.close()
