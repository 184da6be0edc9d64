"""Live parameters on a clock that is moved by hand: what is set, what is told to whom, and what is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from daw_bridge.asked import Asked
from daw_bridge.live_desk import LiveDesk
from daw_bridge.orders import Insider
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import BridgeUpdate, Play, SetLevel
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.live_parameters import LIVE
from protocols.messages import Done, Reply, Request, Sampling, StreamInfo
from protocols.osc.codec import Argument
from protocols.osc.front import Asker, Peer

FADER = Peer("udp", "127.0.0.1", 9000)
OTHER = Peer("ws", "127.0.0.1", 9001)
LEVEL = 10 ** (-6 / 20)


class Voice:
    gain = LEVEL


class Stream:
    """A stream that remembers what it is asked for, as those of the bridge do."""

    def __init__(self, number: int, prompt: str) -> None:
        self.number = number
        self.patient = False
        self.request = Play(prompt=prompt)
        self.voice = Voice()
        self.wording = Wording(None, Facts(prompt=prompt), Asked().after(self.request, None))

    def info(self) -> StreamInfo:
        return StreamInfo(
            stream=self.number,
            kind="play",
            state="running",
            prompt="",
            seed=5,
            seconds=1.5,
            total_seconds=8,
            client="x",
        )

    def change(self, update: BridgeUpdate) -> None:
        given = {name: getattr(update, name) for name in ("prompt", "bpm", "key", "style")}
        facts = dataclasses.replace(self.wording.facts, **{n: v for n, v in given.items() if v is not None})
        self.wording = Wording(None, facts, self.wording.asked.after(update, None))


class Streams:
    def __init__(self) -> None:
        self.open: list[Any] = []

    @property
    def played(self) -> list[Any]:
        return [stream for stream in self.open if not stream.patient]

    def find(self, number: int) -> Any:
        found = next((stream for stream in self.open if stream.number == number), None)
        if found is None:
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", number, "")
        return found


class Front:
    """Keeps what is told: to one client, or to all listeners but one."""

    def __init__(self) -> None:
        self.told: list[tuple[Peer, str, Argument]] = []
        self.published: list[tuple[str, Argument, Peer | None]] = []

    def tell(self, peer: Peer, path: str, value: Argument) -> None:
        self.told.append((peer, path, value))

    def tell_listeners(self, path: str, value: Argument, but: Peer | None = None) -> None:
        self.published.append((path, value, but))


class Bridge:
    """A bridge whose engine answers when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.gain = 1.0
        self.front: Any = Front()
        self.streams: Any = Streams()
        self.defaults: dict[str, object] = {name: fields_of(Sampling)[name].default for name in ("guidance", "seed")}
        self.asked: list[tuple[Request, Asker]] = []
        self.failed: list[tuple[Asker, RequestError]] = []
        self.desk = LiveDesk(self, self, lambda: self.now)

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        self.asked.append((request, asker))
        if isinstance(request, SetLevel):
            self.gain = 10 ** (request.level / 20)
            return Done()
        assert isinstance(request, BridgeUpdate)
        for stream in self.streams.played:
            if request.stream in (0, stream.number):
                stream.change(request)
        return None

    def fail(self, asker: Asker, error: RequestError) -> None:
        self.failed.append((asker, error))

    def open(self, number: int, prompt: str = "drone") -> Stream:
        stream = Stream(number, prompt)
        self.streams.open.append(stream)
        self.wait(1)
        self.front.published.clear()
        return stream

    def set(self, path: str, *arguments: Argument, peer: Peer = FADER) -> Argument | None:
        return self.desk.take(path, arguments, Asker(peer, path, 0))

    def answer(self, answer: Reply | RequestError) -> None:
        """The engine answers what was asked last."""
        asker = self.asked[-1][1]
        assert isinstance(asker, Insider)
        asker.answered(answer)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.desk.pump()

    def sent(self) -> list[tuple[int, Any]]:
        """Stream and guidance of every change."""
        return [(one.stream, one.guidance) for one, _ in self.asked if isinstance(one, BridgeUpdate)]


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


def test_a_value_is_that_of_the_stream_opened_last_or_the_default(bridge: Bridge) -> None:
    assert bridge.set("/bridge/live/guidance") == 3.0
    bridge.defaults["guidance"] = 4.0
    assert bridge.set("/bridge/live/guidance") == 4.0
    assert bridge.set("/bridge/live/prompt") == ""
    bridge.open(1, "first")
    bridge.open(2, "second")
    assert bridge.set("/bridge/live/prompt") == "second"
    assert bridge.set("/bridge/stream/1/prompt") == "first"
    assert bridge.set("/bridge/stream/1/level") == -6.0
    assert bridge.set("/bridge/stream/1/seconds") == 1.5
    assert bridge.set("/bridge/live/level") == 0.0, "the level of everything"


