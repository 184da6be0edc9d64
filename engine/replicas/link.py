"""A client's line from the front to one replica, which knows each client by a line of its own, and so whose each stream is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from engine.serving import Answer
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import AudioHeader, Event, Fail, Hello, Ping, Reply, Request, Welcome
from protocols.wire import REPLY, decode_answer, encode_request, error_of

log = structlog.get_logger()

PING_S = 1.0
SILENCE_S = 4.0
"""A replica that says nothing for this long, though it is asked each second, is taken for lost."""
_MAX_PENDING = 4096


def replica_lost(replica: int) -> RequestError:
    """The refusal of what a replica would have done that is gone."""
    return RequestError(ErrorCode.ENGINE_LOST, "replica", replica, "a replica that runs; it is being started again")


class LinkListener(Protocol):
    """Who hears what comes over a line; all calls come on the loop's thread."""

    def link_event(self, link: Link, event: Event) -> None:
        """Something happened to a stream or a job, which the replica calls by its own number."""

    def link_audio(self, link: Link, header: AudioHeader, samples: memoryview) -> None:
        """A block of a stream arrived."""

    def link_lost(self, link: Link) -> None:
        """The replica is not heard of any more; all that was asked of it over this line has failed."""


@dataclass
class Heard:
    """A stream that comes over a line.

    Attributes:
        number: in the front.
        owned: by the line's client, who otherwise listens.
        samples: how far it has come.
        rate: of its sound, in Hz.
        missed_from: first sample that the client's full queue had no room for.
    """

    number: int
    owned: bool
    samples: int = 0
    rate: int = 1
    missed_from: int | None = None


@dataclass
class Table:
    """Numbers of the replica and what they are in the front: streams that are heard, jobs that are under way."""

    streams: dict[int, Heard] = field(default_factory=dict)
    jobs: dict[int, int] = field(default_factory=dict)


class Link:
    """One client's line to one replica. For the loop's thread only.

    What is asked before the replica has greeted waits in the socket. A line that breaks is over: whoever needs another makes one.

    Args:
        loop: where the socket is served.
        context: ZeroMQ's.
        endpoint: where the replica listens.
        replica: its number.
        instance: which life of the replica is meant; another that answers there does not count.
        name: what the replica shall call the client.
        listener: who hears what comes.

    Attributes:
        known: what the replica's numbers are in the front.
        welcomed: called with the replica's welcome.
    """

    def __init__(
        self,
        loop: IoLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        replica: int,
        instance: int,
        name: str,
        listener: LinkListener,
    ) -> None:
        self.replica = replica
        self.known = Table()
        self.closed = False
        self.welcomed: Callable[[Welcome], None] = lambda welcome: None
        self.used = time.monotonic()
        self._loop = loop
        self._instance = instance
        self._listener = listener
        self._pending: dict[int, Answer] = {}
        self._last_id = 0
        self._heard = self._sent = time.monotonic()
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, _MAX_PENDING)
        self._socket.set(zmq.RCVHWM, 0)  # bounded by the streams' leads, and by what a listener may lag
        self._socket.set(zmq.HEARTBEAT_IVL, 500)
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, 2000)
        self._monitor: Any = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(endpoint)
        loop.add_reader(self._socket, self._read)
        loop.add_reader(self._monitor, self._read_monitor)
        self.request(Hello(protocol=PROTOCOL_VERSION, client=name), self._greeted)

    @property
    def idle_since(self) -> float | None:
        """When it was last of use; None while it is."""
        return None if self._pending or self.known.streams or self.known.jobs else self.used

    def request(self, message: Request, answer: Answer, payload: bytes = b"") -> None:
        """Send a request; ``answer`` gets the reply or the error, exactly once, on the loop's thread; at once if it is over."""
        if self.closed:
            answer(replica_lost(self.replica))
            return
        if len(self._pending) >= _MAX_PENDING:
            answer(RequestError(ErrorCode.BUSY, "replica", self.replica, f"at most {_MAX_PENDING} open requests"))
            return
        self._last_id = self._last_id % (2**31 - 1) + 1
        try:
            self._socket.send_multipart(encode_request(self._last_id, message, payload), flags=zmq.NOBLOCK)
        except zmq.ZMQError:
            answer(RequestError(ErrorCode.BUSY, "replica", self.replica, "a replica that takes requests"))
            return
        self.used = self._sent = time.monotonic()
        self._pending[self._last_id] = answer

    def tick(self, now: float) -> None:
        """Called a few times a second: keep in touch, and notice silence."""
        if now - self._heard > SILENCE_S:
            self.lose("it is silent")
        elif now - self._sent > PING_S or now - self._heard > PING_S:
            used = self.used
            self.request(Ping(), lambda reply: None)
            self.used = used

    def lose(self, why: str) -> None:
        """The replica is gone, or does as if: everything under way fails, and whoever listens is told."""
        if self.closed:
            return
        log.info("line to a replica lost", replica=self.replica, why=why)
        self.close()
        self._listener.link_lost(self)

    def close(self) -> None:
        """Let go of the socket; what is under way fails."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._monitor)
        self._loop.remove_reader(self._socket)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close(linger=100)  # that streams are cancelled shall still arrive
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            answer(replica_lost(self.replica))

    def _greeted(self, reply: Reply | RequestError) -> None:
        if isinstance(reply, Welcome) and reply.instance == self._instance:
            self.welcomed(reply)
        elif not self.closed:
            self.lose(reply.text if isinstance(reply, RequestError) else "another engine answers there")

    def _fail_unread(self, frames: list[bytes], error: RequestError) -> None:
        """What cannot be read answers nothing, and so whoever waits for it must be told."""
        log.warning("unreadable message from a replica", replica=self.replica, error=error.text)
        with contextlib.suppress(msgspec.DecodeError, IndexError, TypeError):
            number = msgspec.msgpack.decode(frames[1])[0] if frames[0] == REPLY else 0
            if (answer := self._pending.pop(number, None)) is not None:
                answer(RequestError(ErrorCode.INTERNAL, "replica", self.replica, error.text))

    def _read_monitor(self, limit: int) -> int:
        event = recv_monitor_message(self._monitor, flags=zmq.NOBLOCK)["event"]
        if event == zmq.EVENT_DISCONNECTED:
            self.lose("it hung up")
        return 1

    def _read(self, limit: int) -> int:
        for count in range(limit):
            if self.closed:
                return count
            try:
                frames = self._socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return count
            self._heard = time.monotonic()
            try:
                key, content = decode_answer(frames)
            except RequestError as error:
                self._fail_unread(frames, error)
                continue
            if isinstance(key, AudioHeader):
                assert isinstance(content, memoryview)
                self._listener.link_audio(self, key, content)
            elif isinstance(content, Event):
                self._listener.link_event(self, content)
            elif isinstance(content, Fail) and content.code == ErrorCode.HANDSHAKE:
                self.lose("it has forgotten this line")
            elif isinstance(content, Reply) and (answer := self._pending.pop(key, None)) is not None:
                answer(error_of(content) if isinstance(content, Fail) else content)
        return limit
