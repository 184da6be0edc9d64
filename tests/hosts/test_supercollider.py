"""The Quark in a real sclang with a real scsynth, on a JACK server without a sound card, through a tap that keeps what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from protocols.melody import MelodyLine
from tests.support.jack import JackRecorder, JackServer
from tests.support.osc_tap import OscTap, recorded
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running
from tests.support.supercollider import QUARK, Sitting, host_environment, language_settings, require_supercollider, sit

SESSION = Path(__file__).parent / "supercollider" / "session.scd"
pytestmark = pytest.mark.timeout(300)  # the first test waits for the whole sitting
RATE, PERIOD = 48000, 1024
FADE = round(0.02 * RATE)
SECONDS = 200.0
"""For a whole sitting; sclang ends itself then."""
BEAT = Fraction(60, 97)
POSITION_BOUND_MS = 60.0
"""How far the bridge's clock may be from the TempoClock: two periods of the JACK server, and as much as OSC takes both ways."""


def port_setting(port: int) -> str:
    return f"bridge.osc_port={port}"


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory, engine: Process) -> Iterator[Sitting]:
    """One run of the session script: a bridge on JACK, another one whose model hears melodies and that is started anew."""
    require_supercollider()
    folder = tmp_path_factory.mktemp("supercollider")
    with ExitStack() as stack:
        jack = stack.enter_context(JackServer(RATE, PERIOD))
        card = stack.enter_context(on_jack(folder, engine, jack))
        other_engine = stack.enter_context(melodious_engine(folder / "other"))
        other = Restarted(folder / "other", other_engine)
        stack.callback(other.stop)
        tap, other_tap = stack.enter_context(OscTap(card.ports["osc_port"])), stack.enter_context(OscTap(other.port))
        recorder = stack.enter_context(JackRecorder(jack, folder, "daw-bridge"))
        environment = host_environment(folder, jack) | {
            "BRIDGE_PORT": str(tap.port),
            "OTHER_PORT": str(other_tap.port),
            "FOLDER": str(folder),
            "LIMIT": str(SECONDS),
        }
        sitting = Sitting(folder)
        language = ["-l", str(language_settings(folder, QUARK))]
        sit(sitting, SESSION, environment, SECONDS + 10, language, {"restart": other.end, "lost": other.start})
        sitting.xruns = recorder.xruns
        sitting.sent = tap.sent + other_tap.sent
        yield sitting


def on_jack(folder: Path, engine: Process, jack: JackServer) -> Any:
    settings = bridge_settings(folder, engine, "bridge.output=JACK", "bridge.prebuffer_ms=400")
    return running("daw_bridge", settings, folder / "bridge.log", jack.environment)


def melodious_engine(folder: Path) -> Any:
    """An engine whose model hears melodies."""
    folder.mkdir()
    write_own_model(folder / "tiny", window_seconds=Fraction(4, 5))
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    return running("engine", settings, folder / "engine.log")


