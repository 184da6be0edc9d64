"""The manners of an OSC server, without a socket: who is answered where, who listens, what is refused and counted.

scsynth's and AbletonOSC's manners: ``/notify 1 [port]`` registers a listener; a request is answered by ``/done`` or ``/fail`` with
the client's own id; ``/status`` and ``/version`` answer at ``.reply``; a setting's address without a value answers with the
value, and pushes it to a new listener at once. Every client is answered by itself, however many there are. A request in a bundle
whose time tag lies ahead is checked at once and carried out at its time, as by scsynth.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from protocols.errors import ErrorCode, RequestError
from protocols.fields import build, fields_of
from protocols.messages import Event, Reply, Request, Sampling, Status, Version
from protocols.osc import form
from protocols.osc.codec import Argument, OscMessage, decode, encode
from protocols.osc.timed import CallLater, TimedRequests

if TYPE_CHECKING:
    from protocols.osc.parameters import Parameters

_log = logging.getLogger(__name__)

MAX_LISTENERS = 32
_BARE = ("status", "version", "quit", "ping")
_ANSWERS = ("/done", "/fail")


@dataclass(frozen=True)
class Peer:
    """Who sent a packet: its transport, such as ``udp``, ``tcp`` or ``ws`` (WebSocket), and its address there."""

    transport: str
    host: str
    port: int

    def at(self, port: int) -> Peer:
        """The same machine at another port; a TCP connection has only the one."""
        return Peer(self.transport, self.host, port) if self.transport == "udp" else self


@dataclass(frozen=True)
class Asker:
    """Who asked, under which id and address: everything an answer needs, for as long as it takes.

    Attributes:
        when: the time tag of the request, in seconds of the system's clock; None for at once.
    """

    peer: Peer
    address: str
    request_id: int
    when: float | None = field(default=None, kw_only=True)


class OscService(Protocol):
    """What stands behind a front."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; None means that `OscFront.done` or `OscFront.fail` follows later. May raise RequestError."""

    def report(self, request: Status | Version) -> Reply:
        """Answer ``/status`` or ``/version``."""


