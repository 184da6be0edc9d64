"""Controllers turned by hand, and the desk that maps, learns, lists and keeps: no engine, no MIDI system."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mido
import msgspec
import pytest

from daw_bridge.asked import Asked
from daw_bridge.triggers.desk import MAX_CONTROLLERS, MAX_PADS, TriggerDesk
from daw_bridge.triggers.inputs import MAX_INPUTS, TriggerInputs
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import (
    BridgeUpdate,
    ClearTriggers,
    ForgetTrigger,
    Learn,
    Learned,
    MapController,
    MapPad,
    OpenTriggerInput,
    PlayOpen,
    SetClock,
    SetLevel,
    Strike,
    Triggered,
    TriggerFailed,
    TriggerInput,
    TriggerInputState,
    Triggers,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Event, Reply, Request
from protocols.osc.front import Asker, Peer
from protocols.settings import Settings

MAX = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/trigger/cc", 1)


class Input:
    """An input that a test plays and pulls out."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.name = ""
        self.error: RequestError | None = None
        self.closed = False
        self._played: list[tuple[int, mido.Message]] = []

    def read(self) -> list[tuple[int, mido.Message]]:
        played, self._played = self._played, []
        return played

    def close(self) -> None:
        self.closed = True

    def play(self, kind: str, **values: int) -> None:
        self._played.append((0, mido.Message(kind, **values)))

    def unplug(self) -> None:
        self.error = RequestError(ErrorCode.UNKNOWN_DEVICE, "input", self.name, "an input that stays connected")


class Gain:
    gain = 1.0


class Stream:
    def __init__(self, number: int, prompt: str = "strings", **asked: Any) -> None:
        self.number = number
        self.request = PlayOpen(prompt=prompt, **asked)
        self.wording = Wording(None, Facts(prompt=prompt, bpm=self.request.bpm), Asked().after(self.request, None))
        self.voice = Gain()


class Host:
    """A bridge that notes what it is asked for; a fader of a stream is as it was set."""

    def __init__(self) -> None:
        self.defaults: dict[str, object] = {}
        self.engine = None
        self.open: list[Stream] = []
        self.asked: list[Request] = []
        self.events: list[Event] = []
        self.answers: list[tuple[Asker, Reply | RequestError]] = []
        self.refusal: RequestError | None = None
        self.streams = self
        self.clock = self
        self.bpm = 120.0

    @property
    def played(self) -> list[Stream]:
        return self.open

    def state(self) -> Any:
        return msgspec.defstruct("State", [("bpm", float)])(self.bpm)

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(request)
        for stream in self.open:
            if isinstance(request, BridgeUpdate) and request.stream in (0, stream.number):
                stream.wording = Wording(None, stream.wording.facts, stream.wording.asked.after(request, None))
            if isinstance(request, SetLevel) and request.stream == stream.number:
                stream.voice.gain = 10 ** (request.level / 20)
        return Done()

    def play(self, *_: Any) -> None:
        raise AssertionError("no stream is wanted")

    cancel = play

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        self.events.append(event)

    def done(self, asker: Asker, reply: Reply) -> None:
        self.answers.append((asker, reply))

    def fail(self, asker: Asker, error: RequestError) -> None:
        self.answers.append((asker, error))

    def call_soon(self, call: Callable[[], None]) -> None:
        call()


