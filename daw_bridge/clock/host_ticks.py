"""What a host's ticks tell: now and then a host says which beat it is, and between them the clock goes on by itself.

A tick may come thirty times a second or once a bar, with the tempo or without it, and be valid on arrival or at the time tag of
its bundle. Those with a time tag are taken as exact; the jitter of the others is averaged.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from protocols.messages import FASTEST_BPM, SLOWEST_BPM

_MOST, _WINDOW_S = 192, 6.0
_LEAST = 6  # that are averaged, however far apart they are
_ENOUGH = 4  # to draw a line through
_FAR_BEATS = 0.5
_STRAY_S, _STRAY_EXACT_S = 0.03, 0.003
_STRAYS, _STRAYS_OF_MANY = 2, 3  # so many in a row are no accident
_DENSE_S = 0.2
_SAME_TEMPO = 0.03
_BARS_OF_SILENCE, _LEAST_SILENCE_S = 2.5, 3.0


@dataclass(frozen=True)
class Tick:
    """A host's position.

    Attributes:
        beat: beats since the start of bar 1.
        moment: at which it is there, in seconds of the stage.
        exact: whether the host itself has told the moment.
    """

    beat: float
    moment: float
    exact: bool


class TickTempo:
    """The line through a host's latest ticks. For the I/O loop's thread alone.

    Where the host tells its tempo, the line has that slope, and its height is the mean. Where it does not, the slope is theirs, too
    (least squares); two ticks are enough for it.

    Args:
        bpm: beats per minute as long as nothing tells it.

    Attributes:
        bpm: the tempo, beats per minute.
        told: whether the host has told it.
    """

    def __init__(self, bpm: float) -> None:
        self.bpm = bpm
        self.told = False
        self._ticks: deque[Tick] = deque(maxlen=_MOST)
        self._strays: list[Tick] = []
        self._intervals: deque[float] = deque(maxlen=4)
        self._last: Tick | None = None
        self._line = (0.0, 0.0)  # a moment and the beat there

    def tempo(self, bpm: float) -> bool:
        """The host tells its tempo; True where that is news."""
        news, self.told = bpm != self.bpm, True
        if news:
            self.bpm = bpm
            self.forget()
        return news

    def forget(self) -> None:
        """The next tick may be anywhere: after a stop, a jump, another tempo."""
        self._ticks.clear()
        self._strays.clear()

    def silence(self, bar_beats: float) -> float:
        """After how many seconds without a tick a host that plays is taken for gone."""
        expected = max(self._intervals, default=bar_beats * 60 / self.bpm)
        return max(_LEAST_SILENCE_S, _BARS_OF_SILENCE * expected)

    def add(self, tick: Tick) -> bool:
        """A tick came while the host plays; True where it tells of a jump or another tempo."""
        self._measure(tick)
        if not self._ticks:
            self._accept(tick)
            return True
        known = len(self._ticks) > 1 or self.told
        off = tick.beat - self.beat_at(tick.moment)
        bound = _STRAY_EXACT_S if tick.exact else _STRAY_S
        if known and abs(off) * 60 / self.bpm <= bound:
            self._strays.clear()
            self._accept(tick)
            return False
        if not known:
            return self._second(tick)
        self._strays.append(tick)
        wanted = 1 if tick.exact or abs(off) > _FAR_BEATS else _STRAYS_OF_MANY if self._dense else _STRAYS
        if len(self._strays) < wanted:
            return False
        self._begin_anew()
        return True

    def beat_at(self, moment: float) -> float:
        """The beat on the line at a moment."""
        at, beat = self._line
        return beat + (moment - at) * self.bpm / 60

    @property
    def _dense(self) -> bool:
        return bool(self._intervals) and max(self._intervals) < _DENSE_S

    def _measure(self, tick: Tick) -> None:
        if self._last is not None and tick.moment > self._last.moment:
            self._intervals.append(tick.moment - self._last.moment)
        self._last = tick

    def _second(self, tick: Tick) -> bool:
        """The second tick of a line whose tempo nobody has told."""
        first = self._ticks[-1]
        bpm = _slope([first, tick])
        if bpm is None:
            self._ticks.clear()
            self._accept(tick)
            return True
        if abs(bpm - self.bpm) > _SAME_TEMPO * self.bpm or tick.exact:
            self.bpm = bpm
        self._accept(tick)
        return True

    def _begin_anew(self) -> None:
        """The latest ticks are not where they were expected: it is another tempo, or the host has jumped."""
        strays, last = self._strays, self._ticks[-1]
        self._ticks.clear()
        self._strays = []
        if not self.told:
            far = abs(strays[0].beat - self.beat_at(strays[0].moment)) > _FAR_BEATS
            bpm = None if far and len(strays) < 2 else _slope([*([] if far else [last]), *strays])
            if bpm is not None:
                self.bpm = bpm
        for tick in strays:
            self._accept(tick)

    def _accept(self, tick: Tick) -> None:
        ticks = self._ticks
        ticks.append(tick)
        while len(ticks) > _LEAST and tick.moment - ticks[0].moment > _WINDOW_S:
            ticks.popleft()
        if not self.told and len(ticks) >= _ENOUGH:
            bpm = _slope(list(ticks))
            self.bpm = bpm if bpm is not None else self.bpm
        offsets = [each.beat - (each.moment - tick.moment) * self.bpm / 60 for each in ticks]
        self._line = tick.moment, float(np.mean(offsets))


def _slope(ticks: list[Tick]) -> float | None:
    """The tempo that ticks tell, beats per minute; None where it is none."""
    moments = np.array([tick.moment - ticks[0].moment for tick in ticks])
    beats = np.array([tick.beat - ticks[0].beat for tick in ticks])
    centred = moments - moments.mean()
    squares = float(centred @ centred)
    if not squares:
        return None
    bpm = 60 * float(centred @ beats) / squares
    return bpm if SLOWEST_BPM <= bpm <= FASTEST_BPM else None


def as_beats(value: float) -> Fraction:
    """A position on the timeline, to a millionth of a beat: fractions stay short, however long it goes on."""
    return Fraction(round(value * 10**6), 10**6)