def test_every_parameter_can_be_read_with_and_without_a_stream(bridge: Bridge) -> None:
    for name in LIVE:
        assert isinstance(bridge.set(f"/bridge/live/{name}"), int | float | str)
    bridge.open(1)
    for name, spec in LIVE.items():
        value = bridge.set(f"/bridge/stream/1/{name}")
        assert spec.check(value) == value, "it could be sent back"


def test_all_streams_or_one_are_changed(bridge: Bridge) -> None:
    bridge.open(1)
    bridge.open(2)
    bridge.set("/bridge/live/guidance", 5)
    assert bridge.set("/bridge/stream/1/guidance") == bridge.set("/bridge/stream/2/guidance") == 5.0
    bridge.set("/bridge/stream/1/guidance", 7.0)
    assert (bridge.set("/bridge/stream/1/guidance"), bridge.set("/bridge/live/guidance")) == (7.0, 5.0)
    assert bridge.sent() == [(0, 5.0), (1, 7.0)]


def test_changes_are_told_but_not_to_who_made_them(bridge: Bridge) -> None:
    bridge.open(1)
    bridge.set("/bridge/live/guidance", 5.0)
    bridge.wait(0.1)
    assert ("/bridge/live/guidance", 5.0, FADER) in bridge.front.published
    assert ("/bridge/stream/1/guidance", 5.0, None) in bridge.front.published
    bridge.front.published.clear()
    bridge.streams.open[0].change(BridgeUpdate(stream=1, guidance=6.0))  # by somebody else, in another way
    bridge.wait(0.1)
    assert ("/bridge/live/guidance", 6.0, None) in bridge.front.published
    bridge.front.published.clear()
    bridge.wait(1)
    assert bridge.front.published == []


def test_an_engine_that_answers_late_pulls_no_fader_back(bridge: Bridge) -> None:
    bridge.open(1)
    bridge.set("/bridge/live/guidance", 5.0)
    bridge.wait(1)
    bridge.answer(Done())
    bridge.wait(1)
    assert bridge.front.told == []


def test_a_level_is_known_again_though_it_is_kept_as_a_factor(bridge: Bridge) -> None:
    bridge.set("/bridge/live/level", -6.054321)
    bridge.wait(0.1)
    assert bridge.front.published == [("/bridge/live/level", -6.054, FADER)]


def test_a_fast_fader_is_thinned_out_and_not_pulled_back(bridge: Bridge) -> None:
    bridge.open(1)
    for step in range(101):
        bridge.set("/bridge/live/guidance", step / 10)
        bridge.wait(0.005)
    bridge.wait(0.1)
    sent = [guidance for _, guidance in bridge.sent()]
    assert 10 <= len(sent) <= 15
    assert sent == sorted(sent)
    assert sent[-1] == 10.0
    told = [but for path, _, but in bridge.front.published if path == "/bridge/live/guidance"]
    assert told
    assert set(told) == {FADER}
    assert bridge.front.told == []


def test_knobs_do_not_wait_for_each_other(bridge: Bridge) -> None:
    bridge.open(1)
    bridge.set("/bridge/live/prompt", "harp || strings")
    bridge.set("/bridge/live/weights", 0.2, 0.8)
    last = bridge.asked[-1][0]
    assert isinstance(last, BridgeUpdate)
    assert (len(bridge.asked), last.weights) == (2, "0.2 0.8"), "one fader for each weight"


def test_what_was_said_first_is_done_first(bridge: Bridge) -> None:
    bridge.open(1)
    for value in (4.0, 8.0):
        bridge.set("/bridge/live/guidance", value)
    bridge.set("/bridge/stream/1/guidance", 7.0)
    bridge.wait(1)
    assert bridge.sent() == [(0, 4.0), (0, 8.0), (1, 7.0)]


def test_the_time_of_morphs_goes_with_every_change(bridge: Bridge) -> None:
    bridge.open(1)
    bridge.set("/bridge/live/morph", 8.0)
    assert bridge.asked == []
    bridge.set("/bridge/stream/1/morph", 2.0)
    assert (bridge.set("/bridge/live/morph"), bridge.set("/bridge/stream/1/morph")) == (8.0, 2.0)
    bridge.set("/bridge/stream/1/prompt", "harp")
    bridge.set("/bridge/live/guidance", 5.0)
    assert [one.morph for one, _ in bridge.asked if isinstance(one, BridgeUpdate)] == [2.0, 8.0]
    bridge.set("/bridge/live/morph", 1.0)
    assert bridge.set("/bridge/stream/1/morph") == 1.0


