"""The sockets of an OSC server: one UDP port and, if wanted, TCP at the same number. Thin: the manners are in `front`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.osc.framing import Deframer
from protocols.osc.front import OscFront, Peer

if TYPE_CHECKING:
    import socket

MAX_CONNECTIONS = 16
_UDP_BUFFER = 4 * 2**20
_UDP_READ = 65535
_TCP_READ = 4096
_ATTEMPTS = 8


class OscPort:
    """Binds an OSC server's sockets and carries packets between them and a front. For the loop's thread only.

    Args:
        loop: where the sockets are served.
        host: address to bind; loopback unless the user says otherwise.
        port: UDP (and TCP) port; 0 lets the system choose, see `port`.
        tcp: serve OSC over TCP as well.

    Raises:
        RequestError: the port is taken or the address is not this machine's.
    """

    def __init__(self, loop: IoLoop, host: str, port: int, *, tcp: bool = True) -> None:
        import socket

        self._socket = socket
        self._loop = loop
        self._front: OscFront | None = None
        self._connections: dict[Peer, tuple[socket.socket, Deframer]] = {}
        attempts = 1 if port or not tcp else _ATTEMPTS  # a port that is free for UDP may be taken for TCP
        while True:
            attempts -= 1
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM) if tcp else None
            try:
                self.port = self._bind(host, port)
                return
            except (OSError, TypeError) as error:  # TypeError: a name that IDNA cannot encode
                self.close()
                if not attempts:
                    reason = f"a free port of this machine ({getattr(error, 'strerror', None) or error})"
                    raise RequestError(ErrorCode.BUSY, "osc port", f"{host}:{port}", reason) from None

    def _bind(self, host: str, port: int) -> int:
        self._udp.setblocking(False)
        self._udp.setsockopt(self._socket.SOL_SOCKET, self._socket.SO_RCVBUF, _UDP_BUFFER)
        self._udp.bind((host, port))
        bound = int(self._udp.getsockname()[1])
        if self._listener is not None:
            self._listener.setblocking(False)
            self._listener.setsockopt(self._socket.SOL_SOCKET, self._socket.SO_REUSEADDR, 1)
            self._listener.bind((host, bound))
            self._listener.listen(MAX_CONNECTIONS)
        return bound

    def serve(self, front: OscFront) -> None:
        """Give what comes in to ``front`` from now on."""
        self._front = front
        self._loop.add_reader(self._udp, self._read_udp)
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)

    def send(self, peer: Peer, packet: bytes) -> None:
        """Put a packet on its way; over TCP a client that is gone or does not read is dropped."""
        if peer.transport == "udp":
            with contextlib.suppress(OSError):  # UDP promises nothing: a full buffer or a closed port loses the packet
                self._udp.sendto(packet, (peer.host, peer.port))
        elif peer in self._connections:
            connection, deframer = self._connections[peer]
            framed = deframer.frame(packet)
            try:
                sent = connection.send(framed)
            except OSError:
                sent = 0
            if sent < len(framed):  # half a packet may have gone out: the rest of the connection could not be read
                self._drop(peer)

    def close(self) -> None:
        """Close every socket."""
        for peer in list(self._connections):
            self._drop(peer)
        for sock in (self._udp, self._listener):
            if sock is not None:
                self._loop.remove_reader(sock)
                sock.close()

    def _read_udp(self, limit: int) -> int:
        assert self._front is not None
        for count in range(limit):
            try:
                packet, (host, port) = self._udp.recvfrom(_UDP_READ)
            except BlockingIOError:
                return count
            except OSError:
                continue  # an earlier answer met a closed port; Windows reports it here
            self._front.receive(packet, Peer("udp", host, port))
        return limit

    def _accept(self, limit: int) -> int:
        assert self._listener is not None
        try:
            connection, (host, port) = self._listener.accept()
        except OSError:
            return 0
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.close()
            return 1
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # it may be gone already; if not, its answers are small and wanted now
            connection.setsockopt(self._socket.IPPROTO_TCP, self._socket.TCP_NODELAY, 1)
        peer = Peer("tcp", host, port)
        self._connections[peer] = (connection, Deframer())
        self._loop.add_reader(connection, lambda limit: self._read_tcp(peer))
        return 1

    def _read_tcp(self, peer: Peer) -> int:
        assert self._front is not None
        connection, deframer = self._connections[peer]
        try:
            data = connection.recv(_TCP_READ)
            packets = deframer.feed(data) if data else []
        except BlockingIOError:
            return 0
        except OSError:
            data, packets = b"", []
        except RequestError as error:
            self._front.receive_broken(error, peer)
            data, packets = b"", []
        for packet in packets:
            if peer not in self._connections:  # dropped while it was answered: it must not be taken for a client again
                break
            self._front.receive(packet, peer)
        if not data:
            self._drop(peer)
        return len(packets)

    def _drop(self, peer: Peer) -> None:
        found = self._connections.pop(peer, None)
        if found is not None:
            self._loop.remove_reader(found[0])
            found[0].close()
        if self._front is not None:
            self._front.forget(peer)
