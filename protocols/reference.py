"""Writes the reference page, ``docs/protocol.md``, from the message classes: ``python -m protocols.reference [--check] [path]``.

Every table comes from the schema, every port and limit from its constant, and every example passes through the same code as a
real message, so that the page cannot tell anything else than the processes do.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from protocols import PROTOCOL_VERSION
from protocols.bridge_messages import BRIDGE_EVENTS, BRIDGE_REQUESTS, SetDefaults
from protocols.description import meaning_of, row_of
from protocols.errors import ErrorCode
from protocols.examples import examples
from protocols.fields import FieldSpec, fields_of, plain
from protocols.live_parameters import LIVE, STATES
from protocols.messages import (
    ENGINE_REQUESTS,
    EVENTS,
    AudioHeader,
    Event,
    Fail,
    Reply,
    Request,
    Status,
    Version,
)
from protocols.osc import form
from protocols.osc.codec import MAX_DEPTH, MAX_MESSAGES, MAX_PACKET, OscMessage
from protocols.osc.front import MAX_LISTENERS
from protocols.osc.port import MAX_CONNECTIONS
from protocols.osc.timed import HORIZON_S, MAX_WAITING
from protocols.settings import BridgeSettings, EngineSettings
from protocols.wire import MAX_MESSAGE

DEFAULT_PATH = Path("docs/protocol.md")

_WORDS: dict[type[inspect.Type], str] = {
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "string",
    inspect.LiteralType: "string",
    inspect.BoolType: "bool",
    inspect.ListType: "list",
    inspect.DictType: "map",
    inspect.BytesType: "bytes",
}


def page() -> str:
    """The whole reference page as Markdown."""
    lines = [
        *_introduction(),
        *_examples(),
        *_over_zeromq(),
        *_requests("bridge", BRIDGE_REQUESTS),
        *_events("bridge", BRIDGE_EVENTS),
        *_requests("engine", ENGINE_REQUESTS),
        *_events("engine", EVENTS),
        *_replies((*BRIDGE_REQUESTS, *ENGINE_REQUESTS)),
        *_error_codes(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with ``--check`` return 1 when the file does not hold it."""
    parser = argparse.ArgumentParser(
        prog="python -m protocols.reference", description="Write the protocol's reference."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT_PATH, help="default: %(default)s")
    options = parser.parse_args(arguments)
    path: Path = options.path
    text = page()
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{path} is stale: run python -m protocols.reference\n")
        return 1
    return 0


# --- Prose ---------------------------------------------------------------------------------------------------------