class Room:
    """A desk, its bridge, its inputs and the time."""

    def __init__(self) -> None:
        self.now = 10.0
        self.host = Host()
        self.player = Gain()
        self.inputs: list[Input] = []
        self.desk = self.new_desk()

    def new_desk(self) -> TriggerDesk:
        return TriggerDesk(Settings(), self.player, self.host, self._open, now=lambda: self.now)  # type: ignore[arg-type]

    def _open(self, wanted: str, wake: Callable[[], None]) -> Input:
        self.inputs.append(Input(wanted))
        return self.inputs[-1]

    def keys(self, name: str = "keys 1") -> Input:
        assert self.ask(OpenTriggerInput(name=name[:4])) is None
        self.inputs[-1].name = name
        self.pass_time()
        return self.inputs[-1]

    def ask(self, request: Any) -> Any:
        return self.desk.handle(request, MAX)

    def refused(self, request: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.ask(request)
        assert caught.value.allowed
        return caught.value

    def map(self, parameter: str, low: float, high: float, control: str = "21", **fields: Any) -> None:
        self.ask(MapController(parameter=parameter, control=control, low=low, high=high, **fields))

    def turn(self, *values: int, control: int = 21) -> None:
        """Each value comes a tenth of a second after the one before."""
        source = self.inputs[-1]
        for value in values:
            source.play("control_change", control=control, value=value)
            self.pass_time()

    def pass_time(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.desk.pump()

    def values(self, name: str) -> list[Any]:
        return [getattr(request, name) for request in self.host.asked if getattr(request, name, None) is not None]

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.host.events if isinstance(event, kind)]

    def rows(self) -> dict[str, Any]:
        return {row.name: row for row in self.ask(Triggers()).items}


@pytest.fixture
def room() -> Room:
    return Room()


# --- what a controller sets -------------------------------------------------------------------------------------------


def test_a_controller_sets_a_parameter_over_its_range(room: Room) -> None:
    room.keys()
    room.host.open = [Stream(7)]
    room.map("guidance", 1.0, 5.0, takeover="jump")
    room.turn(0, 127)
    assert room.host.asked == [BridgeUpdate(stream=0, guidance=1.0), BridgeUpdate(stream=0, guidance=5.0)]
    room.map("guidance", 5.0, 1.0, takeover="jump", stream=7, curve=2.0)
    room.host.asked.clear()
    room.turn(64)
    (update,) = room.host.asked
    assert isinstance(update, BridgeUpdate)
    assert (update.stream, update.guidance) == (7, pytest.approx(5 - 4 * (64 / 127) ** 2))
    room.map("top_k", 1, 500, takeover="jump")
    room.turn(64)
    assert room.values("top_k") == [252]


def test_fast_ones_are_thinned_and_the_last_value_arrives(room: Room) -> None:
    source = room.keys()
    room.map("master", -60.0, 0.0, takeover="jump")
    for value in range(128):  # in half a second
        source.play("control_change", control=21, value=value)
        room.pass_time(0.004)
    assert 10 <= len(room.host.asked) <= 14
    room.pass_time(1.0)
    assert room.host.asked[-1] == SetLevel(stream=0, level=0.0)
    count = len(room.host.asked)
    room.turn(127)
    assert len(room.host.asked) == count, "nothing new"


def test_it_is_picked_up_where_the_parameter_is(room: Room) -> None:
    room.keys()
    room.host.open = [Stream(7, guidance=3.0)]
    room.map("guidance", 0.0, 6.35)
    room.turn(0, 20, 40)
    assert not room.host.asked, "far below 3"
    room.turn(70)
    assert room.values("guidance") == [3.5]
    room.turn(20)
    assert room.values("guidance")[-1] == 1.0
    room.host.handle(BridgeUpdate(stream=7, guidance=6.0), MAX)
    room.turn(30, 50)
    assert room.values("guidance")[-1] == 6.0, "somebody else has set it"
    room.turn(119, 100)
    assert room.values("guidance")[-2:] == [5.95, 5.0]


def test_levels_and_the_clock_are_picked_up_too(room: Room) -> None:
    room.keys()
    room.host.open = [Stream(7), Stream(8)]
    room.map("level", -63.5, 0.0)
    room.turn(0)
    assert not room.host.asked
    room.turn(127)
    assert room.host.asked == [SetLevel(stream=7, level=0.0), SetLevel(stream=8, level=0.0)]
    room.map("clock", 60.0, 187.0, "22")
    room.turn(10, control=22)
    room.turn(60, control=22)
    assert room.host.asked[-1] == SetClock(bpm=120.0)
    room.map("master", -127.0 + 7, 7.0, "23")
    room.player.gain = 10 ** (-20 / 20)
    room.turn(0, control=23)
    count = len(room.host.asked)
    room.turn(110, control=23)
    assert len(room.host.asked) == count + 1


def test_weights_of_prompts(room: Room) -> None:
    room.keys()
    room.host.open = [Stream(7, "harp || flute || drums"), Stream(8, "solo"), Stream(9, "a || b", weights="0.2 0.8")]
    room.map("weight2", 0.0, 1.0, takeover="jump")
    room.turn(127)
    assert room.host.asked == [
        BridgeUpdate(stream=7, weights="0.333333 1 0.333333"),
        BridgeUpdate(stream=9, weights="0.2 1"),
    ]
    room.host.asked.clear()
    room.map("crossfade", 0.0, 1.0, "22", takeover="jump", stream=9)
    room.turn(0, 127, control=22)
    assert room.values("weights") == ["1 0", "0 1"]
    room.host.asked.clear()
    room.map("crossfade", 0.0, 1.0, "22", stream=9)
    room.turn(0, 64, control=22)
    assert not room.host.asked, "it is at 1"
    room.turn(127, control=22)
    assert room.values("weights") == ["0 1"]
    room.host.asked.clear()
    room.map("weight2", 0.0, 1.0, "23", takeover="jump", stream=9)
    room.turn(0, control=23)
    assert not room.host.asked, "no prompt would count any more"


def test_any_request_can_have_its_value(room: Room) -> None:
    source = room.keys()
    room.map("/bridge/cancel {value}", 0, 127, "program", name="leave")
    source.play("program_change", program=5)
    room.pass_time()
    assert [type(request).__name__ for request in room.host.asked] == ["BridgeCancel"]
    assert room.values("stream") == [5]
    error = room.refused(MapController(parameter="/bridge/stop", control="1", low=0, high=1))
    assert (error.code, error.field) == (ErrorCode.MISSING, "parameter")
    error = room.refused(MapController(parameter="/bridge/level 0 {value}", control="1", low=0, high=100))
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "level")


