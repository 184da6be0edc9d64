"""The bridge's tables as JSON, for the script of the Max patch (``host_examples/ableton_max/client/schema.js`` reads them)."""

from __future__ import annotations

import json
from typing import Any

from host_tables.max_panel import SLOTS
from protocols import PROTOCOL_VERSION
from protocols.description import AddressTable, Description
from protocols.fields import FieldSpec
from protocols.release import VERSION

PATH = "host_examples/ableton_max/schema.json"


def text(description: Description) -> str:
    """The file's content."""
    bridge = description.bridge
    tables = {
        "about": "Written by `python -m host_tables` from the message classes; do not edit.",
        "release": VERSION,
        "protocol": PROTOCOL_VERSION,
        "port": bridge.port,
        "device": {"slots": SLOTS},
        "addresses": {address.path: _address(address) for address in bridge.addresses},
        "events": {event.path: [value.name for value in event.values] for event in bridge.events},
    }
    return json.dumps(tables, indent=1, ensure_ascii=False) + "\n"


def _address(address: AddressTable) -> dict[str, Any]:
    rest = (address.rest,) if address.rest is not None else ()
    return {
        "meaning": address.meaning,
        "positional": [spec.name for spec in address.positional],
        "named": [spec.name for spec in address.named],
        "rest": address.rest.name if address.rest is not None else None,
        "opens_stream": address.opens_stream,
        "listed": address.listed,
        "answer": [spec.name for spec in address.answer],
        "parameters": {spec.name: _parameter(spec) for spec in (*address.parameters, *rest)},
    }


def _parameter(spec: FieldSpec) -> dict[str, Any]:
    return {
        "kind": spec.kind,
        "required": spec.required,
        "default": spec.default,
        "minimum": spec.minimum,
        "maximum": spec.maximum,
        "max_length": spec.max_length,
        "choices": list(spec.choices),
        "from_number": spec.from_number,
        "unit": spec.unit,
        "meaning": spec.meaning,
    }
