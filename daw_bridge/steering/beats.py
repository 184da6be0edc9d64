"""Where the beats of a sound lie beside a grid: how late they are, how that changes, and how sure one can be.

The onset strength of the last seconds is folded onto the beat, once for each of a few tempos near the expected one, and looked
through near the expected phase for the sharpest peak: the pulse that explains most of what begins (after P. Grosche and M. Müller,
"Extracting Predominant Local Pulse Information from Music Recordings", 2011, with the tempo known but for a percent). Only what is
near the grid is looked at, so that an off-beat is not taken for the beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.onsets import FRAMES, RATE

WINDOW_SECONDS = 10.0
LEAST_SECONDS = 5.0
NEAR_BEATS = 0.2
"""Beats further off the grid are not looked for."""
FURTHEST_TEMPO = 0.009
"""Of the expected one, either way."""

_SAME_TEMPO, _SAME_BEAT = Fraction(5, 1000), Fraction(1, 20)
_TEMPOS = 13
_PULSE_SECONDS = 0.012
_LOCAL_SECONDS = 0.4
_UNSURE, _SURE = 2.0, 3.2
_HALVES_AGREE_SECONDS = 0.012


@dataclass(frozen=True)
class Grid:
    """Where beats are expected in a stream.

    Args:
        bpm: beats per minute.
        origin: sample position of a beat.
        sample_rate: in Hz.
    """

    bpm: Fraction
    origin: int
    sample_rate: int

    @property
    def period(self) -> Fraction:
        """Samples from beat to beat."""
        return 60 * self.sample_rate / self.bpm

    def distance(self, other: Grid, position: int) -> float | None:
        """How many samples later the beats of another grid come around a position; None where it is another beat altogether."""
        if abs(other.bpm / self.bpm - 1) > _SAME_TEMPO or self.sample_rate != other.sample_rate:
            return None
        own, others = ((grid.origin - position) % grid.period for grid in (self, other))
        apart = (others - own + self.period / 2) % self.period - self.period / 2
        return float(apart) if abs(apart) <= _SAME_BEAT * self.period else None


@dataclass(frozen=True)
class Beats:
    """What was measured.

    Attributes:
        late: how many samples after the grid's the beats come in the middle of what was heard; negative: before.
        age: samples from there to the latest that was heard.
        drift: by how much they come later with each sample; positive: the material is slower than the grid.
        confidence: 0 to 1.
    """

    late: float
    age: float
    drift: float
    confidence: float


class BeatTracker:
    """Keeps the onset strength of the last seconds. For one thread.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        size = round(WINDOW_SECONDS * RATE / FRAMES) * FRAMES
        self._strength: NDArray[np.float64] = np.zeros(size)
        self._places: NDArray[np.float64] = np.zeros(size)
        self._known = 0

    def hear(self, strength: NDArray[np.float64], places: NDArray[np.int64]) -> None:
        """Take the next hop's onset strength, and where its frames are in the stream."""
        self._strength[:-FRAMES] = self._strength[FRAMES:]
        self._places[:-FRAMES] = self._places[FRAMES:]
        self._strength[-FRAMES:] = strength
        self._places[-FRAMES:] = places
        self._known = min(self._known + FRAMES, len(self._strength))

    def forget(self) -> None:
        """Begin anew, as after a change of tempo."""
        self._known = 0

    def measure(self, grid: Grid, expected: float = 0.0) -> Beats | None:
        """The beats beside a grid; None while too little is known or nothing begins.

        Args:
            grid: where they should be.
            expected: how late the last ones were, in samples: they are looked for near there.
        """
        if self._known < LEAST_SECONDS * RATE:
            return None
        strength, places = self._strength[-self._known :], self._places[-self._known :]
        # What begins stands out from what is around it; a steady noise does not.
        salient = np.maximum(strength - _local_mean(strength, round(_LOCAL_SECONDS * RATE / 2)), 0)
        total = float(salient.sum())
        if total <= 0:
            return None
        period = float(grid.period)
        centre = float(salient @ places) / total
        offsets = places - grid.origin - expected
        best: tuple[float, float, float] | None = None
        for drift in np.linspace(-FURTHEST_TEMPO, FURTHEST_TEMPO, _TEMPOS):
            peak, late = self._peak(salient, offsets - drift * (places - centre), period)
            if best is None or peak > best[0]:
                best = peak, late, float(drift)
        assert best is not None
        drift = self._refine(salient, offsets, places - centre, period, best[2])
        peak, late = self._peak(salient, offsets - drift * (places - centre), period)
        sure = (peak / (total / period) - _UNSURE) / (_SURE - _UNSURE)
        sure *= self._spread(salient, offsets - drift * (places - centre) - late, period)
        half = len(salient) // 2
        straight = offsets - drift * (places - centre)
        _, first = self._peak(salient[:half], straight[:half], period)
        _, second = self._peak(salient[half:], straight[half:], period)
        if abs(first - second) > _HALVES_AGREE_SECONDS * self._sample_rate:
            sure = 0.0
        return Beats(expected + late, float(places[-1]) - centre, drift, min(1.0, max(0.0, sure)))

    def _spread(self, salient: NDArray[np.float64], offsets: NDArray[np.float64], period: float) -> float:
        """0 where only a beat or two are struck, which any grid fits, 1 from four on: their number as inverse participation."""
        beats = np.round(offsets / period)
        struck = np.abs(offsets - beats * period) <= _PULSE_SECONDS * self._sample_rate
        each = np.bincount((beats[struck] - beats.min()).astype(np.intp), salient[struck])
        squares = float(np.square(each).sum())
        count = float(each.sum()) ** 2 / squares if squares > 0 else 0.0
        return min(1.0, max(0.0, (count - 2) / 2))

    def _refine(
        self,
        salient: NDArray[np.float64],
        offsets: NDArray[np.float64],
        since: NDArray[np.float64],
        period: float,
        drift: float,
    ) -> float:
        """The tempo in between those that were tried, by a parabola through three of them."""
        step = 2 * FURTHEST_TEMPO / (_TEMPOS - 1)
        low, middle, high = (
            self._peak(salient, offsets - near * since, period)[0] for near in (drift - step, drift, drift + step)
        )
        bend = low - 2 * middle + high
        return drift + (0.5 * step * (low - high) / bend if bend < 0 else 0.0)

    def _peak(self, salient: NDArray[np.float64], offsets: NDArray[np.float64], period: float) -> tuple[float, float]:
        """The pulse that explains most: how much begins under it for each sample of its width, and how late it is."""
        frame = self._sample_rate / RATE
        bins = max(8, round(period / frame))
        width = period / bins
        place = np.mod(offsets, period) / width
        left = np.floor(place).astype(np.intp)
        right_share = place - left
        folded = np.bincount(left % bins, salient * (1 - right_share), bins)
        folded += np.bincount((left + 1) % bins, salient * right_share, bins)
        reach = max(1, round(_PULSE_SECONDS * self._sample_rate / width))
        pulse = 1 - np.abs(np.arange(-reach, reach + 1)) / (reach + 1)
        near = int(NEAR_BEATS * bins)
        around = np.take(folded, np.arange(-near - reach, near + reach + 1), mode="wrap")
        scores = np.convolve(around, pulse, mode="valid")
        index = int(scores.argmax())
        shift = 0.0
        if 0 < index < len(scores) - 1:
            before, top, after = scores[index - 1 : index + 2]
            bend = before - 2 * top + after
            shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
        return float(scores[index]) / (float(pulse.sum()) * width), (index - near + shift) * width


def _local_mean(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The mean of up to ``reach`` values on either side."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    places = np.arange(len(values))
    first, end = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return np.asarray((sums[end] - sums[first]) / (end - first))
