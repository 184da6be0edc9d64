"""Recordings on inputs that are played by hand, on a clock that is moved by hand: what clients are told and what is kept."""

from __future__ import annotations

from typing import Any

import mido
import pytest

from daw_bridge.live_notes import MAX_RECORDINGS, LiveNotes
from daw_bridge.midi_input import InputPort, choose_input
from daw_bridge.note_lists import NoteLists
from protocols.bridge_messages import BridgeUpdate, NotesRecorded, Recording, RecordNotes
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from protocols.messages import Event, Reply
from protocols.osc.front import Asker, Peer

SECOND = 1_000_000_000
MAX = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/notes/record", 1)
PD = Asker(Peer("udp", "127.0.0.1", 9001), "/bridge/notes/record", 1)


class Input:
    """An input that a test plays."""

    def __init__(self, wanted: str) -> None:
        self.name = ""
        self.wanted = wanted
        self.error: RequestError | None = None
        self.lost = 0
        self.closed = False
        self._events: list[tuple[int, mido.Message]] = []

    def read(self) -> list[tuple[int, mido.Message]]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self.closed = True

    def play(self, at: float, kind: str, pitch: int, channel: int = 0) -> None:
        self._events.append((round(at * SECOND), mido.Message(kind, note=pitch, channel=channel)))


class Bridge:
    """What clients were told, and what became of streams: stream 7 plays at 60 beats per minute."""

    clock = 120.0

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answers: list[tuple[Asker, Reply | RequestError]] = []
        self.updates: list[BridgeUpdate] = []
        self.gone = False

    def publish(self, event: Event, asker: Asker) -> None:
        self.events.append(event)

    def done(self, asker: Asker, reply: Reply) -> None:
        self.answers.append((asker, reply))

    def fail(self, asker: Asker, error: RequestError) -> None:
        self.answers.append((asker, error))

    def tempo(self, stream: int | None) -> float:
        if stream is None:
            return self.clock
        if stream != 7:
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", stream, "7")
        return 60.0

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        if self.gone:
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", request.stream, "none is open")
        assert (asker.peer, asker.address, asker.request_id) == (MAX.peer, "/bridge/update", 0)
        self.updates.append(request)


