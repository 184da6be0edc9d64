"""What a layer plays: so many beats of sound, which close on themselves without a click."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from daw_bridge.audio.crossfade import crossfade
from daw_bridge.audio.ramp import fade_curve
from protocols.units import rescale

Samples = NDArray[np.float32]

CHANNELS = 2
"""Of what is played."""

FADE_S = 0.01
"""Length of the cross-fades where a loop closes and where one take follows another."""

TAIL_S = 0.1
"""What is recorded or made beyond the bars, for these cross-fades."""

_ATTACK_S = 0.0005
_ATTACK = 0.1  # of its peak is the most that an attack begins with
_NUMBERS = itertools.count(1)


def join(leaving: Samples, entering: Samples, rate: int) -> Samples:
    """From one sound into another, as long as both are: a cross-fade at constant power, unless the second has an attack of its own.

    What begins as good as silent and is loud a moment later, as a drum does, is left as it is: the other rings out under it.

    Args:
        leaving: ``[samples, channels]``.
        entering: of the same shape.
        rate: Hz.
    """
    start = np.abs(entering[: max(1, round(_ATTACK_S * rate))])
    if start.max(initial=0.0) > _ATTACK * np.abs(entering).max(initial=0.0):
        return crossfade(leaving, entering)
    return entering + leaving * fade_curve(len(leaving))[::-1]


@dataclass(frozen=True)
class TakeFile:
    """Where a take lies on disk: a region of an audio file.

    Args:
        path: the file.
        start: of the region, seconds.
        length: of the region, without what lies beyond the bars, seconds.
    """

    path: Path
    start: float
    length: float


class Take:
    """So many beats of sound and what comes after them. For one thread.

    Positions count samples from its start and may go on for ever: behind its end it is heard again from its start, where its own
    end rings on under the first `FADE_S`. Where nothing is known of what comes after the end, that is its end played backwards,
    which fits without a step.

    Args:
        name: for people.
        samples: ``[samples, channels]``, mono or stereo; the last may lie beyond ``length``. They may be filled while it plays.
        length: samples of the beats.
        beats: how many.
        rate: Hz.
        follows: number of the take that it goes on from, 0 for none.
        filled: how many of the samples are there so far; all of them when left out.

    Attributes:
        stereo: its samples as they are played, a view.
        number: of this take and of what is made from it for another rate or tempo.
        file: where it is on disk; None until it is.
    """

    def __init__(
        self,
        name: str,
        samples: Samples,
        length: int,
        beats: int,
        rate: int,
        *,
        follows: int = 0,
        filled: Callable[[], int] | None = None,
        number: int = 0,
    ) -> None:
        if not 0 < length <= len(samples):
            raise ValueError(f"a loop of {length} samples in {len(samples)}")
        self.number = number or next(_NUMBERS)
        self.name = name
        self.samples = samples
        self.length = length
        self.beats = beats
        self.rate = rate
        self.follows = follows
        self.file: TakeFile | None = None
        self.fade = min(round(FADE_S * rate), length // 4)
        self.stereo: Samples = np.broadcast_to(samples, (len(samples), CHANNELS))
        self._filled = filled
        self._closed: Samples | None = None

    @property
    def filled(self) -> int:
        """Up to which position it can be read now; more than any position once all of it is there."""
        filled = self._filled() if self._filled is not None else len(self.samples)
        if filled < len(self.samples):
            return filled
        self._filled = None
        return 2**62

    @property
    def seconds(self) -> float:
        """Length of the beats."""
        return self.length / self.rate

    def place(self, beats: Fraction) -> int:
        """Position of a beat of it."""
        return round(beats * self.length / self.beats)

    def read(self, position: int, count: int) -> Samples:
        """What is heard from a position on, ``[count, 2]``."""
        pieces: list[Samples] = []
        while count > 0:
            turn, place = divmod(position, self.length)
            if turn and place < self.fade:
                piece = self._closing()[place : place + count]
            else:
                piece = self.stereo[place : min(place + count, self.length)]
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else self.stereo[:0]

    def after(self, position: int, count: int, follower: Take | None = None) -> Samples:
        """What would be heard from a position on if nothing else came, ``[count, 2]``.

        Args:
            position: within a cross-fade of its end, its tail follows; anywhere else it is heard again from its start.
            count: samples.
            follower: the take that comes next; where that goes on from this one, its start follows the end.
        """
        turn, place = divmod(position, self.length)
        if turn and place < self.length // 2:  # it should have ended just now
            turn, place = turn - 1, place + self.length
        if place + count <= self.length or place > self.length + self.fade:
            return self.read(position, count)
        tail = follower.stereo if follower is not None and follower.follows == self.number else self._tail()
        end = self.stereo[place : self.length]
        begin = max(0, place - self.length)
        missing = count - len(end)
        if begin + missing > len(tail):
            return self.read(position, count)
        return np.concatenate([end, tail[begin : begin + missing]])

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self.filled > len(self.samples)

    def at_rate(self, rate: int) -> Take:
        """The same at another rate, by soxr (any thread); it must be complete."""
        if rate == self.rate:
            return self
        samples = soxr.resample(self.samples, self.rate, rate, quality="HQ").astype(np.float32)
        return self.of(samples, min(len(samples), rescale(self.length, self.rate, rate)), rate)

    def of(self, samples: Samples, length: int, rate: int) -> Take:
        """The same take as other samples."""
        take = Take(self.name, samples, length, self.beats, rate, follows=self.follows, number=self.number)
        take.file = self.file
        return take

    def _closing(self) -> Samples:
        """Its first samples when they come after its last."""
        if self._closed is None:
            self._closed = join(self._tail()[: self.fade], self.stereo[: self.fade], self.rate)
        return self._closed

    def _tail(self) -> Samples:
        """What comes after its end, for two fades."""
        tail = self.stereo[self.length : self.length + 2 * self.fade]
        missing = 2 * self.fade - len(tail)
        return tail if missing <= 0 else np.concatenate([tail, self.stereo[-1 : -missing - 1 : -1]])
