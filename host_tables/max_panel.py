"""What stands on the panel of the Max patch and of the device for Live: prompt slots, dials, menus, buttons, and where.

Ranges, defaults and choices come from the message classes; here is only which parameters have a dial, and how Live is to show them.
Rectangles are (x, y, width, height) in pixels of the presentation; a device in Live is 169 pixels high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.description import Description
from protocols.fields import FieldSpec

Rect = tuple[int, int, int, int]

SLOTS = 6
HEIGHT = 169
WIDTH = 900
BY_WORDS = "by words"
"""The menu's entry for no key."""

# Live's parameter types and unit styles, as Max's parameter system numbers them.
FLOAT, ENUM, BLOB = 0, 2, 3
_INT_STYLE, _FLOAT_STYLE, _DECIBEL_STYLE, _CUSTOM_STYLE = 0, 1, 4, 9
_UNITS = {"s": "%.1f s", "beats": "%.0f beats", "beats/min": "%.1f bpm"}

_SHORT = {"temperature": "temp", "guidance": "guide", "top_k": "top k", "top_p": "top p", "duration": "length"}
_DIAL = (44, 48)
_DIALS: tuple[tuple[str, str, float], ...] = (
    # parameter, verb whose range it has, how its values crowd at the low end
    ("temperature", "open", 1.0),
    ("guidance", "open", 1.0),
    ("top_k", "open", 5.0),
    ("top_p", "open", 1.0),
    ("bpm", "open", 1.0),
    ("morph", "update", 4.0),
    ("level", "open", 1.0),
    ("duration", "play", 4.0),
    ("latency", "open", 3.0),
)
_KEYS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class Dial:
    """A number that Live can automate and keeps with the set.

    Attributes:
        short: its name where there is little room.
        message: what stands before its value on the way to node.script.
        exponent: above 1 the low values have more room.
    """

    name: str
    short: str
    message: str
    minimum: float
    maximum: float
    initial: float
    style: int
    units: str
    exponent: float
    meaning: str
    rect: Rect


@dataclass(frozen=True)
class Menu:
    """A choice among words."""

    name: str
    message: str
    choices: tuple[str, ...]
    initial: int
    meaning: str
    rect: Rect


@dataclass(frozen=True)
class Button:
    """A button; ``message`` goes to node.script, or with ``target`` ``live`` to the reader of Live."""

    name: str
    message: str
    meaning: str
    rect: Rect
    target: str = "node"


@dataclass(frozen=True)
class Slot:
    """The words of a prompt, and its weight."""

    number: int
    rect: Rect
    weight: Dial


@dataclass(frozen=True)
class Panel:
    """All of it."""

    slots: tuple[Slot, ...]
    dials: tuple[Dial, ...]
    menus: tuple[Menu, ...]
    buttons: tuple[Button, ...]
    seed: FieldSpec


def panel(description: Description, *, live: bool) -> Panel:
    """The panel of the device (``live``) or of the plain patch, which has no reader of Live."""
    slots = tuple(_slot(number) for number in range(1, SLOTS + 1))
    dials = tuple(
        _dial(_spec(description, verb, name), exponent, _cell(360, index, 3, _DIAL))
        for index, (name, verb, exponent) in enumerate(_DIALS)
    )
    open_ = description.bridge.address("open")
    named = {spec.name: spec for spec in open_.parameters}
    menus = (
        _menu(named["at"], (498, 32, 86, 15)),
        _menu(named["blend"], (498, 66, 86, 15)),
        Menu("key", "set key", (BY_WORDS, *_every_key()), 0, named["key"].meaning, (498, 100, 86, 15)),
    )
    return Panel(slots, dials, menus, _buttons(live), named["seed"])


def _slot(number: int) -> Slot:
    x, y = 4 + 178 * ((number - 1) % 2), 18 + 50 * ((number - 1) // 2)
    weight = Dial(
        name=f"weight{number}",
        short=f"{number}",
        message=f"weight {number}",
        minimum=0.0,
        maximum=1.0,
        initial=1.0,
        style=_FLOAT_STYLE,
        units="",
        exponent=1.0,
        meaning=f"How much the words of slot {number} count, beside those of the others.",
        rect=(x + 130, y, *_DIAL),
    )
    return Slot(number, (x, y, 128, 46), weight)


def _dial(spec: FieldSpec, exponent: float, rect: Rect) -> Dial:
    assert spec.minimum is not None, spec.name
    assert spec.maximum is not None, spec.name
    style = _DECIBEL_STYLE if spec.unit == "dB" else _INT_STYLE if spec.kind == "int" else _FLOAT_STYLE
    return Dial(
        name=spec.name,
        short=_SHORT.get(spec.name, spec.name),
        message=f"set {spec.name}",
        minimum=float(spec.minimum),
        maximum=float(spec.maximum),
        initial=float(spec.default),
        style=_CUSTOM_STYLE if spec.unit in _UNITS else style,
        units=_UNITS.get(spec.unit, ""),
        exponent=exponent,
        meaning=spec.meaning,
        rect=rect,
    )


def _menu(spec: FieldSpec, rect: Rect) -> Menu:
    return Menu(spec.name, f"set {spec.name}", spec.choices, spec.choices.index(spec.default), spec.meaning, rect)


def _buttons(live: bool) -> tuple[Button, ...]:
    rows: list[tuple[str, str, str, str]] = [
        ("open", "open", "Open a stream without an end, or another one in its place.", "node"),
        ("cancel", "cancel", "Fade this stream out.", "node"),
        ("play", "play", "Make a piece of the length that the dial says.", "node"),
        ("stop all", "stop", "Fade out everything that the bridge plays, other clients' streams too.", "node"),
        ("continue", "continue", "Go on from the chosen clip, file or recording.", "node"),
        ("undo", "undo", "Take the last change of the stream back.", "node"),
        ("back 4 bars", "rewind 4", "Go back four bars.", "node"),
        ("no melody", "melody_clear", "Follow no melody any more.", "node"),
    ]
    if live:
        rows += [
            ("clip: melody", "melody", "Follow the notes of the selected MIDI clip.", "live"),
            ("clip: region", "region", "Choose the selected audio clip to go on from.", "live"),
        ]
    found = [
        Button(label, message, meaning, _cell(592, index, 2, (72, 20), (72, 16)), target)
        for index, (label, message, meaning, target) in enumerate(rows)
    ]
    found += [
        Button("show", "show", "Show the result in the file manager, to drag it from there.", (842, 88, 52, 16)),
        Button("npm install", "script npm install", "Fetch the OSC library; once, after copying.", (832, 148, 62, 16)),
        Button("start", "script start", "Start the script, once its library is there.", (832, 15, 62, 16)),
    ]
    if live:
        found.append(Button("place", "place", "Put the result into the set as a clip.", (788, 88, 52, 16)))
    return tuple(found)


def _cell(left: int, index: int, columns: int, pitch: tuple[int, int], size: tuple[int, int] | None = None) -> Rect:
    """The rectangle of the ``index``-th thing in a grid whose columns begin at ``left``."""
    width, height = size or pitch
    return (left + pitch[0] * (index % columns), 18 + (pitch[1] + 2) * (index // columns), width - 2, height)


def _spec(description: Description, verb: str, name: str) -> FieldSpec:
    found: Sequence[FieldSpec] = description.bridge.address(verb).parameters
    return next(spec for spec in found if spec.name == name)


def _every_key() -> tuple[str, ...]:
    return tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in _KEYS)
