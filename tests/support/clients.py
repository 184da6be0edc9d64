"""Clients that speak to real processes: one over ZeroMQ, one over OSC, neither of them our own client code."""

from __future__ import annotations

import socket
import time
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from protocols import PROTOCOL_VERSION


class ZmqPeer:
    """A DEALER that sends what it is told, byte for byte, and sorts what comes back."""

    def __init__(self, port: int, *, hello: bool = True) -> None:
        self.port = port
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.replies: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.headers: list[list[Any]] = []
        self.blocks: list[NDArray[np.float32]] = []
        self._id = 0
        if hello:
            self.welcome = self.ask("hello", protocol=PROTOCOL_VERSION, client="test")

    def close(self) -> None:
        self.context.destroy(linger=0)

    def __enter__(self) -> ZmqPeer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> int:
        """Send a request without waiting; returns its id."""
        self._id += 1
        frames = [b"Q", msgspec.msgpack.encode([self._id, {"type": kind, **fields}])]
        self.socket.send_multipart([*frames, payload] if payload else frames)
        return self._id

    def ask(self, kind: str, payload: bytes = b"", seconds: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        return self.reply(self.send(kind, payload, **fields), seconds)

    def reply(self, request: int, seconds: float = 20.0) -> dict[str, Any]:
        """Wait for the reply to a request."""
        deadline = time.monotonic() + seconds
        while request not in self.replies:
            assert self.receive(deadline - time.monotonic()), f"no reply to {request}; events {self.events[-3:]}"
        return self.replies.pop(request)

    def event(self, kind: str, stream: int | None = None, seconds: float = 30.0) -> dict[str, Any]:
        """Wait for an event of this kind (of this stream) and take it out."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if event["type"] == kind and stream in (None, event.get("stream")):
                    self.events.remove(event)
                    return event
            assert self.receive(deadline - time.monotonic()), f"no {kind}; events {self.events[-3:]}"

    def receive(self, seconds: float) -> bool:
        """Take one message; False when none came."""
        if seconds <= 0 or not self.socket.poll(int(seconds * 1000)):
            return False
        kind, content, *rest = self.socket.recv_multipart()
        match kind:
            case b"R":
                request, reply = msgspec.msgpack.decode(content)
                self.replies[request] = reply
            case b"E":
                self.events.append(msgspec.msgpack.decode(content))
            case b"A":
                header = msgspec.msgpack.decode(content)
                self.headers.append(header)
                self.blocks.append(np.frombuffer(rest[0], "<f4").reshape(header[3], header[4]))
        return True

    def stream(self, kind: str, payload: bytes = b"", **fields: Any) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Open a stream, take it to its end, and return its ``ended`` event and its samples."""
        opened = self.ask(kind, payload, **fields)
        assert opened["type"] == "opened", opened
        return self.finish(opened["stream"])

    def finish(self, stream: int) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Take a stream to its end, acknowledging as it comes."""
        acknowledged = 0
        deadline = time.monotonic() + 60
        while not any(event["type"] == "ended" and event["stream"] == stream for event in self.events):
            assert self.receive(deadline - time.monotonic()), "the stream does not end"
            mine = [header for header in self.headers if header[0] == stream]
            end = mine[-1][2] + mine[-1][3] if mine else 0
            if end > acknowledged:
                acknowledged = end
                self.send("acknowledge", stream=stream, position=end)
        return self.event("ended", stream), self.samples(stream)

    def samples(self, stream: int) -> NDArray[np.float32]:
        """What came of a stream so far; checks that the blocks follow each other."""
        position, found = 0, []
        for header, block in zip(self.headers, self.blocks, strict=True):
            if header[0] == stream:
                assert header[2] == position, "a gap between blocks"
                position += header[3]
                found.append(block)
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


class OscPeer:
    """A UDP client that speaks plain python-osc."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.target = ("127.0.0.1", port)
        self.heard: list[tuple[str, list[Any]]] = []

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> OscPeer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, address: str, *arguments: Any) -> None:
        self.socket.sendto(build_msg(address, list(arguments)).dgram, self.target)

    def send_raw(self, packet: bytes) -> None:
        self.socket.sendto(packet, self.target)

    def receive(self, seconds: float) -> tuple[str, list[Any]] | None:
        """Take one message; None when none came."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            packet = self.socket.recv(65535)
        except TimeoutError:
            return None
        message = OscMessage(packet)
        heard = (message.address, list(message.params))
        self.heard.append(heard)
        return heard

    def wait(self, address: str, *start: Any, seconds: float = 30.0) -> list[Any]:
        """Wait for a message at an address whose arguments begin so; returns its arguments. Others are kept in ``heard``."""
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            for found, arguments in self.heard[seen:]:
                seen += 1
                if found == address and arguments[: len(start)] == list(start):
                    return arguments
            if self.receive(deadline - time.monotonic()) is None and time.monotonic() > deadline:
                raise AssertionError(f"no {address} {start}; heard {self.heard[-5:]}")

    def ask(self, address: str, request: int, *arguments: Any, seconds: float = 60.0) -> tuple[str, list[Any]]:
        """Send a request and wait for its ``/done`` or ``/fail``: (which, what follows address and id)."""
        self.send(address, request, *arguments)
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            for found, given in self.heard[seen:]:
                seen += 1
                if found in ("/done", "/fail") and given[:2] == [address, request]:
                    return found, given[2:]
            if self.receive(deadline - time.monotonic()) is None and time.monotonic() > deadline:
                raise AssertionError(f"no answer to {address} {request}; heard {self.heard[-5:]}")
