"""What OSCQuery tells about one OSC address, made from the schema's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protocols.fields import FieldSpec, plain
from protocols.osc.codec import Argument
from protocols.osc.form import Address

READ, WRITE = 1, 2
ATTRIBUTES = (
    "FULL_PATH",
    "CONTENTS",
    "TYPE",
    "ACCESS",
    "VALUE",
    "RANGE",
    "DESCRIPTION",
    "TAGS",
    "UNIT",
    "CRITICAL",
    "CLIPMODE",
    "OVERLOADS",
)
"""Every attribute that can be asked for beside ``HOST_INFO``."""
MAX_OVERLOADS = 8
"""How many numbers in a row are told of, where any number may follow."""

_TYPE_TAGS = {"int": "i", "bool": "i", "float": "f", "str": "s", "numbers": "f", "list": "s"}
_UNITS = {"s": "time.second", "ms": "time.ms", "Hz": "time.hz", "beats/min": "time.bpm", "dB": "gain.db"}
"""The proposal's names of units, where it has one; they stand for floats."""
_SIGNS_OF_LIFE = ("ping", "status", "version")


@dataclass(frozen=True)
class Node:
    """One address. Never changes; any thread.

    Attributes:
        path: its OSC address.
        description: for people.
        access: `READ`, `WRITE`, both, or 0 for what only holds others.
        types: OSC type tags; ``N`` for a message without arguments, empty where there is nothing to send or to read.
        specs: the parameters behind these types, in order.
        tags: for search.
        critical: whether a message to it ought to come by a transport that loses none.
        rest: parameter of which any number may follow.
    """

    path: str
    description: str = ""
    access: int = 0
    types: str = ""
    specs: tuple[FieldSpec, ...] = ()
    tags: tuple[str, ...] = ()
    critical: bool = False
    rest: FieldSpec | None = None

    def attributes(self, value: Argument | None) -> dict[str, Any]:
        """Everything but its contents, as JSON wants it.

        Args:
            value: what it holds now; None where it cannot be read.
        """
        found: dict[str, Any] = {"FULL_PATH": self.path, "ACCESS": self.access}
        if self.description:
            found["DESCRIPTION"] = self.description
        if self.tags:
            found["TAGS"] = list(self.tags)
        if self.critical:
            found["CRITICAL"] = True
        found |= _typed(self.types, self.specs)
        if value is not None and self.access & READ:
            found["VALUE"] = [int(value) if isinstance(value, bool) else value]
        if self.rest is not None:
            counts = range(2, min(self.rest.max_length or MAX_OVERLOADS, MAX_OVERLOADS) + 1)
            others = [(self.types + "f" * (count - 1), (*self.specs, *[self.rest] * (count - 1))) for count in counts]
            found["OVERLOADS"] = [_typed(types, specs) for types, specs in others]
        return found


def parameter(path: str, spec: FieldSpec, access: int, *tags: str) -> Node:
    """A node that holds one value."""
    return Node(path, _meaning(spec), access, _TYPE_TAGS[spec.kind], (spec,), tags)


def request(address: Address) -> Node:
    """A node that is asked for something: it takes the positional arguments, and may be given all others by name."""
    positional = address.positional + ((address.rest,) if address.rest is not None else ())
    types = "".join(_TYPE_TAGS[spec.kind] for spec in positional) or "N"
    # The first paragraph of the docstring; the rest of it is on the reference page.
    meaning = " ".join((address.request.__doc__ or "").split("\n\n")[0].split())
    description = f"{meaning}{_named(address.named)}"
    critical = not address.path.endswith(_SIGNS_OF_LIFE)
    return Node(address.path, description, WRITE, types, positional, ("request",), critical, address.rest)


def container(path: str, description: str = "") -> Node:
    """A node that only holds others."""
    return Node(path, description)


def _typed(types: str, specs: Sequence[FieldSpec]) -> dict[str, Any]:
    """What is said of each of the values. Ranges stand only where one is known: some clients take any for a menu."""
    found: dict[str, Any] = {}
    if types:
        found["TYPE"] = types
    ranges = [_range(spec) for spec in specs]
    if any(ranges):
        found["RANGE"] = ranges
    if any(spec.minimum is not None or spec.maximum is not None for spec in specs):
        found["CLIPMODE"] = ["none"] * len(specs)  # what is out of range is refused
    units = [_unit(spec) for spec in specs]
    if any(units):
        found["UNIT"] = units
    return found


def _range(spec: FieldSpec) -> dict[str, Any]:
    if spec.choices:
        return {"VALS": list(spec.choices)}
    if spec.kind == "bool":
        return {"MIN": 0, "MAX": 1}
    bounds = {"MIN": spec.minimum, "MAX": spec.maximum}
    number = int if spec.kind == "int" else float
    return {name: number(bound) for name, bound in bounds.items() if bound is not None}


def _unit(spec: FieldSpec) -> str:
    return _UNITS.get(spec.unit, spec.unit) if spec.kind == "float" else spec.unit


def _meaning(spec: FieldSpec) -> str:
    return spec.meaning.replace("`", "")


def _named(specs: Sequence[FieldSpec]) -> str:
    """The parameters that may follow as name and value, each with what it may be."""
    if not specs:
        return ""
    told = [f"{spec.name} ({spec.allowed}{_default(spec)})" for spec in specs]
    return f" Then, as name and value in any order: {', '.join(told)}."


def _default(spec: FieldSpec) -> str:
    if spec.default is None or spec.required:
        return ""
    default = plain(spec.default) if isinstance(spec.default, int | float) else spec.default
    return f", else {default}" if default != "" else ""
