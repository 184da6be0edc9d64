"""The OSC side of both processes as plain tables: addresses, parameters with ranges, what answers and events hold.

Everything comes from the message classes, so that a client whose tables are written from here cannot disagree with the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import inspect

from protocols.bridge_messages import BRIDGE_EVENTS, BRIDGE_REQUESTS, SetDefaults
from protocols.errors import ErrorCode
from protocols.fields import FieldSpec, fields_of
from protocols.messages import ENGINE_REQUESTS, EVENTS, Event, Finished, Reply, Request, Status, Version
from protocols.osc import form
from protocols.settings import BridgeSettings, EngineSettings


@dataclass(frozen=True)
class AddressTable:
    """One address that can be asked.

    Attributes:
        path: such as ``/bridge/loop/record``.
        meaning: what it does, in one paragraph.
        positional: what comes first, in order, and is always needed.
        named: what may follow as name and value.
        rest: what takes all numbers after the positional ones, if anything does.
        opens_stream: whether it is answered only when a stream is over; the stream's number comes by the event ``queued``.
        listed: whether the answer is a list: one ``<path>.item`` for each row, with names and values.
        answer: the values of ``/done`` after address and id; for a list, those of a row.
    """

    path: str
    meaning: str
    positional: tuple[FieldSpec, ...]
    named: tuple[FieldSpec, ...]
    rest: FieldSpec | None
    opens_stream: bool
    listed: bool
    answer: tuple[FieldSpec, ...]

    @property
    def verb(self) -> str:
        """The path without its process: ``loop/record``."""
        return self.path.split("/", 2)[2]

    @property
    def parameters(self) -> tuple[FieldSpec, ...]:
        """All parameters: the positional ones, then the named."""
        return self.positional + self.named


@dataclass(frozen=True)
class EventTable:
    """One address at which something is told unasked, and its values in order."""

    path: str
    meaning: str
    values: tuple[FieldSpec, ...]

    @property
    def verb(self) -> str:
        """The path without its process: ``sounding``."""
        return self.path.split("/", 2)[2]


@dataclass(frozen=True)
class ProcessTable:
    """One process: where it listens, and all that can be asked of it and heard from it.

    Attributes:
        settings: each has an address of its own, ``/<name>/param/<setting>``.
        status: what ``/status.reply`` holds, as names and values.
    """

    name: str
    port: int
    addresses: tuple[AddressTable, ...]
    events: tuple[EventTable, ...]
    settings: tuple[FieldSpec, ...]
    status: tuple[FieldSpec, ...]

    def address(self, verb: str) -> AddressTable:
        """The table of a verb, such as ``play``.

        Raises:
            KeyError: there is none.
        """
        found = {table.verb: table for table in self.addresses}
        return found[verb]


@dataclass(frozen=True)
class Description:
    """Both processes, and the codes that ``/fail`` may carry with their meanings."""

    bridge: ProcessTable
    engine: ProcessTable
    errors: tuple[tuple[str, str], ...]


def describe() -> Description:
    """Read everything from the message classes."""
    bridge = _process("bridge", int(fields_of(BridgeSettings)["osc_port"].default), BRIDGE_REQUESTS, BRIDGE_EVENTS)
    engine = _process("engine", int(fields_of(EngineSettings)["osc_port"].default), ENGINE_REQUESTS, EVENTS)
    return Description(bridge, engine, tuple((str(code), code.meaning) for code in ErrorCode))


def meaning_of(message: type[msgspec.Struct]) -> str:
    """A message class's docstring as one paragraph."""
    return " ".join((message.__doc__ or "").split()).replace("``", "`")


def row_of(reply: type[Reply]) -> type[Reply] | None:
    """The class of a list's rows; None when the reply is no list."""
    for field in msgspec.structs.fields(reply):
        if field.name == "items":
            kind = inspect.type_info(field.type)
            while isinstance(kind, inspect.Metadata):
                kind = kind.type
            assert isinstance(kind, inspect.ListType)
            assert isinstance(kind.item_type, inspect.StructType)
            assert issubclass(kind.item_type.cls, Reply)
            return kind.item_type.cls
    return None


def _process(name: str, port: int, requests: Sequence[type[Request]], events: Sequence[type[Event]]) -> ProcessTable:
    status = next(request for request in requests if issubclass(request, Status))
    return ProcessTable(
        name=name,
        port=port,
        addresses=tuple(_address(address) for address in form.address_space(requests).values()),
        events=tuple(
            EventTable(f"/{name}/{form.tag_of(event)}", meaning_of(event), _sent(event))
            for event in events
            if event not in form.WITHOUT_OSC
        ),
        settings=tuple(fields_of(SetDefaults).values()) if name == "bridge" else (),
        status=_sent(status.reply),
    )


def _address(address: form.Address) -> AddressTable:
    request = address.request
    reply = request.osc_reply or request.reply
    row = row_of(reply)
    return AddressTable(
        path=address.path,
        meaning=meaning_of(request),
        positional=address.positional,
        named=address.named,
        rest=address.rest,
        opens_stream=reply is Finished,
        listed=row is not None,
        answer=() if issubclass(request, Status | Version) else _sent(row or reply),
    )


def _sent(message: type[msgspec.Struct]) -> tuple[FieldSpec, ...]:
    return tuple(spec for spec in fields_of(message).values() if spec.osc)
