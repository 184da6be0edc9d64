"""The manners of the OSC server: who is answered where, who listens, what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from protocols.bridge_messages import BRIDGE_REQUESTS, BridgeReport, Queued, SetDefaults, Sounding, Stop
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import (
    Done,
    Finished,
    Ping,
    Reply,
    Request,
    Sampling,
    Status,
    StreamInfo,
    StreamList,
    Streams,
    Update,
    Version,
    VersionInfo,
)
from protocols.osc.codec import MAX_PACKET, Argument, OscMessage, decode, encode
from protocols.osc.front import MAX_LISTENERS, Asker, OscFront, Peer

MAX = Peer("udp", "127.0.0.1", 50001)
PD = Peer("udp", "127.0.0.1", 50002)
TCP = Peer("tcp", "127.0.0.1", 50003)
VERSION = VersionInfo(name="bridge", version="1.0", protocol=1, instance=5)
SOUNDING = Sounding(stream=1, first_sound_ms=2.0)
SETTINGS = tuple(fields_of(SetDefaults))


class Bridge:
    """A bridge without sound: it keeps its settings and remembers who asked."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {name: fields_of(Sampling)[name].default for name in SETTINGS}
        self.asked: list[tuple[Request, Asker]] = []

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        self.asked.append((request, asker))
        match request:
            case SetDefaults():
                given = {name: getattr(request, name) for name in SETTINGS}
                self.settings |= {name: value for name, value in given.items() if value is not None}
            case Sampling():
                return None
            case Streams():
                row = StreamInfo(
                    stream=1, kind="play", state="running", prompt="dub", seed=2, seconds=1, total_seconds=8, client="x"
                )
                return StreamList(items=[row, row])
            case Stop():
                raise RequestError(ErrorCode.ENGINE_LOST, "engine")
            case Update():
                raise ZeroDivisionError("a fault of ours")
        return Done()

    def report(self, request: Status | Version) -> Reply:
        if isinstance(request, Version):
            return VERSION
        raise ZeroDivisionError("no report")


class Setup:
    """A front, the bridge behind it, and the packets that it sent."""

    def __init__(self) -> None:
        self.bridge = Bridge()
        self.packets: list[tuple[Peer, bytes]] = []
        self.front = OscFront(
            "bridge",
            BRIDGE_REQUESTS,
            self.bridge,
            lambda peer, packet: self.packets.append((peer, packet)),
            settings=SetDefaults,
            current=lambda: self.bridge.settings,
        )

    def ask(self, sender: Peer, address: str, *arguments: Any) -> list[tuple[Peer, OscMessage]]:
        """Send a message and return what was sent because of it."""
        return self.receive(sender, encode(address, *arguments))

    def receive(self, sender: Peer, packet: bytes) -> list[tuple[Peer, OscMessage]]:
        """Receive a packet and return what was sent because of it."""
        self.front.receive(packet, sender)
        return self.taken()

    def taken(self) -> list[tuple[Peer, OscMessage]]:
        """What was sent since the last time."""
        sent = [(peer, message) for peer, packet in self.packets for message in decode(packet)]
        self.packets.clear()
        return sent


@pytest.fixture
def setup() -> Setup:
    return Setup()


def bundle_of(*packets: bytes) -> bytes:
    """A bundle of packets."""
    return b"#bundle\0" + bytes(8) + b"".join(len(packet).to_bytes(4, "big") + packet for packet in packets)


# --- answers -------------------------------------------------------------------------------------------------------


def test_a_request_is_answered_where_it_came_from_with_its_own_id(setup: Setup) -> None:
    assert setup.ask(MAX, "/bridge/ping", 7) == [(MAX, OscMessage("/done", ("/bridge/ping", 7)))]
    assert setup.ask(PD, "/bridge/ping") == [(PD, OscMessage("/done", ("/bridge/ping", 0)))]
    assert setup.ask(TCP, "/ping", 8) == [(TCP, OscMessage("/done", ("/ping", 8)))]
    assert [request for request, _ in setup.bridge.asked] == [setup.bridge.asked[0][0]] * 3
    assert isinstance(setup.bridge.asked[0][0], Ping)


