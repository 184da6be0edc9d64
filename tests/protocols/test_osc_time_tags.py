"""Time tags: read from bundles as hosts send them, and requests that wait for their time."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.bridge_messages import BRIDGE_REQUESTS, ClockTick, PlayOpen, SetDefaults
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Ping, Reply, Request, Status, Update, Version
from protocols.osc.codec import OscMessage, decode, encode, seconds_of, time_tag_of
from protocols.osc.front import Asker, OscFront, Peer
from protocols.osc.timed import HORIZON_S, MAX_WAITING, TimedRequests

NOW = 1_790_000_000.0
HOST = Peer("udp", "127.0.0.1", 50001)


def bundle(when: float | int, *packets: bytes) -> bytes:
    """A bundle for a moment of the system's clock, or with a time tag as it stands."""
    tag = when if isinstance(when, int) else time_tag_of(when)
    return (
        b"#bundle\0" + tag.to_bytes(8, "big") + b"".join(len(packet).to_bytes(4, "big") + packet for packet in packets)
    )


class Stage:
    """A front whose clock stands where the test says."""

    def __init__(self) -> None:
        self.now = NOW
        self.waiting: list[tuple[float, Any]] = []
        self.asked: list[tuple[Request, Asker]] = []
        self.sent: list[OscMessage] = []
        self.settings: dict[str, object] = dict.fromkeys(("temperature", "top_k", "top_p", "guidance", "seed"), 1)
        self.front = OscFront(
            "bridge",
            BRIDGE_REQUESTS,
            self,
            lambda _, packet: self.sent.extend(decode(packet)),
            settings=SetDefaults,
            current=lambda: self.settings,
            later=lambda seconds, call: self.waiting.append((self.now + seconds, call)),
            wall=lambda: self.now,
        )

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        self.asked.append((request, asker))
        return Done()

    def report(self, request: Status | Version) -> Reply:
        raise NotImplementedError

    def receive(self, packet: bytes) -> None:
        self.front.receive(packet, HOST)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = sorted((one for one in self.waiting if one[0] <= self.now), key=lambda one: one[0])
        self.waiting = [one for one in self.waiting if one[0] > self.now]
        for _, call in due:
            call()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_time_tag_is_read_in_seconds_of_the_systems_clock() -> None:
    assert seconds_of(1) is None
    assert seconds_of(0) is None
    assert seconds_of((2_208_988_800 << 32) + (1 << 31)) == 0.5
    assert seconds_of(time_tag_of(NOW + 0.25)) == NOW + 0.25
    after_2036 = 2_100_000_000.75
    assert time_tag_of(after_2036) < 1 << 63, "the count has begun anew"
    assert seconds_of(time_tag_of(after_2036)) == after_2036


def test_each_message_has_the_time_tag_of_its_own_bundle() -> None:
    inner = bundle(NOW + 2, encode("/b"))
    packet = bundle(NOW + 1, encode("/a"), inner, bundle(1, encode("/c")), encode("/d"))
    assert [(message.address, message.when) for message in decode(packet)] == [
        ("/a", NOW + 1),
        ("/b", NOW + 2),
        ("/c", None),
        ("/d", NOW + 1),
    ]
    assert decode(encode("/a"))[0].when is None


def test_a_request_is_carried_out_and_answered_at_its_time(stage: Stage) -> None:
    stage.receive(bundle(NOW + 2, encode("/bridge/ping", 2)))
    stage.receive(bundle(NOW + 1, encode("/bridge/ping", 1), encode("/bridge/param/temperature", 0.5)))
    assert (stage.asked, stage.sent) == ([], [])
    stage.pass_time(0.999)
    assert stage.asked == []
    stage.pass_time(0.001)
    assert [isinstance(request, kind) for (request, _), kind in zip(stage.asked, (Ping, SetDefaults), strict=True)]
    assert stage.asked[0][1] == Asker(HOST, "/bridge/ping", 1, when=NOW + 1)
    assert stage.sent[0] == OscMessage("/done", ("/bridge/ping", 1))
    stage.pass_time(5)
    assert stage.sent[-1] == OscMessage("/done", ("/bridge/ping", 2))
    assert len(stage.front.timed) == 0


def test_what_is_wrong_is_told_at_once(stage: Stage) -> None:
    stage.receive(bundle(NOW + 1, encode("/bridge/update", 4, 1, "temperature", 99.0)))
    assert stage.sent[0].arguments[:3] == ("/bridge/update", 4, "out_of_range")
    assert not stage.waiting


@pytest.mark.parametrize("when", [NOW, NOW - 0.5, NOW + HORIZON_S + 1, NOW - 86_400, 1, 0])
def test_what_is_late_or_tells_of_another_clock_is_carried_out_at_once(stage: Stage, when: float) -> None:
    stage.receive(bundle(when, encode("/bridge/ping", 1)))
    ((_, asker),) = stage.asked
    assert asker.when == (when if abs(when - NOW) <= HORIZON_S else None)


def test_what_keeps_to_the_time_itself_is_handed_over_at_once(stage: Stage) -> None:
    when = NOW + 0.5
    stage.receive(bundle(when, encode("/bridge/clock/tick", 1, 16.0)))
    stage.receive(bundle(when, encode("/bridge/open", 2, "drone")))
    stage.receive(bundle(when, encode("/bridge/open", 3, "drone", "at", "bar")))
    assert [(type(request), asker.when) for request, asker in stage.asked] == [(ClockTick, when), (PlayOpen, when)]
    stage.pass_time(0.5)
    assert stage.asked[-1][1].request_id == 3, "at its time it waits for the next bar line"


def test_not_more_wait_than_can_be_kept(stage: Stage) -> None:
    for number in range(MAX_WAITING):
        stage.receive(bundle(NOW + 1, encode("/bridge/ping", number)))
    assert stage.sent == []
    stage.receive(bundle(NOW + 1, encode("/bridge/ping", 7)))
    assert stage.sent[0].arguments[:3] == ("/bridge/ping", 7, "busy")
    stage.receive(bundle(NOW + 1, encode("/bridge/param/seed", 7)))
    assert stage.sent[1].arguments[:3] == ("/bridge/param/seed", 0, "busy")
    stage.pass_time(1)
    assert len(stage.asked) == MAX_WAITING


def test_what_waits_can_be_dropped(stage: Stage) -> None:
    stage.receive(bundle(NOW + 1, encode("/bridge/ping", 1)))
    stage.front.timed.drop()
    assert stage.sent[0].arguments[:3] == ("/bridge/ping", 1, "not_allowed")
    stage.pass_time(2)
    assert stage.asked == []


def test_without_a_timer_nothing_waits() -> None:
    timed = TimedRequests(None, lambda: NOW)
    assert not timed.put_off(NOW + 1, lambda: None, lambda _: None)


def test_an_update_waits_like_any_other(stage: Stage) -> None:
    stage.receive(bundle(NOW + 0.1, encode("/bridge/update", 1, 3, "prompt", "harp")))
    stage.pass_time(0.1)
    ((request, _),) = stage.asked
    assert isinstance(request, Update)
    assert request.prompt == "harp"


def test_the_refusal_names_why() -> None:
    told: list[RequestError] = []
    timed = TimedRequests(lambda *_: None, lambda: NOW)
    assert timed.put_off(NOW + 1, lambda: None, told.append)
    timed.drop()
    assert told[0].code is ErrorCode.NOT_ALLOWED
