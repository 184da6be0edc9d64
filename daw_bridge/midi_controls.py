"""What bends and prolongs the notes of a MIDI clip: the pitch wheel with its range, and the sustain pedal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

_BEND_RANGE = (0, 0)  # registered parameter 0
_NO_PARAMETER = (127, 127)
_DEFAULT_RANGE_CENTS = 200
_WHEEL_UNITS = 8192
_PEDAL_DOWN = 64


class Controller(IntEnum):
    """The controllers that are read, by their numbers; the wheel has one above all of theirs."""

    DATA = 6
    DATA_FINE = 38
    PEDAL = 64
    NRPN_FINE = 98
    NRPN = 99
    RPN_FINE = 100
    RPN = 101
    RESET = 121
    PITCH_WHEEL = 128


_READ = frozenset(Controller)


@dataclass(frozen=True, slots=True)
class Control:
    """The wheel or a controller is moved.

    Attributes:
        tick: of the clip.
        channel: 0 to 15.
        number: of the controller; see `Controller`.
        value: 0 to 127; of the wheel -8192 to 8191, 0 in the middle.
    """

    tick: int
    channel: int
    number: int
    value: int

    @classmethod
    def of_message(cls, tick: int, message: Any) -> Control | None:
        """What a message of mido's says, where that is about pitch or pedal."""
        if message.type == "pitchwheel":
            return cls(tick, message.channel, Controller.PITCH_WHEEL, message.pitch)
        if message.type == "control_change" and message.control in _READ:
            return cls(tick, message.channel, message.control, message.value)
        return None


class ChannelControls:
    """Wheel and pedal of every channel over a clip.

    The wheel's range is the channel's registered parameter 0 and two semitones until that is set. Controllers that are reset
    (121) let the pedal go and put the wheel into its middle.

    Args:
        controls: by rising ticks; those of one tick in the order in which they act.
    """

    def __init__(self, controls: Iterable[Control]) -> None:
        self._states: dict[int, _State] = {}
        for control in controls:
            self._states.setdefault(control.channel, _State()).take(control)

    def pedal_up(self, channel: int, tick: int) -> int | None:
        """When a key that is let go at ``tick`` is heard no more: then, or when the pedal goes up; None: it never does."""
        state = self._states.get(channel)
        if state is None:
            return tick
        at = bisect_right(state.pedal_ticks, tick) - 1
        if at < 0 or not state.pedals[at]:
            return tick
        return state.pedal_ticks[at + 1] if at + 1 < len(state.pedals) else None

    def shifts(self, channel: int, start: int, end: int) -> list[tuple[int, int]]:
        """By how many whole semitones the wheel moves what sounds from ``start`` up to ``end``: pairs of a tick and a shift from
        then on, the first one at ``start``. Half a semitone is not yet the next one.
        """
        state = self._states.get(channel)
        if state is None:
            return [(start, 0)]
        at = bisect_right(state.shift_ticks, start)
        found = [(start, state.shifts[at - 1] if at else 0)]
        while at < len(state.shifts) and state.shift_ticks[at] < end:
            if state.shifts[at] != found[-1][1]:
                found.append((state.shift_ticks[at], state.shifts[at]))
            at += 1
        return found


class _State:
    """One channel while its controls are read, and the changes that came of them: two rows each, ticks and values."""

    def __init__(self) -> None:
        self.pedal_ticks: list[int] = []
        self.pedals: list[bool] = []
        self.shift_ticks: list[int] = []
        self.shifts: list[int] = []
        self._wheel = 0
        self._cents = _DEFAULT_RANGE_CENTS
        self._parameter = _NO_PARAMETER

    def take(self, control: Control) -> None:
        value = control.value
        match control.number:
            case Controller.PEDAL:
                _change(self.pedal_ticks, self.pedals, control.tick, value >= _PEDAL_DOWN, False)
            case Controller.PITCH_WHEEL:
                self._wheel = value
            case Controller.RPN:
                self._parameter = (value, self._parameter[1])
            case Controller.RPN_FINE:
                self._parameter = (self._parameter[0], value)
            case Controller.NRPN | Controller.NRPN_FINE:
                self._parameter = _NO_PARAMETER
            case Controller.DATA if self._parameter == _BEND_RANGE:
                self._cents = 100 * value + self._cents % 100
            case Controller.DATA_FINE if self._parameter == _BEND_RANGE:
                self._cents = self._cents // 100 * 100 + min(value, 99)
            case Controller.RESET:
                self._wheel = 0
                self._parameter = _NO_PARAMETER
                _change(self.pedal_ticks, self.pedals, control.tick, False, False)
        _change(self.shift_ticks, self.shifts, control.tick, _whole_semitones(self._wheel * self._cents), 0)


def _change(ticks: list[int], values: list[Any], tick: int, value: Any, before: Any) -> None:
    """Note a value that holds from a tick on, if it is another one than that which held so far."""
    if value == (values[-1] if values else before):
        return
    if ticks and ticks[-1] == tick:
        values[-1] = value
    else:
        ticks.append(tick)
        values.append(value)


def _whole_semitones(wheel_cents: int) -> int:
    semitone = 100 * _WHEEL_UNITS
    nearest = -((semitone - 2 * abs(wheel_cents)) // (2 * semitone))
    return nearest if wheel_cents > 0 else -nearest
