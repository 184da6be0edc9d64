"""The command line, run as a musician runs it: real processes, a real engine, no sound card."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mido
import numpy as np
import psutil
import pytest
import soundfile
from rich.console import Console

from audio_files.measure import measure
from daw_bridge.audio.devices import Device
from daw_bridge.cli import doctor, playing, selftest, system_libraries
from daw_bridge.cli.options import help_of
from daw_bridge.midi_input import InputPort
from protocols.bridge_messages import BridgeReport, Play
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import ModelInfo, ModelStatus
from protocols.settings import BridgeSettings, FileSettings, Settings, load_settings
from tests.support.models import untrained_pocket

MAIN = (sys.executable, "-c", "from daw_bridge.cli import main; main()")
LIMIT_S = 90.0


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DAW_BRIDGE_SETTINGS": "/nonexistent", **environment},
        check=False,
    )


class Studio:
    """``daw-bridge up`` in the background, and commands that find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.takes = folder / "takes"
        self.takes.mkdir()
        self._log = folder / "up.log"
        model = f"engine.model={untrained_pocket()}"
        settings = (
            model,
            "engine.port=0",
            "engine.osc_port=0",
            "bridge.osc_port=0",
            "bridge.output=none",
            "engine.threads=2",
        )
        flags = [part for setting in (*settings, f"files.takes={self.takes}") for part in ("--set", setting)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*MAIN, "up", *flags],
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "DAW_BRIDGE_SETTINGS": "/nonexistent"},
            )
        self.wait_for_log("Ready")
        bridge, engine = (re.search(rf"{name} ready: .*\bosc_port (\d+)", self.log()) for name in ("bridge", "engine"))
        assert bridge is not None
        assert engine is not None
        self.environment = {
            "DAW_BRIDGE_BRIDGE_OSC_PORT": bridge[1],
            "DAW_BRIDGE_ENGINE_OSC_PORT": engine[1],
            "DAW_BRIDGE_SETTINGS": "/nonexistent",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, **self.environment)

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.log().count(text) < count:
            assert time.monotonic() < deadline, f"never said {text!r}:\n{self.log()}"
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    it = Studio(tmp_path_factory.mktemp("studio"))
    yield it
    children = it.children()
    it.process.terminate()
    assert it.process.wait(LIMIT_S) == 0
    _, alive = psutil.wait_procs(children, 10)
    assert not alive