class Restarted:
    """A silent bridge that can be ended and started again at the same port."""

    def __init__(self, folder: Path, engine: Process) -> None:
        self._folder, self._engine = folder, engine
        self._process: Process | None = self._launch(0)
        self.port = self._process.ports["osc_port"]

    def _launch(self, port: int) -> Process:
        allowed = f"files.allowed={self._folder.parent}"
        settings = bridge_settings(self._folder, self._engine, port_setting(port), allowed)
        return Process("daw_bridge", settings, self._folder / "bridge.log")

    def end(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()

    def start(self) -> None:
        self._process = self._launch(self.port)

    def stop(self) -> None:
        if self._process is not None and self._process.popen.poll() is None:
            self._process.stop()


def sidecar(take: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(take).with_suffix(".json").read_text())
    return content


def test_the_sitting_went_through(sitting: Sitting) -> None:
    assert "error" not in sitting.reports, "".join(sitting.output[-80:])
    assert sitting.one("end") == []
    assert sitting.code == 0, "".join(sitting.output[-40:])
    assert sitting.one("version")[0] == "bridge"


def test_a_generated_piece_is_in_a_buffer_sample_for_sample(sitting: Sitting) -> None:
    path, number, seed, seconds, frames, rate, told = sitting.one("take")
    take, hertz = soundfile.read(path, dtype="float32", always_2d=True)
    assert (int(seed), float(seconds), int(frames), float(rate)) == (21, 1.5, len(take), hertz)
    assert np.array_equal(sitting.samples("generated.wav"), take)
    assert int(number) > 0
    assert told == "true", "the action was called once, with the take"
    again, no_buffer = sitting.one("again")
    assert no_buffer == "true"
    assert np.array_equal(soundfile.read(again, dtype="float32", always_2d=True)[0], take), "the seed was sent as it is"


def test_errors_have_codes(sitting: Sitting) -> None:
    assert sitting.one("refused") == ["out_of_range", "unknown_parameter", "not_allowed", "unknown_stream"]


def test_a_recorded_buffer_is_gone_on_from(sitting: Sitting) -> None:
    path, seconds, frames = sitting.one("continued")
    assert (float(seconds), int(frames)) == (1.0, 32000)
    whole, part = (message.arguments[1] for message in sitting.messages("/bridge/continue")[-2:])
    handed = soundfile.read(str(whole), dtype="float32", always_2d=True)
    assert handed[1] == RATE
    assert np.array_equal(handed[0], sitting.samples("recorded.wav"))
    assert np.argmax(np.abs(np.fft.rfft(handed[0][:, 0]))) == 330, (
        "it is what the synth played: one second, bins of 1 Hz"
    )
    assert np.array_equal(soundfile.read(str(part), dtype="float32", always_2d=True)[0], handed[0][12000:36000])
    record = sidecar(path)
    assert record["prompt_codes"], "the model was given it"
    assert record["host_request"]["path"] == whole
    assert record["host_request"]["prompt"] == "strings"


def test_a_melody_from_a_pattern_is_held_as_it_would_be_played(sitting: Sitting) -> None:
    name, count, sent, _, _ = sitting.one("notes")
    assert (name, count, sent) == ("long", "240", "240"), "60 bars of four notes, of which two are a chord"
    pages = [message.arguments for message in sitting.messages("/bridge/notes/add") if message.arguments[1] == "long"]
    assert [page[2] for page in pages] == list(range(0, 240, 40))
    assert all(type(page[3]) is int and type(page[4]) is float for page in pages), "pitches whole, starts not"
    assert max(len(packet) for packet in sitting.sent) < 1400
    expected = [(0, BEAT, 60), (BEAT, 2 * BEAT, 64), (Fraction(5, 2) * BEAT, 4 * BEAT, 72)]
    held = MelodyLine.decode(sidecar(sitting.one("melody")[0])["request"]["melody"])
    assert held == MelodyLine.of_seconds(expected, 4 * BEAT)
    assert MelodyLine.decode(sidecar(sitting.one("degrees")[0])["request"]["melody"]) == held, "degrees of an Array"
    assert sitting.one("noNotes") == ["empty"]


def test_a_melody_is_read_from_a_buffer(sitting: Sitting) -> None:
    count, seconds, sounding = sitting.one("sung")
    assert (int(count), float(seconds)) == (1, 1.0)
    assert float(sounding) > 0.8


def equal_periods(heard: NDArray[np.float32], take: NDArray[np.float32]) -> list[bool]:
    """For each period of a recording whether it is what comes next in the take, or goes on after periods that JACK left out.

    A server without a real clock misses periods when the machine is busy: what it leaves out is whole periods of either side.
    """
    sounding = np.flatnonzero(heard)
    heard = heard[int(sounding[0]) : int(sounding[-1]) - FADE]
    found, lag = [], None
    for start in range(PERIOD, min(len(heard), len(take)) - 2 * PERIOD, PERIOD):
        period = heard[start : start + PERIOD]
        lags = range(-64, 65) if lag is None else range(lag - 8 * PERIOD, lag + 9 * PERIOD, PERIOD)
        within = [each for each in lags if 0 <= start + each <= len(take) - PERIOD]
        # The nearest lag first: where nothing was left out, that is the one.
        within.sort(key=lambda each: abs(each - (lag or 0)))
        equal = [each for each in within if np.abs(period - take[start + each : start + each + PERIOD]).max() < 1e-4]
        lag = equal[0] if equal else lag
        found.append(bool(equal))
    return found


def test_a_live_stream_is_heard_in_scsynth_as_it_is_in_the_take(sitting: Sitting) -> None:
    assert sitting.one("patched") == [
        "daw-bridge:out_0",
        "SuperCollider:in_1",
        "daw-bridge:out_1",
        "SuperCollider:in_2",
    ]
    path, reason, playing, left = sitting.one("live")
    assert (reason, playing, left) == ("cancelled", "false", "0")
    heard = sitting.samples("live.wav")
    assert np.array_equal(heard[:, 0], heard[:, 1])
    assert np.abs(heard).max() > 0.01, "it is not silent"
    take = soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0]
    # Equal to 24 bits of the take and what resampling makes of them.
    equal = equal_periods(heard[:, 0], soxr.resample(take, 32000, RATE, quality="HQ"))
    assert len(equal) > RATE / PERIOD, "more than a second of it"
    if sitting.xruns and sum(equal) < 0.8 * len(equal):
        pytest.skip(f"this machine is too busy for a JACK server: {sitting.xruns} periods missed by the server itself")
    assert sitting.xruns or all(equal)


