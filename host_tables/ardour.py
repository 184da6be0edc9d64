"""The bridge's tables inside Ardour's script: Ardour loads single files, so a block of the script is written and nothing else."""

from __future__ import annotations

from pathlib import Path

from host_tables.lua import literal, quoted
from protocols.description import Description
from protocols.fields import FieldSpec

SCRIPT = "host_examples/ardour/daw_bridge.lua"
ASKED = ("continue", "play")
_BEGIN = "    -- schema begin (written by `python -m host_tables`)\n"
_END = "    -- schema end\n"
_ROOT = Path(__file__).resolve().parents[1]


def files(description: Description) -> dict[str, str]:
    """The script with the block between its markers written anew.

    Raises:
        ValueError: the script has lost its markers.
    """
    text = (_ROOT / SCRIPT).read_text("utf-8")
    head, begin, rest = text.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{SCRIPT} has no lines `{_BEGIN.strip()}` and `{_END.strip()}`")
    return {SCRIPT: f"{head}{begin}{_block(description)}{end}{tail}"}


def _block(description: Description) -> str:
    lines = ["    local schema = {", "      parameters = {"]
    for verb in ASKED:
        address = description.bridge.address(verb)
        lines.append(f"        [{quoted(address.path)}] = {{")
        lines += [f"          [{quoted(spec.name)}] = {_spec(spec)}," for spec in address.parameters]
        lines.append("        },")
    names = ", ".join(quoted(value.name) for value in description.bridge.address(ASKED[0]).answer)
    return "\n".join([*lines, "      },", f"      finished = {{ {names} }},", "    }", ""])


def _spec(spec: FieldSpec) -> str:
    parts: dict[str, object] = {"kind": spec.kind}
    for name in ("default", "minimum", "maximum"):
        value = getattr(spec, name)
        if value is not None and not (name == "default" and spec.required):
            parts[name] = value
    return f"{{ {', '.join(f'{name} = {literal(value)}' for name, value in parts.items())} }}"
