"""What real hosts have sent, byte for byte, is read by the servers as it was meant."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from protocols.osc.codec import decode
from tests.support.clients import OscPeer
from tests.support.osc_tap import RECORDINGS, shapes

RECORDED = [
    pytest.param(entry, id=f"{path.stem}:{entry['address']},{entry['tags']}")
    for path in sorted(Path(RECORDINGS).glob("*.json"))
    for entry in json.loads(path.read_text("utf-8"))["messages"]
]
KINDS = {"i": int, "f": (int, float), "s": str, "b": bytes, "T": bool, "F": bool, "d": float, "h": int}
UNREAD = {"malformed", "bad_type", "unknown_address", "unknown_parameter", "missing", "internal"}


def of_shape(entry: dict[str, Any]) -> Any:
    """The recorded message among those of its packet."""
    packet = bytes.fromhex(entry["packet"])
    for message in decode(packet):
        if message.address == entry["address"] and len(message.arguments) == len(entry["tags"]):
            return message
    raise AssertionError(f"not read: {packet!r}")


@pytest.mark.parametrize("entry", RECORDED)
def test_it_is_read_with_the_types_that_were_sent(entry: dict[str, Any]) -> None:
    assert (entry["address"], entry["tags"]) in shapes([bytes.fromhex(entry["packet"])])
    for tag, value in zip(entry["tags"], of_shape(entry).arguments, strict=True):
        assert isinstance(value, KINDS[tag])
        if tag == "f":
            assert struct.pack(">f", value) in bytes.fromhex(entry["packet"])


@pytest.mark.parametrize("entry", RECORDED)
def test_the_bridge_understands_it(host: OscPeer, entry: dict[str, Any]) -> None:
    """It is carried out, or refused for what it names (a file that is gone, a stream that is over), never for how it is written."""
    message = of_shape(entry)
    if message.address in ("/bridge/quit", "/quit") or not message.address.startswith(
        ("/bridge/", "/status", "/version", "/notify")
    ):
        pytest.skip("it stops the bridge, or is a host's own")
    host.heard.clear()
    host.send_raw(bytes.fromhex(entry["packet"]))
    host.send("/bridge/stop", 16_000_000)
    host.wait("/done", "/bridge/stop", 16_000_000)
    failed = [given[2] for address, given in host.heard if address == "/fail"]
    assert not UNREAD & set(failed), host.heard