def _introduction() -> Iterator[str]:
    engine, bridge = fields_of(EngineSettings), fields_of(BridgeSettings)
    zmq_port, engine_osc, bridge_osc = engine["port"].default, engine["osc_port"].default, bridge["osc_port"].default
    verbs = ", ".join(f"`/bridge/param/{name}`" for name in fields_of(SetDefaults))
    query, engine_query = bridge["oscquery_port"].default, engine["oscquery_port"].default
    live, states = ", ".join(f"`{name}`" for name in LIVE), "`, `".join(STATES)
    yield f"""# Protocol reference

Version {PROTOCOL_VERSION} of the protocol. This page is generated from the message classes in `protocols/` by
`python -m protocols.reference`; edit those, not this.

Two processes listen, on this machine only unless the settings say otherwise:

| Process | Transport | Default port | For |
|---|---|---|---|
| bridge | OSC over UDP and TCP | {bridge_osc} | DAWs, Max, Pure Data, SuperCollider, controllers: plays through the sound card |
| engine | OSC over UDP and TCP | {engine_osc} | the same hosts without a bridge: each request ends in an audio file |
| engine | ZeroMQ | {zmq_port} | programs that want the audio itself as it is made; the bridge is one |
| bridge | OSCQuery | {query} | controllers that look for all addresses: HTTP, WebSocket |
| engine | OSCQuery | {engine_query} | the same |

If you make music, you want the bridge. The request that opens a stream returns its number in an event; the number is how the
stream is changed, levelled and cancelled while it plays.

## OSC

### Requests

```
/bridge/<verb> [id] positional… [name value]…
```

- The **id** is a whole number of your own. It comes back in the answer, so that you can tell which request is answered. You may
  leave it out; the answer then carries 0. Keep ids below 16777216 if your host sends all numbers as floats.
- The **positional** arguments come next and are always needed. All other parameters are optional and follow as name and value, in
  any order. A parameter that is left out has its default. Where an address has `values…`, they are numbers, as many as you
  like, before the first name.
- Numbers may be sent as int or float: a float is rounded where a whole number is meant. Yes and no are `1` and `0`.
- Address patterns (`*`, `?`) are not expanded. `/status`, `/version`, `/ping` and `/quit` also work without the process's name
  before them.

### Answers

Each request is answered exactly once, by one of

```
/done <address> <id> value…
/fail <address> <id> <code> <text>
```

with the values in the order that the tables below list. The code is one of the [error codes](#error-codes); the text names the
parameter, what was given and what is allowed. A request that opens a stream is answered when the stream is over. Three answers
look otherwise:

- A **list** comes as one message `<address>.item <id> <index> <count> name value …` for each row, and then
  `/done <address> <id> <count>`.
- `/status` is answered by `/status.reply name value …`
- `/version` is answered by `/version.reply name value …`, both without an id.

Answers go to the port that the request came from. Max and Pure Data send from a port that they do not listen on: add
`{form.REPLY_PORT} <port>` to a request, as one more name and value, and its answer goes to that UDP port of the same machine.
Several clients at once each get their own answers.

### Events

`/notify 1 [port]` registers you, or that UDP port of your machine, for everything that the process tells by itself; the answer is
`/done /notify <listener>`. From then on requests from the same port are answered there as well. `/notify 0 [port]` ends it. The
client whose request opened a stream hears that stream's events in any case. Up to {MAX_LISTENERS} listeners are kept.

### Settings as addresses

{verbs}
hold what requests to the bridge use where they leave that parameter out. Sent without a value, such an address answers with its
value; with a value, it is set. Every listener is sent all of them when it registers, and each change from then on.

What plays is turned at `/bridge/live/<name>`, all streams at once, and `/bridge/stream/<number>/<name>`, one of them, where the
name is one of {live}.
Without a value such an address answers with it: for all streams with that of the one opened last, or with what a new one would
have; the `level` of all is that of the sound card. Listeners are sent each change, whoever made it; who made it only if another
value came of it. `{states}`
of a stream, and each value of the status (`/bridge/status/<name>`, `/engine/status/<name>`), can be asked for in the same way.
Controllers find all of these by OSCQuery: [controllers.md](controllers.md).

### What is sent and read

- Only the types `i f s b` are sent; `T F d h` are read too, and `N` or `I` alone as no argument. Texts are UTF-8.
- A packet holds at most {MAX_PACKET} bytes.
- A bundle holds at most {MAX_MESSAGES} messages, nested at most {MAX_DEPTH} deep. A request whose time tag lies
  ahead, by at most {HORIZON_S:g} s, is checked at once, and carried out and answered at its time; at most {MAX_WAITING} wait. A
  time tag that is over, or further off, means "now".
- Over TCP, packets are framed by a length before each (OSC 1.0) or by SLIP (OSC 1.1): your first byte tells which, and you are
  answered in the same way. There is room for {MAX_CONNECTIONS} connections; one whose framing breaks, or that does not read
  its answers, is closed.
"""


def _examples() -> Iterator[str]:
    yield "### Examples"
    yield ""
    yield "`→` is what you send to the bridge, `←` what comes back."
    for example in examples():
        if example.purpose:
            yield from ("", example.purpose)
        yield from ("", "```")
        yield f"→ {written(example.sent)}"
        yield from (f"← {written(message)}" for message in example.received)
        yield "```"
    port = fields_of(BridgeSettings)["osc_port"].default
    yield f"""
The first of them, as three hosts write it:

| Host | Message |
|---|---|
| Max | message box `/bridge/play 1 "slow dub techno, tape hiss" duration 8.` into `udpsend 127.0.0.1 {port}` |
| Pure Data | message box `play slow dub techno duration 8` into [`[dawbridge]`](../host_examples/puredata/README.md) |
| SuperCollider | `NetAddr("127.0.0.1", {port}).sendMsg("/bridge/play", 1, "slow dub techno, tape hiss", "duration", 8.0)` |
"""