def test_help_is_made_from_the_protocol_and_loads_nothing_heavy() -> None:
    script = """
import sys
sys.argv = ["daw-bridge", "play", "--help"]
from daw_bridge.cli import main
try:
    main()
finally:
    heavy = {"torch", "torchaudio", "transformers", "numpy", "zmq", "soundfile", "sounddevice", "mido", "rich", "engine"}
    print("loaded:", sorted(heavy & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in shown
    text = " ".join(shown.split())
    for spec in fields_of(Play).values():
        assert (help_of(spec) in text) == (spec.osc and spec.name != "notes"), "a command line has sent no notes before"


def test_no_command_shows_the_commands() -> None:
    shown = run()
    commands = ("up", "engine", "bridge", "play", "continue", "midi", "render", "stop", "models", "devices", "status")
    commands += ("templates",)
    assert all(
        re.search(rf"^  {name} ", shown.stdout + shown.stderr, re.M) for name in (*commands, "settings", "doctor")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("play",), "Missing argument 'PROMPT'"),
        (("play", "x", "--bogus", "1"), "No such option"),
        (("play", "x", "--top-k", "many"), "valid integer"),
        (
            ("play", "x", "--temperature", "9"),
            "daw-bridge: out_of_range: temperature = 9.0 (allowed: a number from 0 to 4)",
        ),
        (("play", "x", "--set", "bridge.bogus=1"), "unknown_parameter: bridge.bogus"),
        (("continue", "/no/such/file.wav"), "not_found: path = /no/such/file.wav"),
        (("render", "x", "--out", "x.mp3"), "allowed: a name that ends in flac, wav"),
        (("engine", "--set", "engine.port=-1"), "out_of_range: engine.port"),
        (("bridge", "--set", "nonsense"), "malformed: --set"),
    ],
)
def test_wrong_usage_is_one_readable_line(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_without_a_bridge_the_commands_say_how_to_start_one() -> None:
    for command in ("stop", "status"):
        result = run(command, "--set", "bridge.osc_port=1")
        assert result.returncode == 1
        assert result.stderr == "daw-bridge: no bridge answers at 127.0.0.1:1; start one with: daw-bridge up\n"


def test_an_engine_that_cannot_start_tells_its_reason() -> None:
    result = run("play", "x", "--fresh", "--model", "no such model")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("daw-bridge: engine: unknown_model: model = no such model")
    assert not result.stdout


def test_settings_show_what_applies_and_write_a_file_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "settings.toml"
    written = run("settings", "--write", DAW_BRIDGE_SETTINGS=str(file))
    assert (written.returncode, written.stdout) == (0, f"{file}\n")
    assert load_settings(path=file, environment={}) == Settings()
    again = run("settings", "--write", DAW_BRIDGE_SETTINGS=str(file))
    assert again.returncode == 2
    shown = run("settings", "--model", "musicgen-small", "--set", "files.takes=/takes", DAW_BRIDGE_SETTINGS=str(file))
    assert 'model = "musicgen-small"' in shown.stdout
    assert 'takes = "/takes"' in shown.stdout


def test_play_writes_a_take_and_prints_its_path_last(studio: Studio) -> None:
    result = studio.run("play", "warm strings, slow, 90 bpm", "--duration", "1", "--seed", "11")
    assert result.returncode == 0, result.stderr
    take = Path(result.stdout.splitlines()[-1])
    assert take.parent == studio.takes
    info = soundfile.info(take)
    assert info.frames == info.samplerate
    sidecar = json.loads(take.with_suffix(".json").read_text())
    assert sidecar["seed"] == 11
    assert sidecar["host_request"]["duration"] == 1.0
    assert "is untrained" in result.stderr
    assert "There is no sound card: playing into the file only" in result.stderr
    assert "first sound after" in result.stderr
    assert "0 underruns" in result.stderr


def test_midi_plays_along_a_file(studio: Studio, tmp_path: Path) -> None:
    clip = mido.MidiFile(ticks_per_beat=480)
    chord = [mido.Message("note_on", note=pitch, velocity=90) for pitch in (60, 64, 67)]
    release = [mido.Message("note_off", note=pitch, time=480 * (pitch == 60)) for pitch in (60, 64, 67)]
    clip.tracks.append(mido.MidiTrack(chord + release))
    clip.save(tmp_path / "clip.mid")
    result = studio.run("midi", str(tmp_path / "clip.mid"), "--lead", "highest", "--bpm", "300", "--prompt", "choir")
    assert result.returncode == 0, result.stderr
    assert "clip.mid: 120 bpm, 4/4, " in result.stderr
    assert "played at 300 bpm" in result.stderr
    sidecar = json.loads(Path(result.stdout.splitlines()[-1]).with_suffix(".json").read_text())
    assert sidecar["host_request"]["lead"] == "highest"
    assert (sidecar["request"]["bpm"], sidecar["request"]["melody"]) == (300.0, ""), "this model hears no melody"
    assert "this model hears no melody: " in result.stderr
    refused = studio.run("midi", str(tmp_path / "clip.mid"), "--lead", "lowest")
    assert refused.returncode != 0
    assert "out_of_range: lead = lowest (allowed: auto, highest, loudest, channel:1 to channel:16)" in refused.stderr


def test_render_writes_the_file_that_was_named_and_never_over_another(studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "piece.flac"
    before = set(studio.takes.iterdir())
    result = studio.run("render", "two", "--duration", "0.5", "-o", str(out))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    assert soundfile.info(out).format == "FLAC"
    assert json.loads(out.with_suffix(".json").read_text())["audio"]["file"] == "piece.flac"
    assert set(studio.takes.iterdir()) == before
    assert "sound" not in result.stderr.replace("sound card", "")
    content = out.read_bytes()
    assert studio.run("render", "two", "--duration", "0.5", "-o", str(out)).returncode == 2
    assert out.read_bytes() == content
    assert studio.run("render", "two", "--duration", "1", "-o", str(out), "--force").returncode == 0
    assert soundfile.info(out).duration == 1.0


def test_continue_reads_a_region_and_a_refusal_is_one_line(studio: Studio, tmp_path: Path) -> None:
    region = selftest.write_region(tmp_path / "tones.wav")
    result = studio.run("continue", str(region), "--start", "1", "--length", "2", "--duration", "1", "--no-sound")
    assert result.returncode == 0, result.stderr
    assert soundfile.info(result.stdout.strip()).duration == 1.0
    refused = studio.run("continue", str(region), "--start", "100")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("daw-bridge: out_of_range: start = 100")
    assert not refused.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends Ctrl-C the POSIX way")
def test_ctrl_c_ends_the_stream_and_keeps_what_was_made(studio: Studio) -> None:
    process = subprocess.Popen(
        [*MAIN, "play", "long", "--duration", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **studio.environment},
    )
    assert process.stderr is not None
    while "first sound" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    take = Path(output.splitlines()[-1])
    assert 0 < soundfile.info(take).duration < 60
    assert json.loads(take.with_suffix(".json").read_text())["reason"] == "cancelled"


def test_stop_ends_what_plays(studio: Studio) -> None:
    with subprocess.Popen(
        [*MAIN, "play", "long", "--duration", "60", "--no-save"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **studio.environment},
    ) as process:
        assert process.stderr is not None
        while "first sound" not in process.stderr.readline():
            assert process.poll() is None
        assert studio.run("stop").returncode == 0
        output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    assert output == ""
    assert "cancelled" in errors


def test_status_models_and_devices(studio: Studio) -> None:
    report = json.loads(studio.run("status", "--json").stdout)
    assert report["bridge"]["engine"] == "ready"
    assert report["engine"]["model"] == untrained_pocket().name
    assert re.search(r"^  sample_rate +\d+ Hz$", studio.run("status").stdout, re.M)
    models = json.loads(studio.run("models", "--json").stdout)
    assert [model["name"] for model in models if model["loaded"]] == [untrained_pocket().name]
    assert re.search(rf"^{untrained_pocket().name} +", studio.run("models").stdout, re.M)
    devices = studio.run("devices", "--json")
    assert devices.returncode in (0, 1)  # 1 where PortAudio is missing, told by the bridge
    if devices.returncode == 0:
        assert isinstance(json.loads(devices.stdout), list)


def test_a_killed_engine_comes_back_and_plays_again(studio: Studio) -> None:
    engine = next(child for child in studio.children() if "engine" in child.cmdline())
    ready = studio.log().count("engine ready: port")
    engine.kill()
    studio.wait_for_log("engine ready: port", ready + 1)
    deadline = time.monotonic() + LIMIT_S
    while json.loads(studio.run("status", "--json").stdout)["bridge"]["engine"] != "ready":
        assert time.monotonic() < deadline
    assert studio.run("play", "again", "--duration", "0.5", "--no-sound").returncode == 0


def test_the_selftest_is_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "CONTINUATION_S", 1.0)
    monkeypatch.setattr(selftest, "BPM", 200)  # the same four bars in half the time
    flags = ["bridge.output=none", "engine.threads=2", f"engine.model={untrained_pocket()}"]
    result = selftest.run_selftest(flags, note=lambda line: None)
    # How often the sound ran dry on a machine that runs other tests as well says nothing about the bridge.
    assert [fault for fault in result.faults if "ran dry" not in fault] == []
    assert [take.request for take in result.takes] == ["midi", "continue"]
    assert [take.wanted_seconds for take in result.takes] == [4.8, 1.0]
    assert not any(Path(take.path).exists() for take in result.takes)


def test_the_selftests_material_is_what_it_says(tmp_path: Path) -> None:
    audio, rate = soundfile.read(selftest.write_region(tmp_path / "tones.wav"), always_2d=True)
    assert (rate, audio.shape) == (44_100, (6 * 44_100, 2))
    found = measure(audio.T.astype(np.float32), rate)
    assert -30 < found.rms_dbfs < -10
    assert found.clipped_samples == 0
    assert selftest.write_clip(tmp_path / "melody.mid").read_bytes().startswith(b"MThd")


def test_doctor_mends_ports_that_are_taken(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        checks = list(doctor.check_ports(Settings(bridge=BridgeSettings(osc_port=port))))
    taken = [check for check in checks if check.state == "fail" and str(port) in check.detail]
    assert [check.fix for check in taken] == ["close what uses it, or --set bridge.osc_port=ANOTHER"]


def test_doctor_finds_a_running_bridge_and_a_closed_folder(studio: Studio, tmp_path: Path) -> None:
    settings = load_settings([], path=tmp_path / "none", environment=studio.environment)
    details = [check.detail for check in doctor.check_ports(settings)]
    assert any("our bridge" in detail for detail in details)
    assert any("our engine" in detail for detail in details)
    file = tmp_path / "file"
    file.touch()
    (takes, _) = doctor.check_folders(Settings(files=FileSettings(takes=str(file / "takes"))))
    assert takes.state == "fail"


@pytest.mark.parametrize(
    ("outcome", "state", "said"),
    [
        (RequestError(ErrorCode.UNSUPPORTED, "device", "OSError"), "warn", "missing"),
        (RequestError(ErrorCode.INTERNAL, "device", "timeout"), "warn", "timeout"),
        ([], "warn", "no sound card"),
        ([Device(0, "Card", "ALSA", 2, 48000, False, False)], "warn", "none is the default"),
        ([Device(0, "Card", "ALSA", 2, 48000, True, True)], "ok", "ALSA/Card at 48000 Hz"),
    ],
)
def test_doctor_on_sound(outcome: object, state: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan() -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr("daw_bridge.audio.devices.scan_devices", scan)
    check = list(doctor.check_sound())[-1]
    assert check.state == state
    assert said in check.detail
    assert bool(check.fix) == (state != "ok")


@pytest.mark.parametrize(
    ("outcome", "state", "said", "fix"),
    [
        (
            RequestError(ErrorCode.UNSUPPORTED, "input", "No module named 'rtmidi'"),
            "warn",
            "No module",
            "daw-bridge[midi]",
        ),
        (
            RequestError(ErrorCode.UNSUPPORTED, "input", "libasound.so.2: no such file"),
            "warn",
            "libasound",
            "libasound2",
        ),
        (RequestError(ErrorCode.INTERNAL, "input", "timed out"), "warn", "timed out", "restart"),
        ([], "ok", "no input is connected", ""),
        ([InputPort("Keys", "UNIX_JACK"), InputPort("Pads", "UNIX_JACK")], "ok", "inputs: Keys, Pads", ""),
    ],
)
def test_doctor_on_midi(outcome: object, state: str, said: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan() -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr("daw_bridge.midi_input.scan_inputs", scan)
    (check,) = doctor.check_midi()
    assert check.state == state
    assert said in check.detail
    assert fix in check.fix
    assert bool(check.fix) == (state != "ok")


def test_doctor_on_models(tmp_path: Path) -> None:
    def info(name: str, source: str, status: ModelStatus) -> ModelInfo:
        return ModelInfo(name=name, source=source, licence="", parameters=1, status=status, loaded=False, summary="")

    known = {
        "pocket": info("pocket", "here", "untrained"),
        "early": info("early", "comes with the engine", "preview"),
        "done": info("done", "comes with the engine", "trained"),
        "big": info("big", "owner/big-model-nobody-has", "trained"),
    }
    noise = doctor._model("pocket", known)
    assert (noise.state, noise.fix) == ("warn", "--model NAME, one that makes music: early, done, big")
    assert "untrained" in noise.detail
    early = doctor._model("early", known)
    assert early.state == "ok"
    assert "is a preview: it makes music, but below the marks" in early.detail
    assert doctor._model("done", known).detail == "done comes with the engine"
    assert doctor._model("big", known).fix == "daw-bridge models download big"
    assert doctor._model(str(tmp_path), known).state == "ok"
    assert doctor._model("nonsense", known).state == "fail"


@pytest.mark.parametrize(("status", "said"), [("untrained", "noise"), ("preview", "below the marks"), ("trained", "")])
def test_what_is_played_says_how_far_its_model_is(status: ModelStatus, said: str) -> None:
    empty = {
        name: {"str": "", "int": 0, "float": 0.0, "bool": False}[spec.kind]
        for name, spec in fields_of(BridgeReport).items()
    }
    report = BridgeReport(**empty | {"model": "pocket", "status": status})  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), width=200)
    playing.warn(report, Play(prompt="x"), console)
    heard = console.file.getvalue()  # type: ignore[attr-defined]
    assert said in heard
    assert bool(heard) == bool(said)


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt-get", "sudo apt-get install -y --no-install-recommends libportaudio2"),
        ("brew", "brew install portaudio"),
        ("none", "pip install --force-reinstall sounddevice"),
    ],
)
def test_the_line_that_installs_portaudio(manager: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = system_libraries.portaudio_command(lambda name: name if name == manager else None)
    monkeypatch.setattr(system_libraries, "portaudio_command", lambda: found)
    assert system_libraries.portaudio_line() == line


def test_templates_are_listed_with_the_place_they_live_in(tmp_path: Path) -> None:
    path = tmp_path / "templates.toml"
    settings = ("--set", "bridge.osc_port=0", "--set", f"files.templates={path}")
    path.write_text('mine = "warm {style} strings"\n')
    rows = {row["name"]: row for row in json.loads(run("templates", "--json", *settings).stdout)}
    assert rows["mine"] == {"name": "mine", "text": "warm {style} strings", "source": str(path)} | {"type": "template"}
    assert rows["rock"]["source"] == "built in"
    shown = run("templates", *settings)
    assert re.search(r"^mine +warm {style} strings +", shown.stdout, re.M)
    assert shown.stderr == f"Yours are kept in {path}\n"
    path.write_text('mine = "{tempo}"\n')
    broken = run("templates", *settings)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert f"{path}, line 1" in broken.stderr
    assert len(broken.stderr.splitlines()) == 1


def test_doctor_on_templates_and_fluidsynth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "templates.toml"
    settings = Settings(files=FileSettings(templates=str(path), soundfont=str(path)))
    assert [check.state for check in doctor.check_templates(settings)] == ["ok"]
    (check,) = doctor.check_fluidsynth(settings)
    assert (check.state, "files.soundfont" in check.fix) == ("warn", True)
    path.write_text("no toml")
    (check,) = doctor.check_templates(settings)
    assert (check.state, f"{path}, line 1" in check.detail, str(path) in check.fix) == ("warn", True, True)
    monkeypatch.setenv("PATH", "")
    (check,) = doctor.check_fluidsynth(settings)
    assert (check.state, "fluidsynth.org" in check.fix) == ("warn", True)


def test_doctor_checks_everything() -> None:
    result = run(
        "doctor", "--json", "--set", "engine.port=0", "--set", "engine.osc_port=0", "--set", "bridge.osc_port=0"
    )
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert {"Python", "Ports", "Takes folder", "Cache folder", "Processor", "torch", "GPU", "Engine", "Model"} <= set(
        checks
    )
    assert all(check["fix"] for check in checks.values() if check["state"] != "ok")
    assert checks["Engine"]["state"] == checks["torch"]["state"] == "ok"
    assert result.returncode == int(any(check["state"] == "fail" for check in checks.values()))
