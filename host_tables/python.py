"""The bridge's tables as a Python module that needs nothing else, for scripts that are copied out of the repository."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.description import AddressTable, Description
from protocols.fields import FieldSpec

PATH = "host_examples/python/dawbridge_parameters.py"

_HEAD = '''"""The addresses of the bridge with their parameters. Written by ``python -m host_tables``; do not edit."""

# fmt: off
# ruff: noqa: E501
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One parameter. A bound that there is not is None, as is a default that leaves things as they are."""

    kind: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    unit: str
    meaning: str

    def check(self, name: str, value: Any) -> Any:
        """The value in the parameter's type; a ValueError names it and its range when it is out of that."""
        wanted = {"int": int, "float": (int, float), "str": str, "bool": (bool, int)}.get(self.kind, list)
        inside = isinstance(value, wanted) and (not self.choices or value in self.choices)
        if self.kind in ("int", "float") and inside:
            inside = (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)
        if not inside:
            allowed = ", ".join(self.choices) or (self.kind if self.minimum is None else f"{self.minimum:g} to {self.maximum:g}")
            raise ValueError(f"{name} = {value!r} (allowed: {allowed})")
        return float(value) if self.kind == "float" else value


class Address(NamedTuple):
    """One address: what comes first in order, what may follow by name, what ``/done`` answers after address and id."""

    positional: tuple[str, ...]
    named: tuple[str, ...]
    answer: tuple[str, ...]
    parameters: dict[str, Parameter]


'''


def files(description: Description) -> dict[str, str]:
    """The module's text by its path."""
    return {PATH: module(description)}


def module(description: Description) -> str:
    """The module. Parameters that several addresses share are written once."""
    bridge = description.bridge
    shared: dict[str, int] = {}
    for address in bridge.addresses:
        for spec in _parameters(address):
            shared.setdefault(_spec(spec), len(shared))
    lines = [f"PORT = {bridge.port}", "_P = (", *(f"    Parameter({text})," for text in shared), ")", "ADDRESSES = {"]
    for address in bridge.addresses:
        table = ", ".join(f'"{spec.name}": _P[{shared[_spec(spec)]}]' for spec in _parameters(address))
        names = ", ".join(
            _names(spec.name for spec in specs) for specs in (address.positional, address.named, address.answer)
        )
        lines.append(f'    "{address.path}": Address({names}, {{{table}}}),')
    lines += ["}", "EVENTS = {"]
    lines += [f'    "{event.path}": {_names(value.name for value in event.values)},' for event in bridge.events]
    return _HEAD + "\n".join([*lines, "}", ""])


def _parameters(address: AddressTable) -> tuple[FieldSpec, ...]:
    return address.parameters + ((address.rest,) if address.rest is not None else ())


def _spec(spec: FieldSpec) -> str:
    values = (spec.kind, spec.default, spec.minimum, spec.maximum, spec.choices, spec.unit, spec.meaning)
    return ", ".join(repr(value) for value in values)


def _names(names: Iterable[str]) -> str:
    return repr(tuple(names))
