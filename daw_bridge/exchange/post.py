"""The clients of the file queue: whose files are taken next, what waits for whom, who is gone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from daw_bridge.exchange.mailbox import MAX_FILE, Mailbox
from protocols.errors import ErrorCode, RequestError
from protocols.osc.framing import framed, packets_of
from protocols.osc.front import OscFront, Peer

log = structlog.get_logger()

TRANSPORT = "file"
MAX_CLIENTS = 32
MAX_PACKETS = 128
"""Most packets of one file, and most that the loop is given at once: each of them costs an answer."""
MAX_UNFETCHED = 64
"""Answers lie in at most so many files of a client; more of them wait in memory and share the next file."""
MAX_WAITING = 2 * 2**20
"""Most bytes of answers that wait for one client; beyond that it is forgotten."""
FORGET_SECONDS = 600.0
"""A client that fetches no answer for this long is forgotten; a host's dialogue can keep its scripts waiting for minutes."""
IDLE_SECONDS = 30.0
"""A client that has said and fetched nothing for this long makes room for another."""


class _Client:
    """What is known of one client. What the loop's thread touches too is guarded by the post's lock."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.peer = Peer(TRANSPORT, name, 0)
        self.active = now
        self.served = 0
        self.begin()

    def begin(self) -> None:
        """Count from 1, in both directions."""
        self.taken = self.written = 0
        self.gap = self.overrun = False
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.unfetched: deque[tuple[int, float]] = deque()


class Post:
    """Carries packets between a `Mailbox` and a front. `send` is for the loop's thread, everything else for one other.

    Args:
        folder: of the queue.
        front: what the packets are for; it is called on the loop's thread only.
        call_soon: runs something on the loop's thread, from any thread.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        front: OscFront,
        call_soon: Callable[[Callable[[], None]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mailbox = Mailbox(folder)
        self._front = front
        self._call_soon = call_soon
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, _Client] = {}
        self._handed = 0
        self._turns = 0

    @property
    def active(self) -> bool:
        """Whether any client has said or fetched something lately."""
        now = self._clock()
        return any(now - client.active < IDLE_SECONDS for client in self._clients.values())

    def send(self, peer: Peer, packet: bytes) -> bool:
        """Put a packet on its way; False when the client is not known, or leaves so much unread that it will be forgotten."""
        with self._lock:
            client = self._clients.get(peer.host)
            if client is None or client.overrun:
                return False
            if client.waiting_bytes + len(packet) + 4 > MAX_WAITING:
                client.overrun = True
                return False
            client.waiting.append(framed(packet))
            client.waiting_bytes += len(packet) + 4
            return True

    def turn(self) -> None:
        """Look at the folders once: take what came, write what is answered, forget who is gone.

        Raises:
            OSError: a folder is gone, or its disk is full; nothing is lost, and the next turn tries again.
        """
        waiting = self.mailbox.waiting()
        known = [self._client(name) for name in waiting]
        self._turns += 1
        # Whoever had to wait longest comes first, so that no flood of one client's keeps the others out.
        for client in sorted((client for client in known if client is not None), key=lambda client: client.served):
            self._take(client, waiting[client.name])
        self.deliver()
        for client in list(self._clients.values()):
            if self._is_gone(client):
                self._forget(client)

    def deliver(self) -> None:
        """Write the answers that wait.

        Raises:
            OSError: as `turn`.
        """
        for client in self._clients.values():
            while client.unfetched and self.mailbox.is_fetched(client.name, client.unfetched[0][0]):
                client.unfetched.popleft()
                client.active = self._clock()
            while client.waiting and len(client.unfetched) < MAX_UNFETCHED:
                self._write(client)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def _client(self, name: str) -> _Client | None:
        """A client by its name. A new one takes the place of one that was silent for long; without such a place it waits."""
        client = self._clients.get(name)
        if client is not None:
            return client
        if len(self._clients) >= MAX_CLIENTS:
            stalest = min(self._clients.values(), key=lambda other: other.active)
            if self._clock() - stalest.active < IDLE_SECONDS:
                return None
            self._forget(stalest)
        client = _Client(name, self._clock())
        with self._lock:
            self._clients[name] = client
        return client

    def _take(self, client: _Client, numbers: list[int]) -> None:
        """Hand a client's files to the loop, in order, as many as it has room for."""
        for number in numbers:
            if self._handed >= MAX_PACKETS:
                return
            if number not in (1, client.taken + 1) and not client.gap:
                client.gap = True  # a folder that is listed while names appear may lack an earlier one: look again
                return
            try:
                content = self.mailbox.take(client.name, number)
                if content is None:
                    return
                if number == 1 and client.taken:
                    self._begin_anew(client)
                packets = packets_of(content)
                if len(packets) > MAX_PACKETS:
                    allowed = f"at most {MAX_PACKETS} packets in one file"
                    raise RequestError(ErrorCode.TOO_LONG, "file", f"{len(packets)} packets", allowed)
            except RequestError as error:
                self._refuse(client.peer, error)
            else:
                self._hand(client.peer, packets)
            client.taken, client.gap = number, False
            client.active, client.served = self._clock(), self._turns

    def _begin_anew(self, client: _Client) -> None:
        """A client that counts from 1 again was started again, under the name of before."""
        self.mailbox.drop_answers(client.name)
        with self._lock:
            client.begin()
        self._call_soon(lambda: self._front.forget(client.peer))

    def _hand(self, peer: Peer, packets: list[bytes]) -> None:
        def receive() -> None:
            try:
                for packet in packets:
                    self._front.receive(packet, peer)
            finally:
                with self._lock:
                    self._handed -= len(packets)

        with self._lock:
            self._handed += len(packets)
        self._call_soon(receive)

    def _refuse(self, peer: Peer, error: RequestError) -> None:
        self._call_soon(lambda: self._front.receive_broken(error, peer))

    # --- what goes out ------------------------------------------------------------------------------------------------

    def _write(self, client: _Client) -> None:
        """Write one file of answers: what waits, as far as it fits."""
        packets, size = [], 0
        with self._lock:
            while client.waiting and size + len(client.waiting[0]) <= MAX_FILE:
                packets.append(client.waiting.popleft())
                size += len(packets[-1])
        try:
            self.mailbox.put(client.name, client.written + 1, b"".join(packets))
        except OSError:
            with self._lock:
                client.waiting.extendleft(reversed(packets))
            raise
        with self._lock:
            client.waiting_bytes -= size
        client.written += 1
        client.unfetched.append((client.written, self._clock()))

    def _is_gone(self, client: _Client) -> bool:
        return client.overrun or bool(
            client.unfetched and self._clock() - max(client.unfetched[0][1], client.active) > FORGET_SECONDS
        )

    def _forget(self, client: _Client) -> None:
        log.info("file queue client forgotten", client=client.name, overrun=client.overrun)
        with self._lock:
            del self._clients[client.name]
        self._call_soon(lambda: self._front.forget(client.peer))
        self.mailbox.drop(client.name)
