"""The TouchOSC layout: a fader for every live parameter that is a number, a button for every choice, in the schema's ranges.

TouchOSC knows no OSCQuery, so its layout is written here. A ``.tosc`` file is a zlib stream of one XML document. It is stored
without compression: that way the same layout is the same file with every release of zlib.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator

from protocols.description import Description
from protocols.fields import FieldSpec, plain
from protocols.live_parameters import LIVE

PATH = "host_examples/touchosc/dawbridge.tosc"
_WIDTH, _HEIGHT, _GAP, _LABEL = 1024, 768, 12, 28
_IDS = uuid.UUID("9d0f4a57-2f0a-4b27-8d5c-6a0f5e3a7c11")
_STORED_BLOCK = 65535
_RECEIVE_PORT = 9000
_USED = {"bpm": (60.0, 180.0), "top_k": (0.0, 500.0), "morph": (0.0, 32.0), "level": (-48.0, 6.0)}
"""Where the schema's range is wider than a finger can hit: the part of it that most music needs."""
_Button = tuple[str, str, tuple[tuple[str, str], ...]]
_BUTTONS: tuple[_Button, ...] = (
    ("listen", "/notify", (("INTEGER", "1"), ("INTEGER", str(_RECEIVE_PORT)))),
    ("clock start", "/bridge/clock/start", ()),
    ("clock stop", "/bridge/clock/stop", ()),
    ("stop all", "/bridge/stop", ()),
)


def files(description: Description) -> dict[str, str | bytes]:
    """The layout."""
    return {PATH: packed(layout())}


def layout() -> str:
    """The XML document."""
    faders = [(name, spec) for name, spec in LIVE.items() if spec.kind in ("int", "float") and name != "seed"]
    choices = [(name, choice) for name, spec in LIVE.items() for choice in spec.choices]
    width = (_WIDTH - _GAP) // len(faders) - _GAP
    tall = _HEIGHT - 160
    nodes: list[str] = []
    for index, (name, spec) in enumerate(faders):
        x = _GAP + index * (width + _GAP)
        low, high = _range(name, spec)
        caption = f"{name} {plain(low)}..{plain(high)}"
        nodes.append(_label(caption, (x, _GAP, width, _LABEL)))
        nodes.append(_fader(name, f"/bridge/live/{name}", (x, _GAP + _LABEL, width, tall), low, high, spec))
    row: list[_Button] = [(choice, f"/bridge/live/{name}", (("STRING", choice),)) for name, choice in choices]
    row += _BUTTONS
    width = (_WIDTH - _GAP) // len(row) - _GAP
    for index, (caption, address, arguments) in enumerate(row):
        frame = (_GAP + index * (width + _GAP), _HEIGHT - 90, width, 70)
        nodes.append(_button(caption, address, frame, arguments))
        nodes.append(_label(caption, (frame[0], frame[1] - _LABEL, width, _LABEL)))
    root = _node("GROUP", "dawbridge", _frame((0, 0, _WIDTH, _HEIGHT)), "", "", "".join(nodes), includes="<includes/>")
    return f"<?xml version='1.0' encoding='UTF-8'?><lexml version='6'>{root}</lexml>"


def packed(document: str) -> bytes:
    """The document as a zlib stream of stored blocks."""
    data = document.encode()
    blocks = [data[start : start + _STORED_BLOCK] for start in range(0, len(data), _STORED_BLOCK)]
    stream = b"\x78\x01"
    for index, block in enumerate(blocks):
        last, size = index == len(blocks) - 1, len(block)
        stream += bytes([last]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + block
    return stream + zlib.adler32(data).to_bytes(4, "big")


def _range(name: str, spec: FieldSpec) -> tuple[float, float]:
    low, high = float(spec.minimum or 0), float(spec.maximum or 1)
    used = _USED.get(name, (low, high))
    return max(low, used[0]), min(high, used[1])


def _fader(name: str, address: str, frame: tuple[int, ...], low: float, high: float, spec: FieldSpec) -> str:
    conversion = "INTEGER" if spec.kind == "int" else "FLOAT"
    argument = _partial("VALUE", conversion, "x", low, high)
    return _node("FADER", name, _frame(frame) + _bar(), _value("x", "0"), _osc(address, "ANY", argument, receive=True))


def _button(caption: str, address: str, frame: tuple[int, ...], arguments: tuple[tuple[str, str], ...]) -> str:
    sent = "".join(_partial("CONSTANT", conversion, value) for conversion, value in arguments)
    momentary = _property("i", "buttonType", "0")
    return _node("BUTTON", caption, momentary + _frame(frame), _value("x", "0"), _osc(address, "RISE", sent))


def _label(text: str, frame: tuple[int, ...]) -> str:
    size = _property("i", "textSize", "14")
    return _node("LABEL", f"{text} label", _frame(frame) + size, _value("text", text, locked=1), "")


def _node(
    kind: str, name: str, properties: str, values: str, messages: str, children: str = "", includes: str = ""
) -> str:
    number = uuid.uuid5(_IDS, f"{kind} {name}")
    parts = [("properties", properties + _property("s", "name", _text(name))), ("values", values)]
    parts += [("messages", messages), ("children", children)]
    inner = "".join(f"<{tag}>{content}</{tag}>" for tag, content in parts if content)
    return f"<node ID='{number}' type='{kind}'>{includes}{inner}</node>"


def _osc(address: str, condition: str, arguments: str, receive: bool = False) -> str:
    trigger = f"<trigger><var>{_text('x')}</var><condition>{condition}</condition></trigger>"
    return (
        f"<osc><enabled>1</enabled><send>1</send><receive>{int(receive)}</receive><feedback>0</feedback>"
        f"<noDuplicates>0</noDuplicates><connections>0000000001</connections><triggers>{trigger}</triggers>"
        f"<path>{_partial('CONSTANT', 'STRING', address)}</path>"
        + (f"<arguments>{arguments}</arguments>" if arguments else "")
        + "</osc>"
    )


def _partial(kind: str, conversion: str, value: str, low: float = 0, high: float = 1) -> str:
    return (
        f"<partial><type>{kind}</type><conversion>{conversion}</conversion><value>{_text(value)}</value>"
        f"<scaleMin>{plain(low)}</scaleMin><scaleMax>{plain(high)}</scaleMax></partial>"
    )


def _value(key: str, default: str, locked: int = 0) -> str:
    return (
        f"<value><key>{_text(key)}</key><locked>0</locked><lockedDefaultCurrent>{locked}</lockedDefaultCurrent>"
        f"<default>{_text(default)}</default><defaultPull>0</defaultPull></value>"
    )


def _bar() -> str:
    return "".join(_flags(("bar", "cursor", "grabFocus", "grid")))


def _flags(names: tuple[str, ...]) -> Iterator[str]:
    return (_property("b", name, "1") for name in names)


def _frame(frame: tuple[int, ...]) -> str:
    inner = "".join(f"<{side}>{number}</{side}>" for side, number in zip("xywh", frame, strict=True))
    visible = "".join(_flags(("background", "interactive", "outline", "visible")))
    return _property("r", "frame", inner) + visible


def _property(kind: str, key: str, value: str) -> str:
    return f"<property type='{kind}'><key>{_text(key)}</key><value>{value}</value></property>"


def _text(text: str) -> str:
    return f"<![CDATA[{text}]]>"