def _over_zeromq() -> Iterator[str]:
    port = fields_of(EngineSettings)["port"].default
    yield f"""## ZeroMQ

The engine binds a ROUTER; a client connects a DEALER. Bodies are MessagePack.

| Direction | Frames |
|---|---|
| to the engine | `Q`, `[id, {{"type": request, name: value, …}}]`, and a third frame when samples, codes or bytes of a file \
are sent along |
| from the engine | `R`, `[id, {{"type": reply, name: value, …}}]`: the one answer to a request, or `{{"type": "fail", …}}` |
| from the engine | `E`, `{{"type": event, name: value, …}}` |
| from the engine | `A`, header, samples: a block of audio, raw float32, interleaved, little-endian |

**Handshake.** The first request of a connection is `hello` with the version of the protocol; anything before it is refused.

```python
import msgspec, zmq

socket = zmq.Context().socket(zmq.DEALER)
socket.connect("tcp://127.0.0.1:{port}")
socket.send_multipart([b"Q", msgspec.msgpack.encode([1, {{"type": "hello", "protocol": {PROTOCOL_VERSION}, "client": "me"}}])])
kind, body = socket.recv_multipart()  # b"R", [1, {{"type": "welcome", …}}]
```

**Flow.** Who opens a stream owns it. The engine makes and sends at most `lead` seconds more than the owner has acknowledged, so
the owner sends `acknowledge` with the position up to which it took the audio, and a stream whose owner says nothing waits.
Anybody else may `listen`: a listener that falls behind misses blocks, is told which by `missed`, and holds nobody up.

**Signs of life.** Send `ping` about once a second when there is nothing else to say. A client that is silent for long is taken
for dead, and the streams that it owns end.

**Limits.** A request has at most {MAX_MESSAGE} bytes, payload included. Parameters are checked strictly: whole numbers for
`int`, `true` and `false` for `bool`, no names that the request does not have.

The header of a block is an array of these values, in this order:
"""
    yield from _table(("Value", "Type", "Unit", "Meaning"), _described(AudioHeader))
    yield ""


# --- Tables --------------------------------------------------------------------------------------------------------


def written(message: OscMessage) -> str:
    """A message as it is written in a host: the address, then the arguments; texts with spaces in quotes."""
    return " ".join((message.address, *map(_argument, message.arguments)))


def _argument(value: object) -> str:
    if isinstance(value, str) and not re.fullmatch(r"[\w./:-]+", value):
        return f'"{value}"'
    return str(int(value)) if isinstance(value, bool) else str(value)


def _requests(process: str, requests: Sequence[type[Request]]) -> Iterator[str]:
    addresses = {address.request: address for address in form.address_space(requests).values()}
    yield f"## Requests to the {process}"
    yield ""
    for request in requests:
        tag = form.tag_of(request)
        address = addresses.get(request)
        yield f"### `{address.path}`" if address else f"### `{tag}` (ZeroMQ only)"
        yield ""
        yield meaning_of(request)
        yield ""
        if address:
            yield "```"
            yield " ".join((address.path, "[id]", *_positional(address), *_optional(address)))
            yield "```"
            yield ""
        yield from _parameters(request, address)
        if address:
            yield f"Answer: {_osc_answer(request, address)}"
        if process == "engine":
            yield f"{'' if address is None else '<br>'}ZeroMQ: type `{tag}`, answered by {_link(request.reply)}."
        yield ""


def _positional(address: form.Address) -> Iterator[str]:
    yield from (spec.name for spec in address.positional)
    if address.rest is not None:
        yield f"{address.rest.name}…"


def _optional(address: form.Address) -> tuple[str, ...]:
    return ("[name value]…",) if address.named else ()


def _parameters(request: type[Request], address: form.Address | None) -> Iterator[str]:
    specs = {name: spec for name, spec in fields_of(request).items() if spec.osc or request.root == "engine"}
    first = [specs[name] for name in request.osc_positional] if address else []
    ordered = [*first, *(spec for spec in specs.values() if spec not in first)]
    if ordered:
        rows = [
            (
                f"`{spec.name}`",
                _word(spec),
                "needed" if spec.required or spec in first else _default(spec),
                _range(spec),
                spec.unit,
                spec.meaning if spec.osc or address is None else f"{spec.meaning} ZeroMQ only.",
            )
            for spec in ordered
        ]
        yield from _table(("Parameter", "Type", "Default", "Range", "Unit", "Meaning"), rows)
        yield ""


