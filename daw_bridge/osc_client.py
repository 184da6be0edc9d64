"""An OSC client of the bridge or the engine, built from the protocol's own classes: what the command line and the tests speak."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, get_args, get_type_hints

import msgspec

from protocols.bridge_messages import BRIDGE_EVENTS, BridgeVersion
from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX, FieldSpec, build, fields_of
from protocols.messages import EVENTS, Event, Ping, Reply, Request, Version, VersionInfo
from protocols.osc.codec import Argument, OscMessage, decode, encode
from protocols.osc.form import Address, tag_of

if TYPE_CHECKING:
    import socket

OnEvent = Callable[[Event], None]
M = TypeVar("M", bound=msgspec.Struct)

MAX_PENDING = 64
MAX_ROWS = 10_000
SILENCE_S = 15.0
"""How long a server may say nothing, not even to a ping, before it is taken for dead."""
_PING_S = 1.0
_RECEIVE_BUFFER = 2**20
_PACKET = 65535

_CODES: dict[str, ErrorCode] = {str(code): code for code in ErrorCode}
# The bridge passes on the engine's events, but says in its own words how far a stream is.
_ROOT_EVENTS: dict[str, tuple[type[Event], ...]] = {"engine": EVENTS, "bridge": (*EVENTS, *BRIDGE_EVENTS)}
_EVENTS = {f"/{root}/{tag_of(kind)}": kind for root, kinds in _ROOT_EVENTS.items() for kind in kinds}


class RefusedError(RequestError):
    """A server's ``/fail``: its code, and its text word for word."""

    def __init__(self, code: str, text: str) -> None:
        self._said = text
        super().__init__(_CODES.get(code, ErrorCode.INTERNAL))

    @property
    def text(self) -> str:
        """What the server said."""
        return self._said


