"""The even line that ticks of a MIDI clock lie on, found among ticks that jitter."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

WINDOWS = (12, 24, 48, 96, 192)
"""Ticks that a line may be drawn through: half a beat to eight beats."""

_CONFIDENCE = 3.0  # standard deviations
_LEAST_JITTER_S = 0.0001
_FORGET = 1 / 64  # how much one tick tells about the jitter
_STRAY_S = 0.003
_STRAYS = 4  # so many in a row are no accident
_ROUND_TEMPOS = (1.0, 0.5, 0.1, 0.05, 0.01)

Tick = tuple[int, float]


class TickLine:
    """Least squares over the latest ticks: as many as still lie on one line.

    Long windows average jitter out, short ones follow a tempo that changes. The longest window is taken whose account of the
    present agrees with that of every shorter one within what the measured jitter explains: the intersection of confidence intervals
    (A. Goldenshluger and A. Nemirovski, "On spatial adaptive estimation of nonparametric regression", 1997). A tick that comes far
    off is left out; four in a row are a new tempo, or, where they lie on the old line shifted by whole ticks, there are ticks that
    were lost on the way.

    For one thread. After `add`, `settle` says where the line is.

    Args:
        period: seconds from tick to tick as long as no ticks have told it.
        fastest: the least period that counts, seconds.
        slowest: the greatest.

    Attributes:
        moment: when the latest tick lies on the line, seconds.
        period: seconds from tick to tick.
        lost: ticks that were lost on the way so far.
    """

    def __init__(self, period: float, fastest: float, slowest: float) -> None:
        self.moment = 0.0
        self.period = period
        self.lost = 0
        self._fastest, self._slowest = fastest, slowest
        self._known = False  # the period is that of ticks
        self._ticks: deque[Tick] = deque(maxlen=WINDOWS[-1])
        self._strays: list[Tick] = []
        self._index = 0
        self._through = (0, 0.0)  # a point of the line: index and moment
        self._variance = _LEAST_JITTER_S**2
        self._slope_error = 1.0  # of the period, relative
        self._drawn = True

    def forget(self) -> None:
        """Begin a new line at the tempo that is known: the next tick may lie anywhere."""
        self._ticks.clear()
        self._strays.clear()

    def add(self, seconds: float, may_jump: bool = False) -> None:
        """A tick came, not before the last one; one that ``may_jump`` begins a new line where it is not on the old one."""
        self._index += 1
        if not self._ticks:
            self._through = self._index, seconds
            self._accept((self._index, seconds))
            return
        error = seconds - self._expected(self._index)
        off = abs(error) > max(_STRAY_S, 4 * math.sqrt(self._variance))
        if may_jump and off:
            self.forget()
            self._through = self._index, seconds
            self._accept((self._index, seconds))
            return
        variance = self._variance + (min(abs(error), self.period) ** 2 - self._variance) * _FORGET
        self._variance = max(variance, _LEAST_JITTER_S**2)
        if not off or len(self._ticks) < 3:
            self._strays.clear()
            self._accept((self._index, seconds))
            return
        self._strays.append((self._index, seconds))
        if len(self._strays) >= _STRAYS:
            self._begin_anew(self._strays)

    def settle(self) -> None:
        """Draw the line through the ticks that came; `moment` and `period` then say where it is."""
        if not self._drawn:
            self._draw()
        self.moment = self._expected(self._index)

    def tempo(self, ticks_per_beat: int) -> float:
        """Beats per minute: the roundest number that agrees with the ticks, with two decimals at most."""
        bpm = 60 / (self.period * ticks_per_beat)
        near = (round(bpm / step) * step for step in _ROUND_TEMPOS)
        return round(next((one for one in near if abs(one - bpm) <= self._slope_error * bpm), bpm), 2)

    def _expected(self, index: int) -> float:
        at, moment = self._through
        return moment + (index - at) * self.period

    def _accept(self, tick: Tick) -> None:
        self._ticks.append(tick)
        self._drawn = False
        if len(self._ticks) < WINDOWS[0]:
            self._draw()  # what comes next is judged by it

    def _begin_anew(self, strays: list[Tick]) -> None:
        """The latest ticks are not where they were expected."""
        errors = [(seconds - self._expected(index)) / self.period for index, seconds in strays]
        mean = sum(errors) / len(errors)
        missed = round(mean)
        (first, began), (last, ended) = strays[0], strays[-1]
        if missed >= 1 and max(errors) - min(errors) < 0.25 and abs(mean - missed) < 0.25:
            self.lost += missed
            self._index += missed
            self._ticks.extend((index + missed, seconds) for index, seconds in strays)
        elif self._fastest <= (ended - began) / (last - first) <= self._slowest:
            self._ticks.clear()
            self._ticks.extend(strays)
            self._known = False
        else:
            return  # held up on the way, and now all at once: those that follow will tell
        self._strays = []
        self._draw()

    def _draw(self) -> None:
        self._drawn = True
        ticks = np.array(self._ticks, np.float64)
        x, base = ticks[:, 0] - self._index, ticks[-1, 1]
        y = ticks[:, 1] - base
        count = len(ticks)
        if count < 2 or (self._known and count < WINDOWS[0]):
            self._through = self._index, float(base + np.mean(y - x * self.period))
            return
        low, high = -math.inf, math.inf
        # Ticks that come with the blocks of a sound card lie on wrong lines of their own for half a beat.
        sizes = WINDOWS[1:] if math.sqrt(self._variance) > self.period / 10 else WINDOWS
        for window in [min(count, size) for size in sizes if size == sizes[0] or size <= count]:
            xs, ys = x[-window:], y[-window:]
            mean_x, mean_y = float(xs.mean()), float(ys.mean())
            squares = float((xs - mean_x) @ (xs - mean_x))
            period = float((xs - mean_x) @ ys) / squares
            moment = mean_y - period * mean_x
            error = _CONFIDENCE * math.sqrt(self._variance * (1 / window + mean_x**2 / squares))
            low, high = max(low, moment - error), min(high, moment + error)
            if low > high:
                return
            self._through = self._index, float(base + moment)
            self.period = min(max(period, self._fastest), self._slowest)
            self._slope_error = 2 * math.sqrt(self._variance / squares) / self.period
            self._known = count >= WINDOWS[0]
