"""The bridge's tables as a Lua module, for hosts that are scripted in Lua (Reaper, Ardour).

The module returns one table, which needs nothing but Lua 5.3: ``release``, ``protocol``, ``port``, ``settings``, ``addresses`` by
path (``positional``, ``named``, ``rest``, ``parameters`` by name, ``answer``, ``opens_stream``, ``listed``), ``events`` by path
(names of their values in order) and ``errors`` by code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocols import PROTOCOL_VERSION
from protocols.description import AddressTable, Description
from protocols.fields import FieldSpec
from protocols.release import VERSION

PATHS = ("host_examples/reaper/dawbridge/schema.lua",)
"""Where the module is written to: each host's folder has its own, because it is copied whole."""

_HEAD = """\
-- Written by `python -m host_tables` from the message classes; do not edit.
-- Addresses of the bridge with their parameters: kind, default, range, unit and meaning.
"""


def files(description: Description) -> dict[str, str]:
    """The module's text by each of its paths."""
    text = module(description)
    return dict.fromkeys(PATHS, text)


def module(description: Description) -> str:
    """The Lua module. Parameters that several addresses share are written once."""
    bridge = description.bridge
    specs: dict[str, int] = {}
    for spec in (*bridge.settings, *(each for address in bridge.addresses for each in _parameters(address))):
        specs.setdefault(_spec(spec), len(specs) + 1)
    lines = [_HEAD + "local p = {", *(f"  {text}," for text in specs), "}", "", "return {"]
    lines += [
        f"  release = {quoted(VERSION)},",
        f"  protocol = {PROTOCOL_VERSION},",
        f"  port = {bridge.port},",
        f"  settings = {_references(bridge.settings, specs)},",
        "  addresses = {",
    ]
    for address in bridge.addresses:
        lines += _address(address, specs)
    lines += ["  },", "  events = {"]
    lines += [f"    [{quoted(event.path)}] = {_names(event.values)}," for event in bridge.events]
    lines += ["  },", "  errors = {"]
    lines += [f"    [{quoted(code)}] = {quoted(meaning)}," for code, meaning in description.errors]
    return "\n".join([*lines, "  },", "}", ""])


def quoted(text: str) -> str:
    """A Lua string literal."""
    replaced = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{replaced}"'


def literal(value: object) -> str:
    """A number, truth value or text in Lua; a float keeps its point, so that Lua keeps it a float."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return quoted(str(value))


def _parameters(address: AddressTable) -> Iterable[FieldSpec]:
    return (*address.parameters, *((address.rest,) if address.rest else ()))


def _spec(spec: FieldSpec) -> str:
    number = float if spec.kind == "float" else int
    parts: dict[str, object] = {"name": spec.name, "kind": spec.kind}
    if spec.required:
        parts["required"] = True
    elif spec.default is not None:
        parts["default"] = number(spec.default) if spec.kind in ("int", "float") else spec.default
    for bound in ("minimum", "maximum"):
        value = getattr(spec, bound)
        if value is not None:
            parts[bound] = number(value)
    if spec.max_length is not None:
        parts["max_length"] = spec.max_length
    written = [f"{name} = {literal(value)}" for name, value in parts.items()]
    if spec.choices:
        written.append(f"choices = {{ {', '.join(quoted(choice) for choice in spec.choices)} }}")
    if spec.unit:
        written.append(f"unit = {quoted(spec.unit)}")
    return f"{{ {', '.join(written)}, meaning = {quoted(spec.meaning)} }}"


def _references(specs: Iterable[FieldSpec], known: Mapping[str, int]) -> str:
    return _table(f"[{quoted(spec.name)}] = p[{known[_spec(spec)]}]" for spec in specs)


def _names(specs: Iterable[FieldSpec]) -> str:
    return _table(quoted(spec.name) for spec in specs)


def _table(entries: Iterable[str]) -> str:
    return f"{{ {', '.join(entries)} }}".replace("{  }", "{}")


def _address(address: AddressTable, known: Mapping[str, int]) -> list[str]:
    lines = [
        f"    [{quoted(address.path)}] = {{",
        f"      meaning = {quoted(address.meaning)},",
        f"      positional = {_names(address.positional)},",
        f"      named = {_names(address.named)},",
        f"      parameters = {_references(_parameters(address), known)},",
        f"      answer = {_names(address.answer)},",
    ]
    if address.rest is not None:
        lines.append(f"      rest = {quoted(address.rest.name)},")
    if address.opens_stream:
        lines.append("      opens_stream = true,")
    if address.listed:
        lines.append("      listed = true,")
    return [*lines, "    },"]
