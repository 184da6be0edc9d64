"""The closed loop between the beats of a stream as it was decoded and the clock that it plays to.

The beats are measured in the sound (`daw_bridge.steering.beats`), and what they are late or early is taken out by splices too small
to be heard (`daw_bridge.steering.splices`), no faster than a tempo may be changed unheard. Where nothing is to be done the sound
goes through as it comes. All of it depends on the samples alone and not on the blocks they come in.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.beats import BeatTracker, Grid
from daw_bridge.steering.hops import finite
from daw_bridge.steering.onsets import onset_reader
from daw_bridge.steering.splices import Splicer

DEADBAND_SECONDS = 0.005
"""What is off by less stays as it is."""
RELEASE_SECONDS = 0.001
"""A correction goes on until no more than this is left."""
FASTEST = Fraction(6, 1000)
"""Most that a stretch changes the tempo: 0.5 % that the material may be off for good, and the rest to catch up."""
SURE_ENOUGH = 0.5
"""Confidence from which on anything is corrected."""

_MEASURE_HOPS = 5
_AHEAD_SECONDS, _FORESEEN_SECONDS = 0.6, 0.0025
_SURE_IN_A_ROW = 4
_FOLLOW, _FOLLOW_TEMPO = 0.25, 0.15
_JUMP_SECONDS = 0.02
_PATIENCE_HOPS = 15
_SMOOTH, _ROUGHEST = 0.02, 0.5
_LEVEL_SHARE = 0.05
_REMEMBERED = 4096


@dataclass(frozen=True)
class Locked:
    """How it stands.

    Attributes:
        error_ms: how late the beats are as they are heard; negative: early.
        confidence: 0 to 1; below `SURE_ENOUGH` nothing is corrected.
        corrected_ms: what was left out so far, less what was heard twice.
        tempo_percent: by how much the material is faster than the grid.
        splices: how many there were.
    """

    error_ms: float
    confidence: float
    corrected_ms: float
    tempo_percent: float
    splices: int


class BeatLock:
    """A stage between a stream and its voice. For one thread.

    Args:
        sample_rate: in Hz, at least 8000.
        channels: at least 1.
        grid: where beats should be heard, in samples from the stream's first; None: nothing is measured, and all goes through.
    """

    def __init__(self, sample_rate: int, channels: int, grid: Grid | None) -> None:
        self.grid = grid
        self._rate = sample_rate
        self._reader = onset_reader(sample_rate)
        self._tracker = BeatTracker(sample_rate)
        self._splicer = Splicer(sample_rate)
        self._past = max(self._reader.window, self._splicer.longest + self._splicer.fade + self._reader.hop)
        self._sound: NDArray[np.float32] = np.zeros((self._past, channels), np.float32)
        self._first = -self._past  # stream position of the first sample that is kept
        self._read = 0
        self._border = self._reader.hop
        self._analysed = False
        self._want = 0
        self._level = 0.0
        self._hops = 0
        self._late = self._drift = self._confidence = 0.0
        self._sure = 0
        self._correcting = False
        self._waited = 0.0
        self._credit = Fraction(0)
        self._skipped = 0
        self._splices = 0
        self._out = 0
        self._starts: deque[int] = deque([0], maxlen=_REMEMBERED)
        self._sources: deque[int] = deque([0], maxlen=_REMEMBERED)

    @property
    def state(self) -> Locked:
        """How it stands."""
        milliseconds = 1000 / self._rate
        return Locked(
            round(float(self._error) * milliseconds, 2),
            round(self._confidence, 2),
            round(self._skipped * milliseconds, 2),
            round(-100 * float(self._drift), 3),
            self._splices,
        )

    @property
    def held(self) -> int:
        """Samples that came in and wait for what follows them."""
        return self._end - self._read

    @property
    def position(self) -> int:
        """Samples that have come out."""
        return self._out

    def follow(self, grid: Grid | None) -> None:
        """Go by this grid from now on: one that is nearly the last one is followed, any other begins anew."""
        if grid == self.grid:
            return
        moved = None if grid is None or self.grid is None else self.grid.distance(grid, self._out)
        if moved is None:
            self.set_grid(grid)
        else:
            assert grid is not None
            assert self.grid is not None
            self._late -= moved
            self._drift -= float(grid.period / self.grid.period - 1)
            self.grid = grid

    def set_grid(self, grid: Grid | None) -> None:
        """Go by another grid from now on, as after a change of tempo."""
        self.grid = grid
        self._tracker.forget()
        self._late, self._drift, self._confidence, self._sure = float(self._skipped), 0.0, 0.0, 0
        self._correcting = False

    def source_position(self, samples: int) -> int:
        """Which sample of the stream follows once so many have come out. Positions of the last 4096 splices are known."""
        index = max(0, bisect_right(self._starts, samples) - 1)
        return self._sources[index] + samples - self._starts[index]

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples ``[samples, channels]``; what comes out may be a little less, or more, and follows later."""
        drop = max(0, min(self._read, self._border) - self._past - self._first)
        self._sound = np.concatenate((self._sound[drop:], finite(block)))
        self._first += drop
        return self._go_on(finishing=False)

    def finish(self) -> NDArray[np.float32]:
        """What is still held: the stream is over."""
        return self._go_on(finishing=True)

    @property
    def _end(self) -> int:
        return self._first + len(self._sound)

    @property
    def _error(self) -> float:
        return self._late - self._skipped

    def _go_on(self, finishing: bool) -> NDArray[np.float32]:
        made: list[NDArray[np.float32]] = []
        while True:
            if self._read < self._border:
                made.append(self._emit(min(self._border, self._end)))
            if self._end < self._border:
                break
            if not self._analysed:
                self._analyse()
                self._analysed, self._want = True, self._wanted()
            if self._want:
                start = max(self._border, self._read)
                if self._end < start + self._splicer.ahead:
                    if not finishing:
                        break
                else:
                    made += self._splice(start, self._want)
            self._border += self._reader.hop
            self._analysed = False
        return np.concatenate(made) if made else self._sound[:0].copy()

    def _emit(self, end: int) -> NDArray[np.float32]:
        sound = self._sound[self._read - self._first : max(self._read, end) - self._first]
        self._read += len(sound)
        self._out += len(sound)
        return sound

    def _analyse(self) -> None:
        """At a hop's end: hear it, and now and then measure."""
        end = self._border - self._first
        window = self._sound[end - self._reader.window : end]
        power = float(np.square(window[-self._reader.hop :], dtype=np.float64).sum(axis=1).mean())
        if power > 1e-8:
            self._level += (_LEVEL_SHARE if self._level else 1.0) * (power - self._level)
        rms = math.sqrt(self._level / window.shape[1])
        self._tracker.hear(self._reader.read(window, rms), self._border + self._reader.centres)
        self._credit = min(self._credit + FASTEST * self._reader.hop, Fraction(self._splicer.longest))
        self._hops += 1
        self._late += self._drift * self._reader.hop if self._sure else 0.0
        if self.grid is not None and self._hops % _MEASURE_HOPS == 0:
            self._measure(self.grid)

    def _measure(self, grid: Grid) -> None:
        beats = self._tracker.measure(grid, self._late)
        self._confidence = 0.0 if beats is None else beats.confidence
        if beats is None or beats.confidence < SURE_ENOUGH:
            self._sure = 0
            return
        if not self._sure:
            self._drift = beats.drift
        self._drift += _FOLLOW_TEMPO * (beats.drift - self._drift)
        off = beats.late + self._drift * beats.age - self._late
        if self._sure and abs(off) > _JUMP_SECONDS * self._rate:
            self._sure, self._drift = 0, beats.drift  # another reading altogether: let it prove itself
        follow = _FOLLOW if self._sure >= _SURE_IN_A_ROW else 1.0
        self._late += follow * off
        self._sure += 1

    def _wanted(self) -> int:
        """Samples to leave out now (negative: to repeat); 0 for none."""
        if self._sure < _SURE_IN_A_ROW:
            self._correcting = False
            return 0
        # Where the tempo is off, the error grows: half of it is taken out before it is there.
        most = _FORESEEN_SECONDS * self._rate
        error = self._error + min(most, max(-most, self._drift * _AHEAD_SECONDS * self._rate))
        limit = RELEASE_SECONDS if self._correcting else DEADBAND_SECONDS
        self._correcting = abs(error) > limit * self._rate
        if not self._correcting:
            self._waited = 0.0
            return 0
        self._waited += abs(error) / (DEADBAND_SECONDS * self._rate)
        skip = min(math.floor(self._credit), abs(round(error)), self._splicer.longest)
        if skip < min(abs(error), 2 * DEADBAND_SECONDS * self._rate) - 1:
            return 0
        return skip if error > 0 else -skip

    def _splice(self, start: int, wanted: int) -> list[NDArray[np.float32]]:
        """Splice if there is a smooth place, or it has been waited for long enough."""
        splice = self._splicer.find(self._sound, start - self._first, wanted, self._level)
        patience = min(1.0, self._waited / _PATIENCE_HOPS)
        if splice is None or splice.roughness > _SMOOTH * (_ROUGHEST / _SMOOTH) ** patience:
            return []
        before = self._emit(self._first + splice.at)
        fade = self._splicer.join(self._sound, splice)
        self._starts.append(self._out)
        self._sources.append(self._read + splice.skip)
        self._out += len(fade)
        self._read += splice.skip + len(fade)
        self._credit -= abs(splice.skip)
        self._skipped += splice.skip
        self._splices += 1
        self._waited = 0.0
        return [before, fade]