def test_a_request_that_takes_its_time_is_answered_when_it_is_done(setup: Setup) -> None:
    assert setup.ask(MAX, "/bridge/play", 1, "dub") == []
    assert setup.ask(PD, "/bridge/play", 1, "house", "reply_port", 9000) == []
    (_, first), (_, second) = setup.bridge.asked
    reply = Finished(stream=3, reason="done", seconds=1.0, seed=4, path="/a.wav", underruns=0, first_sound_ms=0.0)
    setup.front.done(second, reply)
    setup.front.fail(first, RequestError(ErrorCode.ENGINE_LOST, "engine"))
    assert setup.taken() == [
        (PD.at(9000), OscMessage("/done", ("/bridge/play", 1, 3, "done", 1.0, 4, "/a.wav", 0, 0.0, ""))),
        (MAX, OscMessage("/fail", ("/bridge/play", 1, "engine_lost", "engine_lost: engine"))),
    ]


def test_a_refusal_says_what_is_wrong(setup: Setup) -> None:
    ((peer, message),) = setup.ask(MAX, "/bridge/play", 4, "dub", "temperature", 9.0)
    assert (peer, message.address) == (MAX, "/fail")
    assert message.arguments[:3] == ("/bridge/play", 4, "out_of_range")
    assert message.arguments[3] == "out_of_range: temperature = 9.0 (allowed: a number from 0 to 4)"
    ((_, message),) = setup.ask(MAX, "/bridge/stop", 5)
    assert message.arguments == ("/bridge/stop", 5, "engine_lost", "engine_lost: engine")
    assert (setup.front.received, setup.front.refused) == (2, 2)


def test_a_refusal_goes_to_the_reply_port_too(setup: Setup) -> None:
    for arguments in ((4, "dub", "temperature", 9.0), (4, "dub", "tempo", 9.0)):
        ((peer, message),) = setup.ask(MAX, "/bridge/play", *arguments, "reply_port", 9000)
        assert (peer, message.address) == (MAX.at(9000), "/fail")
    ((peer, _),) = setup.ask(MAX, "/bridge/stop", 5, "reply_port", 9000)
    assert peer == MAX.at(9000)


