"""Tables for Pure Data: what ``[dawbridge]`` looks words up in, a panel of number boxes, and the reference behind its help patch.

A Pd patch is text, one record a line, closed by a semicolon; objects are numbered in the order in which they stand there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from protocols.description import AddressTable, Description, ProcessTable
from protocols.fields import FieldSpec, plain

FOLDER = "host_examples/puredata"
_LINE = 18  # pixels between lines of text
_TOLD = ("status.reply", "version.reply", "param", "live", "stream")
_CHARACTERS = 100  # of a comment, before it is broken


class Patch:
    """A Pd patch, or a sub-patch, as it is written down object by object."""

    def __init__(self, width: int = 700, height: int = 500, name: str = "") -> None:
        self._head = f"#N canvas 40 40 {width} {height} {f'{name} 0' if name else '12'};"
        self._records: list[str] = []
        self._wires: list[str] = []
        self._count = 0

    def add(self, kind: str, x: int, y: int, text: str) -> int:
        """Add an object (``obj``), message (``msg``), comment (``text``) or box; its number, for `wire`."""
        return self._record(f"#X {kind} {x} {y} {text};")

    def comment(self, x: int, y: int, words: str, characters: int = _CHARACTERS) -> int:
        """Add a comment; the number of lines that it takes."""
        self.add("text", x, y, f"{escaped(words)}, f {characters}")
        return -(-len(words) // characters)

    def table(self, x: int, y: int, name: str, rows: Iterable[Sequence[object]]) -> None:
        """Add a text that is kept in the patch, one message for each row."""
        lines = "\n".join(f"{' '.join(str(value) for value in row)} \\;" for row in rows)
        self._record(f"#X obj {x} {y} text define -k {name};\n#A set {lines}\n;")

    def sub(self, x: int, y: int, inner: Patch, name: str) -> int:
        """Add a sub-patch."""
        return self._record(f"{inner.text().rstrip()}\n#X restore {x} {y} pd {name};")

    def wire(self, source: int, outlet: int, target: int, inlet: int) -> None:
        """Connect two objects."""
        self._wires.append(f"#X connect {source} {outlet} {target} {inlet};")

    def text(self) -> str:
        """The patch as it stands in a file."""
        return "\n".join([self._head, *self._records, *self._wires, ""])

    def _record(self, record: str) -> int:
        self._records.append(record)
        self._count += 1
        return self._count - 1


def escaped(words: str) -> str:
    """Words of a comment or a message, with what ends a message in Pd escaped."""
    return re.sub(r"\s*([,;])", r" \\\1", words).replace("$", "\\$").replace("{", "(").replace("}", ")")


def files(description: Description) -> dict[str, str]:
    """The generated patches by their paths."""
    bridge = description.bridge
    return {
        f"{FOLDER}/dawbridge-parameters.pd": _lookup(bridge),
        f"{FOLDER}/dawbridge-controls.pd": _controls(bridge),
        f"{FOLDER}/dawbridge-reference.pd": _reference(bridge),
    }


def _lookup(bridge: ProcessTable) -> str:
    """What ``[dawbridge]`` knows of the schema; ``$1`` is the ``$0`` of the object that asks."""
    patch = Patch(760, 300)
    patch.comment(20, 20, "Written by: python -m host_tables. What each address takes, for the words of a message.")
    patch.comment(20, 50, "address, short name, place of a file's path in the answer (-1: none), what comes first")
    addresses = [(a.path, a.verb, _path_place(a), *_first(a)) for a in bridge.addresses]
    patch.table(20, 70, "\\$1-addresses", addresses)
    patch.comment(20, 110, "address, name of a parameter, what follows it: a number, one of its choices, or words")
    patch.table(20, 130, "\\$1-names", [(a.path, s.name, _follows(a, s)) for a in bridge.addresses for s in a.named])
    patch.comment(20, 170, "address, name of a parameter, a choice")
    choices = [(a.path, spec.name, choice) for a in bridge.addresses for spec in a.named for choice in spec.choices]
    patch.table(20, 190, "\\$1-choices", choices)
    patch.comment(20, 230, "rows of lists, and values that are told: what is no event")
    rows = [f"{a.verb}.item" for a in bridge.addresses if a.listed]
    patch.table(20, 250, "\\$1-rows", [(row,) for row in [*rows, *_TOLD]])
    return patch.text()


def _path_place(address: AddressTable) -> int:
    names = [] if address.listed else [value.name for value in address.answer]
    return names.index("path") if "path" in names else -1


def _first(address: AddressTable) -> list[str]:
    """How each positional argument is read; the last text takes all words up to the first parameter."""
    kinds = []
    for spec in address.positional:
        last = spec is address.positional[-1]
        match spec.kind:
            case "str" if last and not spec.choices:
                kinds.append("prompt" if spec.name == "prompt" else "words")
            case "str":
                kinds.append("word")
            case _:
                kinds.append("stream" if spec.name == "stream" else "number")
    return kinds


def _follows(address: AddressTable, spec: FieldSpec) -> str:
    if spec.choices:
        return "choice"
    if spec.name == "prompt" and address.opens_stream:
        return "prompt"  # words, too; the ones kept for later where it is left out
    return "words" if spec.kind == "str" else "number"


def _controls(bridge: ProcessTable) -> str:
    """A panel of boxes: what can be changed in a stream while it plays, each box within its range."""
    specs = [spec for spec in bridge.address("update").named if spec.name != "morph"]
    patch = Patch(860, 90 + 34 * len(specs))
    patch.comment(
        20,
        10,
        "Written by: python -m host_tables. Connect the outlet to [dawbridge]: it changes the open stream.",
    )
    outlet = patch.add("obj", 20, 60 + 34 * len(specs), "outlet")
    for row, spec in enumerate(specs):
        y = 44 + 34 * row
        if spec.choices:
            for column, choice in enumerate(spec.choices):
                patch.wire(patch.add("msg", 20 + 100 * column, y, f"set {spec.name} {choice}"), 0, outlet, 0)
        elif spec.kind == "str":
            box = patch.add("symbolatom", 20, y, "20 0 0 0 - - -")
            patch.wire(box, 0, _message(patch, 190, y, spec, outlet), 0)
        else:
            low, high = (0 if bound is None else bound for bound in (spec.minimum, spec.maximum))
            box = patch.add("floatatom", 20, y, f"8 {plain(low)} {plain(min(high, 16777215))} 0 - - -")
            patch.wire(box, 0, _message(patch, 190, y, spec, outlet), 0)
        patch.comment(400, y, f"{spec.name}: {spec.allowed}", 60)
    return patch.text()


def _message(patch: Patch, x: int, y: int, spec: FieldSpec, outlet: int) -> int:
    message = patch.add("msg", x, y, f"set {spec.name} \\$1")
    patch.wire(message, 0, outlet, 0)
    return message


def _reference(bridge: ProcessTable) -> str:
    """All addresses, each a sub-patch that opens at a click."""
    patch = Patch(900, 700)
    patch.comment(20, 10, "Written by: python -m host_tables. Click a box: what the address takes and answers.")
    for index, address in enumerate(bridge.addresses):
        title = address.verb.replace("/", "_")
        patch.sub(20 + 220 * (index % 4), 50 + 26 * (index // 4), _page(address, title), title)
    y = 70 + 26 * -(-len(bridge.addresses) // 4)
    patch.sub(20, y, _events(bridge), "events")
    return patch.text()


def _page(address: AddressTable, title: str) -> Patch:
    patch = Patch(860, 500, title)
    y = 15 + _LINE * patch.comment(20, 10, f"{address.verb}: {address.meaning}") + 12
    for heading, specs in (("first", address.positional), ("then", address.named)):
        for spec in specs:
            mine = spec.name == "stream" and spec in address.positional
            words = "the stream opened last (leave it out)" if mine else _row(spec)
            y += _LINE * patch.comment(20, y, f"{heading} {spec.name}: {words}") + 4
    if address.rest is not None:
        y += _LINE * patch.comment(20, y, f"{address.rest.name}: {address.rest.allowed}. {address.rest.meaning}") + 4
    answers = " ".join(value.name for value in address.answer)
    if answers:
        place = "a row, as names and values:" if address.listed else "answer, after the id:"
        patch.comment(20, y + 8, f"{place} {answers}")
    return patch


def _row(spec: FieldSpec) -> str:
    default = "" if spec.required else f" Default: {_default(spec)}."
    return f"{spec.allowed}.{default} {spec.meaning}"


def _default(spec: FieldSpec) -> str:
    match spec.default:
        case None:
            return "as it is"
        case bool(value):
            return str(int(value))
        case int(value) | float(value):
            return plain(value)
        case value:
            return str(value) or "empty"


def _events(bridge: ProcessTable) -> Patch:
    patch = Patch(860, 700, "events")
    y = 10
    for event in bridge.events:
        values = " ".join(value.name for value in event.values)
        y += _LINE * patch.comment(20, y, f"{event.verb} {values}: {event.meaning}") + 6
    return patch
