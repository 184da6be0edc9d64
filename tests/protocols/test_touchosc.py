"""The TouchOSC layout as a file: what is in it agrees with the bridge. TouchOSC itself is not here."""

from __future__ import annotations

import zlib
from xml.etree import ElementTree

import pytest

from host_tables.touchosc import layout, packed
from protocols.bridge_messages import BRIDGE_REQUESTS
from protocols.live_parameters import LIVE
from protocols.osc import form


@pytest.fixture(scope="module")
def root() -> ElementTree.Element:
    return ElementTree.fromstring(zlib.decompress(packed(layout())))


def test_a_file_of_any_size_is_a_whole_zlib_stream() -> None:
    for size in (1, 65535, 65536, 200_000):
        text = "x" * size
        assert zlib.decompress(packed(text)).decode() == text


def test_every_number_has_a_fader_within_its_range(root: ElementTree.Element) -> None:
    faders = {}
    for node in root.iter("node"):
        if node.get("type") == "FADER":
            path = node.findtext("messages/osc/path/partial/value") or ""
            faders[path.removeprefix("/bridge/live/")] = node.find("messages/osc/arguments/partial")
    assert faders.keys() == {name for name, spec in LIVE.items() if spec.kind in ("int", "float")} - {"seed"}
    for name, argument in faders.items():
        assert argument is not None
        low, high = float(argument.findtext("scaleMin") or ""), float(argument.findtext("scaleMax") or "")
        assert low < high
        LIVE[name].check(low, cast=True)
        LIVE[name].check(high, cast=True)


def test_every_button_asks_for_something_that_the_bridge_knows(root: ElementTree.Element) -> None:
    addresses = form.address_space(BRIDGE_REQUESTS)
    found = {}
    for node in root.iter("node"):
        if node.get("type") == "BUTTON":
            path = node.findtext("messages/osc/path/partial/value") or ""
            found[path] = [partial.findtext("value") for partial in node.iter("partial")][1:]
    assert found.pop("/notify") == ["1", "9000"]
    for path, arguments in found.items():
        if path in addresses:
            form.parse(addresses[path], arguments)
        else:
            (value,) = arguments
            LIVE[path.removeprefix("/bridge/live/")].check(value)


def test_nothing_lies_on_anything_else_or_outside(root: ElementTree.Element) -> None:
    frames = []
    for node in root.findall("node/children/node"):
        frame = node.find("properties/property[@type='r']/value")
        assert frame is not None
        x, y, w, h = (float(frame.findtext(side) or "") for side in "xywh")
        assert x >= 0
        assert x + w <= 1024
        assert y >= 0
        assert y + h <= 768
        assert all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in frames)
        frames.append((x, y, w, h))
    numbers = [node.get("ID") for node in root.iter("node")]
    assert len(numbers) == len(set(numbers)) > 10
