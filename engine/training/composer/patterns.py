"""Rhythms written as text: one character a step, as drum machines show them.

``|`` parts bars and a space is only there to be read. ``.`` rests, ``-`` holds the note before it, and every other character begins
an event that the player of the part understands. The number of steps in a bar says how long one is: ``x...x...x...x...`` in
4/4 has steps of a sixteenth, ``x..x.x`` in 6/8 of an eighth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from engine.training.composer.piece import TICKS_PER_BEAT


@dataclass(frozen=True, slots=True)
class Event:
    """One character of a pattern that is not a rest: when it begins and ends, in beats, and which it is."""

    start: Fraction
    end: Fraction
    token: str


@cache
def parse_pattern(text: str, bar_beats: int) -> tuple[tuple[Event, ...], ...]:
    """The events of each bar of a pattern, in beats from the bar's beginning. A hold at a bar's beginning rests.

    Raises:
        ValueError: a bar without steps.
    """
    bars = []
    for bar in text.replace(" ", "").split("|"):
        if not bar:
            raise ValueError(f"pattern {text!r} has an empty bar")
        step = Fraction(bar_beats, len(bar))
        events: list[Event] = []
        for index, token in enumerate(bar):
            if token == "-" and events and events[-1].end == step * index:
                events[-1] = Event(events[-1].start, step * (index + 1), events[-1].token)
            elif token not in "-.":
                events.append(Event(step * index, step * (index + 1), token))
        bars.append(tuple(events))
    return tuple(bars)


def bar_events(text: str, bar_beats: int, bar: int) -> Iterator[Event]:
    """The events of one bar of a piece in which a pattern is repeated from its first bar, in beats from the piece's beginning."""
    bars = parse_pattern(text, bar_beats)
    first = bar * bar_beats
    for event in bars[bar % len(bars)]:
        yield Event(first + event.start, first + event.end, event.token)


def swung(beat: Fraction, swing: Fraction, unit: Fraction) -> Fraction:
    """Where a moment of straight time falls when the middle of each ``unit`` moves to ``swing`` of it; in beats, on the grid."""
    if swing == Fraction(1, 2):
        return beat
    whole, inside = divmod(beat, unit)
    share = inside / unit
    half = Fraction(1, 2)
    share = share * 2 * swing if share < half else swing + (share - half) * 2 * (1 - swing)
    return Fraction(round((whole + share) * unit * TICKS_PER_BEAT), TICKS_PER_BEAT)
