"""Parameters of playing streams that have addresses of their own: ``/bridge/live/<name>``, ``/bridge/stream/<number>/<name>``."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.bridge_messages import BridgeUpdate, SetLevel
from protocols.fields import FieldSpec, fields_of
from protocols.messages import StreamInfo


def _live() -> dict[str, FieldSpec]:
    specs = {name: spec for name, spec in fields_of(BridgeUpdate).items() if spec.osc and name != "stream"}
    return specs | {"level": fields_of(SetLevel)["level"]}


LIVE: Mapping[str, FieldSpec] = _live()
"""Those that can be set while a stream plays, by name: everything that a change may name, and the level."""
STATES: Mapping[str, FieldSpec] = {
    name: fields_of(StreamInfo)[name] for name in ("kind", "state", "seconds", "total_seconds")
}
"""What of a stream can only be read, by name."""
