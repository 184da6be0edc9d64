"""The OSC server on real sockets: UDP, TCP in both framings, and clients that misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pythonosc import slip

from protocols.bridge_messages import BRIDGE_REQUESTS, Sounding
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import Done, Quit, Reply, Request, Status, Version, VersionInfo
from protocols.osc.codec import MAX_PACKET, OscMessage, decode, encode
from protocols.osc.framing import Deframer
from protocols.osc.front import Asker, OscFront
from protocols.osc.port import MAX_CONNECTIONS, OscPort

HOST = "127.0.0.1"
WAIT_S = 10.0
"""How long something that must happen may take before a test fails; nothing waits for this to pass."""


class Service:
    """Says yes to everything."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        if isinstance(request, Quit):
            raise RequestError(ErrorCode.NOT_ALLOWED, "quit")
        return Done()

    def report(self, request: Status | Version) -> Reply:
        return VersionInfo(name="bridge", version="1", protocol=1, instance=1)


class Server:
    """A front on real sockets, with its loop on a thread."""

    def __init__(self) -> None:
        self.loop = IoLoop()
        self.osc = OscPort(self.loop, HOST, 0)
        self.front = OscFront("bridge", BRIDGE_REQUESTS, Service(), self.osc.send)
        self.osc.serve(self.front)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return HOST, self.osc.port

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """Make a call on the loop's thread and return what it returns."""
        results: list[Any] = []
        done = threading.Event()

        def make() -> None:
            results.append(call())
            done.set()

        self.loop.call_soon(make)
        assert done.wait(WAIT_S)
        return results[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until something is so."""
        tick = threading.Event()
        for _ in range(int(WAIT_S / 0.005)):
            if self.on_loop(condition):
                return
            tick.wait(0.005)
        raise AssertionError("it did not happen")

    def close(self) -> None:
        """Stop the loop and close the sockets."""
        self.loop.stop()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self.osc.close()
        self.loop.close()


class UdpClient:
    """A host that speaks OSC over UDP."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.settimeout(WAIT_S)
        self.port: int = self.socket.getsockname()[1]

    def send(self, address: str, *arguments: Any) -> None:
        self.socket.sendto(encode(address, *arguments), self._server.address)

    def receive(self) -> OscMessage:
        packet, sender = self.socket.recvfrom(65535)
        assert sender == self._server.address
        (message,) = decode(packet)
        return message


class TcpClient:
    """A host that speaks OSC over TCP, in one framing or the other."""

    def __init__(self, server: Server, framing: str = "length") -> None:
        self.socket = socket.create_connection(server.address, timeout=WAIT_S)
        self._framing = framing
        self._deframer = Deframer()
        self._packets: list[bytes] = []

    def send(self, address: str, *arguments: Any) -> None:
        self.socket.sendall(self.framed(encode(address, *arguments)))

    def framed(self, packet: bytes) -> bytes:
        return len(packet).to_bytes(4, "big") + packet if self._framing == "length" else bytes(slip.encode(packet))

    def receive(self) -> OscMessage:
        while not self._packets:
            data = self.socket.recv(4096)
            assert data, "the connection was closed"
            self._packets += self._deframer.feed(data)
        (message,) = decode(self._packets.pop(0))
        return message

    def wait_until_closed(self) -> None:
        """Read up to the end of the connection."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def udp(server: Server) -> Iterator[Callable[[], UdpClient]]:
    with contextlib.ExitStack() as stack:

        def connect() -> UdpClient:
            client = UdpClient(server)
            stack.callback(client.socket.close)
            return client

        yield connect


@pytest.fixture
def tcp(server: Server) -> Iterator[Callable[..., TcpClient]]:
    with contextlib.ExitStack() as stack:

        def connect(framing: str = "length") -> TcpClient:
            client = TcpClient(server, framing)
            stack.callback(client.socket.close)
            return client

        yield connect


# --- UDP -----------------------------------------------------------------------------------------------------------


def test_udp_clients_are_each_answered(udp: Callable[[], UdpClient]) -> None:
    clients = [udp() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send("/bridge/ping", number)
    for number, client in enumerate(clients):
        assert client.receive() == OscMessage("/done", ("/bridge/ping", number))


def test_an_answer_goes_to_the_port_that_was_asked_for(udp: Callable[[], UdpClient]) -> None:
    sender, receiver = udp(), udp()
    sender.send("/bridge/ping", 3, "reply_port", receiver.port)
    assert receiver.receive() == OscMessage("/done", ("/bridge/ping", 3))
    sender.send("/bridge/level", 4, 1, 99.0, "reply_port", receiver.port)
    assert receiver.receive().arguments[:3] == ("/bridge/level", 4, "out_of_range")


def test_listeners_hear_events_at_their_port(server: Server, udp: Callable[[], UdpClient]) -> None:
    sender, receiver = udp(), udp()
    sender.send("/notify", 1, receiver.port)
    assert receiver.receive() == OscMessage("/done", ("/notify", 1))
    server.on_loop(lambda: server.front.publish(Sounding(stream=2, first_sound_ms=1.0)))
    assert receiver.receive() == OscMessage("/bridge/sounding", (2, 1.0))


def test_noise_is_answered_and_does_no_harm(server: Server, udp: Callable[[], UdpClient]) -> None:
    client = udp()
    for packet in (b"noise", b"", bytes(MAX_PACKET + 4), b"#bundle\0"):
        client.socket.sendto(packet, server.address)
        assert client.receive().address == "/fail"
    client.send("/version")
    assert client.receive().address == "/version.reply"


def test_a_client_that_is_gone_does_no_harm(server: Server, udp: Callable[[], UdpClient]) -> None:
    gone, client = udp(), udp()
    gone.send("/notify", 1)
    gone.receive()
    gone.socket.close()
    for _ in range(20):
        server.on_loop(lambda: server.front.publish(Sounding(stream=2, first_sound_ms=1.0)))
    client.send("/bridge/ping", 1)
    assert client.receive().arguments == ("/bridge/ping", 1)


def test_two_servers_that_are_sent_to_each_other_fall_silent(server: Server, udp: Callable[[], UdpClient]) -> None:
    other = Server()
    try:
        client = udp()
        client.send("/notify", 1, other.osc.port)  # a wrong port: the answer and the events go to another server
        client.send("/notify", 1, server.osc.port)  # a worse one: to itself
        server.until(lambda: server.front.listeners == 2)
        server.on_loop(lambda: server.front.publish(Sounding(stream=2, first_sound_ms=1.0)))
        # /done and the event to each; the event is refused by each, and the refusals are dropped.
        other.until(lambda: other.front.received >= 2)
        server.until(lambda: server.front.received >= 6)
        for _ in range(50):
            server.on_loop(lambda: None)
            other.on_loop(lambda: None)
        assert (server.front.received, other.front.received) == (6, 2)
    finally:
        other.close()


# --- TCP -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "slip"])
def test_tcp_is_answered_in_its_own_framing(tcp: Callable[..., TcpClient], framing: str) -> None:
    client = tcp(framing)
    for number in range(3):
        client.send("/bridge/ping", number)
        assert client.receive() == OscMessage("/done", ("/bridge/ping", number))
    client.socket.sendall(b"".join(client.framed(encode("/bridge/ping", 192 + number)) for number in range(100)))
    assert [client.receive().arguments[1] for _ in range(100)] == list(range(192, 292))


@pytest.mark.parametrize("framing", ["length", "slip"])
def test_a_packet_may_come_byte_by_byte(tcp: Callable[..., TcpClient], framing: str) -> None:
    client = tcp(framing)
    for byte in client.framed(encode("/bridge/ping", 5)):
        client.socket.sendall(bytes([byte]))
    assert client.receive() == OscMessage("/done", ("/bridge/ping", 5))


def test_tcp_and_udp_clients_side_by_side(udp: Callable[[], UdpClient], tcp: Callable[..., TcpClient]) -> None:
    clients: list[UdpClient | TcpClient] = [udp(), tcp(), tcp("slip")]
    for number, client in enumerate(clients):
        client.send("/bridge/ping", number)
    for number, client in enumerate(clients):
        assert client.receive().arguments[1] == number


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(b"\xc0\xdb\0\xc0", ErrorCode.MALFORMED, id="a broken escape"),
        pytest.param(b"\0\1\0\0", ErrorCode.TOO_LARGE, id="a length of 64 kB"),
        pytest.param(b"/" * (3 * MAX_PACKET), ErrorCode.TOO_LARGE, id="a packet without an end"),
    ],
)
def test_a_connection_whose_framing_breaks_is_told_and_closed(
    server: Server, tcp: Callable[..., TcpClient], stream: bytes, code: ErrorCode
) -> None:
    client, other = tcp(), tcp()
    with contextlib.suppress(ConnectionError):
        client.socket.sendall(stream)
    message = client.receive()
    assert (message.address, message.arguments[2]) == ("/fail", code)
    client.wait_until_closed()
    server.until(lambda: len(server.osc._connections) == 1)
    other.send("/bridge/ping", 1)
    assert other.receive().arguments == ("/bridge/ping", 1)


def test_a_bad_packet_in_good_framing_is_refused_and_the_connection_stays(tcp: Callable[..., TcpClient]) -> None:
    client = tcp()
    client.socket.sendall(client.framed(b"noise!!!") + client.framed(b""))
    assert [client.receive().address for _ in range(2)] == ["/fail", "/fail"]
    client.send("/bridge/ping", 1)
    assert client.receive().arguments == ("/bridge/ping", 1)


def test_a_connection_that_is_closed_is_forgotten(server: Server, tcp: Callable[..., TcpClient]) -> None:
    client = tcp()
    client.send("/notify", 1)
    client.receive()
    assert server.on_loop(lambda: server.front.listeners) == 1
    client.socket.close()
    server.until(lambda: server.front.listeners == 0)
    assert server.on_loop(lambda: len(server.osc._connections)) == 0


def test_a_connection_that_is_reset_in_the_middle_of_a_packet_is_forgotten(
    server: Server, tcp: Callable[..., TcpClient]
) -> None:
    client = tcp()
    client.send("/notify", 1)
    client.receive()
    client.socket.sendall(b"\0\0\0\x10/bri")
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    server.until(lambda: server.front.listeners == 0)


def test_a_client_that_does_not_read_is_dropped_and_not_waited_for(
    server: Server, udp: Callable[[], UdpClient], tcp: Callable[..., TcpClient]
) -> None:
    deaf, client = tcp(), udp()
    deaf.send("/notify", 1)
    deaf.receive()
    event = Sounding(stream=2, first_sound_ms=1.0)

    def tell() -> int:
        for _ in range(2000):
            server.front.publish(event)
        return server.front.listeners

    assert any(server.on_loop(tell) == 0 for _ in range(500))
    client.send("/bridge/ping", 1)
    assert client.receive().arguments == ("/bridge/ping", 1)


def test_a_client_that_was_dropped_is_not_listened_to_again(server: Server, tcp: Callable[..., TcpClient]) -> None:
    """What it still asks in the packets that were already read must not make it a listener without a connection."""
    deaf = tcp()
    deaf.send("/bridge/ping")
    deaf.receive()
    (peer,) = server.on_loop(lambda: list(server.osc._connections))
    real = server.osc.send

    def lose(target: Any, packet: bytes) -> None:
        server.osc._drop(target)
        server.front._send = real

    server.front._send = lose
    deaf.socket.sendall(deaf.framed(encode("/bridge/ping")) + deaf.framed(encode("/notify", 1)))
    server.until(lambda: peer not in server.osc._connections)
    assert server.on_loop(lambda: server.front.listeners) == 0


def test_connections_are_bounded(server: Server, tcp: Callable[..., TcpClient]) -> None:
    clients = [tcp() for _ in range(MAX_CONNECTIONS)]
    for number, client in enumerate(clients):
        client.send("/bridge/ping", number)
        client.receive()
    tcp().wait_until_closed()
    clients[0].send("/bridge/ping", 7)
    assert clients[0].receive().arguments == ("/bridge/ping", 7)
    clients[0].socket.close()
    server.until(lambda: len(server.osc._connections) == MAX_CONNECTIONS - 1)
    client = tcp()
    client.send("/bridge/ping", 8)
    assert client.receive().arguments == ("/bridge/ping", 8)


def test_closing_the_server_closes_its_connections(tcp: Callable[..., TcpClient], server: Server) -> None:
    client = tcp()
    client.send("/bridge/ping", 1)
    client.receive()
    server.on_loop(server.osc.close)
    client.wait_until_closed()
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(server.address, timeout=WAIT_S)


# --- the port itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken_is_named_and_nothing_stays_open(kind: socket.SocketKind) -> None:
    loop = IoLoop()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError) as caught:
            OscPort(loop, HOST, port)
        assert (caught.value.code, caught.value.field) == (ErrorCode.BUSY, "osc port")
        assert caught.value.value == f"{HOST}:{port}"
    free = OscPort(loop, HOST, port)
    assert free.port == port
    free.close()
    loop.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 200, "ä" * 100], ids=["foreign", "unknown", "no name"])
def test_an_address_that_is_not_this_machines_is_named(host: str) -> None:
    loop = IoLoop()
    with pytest.raises(RequestError) as caught:
        OscPort(loop, host, 0)
    assert caught.value.code is ErrorCode.BUSY
    assert "a free port of this machine (" in caught.value.allowed
    loop.close()


def test_udp_alone_leaves_the_tcp_port_to_others() -> None:
    loop = IoLoop()
    port = OscPort(loop, HOST, 0, tcp=False)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, port.port))
    port.close()
    loop.close()