def test_a_seed_is_shown_once_the_engine_has_it(bridge: Bridge) -> None:
    bridge.open(1)
    assert bridge.set("/bridge/live/seed") == 5
    bridge.set("/bridge/live/seed", 7.0)
    bridge.answer(Done())
    assert bridge.set("/bridge/live/seed") == bridge.set("/bridge/stream/1/seed") == 7


@pytest.mark.parametrize(
    ("path", "arguments", "code"),
    [
        ("/bridge/live/guidance", [77.0], ErrorCode.OUT_OF_RANGE),
        ("/bridge/live/guidance", ["much"], ErrorCode.BAD_TYPE),
        ("/bridge/live/guidance", [1.0, 2.0], ErrorCode.MALFORMED),
        ("/bridge/live/prompt", [5], ErrorCode.BAD_TYPE),
        ("/bridge/live/volume", [5], ErrorCode.UNKNOWN_PARAMETER),
        ("/bridge/live/stream", [5], ErrorCode.UNKNOWN_PARAMETER),
        ("/bridge/live/", [], ErrorCode.UNKNOWN_PARAMETER),
        ("/bridge/live/seconds", [], ErrorCode.UNKNOWN_PARAMETER),
        ("/bridge/stream/1/seconds", [5.0], ErrorCode.UNSUPPORTED),
        ("/bridge/stream/9/guidance", [5.0], ErrorCode.UNKNOWN_STREAM),
        ("/bridge/stream/2/guidance", [5.0], ErrorCode.UNKNOWN_STREAM),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(
    bridge: Bridge, path: str, arguments: list[Any], code: ErrorCode
) -> None:
    bridge.open(1)
    bridge.open(2).patient = True  # kept ready for a pad
    bridge.wait(1)
    bridge.front.published.clear()
    with pytest.raises(RequestError) as refused:
        bridge.set(path, *arguments)
    assert refused.value.code is code
    bridge.wait(1)
    assert (bridge.asked, bridge.front.published) == ([], [])


def test_a_fader_that_was_refused_hears_what_holds(bridge: Bridge) -> None:
    bridge.open(1)
    with pytest.raises(RequestError):
        bridge.set("/bridge/live/guidance", 77.0)
    assert bridge.front.told == [(FADER, "/bridge/live/guidance", 3.0)]
    bridge.front.told.clear()
    bridge.set("/bridge/live/guidance", 5.0, peer=OTHER)
    bridge.streams.open[0].change(BridgeUpdate(stream=1, guidance=3.0))  # as the bridge does when the engine refuses
    bridge.answer(RequestError(ErrorCode.ENGINE_LOST, "engine"))
    assert [(asker.peer, error.code) for asker, error in bridge.failed] == [(OTHER, ErrorCode.ENGINE_LOST)]
    assert bridge.front.told == [(OTHER, "/bridge/live/guidance", 3.0)]


def test_with_nothing_open_a_fader_goes_back_to_the_default(bridge: Bridge) -> None:
    bridge.set("/bridge/live/guidance", 5.0)
    assert bridge.asked == []
    assert bridge.front.told == [(FADER, "/bridge/live/guidance", 3.0)]


def test_streams_come_and_go(bridge: Bridge) -> None:
    before = bridge.desk.nodes()
    bridge.open(1, "drone")
    bridge.desk.pump()
    nodes = bridge.desk.nodes()
    assert nodes is bridge.desk.nodes(), "the same object while there are the same streams"
    assert nodes.keys() - before.keys() >= {"/bridge/stream/1", "/bridge/stream/1/prompt", "/bridge/stream/1/state"}
    assert bridge.desk.values().keys() == {path for path, node in nodes.items() if node.types}
    bridge.set("/bridge/stream/1/morph", 4.0)
    bridge.wait(1)
    bridge.front.published.clear()
    bridge.streams.open.clear()
    bridge.wait(1)
    assert bridge.desk.nodes().keys() == before.keys()
    assert ("/bridge/live/prompt", "", None) in bridge.front.published
    bridge.open(1)
    assert bridge.set("/bridge/stream/1/morph") == 0.0, "nothing is left of it"
