"""A relay between hosts and a server that keeps every datagram, and the recordings of what real hosts have sent.

A recording, ``tests/hosts/recorded/<host>.json``, holds one packet of each shape (address and type tags). Tests of a host compare
what it sends now; the servers are tested with the recorded bytes. ``RECORD_OSC=1`` writes what a host sends into its recording.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).resolve().parents[1] / "hosts" / "recorded"
_HOST = "127.0.0.1"
_LARGEST = 65535


class OscTap:
    """Relays UDP between any number of clients and a server, each client by a socket of its own, as if there were no relay.

    Args:
        target: the server's UDP port on this machine.

    Attributes:
        port: where hosts send to.
        sent: packets of the hosts, in order.
        heard: packets of the server, in order.
    """

    def __init__(self, target: int) -> None:
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self._target = (_HOST, target)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind((_HOST, 0))
        self.port: int = self._front.getsockname()[1]
        self._upstream: dict[Any, socket.socket] = {}
        self._wake_out, self._wake_in = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="osc tap", daemon=True)
        self._thread.start()

    def __enter__(self) -> OscTap:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Relay nothing more."""
        self._wake_out.send(b"\0")
        self._thread.join(5)
        for each in (self._front, self._wake_in, self._wake_out, *self._upstream.values()):
            each.close()

    def _run(self) -> None:
        while True:
            clients = {upstream: client for client, upstream in self._upstream.items()}
            ready, _, _ = select.select([self._front, self._wake_in, *clients], [], [])
            if self._wake_in in ready:
                return
            for each in ready:
                try:
                    if each is self._front:
                        packet, client = each.recvfrom(_LARGEST)
                        self.sent.append(packet)
                        self._towards_server(client).send(packet)
                    else:
                        packet = each.recv(_LARGEST)
                        self.heard.append(packet)
                        self._front.sendto(packet, clients[each])
                except (ConnectionError, BlockingIOError):
                    # Nobody is there for the moment; what made a socket readable may be a refusal that sending has taken.
                    continue

    def _towards_server(self, client: Any) -> socket.socket:
        if client not in self._upstream:
            upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            upstream.connect(self._target)
            upstream.setblocking(False)
            self._upstream[client] = upstream
        return self._upstream[client]


def shapes(packets: list[bytes]) -> dict[tuple[str, str], bytes]:
    """One packet of each shape, a bundle by its messages: the first that has this address and these type tags."""
    found: dict[tuple[str, str], bytes] = {}
    for packet in packets:
        for message in _messages(packet):
            found.setdefault(_shape(message), packet)
    return found


def recorded(host: str, packets: list[bytes], version: str = "") -> None:
    """Check that a host sends nothing of another shape than its recording holds; with ``RECORD_OSC=1`` write it down.

    Args:
        host: the recording's name, such as ``puredata``.
        packets: what it sent, such as `OscTap.sent`.
        version: of the host, for the recording.
    """
    path = RECORDINGS / f"{host}.json"
    held = json.loads(path.read_text("utf-8")) if path.is_file() else {"host": host, "messages": []}
    known = {(entry["address"], entry["tags"]) for entry in held["messages"]}
    now = shapes(packets)
    assert now, f"{host} sent nothing"
    if os.environ.get("RECORD_OSC"):
        for (address, tags), packet in now.items():
            if (address, tags) not in known:
                held["messages"].append({"address": address, "tags": tags, "packet": packet.hex()})
        held["messages"].sort(key=lambda entry: (entry["address"], entry["tags"]))
        held["host"] = version or held["host"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(held, indent=1) + "\n", "utf-8")
        return
    strangers = sorted(set(now) - known)
    assert not strangers, f"{host} sends what {path.name} does not hold (RECORD_OSC=1 writes it): {strangers}"


def _messages(packet: bytes) -> list[bytes]:
    if not packet.startswith(b"#bundle\0"):
        return [packet]
    found: list[bytes] = []
    position = 16
    while position < len(packet):
        size = int.from_bytes(packet[position : position + 4], "big")
        found += _messages(packet[position + 4 : position + 4 + size])
        position += 4 + size
    return found


def _shape(message: bytes) -> tuple[str, str]:
    """Address and type tags, read from the bytes themselves."""
    end = message.index(b"\0")
    tags = message[(end // 4 + 1) * 4 :]
    return message[:end].decode(), tags[1 : tags.index(b"\0")].decode() if tags[:1] == b"," else ""