def _osc_answer(request: type[Request], address: form.Address) -> str:
    reply = request.osc_reply or request.reply
    row = row_of(reply)
    if row is not None:
        return f"`{address.path}.item id index count name value …` for each {_link(row)}, then `/done {address.path} id count`"
    if issubclass(request, Status | Version):
        return f"`{address.path}.reply name value …` with the values of {_link(reply)}"
    values = [f"`{name}`" for name, spec in fields_of(reply).items() if spec.osc]
    return f"`/done {address.path} id`" + (f" and then {' '.join(values)} of {_link(reply)}" if values else "")


def _events(process: str, events: Sequence[type[Event]]) -> Iterator[str]:
    yield f"## Events of the {process}"
    yield ""
    for event in events:
        tag = form.tag_of(event)
        over_osc = event not in form.WITHOUT_OSC
        rows = _described(event)
        yield f"### `/{process}/{tag}`" if over_osc else f"### `{tag}` (ZeroMQ only)"
        yield ""
        yield meaning_of(event)
        yield ""
        if over_osc:
            yield "```"
            yield " ".join((f"/{process}/{tag}", *(name for name, spec in fields_of(event).items() if spec.osc)))
            yield "```"
            yield ""
        yield from _table(("Value", "Type", "Unit", "Meaning"), rows)
        yield ""


def _replies(requests: Iterable[type[Request]]) -> Iterator[str]:
    found: dict[type[Reply], None] = {}
    for request in requests:
        for reply in (request.reply, request.osc_reply):
            if reply is not None:
                found[row_of(reply) or reply] = None
    found[Fail] = None
    yield "## What answers hold"
    yield ""
    for reply in found:
        yield f"### `{form.tag_of(reply)}`"
        yield ""
        yield meaning_of(reply)
        yield ""
        if reply.__struct_fields__:
            yield from _table(("Value", "Type", "Unit", "Meaning"), _described(reply))
            yield ""


def _error_codes() -> Iterator[str]:
    yield "## Error codes"
    yield ""
    yield from _table(("Code", "Meaning"), [(f"`{code}`", code.meaning) for code in ErrorCode])


def _described(message: type[msgspec.Struct]) -> list[tuple[str, ...]]:
    """Name, type, unit and meaning of each value that a message holds, in order."""
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    rows: list[tuple[str, ...]] = []
    for field in info.fields:
        kind, unit, meaning, osc = field.type, "", "", True
        while isinstance(kind, inspect.Metadata):
            extra: dict[str, Any] = kind.extra or {}
            unit, osc = extra.get("unit", unit), extra.get("osc", osc)
            meaning = (kind.extra_json_schema or {}).get("description", meaning)
            kind = kind.type
        without = "" if osc or message in form.WITHOUT_OSC else " ZeroMQ only."
        choices = f" One of {', '.join(map(str, kind.values))}." if isinstance(kind, inspect.LiteralType) else ""
        rows.append((f"`{field.name}`", _WORDS[type(kind)], unit, meaning + choices + without))
    return rows


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _word(spec: FieldSpec) -> str:
    return {"str": "string"}.get(spec.kind, spec.kind)


def _default(spec: FieldSpec) -> str:
    if spec.default is None:
        return "as it is"
    if isinstance(spec.default, bool):
        return "yes (1)" if spec.default else "no (0)"
    return f'`"{spec.default}"`' if isinstance(spec.default, str) else plain(spec.default)


def _range(spec: FieldSpec) -> str:
    if spec.choices:
        return ", ".join(f"`{choice}`" for choice in spec.choices)
    if spec.kind in ("str", "numbers"):
        counted = "characters" if spec.kind == "str" else "numbers"
        return f"up to {spec.max_length} {counted}" if spec.max_length else ""
    if spec.minimum is None or spec.maximum is None:
        return "0 or 1" if spec.kind == "bool" else ""
    return f"{plain(spec.minimum)} to {plain(spec.maximum)}"


def _link(reply: type[Reply]) -> str:
    row = row_of(reply)
    tag = form.tag_of(reply)
    return f"`{tag}`, whose `items` are each a {_link(row)}" if row is not None else f"[`{tag}`](#{tag})"


if __name__ == "__main__":
    sys.exit(main())
