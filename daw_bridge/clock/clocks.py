"""Clocks: one interface, whoever counts. Those who follow somebody else stand in `host`, `midi` and `link`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

from daw_bridge.clock.timeline import Timeline
from protocols.metre import MOST_BEATS
from protocols.units import as_fraction


class Clock(Protocol):
    """What beat it is. For the I/O loop's thread alone.

    ``timeline`` says which beat every moment has, and `now` which moment this is, both in seconds of the stage (see `StageTime`).
    A clock that is ``led`` obeys us; the others follow somebody else, and refuse.
    """

    source: str
    led: bool
    timeline: Timeline

    def now(self) -> Fraction:
        """Seconds, never less than before."""

    def pump(self) -> None:
        """To be called every few milliseconds."""

    def close(self) -> None:
        """It counts no longer."""


def told_tempo(clock: Clock) -> float:
    """A clock's tempo as streams are told it: one that is measured wavers, so it is told to a hundredth."""
    bpm = float(clock.timeline.at(clock.now()).bpm)
    return bpm if clock.led else round(bpm, 2)


def told_metre(beats_per_bar: int) -> str:
    """A clock's metre as streams are told it when they begin; bars of two and of four beats leave it to the words."""
    return "" if beats_per_bar in (2, 4) or beats_per_bar > MOST_BEATS else f"{beats_per_bar}/4"


class InternalClock:
    """The bridge counts by itself.

    Args:
        now: seconds, never less than before.
        timeline: where it begins.
    """

    source = "internal"
    led = True

    def __init__(self, now: Callable[[], Fraction], timeline: Timeline | None = None) -> None:
        self.timeline = timeline or Timeline()
        self._now = now

    def now(self) -> Fraction:
        return self._now()

    def pump(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class ManualClock(InternalClock):
    """A clock that is moved by hand, so that hours pass in an instant."""

    source = "manual"

    def __init__(self, timeline: Timeline | None = None) -> None:
        self._seconds = Fraction(0)
        super().__init__(lambda: self._seconds, timeline)

    def advance(self, seconds: float | Fraction) -> None:
        """Let time pass."""
        self._seconds += as_fraction(seconds)

    def advance_beats(self, beats: float | Fraction) -> None:
        """Let time pass until so many beats of the present tempo are over."""
        self.advance(as_fraction(beats) * 60 / self.timeline.at(self._seconds).bpm)
