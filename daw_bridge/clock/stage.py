"""The time of the stage: the sound card's own frames, as they are heard, continued where there is no card."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from fractions import Fraction

from daw_bridge.audio.output import CardReading, Output
from protocols.units import seconds_to_samples

BANDWIDTH_HZ = 0.1
"""Of the loop that follows the card: what is slower counts as the card's own pace, what is faster as jitter."""

_FASTEST_HZ = 2.0  # while it locks on
_LOST_S = 0.1  # an error beyond jitter: the card has stood still
_PACE_TOLERANCE = 0.005
_NANO = 10**9


class StageTime:
    """Seconds that pass with the frames of the card, so that a second is always exactly ``sample_rate`` frames.

    `now` is the moment of the frame that is heard now, latency of the card included. The way from the system's clock to
    frames is smoothed by a second-order delay-locked loop (F. Adriaensen, "Using a DLL to filter time", 2005). Without a card
    the system's clock counts alone, and the next card begins where it stands.

    Threads: one.

    Args:
        read: the card's latest account of itself; None while there is none.
        monotonic: the system's clock, seconds.
    """

    def __init__(self, read: Callable[[], CardReading | None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._monotonic = monotonic
        self._output: Output | None = None
        self._rate = 1
        self._origin = Fraction(0)  # stage seconds of the output's frame 0
        self._frame = 0
        self._heard = 0.0
        self._period = 1.0
        self._locked_for = 0.0
        self._rendered = 0
        self._moment = Fraction(0)
        self._moment_at = monotonic()

    def now(self) -> Fraction:
        """The present moment, never less than before."""
        self.update()
        return self._moment

    def update(self) -> None:
        """Follow the card; to be called many times a second."""
        now = self._monotonic()
        reading = self._read()
        if reading is None:
            self._output = None
        elif reading.output is not self._output:
            self._begin(reading, now)
        elif reading.frame != self._frame:
            self._follow(reading)
        if reading is not None:
            self._rendered = reading.rendered
        self._moment = max(self._moment, self._at(now))
        self._moment_at = now

    @property
    def output(self) -> Output | None:
        """The card whose frames are counted."""
        return self._output

    @property
    def sample_rate(self) -> int:
        """Of the card, Hz; 0 while there is none."""
        return self._rate if self._output is not None else 0

    def frame_at(self, seconds: Fraction) -> int:
        """The frame of the present card that is heard at a moment, to the nearest."""
        return seconds_to_samples(seconds - self._origin, self._rate)

    def seconds_at(self, frame: int) -> Fraction:
        """The moment at which a frame of the present card is heard."""
        return self._origin + Fraction(frame, self._rate)

    @property
    def rendered(self) -> Fraction:
        """Up to which moment the card has taken its sound; `now` while there is no card."""
        return self.seconds_at(self._rendered) if self._output is not None else self._moment

    def _begin(self, reading: CardReading, now: float) -> None:
        moment = self._at(now)
        self._output, self._rate = reading.output, reading.output.sample_rate
        self._frame, self._heard, self._period = reading.frame, reading.heard, 1 / self._rate
        self._origin = moment + _fraction(reading.heard - now) - Fraction(reading.frame, self._rate)
        self._locked_for = 0.0

    def _follow(self, reading: CardReading) -> None:
        passed = (reading.frame - self._frame) * self._period
        error = reading.heard - (self._heard + passed)
        self._frame = reading.frame
        if abs(error) > _LOST_S:
            self._heard = reading.heard
            self._locked_for = 0.0
            return
        self._locked_for += passed
        omega = 2 * math.pi * min(_FASTEST_HZ, max(BANDWIDTH_HZ, 0.5 / self._locked_for))
        self._heard += passed + min(1.0, math.sqrt(2) * omega * passed) * error
        period = self._period * (1 + min(0.5, omega * omega * passed) * error)
        nominal = 1 / self._rate
        self._period = min(max(period, nominal * (1 - _PACE_TOLERANCE)), nominal * (1 + _PACE_TOLERANCE))

    def _at(self, now: float) -> Fraction:
        if self._output is None:
            return self._moment + _fraction(max(0.0, now - self._moment_at))
        return self.seconds_at(self._frame) + _fraction((now - self._heard) / self._period / self._rate)


def _fraction(seconds: float) -> Fraction:
    """Whole nanoseconds, so that sums of moments stay short fractions."""
    return Fraction(round(seconds * _NANO), _NANO)
