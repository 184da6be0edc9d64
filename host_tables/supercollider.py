"""SuperCollider's tables: the schema as literal arrays, a method for each request, and the help page that lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from protocols import PROTOCOL_VERSION
from protocols.description import AddressTable, Description, ProcessTable
from protocols.fields import FieldSpec

_QUARK = "host_examples/supercollider/DawBridge"
_HEADER = "// Written by `python -m host_tables` from the message classes: edit those, not this.\n"
_BY_HAND = frozenset({"play", "continue", "midi", "open", "update", "status", "version", "ping", "clock", "level"})
"""Verbs that ``DawBridge.sc`` has in its own form, or whose name means something else to every object of sclang."""
_LIVE = frozenset({"open", "rewind", "branch", "undo", "resume"})
"""Requests whose stream is played with rather than waited for."""
_RESERVED = {"action": "request", "args": "arguments", "arg": "argument", "var": "variable"}
"""Positional parameters that the methods' own arguments, or the language, have taken the names of."""
_PARTS = {
    "DawBridgeLoop": ("loop", "layer", "A loop layer of the bridge, by its number."),
    "DawBridgePad": ("trigger", "name", "A pad of the bridge, by its name."),
    "DawBridgeScene": ("scene", "name", "A scene of the bridge, by its name."),
    "DawBridgeSet": ("set", "name", "A set of the bridge, by its name."),
}
"""Classes for what is asked of one thing: the first part of their verbs, and the parameter that names the thing."""
_NOT_OF_A_PAD = frozenset({"trigger/input", "trigger/cc"})


def files(description: Description) -> dict[str, str]:
    """The generated files of the Quark, by their paths in the repository."""
    bridge = description.bridge
    return {
        f"{_QUARK}/Classes/DawBridgeSchema.sc": _schema(bridge, description.errors),
        f"{_QUARK}/Classes/DawBridgeRequests.sc": _requests(bridge),
        f"{_QUARK}/Classes/DawBridgeParts.sc": _parts(bridge),
        f"{_QUARK}/HelpSource/Reference/DawBridge-Requests.schelp": _help(bridge),
        **{
            f"{_QUARK}/HelpSource/Classes/{name}.schelp": _part_help(bridge, name, *about)
            for name, about in _PARTS.items()
        },
    }


