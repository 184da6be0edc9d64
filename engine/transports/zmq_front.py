"""The engine's ZeroMQ side: one ROUTER, a session for each client, and nothing that a client can make grow."""

from __future__ import annotations

import time

import structlog
import zmq

from engine.serving import Serving
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import AudioHeader, Event, Hello, Reply
from protocols.wire import MAX_MESSAGE, WireError, decode_request, encode_audio, encode_event, encode_reply, failure

log = structlog.get_logger()

MAX_CLIENTS = 64
SILENCE_S = 10.0
"""A client that sends nothing for this long is taken for dead: its streams end."""
_QUEUE = 4096


class ZmqClient:
    """One client of the ROUTER, from its hello on."""

    def __init__(self, front: ZmqFront, identity: bytes, name: str) -> None:
        self.identity = identity
        self.heard = time.monotonic()
        self.gone = False
        self._front = front
        self._name = name

    @property
    def name(self) -> str:
        """What the client calls itself."""
        return self._name or f"zmq-{self.identity.hex()[-6:]}"

    def event(self, event: Event) -> None:
        """Send an event."""
        self._front.send(self.identity, encode_event(event))

    def audio(self, header: AudioHeader, samples: memoryview) -> bool:
        """Send a block; False when the client's queue is full."""
        return self._front.send(self.identity, encode_audio(header, samples))


class ZmqFront:
    """Binds the ROUTER and carries messages between clients and the service. For the I/O loop's thread only.

    Args:
        loop: where the socket is served.
        context: ZeroMQ's.
        service: what carries requests out.
        host: address to bind.
        port: TCP port; 0 lets the system choose, see `port`.

    Raises:
        RequestError: the port is taken or the address is not this machine's.
    """

    def __init__(self, loop: IoLoop, context: zmq.Context[zmq.Socket[bytes]], service: Serving, host: str, port: int):
        self._loop = loop
        self._service = service
        self._clients: dict[bytes, ZmqClient] = {}
        self._router = context.socket(zmq.ROUTER)
        self._router.set(zmq.LINGER, 200)
        self._router.set(zmq.SNDHWM, _QUEUE)
        self._router.set(zmq.RCVHWM, _QUEUE)
        self._router.set(zmq.MAXMSGSIZE, 2 * MAX_MESSAGE)  # beyond this the connection is closed unread
        self._router.set(zmq.ROUTER_MANDATORY, 1)  # a client that is gone is noticed at the next send
        self._router.set(zmq.HEARTBEAT_IVL, 1000)
        self._router.set(zmq.HEARTBEAT_TIMEOUT, 5000)
        try:
            self._router.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            self._router.close(linger=0)
            allowed = f"a free port of this machine ({error.strerror})"
            raise RequestError(ErrorCode.BUSY, "engine.port", f"{host}:{port}", allowed) from None
        endpoint: bytes = self._router.get(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        self.port = int(endpoint.decode().rstrip("\0").rpartition(":")[2])
        loop.add_reader(self._router, self._read)
        loop.call_every(1.0, self._drop_silent)

    def send(self, identity: bytes, frames: list[bytes | memoryview]) -> bool:
        """Queue a message for a client; False when its queue is full or it is gone. Never blocks."""
        try:
            # Small frames are copied faster than they are tracked; the samples belong to nobody else.
            self._router.send_multipart([identity, *frames], flags=zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return False
        except zmq.ZMQError:
            self._forget(identity)
            return False
        return True

    def close(self) -> None:
        """Close the socket; what is queued has a moment to leave."""
        self._loop.remove_reader(self._router)
        self._router.close()

    def _read(self, limit: int) -> int:
        for count in range(limit):
            try:
                identity, *frames = self._router.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return count
            self._take(identity, frames)
        return limit

    def _take(self, identity: bytes, frames: list[bytes]) -> None:
        client = self._clients.get(identity)
        if client is not None:
            client.heard = time.monotonic()
        try:
            incoming = decode_request(frames)
        except WireError as error:
            self._service.count_broken()
            self._answer(identity, error.request_id, error)
            return

        def answer(reply: Reply | RequestError) -> None:
            self._answer(identity, incoming.id, reply)

        try:
            if isinstance(incoming.message, Hello):
                answer(self._greet(identity, incoming.message))
            elif client is None:
                raise RequestError(ErrorCode.HANDSHAKE, "type", None, "hello first")
            else:
                self._service.handle(incoming.message, client, answer, incoming.payload)
        except RequestError as error:
            self._service.count_broken()
            answer(error)
        except Exception as error:  # a fault in one request must not end the process
            log.exception("request failed")
            answer(RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}"))

    def _answer(self, identity: bytes, request_id: int, reply: Reply | RequestError) -> None:
        self.send(identity, encode_reply(request_id, failure(reply) if isinstance(reply, RequestError) else reply))

    def _greet(self, identity: bytes, hello: Hello) -> Reply:
        if hello.protocol != PROTOCOL_VERSION:
            raise RequestError(ErrorCode.VERSION, "protocol", hello.protocol, f"{PROTOCOL_VERSION} (this engine's)")
        if identity not in self._clients:
            if len(self._clients) >= MAX_CLIENTS:
                raise RequestError(ErrorCode.BUSY, "clients", len(self._clients), f"at most {MAX_CLIENTS} clients")
            client = ZmqClient(self, identity, hello.client)
            self._clients[identity] = client
            self._service.clients.add(client)
            log.info("client connected", client=client.name)
        return self._service.welcome()

    def _drop_silent(self) -> None:
        oldest = time.monotonic() - SILENCE_S
        for identity, client in list(self._clients.items()):
            if client.heard < oldest:
                self._forget(identity)

    def _forget(self, identity: bytes) -> None:
        client = self._clients.pop(identity, None)
        if client is not None:
            client.gone = True
            log.info("client lost", client=client.name)
            # Not from inside a send: the service may be going through its streams right now.
            self._loop.call_soon(lambda: self._service.client_lost(client))