def test_it_changes_while_it_plays(sitting: Sitting) -> None:
    number, playing, own, all_of_them, told = sitting.one("playing")
    assert (playing, own, all_of_them, told) == ("true", "1", "1", "true")
    assert sitting.one("tooHot") == ["out_of_range"]
    changes = sidecar(sitting.one("live")[0])["changes"]
    assert any(change.get("temperature") == pytest.approx(0.7) for change in changes), changes
    assert any("harp" in str(change.get("prompt")) for change in changes)
    assert all(message.arguments[1] == int(number) for message in sitting.messages("/bridge/weights"))


def test_a_tempoclock_leads_the_clock_of_the_bridge(sitting: Sitting) -> None:
    first, faster, in_three, stopped = sitting.reports["clock"]
    assert first[4] != faster[4]
    for state, bpm, beats in ((first, 100.0, "4"), (faster, 132.0, "4"), (in_three, 132.0, "3")):
        assert state[:2] == ["host", "true"]
        assert float(state[2]) == pytest.approx(bpm, abs=1e-3)
        assert state[3] == beats
        beat, before, after = map(float, state[4:])
        bound = POSITION_BOUND_MS / 1000 * bpm / 60
        assert before - bound < beat < after + bound
    assert stopped[1] == "false"


def test_loops_pads_and_settings_are_methods(sitting: Sitting) -> None:
    assert sitting.one("loop")[0] == "2"
    assert sitting.one("pads") == ["stab"]
    value, refused = sitting.one("param")
    assert float(value) == pytest.approx(0.9)
    assert refused == "unknown_parameter"


def test_cmd_period_ends_what_was_opened_from_here(sitting: Sitting) -> None:
    assert sitting.one("period") == ["cancelled", "ready"]


def test_a_bridge_that_is_started_anew_is_found_again(sitting: Sitting) -> None:
    assert sitting.one("lost") == ["false", "bridge_lost", "timeout"]
    assert sitting.one("back") == ["true", "true"], "connected, and registered for events"


def test_what_it_sends_is_what_the_recording_holds(sitting: Sitting) -> None:
    recorded("supercollider", sitting.sent, "SuperCollider 3.13.0")
    tags = {tag for packet in sitting.sent for tag in tags_of(packet)}
    assert tags <= set("ifsb"), "only what every OSC server reads"


def tags_of(packet: bytes) -> str:
    """The type tags of a packet that holds one message; of a bundle those of its first."""
    message = packet[20:] if packet.startswith(b"#bundle") else packet
    start = message.index(b",")
    return message[start + 1 : message.index(b"\0", start)].decode()