def test_a_fault_of_ours_ends_the_request_and_nothing_else(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    for address, arguments in (("/bridge/update", (6, 1)), ("/status", (6,))):
        ((peer, message),) = setup.ask(MAX, address, *arguments)
        assert peer == MAX
        assert message.arguments[:3] == (address, 6, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert setup.ask(MAX, "/bridge/ping", 7) == [(MAX, OscMessage("/done", ("/bridge/ping", 7)))]


def test_status_and_version_answer_by_name(setup: Setup) -> None:
    expected = ("name", "bridge", "version", "1.0", "protocol", 1, "instance", 5)
    for address in ("/version", "/bridge/version"):
        assert setup.ask(MAX, address) == [(MAX, OscMessage(f"{address}.reply", expected))]
    ((peer, _),) = setup.ask(MAX, "/version", "reply_port", 9000)
    assert peer == MAX.at(9000)
    assert BridgeReport in {request.reply for request in BRIDGE_REQUESTS}


def test_a_list_comes_as_items(setup: Setup) -> None:
    first, second, last = setup.ask(MAX, "/bridge/streams", 3)
    assert first[1].arguments[:5] == (3, 0, 2, "stream", 1)
    assert second[1].arguments[:3] == (3, 1, 2)
    assert (first[1].address, last[1]) == ("/bridge/streams.item", OscMessage("/done", ("/bridge/streams", 3, 2)))


@pytest.mark.parametrize("address", ["/", "/bridge", "/bridge/", "/bridge/fetch", "/engine/ping", "/bridge/pingpong"])
def test_an_unknown_address_is_told_the_known_ones(setup: Setup, address: str) -> None:
    ((peer, message),) = setup.ask(MAX, address, 1, 2, 3)
    assert (peer, message.address) == (MAX, "/fail")
    assert message.arguments[:3] == (address, 0, "unknown_address")
    assert "/bridge/play" in str(message.arguments[3])


def test_an_endless_address_gets_a_short_answer(setup: Setup) -> None:
    ((_, message),) = setup.ask(MAX, "/" + "x" * (MAX_PACKET - 20))
    assert message.arguments[2] == "unknown_address"
    assert len(str(message.arguments[0])) <= 80


def test_a_packet_that_is_none_is_counted_and_refused(setup: Setup) -> None:
    for packet in (b"", b"noise", bytes(MAX_PACKET + 4), b"/a\0\0,m\0\0"):
        ((peer, message),) = setup.receive(MAX, packet)
        assert (peer, message.address) == (MAX, "/fail")
        assert message.arguments[:2] == ("", 0)
    assert (setup.front.received, setup.front.refused) == (4, 4)
    assert setup.bridge.asked == []


@pytest.mark.parametrize("address", ["/done", "/fail"])
def test_an_answer_is_never_answered(setup: Setup, address: str) -> None:
    """Two servers that take each other for a client would answer each other for ever."""
    assert setup.ask(MAX, address, "/bridge/play", 1, "busy", "busy") == []
    assert setup.front.refused == 1


def test_each_message_of_a_bundle_is_answered(setup: Setup) -> None:
    sent = setup.receive(MAX, bundle_of(encode("/ping", 1), encode("/nothing"), encode("/ping", 2)))
    assert [message.address for _, message in sent] == ["/done", "/fail", "/done"]
    assert setup.front.received == 3


def test_a_reply_that_does_not_fit_is_a_failure(setup: Setup) -> None:
    reply = Finished(
        stream=3, reason="done", seconds=1.0, seed=4, path="x" * MAX_PACKET, underruns=0, first_sound_ms=0.0
    )
    setup.front.done(Asker(MAX, "/bridge/play", 1), reply)
    ((peer, message),) = setup.taken()
    assert (peer, message.address, message.arguments[:3]) == (MAX, "/fail", ("/bridge/play", 1, "too_large"))


# --- listeners -----------------------------------------------------------------------------------------------------


def test_a_listener_gets_an_id_and_every_setting_at_once(setup: Setup) -> None:
    (answer, *pushed) = setup.ask(MAX, "/notify", 1)
    assert answer == (MAX, OscMessage("/done", ("/notify", 1)))
    assert [(peer, message.address) for peer, message in pushed] == [
        (MAX, f"/bridge/param/{name}") for name in SETTINGS
    ]
    assert [message.arguments for _, message in pushed] == [(setup.bridge.settings[name],) for name in SETTINGS]
    assert setup.ask(PD, "/bridge/notify")[0] == (PD, OscMessage("/done", ("/bridge/notify", 2)))
    assert setup.ask(MAX, "/notify", 1.0)[0] == (MAX, OscMessage("/done", ("/notify", 1)))
    assert setup.front.listeners == 2


def test_a_listener_with_a_port_is_told_and_answered_there(setup: Setup) -> None:
    there = MAX.at(9000)
    answers = setup.ask(MAX, "/notify", 1, 9000)
    assert {peer for peer, _ in answers} == {there}
    assert setup.ask(MAX, "/ping", 4) == [(there, OscMessage("/done", ("/ping", 4)))]
    assert setup.ask(MAX, "/nothing")[0][0] == there
    assert setup.receive(MAX, b"noise")[0][0] == there
    assert setup.ask(PD, "/ping", 4) == [(PD, OscMessage("/done", ("/ping", 4)))]
    setup.front.publish(SOUNDING)
    assert setup.taken() == [(there, OscMessage("/bridge/sounding", (1, 2.0)))]


@pytest.mark.parametrize("port", [(), (9000,)])
def test_a_listener_is_forgotten_with_or_without_naming_its_port(setup: Setup, port: tuple[int, ...]) -> None:
    setup.ask(MAX, "/notify", 1, 9000)
    assert setup.ask(MAX, "/notify", 0, *port) == [(MAX.at(9000), OscMessage("/done", ("/notify", 1)))]
    assert setup.front.listeners == 0
    assert setup.ask(MAX, "/ping")[0][0] == MAX
    assert setup.ask(MAX, "/notify", 0) == [(MAX, OscMessage("/done", ("/notify", 0)))]


def test_several_clients_are_each_answered_at_their_own_port(setup: Setup) -> None:
    clients = [Peer("udp", "127.0.0.1", 40000 + number) for number in range(8)]
    for number, client in enumerate(clients):
        setup.ask(client, "/notify", 1, 9000 + number)
    for number, client in enumerate(clients):
        assert setup.ask(client, "/ping", number) == [
            (client.at(9000 + number), OscMessage("/done", ("/ping", number)))
        ]
    setup.front.publish(SOUNDING)
    assert [peer.port for peer, _ in setup.taken()] == [9000 + number for number in range(8)]


def test_listeners_are_bounded_and_the_first_are_not_silenced(setup: Setup) -> None:
    for number in range(MAX_LISTENERS):
        setup.ask(Peer("udp", "127.0.0.1", 40000 + number), "/notify", 1)
    ((peer, message),) = setup.ask(MAX, "/notify", 1)
    assert (peer, message.arguments[:3]) == (MAX, ("/notify", 0, "busy"))
    setup.front.publish(SOUNDING)
    assert [peer.port for peer, _ in setup.taken()] == list(range(40000, 40000 + MAX_LISTENERS))
    first = Peer("udp", "127.0.0.1", 40000)
    assert setup.ask(first, "/notify", 1)[0][1] == OscMessage("/done", ("/notify", 1))
    setup.ask(first, "/notify", 0)
    assert setup.ask(MAX, "/notify", 1)[0][1] == OscMessage("/done", ("/notify", MAX_LISTENERS + 1))


def test_who_sends_from_a_new_port_each_time_costs_no_memory(setup: Setup) -> None:
    for number in range(4 * MAX_LISTENERS):
        assert setup.ask(Peer("udp", "127.0.0.1", 40000 + number), "/notify", 1, 9000)[0][1].address == "/done"
    assert setup.front.listeners == 1
    assert len(setup.front._answer_at) <= MAX_LISTENERS
    latest = Peer("udp", "127.0.0.1", 40000 + 4 * MAX_LISTENERS - 1)
    assert setup.ask(latest, "/ping")[0][0].port == 9000


def test_asking_again_takes_nothing_from_the_others(setup: Setup) -> None:
    clients = [Peer("udp", "127.0.0.1", 40000 + number) for number in range(MAX_LISTENERS)]
    for client in (*clients, clients[-1]):
        setup.ask(client, "/notify", 1, 9000)
    assert {setup.ask(client, "/ping")[0][0].port for client in clients} == {9000}


@pytest.mark.parametrize("arguments", [(2,), (-1,), ("on",), (b"1",), (float("nan"),), (1, 0), (1, 65536), (1, "9000")])
def test_a_notify_that_cannot_be_understood(setup: Setup, arguments: tuple[Any, ...]) -> None:
    ((peer, message),) = setup.ask(MAX, "/notify", *arguments)
    assert (peer, message.arguments[:3]) == (MAX, ("/notify", 0, "out_of_range"))
    assert setup.front.listeners == 0


def test_an_event_comes_once_to_each_listener_and_to_whom_it_concerns(setup: Setup) -> None:
    setup.ask(MAX, "/notify", 1)
    told = OscMessage("/bridge/sounding", (1, 2.0))
    for asker, peers in (
        (None, [MAX]),
        (Asker(MAX, "/bridge/play", 1), [MAX]),
        (Asker(PD, "/bridge/play", 1), [MAX, PD]),
    ):
        setup.front.publish(SOUNDING, asker)
        assert setup.taken() == [(peer, told) for peer in peers]


def test_only_whoever_asked_is_told_the_id_of_the_request(setup: Setup) -> None:
    setup.ask(MAX, "/notify", 1)
    setup.ask(PD, "/notify", 1)
    setup.front.publish(Queued(request=5, stream=7, seed=1, words="strings"), Asker(PD, "/bridge/play", 5))
    assert setup.taken() == [
        (peer, OscMessage("/bridge/queued", (request, 7, 1, "strings"))) for peer, request in ((MAX, 0), (PD, 5))
    ]


def test_over_tcp_the_port_is_the_connections_own(setup: Setup) -> None:
    assert {peer for peer, _ in setup.ask(TCP, "/notify", 1, 9000)} == {TCP}
    assert setup.ask(TCP, "/ping", 3, "reply_port", 9000) == [(TCP, OscMessage("/done", ("/ping", 3)))]
    setup.front.forget(TCP)
    assert setup.front.listeners == 0
    setup.front.publish(SOUNDING)
    assert setup.taken() == []


# --- settings ------------------------------------------------------------------------------------------------------


def test_a_setting_is_asked_for_and_set(setup: Setup) -> None:
    assert setup.ask(MAX, "/bridge/param/temperature") == [(MAX, OscMessage("/bridge/param/temperature", (1.0,)))]
    assert setup.ask(MAX, "/bridge/param/temperature", 0.5) == [(MAX, OscMessage("/bridge/param/temperature", (0.5,)))]
    assert setup.ask(MAX, "/bridge/param/top_k", 40.0) == [(MAX, OscMessage("/bridge/param/top_k", (40,)))]
    assert setup.bridge.settings | {"temperature": 0.5, "top_k": 40} == setup.bridge.settings


def test_every_listener_hears_of_a_change_once(setup: Setup) -> None:
    setup.ask(MAX, "/notify", 1)
    setup.ask(PD, "/notify", 1)
    message = OscMessage("/bridge/param/guidance", (5.0,))
    assert setup.ask(MAX, "/bridge/param/guidance", 5.0) == [(MAX, message), (PD, message)]
    assert setup.ask(TCP, "/bridge/param/guidance", 5.0) == [(MAX, message), (PD, message), (TCP, message)]


def test_a_listener_that_asks_is_answered_too(setup: Setup) -> None:
    setup.ask(MAX, "/notify", 1)
    setup.ask(PD, "/notify", 1)
    assert setup.ask(MAX, "/bridge/param/guidance") == [(MAX, OscMessage("/bridge/param/guidance", (3.0,)))]


class Knob:
    """One address with a value, as others are added to a front."""

    def __init__(self) -> None:
        self.value: Argument = 1.0

    def owns(self, path: str) -> bool:
        return path == "/bridge/knob"

    def take(self, path: str, arguments: Sequence[Argument], asker: Asker) -> Argument | None:
        if not arguments:
            return self.value
        if arguments[0] == "no":
            raise RequestError(ErrorCode.BAD_TYPE, "knob", "no", "a number")
        self.value = arguments[0]
        return None

    def told(self) -> Mapping[str, Argument]:
        return {"/bridge/knob": self.value}


def test_an_address_with_a_value_is_asked_set_refused_and_told_to_a_new_listener(setup: Setup) -> None:
    knob = Knob()
    setup.front.parameters.append(knob)
    assert setup.ask(MAX, "/bridge/knob") == [(MAX, OscMessage("/bridge/knob", (1.0,)))]
    assert setup.ask(MAX, "/bridge/knob", 2.0) == []
    assert knob.value == 2.0
    ((_, refused),) = setup.ask(MAX, "/bridge/knob", "no")
    assert (refused.address, refused.arguments[:3]) == ("/fail", ("/bridge/knob", 0, "bad_type"))
    assert (PD, OscMessage("/bridge/knob", (2.0,))) in setup.ask(PD, "/notify", 1)
    setup.ask(MAX, "/notify", 1)
    setup.front.tell_listeners("/bridge/knob", 3.0, but=MAX)
    assert setup.taken() == [(PD, OscMessage("/bridge/knob", (3.0,)))]


def test_listeners_hear_of_defaults_that_are_set_by_request(setup: Setup) -> None:
    setup.ask(PD, "/notify", 1)
    assert setup.ask(MAX, "/bridge/defaults", 3, "guidance", 5.0, "top_k", 9) == [
        (MAX, OscMessage("/done", ("/bridge/defaults", 3))),
        (PD, OscMessage("/bridge/param/top_k", (9,))),
        (PD, OscMessage("/bridge/param/guidance", (5.0,))),
    ]


def test_settings_are_what_requests_that_open_streams_leave_out(setup: Setup) -> None:
    setup.ask(MAX, "/bridge/param/temperature", 0.5)
    setup.ask(MAX, "/bridge/play", "dub", "top_k", 5)
    setup.ask(MAX, "/bridge/update", 1, "guidance", 2.0)
    play, update = (request for request, _ in setup.bridge.asked[1:])
    assert isinstance(play, Sampling)
    assert (play.temperature, play.top_k) == (0.5, 5)
    assert update.__class__.__name__ == "BridgeUpdate"
    assert (update.temperature, update.guidance) == (None, 2.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("temperature", (9.0,), "out_of_range"),
        ("temperature", ("hot",), "bad_type"),
        ("tempo", (), "unknown_parameter"),
        ("tempo", (1.0,), "unknown_parameter"),
        ("", (), "unknown_parameter"),
        ("x/temperature", (1.0,), "unknown_parameter"),
    ],
)
def test_a_setting_that_cannot_be(setup: Setup, name: str, value: tuple[Any, ...], code: str) -> None:
    ((peer, message),) = setup.ask(MAX, f"/bridge/param/{name}", *value)
    assert (peer, message.arguments[:3]) == (MAX, (f"/bridge/param/{name}", 0, code))
    assert setup.bridge.asked == []


def test_a_listener_that_is_lost_while_it_is_told_holds_nobody_up(setup: Setup) -> None:
    other = Peer("tcp", "127.0.0.1", 50004)
    front = OscFront(
        "bridge",
        BRIDGE_REQUESTS,
        setup.bridge,
        lambda peer, packet: front.forget(peer) if peer == TCP else setup.packets.append((peer, packet)),
        settings=SetDefaults,
        current=lambda: setup.bridge.settings,
    )
    front.receive(encode("/notify", 1), other)
    front._listeners = {TCP: 9, **front._listeners}
    setup.taken()
    front.receive(encode("/bridge/param/seed", 5), MAX)
    assert [peer for peer, _ in setup.taken()] == [other, MAX]
    front._listeners = {TCP: 9, **front._listeners}
    front.publish(SOUNDING)
    assert [peer for peer, _ in setup.taken()] == [other]
    assert front.listeners == 1


def test_a_process_without_settings_has_no_such_addresses() -> None:
    sent: list[tuple[Peer, bytes]] = []
    front = OscFront("bridge", BRIDGE_REQUESTS, Bridge(), lambda peer, packet: sent.append((peer, packet)))
    front.receive(encode("/bridge/param/temperature"), MAX)
    front.receive(encode("/notify", 1), MAX)
    first, second = (decode(packet)[0] for _, packet in sent)
    assert first.arguments[2] == "unknown_address"
    assert second == OscMessage("/done", ("/notify", 1))
