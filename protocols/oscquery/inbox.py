"""From the server's thread to the loop's: packets that clients sent over WebSockets."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.loop import IoLoop
from protocols.osc.front import Peer

if TYPE_CHECKING:
    import socket


class Inbox:
    """Packets that wait for the loop. How many there may be is the sender's to bound: it is told when each was handled.

    The loop reads it as it reads its sockets, so that a flood leaves time for the rest of the process.

    Args:
        loop: where packets are handled.
        receive: handles one, on the loop's thread.
        forget: hears of a client that has left, on the loop's thread.
    """

    def __init__(self, loop: IoLoop, receive: Callable[[Peer, bytes], None], forget: Callable[[Peer], None]) -> None:
        import socket

        self._loop = loop
        self._receive = receive
        self._forget = forget
        self._waiting: deque[tuple[Peer, bytes, Callable[[], None]] | Peer] = deque()
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        loop.add_reader(self._out, self._read)

    def put(self, peer: Peer, packet: bytes, handled: Callable[[], None]) -> None:
        """Let the loop handle a packet; ``handled`` is called on its thread when that is done. Any thread; never blocks."""
        self._waiting.append((peer, packet, handled))
        self._ring()

    def gone(self, peer: Peer) -> None:
        """A client has left; it is forgotten after its packets. Any thread; never blocks."""
        self._waiting.append(peer)
        self._ring()

    def close(self) -> None:
        """Handle nothing more. For the loop's thread."""
        self._loop.remove_reader(self._out)
        self._out.close()
        self._in.close()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it is heard anyway; closed: nobody listens any more
            self._in.send(b"\0")

    def _read(self, limit: int) -> int:
        with contextlib.suppress(BlockingIOError):
            while len(self._out.recv(4096)) == 4096:
                pass
        for count in range(limit):
            if not self._waiting:
                return count
            item = self._waiting.popleft()
            if isinstance(item, Peer):
                self._forget(item)
                continue
            peer, packet, handled = item
            try:
                self._receive(peer, packet)
            finally:
                handled()
        self._ring()
        return limit


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for controllers, at this port or, where that is taken, at one of the system's choice.

    Raises:
        OSError: the address is not this machine's, or the system has no port.
    """
    import socket

    try:
        return socket.create_server((host, port), backlog=16)
    except OSError:
        if not port:
            raise
        return socket.create_server((host, 0), backlog=16)
