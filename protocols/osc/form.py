"""Requests, replies and events as OSC messages: one generated address each, nothing written by hand twice.

A request is ``/<root>/<verb> id positional… name value name value…``. The id is the client's own number and comes back with
the answer; a client that needs none may leave it out where the arguments leave no doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from protocols.errors import ErrorCode, RequestError, shorten
from protocols.exchange_messages import TRANSFER_REQUESTS
from protocols.fields import INT32_MAX, FieldSpec, build, fields_of, shortened
from protocols.messages import (
    Acknowledge,
    CodecEnded,
    Event,
    Hello,
    Listen,
    Message,
    Missed,
    Open,
    Recipe,
    Reply,
    Request,
    Unlisten,
)
from protocols.osc.codec import Argument, OscMessage

WITHOUT_OSC: frozenset[type[Message]] = frozenset(
    {Hello, Acknowledge, Listen, Unlisten, Open, Missed, Recipe, CodecEnded, *TRANSFER_REQUESTS}
)
"""Requests and events that need ZeroMQ: they are about the flow of audio blocks or files, or too large for OSC."""
REPLY_PORT = "reply_port"
"""A parameter of every request over OSC: the port on the sender's machine that wants the answer."""


@dataclass(frozen=True)
class Address:
    """One OSC address of a process and the request that it makes."""

    path: str
    request: type[Request]

    @property
    def positional(self) -> tuple[FieldSpec, ...]:
        """The arguments that come first, in order."""
        specs = fields_of(self.request)
        return tuple(specs[name] for name in self.request.osc_positional)

    @property
    def named(self) -> tuple[FieldSpec, ...]:
        """The arguments that come as name and value, in any order."""
        specs = fields_of(self.request)
        first = (*self.request.osc_positional, self.request.osc_rest)
        return tuple(spec for spec in specs.values() if spec.osc and spec.name not in first)

    @property
    def rest(self) -> FieldSpec | None:
        """What takes all numbers that follow the positional arguments."""
        return fields_of(self.request).get(self.request.osc_rest)


class OscFormError(RequestError):
    """A request that could not be read; ``request_id`` is what its answer must carry (0 when unknown).

    ``reply_port`` is where the sender wants that answer, None when it did not say.
    """

    def __init__(self, error: RequestError, request_id: int, reply_port: int | None = None) -> None:
        super().__init__(error.code, error.field, error.value, error.allowed)
        self.request_id = request_id
        self.reply_port = reply_port


def address_space(requests: Sequence[type[Request]]) -> dict[str, Address]:
    """The OSC addresses of a process, by path."""
    found = {}
    for request in requests:
        if request not in WITHOUT_OSC:
            path = f"/{request.root}/{tag_of(request)}"
            found[path] = Address(path, request)
    return found


def tag_of(message: type[msgspec.Struct]) -> str:
    """The verb of a message class."""
    return str(message.__struct_config__.tag)


def parse(
    address: Address, arguments: Sequence[Argument], defaults: Mapping[str, object] | None = None
) -> tuple[int, Request, int | None]:
    """Read a request's arguments: ``(id, request, reply port or None)``.

    Args:
        address: where the message was sent.
        arguments: as they came in; floats are taken for ints where they are meant so.
        defaults: values for parameters that the message leaves out, where the request has them.

    Raises:
        OscFormError: which parameter is wrong, and the id and port to answer to.
    """
    request_id, rest = _split_id(address, arguments)
    port = None
    try:
        port = _reply_port(address, rest)
        values = _named_values(address, rest)
        known = fields_of(address.request)
        merged = {name: value for name, value in (defaults or {}).items() if name in known} | values
        return request_id, build(address.request, merged, cast=True), port
    except RequestError as error:
        raise OscFormError(error, request_id, port) from None


def done(address: str, request_id: int, reply: Reply) -> Iterator[OscMessage]:
    """The messages that answer a request: one ``.item`` for each row of a list, and at the end one ``/done``."""
    rows = getattr(reply, "items", None)
    if rows is None:
        yield OscMessage("/done", (address, request_id, *values_of(reply)))
        return
    for index, row in enumerate(rows):
        yield OscMessage(f"{address}.item", (request_id, index, len(rows), *pairs_of(row)))
    yield OscMessage("/done", (address, request_id, len(rows)))


