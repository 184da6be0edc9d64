"""Pads, struck by hand on a clock that is moved by hand: what is played, choked, kept ready and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mido
import msgspec
import pytest

from daw_bridge.orders import Insider
from daw_bridge.triggers.actions import Action
from daw_bridge.triggers.board import REPLACED_S, Board
from daw_bridge.triggers.pad import Pad
from daw_bridge.triggers.sources import Stroke, control_source, pad_source, position_of
from protocols.bridge_messages import (
    MapPad,
    PadState,
    Play,
    PlayOpen,
    SetLevel,
    Stop,
    Triggered,
    TriggerFailed,
    Weigh,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Event, Finished, Reply, Request
from protocols.osc.front import Asker, Peer

MAX = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/trigger/map", 1)
DRONE = "/bridge/open 'warm strings'"


class Voice:
    """Sound that becomes ready and is heard when a test says so."""

    def __init__(self) -> None:
        self.ready = self.begun = False
        self.first: float | None = None

    def status(self) -> Any:
        return msgspec.defstruct("Status", [("first_audible", Any)])(self.first)


class Stream:
    def __init__(self, request: Any, tap: Any, held: bool) -> None:
        self.number = 0
        self.request = request
        self.tap = tap
        self.held = held
        self.broken = self.cancelled = False
        self.voice = Voice()
        self.gains: list[float] = []
        self.released: list[str] = []

    def release(self, at: str) -> None:
        assert not self.released
        self.held = False
        self.released.append(at)

    def set_level(self, gain: float) -> None:
        self.gains.append(gain)


class Bridge:
    """What pads have asked for; streams are opened, become ready and are heard by hand."""

    def __init__(self) -> None:
        self.defaults: dict[str, object] = {}
        self.model = "f00"
        self.bpm = 0.0
        self.events: list[Event] = []
        self.asked: list[tuple[Request, Asker]] = []
        self.streams: list[Stream] = []
        self.spared: list[int] = []
        self.refusal: RequestError | None = None
        self._soon: list[Callable[[], None]] = []
        self._last = 0

    def in_time(self, request: Any) -> Any:
        counts = self.bpm and not getattr(request, "bpm", 1.0)
        return msgspec.structs.replace(request, bpm=self.bpm) if counts else request

    def play(self, request: Any, asker: Asker, tap: Any, held: bool) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.streams.append(Stream(request, tap, held))

    def cancel(self, stream: Stream) -> None:
        stream.cancelled = True

    def spare(self, number: int) -> None:
        self.spared.append(number)

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((request, asker))
        return Done()

    def publish(self, event: Event, asker: Asker) -> None:
        assert asker.peer == MAX.peer
        self.events.append(event)

    def call_soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def open(self, stream: Stream) -> Stream:
        """The engine takes a stream."""
        self._last += 1
        stream.number = self._last
        stream.tap.opened(stream)
        while self._soon:
            self._soon.pop(0)()
        return stream


class Stage:
    """A board, its bridge and the time."""

    def __init__(self, most_ready: int = 8) -> None:
        self.now = 100.0
        self.bridge = Bridge()
        self.board = Board(
            self.bridge,
            most_ready,
            now=lambda: self.now,
            now_ns=lambda: round(self.now * 1e9) + 7_000,
            audible_ns=lambda: 7_000,
        )

    def pad(self, name: str = "pad", note: str = "60", action: str = DRONE, **fields: Any) -> Pad:
        pad = Pad(MapPad(name=name, note=note, action=action, **fields), MAX)
        self.board.add(pad)
        return pad

    def strike(self, pad: Pad, velocity: int = 127, note: int = 60, after_ms: float = 0.0) -> None:
        stroke = Stroke(("keys", 1, "note", note), note, velocity)
        struck_ns = round(self.now * 1e9) + 7_000 - round(after_ms * 1e6)
        self.board.failing(pad, lambda: self.board.strike(pad, stroke, struck_ns))

    def pass_time(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.board.pump()

    def heard(self, stream: Stream) -> None:
        """The callback has taken its first sample now."""
        stream.voice.ready = stream.voice.begun = True
        stream.voice.first = self.now
        self.board.pump()

    def ready(self) -> Stream:
        """Let the next stream that is made ahead become ready."""
        self.pass_time()
        stream = self.bridge.streams[-1]
        assert stream.held
        self.bridge.open(stream)
        stream.voice.ready = True
        self.pass_time()
        return stream

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.bridge.events if isinstance(event, kind)]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def over(stream: Stream, reason: Any = "cancelled") -> None:
    stream.tap.over(Finished(stream=stream.number, reason=reason, seconds=1.0, seed=1, path="", underruns=0,
                             first_sound_ms=1.0, note=""))  # fmt: skip


# --- what plays a pad -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("60", 60, 60), ("C3", 60, 60), ("c-2", 0, 0), ("G8", 127, 127), ("Bb2", 58, 58), ("D#1", 39, 39),
     ("36-51", 36, 51), ("C1-D#2", 36, 51), ("C-2-C-1", 0, 12), ("any", 0, 127)],
)  # fmt: skip
def test_notes_have_numbers_and_names(text: str, low: int, high: int) -> None:
    source = pad_source(text)
    assert (source.kind, source.low, source.high) == ("note", low, high)
    assert pad_source(source.text) == source


@pytest.mark.parametrize("text", ["128", "H2", "C9", "51-36", "cc:128", "program:", "-1", "60-", "C#"])
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        pad_source(text)
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "note")


def test_channel_input_and_number_choose(stage: Stage) -> None:
    source = pad_source("36-40", channel=10, input="PADS")
    hit = mido.Message("note_on", note=38, velocity=5, channel=9)
    stroke = source.stroke("My pads", hit)
    assert stroke is not None
    assert (stroke.note, stroke.velocity) == (38, 5)
    assert source.stroke("keys", hit) is None
    assert source.stroke("My pads", hit.copy(channel=8)) is None
    assert source.stroke("My pads", hit.copy(note=41)) is None
    silent = source.stroke("My pads", hit.copy(velocity=0))
    released = source.stroke("My pads", mido.Message("note_off", note=38, channel=9))
    assert silent is not None
    assert released is not None
    assert silent == released


def test_switches_and_programs_are_struck_too() -> None:
    switch = pad_source("cc:64")
    down = switch.stroke("k", mido.Message("control_change", control=64, value=127))
    up = switch.stroke("k", mido.Message("control_change", control=64, value=10))
    assert down is not None
    assert up is not None
    assert (down.note, down.velocity, up.velocity) == (-1, 127, 0)
    assert pad_source("program:5").stroke("k", mido.Message("program_change", program=5)) is not None
    assert pad_source("").stroke("k", mido.Message("note_on", note=0)) is None


def test_controllers_have_positions() -> None:
    assert control_source("74").position("k", mido.Message("control_change", control=74, value=127)) == 1.0
    assert control_source("74").position("k", mido.Message("control_change", control=75, value=127)) is None
    for pitch, wanted in ((-8192, 0.0), (0, 0.5), (8191, 1.0)):
        assert control_source("bend").position("k", mido.Message("pitchwheel", pitch=pitch)) == wanted
    assert position_of(mido.Message("note_on", note=1)) is None
    with pytest.raises(RequestError, match="control"):
        control_source("128")


# --- what it asks for -------------------------------------------------------------------------------------------------


def test_an_action_is_what_a_host_would_send() -> None:
    play = Action("/bridge/play 'warm strings, 90' duration 4 guidance 2").request({"temperature": 0.5})
    assert play == Play(prompt="warm strings, 90", duration=4.0, guidance=2.0, temperature=0.5)
    assert Action("/bridge/weights 3 0.25 .75").request({}) == Weigh(stream=3, values=[0.25, 0.75])
    assert Action("/bridge/level 0 {value}").request({}, -6.5) == SetLevel(stream=0, level=-6.5)
    assert Action("/bridge/stop").request({}) == Stop()
    assert Action("90 bpm techno", "/bridge/open").request({}) == PlayOpen(prompt="90 bpm techno")


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("", ErrorCode.EMPTY, "action"),
        ("/bridge/play 'x", ErrorCode.MALFORMED, "action"),
        ("/bridge/plai x", ErrorCode.UNKNOWN_ADDRESS, "action"),
        ("/bridge/quit", ErrorCode.NOT_ALLOWED, "action"),
        ("/bridge/trigger/strike pad 100", ErrorCode.NOT_ALLOWED, "action"),
        ("/bridge/play", ErrorCode.MISSING, "prompt"),
        ("/bridge/update", ErrorCode.MISSING, "stream"),
        ("/bridge/play x duration 0", ErrorCode.OUT_OF_RANGE, "duration"),
        ("/bridge/play x duration long", ErrorCode.BAD_TYPE, "duration"),
        ("/bridge/play x tempo 3", ErrorCode.UNKNOWN_PARAMETER, "tempo"),
    ],
)
def test_an_action_that_cannot_be_is_refused_when_it_is_mapped(text: str, code: ErrorCode, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        Pad(MapPad(name="p", note="60", action=text), MAX)
    assert (caught.value.code, caught.value.field) == (code, field)


# --- modes ------------------------------------------------------------------------------------------------------------


def test_hold_ends_with_the_key(stage: Stage) -> None:
    pad = stage.pad(mode="hold", prime=0)
    stage.strike(pad, after_ms=2)
    stream = stage.bridge.open(stage.bridge.streams[0])
    assert (stream.held, stream.request.save) == (False, False)
    stage.pass_time()
    assert stage.told(PadState)[-1].state == "waiting"
    stage.heard(stream)
    assert stage.told(PadState)[-1].state == "sounding"
    (event,) = stage.told(Triggered)
    assert (event.name, event.note, event.velocity, event.stream) == ("pad", 60, 127, stream.number)
    assert event.latency_ms == pytest.approx(102.0)
    stage.strike(pad, 0, note=61)
    assert not stream.cancelled, "another key"
    stage.strike(pad, 0)
    assert stream.cancelled
    over(stream)
    stage.pass_time()
    assert stage.told(PadState)[-1].state == "off"


def test_a_key_let_go_before_the_engine_answers_plays_nothing(stage: Stage) -> None:
    pad = stage.pad(mode="hold", prime=0)
    stage.strike(pad)
    stage.strike(pad, 0)
    assert stage.bridge.open(stage.bridge.streams[0]).cancelled


def test_the_same_note_twice_takes_the_first_ones_place_and_both_end(stage: Stage) -> None:
    pad = stage.pad(mode="hold", prime=0)
    stage.strike(pad)
    first = stage.bridge.open(stage.bridge.streams[0])
    stage.heard(first)
    stage.strike(pad)
    second = stage.bridge.open(stage.bridge.streams[1])
    assert second.request.replaces == first.number
    stage.strike(pad, 0)
    assert first.cancelled
    assert second.cancelled
    assert stage.bridge.spared == [first.number], "it was to end with the beginning of the second"


def test_toggle_and_one_shot(stage: Stage) -> None:
    toggle, shot = stage.pad("toggle", mode="toggle", prime=0), stage.pad("shot", prime=0)
    stage.strike(toggle)
    stage.strike(toggle, 0)
    first = stage.bridge.open(stage.bridge.streams[0])
    assert not first.cancelled
    stage.strike(toggle)
    assert first.cancelled
    stage.strike(toggle)
    assert len(stage.bridge.streams) == 2, "it is played again while the first one fades"
    stage.strike(shot)
    stage.strike(shot, 0)
    played = stage.bridge.open(stage.bridge.streams[2])
    assert not played.cancelled
    assert not played.request.save
    stage.strike(stage.pad("kept", action="/bridge/play strings save 1", prime=0))
    assert stage.bridge.streams[3].request.save


def test_other_requests_are_asked_on_and_off(stage: Stage) -> None:
    pad = stage.pad(action="/bridge/level 3 0", off="/bridge/level 3 -60", mode="toggle")
    stage.strike(pad, after_ms=1)
    stage.strike(pad, 0)
    stage.pass_time()
    assert stage.told(PadState)[-1].state == "sounding"
    stage.strike(pad)
    assert [request for request, _ in stage.bridge.asked] == [SetLevel(stream=3, level=level) for level in (0.0, -60.0)]
    (event,) = stage.told(Triggered)
    assert (event.stream, event.latency_ms) == (0, 1.0)


def test_a_refusal_is_told_once_to_whoever_mapped_the_pad(stage: Stage) -> None:
    scene = stage.pad("verse", action="/bridge/cancel 99")
    stage.bridge.refusal = RequestError(ErrorCode.UNKNOWN_STREAM, "stream", 99, "none is open")
    stage.strike(scene)
    (event,) = stage.told(TriggerFailed)
    assert (event.name, event.code) == ("verse", "unknown_stream")
    stage.bridge.refusal = None
    stage.strike(scene)
    asker = stage.bridge.asked[-1][1]
    assert isinstance(asker, Insider)
    asker.answered(RequestError(ErrorCode.NOT_FOUND, "name", "verse", "none"))
    assert [event.code for event in stage.told(TriggerFailed)] == ["unknown_stream", "not_found"]
    late = stage.pad("late", prime=0)
    stage.strike(late)
    stage.bridge.streams[-1].tap.over(RequestError(ErrorCode.BUSY, "queue", 20, "at most 20"))
    assert stage.told(TriggerFailed)[-1].code == "busy"


# --- velocity ---------------------------------------------------------------------------------------------------------


def test_velocity_sets_level_or_guidance(stage: Stage) -> None:
    pad = stage.pad(action=f"{DRONE} level -3", prime=0, low=-40.0, high=2.0)
    for velocity, level in ((127, -1.0), (1, -43.0), (64, -22.0)):
        stage.strike(pad, velocity)
        assert stage.bridge.streams[-1].request.level == pytest.approx(level)
    late = stage.pad("late", prime=0, curve=2.0)
    stage.strike(late, 64)
    assert stage.bridge.streams[-1].request.level == pytest.approx(-18.0)
    guided = stage.pad("guided", velocity="guidance", low=2.0, high=8.0)
    stage.pass_time(10)
    count = len(stage.bridge.streams)
    stage.strike(guided, 64)
    assert len(stage.bridge.streams) == count + 1, "none was kept ready"
    assert stage.bridge.streams[-1].request.guidance == pytest.approx(5.0)
    assert stage.bridge.streams[-1].request.level == 0.0
    with pytest.raises(RequestError, match="guidance"):
        stage.pad("wrong", velocity="guidance", low=-1.0)


# --- choke groups -----------------------------------------------------------------------------------------------------


def test_a_new_one_of_a_group_takes_the_others_place(stage: Stage) -> None:
    one, two, free = (
        stage.pad(name, action=f"{DRONE} at bar", mode="toggle", choke=group, prime=0)
        for name, group in (("one", "hats"), ("two", "hats"), ("free", ""))
    )
    for pad in (free, one):
        stage.strike(pad)
        stage.heard(stage.bridge.open(stage.bridge.streams[-1]))
    stage.strike(two)
    waiting = stage.bridge.open(stage.bridge.streams[-1])
    assert waiting.request.replaces == 2
    assert not any(stream.cancelled for stream in stage.bridge.streams), "it sounds until the other begins"
    stage.strike(two, note=61)
    third = stage.bridge.open(stage.bridge.streams[-1])
    assert third.request.replaces == 2
    assert waiting.cancelled, "it was never heard"
    assert not stage.bridge.streams[1].cancelled


# --- kept ready -------------------------------------------------------------------------------------------------------


def test_a_stream_that_is_ready_is_released_with_its_level(stage: Stage) -> None:
    pad = stage.pad(mode="hold")
    kept = stage.ready()
    assert stage.told(PadState)[-1].state == "ready"
    stage.pass_time(60)
    assert len(stage.bridge.streams) == 1
    stage.strike(pad, 1, after_ms=3)
    assert kept.released == ["now"]
    assert kept.gains == [pytest.approx(10 ** (-24 / 20))]
    stage.heard(kept)
    assert stage.told(Triggered)[-1].latency_ms == pytest.approx(3.0)
    following = stage.ready()
    assert following is not kept
    stage.strike(pad, 0)
    assert kept.cancelled
    assert not following.cancelled


def test_one_that_is_not_ready_yet_is_played_as_soon_as_it_can(stage: Stage) -> None:
    pad = stage.pad(mode="hold", choke="g")
    stage.pass_time()
    stage.strike(pad)
    (stream,) = stage.bridge.streams
    assert not stream.released
    stage.bridge.open(stream)
    assert stream.released == ["now"]
    stage.heard(stream)
    stage.pass_time()
    second = stage.bridge.streams[1]
    stage.strike(pad)
    assert not second.released
    stage.bridge.open(second)
    assert second.request.replaces == stream.number


def test_pads_share_what_may_be_kept_ready_and_the_last_one_struck_comes_first() -> None:
    stage = Stage(most_ready=3)
    pads = [stage.pad(str(index), str(index), f"{DRONE} seed {index}", prime=2) for index in range(4)]
    stage.strike(pads[2], note=2)
    stage.bridge.streams.clear()
    seeds = [stage.ready().request.seed for _ in range(3)]
    assert seeds == [2, 0, 1]
    stage.pass_time(10)
    assert len(stage.bridge.streams) == 3


def test_a_stream_that_would_no_longer_do_is_made_anew(stage: Stage) -> None:
    pad = stage.pad(mode="hold")
    first = stage.ready()
    stage.bridge.bpm = 120.0
    stage.pass_time(3)
    assert first.cancelled, "the clock plays"
    second = stage.ready()
    assert second.request.bpm == 120.0
    stage.bridge.bpm = 120.3
    stage.pass_time(3)
    assert not second.cancelled, "as good as the same"
    stage.bridge.model = "f11"
    stage.pass_time(1)
    assert second.cancelled
    third = stage.ready()
    third.broken = True
    stage.pass_time(1)
    assert third.cancelled, "its engine gave it up"
    fourth = stage.ready()
    stage.bridge.bpm = 90.0
    stage.strike(pad)
    assert not fourth.released
    assert stage.bridge.streams[-1].request.bpm == 90.0, "made for this tempo"


def test_one_that_has_waited_for_long_is_played_until_another_is_ready(stage: Stage) -> None:
    stage.pad()
    old = stage.ready()
    stage.pass_time(REPLACED_S + 1)
    young = stage.bridge.streams[-1]
    assert young is not old
    assert not old.cancelled
    stage.bridge.open(young)
    young.voice.ready = True
    stage.pass_time(1)
    assert old.cancelled
    assert not young.cancelled


def test_what_cannot_be_made_ahead_is_told_once(stage: Stage) -> None:
    stage.bridge.refusal = RequestError(ErrorCode.BUSY, "streams", 32, "at most 32")
    stage.pad()
    for _ in range(20):
        stage.pass_time(1)
    assert not stage.told(TriggerFailed), "that passes"
    stage.bridge.refusal = RequestError(ErrorCode.NOT_FOUND, "path", "x.wav", "a file")
    for _ in range(20):
        stage.pass_time(1)
    assert [event.code for event in stage.told(TriggerFailed)] == ["not_found"]


def test_forgetting_a_pad_and_closing_end_what_it_has(stage: Stage) -> None:
    pad = stage.pad(mode="hold")
    stage.strike(pad)
    played = stage.bridge.open(stage.bridge.streams[0])
    stage.heard(played)
    kept = stage.ready()
    stage.board.remove("pad")
    assert played.cancelled
    assert kept.cancelled
    stage.board.close()
    other = stage.pad("other")
    stage.strike(other)
    stage.pass_time(10)
    assert len(stage.bridge.streams) == 2


def test_keys_that_can_never_be_let_go_are_let_go(stage: Stage) -> None:
    held, toggled = stage.pad("held", mode="hold", prime=0), stage.pad("toggled", mode="toggle", prime=0)
    for pad in (held, toggled):
        stage.strike(pad)
        stage.bridge.open(stage.bridge.streams[-1])
    stage.board.let_go_of(lambda key: key[0] == "another")
    assert not stage.bridge.streams[0].cancelled
    stage.board.let_go_of(lambda key: key[0] == "keys")
    assert stage.bridge.streams[0].cancelled
    assert not stage.bridge.streams[1].cancelled
