"""What the bridge plays as a host takes it over ReaStream: sample for sample, with marks on its beats, and aligned by the action.

Reaper itself is not here: a receiver of our own reads the packets byte by byte, and the action runs on a project that knows the few
functions it needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, running, wait_until
from tests.support.reastream import Receiver

RATE = 48_000
BPM = 125
BEAT = RATE * 60 // BPM
BAR = 4 * BEAT
ATTEMPTS = 3
CLICK = 3000
"""Where the loop has its click."""

ACTION = Path(__file__).resolve().parents[2] / "host_examples" / "reaper" / "daw-bridge - Align the recorded stream.lua"
PROJECT = Path(__file__).parent / "reastream" / "project.lua"


def loop_file(folder: Path) -> Path:
    """A bar with a click in a hum."""
    hum = 0.02 * np.sin(2 * np.pi * 100 * np.arange(BAR) / RATE)
    hum[CLICK] = 0.9
    path = folder / "click.wav"
    soundfile.write(path, np.stack([hum, -hum], axis=1), RATE, subtype="FLOAT")
    return path


@dataclass(frozen=True)
class Session:
    """What was recorded, and what the bridge said of it.

    Args:
        recording: [frames, 3]: what came over ReaStream.
        first: frame of the card that it begins with.
        loop: frame at which the loop was promised to begin.
        stream: frame at which the stream was promised to begin.
        own: [frames, 2]: what the bridge recorded of its own output.
        own_first: frame that this begins with.
        state: the values of the last ``/bridge/reastream/state``.
    """

    recording: NDArray[np.float32]
    first: int
    loop: int
    stream: int
    own: NDArray[np.float32]
    own_first: int
    state: list[object]


@pytest.fixture(scope="module")
def session(engine: Process, studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("reastream")
    settings = bridge_settings(studio, engine, "bridge.output=virtual", "bridge.prebuffer_ms=400")
    for attempt in range(ATTEMPTS):
        with (
            running("daw_bridge", settings, folder / f"bridge-{attempt}.log") as bridge,
            host_of(bridge) as host,
            Receiver() as receiver,
        ):
            session = perform(host, receiver, loop_file(studio))
        if not receiver.overflowed and not any(session.state[9:12]):
            break  # else the machine was too busy for one of them
    else:
        if receiver.overflowed:
            pytest.skip(f"this machine is too busy to receive: {receiver.overflowed} packets had no room")
    return session


def perform(host: OscPeer, receiver: Receiver, loop: Path) -> Session:
    """A loop, then a stream on a bar line, while the sound is received and the bridge records itself."""
    host.send("/notify", 1)
    ask(host, "/bridge/clock", "bpm", float(BPM))
    ask(host, "/bridge/reastream", 1, "port", receiver.port, "marks", 1)
    told = host.wait("/bridge/reastreaming")
    placed = ask(host, "/bridge/loop/play", 1, str(loop))
    own = ask(host, "/bridge/loop/record", 2, 4, "output")
    host.send("/bridge/play", 77, "groove", "duration", 2.0, "seed", 3, "at", "bar", "save", 0)
    scheduled = host.wait("/bridge/scheduled")

    def saved() -> list[object] | None:
        receiver.take()
        host.receive(0.01)
        found = [values for address, values in host.heard if address == "/bridge/loop" and values[1] == "saved"]
        return found[0] if found else None

    path = Path(str(wait_until(saved, 60, "the bridge's own recording")[7]))
    first = told[6]
    recording = receiver.receive(max(own[3] + 4 * BAR, scheduled[3] + 2 * RATE) - first + BAR)
    state = ask(host, "/bridge/reastream/state")
    sound, _ = soundfile.read(path, dtype="float32")
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["loop"]["source"] == "output"
    starts = [values[3] for address, values in host.heard if address == "/bridge/scheduled"]
    return Session(recording, first, placed[3], starts[-1], sound, own[3], state)


def ask(host: OscPeer, address: str, *arguments: object) -> list[object]:
    outcome, values = host.ask(address, 1000 + len(host.heard), *arguments)
    assert outcome == "/done", values
    return values


def align(folder: Path, recording: NDArray[np.float32], position: float, bpm: float = BPM) -> dict[str, str]:
    """Run the action on an item with this recording; the project afterwards."""
    if shutil.which("lua5.4") is None:
        pytest.skip("lua5.4 is not installed")
    path = folder / "item.raw"
    recording.astype("<f4").tofile(path)
    command = ["lua5.4", PROJECT, ACTION, path, RATE, recording.shape[1], position, bpm, 4]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())  # type: ignore[misc]


def test_nothing_is_lost_and_nothing_is_added(session: Session) -> None:
    packets, dropped, gaps, unmarked = session.state[8:12]
    assert (dropped, gaps, unmarked) == (0, 0, 0), session.state
    assert isinstance(packets, int)
    assert packets >= len(session.recording) // 100
    assert session.recording.shape[1] == 3


def test_it_is_what_the_bridge_itself_recorded_sample_for_sample(session: Session) -> None:
    at = session.own_first - session.first
    received = session.recording[at : at + 4 * BAR, :2]
    assert np.array_equal(received, session.own[: 4 * BAR])
    assert np.count_nonzero(received[:, 0] > 0.8) >= 3, "the click is in it"


def test_the_marks_are_on_the_beats_and_nowhere_else(session: Session) -> None:
    marks = session.recording[:, 2]
    began = session.loop - session.first
    expected = {frame: 1.0 if index % 4 == 0 else 0.5 for index, frame in enumerate(range(began, len(marks), BEAT))}
    assert {int(frame): float(marks[frame]) for frame in np.flatnonzero(marks)} == expected


def test_loop_and_stream_begin_on_bar_marks(session: Session) -> None:
    marks = session.recording[:, 2]
    assert marks[session.loop - session.first] == marks[session.stream - session.first] == 1.0
    clicks = np.flatnonzero(session.recording[:, 0] > 0.8)
    assert int(clicks[0]) == session.loop - session.first + CLICK


@pytest.mark.parametrize("late", [0.0, 0.0431, -0.2])
def test_after_alignment_the_loop_begins_on_its_bar_line_to_the_sample(
    session: Session, tmp_path: Path, late: float
) -> None:
    """The item begins where the host put it: later or earlier than the music was played, by latencies that nobody knows."""
    bar = BAR / RATE
    played_at = 4 * bar - (session.loop - session.first) / RATE  # so that the loop would begin on bar 5
    project = align(tmp_path, session.recording, played_at + late)
    loop_at = (float(project["position"]) * RATE) + session.loop - session.first
    assert loop_at == pytest.approx(4 * BAR, abs=1e-3)
    assert project["chanmode"] == "67", "channels 1 and 2"
    assert "said" not in project
    assert project["undo"] == f"Align recorded stream: bar 5, moved by {-late * 1000:.3f} ms".replace("-0.000", "0.000")


def test_an_aligned_item_stays_where_it_is(session: Session, tmp_path: Path) -> None:
    once = align(tmp_path, session.recording, 1.0)
    again = align(tmp_path, session.recording, float(once["position"]))
    assert float(again["position"]) == pytest.approx(float(once["position"]), abs=1e-9)


def test_what_would_lie_before_the_project_is_cut_off(session: Session, tmp_path: Path) -> None:
    began = session.loop - session.first
    late = session.recording[began - 1000 :]
    project = align(tmp_path, late, 0.0)
    assert float(project["position"]) == 0.0
    assert float(project["offset"]) * RATE == pytest.approx(1000, abs=1e-3)
    assert float(project["length"]) * RATE == pytest.approx(len(late) - 1000, abs=1e-3)


def test_a_mono_bridge_is_heard_by_its_one_channel(session: Session, tmp_path: Path) -> None:
    project = align(tmp_path, session.recording[:, 1:], 0.5)
    assert project["chanmode"] == "3"


def test_recorded_on_four_channels_the_marks_are_found_too(session: Session, tmp_path: Path) -> None:
    four = np.concatenate([session.recording, np.zeros((len(session.recording), 1), np.float32)], axis=1)
    assert align(tmp_path, four, 0.5)["position"] == align(tmp_path, session.recording, 0.5)["position"]


def test_lost_packets_and_another_tempo_are_told(session: Session, tmp_path: Path) -> None:
    """The plug-in plays on with what comes next: after a loss everything is early by as much, and the marks show it."""
    middle = len(session.recording) // 2
    lost = np.concatenate([session.recording[:middle], session.recording[middle + 1000 :]])
    assert "last bar is -20.8 ms off" in align(tmp_path, lost, 0.5)["said"]
    assert "another tempo" in align(tmp_path, session.recording, 0.5, bpm=124.0)["said"]


def test_a_take_without_marks_is_left_alone(session: Session, tmp_path: Path) -> None:
    project = align(tmp_path, session.recording[:, :2], 0.5)
    assert "no channel of marks" in project["said"]
    assert (float(project["position"]), project["chanmode"]) == (0.5, "0")


def test_the_virtual_card_is_listed_and_chosen_while_the_bridge_runs(host: OscPeer) -> None:
    ask(host, "/bridge/devices")
    rows = [dict(zip(row[3::2], row[4::2], strict=True)) for path, row in host.heard if path == "/bridge/devices.item"]
    assert [row["host_api"] for row in rows if row["name"] == "virtual"] == ["daw-bridge"]
    try:
        ask(host, "/bridge/device", "virtual")
        assert device_of(host) == "virtual"
        error = host.ask("/bridge/device", 5, "no such card")
        assert error[0] == "/fail"
        assert device_of(host) == "virtual", "what is refused leaves it as it was"
    finally:
        ask(host, "/bridge/device", "none")
    assert device_of(host) == "no sound card"


def device_of(host: OscPeer) -> str:
    host.heard.clear()
    host.send("/status")
    values = host.wait("/status.reply")
    return str(dict(zip(values[::2], values[1::2], strict=True))["device"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((1, "host", "192.168.0.9"), "host"),
        ((1, "host", ""), "host"),
        ((1, "port", 0), "port"),
        ((1, "port", 65_536), "port"),
        ((1, "name", "x" * 32), "name"),
        ((1, "name", "tab\there"), "name"),
        ((1, "marks", 2), "marks"),
        ((2,), "on"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(host: OscPeer, arguments: tuple[object, ...], field: str) -> None:
    outcome, values = host.ask("/bridge/reastream", 4000 + len(host.heard), *arguments)
    assert outcome == "/fail"
    assert field in str(values[1])
    assert ask(host, "/bridge/reastream/state")[:2] == [0, "off"]


def test_the_actions_pass_luacheck() -> None:
    if shutil.which("luacheck") is None:
        pytest.skip("luacheck is not installed (Debian: lua-check)")
    command = ["luacheck", "--std", "lua54", "--globals", "reaper", "--max-line-length", "132", "--"]
    done = subprocess.run([*command, str(ACTION), str(PROJECT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