class OscFront:
    """One process's OSC side. Touched by the I/O loop's thread only.

    Args:
        root: ``engine`` or ``bridge``.
        requests: the requests that the process serves.
        service: what carries them out.
        send: puts a packet on its way to a peer; never blocks and never raises.
        settings: a request class whose fields are settings: ``/<root>/param/<name> [value]`` gets and sets each.
        current: the settings' present values, by name.
        later: calls something after so many seconds; None carries out what comes ahead of its time at once.
        wall: the system's clock, by which time tags tell moments; seconds since 1970.

    ``parameters`` are addresses beside the requests that hold one value each, and are told to listeners as those say.

    ``overhear`` is offered every message that was not asked of this process, with its sender; True means that it was meant for
    somebody else, such as a host's transport, and gets no answer.
    """

    def __init__(
        self,
        root: str,
        requests: Sequence[type[Request]],
        service: OscService,
        send: Callable[[Peer, bytes], None],
        *,
        settings: type[Request] | None = None,
        current: Callable[[], dict[str, object]] = dict,
        later: CallLater | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.root = root
        self.addresses = form.address_space(requests)
        self.parameters: list[Parameters] = []
        self.overhear: Callable[[str, Sequence[Argument], Peer], bool] = lambda *_: False
        self.timed = TimedRequests(later, wall)
        self.received = 0
        self.refused = 0
        self._service = service
        self._send = send
        self.settings = settings
        self._current = current
        self._listeners: dict[Peer, int] = {}
        self._answer_at: dict[Peer, Peer] = {}
        self._next_listener = 1

    def receive(self, packet: bytes, sender: Peer) -> None:
        """Take one packet from the network: carry out what is in it and answer each message in it."""
        try:
            messages = decode(packet)
        except RequestError as error:
            self.receive_broken(error, sender)
            return
        for message in messages:
            self.received += 1
            self._dispatch(message, sender)

    def receive_broken(self, error: RequestError, sender: Peer) -> None:
        """Count and answer a packet that cannot be read."""
        self.received += 1
        self._refuse(Asker(self._answer_at.get(sender, sender), "", 0), error)

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a request that was carried out; an answer that no packet holds is refused under the request's own number."""
        messages = form.done(asker.address, asker.request_id, reply)
        try:
            packets = [encode(message.address, *message.arguments) for message in messages]
        except RequestError as error:
            self._refuse(asker, error)
            return
        for packet in packets:
            self._send(asker.peer, packet)

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Answer a request that failed after all."""
        self._refuse(asker, error)

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell an event to every listener, and to the client it concerns, each once; only that one is told its own id."""
        others = form.event(self.root, event, anonymous=True)
        for peer in list(self._listeners):  # one that is gone is forgotten while it is told
            if asker is None or peer != asker.peer:
                self._answer(peer, [others])
        if asker is not None:
            self._answer(asker.peer, [form.event(self.root, event)])

    def current_settings(self) -> dict[str, int | float | str]:
        """The settings' present values, by name."""
        values = self._current()
        found = {}
        for name in fields_of(self.settings) if self.settings is not None else ():
            value = values[name]
            assert isinstance(value, int | float | str)
            found[name] = value
        return found

    def forget(self, peer: Peer) -> None:
        """Drop a client whose connection is closed."""
        self._listeners.pop(peer, None)
        self._answer_at.pop(peer, None)

    @property
    def listeners(self) -> int:
        """How many clients are registered for events."""
        return len(self._listeners)

    def _dispatch(self, message: OscMessage, sender: Peer) -> None:
        path, arguments = message.address, message.arguments
        if path in _ANSWERS:
            self.refused += 1  # an answer that was sent to a wrong port; to answer it could go on for ever
            return
        peer = self._answer_at.get(sender, sender)
        asker = Asker(peer, path, 0)
        when = self.timed.meant(message.when)
        verb = path.removeprefix(f"/{self.root}") if path.startswith(f"/{self.root}/") else path
        try:
            if not path.startswith(f"/{self.root}/") and self.overhear(path, arguments, sender):
                return
            if verb == "/notify":
                self._notify(arguments, sender, path)
            elif (
                path not in self.addresses
                and path.startswith(f"/{self.root}/")
                and self._put_off(message, sender, when)
            ):
                pass
            elif self.settings is not None and path.startswith(f"/{self.root}/param/"):
                self._param(path.removeprefix(f"/{self.root}/param/"), arguments, asker)
            elif (owner := next((some for some in self.parameters if some.owns(path)), None)) is not None:
                value = owner.take(path, arguments, asker)
                if value is not None:
                    self.tell(peer, path, value)
            else:
                bare = f"/{self.root}{path}" if path[1:] in _BARE else path
                self._request(bare, path, arguments, sender, peer, when)
        except form.OscFormError as error:
            at = peer if error.reply_port is None else sender.at(error.reply_port)
            self._refuse(Asker(at, path, error.request_id), error)
        except Exception as error:  # a fault in one message must not leave its sender waiting
            self._refuse(asker, _refusal(error))

    def _put_off(self, message: OscMessage, sender: Peer, when: float | None) -> bool:
        """Let a setting wait for its time, if that lies ahead."""
        asker = Asker(self._answer_at.get(sender, sender), message.address, 0)
        at_once = replace(message, when=None)
        return self.timed.put_off(
            when, lambda: self._dispatch(at_once, sender), lambda error: self._refuse(asker, error)
        )

    def _request(
        self, known: str, path: str, arguments: Sequence[Argument], sender: Peer, peer: Peer, when: float | None
    ) -> None:
        address = self.addresses.get(known)
        if address is None:
            raise RequestError(ErrorCode.UNKNOWN_ADDRESS, "address", path, ", ".join(self.addresses))
        defaults = self._current() if issubclass(address.request, Sampling) else {}
        request_id, request, port = form.parse(address, arguments, defaults)
        asker = Asker(peer if port is None else sender.at(port), path, request_id, when=when)
        try:
            if not request.takes_time_tag and self.timed.put_off(
                when, lambda: self._carry_out(request, asker), lambda error: self._refuse(asker, error)
            ):
                return
        except RequestError as error:
            self._refuse(asker, error)
            return
        self._carry_out(request, asker)

    def _carry_out(self, request: Request, asker: Asker) -> None:
        path = asker.address
        try:
            if isinstance(request, Status | Version):
                report = self._service.report(request)
                self._answer(asker.peer, [OscMessage(f"{path}.reply", form.pairs_of(report))])
                return
            reply = self._service.handle(request, asker)
        except Exception as error:
            self._refuse(asker, _refusal(error))
            return
        if reply is not None:
            self.done(asker, reply)
        if self.settings is not None and isinstance(request, self.settings):
            self.tell_settings([name for name in fields_of(self.settings) if getattr(request, name) is not None])

    def _notify(self, arguments: Sequence[Argument], sender: Peer, path: str) -> None:
        """``/notify 1 [port]`` registers, ``/notify 0 [port]`` forgets; the answer carries the listener's id."""
        wanted = arguments[0] if arguments else 1
        if isinstance(wanted, str | bytes) or wanted not in (0, 1):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "notify", wanted, "0 or 1")
        port = form.port_number(arguments[1]) if len(arguments) > 1 else None
        peer = self._answer_at.get(sender, sender) if port is None else sender.at(port)
        if wanted:
            if peer not in self._listeners and len(self._listeners) >= MAX_LISTENERS:
                raise RequestError(ErrorCode.BUSY, "notify", len(self._listeners), f"at most {MAX_LISTENERS} listeners")
            if peer not in self._listeners:
                self._listeners[peer] = self._next_listener
                self._next_listener += 1
            if peer != sender:
                if sender not in self._answer_at and len(self._answer_at) >= MAX_LISTENERS:
                    self._answer_at.pop(next(iter(self._answer_at)))
                self._answer_at[sender] = peer
            self._answer(peer, [OscMessage("/done", (path, self._listeners[peer]))])
            self._push_settings(peer)
            for path, value in [item for some in self.parameters for item in some.told().items()]:
                self.tell(peer, path, value)
        else:
            listener = self._listeners.pop(peer, 0)
            self._answer_at = {source: target for source, target in self._answer_at.items() if target != peer}
            self._answer(peer, [OscMessage("/done", (path, listener))])

    def _param(self, name: str, arguments: Sequence[Argument], asker: Asker) -> None:
        """``/<root>/param/<name>`` alone asks for a setting, with a value sets it; listeners hear of the change."""
        assert self.settings is not None
        specs = fields_of(self.settings)
        if name not in specs:
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, name, None, ", ".join(specs))
        if arguments:
            self._service.handle(build(self.settings, {name: arguments[0]}, cast=True), asker)
            self.tell_settings([name])
        if not arguments or asker.peer not in self._listeners:
            self._push(asker.peer, name)

    def tell_settings(self, names: Iterable[str]) -> None:
        """Tell listeners the values of settings that have changed."""
        wanted = list(names)
        for peer in list(self._listeners):  # one that is gone is forgotten while it is told
            for name in wanted:
                self._push(peer, name)

    def tell(self, peer: Peer, path: str, value: Argument) -> None:
        """Tell one client the value that an address holds."""
        self._answer(peer, [OscMessage(path, (value,))])

    def tell_listeners(self, path: str, value: Argument, but: Peer | None = None) -> None:
        """Tell every listener the value that an address holds, but not the one who has just set it."""
        for peer in list(self._listeners):
            if peer != but:
                self.tell(peer, path, value)

    def _push_settings(self, peer: Peer) -> None:
        for name in fields_of(self.settings) if self.settings is not None else ():
            self._push(peer, name)

    def _push(self, peer: Peer, name: str) -> None:
        self.tell(peer, f"/{self.root}/param/{name}", self.current_settings()[name])

    def _refuse(self, asker: Asker, error: RequestError) -> None:
        self.refused += 1
        self._answer(asker.peer, [form.fail(asker.address, asker.request_id, error)])

    def _answer(self, peer: Peer, messages: Iterable[OscMessage]) -> None:
        for message in messages:
            try:
                packet = encode(message.address, *message.arguments)
            except RequestError as error:
                packet = encode("/fail", message.address, 0, str(error.code), error.text)
            self._send(peer, packet)


def _refusal(error: Exception) -> RequestError:
    """What the client is told of an error; one that is no fault of the client's is logged."""
    if isinstance(error, RequestError):
        return error
    _log.error("a message failed", exc_info=error)
    return RequestError(ErrorCode.INTERNAL, "message", f"{type(error).__name__}: {error}")
