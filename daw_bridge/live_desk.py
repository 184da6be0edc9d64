"""Parameters of playing streams, one address for each: what a fader sends to, and hears the present value from."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.live_values import LEVEL, MORPH, SEED, WEIGHTS, LiveValues, live_nodes
from daw_bridge.orders import Insider
from daw_bridge.stream_table import StreamTable
from protocols.bridge_messages import BridgeUpdate, SetLevel
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build
from protocols.live_parameters import LIVE, STATES
from protocols.messages import Reply, Request
from protocols.osc.codec import Argument
from protocols.osc.front import Asker, OscFront, Peer
from protocols.oscquery.nodes import Node
from protocols.units import as_fraction

_ADDRESS = re.compile(r"/bridge/(?:live|stream/(?P<number>[0-9]{1,10}))/(?P<name>[^/]*)")
_FASTEST_S = 0.04
"""Of what moves fast, 25 values a second reach the engine, the last one always."""
_LOOK_S = 0.04


class LiveHost(Protocol):
    """What live parameters need of the bridge."""

    front: OscFront | None
    streams: StreamTable

    @property
    def defaults(self) -> dict[str, object]:
        """What requests use where they leave a parameter out."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; raises RequestError."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


class Loudness(Protocol):
    """What is needed of `Player`."""

    gain: float


