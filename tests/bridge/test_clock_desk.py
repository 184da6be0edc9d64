"""The desk of the clock: sources that come and go, what is remembered, and streams that follow the tempo."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from daw_bridge.clock import desk as desk_module
from daw_bridge.clock.clocks import ManualClock
from daw_bridge.clock.desk import ClockDesk, Ports
from daw_bridge.clock.link import LinkClock, require_link
from daw_bridge.clock.midi import MidiClock
from daw_bridge.clock.tempo_desk import TempoDesk
from daw_bridge.midi_input import InputPort
from daw_bridge.state_file import StateFile
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import (
    BridgeUpdate,
    ClockState,
    LocateClock,
    MidiOutputs,
    Play,
    SendClock,
    SetClock,
    StartClock,
    StopClock,
)
from protocols.errors import ErrorCode, RequestError
from protocols.osc.front import Asker, Peer
from tests.support.clocks import ClockBridge, Wire

PEER = Peer("udp", "127.0.0.1", 9)


class Session:
    """A Link session that says what the test says."""

    silent_s = 0.0

    def __init__(self, first: dict[str, Any]) -> None:
        self.told: list[dict[str, Any]] = [first]
        self.says: list[dict[str, Any] | None] = []
        self.closed = False

    def tell(self, line: dict[str, Any]) -> bool:
        self.told.append(line)
        return True

    def read(self) -> list[dict[str, Any] | None]:
        says, self.says = self.says, []
        return says

    def close(self) -> None:
        self.closed = True


class Cable:
    """A MIDI input on which nothing is played."""

    error: RequestError | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def read_raw(self) -> list[tuple[int, bytes]]:
        return []

    def close(self) -> None:
        self.closed = True


@dataclass
class Machine:
    """What is plugged in."""

    names: list[str] = field(default_factory=lambda: ["Keys 1", "Clock Box", "Drums"])
    cables: list[Cable] = field(default_factory=list)
    wires: dict[str, Wire] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)

    def ports(self) -> Ports:
        listed = lambda: [InputPort(name, "TEST") for name in self.names]  # noqa: E731
        return Ports(listed, listed, self.open_input, self.open_output, self.join)

    def open_input(self, name: str) -> Cable:
        self.cables.append(Cable(name))
        return self.cables[-1]

    def open_output(self, name: str) -> Wire:
        self.wires[name] = Wire(ManualClock())
        return self.wires[name]

    def join(self, first: dict[str, Any]) -> Session:
        self.sessions.append(Session(first))
        return self.sessions[-1]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(desk_module, "require_link", lambda: None)
    return Machine()


@pytest.fixture
def bridge() -> ClockBridge:
    return ClockBridge([])


@pytest.fixture
def desk(machine: Machine, bridge: ClockBridge) -> ClockDesk:
    return ClockDesk(lambda: None, bridge, "keys", ports=machine.ports())


def refusal(desk: ClockDesk, request: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        desk.handle(request)
    return caught.value


def test_a_midi_clock_is_chosen_by_its_input(desk: ClockDesk, machine: Machine, bridge: ClockBridge) -> None:
    assert desk.handle(SetClock(source="midi")) is None
    answer = bridge.answers.pop()
    assert isinstance(answer, ClockState)
    assert (answer.source, answer.input) == ("midi", "Keys 1"), "as the settings say"
    assert desk.handle(SetClock(input="clock", beats_per_bar=3)) is None
    answer = bridge.answers.pop()
    assert isinstance(answer, ClockState)
    assert (answer.input, answer.beats_per_bar, machine.cables[0].closed) == ("Clock Box", 3, True)
    desk.handle(SetClock(input="nothing"))
    error = bridge.answers.pop()
    assert isinstance(error, RequestError)
    assert (error.code, error.field, desk.state().input) == (ErrorCode.UNKNOWN_DEVICE, "input", "Clock Box")
    for request in (SetClock(bpm=99.0), StartClock(), StopClock(), LocateClock(beat=1.0)):
        assert refusal(desk, request).code == ErrorCode.NOT_ALLOWED
    desk.handle(SetClock(source="internal"))
    assert machine.cables[-1].closed
    desk.handle(SetClock(source="midi"))
    assert desk.state().input == "Clock Box", "the last one"


def test_the_last_source_that_was_asked_for_counts(machine: Machine) -> None:
    bridge = ClockBridge([], waits=True)
    desk = ClockDesk(lambda: None, bridge, ports=machine.ports())
    desk.handle(SetClock(source="midi"))
    desk.handle(SetClock(source="host"))
    bridge.work()
    assert desk.state().source == "host"
    assert not machine.cables


def test_a_tempo_that_cannot_be_set_changes_nothing(desk: ClockDesk) -> None:
    assert refusal(desk, SetClock(source="host", bpm=100.0)).field == "bpm"
    assert desk.state().source == "internal"


def test_a_link_session_is_joined_and_never_hijacked(desk: ClockDesk, machine: Machine) -> None:
    desk.handle(SetClock(bpm=100.0))
    state = desk.handle(SetClock(source="link"))
    assert isinstance(state, ClockState)
    (session,) = machine.sessions
    assert session.told == [{"bpm": 100.0, "quantum": 4, "sync": False}]
    assert isinstance(desk.clock, LinkClock)
    session.says = [{"joined": True}, report(desk, beat=17.25, bpm=123.4, peers=2)]
    desk.pump()
    state = desk.state()
    assert (state.playing, state.bpm, state.peers) == (True, 123.4, 2)
    assert state.beat == pytest.approx(17.25, abs=0.1)
    assert session.told[1:] == [], "nothing is asked of the session"
    assert refusal(desk, StopClock()).code == ErrorCode.NOT_ALLOWED
    desk.handle(SetClock(bpm=90.0, beats_per_bar=3))
    desk.pump()
    assert session.told[1:] == [{"bpm": 90.0}, {"quantum": 3}]
    desk.handle(SetClock(start_stop_sync=True))
    session.says = [report(desk, beat=18.0, bpm=90.0, playing=False)]
    desk.pump()
    assert not desk.state().playing
    desk.handle(StartClock())
    session.says = [report(desk, beat=-0.5, bpm=90.0, playing=True)]
    desk.pump()
    desk.handle(StopClock())
    assert session.told[3:] == [{"sync": True}, {"playing": True}, {"playing": False}]
    assert desk.state().playing, "as long as the session does"
    session.says = [None]
    desk.pump()
    assert (desk.state().playing, session.closed) == (False, True)
    desk.close()


def report(desk: ClockDesk, beat: float, bpm: float, playing: bool = False, peers: int = 1) -> dict[str, Any]:
    assert isinstance(desk.clock, LinkClock)
    return {"at": desk.clock._perf_ns(), "beat": beat, "bpm": bpm, "playing": playing, "peers": peers}


def test_without_links_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError) as caught:
        require_link()
    error = caught.value
    assert (error.code, error.field) == (ErrorCode.UNSUPPORTED, "source")
    assert "pip install 'daw-bridge[link]'" in error.text


def test_outputs_are_listed_and_sent_to(desk: ClockDesk, machine: Machine, bridge: ClockBridge) -> None:
    desk.handle(SendClock(port="drum"))
    answer = bridge.answers.pop()
    assert isinstance(answer, ClockState)
    assert answer.outputs == "Drums"
    desk.handle(MidiOutputs())
    rows = getattr(bridge.answers.pop(), "items", [])
    assert [(row.name, row.open) for row in rows] == [("Keys 1", False), ("Clock Box", False), ("Drums", True)]
    desk.handle(SendClock(port="flute"))
    error = bridge.answers.pop()
    assert isinstance(error, RequestError)
    assert (error.code, error.field) == (ErrorCode.UNKNOWN_DEVICE, "port")
    desk.handle(StartClock())
    now = desk.clock.now()
    assert desk.clock.timeline.playing(now)
    assert not desk.clock.timeline.at(now).playing, "those who follow hear of the start before"
    off = desk.handle(SendClock(port="drums", on=False))
    assert isinstance(off, ClockState)
    assert (off.outputs, machine.wires["Drums"].closed) == ("", True)


def test_the_next_run_finds_the_clock_as_it_was(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    def run(*requests: Any) -> ClockDesk:
        state = StateFile(path)
        desk = ClockDesk(lambda: None, ClockBridge([]), state=state, ports=machine.ports())
        for request in requests:
            desk.handle(request)
        desk.close()
        state.close()
        return desk

    run(SetClock(bpm=87.3, beats_per_bar=3), SendClock(port="Drums"), SetClock(source="midi", input="box"))
    again = run()
    assert isinstance(again.clock, MidiClock)
    assert machine.cables[-1].name == "Clock Box"
    kept = again.state()
    assert (kept.source, kept.bpm, kept.beats_per_bar, kept.playing) == ("midi", 87.3, 3, False)
    assert set(machine.wires) == {"Drums"}
    run(SetClock(source="link", start_stop_sync=True))
    again = run()
    assert again.state().source == "link"
    assert machine.sessions[-1].told == [{"bpm": 87.3, "quantum": 3, "sync": True}]


@pytest.mark.parametrize(
    "kept", [{"source": "sundial"}, {"bpm": "fast"}, {"outputs": 7}, {"outputs": ["a"] * 99}, {"x": 1}]
)
def test_what_makes_no_sense_in_the_state_file_is_left(machine: Machine, tmp_path: Path, kept: dict[str, Any]) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"clock": kept}))
    desk = ClockDesk(lambda: None, ClockBridge([]), state=StateFile(path), ports=machine.ports())
    assert desk.state().source == "internal"


def test_a_beat_is_told_once_however_its_clock_wavers(desk: ClockDesk, bridge: ClockBridge) -> None:
    hand = ManualClock()
    desk.clock = hand
    hand.timeline.start(Fraction(0))
    for number in range(400):
        hand.advance(Fraction(1, 100))
        hand.timeline.locate(hand.timeline.beat_at(hand.now()) + Fraction((-1) ** number, 1000), hand.now())
        desk.pump()
    beats = [(event.bar, event.beat) for event in bridge.told]  # type: ignore[attr-defined]
    assert beats == [(1 + beat // 4, 1 + beat % 4) for beat in range(1, 1 + len(beats))]
    assert len(beats) in (7, 8)


@dataclass
class Stream:
    """A stream that was opened."""

    number: int
    request: Play
    engine_number: int = 1

    def __post_init__(self) -> None:
        self.asker = Asker(PEER, "/bridge/play", 5)
        self.wording = Wording(facts=Facts(bpm=self.request.bpm, metre=self.request.metre))


class Players:
    """Streams, a clock in hand, and the desk between them."""

    def __init__(self, desk: ClockDesk, *requests: Play) -> None:
        self.hand = ManualClock()
        desk.clock = self.hand
        self.hand.timeline.start(Fraction(0))
        self.streams = [Stream(number, desk.in_time(request)) for number, request in enumerate(requests, 1)]
        self.updates: list[tuple[int, float | None]] = []
        self.metres: list[tuple[int, str]] = []
        self.tempos = TempoDesk(lambda: self.hand, lambda: self.streams, self.update)

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        assert asker == Asker(PEER, "/bridge/update", 0)
        stream = self.streams[request.stream - 1]
        if request.metre is not None:
            self.metres.append((request.stream, request.metre))
            stream.wording = Wording(facts=replace(stream.wording.facts, metre=request.metre))
            return
        assert request.bpm is not None
        self.updates.append((request.stream, request.bpm))
        stream.wording = Wording(facts=replace(stream.wording.facts, bpm=request.bpm))

    def set_tempo(self, bpm: float, seconds: float = 1.0) -> None:
        self.hand.timeline.set_tempo(bpm, self.hand.now())
        for _ in range(round(seconds * 100)):
            self.tempos.pump()
            self.hand.advance(Fraction(1, 100))


def test_streams_follow_the_tempo_that_they_took(desk: ClockDesk) -> None:
    players = Players(desk, Play(prompt="a"), Play(prompt="b", bpm=100.0))
    players.set_tempo(120)
    players.set_tempo(120.2)
    assert players.updates == [], "less than 0.2 percent"
    players.set_tempo(120.3)
    assert players.updates == [(1, 120.3)], "the other has a tempo of its own"
    for step in range(40):
        players.set_tempo(121 + step, 0.05)
    assert len(players.updates) <= 6, "at most once a beat"
    players.set_tempo(160)
    assert players.updates[-1] == (1, 160)
    players.streams[0].wording = Wording(facts=Facts(bpm=99.0))
    players.set_tempo(150)
    players.set_tempo(140)
    assert players.updates[-1] == (1, 160), "somebody has set another tempo since"


def test_a_stream_that_is_taken_up_again_is_told_then(desk: ClockDesk) -> None:
    players = Players(desk, Play(prompt="a"))
    players.streams[0].engine_number = 0
    players.set_tempo(140)
    assert players.updates == []
    players.streams[0].engine_number = 7
    players.set_tempo(140)
    assert players.updates == [(1, 140)]


@pytest.mark.parametrize(("beats", "metre"), [(3, "3/4"), (5, "5/4"), (7, "7/4"), (4, ""), (2, ""), (32, "")])
def test_a_request_takes_the_clocks_metre_with_its_tempo(desk: ClockDesk, beats: int, metre: str) -> None:
    desk.handle(SetClock(beats_per_bar=beats))
    assert desk.in_time(Play(prompt="a")).metre == "", "the clock stands"
    desk.handle(StartClock())
    assert desk.in_time(Play(prompt="a")).metre == metre
    assert desk.in_time(Play(prompt="a", metre="6/8")).metre == "6/8"
    assert desk.in_time(Play(prompt="a", bpm=99.0)).metre == "", "a tempo of its own is a beat of its own"


def test_streams_follow_the_metre_that_they_took(desk: ClockDesk) -> None:
    players = Players(desk, Play(prompt="a"), Play(prompt="b", metre="6/8"), Play(prompt="c", bpm=100.0))
    players.set_tempo(120)
    players.hand.timeline.beats_per_bar = 5
    players.set_tempo(120)
    assert players.metres == [(1, "5/4")], "the others have a metre, or a tempo, of their own"
    players.hand.timeline.beats_per_bar = 4
    players.set_tempo(120)
    assert players.metres == [(1, "5/4"), (1, "4/4")]
    players.streams[0].wording = Wording(facts=replace(players.streams[0].wording.facts, metre="6/8"))
    players.hand.timeline.beats_per_bar = 3
    players.set_tempo(120)
    assert len(players.metres) == 2, "somebody has set another metre since"