def test_the_fader_of_a_pad_and_its_streams_to_come(room: Room) -> None:
    room.keys()
    room.ask(MapPad(name="pad", note="60", action="strings", prime=0))
    pad = room.desk._board.pads["pad"]
    room.map("level", -20.0, 0.0, name="fader", pad="pad")
    room.map("temperature", 0.5, 1.5, "22", pad="pad", takeover="jump")
    room.turn(127, 0)
    room.turn(127, control=22)
    assert pad.fader_db == -20.0
    wanted = pad.wanted({})
    assert isinstance(wanted, PlayOpen) is False
    assert getattr(wanted, "temperature", None) == 1.5
    assert not room.host.asked, "it plays nothing"
    room.ask(ForgetTrigger(name="pad"))
    room.turn(60)
    assert [(event.name, event.code) for event in room.told(TriggerFailed)] == [("fader", "not_found")]


def test_a_refusal_is_told_once_in_a_row(room: Room) -> None:
    room.keys()
    room.map("clock", 60.0, 180.0, takeover="jump")
    room.host.refusal = RequestError(ErrorCode.NOT_ALLOWED, "bpm", 90, "what the host says")
    room.turn(1, 2, 3)
    assert [event.code for event in room.told(TriggerFailed)] == ["not_allowed"]
    room.host.refusal = None
    room.turn(4)
    room.host.refusal = RequestError(ErrorCode.NOT_ALLOWED, "bpm", 90, "what the host says")
    room.turn(5)
    assert len(room.told(TriggerFailed)) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parameter": "volume"}, "parameter"),
        ({"parameter": "guidance", "high": 21.0}, "high"),
        ({"parameter": "crossfade", "low": -1.0}, "low"),
        ({"parameter": "level", "high": 13.0}, "high"),
        ({"parameter": "clock", "low": 0.0}, "low"),
        ({"parameter": "guidance", "control": "wheel"}, "control"),
    ],
)
def test_what_no_controller_can_set_is_refused(room: Room, fields: dict[str, Any], field: str) -> None:
    wanted = {"control": "1", "low": 0.0, "high": 1.0, **fields}
    assert room.refused(MapController(**wanted)).field == field


