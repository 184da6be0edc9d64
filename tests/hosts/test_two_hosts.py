"""Several hosts at one bridge at once, each by its own way in: everyone gets the answers to what it asked, and nobody else's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from tests.support.clients import OscPeer
from tests.support.controller import Controller
from tests.support.file_client import FileClient
from tests.support.processes import Process

ROUNDS = 25
MINE = ("/done", "/fail")


class TcpPeer(OscPeer):
    """A client of OSC over TCP, each packet after its length."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.heard: list[tuple[str, list[Any]]] = []
        self._file = self.socket.makefile("rb")

    def send(self, address: str, *arguments: Any) -> None:
        packet = build_msg(address, list(arguments)).dgram
        self.socket.sendall(len(packet).to_bytes(4, "big") + packet)

    def receive(self, seconds: float) -> tuple[str, list[Any]] | None:
        self.socket.settimeout(30)
        message = OscMessage(self._file.read(int.from_bytes(self._file.read(4), "big")))
        heard = (message.address, list(message.params))
        self.heard.append(heard)
        return heard


class WebPeer(OscPeer):
    """A controller's WebSocket."""

    def __init__(self, port: int) -> None:
        self._controller = Controller(port).__enter__()
        self.heard = self._controller.heard

    def close(self) -> None:
        self._controller.__exit__()

    def send(self, address: str, *arguments: Any) -> None:
        self._controller.send(address, *arguments)

    def receive(self, seconds: float) -> tuple[str, list[Any]] | None:
        count = len(self.heard)
        while self._controller.receive(seconds):
            if len(self.heard) > count:
                return self.heard[-1]
        return None


@pytest.fixture
def hosts(bridge: Process, studio: Path) -> Iterator[list[OscPeer]]:
    """Two of each kind."""
    port, web = bridge.ports["osc_port"], bridge.ports["oscquery_port"]
    kinds: list[Callable[[], OscPeer]] = [
        lambda: OscPeer(port),
        lambda: TcpPeer(port),
        lambda: FileClient(studio / "exchange"),
        lambda: WebPeer(web),
    ]
    with ExitStack() as stack:
        yield [stack.enter_context(kind()) for kind in kinds for _ in range(2)]


def at_once(hosts: list[OscPeer], work: Callable[[int, OscPeer], None]) -> None:
    """Let every host do something at the same time; fails if one does."""
    faults: list[BaseException] = []

    def run(index: int, host: OscPeer) -> None:
        try:
            work(index, host)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(hosts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if faults:
        raise faults[0]


def test_the_same_numbers_do_not_get_mixed_up(hosts: list[OscPeer]) -> None:
    def ask(index: int, host: OscPeer) -> None:
        for number in range(1, ROUNDS + 1):
            name = f"template {index}-{number}"
            code, text = host.ask("/bridge/templates/keep", number, name, f"{{nothing{index}}}")[1]
            assert code == "unknown_parameter"
            assert f"{{nothing{index}}}" in text, "it is told of its own mistake"

    at_once(hosts, ask)
    for index, host in enumerate(hosts):
        answers = [given for address, given in host.heard if address in MINE]
        assert [given[1] for given in answers] == list(range(1, ROUNDS + 1)), (
            f"host {index}: each answer once, in order"
        )


def test_everyone_gets_its_own_piece(hosts: list[OscPeer]) -> None:
    def play(index: int, host: OscPeer) -> None:
        stream, reason, _, seed = host.ask(
            "/bridge/play", 1, "noise", "duration", 0.2, "seed", 100 + index, "sound", 0
        )[1][:4]
        streams[index] = stream
        assert (reason, seed) == ("done", 100 + index)

    streams: dict[int, int] = {}
    half = hosts[::2]  # the engine makes two at a time, and four more may wait
    at_once(half, play)
    assert len(set(streams.values())) == len(half)
    for index, host in enumerate(half):
        queued = [given for address, given in host.heard if address == "/bridge/queued"]
        assert [(given[0], given[1]) for given in queued] == [(1, streams[index])], "and hears of its own stream only"
        ended = {given[0] for address, given in host.heard if address == "/bridge/ended"}
        assert ended == {streams[index]}


def test_a_listener_hears_everybody_and_a_stranger_nobody(hosts: list[OscPeer]) -> None:
    listeners, strangers = hosts[::2], hosts[1::2]
    for host in listeners:
        host.send("/notify", 1)
        host.wait("/done", "/notify")
    player = strangers[0]
    stream = player.ask("/bridge/play", 9, "noise", "duration", 0.2, "sound", 0, "save", 0)[1][0]
    for host in listeners:
        host.wait("/bridge/ended", stream)
        assert not [given for address, given in host.heard if address in MINE and given[0] == "/bridge/play"]
        host.send("/notify", 0)
        host.wait("/done", "/notify")
    for host in strangers[1:]:
        host.ask("/bridge/ping", 3)
        assert [address for address, _ in host.heard] == ["/done"]
