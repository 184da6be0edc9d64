"""The bridge's line to the engine: requests and answers, events and audio, and noticing at once when the engine is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import AudioHeader, Event, Fail, Hello, ModelChanged, Ping, Reply, Request, Welcome
from protocols.wire import MAX_MESSAGE, decode_answer, encode_request, error_of

log = structlog.get_logger()

Answer = Callable[[Reply | RequestError], None]

_TICK_S = 0.25
_PING_S = 1.0
_SILENCE_S = 4.0
_MAX_PENDING = 1024


class EngineListener(Protocol):
    """Who hears what the engine says; all calls come on the I/O loop's thread."""

    def engine_ready(self, welcome: Welcome) -> None:
        """The engine answered the hello; requests may be sent."""

    def engine_lost(self) -> None:
        """The engine is gone, and every stream with it; it is being looked for again."""

    def engine_event(self, event: Event) -> None:
        """Something happened to a stream, or the engine has another model, which `EngineClient.welcome` tells by now."""

    def engine_audio(self, header: AudioHeader, samples: memoryview) -> None:
        """A block of a stream arrived."""


class EngineClient:
    """A DEALER that finds the engine, greets it, keeps in touch, and starts over when it is lost. For the loop's thread only.

    Args:
        loop: where the socket is served.
        context: ZeroMQ's.
        endpoint: where the engine listens, as ``tcp://host:port``.
        name: what the engine shall call this client.
        listener: who hears what the engine says.
    """

    def __init__(
        self, loop: IoLoop, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, name: str, listener: EngineListener
    ) -> None:
        self.welcome: Welcome | None = None
        self._loop = loop
        self._context = context
        self._endpoint = endpoint
        self._name = name
        self._listener = listener
        self._pending: dict[int, Answer] = {}
        self._last_id = 0
        self._heard = self._sent = time.monotonic()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Any = None
        self._connect()
        loop.call_every(_TICK_S, self._tick)

    @property
    def ready(self) -> bool:
        """Whether requests can be sent."""
        return self.welcome is not None

    def request(self, message: Request, answer: Answer, payload: bytes | memoryview = b"") -> None:
        """Send a request; ``answer`` gets the reply or the error, exactly once, on the loop's thread.

        Raises:
            RequestError: the engine is not there, or too many requests wait for it.
        """
        if self.welcome is None:
            raise RequestError(
                ErrorCode.ENGINE_LOST, "engine", self._endpoint, "a running engine; it is being looked for"
            )
        if len(self._pending) >= _MAX_PENDING:
            raise RequestError(ErrorCode.BUSY, "engine", len(self._pending), f"at most {_MAX_PENDING} open requests")
        if len(payload) > MAX_MESSAGE - 2**16:
            raise RequestError(ErrorCode.TOO_LARGE, "payload", f"{len(payload)} bytes", f"at most {MAX_MESSAGE} bytes")
        self._send(message, answer, payload)

    def tell(self, message: Request) -> None:
        """Send a request whose answer does not matter; nothing happens when the engine is not there."""
        if self.welcome is not None:
            self._send(message, lambda reply: None)

    def close(self) -> None:
        """Close the socket; what was sent has a moment to leave."""
        self._disconnect(linger_ms=200)

    def _send(self, message: Request, answer: Answer, payload: bytes | memoryview = b"") -> None:
        assert self._socket is not None
        self._last_id = self._last_id % (2**31 - 1) + 1
        try:
            self._socket.send_multipart(encode_request(self._last_id, message, payload), flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            answer(RequestError(ErrorCode.ENGINE_LOST, "engine", self._endpoint, error.strerror or "a running engine"))
            return
        self._sent = time.monotonic()
        self._pending[self._last_id] = answer

    def _connect(self) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, _MAX_PENDING)
        socket.set(zmq.RCVHWM, 0)  # bounded by the streams' leads: the engine sends no more than was acknowledged
        socket.set(zmq.RECONNECT_IVL, 50)
        socket.set(zmq.RECONNECT_IVL_MAX, 500)
        socket.set(zmq.HEARTBEAT_IVL, 500)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 2000)
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECTED)
        socket.connect(self._endpoint)
        self._socket = socket
        self._loop.add_reader(socket, self._read)
        self._loop.add_reader(self._monitor, self._read_monitor)

    def _disconnect(self, linger_ms: int = 0) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._monitor)
            self._loop.remove_reader(self._socket)
            self._socket.disable_monitor()
            self._socket.close(linger=linger_ms)
            self._socket = self._monitor = None

    def _greet(self) -> None:
        self._heard = time.monotonic()
        self._send(Hello(protocol=PROTOCOL_VERSION, client=self._name), self._greeted)

    def _greeted(self, reply: Reply | RequestError) -> None:
        if isinstance(reply, Welcome):
            self.welcome = reply
            log.info("engine found", model=reply.model, version=reply.version)
            self._listener.engine_ready(reply)
        elif isinstance(reply, RequestError):
            log.warning("engine refused the hello", error=reply.text)

    def _lose(self) -> None:
        was_ready = self.welcome is not None
        self.welcome = None
        pending, self._pending = self._pending, {}
        self._disconnect()
        self._connect()
        error = RequestError(
            ErrorCode.ENGINE_LOST, "engine", self._endpoint, "a running engine; it is being looked for"
        )
        for answer in pending.values():
            answer(error)
        if was_ready:
            log.warning("engine lost", endpoint=self._endpoint)
            self._listener.engine_lost()

    def _tick(self) -> None:
        now = time.monotonic()
        if self.welcome is not None:
            if now - self._heard > _SILENCE_S:
                self._lose()
            elif now - self._sent > _PING_S or now - self._heard > _PING_S:
                self._send(Ping(), lambda reply: None)

    def _read_monitor(self, limit: int) -> int:
        event = recv_monitor_message(self._monitor, flags=zmq.NOBLOCK)["event"]
        if event == zmq.EVENT_CONNECTED and self.welcome is None:
            self._greet()
        elif event == zmq.EVENT_DISCONNECTED and self.welcome is not None:
            self._lose()
        return 1

    def _read(self, limit: int) -> int:
        for count in range(limit):
            socket = self._socket
            if socket is None:
                return count
            try:
                frames = socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return count
            self._heard = time.monotonic()
            try:
                self._take(frames)
            except RequestError as error:
                log.warning("unreadable message from the engine", error=error.text)
        return limit

    def _take(self, frames: list[bytes]) -> None:
        key, content = decode_answer(frames)
        if isinstance(key, AudioHeader):
            assert isinstance(content, memoryview)
            self._listener.engine_audio(key, content)
        elif isinstance(content, Event):
            if isinstance(content, ModelChanged) and self.welcome is not None:
                self.welcome = msgspec.structs.replace(self.welcome, **msgspec.structs.asdict(content))
            self._listener.engine_event(content)
        elif isinstance(content, Reply):
            answer = self._pending.pop(key, None)
            if answer is not None:
                answer(error_of(content) if isinstance(content, Fail) else content)