def literal(value: object) -> str:
    """A value as sclang writes it inside a literal array: numbers, yes and no, text, nil, lists."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) + ".0" if value.is_integer() else repr(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(map(literal, value)) + "]"
    raise TypeError(f"sclang has no literal for {value!r}")


def method_name(verb: str) -> str:
    """``loop/record`` as sclang spells a method: ``loopRecord``."""
    first, *more = re.split(r"[/_]", verb)
    return first + "".join(part.capitalize() for part in more)


def _schema(bridge: ProcessTable, errors: Iterable[tuple[str, str]]) -> str:
    addresses = [(f"prAt{method_name('_' + table.verb)}", table) for table in bridge.addresses]
    return "".join(
        [
            _HEADER,
            "// Rows are read by DawBridgeTable and DawBridgeParameter.\n",
            "DawBridgeSchema : DawBridgeSchemaReader {\n",
            f"\t*port {{ ^{bridge.port} }}\n\n",
            f"\t*protocol {{ ^{PROTOCOL_VERSION} }}\n\n",
            _method("prAddresses", f"[\n\t\t\t{_lines(f'this.{name}' for name, _ in addresses)}\n\t\t]"),
            _method(
                "prEvents", _rows((event.path, event.meaning, *map(_row, event.values)) for event in bridge.events)
            ),
            _method("prSettings", _rows(map(_row, bridge.settings))),
            _method("prStatus", _rows(map(_row, bridge.status))),
            _method("errors", _rows(errors)),
            *(_method(name, f"#{literal(_address(table))}") for name, table in addresses),
            "}\n",
        ]
    )


def _method(name: str, body: str) -> str:
    return f"\t*{name} {{\n\t\t^{body}\n\t}}\n\n"


def _rows(rows: Iterable[object]) -> str:
    return f"#[\n\t\t\t{_lines(map(literal, rows))}\n\t\t]"


def _lines(texts: Iterable[str]) -> str:
    return ",\n\t\t\t".join(texts)


def _address(table: AddressTable) -> list[object]:
    return [
        table.path,
        table.meaning,
        [_row(spec) for spec in table.positional],
        None if table.rest is None else _row(table.rest),
        [_row(spec) for spec in table.named],
        table.opens_stream,
        table.listed,
        [_row(spec) for spec in table.answer],
    ]


def _row(spec: FieldSpec) -> list[object]:
    default = spec.default if isinstance(spec.default, bool | int | float | str) and not spec.required else None
    return [
        spec.name,
        spec.kind,
        default,
        spec.minimum,
        spec.maximum,
        list(spec.choices),
        spec.max_length,
        spec.unit,
        spec.meaning,
    ]


def _requests(bridge: ProcessTable) -> str:
    methods = [_request_method(table) for table in bridge.addresses if table.verb not in _BY_HAND]
    return _HEADER + "+ DawBridge {\n" + "\n".join(methods) + "}\n"


def _request_method(table: AddressTable) -> str:
    names = _arguments(table)
    kind = ("stream" if table.verb in _LIVE else "take") if table.opens_stream else "ask"
    server = "server, " if kind == "take" else ""
    header = ", ".join([*names, "args", *(["server"] if server else []), "action", "onError"])
    return (
        f"{_comment(table)}"
        f"\t{method_name(table.verb)} {{ |{header}|\n"
        f"\t\t^this.{kind}('{table.path}', {_given(table, names)}, args, {server}action, onError)\n"
        "\t}\n"
    )


def _parts(bridge: ProcessTable) -> str:
    return _HEADER + "\n".join(_part(bridge, name, *about) for name, about in _PARTS.items())


def _part(bridge: ProcessTable, name: str, room: str, key: str, meaning: str) -> str:
    methods = [_part_method(table) for table in part_addresses(bridge, room, key)]
    return f"\n// {meaning}\n{name} : DawBridgePart {{\n" + "\n".join(methods) + "}\n"


def part_addresses(bridge: ProcessTable, room: str, key: str) -> Iterator[AddressTable]:
    """The requests that are asked of one thing: those of ``room/…`` whose first parameter names it."""
    for table in bridge.addresses:
        first = table.positional[0].name if table.positional else ""
        if table.verb.startswith(f"{room}/") and first == key and table.verb not in _NOT_OF_A_PAD:
            yield table


def _part_method(table: AddressTable) -> str:
    names = _arguments(table)
    header = ", ".join([*names[1:], "args", "action", "onError"])
    return (
        f"{_comment(table)}"
        f"\t{method_name(table.verb.split('/', 1)[1])} {{ |{header}|\n"
        f"\t\t^bridge.ask('{table.path}', {_given(table, ['key', *names[1:]])}, args, action, onError)\n"
        "\t}\n"
    )


def _part_help(bridge: ProcessTable, name: str, room: str, key: str, meaning: str) -> str:
    methods = "\n".join(
        f"METHOD:: {method_name(table.verb.split('/', 1)[1])}\n{_plain(table.meaning)}\n\n"
        f"Its parameters: link::Reference/DawBridge-Requests#{table.path}::.\n"
        for table in part_addresses(bridge, room, key)
    )
    return (
        f"CLASS:: {name}\n"
        f"SUMMARY:: {meaning.rstrip('.')}\n"
        "CATEGORIES:: External Control>DawBridge\n"
        "RELATED:: Classes/DawBridge, Reference/DawBridge-Requests\n\n"
        "DESCRIPTION::\n"
        f"{meaning} Each method asks the bridge and returns a link::Classes/DawBridgeRequest::; what has no argument of its own "
        "is given by name in code::args::, an Array of pairs or an Event. This page is written from the bridge's schema.\n\n"
        "CLASSMETHODS::\n\nMETHOD:: new\n"
        f"ARGUMENT:: key\nIts {'number' if key == 'layer' else 'name'}.\n"
        "ARGUMENT:: bridge\nA link::Classes/DawBridge::; the default one where nil.\n\n"
        "INSTANCEMETHODS::\n\n"
        f"{methods}"
    )


def _arguments(table: AddressTable) -> list[str]:
    specs = [*table.positional, *([] if table.rest is None else [table.rest])]
    return [_RESERVED.get(spec.name, spec.name) for spec in specs]


def _given(table: AddressTable, names: list[str]) -> str:
    """The positional arguments as one array; numbers without end follow the others."""
    if table.rest is None:
        return "[" + ", ".join(names) + "]"
    return "[" + ", ".join(names[:-1]) + f"] ++ {names[-1]}"


def _comment(table: AddressTable) -> str:
    sentence = re.split(r"(?<=[.;:]) ", table.meaning)[0]
    return f"\t// {sentence.rstrip('.;:')}.\n"


def _help(bridge: ProcessTable) -> str:
    head = (
        "TITLE:: DawBridge requests\n"
        "SUMMARY:: Everything that can be asked of the bridge, with ranges and defaults\n"
        "CATEGORIES:: External Control>DawBridge\n"
        "RELATED:: Classes/DawBridge, Classes/DawBridgeLoop, Classes/DawBridgePad, Classes/DawBridgeSchema\n\n"
        "DESCRIPTION::\n"
        "Each request is a method of link::Classes/DawBridge::, or can be asked by its address with "
        "link::Classes/DawBridge#-ask::. Parameters without a default come first, in this order; all others are given by "
        "name in code::args::, an Array of pairs or an Event. This page is written from the bridge's schema.\n\n"
        "SECTION:: Requests\n\n"
    )
    requests = "\n".join(map(_help_of, bridge.addresses))
    events = "\n".join(
        f"SUBSECTION:: {event.path}\n{_plain(event.meaning)}\n\n{_answer_table(event.values)}"
        for event in bridge.events
    )
    return f"{head}{requests}\nSECTION:: Events\nWhat is told unasked: link::Classes/DawBridge#-on::.\n\n{events}"


def _help_of(table: AddressTable) -> str:
    names = " ".join(_arguments(table))
    rows = [*table.positional, *([] if table.rest is None else [table.rest]), *table.named]
    lines = [
        f"SUBSECTION:: {table.path}",
        _plain(table.meaning),
        "",
        f"code::{method_name(table.verb)}:: {names}".strip(),
        "",
    ]
    if rows:
        body = "\n".join(
            f"## {_cell(spec.name)} || {_default(spec)} || {_cell(spec.allowed)} || {_cell(spec.meaning)}"
            for spec in rows
        )
        lines += [f"TABLE::\n## name || default || allowed || meaning\n{body}\n::", ""]
    if table.answer:
        lines += ["Answers with:", "", _answer_table(table.answer)]
    return "\n".join(lines)


def _answer_table(specs: Iterable[FieldSpec]) -> str:
    return "TABLE::\n" + "\n".join(f"## {_cell(spec.name)} || {_cell(spec.meaning)}" for spec in specs) + "\n::\n"


def _default(spec: FieldSpec) -> str:
    if spec.required:
        return "needed"
    return "as it is" if spec.default is None else f"code::{_cell(literal(spec.default))}::"


def _cell(text: str) -> str:
    return _plain(text).replace("||", "\\||")


def _plain(text: str) -> str:
    """Text without what schelp takes for markup: code spans in its own form, no pairs of colons."""
    return re.sub(r"`([^`]*)`", r"\1", text).replace("::", ": :")