class NoAnswerError(RequestError):
    """Nothing serves the port, or what served it is gone."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(ErrorCode.NOT_FOUND, "osc port", f"{host}:{port}", "a port that a running process answers on")


@dataclass
class Pending:
    """A request that was sent and is not answered yet."""

    id: int
    path: str
    request: Request
    rows: list[tuple[Argument, ...]] = field(default_factory=list)
    answer: Reply | RequestError | None = None


class OscClient:
    """One client at one UDP port. Any number may exist side by side; each is for one thread.

    A server that dies is noticed: at once where the system reports the closed port, else after `SILENCE_S` without an answer to
    the pings that go out while something is waited for.

    Args:
        port: OSC port of a bridge or an engine.
        host: where it runs.

    Raises:
        RequestError: ``host`` is no address of this network.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        import socket

        self._host, self._port = host, port
        self._pending: dict[int, Pending] = {}
        # Somebody who listens to every event must not take another client's request for his own.
        self._last_id = secrets.randbelow(INT32_MAX)
        self._heard = self._pinged = time.monotonic()
        self._listener: int | RefusedError | None = None
        self._on_event: OnEvent | None = None
        self._socket: socket.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.connect((host, port))
        except OSError as error:
            self._socket.close()
            raise RequestError(ErrorCode.NOT_FOUND, "host", f"{host}:{port}", str(error.strerror)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back. Streams that were asked for go on."""
        self._socket.close()

    def call(
        self,
        request: Request,
        *,
        given: Collection[str] | None = None,
        on_event: OnEvent | None = None,
        timeout: float | None = 10.0,
    ) -> Reply:
        """Send a request and wait for its answer.

        Args:
            request: what is asked.
            given: the parameters to send; the server's own defaults stand for the others. None sends all of them.
            on_event: hears the events that arrive meanwhile.
            timeout: seconds; None waits as long as the server gives signs of life.

        Raises:
            RefusedError: the server said ``/fail``.
            NoAnswerError: there is no server, or it died meanwhile.
            RequestError: ``busy`` when it did not answer in time.
        """
        pending = self.send(request, given=given)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _PING_S if deadline is None else deadline - time.monotonic()
            reply = self.poll(pending, max(0.0, min(left, _PING_S)), on_event=on_event)
            if reply is not None:
                return reply
            if left <= 0:
                self.forget(pending)
                raise RequestError(ErrorCode.BUSY, pending.path, "no answer", f"an answer within {timeout:g} s")

    def send(self, request: Request, *, given: Collection[str] | None = None) -> Pending:
        """Send a request without waiting; `poll` brings its answer.

        Raises:
            RequestError: it is too large for a packet, or `MAX_PENDING` requests wait already.
            NoAnswerError: there is no server.
        """
        if len(self._pending) >= MAX_PENDING:
            raise RequestError(ErrorCode.BUSY, "requests", len(self._pending), f"at most {MAX_PENDING} at a time")
        self._last_id = self._last_id % INT32_MAX + 1
        address = Address(f"/{request.root}/{tag_of(type(request))}", type(request))
        pending = Pending(self._last_id, address.path, request)
        packet = encode(address.path, pending.id, *_arguments(address, request, given))
        if not self._pending:
            self._heard = time.monotonic()
        self._transmit(packet)
        self._pending[pending.id] = pending
        return pending

    def poll(self, pending: Pending, seconds: float, *, on_event: OnEvent | None = None) -> Reply | None:
        """Wait at most ``seconds`` for the answer to a request; None when it is not there yet.

        Raises:
            RefusedError: the server said ``/fail``.
            NoAnswerError: the server died.
        """
        self._on_event = on_event
        deadline = time.monotonic() + seconds
        while pending.answer is None:
            self._keep_in_touch(pending.request.root)
            self._receive(min(deadline - time.monotonic(), _PING_S))
            if pending.answer is None and time.monotonic() >= deadline:
                return None
        self.forget(pending)
        if isinstance(pending.answer, RequestError):
            raise pending.answer
        return pending.answer

    def forget(self, pending: Pending) -> None:
        """Wait no longer for an answer; it is dropped when it comes."""
        self._pending.pop(pending.id, None)

    def listen(self, wanted: bool = True, timeout: float = 5.0) -> int:
        """Register for the events of every client's streams (``/notify``), or stop that; returns the listener's number.

        Raises:
            RefusedError: too many listeners.
            NoAnswerError: there is no server.
            RequestError: ``busy`` when it did not answer in time.
        """
        self._listener = None
        self._transmit(encode("/notify", int(wanted)))
        deadline = time.monotonic() + timeout
        while self._listener is None and (left := deadline - time.monotonic()) > 0:
            self._receive(left)
        if self._listener is None:
            raise RequestError(ErrorCode.BUSY, "/notify", "no answer", f"an answer within {timeout:g} s")
        if isinstance(self._listener, RefusedError):
            raise self._listener
        return self._listener

    def hear(self, seconds: float, on_event: OnEvent) -> None:
        """Pass on the events that arrive within ``seconds``."""
        self._on_event = on_event
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._receive(left)

    def _transmit(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except ConnectionError:
            raise NoAnswerError(self._host, self._port) from None
        except OSError as error:
            raise RequestError(ErrorCode.INTERNAL, "socket", str(error.strerror)) from None

    def _keep_in_touch(self, root: str) -> None:
        now = time.monotonic()
        quiet = now - self._heard
        if quiet > SILENCE_S:
            raise NoAnswerError(self._host, self._port)
        if quiet > _PING_S and now - self._pinged > _PING_S:
            self._pinged = now
            self._transmit(encode(f"/{root}/{tag_of(Ping)}", 0))

    def _receive(self, seconds: float) -> None:
        """Take in one packet, if one comes in time."""
        self._socket.settimeout(max(seconds, 1e-3))
        try:
            packet = self._socket.recv(_PACKET)
        except TimeoutError:
            return
        except ConnectionError:
            raise NoAnswerError(self._host, self._port) from None
        self._heard = time.monotonic()
        with contextlib.suppress(RequestError):  # what cannot be read is nobody's answer
            for message in decode(packet):
                self._take(message)

    def _take(self, message: OscMessage) -> None:
        path, arguments = message.address, message.arguments
        if path in ("/done", "/fail") and len(arguments) >= 2:
            self._take_answer(path == "/done", str(arguments[0]), arguments[1], arguments[2:])
        elif path.endswith(".item"):
            self._take_row(path.removesuffix(".item"), arguments)
        elif path.endswith(".reply"):
            self._take_report(path.removesuffix(".reply"), arguments)
        elif (kind := _EVENTS.get(path)) is not None and self._on_event is not None:
            self._on_event(_from_values(kind, arguments))

    def _take_answer(self, done: bool, path: str, request_id: Argument, values: tuple[Argument, ...]) -> None:
        if path == "/notify":
            self._listener = request_id if done and isinstance(request_id, int) else _refusal(values)
            return
        pending = self._pending.get(request_id) if isinstance(request_id, int) else None
        if pending is None or pending.path != path:
            return
        pending.answer = _reply(pending, values) if done else _refusal(values)

    def _take_row(self, path: str, arguments: tuple[Argument, ...]) -> None:
        pending = self._pending.get(arguments[0]) if arguments and isinstance(arguments[0], int) else None
        if pending is not None and pending.path == path and len(pending.rows) < MAX_ROWS:
            pending.rows.append(arguments[3:])

    def _take_report(self, path: str, arguments: tuple[Argument, ...]) -> None:
        for pending in self._pending.values():
            if pending.path == path and pending.answer is None:
                try:
                    pending.answer = _from_pairs(_reply_kind(pending.request), arguments)
                except RequestError as error:
                    pending.answer = error


def probe(port: int, host: str = "127.0.0.1", *, root: str = "bridge", timeout: float = 0.3) -> VersionInfo | None:
    """Ask who serves a port: its name and release, or None when nobody of ours answers within ``timeout`` seconds."""
    request = BridgeVersion() if root == "bridge" else Version()
    try:
        with OscClient(port, host) as client:
            reply = client.call(request, timeout=timeout)
    except RequestError:
        return None
    assert isinstance(reply, VersionInfo)
    return reply


def _arguments(address: Address, request: Request, given: Collection[str] | None) -> list[Argument]:
    arguments: list[Argument] = [getattr(request, spec.name) for spec in address.positional]
    if address.rest is not None:
        arguments += getattr(request, address.rest.name)
    for spec in address.named:
        value = getattr(request, spec.name)
        if value is not None and (given is None or spec.name in given):
            arguments += [spec.name, value]
    return arguments


def _reply_kind(request: Request) -> type[Reply]:
    return request.osc_reply or request.reply


def _reply(pending: Pending, values: tuple[Argument, ...]) -> Reply | RequestError:
    kind = _reply_kind(pending.request)
    try:
        if "items" not in fields_of(kind):
            return _from_values(kind, values)
        row_kind = _row_kind(kind)
        if len(pending.rows) != values[0]:
            held = f"{len(pending.rows)} of {values[0]!r} rows"
            return RequestError(ErrorCode.MALFORMED, pending.path, held, "every row of the list")
        return kind(items=[_from_pairs(row_kind, row) for row in pending.rows])
    except RequestError as error:
        return error


def _row_kind(kind: type[Reply]) -> type[msgspec.Struct]:
    row_kind: type[msgspec.Struct] = get_args(get_type_hints(kind)["items"])[0]
    return row_kind


def _from_values(kind: type[M], values: tuple[Argument, ...]) -> M:
    """A message from its values in order; those that a later release adds at the end are left."""
    return build(kind, dict(zip(_sent(kind), values, strict=False)), cast=True)


def _from_pairs(kind: type[M], pairs: tuple[Argument, ...]) -> M:
    """A message from name, value, name, value …; names that a later release adds are left."""
    known = _sent(kind)
    return build(kind, {str(n): v for n, v in zip(pairs[::2], pairs[1::2], strict=False) if n in known}, cast=True)


def _sent(kind: type[msgspec.Struct]) -> dict[str, FieldSpec]:
    return {name: spec for name, spec in fields_of(kind).items() if spec.osc}


def _refusal(values: tuple[Argument, ...]) -> RefusedError:
    code, text = (*map(str, values[:2]), "", "")[:2]
    return RefusedError(code, text or code)
