"""What plays a pad or a controller: notes, controllers, wheels and program changes, by number, name or range."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import mido

from protocols.errors import ErrorCode, RequestError

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_OCTAVE_OF_NOTE_0 = -2  # as in Live, Logic and Cubase: middle C, note 60, is C3
_NAME = re.compile(r"([A-Ga-g])([#b]?)(-?\d)")
_NUMBERED = re.compile(r"(cc|program):(\d{1,3})")
_RANGE = re.compile(r"([A-Ga-g][#b]?-?\d|\d+)-(.+)")
_PAD_FORMS = (
    "a note (60 or C3), a range of them (36-51), any, cc:0 to cc:127, program:0 to program:127, learn, or nothing"
)
_CONTROL_FORMS = "a controller from 0 to 127, bend, pressure, program or learn"
_SWITCH_ON = 64

Kind = Literal["note", "cc", "program", "bend", "pressure", "learn", "none"]
Key = tuple[str, int, Kind, int]
"""A key of an input: the input's name, channel from 1, kind of message, number."""


@dataclass(frozen=True)
class Stroke:
    """A key, a switch or a program that is played, or let go.

    Attributes:
        key: which one: of its input, of its channel.
        note: its number; -1 for what is no note.
        velocity: 1 to 127; 0 when it is let go.
    """

    key: Key
    note: int
    velocity: int


@dataclass(frozen=True)
class Source:
    """Which messages count.

    Attributes:
        kind: of message; ``learn`` for whatever comes next, ``none`` for nothing.
        low: first number.
        high: last number.
        channel: 1 to 16; 0 for any.
        input: part of the input's name; empty for any.
    """

    kind: Kind
    low: int = 0
    high: int = 127
    channel: int = 0
    input: str = ""

    @property
    def text(self) -> str:
        """As `pad_source` and `control_source` read it."""
        match self.kind:
            case "note" if (self.low, self.high) == (0, 127):
                return "any"
            case "note":
                return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
            case "none":
                return ""
            case "cc" | "program":
                return f"{self.kind}:{self.low}"
        return self.kind

    def stroke(self, source: str, message: mido.Message) -> Stroke | None:
        """What a message of an input plays of it; None where it is not meant."""
        found = stroke_of(source, message)
        if found is None:
            return None
        _, channel, kind, number = found.key
        meant = kind == self.kind and self.low <= number <= self.high and self._hears(source, channel)
        return found if meant else None

    def position(self, source: str, message: mido.Message) -> float | None:
        """Where a message of an input moves it, from 0 to 1; None where it is not meant."""
        moved = position_of(message)
        if moved is None:
            return None
        kind, number, position = moved
        meant = kind == self.kind and self.low <= number <= self.high and self._hears(source, message.channel + 1)
        return position if meant else None

    def _hears(self, source: str, channel: int) -> bool:
        return self.channel in (0, channel) and self.input.lower() in source.lower()


def stroke_of(source: str, message: mido.Message) -> Stroke | None:
    """What a message plays, if anything: a note-on without velocity lets go, a switch that sends 64 and more is down."""
    kind: Kind
    match message.type:
        case "note_on":
            kind, number, velocity = "note", message.note, message.velocity
        case "note_off":
            kind, number, velocity = "note", message.note, 0
        case "control_change":
            kind, number, velocity = "cc", message.control, message.value if message.value >= _SWITCH_ON else 0
        case "program_change":
            kind, number, velocity = "program", message.program, 127
        case _:
            return None
    return Stroke((source, message.channel + 1, kind, number), number if kind == "note" else -1, velocity)


def position_of(message: mido.Message) -> tuple[Kind, int, float] | None:
    """What a message moves: kind, number, and where to, from 0 to 1. The wheel's middle is 0.5."""
    match message.type:
        case "control_change":
            return "cc", message.control, message.value / 127
        case "pitchwheel":
            return "bend", 0, (message.pitch + 8192) / 16384 if message.pitch <= 0 else 0.5 + message.pitch / 16382
        case "aftertouch":
            return "pressure", 0, message.value / 127
        case "program_change":
            return "program", 0, message.program / 127
    return None


def source_of_stroke(stroke: Stroke, input: str) -> Source:
    """The source that a stroke is taken for by a pad that learns."""
    _, channel, kind, number = stroke.key
    return Source(kind, number, number, channel, input)


def pad_source(text: str, channel: int = 0, input: str = "") -> Source:
    """Read what plays a pad.

    Raises:
        RequestError: OUT_OF_RANGE about ``note``.
    """
    wanted = text.strip()
    match wanted.lower():
        case "":
            return Source("none", channel=channel, input=input)
        case "any":
            return Source("note", 0, 127, channel, input)
        case "learn":
            return Source("learn", channel=channel, input=input)
    if numbered := _NUMBERED.fullmatch(wanted.lower()):
        number = int(numbered[2])
        if number <= 127:
            return Source("cc" if numbered[1] == "cc" else "program", number, number, channel, input)
    elif (note := _note(wanted)) is not None:
        return Source("note", note, note, channel, input)
    elif ends := _RANGE.fullmatch(wanted):
        low, high = _note(ends[1]), _note(ends[2])
        if low is not None and high is not None and low <= high:
            return Source("note", low, high, channel, input)
    raise RequestError(ErrorCode.OUT_OF_RANGE, "note", text, _PAD_FORMS)


def control_source(text: str, channel: int = 0, input: str = "") -> Source:
    """Read what moves a controller.

    Raises:
        RequestError: OUT_OF_RANGE about ``control``.
    """
    match wanted := text.strip().lower().removeprefix("cc:"):
        case "bend" | "pressure" | "program" | "learn":
            return Source(wanted, 0, 127, channel, input)
    if wanted.isdecimal() and int(wanted) <= 127:
        return Source("cc", int(wanted), int(wanted), channel, input)
    raise RequestError(ErrorCode.OUT_OF_RANGE, "control", text, _CONTROL_FORMS)


def _note(text: str) -> int | None:
    """The number of a note by number or name; None for no note."""
    text = text.strip()
    if text.isdecimal():
        return int(text) if int(text) <= 127 else None
    named = _NAME.fullmatch(text)
    if named is None:
        return None
    alteration = {"": 0, "#": 1, "b": -1}[named[2]]
    number = 12 * (int(named[3]) - _OCTAVE_OF_NOTE_0) + _NAMES.index(named[1].upper()) + alteration
    return number if 0 <= number <= 127 else None
