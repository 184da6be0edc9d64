"""One controller on a WebSocket, as the server's thread sees it: what it listens to, and what is on its way to it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any

import msgspec

from protocols.errors import RequestError
from protocols.osc.codec import Argument, decode, encode
from protocols.osc.front import Peer
from protocols.oscquery.snapshot import Snapshot

MAX_LISTENED = 4096
MAX_WAITING = 512
"""Messages that may wait for a client that does not read; with one more it is dropped. Values do not count: the latest waits."""
_MOVING_S = 0.2
"""How long after a client has set something it is not told about that: its fader is still being moved."""


class Client:
    """What is told to one controller. For the server's thread, but for `offer`.

    Args:
        socket: its connection (`websockets.asyncio.server.ServerConnection`).
        peer: what it is called.
    """

    def __init__(self, socket: Any, peer: Peer) -> None:
        self.peer = peer
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._listened: set[str] = set()
        self._changed: dict[str, None] = {}
        self._said: dict[str, tuple[Argument, float]] = {}
        self._postponed: set[str] = set()
        self._outbox: deque[str | bytes] = deque()
        self._news = asyncio.Event()
        self._snapshot = Snapshot()

    def offer(self, message: str | bytes) -> None:
        """Put a message on its way. Any thread; never blocks."""
        self._outbox.append(message)
        late = len(self._outbox) > MAX_WAITING
        try:
            self._loop.call_soon_threadsafe(self.drop if late else self._news.set)
        except RuntimeError:  # the server has stopped
            self._outbox.clear()

    def drop(self) -> None:
        """It does not read: let it go."""
        self._socket.transport.abort()

    def command(self, text: str, snapshot: Snapshot) -> None:
        """Carry out LISTEN or IGNORE; what is neither is left alone, as the proposal wants it."""
        try:
            asked = msgspec.json.decode(text, type=_Command)
        except (msgspec.DecodeError, RecursionError):
            return
        if asked.COMMAND == "IGNORE":
            self._listened.discard(asked.DATA)
        elif (
            asked.COMMAND == "LISTEN" and len(self._listened) < MAX_LISTENED and asked.DATA in snapshot.structure.nodes
        ):
            self._listened.add(asked.DATA)
            self._snapshot = snapshot
            self._tell(asked.DATA)

    def said(self, packet: bytes) -> None:
        """It sends a packet: what it sets itself it is not told again."""
        try:
            messages = decode(packet)
        except RequestError:
            return  # the front answers for it
        for message in messages:
            if message.address in self._listened and len(message.arguments) == 1:
                self._said[message.address] = (message.arguments[0], self._loop.time())

    def publish(self, snapshot: Snapshot, changed: set[str], notices: list[str]) -> None:
        """Tell what is other than it was.

        Args:
            snapshot: what is now.
            changed: addresses that hold another value.
            notices: messages about addresses that came or went.
        """
        self._snapshot = snapshot
        for notice in notices:
            self.offer(notice)
        if notices:
            self._listened &= snapshot.structure.nodes.keys()
        for path in changed & self._listened:
            self._tell(path)

    async def write(self) -> None:
        """Send what waits, for as long as the connection lasts."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._outbox or self._changed:
                if self._outbox:
                    await self._socket.send(self._outbox.popleft())
                else:
                    await self._send_value(next(iter(self._changed)))

    def _tell(self, path: str) -> None:
        self._changed[path] = None
        self._news.set()

    def _postpone(self, path: str) -> None:
        """Look again in a while."""

        def tell() -> None:
            self._postponed.discard(path)
            self._tell(path)

        if path not in self._postponed:
            self._postponed.add(path)
            self._loop.call_later(_MOVING_S, tell)

    async def _send_value(self, path: str) -> None:
        """Send what an address holds by now, unless the client knows."""
        del self._changed[path]
        value = self._snapshot.value(path)
        if value is None or path not in self._listened or path in self._postponed:
            return
        if path in self._said:
            said, at = self._said[path]
            if self._loop.time() - at < _MOVING_S:
                self._postpone(path)
                return
            del self._said[path]
            if _same(said, value):
                return
        try:
            packet = encode(path, value)
        except RequestError:
            return  # larger than a packet may be: it is read over HTTP
        await self._socket.send(packet)


class _Command(msgspec.Struct):
    COMMAND: str
    DATA: str


def _same(said: Argument, value: Argument) -> bool:
    """Whether a value is the one that was sent, but for the precision of 32-bit floats and rounded levels."""
    if isinstance(said, int | float) and isinstance(value, int | float):
        return math.isclose(said, value, rel_tol=1e-6, abs_tol=1e-3)
    return said == value
