"""The OSC client against the protocol's own server on real sockets, with a service that answers as the bridge does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from daw_bridge import osc_client
from daw_bridge.osc_client import MAX_PENDING, NoAnswerError, OscClient, RefusedError, probe
from protocols.bridge_messages import (
    BRIDGE_REQUESTS,
    BridgeCancel,
    BridgePing,
    BridgeQuit,
    BridgeReport,
    BridgeStatus,
    BridgeVersion,
    DeviceInfo,
    DeviceList,
    Devices,
    Play,
    PlayMidi,
    Progressed,
    Queued,
    SetDefaults,
    Sounding,
)
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import Done, Event, Finished, Reply, Request, Started, Status, Version, VersionInfo
from protocols.osc.front import Asker, OscFront
from protocols.osc.port import OscPort

CARDS = [
    DeviceInfo(
        index=n, name=f"Card {n}", host_api="Test", channels=2, sample_rate=48000.0, default=n == 0, chosen=n == 1
    )
    for n in range(3)
]
VERSION = VersionInfo(name="bridge", version="1.2.3", protocol=1, instance=7)
REPORT = BridgeReport(
    state="playing",
    engine="ready",
    model="tiny",
    status="trained",
    device="Card 1",
    sample_rate=48000,
    block=512,
    latency_ms=12.5,
    voices=2,
    underruns=0,
    device_underflows=0,
    devices_lost=0,
    callback_ms=0.5,
    first_sound_ms=80.25,
    requests=9,
    errors=1,
    uptime=60.0,
)


class Service:
    """Answers at once; a play request tells its events first, one without a duration worth a second stays open."""

    def __init__(self) -> None:
        self.front: OscFront | None = None
        self.defaults: dict[str, object] = {"temperature": 0.5, "top_k": 250, "top_p": 0.0, "guidance": 3.0, "seed": -1}
        self.seen: list[Request] = []
        self.open: list[Asker] = []
        self.deaf = False

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        self.seen.append(request)
        if self.deaf:
            return None
        match request:
            case Play():
                self._play(request, asker)
                return None
            case PlayMidi(path=path):
                raise RequestError(ErrorCode.NOT_FOUND, "path", path, "an existing file")
            case Devices():
                return DeviceList(items=CARDS)
        return Done()

    def report(self, request: Status | Version) -> Reply:
        return VERSION if isinstance(request, Version) else REPORT

    def _play(self, request: Play, asker: Asker) -> None:
        assert self.front is not None
        stream = len(self.seen)
        events: list[Event] = [
            Queued(request=asker.request_id, stream=stream, seed=5, words=request.prompt),
            Started(stream=stream, seed=5, model="tiny", sample_rate=32000, channels=1, seconds=request.duration),
            Sounding(stream=stream, first_sound_ms=42.0),
            Progressed(stream=stream, seconds=0.5, total_seconds=request.duration, played=0.25),
        ]
        for event in events:
            self.front.publish(event, asker)
        if request.duration < 1:
            self.open.append(asker)
            return
        self.front.done(asker, finished(stream, request))


def finished(stream: int, request: Play) -> Finished:
    return Finished(
        stream=stream,
        reason="done",
        seconds=request.duration,
        seed=5,
        path=f"/takes/{request.prompt}.wav",
        underruns=0,
        first_sound_ms=42.0,
    )


class Server:
    """A service behind a real port, on a thread of its own."""

    def __init__(self) -> None:
        self.service = Service()
        self.loop = IoLoop()
        self._port = OscPort(self.loop, "127.0.0.1", 0)
        self.port = self._port.port
        front = OscFront(
            "bridge",
            BRIDGE_REQUESTS,
            self.service,
            self._port.send,
            settings=SetDefaults,
            current=lambda: self.service.defaults,
        )
        self.front = self.service.front = front
        self._port.serve(front)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self.loop.stop()
            self._thread.join(10)
            self._port.close()
            self.loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    yield it
    it.close()


@pytest.fixture
def client(server: Server) -> Iterator[OscClient]:
    with OscClient(server.port) as it:
        yield it


def test_a_request_brings_its_events_and_its_answer(client: OscClient) -> None:
    heard: list[Event] = []
    request = Play(prompt="warm strings, slow", duration=2.5, seed=5)
    assert client.call(request, on_event=heard.append) == finished(1, request)
    assert [type(event) for event in heard] == [Queued, Started, Sounding, Progressed]
    assert heard[-1] == Progressed(stream=1, seconds=0.5, total_seconds=2.5, played=0.25)


def test_every_parameter_arrives(client: OscClient, server: Server) -> None:
    request = Play(
        prompt="ä ö ü, 90 bpm", duration=3.5, temperature=0.5, top_k=12, sound=False, format="flac", level=-6.0
    )
    client.call(request)
    assert server.service.seen == [request]


def test_what_was_not_given_is_the_servers_choice(client: OscClient, server: Server) -> None:
    client.call(Play(prompt="x", duration=4.0), given={"prompt", "duration"})
    assert server.service.seen == [Play(prompt="x", duration=4.0, temperature=0.5)]


def test_a_list_comes_whole(client: OscClient) -> None:
    assert client.call(Devices()) == DeviceList(items=CARDS)


def test_status_and_version(client: OscClient) -> None:
    assert client.call(BridgeStatus()) == REPORT
    assert client.call(BridgeVersion()) == VERSION
    assert client.call(BridgePing()) == Done()


def test_a_refusal_keeps_the_servers_words(client: OscClient) -> None:
    with pytest.raises(RefusedError) as refused:
        client.call(PlayMidi(path="/tmp/no.mid"))
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert refused.value.text == "not_found: path = /tmp/no.mid (allowed: an existing file)"


def test_several_requests_of_one_client_may_be_open(client: OscClient, server: Server) -> None:
    slow = client.send(Play(prompt="slow", duration=0.5))
    assert client.poll(slow, 0.0) is None
    assert client.call(Play(prompt="quick")) == finished(2, Play(prompt="quick"))
    assert client.call(BridgeCancel(stream=1)) == Done()
    answer = finished(1, Play(prompt="slow", duration=0.5))
    server.loop.call_soon(lambda: server.front.done(server.service.open[0], answer))
    assert client.poll(slow, 10.0) == answer


def test_several_clients_each_get_their_own(server: Server) -> None:
    def ask(number: int) -> list[Reply]:
        with OscClient(server.port) as client:
            return [client.call(Play(prompt=f"{number}-{turn}")) for turn in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for number, replies in enumerate(pool.map(ask, range(8))):
            paths = [reply.path for reply in replies if isinstance(reply, Finished)]
            assert paths == [f"/takes/{number}-{turn}.wav" for turn in range(20)]


def test_a_listener_hears_other_clients(client: OscClient, server: Server) -> None:
    heard: list[Event] = []
    assert client.listen() == 1
    with OscClient(server.port) as other:
        other.call(Play(prompt="theirs"))
    while len(heard) < 4:
        client.hear(0.05, heard.append)
    assert isinstance(heard[0], Queued)
    assert heard[0].words == "theirs"
    assert client.listen(False) == 1
    assert server.front.listeners == 0


def test_nothing_at_the_port_is_told_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as empty:
        empty.bind(("127.0.0.1", 0))
        port = empty.getsockname()[1]
    with OscClient(port) as client, pytest.raises(NoAnswerError, match=str(port)):
        client.call(BridgePing())
    assert probe(port) is None


def test_probe_tells_who_is_there(server: Server) -> None:
    assert probe(server.port, timeout=10) == VERSION


def test_a_server_that_dies_ends_the_wait(client: OscClient, server: Server) -> None:
    pending = client.send(Play(prompt="slow", duration=0.5))
    assert client.poll(pending, 0.0) is None
    server.close()
    with pytest.raises(NoAnswerError):
        client.poll(pending, 30.0)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osc_client, "SILENCE_S", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with OscClient(silent.getsockname()[1]) as client, pytest.raises(NoAnswerError):
            client.call(BridgePing(), timeout=None)


def test_waiting_is_bounded_while_the_server_lives(client: OscClient, server: Server) -> None:
    server.service.deaf = True
    with pytest.raises(RequestError, match="busy: /bridge/quit = no answer"):
        client.call(BridgeQuit(), timeout=0.1)


def test_open_requests_are_bounded(client: OscClient, server: Server) -> None:
    server.service.deaf = True
    for _ in range(MAX_PENDING):
        client.send(BridgePing())
    with pytest.raises(RequestError, match="busy"):
        client.send(BridgePing())


def test_noise_from_the_port_is_no_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
        noisy.bind(("127.0.0.1", 0))
        noisy.settimeout(10)
        with OscClient(noisy.getsockname()[1]) as client:
            pending = client.send(BridgePing())
            _, peer = noisy.recvfrom(65535)
            for packet in (b"", b"no osc", b"/done\0\0\0", b"/bridge/sounding\0\0\0\0,s\0\0one\0", b"\xff" * 64):
                noisy.sendto(packet, peer)
            assert client.poll(pending, 0.1) is None