# --- learning ---------------------------------------------------------------------------------------------------------


def test_the_next_note_or_controller_is_taken(room: Room) -> None:
    source = room.keys()
    room.ask(MapPad(name="kick", note="learn", action="/bridge/stop"))
    assert room.rows()["kick"].state == "learn"
    source.play("control_change", control=1, value=3)
    source.play("note_off", note=50)
    source.play("note_on", note=36, velocity=90, channel=9)
    room.pass_time()
    (event,) = room.told(Learned)
    assert (event.name, event.source, event.channel) == ("kick", "36", 10)
    assert not room.host.asked, "it is taken, not played"
    source.play("note_on", note=36, velocity=90, channel=9)
    room.pass_time()
    assert len(room.host.asked) == 1
    room.ask(Learn(name="guidance"))
    source.play("note_on", note=40, velocity=90)
    source.play("pitchwheel", pitch=100, channel=2)
    room.pass_time()
    assert (room.rows()["guidance"].source, room.rows()["guidance"].channel) == ("bend", 3)
    room.ask(Learn(name="kick"))
    room.ask(Learn(name=""))
    source.play("note_on", note=41, velocity=90)
    room.pass_time()
    assert room.rows()["kick"].source == "36"
    assert room.refused(Learn(name="snare")).code is ErrorCode.NOT_FOUND


# --- the desk ---------------------------------------------------------------------------------------------------------


def test_the_map_is_bounded_and_names_are_used_once(room: Room) -> None:
    for index in range(MAX_PADS):
        room.ask(MapPad(name=f"p{index}", note="60", action="/bridge/stop"))
    room.ask(MapPad(name="p3", note="61", action="/bridge/stop"))
    assert room.refused(MapPad(name="more", note="60", action="/bridge/stop")).code is ErrorCode.BUSY
    for index in range(MAX_CONTROLLERS):
        room.map("guidance", 0.0, 1.0, name=f"c{index}")
    assert room.refused(MapController(parameter="bpm", control="1", low=60, high=90)).code is ErrorCode.BUSY
    assert len(room.rows()) == MAX_PADS + MAX_CONTROLLERS
    assert room.rows()["p3"].source == "61"
    assert room.refused(MapPad(name="c1", note="60", action="/bridge/stop")).code is ErrorCode.BUSY
    assert room.refused(MapPad(name=" ", note="60", action="/bridge/stop")).code is ErrorCode.EMPTY
    room.ask(ForgetTrigger(name="c1"))
    assert room.refused(ForgetTrigger(name="c1")).code is ErrorCode.NOT_FOUND
    room.ask(ClearTriggers())
    assert not room.rows()


def test_a_pad_is_struck_over_osc(room: Room) -> None:
    room.ask(MapPad(name="stop", note="", action="/bridge/stop"))
    assert room.ask(Strike(name="stop", velocity=90)) == Done()
    assert len(room.host.asked) == 1
    assert room.told(Triggered)[-1].note == -1
    room.host.refusal = RequestError(ErrorCode.BUSY, "x", 1, "less")
    assert room.refused(Strike(name="stop", velocity=90)).code is ErrorCode.BUSY
    assert room.refused(Strike(name="go", velocity=90)).code is ErrorCode.NOT_FOUND


