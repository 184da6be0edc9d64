"""Level changes that do not click: the shape of a fade, and a gain that glides."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def fade_curve(frames: int) -> NDArray[np.float32]:
    """Rising half of a Hann window [frames, 1], sampled at mid-steps: from just above 0 to just below 1.

    Its steepest step is pi / (2 * frames), its first and last are far smaller. Read backwards it is the fade out.
    """
    phase = (np.arange(frames, dtype=np.float64) + 0.5) / frames
    curve: NDArray[np.float32] = (0.5 - 0.5 * np.cos(np.pi * phase)).astype(np.float32)
    return curve[:, np.newaxis]


class GainRamp:
    """A gain that moves towards its target along a straight line, at most ``1 / frames_per_unit`` a frame.

    Threads: the audio callback alone. The target is passed in, so that it can live where another thread writes it.

    Args:
        gain: linear gain to begin with.
        frames_per_unit: frames that a move from 0 to 1 takes.
        max_block: the longest block that `apply` is called with, frames.
    """

    def __init__(self, gain: float, frames_per_unit: int, max_block: int) -> None:
        self.current = gain
        self._step = 1.0 / max(1, frames_per_unit)
        self._count: NDArray[np.float32] = np.arange(1, max_block + 1, dtype=np.float32)[:, np.newaxis]
        self._gains: NDArray[np.float32] = np.empty_like(self._count)

    def apply(self, block: NDArray[np.float32], target: float) -> None:
        """Multiply ``block`` [frames, channels] in place while the gain glides to ``target``."""
        current = self.current
        if current == target:
            if target != 1.0:
                np.multiply(block, target, out=block)
            return
        frames = len(block)
        moving = min(frames, math.ceil(abs(target - current) / self._step))
        gains = self._gains[:moving]
        np.multiply(self._count[:moving], math.copysign(self._step, target - current), out=gains)
        gains += current
        if target > current:
            np.minimum(gains, target, out=gains)
        else:
            np.maximum(gains, target, out=gains)
        head = block[:moving]
        head *= gains
        if moving < frames:
            tail = block[moving:]
            tail *= target
            self.current = target
        else:
            last = float(gains[-1, 0])
            self.current = target if abs(target - last) < 1e-6 else last