class Room:
    """A bridge, its inputs and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.bridge = Bridge()
        self.lists = NoteLists()
        self.inputs: list[Input] = []
        self.live = LiveNotes(self.lists, "piano", self.bridge, self._open, lambda: round(self.now * SECOND))

    def _open(self, wanted: str) -> Input:
        self.inputs.append(Input(wanted))
        return self.inputs[-1]

    def record(self, name: str = "riff", asker: Asker = MAX, **fields: Any) -> Input:
        self.live.record(RecordNotes(name=name, **fields), asker)
        source = self.inputs[-1]
        source.name = f"{source.wanted or 'keys'} {len(self.inputs)}"
        self.live.pump()
        return source

    def at(self, now: float) -> None:
        self.now = now
        self.live.pump()

    def refused(self, act: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            act()
        assert caught.value.allowed
        return caught.value

    @property
    def told(self) -> list[tuple[str, float, int]]:
        assert all(isinstance(event, Recording) for event in self.bridge.events)
        return [(event.state, event.beats, event.notes) for event in self.bridge.events]  # type: ignore[attr-defined]


@pytest.fixture
def room() -> Room:
    return Room()


def strike(source: Input, start: float, end: float, pitch: int, channel: int = 0) -> None:
    source.play(start, "note_on", pitch, channel)
    source.play(end, "note_off", pitch, channel)


def test_a_recording_is_told_kept_and_answered(room: Room) -> None:
    source = room.record(length=4, bpm=120)
    assert source.wanted == "piano"
    assert room.told == [("ready", 0, 0)]
    strike(source, 103.0, 103.5, 60)
    room.at(103.5)
    room.at(103.6)
    room.at(104.0)
    assert room.told[1:] == [("playing", 1, 1), ("playing", 2, 1)], "the first note, and four times a second"
    assert not room.bridge.answers
    room.at(105.1)
    assert room.told[3:] == [("turn", 4, 1)]
    ((asker, answer),) = room.bridge.answers
    assert asker is MAX
    assert isinstance(answer, NotesRecorded)
    assert (answer.name, answer.held, answer.beats, answer.input) == ("riff", 1, 4, "piano 1")
    assert source.closed
    line = MelodyLine.decode(room.lists.clip(MAX.peer, "riff").at().melody)
    assert (line.seconds, line.notes[0].pitch) == (2, 60)
    assert room.refused(lambda: room.lists.clip(PD.peer, "riff")).code is ErrorCode.NOT_FOUND


def test_a_stream_follows_each_turn_at_its_own_tempo(room: Room) -> None:
    source = room.record(length=4, turns=0, stream=7)
    strike(source, 101, 102, 60)
    room.at(105.1)
    assert room.bridge.updates == [BridgeUpdate(stream=7, notes="riff")]
    room.at(109.1)
    assert len(room.bridge.updates) == 1, "nothing was played"
    strike(source, 110, 111, 62)
    room.at(113.1)
    assert len(room.bridge.updates) == 2
    room.live.stop("", MAX)
    assert len(room.bridge.updates) == 2
    ((_, answer),) = room.bridge.answers
    assert isinstance(answer, NotesRecorded)


@pytest.mark.parametrize(("clock", "bpm", "seconds"), [(60, 0, 4), (60, 240, 1), (999, 0, 2)])
def test_without_a_tempo_it_is_the_clocks(room: Room, clock: float, bpm: float, seconds: float) -> None:
    room.bridge.clock = clock
    source = room.record(length=4, bpm=bpm)
    strike(source, 101, 101.5, 60)
    room.at(110)
    assert MelodyLine.decode(room.lists.clip(MAX.peer, "riff").at().melody).seconds == seconds


def test_a_stream_that_is_over_ends_the_recording(room: Room) -> None:
    source = room.record(length=4, turns=0, stream=7)
    strike(source, 101, 102, 60)
    room.bridge.gone = True
    room.at(105.1)
    (update, refusal), (record, answer) = room.bridge.answers
    assert update.address == "/bridge/update"
    assert isinstance(refusal, RequestError)
    assert record is MAX
    assert isinstance(answer, NotesRecorded)
    assert source.closed
    room.at(110)


def test_an_input_that_vanishes_ends_the_recording_with_what_it_has(room: Room) -> None:
    source = room.record(bpm=120)
    strike(source, 101, 102, 60)
    source.error = RequestError(ErrorCode.UNKNOWN_DEVICE, "input", source.name, "an input that stays connected")
    room.at(102.1)
    ((_, answer),) = room.bridge.answers
    assert isinstance(answer, NotesRecorded)
    assert (answer.held, answer.beats) == (1, 4)
    assert answer.note.endswith("; the input piano 1 is gone")
    silent = room.record("other")
    silent.error = source.error
    room.at(103)
    assert room.bridge.answers[-1] == (MAX, source.error)
    assert silent.closed


def test_lost_messages_and_drums_are_told(room: Room) -> None:
    source = room.record(bpm=120)
    source.lost = 3
    strike(source, 101, 102, 36, channel=9)
    room.at(102)
    room.live.stop("riff", MAX)
    ((_, answer),) = room.bridge.answers
    assert isinstance(answer, NotesRecorded)
    assert answer.held == 0
    assert "only drums play" in answer.note
    assert answer.note.endswith("3 MIDI messages came too fast and were lost")
    source = room.record(bpm=120, lead="channel:2")
    strike(source, 103, 104, 60)
    room.at(104)
    room.live.stop("riff", MAX)
    error = room.bridge.answers[-1][1]
    assert isinstance(error, RequestError)
    assert (error.code, error.field, error.allowed) == (ErrorCode.OUT_OF_RANGE, "lead", "channel:1")


def test_what_cannot_be_recorded_is_refused(room: Room) -> None:
    first = room.record()
    for fields, code, field in (
        ({"name": " "}, ErrorCode.EMPTY, "name"),
        ({"name": "riff"}, ErrorCode.BUSY, "name"),
        ({"name": "b", "lead": "lowest"}, ErrorCode.OUT_OF_RANGE, "lead"),
        ({"name": "b", "bpm": 5.0}, ErrorCode.OUT_OF_RANGE, "bpm"),
        ({"name": "b", "turns": 3}, ErrorCode.MISSING, "length"),
        ({"name": "b", "stream": 8}, ErrorCode.UNKNOWN_STREAM, "stream"),
    ):
        error = room.refused(lambda fields=fields: room.live.record(RecordNotes(**fields), MAX))  # type: ignore[misc]
        assert (error.code, error.field) == (code, field)
    assert len(room.inputs) == 1, "no input is opened for them"
    for number in range(1, MAX_RECORDINGS):
        room.record(f"riff {number}", PD)
    assert room.refused(lambda: room.record("one more", PD)).code is ErrorCode.BUSY
    assert room.refused(lambda: room.live.stop("riff", PD)).code is ErrorCode.NOT_FOUND
    room.live.stop("", PD)
    assert [source.closed for source in room.inputs] == [False] + [True] * (MAX_RECORDINGS - 1)
    room.live.close()
    assert first.closed


def test_an_input_is_recorded_once_at_a_time(room: Room) -> None:
    first = room.record()
    room.live.record(RecordNotes(name="other"), PD)
    room.inputs[-1].name = first.name
    room.live.pump()
    ((asker, error),) = room.bridge.answers
    assert asker is PD
    assert isinstance(error, RequestError)
    assert (error.code, error.field) == (ErrorCode.BUSY, "input")
    assert not first.closed
    listed = room.live.listed([InputPort(first.name, "UNIX_JACK"), InputPort("pads", "UNIX_JACK")]).items
    assert [(row.name, row.open) for row in listed] == [("piano 1", True), ("pads", False)]


def test_an_input_is_chosen_by_a_part_of_its_name() -> None:
    names = ("Midi Through:Midi Through Port-0 14:0", "Launchkey MK4:Launchkey MK4 MIDI In 20:0", "Keys", "Keys 2")
    inputs = [InputPort(name, "LINUX_ALSA") for name in names]
    wanted = {"": 1, "launch": 1, "keys 2": 3, "Keys": 2, "key": 1, "through": 0}
    assert {name: names.index(choose_input(inputs, name).name) for name in wanted} == wanted
    for inputs_there, name in ((inputs, "theremin"), ([], ""), (inputs[:1], "")):
        with pytest.raises(RequestError) as caught:
            choose_input(inputs_there, name)
        assert (caught.value.code, caught.value.field) == (ErrorCode.UNKNOWN_DEVICE, "input")
        assert caught.value.allowed
