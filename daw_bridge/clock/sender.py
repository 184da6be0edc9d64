"""MIDI clock that goes out: ticks, starts, stops and song positions, planned a little ahead of what is heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from daw_bridge.clock.clocks import Clock
from daw_bridge.clock.midi import CONTINUE, SONG_POSITION, START, STOP, TICK, TICKS_PER_BEAT, TICKS_PER_SIXTEENTH
from daw_bridge.clock.timeline import Timeline

GUARD_S = Fraction(3, 100)
"""What is due this soon is not changed any more."""
AHEAD_S = Fraction(1, 4)
"""How far ahead it is planned; three quarters of it are always planned, so that the bridge may be held up for as long."""
START_AHEAD_S = Fraction(1, 20)
"""A start this far ahead reaches those who follow before its first beat."""

_LEAD_S = Fraction(2, 1000)  # from start or continue to the first tick
_LEAST_GAP_S = Fraction(1, 1000)
_SLIP = 6  # ticks that are caught up; what is farther off is a jump
_SAME_S = Fraction(2, 10_000)
_POSITIONS = 1 << 14
_NANO = 10**9


class ClockOutput(Protocol):
    """What is needed of `MidiOutput`."""

    def send(self, messages: list[tuple[int, bytes]]) -> None:
        """Send messages, each at its moment (``time.perf_counter_ns``), after everything that was to be sent before."""

    def drop(self, at: int) -> None:
        """Send nothing that is due at this moment or later."""


@dataclass(frozen=True)
class _State:
    """What the receiver knows: whether it plays, and its next tick; while it stands, when the next tick is due."""

    plays: bool
    tick: int
    free: Fraction


@dataclass(frozen=True)
class _Planned:
    due: Fraction
    message: bytes
    before: _State


class ClockSender:
    """Leads one MIDI output by a clock. For the I/O loop's thread alone.

    Each tick is sent once, at the moment at which its 24th of a beat is heard. A start at beat 0 is a start; anywhere else, and
    after a jump, it is a song position and a continue on the next sixteenth. While the clock stands, ticks go on at its tempo, so
    that receivers know it. Every call of `pump` plans anew what is not settled; what comes out otherwise replaces what was planned.

    Args:
        output: where it goes.
        perf_ns: the clock of the output's moments, ns.
    """

    def __init__(self, output: ClockOutput, perf_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._output = output
        self._perf_ns = perf_ns
        self._plan: list[_Planned] = []
        self._state: _State | None = None
        self._basis: tuple[Timeline, int] | None = None
        self._until = Fraction(0)

    def pump(self, clock: Clock) -> None:
        """To be called every few milliseconds."""
        now, perf = clock.now(), self._perf_ns()
        basis = clock.timeline, clock.timeline.changes
        if basis == self._basis and self._until - now > AHEAD_S * 3 / 4:
            return
        self._basis, self._until = basis, now + AHEAD_S
        settled = now + GUARD_S
        later = [one for one in self._plan if one.due >= settled]
        state = self._state or _State(False, 0, settled)
        first = settled if later else max([now, *(one.due for one in self._plan[-1:])])
        plan, after = _planned(clock.timeline, later[0].before if later else state, first, now + AHEAD_S)
        same = len(plan) >= len(later) and all(
            new.message == old.message and abs(new.due - old.due) < _SAME_S
            for new, old in zip(plan, later, strict=False)
        )
        if same:
            fresh = plan[len(later) :]
            self._plan = later + fresh or self._plan[-1:]
        else:
            self._output.drop(perf + round(GUARD_S * _NANO))
            self._plan = fresh = plan
        self._state = after
        if fresh:
            self._output.send([(perf + round((one.due - now) * _NANO), one.message) for one in fresh])


def _planned(timeline: Timeline, state: _State, cursor: Fraction, until: Fraction) -> tuple[list[_Planned], _State]:
    """What is to be sent from one moment to another, and what the receiver knows after that."""
    plan: list[_Planned] = []
    while True:
        due, messages, after = _next(timeline, state, cursor)
        if due > until:
            return plan, state
        plan += [_Planned(due, message, state) for message in messages]
        state, cursor = after, due


def _next(timeline: Timeline, state: _State, cursor: Fraction) -> tuple[Fraction, list[bytes], _State]:
    """What comes next, and when."""
    piece = timeline.going_on(cursor)
    bpm = timeline.at(cursor).bpm
    tick_s = 60 / bpm / TICKS_PER_BEAT
    if state.plays:
        if piece is not None and piece.seconds <= cursor + _LEAD_S:
            behind = piece.beat_at(max(cursor, piece.seconds)) * TICKS_PER_BEAT - state.tick
            if -_SLIP - 1 < behind < _SLIP:
                due = piece.seconds_at(Fraction(state.tick, TICKS_PER_BEAT)) if behind <= 0 else cursor + _LEAST_GAP_S
                return max(due, cursor), [bytes([TICK])], replace(state, tick=state.tick + 1)
        return cursor, [bytes([STOP])], _State(False, 0, cursor + tick_s)
    if piece is not None:
        ready = max(cursor + _LEAD_S, piece.seconds)
        sixteenth = max(0, -(-piece.beat_at(ready) * TICKS_PER_BEAT // TICKS_PER_SIXTEENTH))
        first = int(sixteenth) * TICKS_PER_SIXTEENTH
        begin = piece.seconds_at(Fraction(first, TICKS_PER_BEAT)) - _LEAD_S
        if state.free > begin - tick_s / 2:
            return max(begin, cursor), _start(first), _State(True, first, begin)
    due = max(state.free, cursor)
    return due, [bytes([TICK])], replace(state, free=due + tick_s)


def _start(tick: int) -> list[bytes]:
    if not tick:
        return [bytes([START])]
    sixteenth = tick // TICKS_PER_SIXTEENTH % _POSITIONS
    return [bytes([SONG_POSITION, sixteenth & 0x7F, sixteenth >> 7]), bytes([CONTINUE])]