def test_the_map_is_as_it_was_after_a_restart(room: Room) -> None:
    room.keys("keys 1")
    room.ask(MapPad(name="kick", note="C1", action="techno", mode="hold", choke="drums", low=-12.0))
    room.map("guidance", 1.0, 6.0, channel=3)
    kept = json.loads(json.dumps(room.desk.state()))
    before = {name: row for name, row in room.rows().items() if row.kind != "input"}
    room.desk.close()
    assert room.inputs[0].closed
    room.pass_time(60)
    assert (len(room.inputs), room.desk.state()) == (1, kept), "as it is to be written down"
    room.desk = room.new_desk()
    room.desk.restore(kept)
    found = room.rows()
    assert {name: found[name] for name in before} == before
    assert found["keys 1"].state == "lost"
    assert room.inputs[-1].wanted == "keys 1"
    revision = room.desk.revision
    room.ask(ForgetTrigger(name="kick"))
    assert room.desk.revision != revision


def test_what_cannot_be_taken_up_again_leaves_the_rest(room: Room) -> None:
    good = msgspec.structs.asdict(MapPad(name="kick", note="36", action="techno"))
    state = {
        "pads": [{"name": "x"}, 3, {**good, "action": "/bridge/gone 1"}, good],
        "controllers": "none",
        "inputs": None,
    }
    with pytest.raises(RequestError):
        room.desk.restore(state)
    assert list(room.rows()) == ["kick"]
    room.desk.restore({})
    assert not room.rows()


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_an_input_is_answered_lost_and_taken_up_again(room: Room) -> None:
    source = room.keys("keys 1")
    asker, answer = room.host.answers[-1]
    assert (asker, answer) == (MAX, TriggerInput(name="keys 1"))
    room.ask(MapPad(name="held", note="60", action="/bridge/level 1 0", off="/bridge/level 1 -60", mode="hold"))
    source.play("note_on", note=60, velocity=9)
    room.pass_time()
    source.unplug()
    room.pass_time()
    assert room.values("level") == [0.0, -60.0], "what was held is let go"
    assert [(event.name, event.state) for event in room.told(TriggerInputState)] == [
        ("keys 1", "open"),
        ("keys 1", "lost"),
    ]
    room.pass_time(0.5)
    assert len(room.inputs) == 1
    room.pass_time(0.6)
    assert room.inputs[-1].wanted == "keys 1"
    room.inputs[-1].unplug()
    room.pass_time()
    room.pass_time(1.5)
    assert len(room.inputs) == 2, "longer and longer between two attempts"
    room.pass_time(1.0)
    room.inputs[-1].name = "keys 1"
    room.pass_time()
    assert room.told(TriggerInputState)[-1].state == "open"


def test_all_notes_off_lets_go(room: Room) -> None:
    source = room.keys()
    room.ask(MapPad(name="held", note="60", action="/bridge/level 1 0", off="/bridge/level 1 -60", mode="hold"))
    source.play("note_on", note=60, velocity=9)
    source.play("control_change", control=123, value=0, channel=1)
    room.pass_time()
    assert room.values("level") == [0.0]
    source.play("control_change", control=123, value=0)
    room.pass_time()
    assert room.values("level") == [0.0, -60.0]


def test_inputs_that_cannot_be_opened_or_are_open(room: Room) -> None:
    room.ask(OpenTriggerInput(name="theremin"))
    room.inputs[-1].unplug()
    room.pass_time()
    assert isinstance(room.host.answers[-1][1], RequestError)
    room.pass_time(60)
    assert len(room.inputs) == 1, "it is not looked for"
    first = room.keys("keys 1")
    room.keys("keys 1")
    assert room.host.answers[-1][1] == TriggerInput(name="keys 1")
    assert [row.name for row in room.rows().values()] == ["keys 1"]
    assert not first.closed
    room.ask(OpenTriggerInput(name="keys", open=False))
    assert first.closed
    assert room.refused(OpenTriggerInput(name="keys", open=False)).code is ErrorCode.NOT_FOUND
    for index in range(MAX_INPUTS):
        room.keys(f"{index}xyz {index}")
    assert room.refused(OpenTriggerInput(name="one more")).code is ErrorCode.BUSY
    assert isinstance(room.desk._inputs, TriggerInputs)