def fail(address: str, request_id: int, error: RequestError) -> OscMessage:
    """The message that refuses a request: ``/fail address id code text``."""
    return OscMessage("/fail", (shorten(address), request_id, str(error.code), error.text))


def event(root: str, message: Event, *, anonymous: bool = False) -> OscMessage:
    """An event as ``/<root>/<event> value…``, its fields in the order they are declared.

    ``anonymous`` is for those who did not ask: the id of whoever did would be taken for one of their own.
    """
    if anonymous and isinstance(getattr(message, "request", None), int):
        message = msgspec.structs.replace(message, request=0)
    return OscMessage(f"/{root}/{tag_of(type(message))}", values_of(message))


def values_of(message: msgspec.Struct) -> tuple[Argument, ...]:
    """A message's values in order, those that OSC can carry."""
    return tuple(sendable(getattr(message, spec.name)) for spec in fields_of(type(message)).values() if spec.osc)


def pairs_of(message: msgspec.Struct) -> tuple[Argument, ...]:
    """A message as name, value, name, value …: what a patch routes by name and a later release may lengthen."""
    pairs: list[Argument] = []
    for name, spec in fields_of(type(message)).items():
        if spec.osc:
            pairs += [name, sendable(getattr(message, name))]
    return tuple(pairs)


def sendable(value: int | float | str | bool) -> Argument:
    """A value as OSC can carry it: whole numbers are cut to 32 bits."""
    return min(value, INT32_MAX) if isinstance(value, int) and not isinstance(value, bool) else value


def _split_id(address: Address, arguments: Sequence[Argument]) -> tuple[int, Sequence[Argument]]:
    wanted = len(address.positional)
    if not arguments:
        return 0, arguments
    first = arguments[0]
    texts = [spec.kind == "str" for spec in address.positional]
    if wanted and texts[0]:
        without_id = isinstance(first, str)
    elif any(texts):
        without_id = [isinstance(argument, str) for argument in arguments[:wanted]] == texts
    else:  # after the positional numbers comes nothing, or a parameter's name
        without_id = len(arguments) == wanted or (len(arguments) > wanted and isinstance(arguments[wanted], str))
    if without_id:
        return 0, arguments
    if isinstance(first, bool) or not isinstance(first, int | float) or not 0 <= first <= INT32_MAX:
        error = RequestError(ErrorCode.BAD_TYPE, "id", first, f"a whole number from 0 to {INT32_MAX}")
        raise OscFormError(error, 0)
    return int(first), arguments[1:]


def _reply_port(address: Address, arguments: Sequence[Argument]) -> int | None:
    """Where the answer is wanted, read before anything else: a refusal must arrive there too."""
    pairs = arguments[_first_name(address, arguments) :]
    return port_number(dict(zip(pairs[::2], pairs[1::2], strict=False)).get(REPLY_PORT))


def _named_values(address: Address, arguments: Sequence[Argument]) -> dict[str, object]:
    positional = address.positional
    values: dict[str, object] = {spec.name: value for spec, value in zip(positional, arguments, strict=False)}
    if len(arguments) < len(positional):
        missing = positional[len(arguments)]
        raise RequestError(ErrorCode.MISSING, missing.name, None, missing.allowed)
    names = _first_name(address, arguments)
    if address.rest is not None:
        values[address.rest.name] = list(arguments[len(positional) : names])
    pairs = arguments[names:]
    if len(pairs) % 2:
        raise RequestError(ErrorCode.MISSING, shortened(pairs[-1]), None, "a value after each parameter's name")
    allowed = {spec.name for spec in address.named}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if name == REPLY_PORT:
            continue
        if not isinstance(name, str) or name not in allowed:
            raise RequestError(
                ErrorCode.UNKNOWN_PARAMETER, shortened(name), value, ", ".join(sorted(allowed)) or "none"
            )
        values[name] = value
    return values


def _first_name(address: Address, arguments: Sequence[Argument]) -> int:
    """Where names and values begin: after the positional arguments, and after the numbers of an address that takes many."""
    index = len(address.positional)
    while address.rest is not None and index < len(arguments) and not isinstance(arguments[index], str):
        index += 1
    return index


def port_number(value: object) -> int | None:
    """A UDP port as it came in, or None for none."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 65535:
        return int(value)
    raise RequestError(ErrorCode.OUT_OF_RANGE, REPLY_PORT, value, "a whole number from 1 to 65535")