class LiveDesk:
    """``/bridge/live/<parameter>`` for all streams that play, ``/bridge/stream/<number>/<parameter>`` for one of them.

    Listeners are told each value that changes, whoever changed it; one that has set it itself only if it is another than it sent.
    For the loop's thread only.

    Args:
        host: the bridge.
        player: the sound card.
        now: seconds.
    """

    requests = ()

    def __init__(self, host: LiveHost, player: Loudness, now: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._player = player
        self._now = now
        self._values = LiveValues()
        self._told: dict[str, Argument] = {}
        self._states: dict[str, Argument] = {}
        self._said: dict[str, tuple[Peer, Argument]] = {}
        self._waiting: dict[str, tuple[Asker, Argument]] = {}
        self._sent: dict[str, float] = {}
        self._looked = 0.0
        self._nodes: tuple[tuple[int, ...], dict[str, Node]] = ((-1,), {})
        self._told = self._look()

    # --- Source of OSCQuery ---------------------------------------------------------------------------------------------

    def nodes(self) -> Mapping[str, Node]:
        """All addresses, as of the last `pump`; the same object while there are the same streams."""
        numbers = tuple(dict.fromkeys(int(path.split("/")[3]) for path in self._states))
        if numbers != self._nodes[0]:
            self._nodes = (numbers, live_nodes(numbers))
        return self._nodes[1]

    def values(self) -> Mapping[str, Argument]:
        """All that can be read, by address, as of the last `pump`."""
        return self._told | self._states

    # --- Parameters -----------------------------------------------------------------------------------------------------

    def owns(self, path: str) -> bool:
        """Whether it is a parameter's address, or looks like one."""
        return _ADDRESS.fullmatch(path) is not None

    def told(self) -> Mapping[str, Argument]:
        """The present values, for a new listener."""
        return self._told

    def take(self, path: str, arguments: Sequence[Argument], asker: Asker) -> Argument | None:
        """Set a parameter, or with no arguments return its value; nothing is returned where one was set.

        Raises:
            RequestError: UNKNOWN_STREAM, UNKNOWN_PARAMETER; UNSUPPORTED for a value that can only be read; as `FieldSpec.check`;
                as `BridgeService.update` where that is refused at once.
        """
        number, name = _parts(path)
        if number is not None:
            self._find(number)
        if name not in LIVE and (name not in STATES or number is None):
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, name, None, ", ".join(LIVE))
        if not arguments:
            return (self._look() | self._states)[path]
        if name not in LIVE:
            raise RequestError(ErrorCode.UNSUPPORTED, name, arguments[0], "no value: it can only be read")
        try:
            value = LIVE[name].check(_single(name, arguments), cast=True)
            self._said[path] = (asker.peer, value)
            self._set(path, number or 0, name, value, asker)
        except RequestError:
            self._said.pop(path, None)
            self._tell_value(path, asker)  # what holds instead: a fader goes back there
            raise
        return None

    # --- Desk -----------------------------------------------------------------------------------------------------------

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """No request comes here."""
        raise RequestError(ErrorCode.UNSUPPORTED, "address", asker.address)

    def pump(self) -> None:
        """Send what waited, and tell what has changed."""
        now = self._now()
        for path in [path for path in self._waiting if now - self._sent.get(path, -1.0) >= _FASTEST_S]:
            self._send_waiting(path)
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self._tell()

    def close(self) -> None:
        """Nothing to do."""

    # --- helpers --------------------------------------------------------------------------------------------------------

    @property
    def _streams(self) -> list[BridgeStream]:
        return self._host.streams.played

    def _find(self, number: int) -> BridgeStream:
        stream = self._host.streams.find(number)
        if stream.patient:  # kept ready for a pad: nobody hears it
            known = ", ".join(str(one.number) for one in self._streams) or "none is open"
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", number, known)
        return stream

    def _set(self, path: str, number: int, name: str, value: Argument, asker: Asker) -> None:
        if name == LEVEL:
            self._host.handle(build(SetLevel, {"stream": number, "level": value}), asker)
        elif name == MORPH:
            self._values.set_morph(number, float(value))
        else:
            for other in [other for other in self._waiting if other != path and _parts(other)[1] == name]:
                self._send_waiting(other)  # what was said first about a parameter is done first
            if self._now() - self._sent.get(path, -_FASTEST_S) < _FASTEST_S:
                self._waiting[path] = (asker, value)
            else:
                self._waiting.pop(path, None)
                self._send(path, number, name, value, asker)

    def _send_waiting(self, path: str) -> None:
        asker, value = self._waiting.pop(path)
        number, name = _parts(path)
        try:
            self._send(path, number or 0, name, value, asker)
        except RequestError as error:
            self._refused(path, asker, error)

    def _send(self, path: str, number: int, name: str, value: Argument, asker: Asker) -> None:
        """Ask for a change of the streams that are meant."""
        meant = [self._find(number)] if number else self._streams
        self._sent[path] = self._now()
        if not meant:
            self._settled(path, asker, value)
            return

        def answered(answer: Reply | RequestError) -> None:
            if isinstance(answer, RequestError):
                self._refused(path, asker, answer)
                return
            if name == SEED:
                for stream in meant:
                    self._values.set_seed(stream, int(value))
            self._settled(path, asker, value)

        change = build(BridgeUpdate, {"stream": number, name: value, MORPH: self._values.morph(number)})
        reply = self._host.handle(change, Insider(asker.peer, path, 0, answered))
        if reply is not None:
            answered(reply)

    def _refused(self, path: str, asker: Asker, error: RequestError) -> None:
        """Say why, and what holds instead."""
        self._host.fail(Asker(asker.peer, path, 0), error)
        self._said.pop(path, None)
        self._tell_value(path, asker)

    def _settled(self, path: str, asker: Asker, value: Argument) -> None:
        """A change was taken; one that came to nothing, or to something else, is told to who asked."""
        if path not in self._waiting and not _same(value, self._look().get(path)):
            self._said.pop(path, None)
            self._tell_value(path, asker)

    def _tell_value(self, path: str, asker: Asker) -> None:
        value = self._look().get(path)
        if value is not None and self._host.front is not None:
            self._host.front.tell(asker.peer, path, value)

    def _tell(self) -> None:
        """Tell listeners what is other than it was."""
        before, self._told = self._told, self._look()
        for path, value in self._told.items():
            if before.get(path) == value:
                continue
            peer, said = self._said.get(path, (None, None))
            known = path in self._waiting or _same(said, value)  # a fader that still moves is not pulled back
            if path not in self._waiting:
                self._said.pop(path, None)
            if self._host.front is not None:
                self._host.front.tell_listeners(path, value, peer if known else None)
        for path in before.keys() - self._told.keys():
            self._said.pop(path, None)
            self._sent.pop(path, None)
            number, _ = _parts(path)
            self._values.forget(number or 0)

    def _look(self) -> dict[str, Argument]:
        values, self._states = self._values.all(self._streams, self._player.gain, self._host.defaults)
        return values


def _parts(path: str) -> tuple[int | None, str]:
    """Number of the stream, None for all of them, and name of the parameter."""
    found = _ADDRESS.fullmatch(path)
    assert found is not None
    return None if found["number"] is None else int(found["number"]), found["name"]


def _single(name: str, arguments: Sequence[Argument]) -> Argument:
    """The value that a message holds; weights may come as numbers, one fader each."""
    if name == WEIGHTS and not any(isinstance(argument, str | bytes) for argument in arguments):
        return " ".join(f"{float(as_fraction(float(argument))):.9g}" for argument in arguments)
    if len(arguments) > 1:
        raise RequestError(ErrorCode.MALFORMED, name, f"{len(arguments)} values", "one value")
    return arguments[0]


def _same(said: Argument | None, value: Argument | None) -> bool:
    """Whether a value is the one that was sent; levels are kept as factors, and so come back a little rounded."""
    if isinstance(said, float) and isinstance(value, float):
        return math.isclose(said, value, rel_tol=1e-6, abs_tol=1e-3)
    return said == value
