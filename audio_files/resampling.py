"""Resampling by a windowed sinc with repeated edges: what MusicGen and its kin heard of their training material.

The filter bank is Julius O. Smith's ("Digital Audio Resampling Home Page", 2002), with the shape that AudioCraft's library uses: 24
zeros of the sinc under a squared cosine, cut off at 0.945 of the lower rate's half, each phase scaled to keep a constant. A
prompt that is read in this way has the codes that AudioCraft gives it. Elsewhere soxr is the better filter.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

ZEROS = 24
ROLLOFF = 0.945
MOST_TAPS = 1 << 22
"""Of the whole bank, 16 MiB. Rates without a useful common factor, such as 44100 and 32001 Hz, would need far more."""

_OUTPUTS_AT_ONCE = 1 << 14

Samples = npt.NDArray[np.float32]


def sinc_fits(source_rate: int, sample_rate: int) -> bool:
    """Whether the filter bank between these rates is of a bearable size; all common rates fit."""
    old, new = _ratio(source_rate, sample_rate)
    return new * (2 * _width(old, new) + old) <= MOST_TAPS


class SincResampler:
    """A stream of blocks at another rate; what comes out does not depend on the blocks. One thread at a time.

    Args:
        source_rate: in Hz.
        sample_rate: of the result, in Hz.
        channels: of the sound.

    Raises:
        ValueError: rates whose filter bank does not fit; see `sinc_fits`.
    """

    def __init__(self, source_rate: int, sample_rate: int, channels: int) -> None:
        if not sinc_fits(source_rate, sample_rate):
            raise ValueError(f"no filter bank from {source_rate} to {sample_rate} Hz")
        self._old, self._new = _ratio(source_rate, sample_rate)
        self._width = _width(self._old, self._new)
        self._bank = _bank(self._old, self._new)
        self._held = np.empty((0, channels), dtype=np.float32)
        self._taken = self._made = 0

    def resample_chunk(self, block: Samples, last: bool = False) -> Samples:
        """Take the next samples ``[n, channels]``, give those that became final; with ``last``, all that are left.

        In all there are ``floor(samples · sample_rate / source_rate)``.
        """
        if not self._taken and len(block):
            self._held = np.repeat(block[:1], self._width, axis=0)
        self._taken += len(block)
        parts = [self._held, block]
        if last and self._taken:
            edge = block[-1:] if len(block) else self._held[-1:]
            parts.append(np.repeat(edge, self._width + self._old, axis=0))
        self._held = np.concatenate(parts)
        # Each window of taps gives one period of the ratio: `new` samples for `old`.
        windows = max(0, (len(self._held) - self._bank.shape[1]) // self._old + 1)
        made = self._apply(windows)
        self._held = self._held[windows * self._old :]
        if last:
            made = made[: self._taken * self._new // self._old - self._made]
        self._made += len(made)
        return made

    def _apply(self, windows: int) -> Samples:
        taps, channels = self._bank.shape[1], self._held.shape[1]
        made = np.empty((windows, self._new, channels), dtype=np.float32)
        if not windows:
            return made.reshape(0, channels)
        seen = np.lib.stride_tricks.sliding_window_view(self._held, taps, axis=0)[:: self._old]
        step = max(1, _OUTPUTS_AT_ONCE // self._new)
        for first in range(0, windows, step):
            piece = slice(first, min(first + step, windows))
            made[piece] = (seen[piece] @ self._bank.T).transpose(0, 2, 1)
        return made.reshape(windows * self._new, channels)


def _ratio(source_rate: int, sample_rate: int) -> tuple[int, int]:
    common = math.gcd(source_rate, sample_rate)
    return source_rate // common, sample_rate // common


def _width(old: int, new: int) -> int:
    """Source samples that a filter reaches to either side."""
    return math.ceil(ZEROS * old / (min(old, new) * ROLLOFF))


@lru_cache(maxsize=8)
def _bank(old: int, new: int) -> Samples:
    """One filter for each of ``new`` phases: ``[new, taps]``."""
    width = _width(old, new)
    at = np.arange(-width, width + old) / old - np.arange(new)[:, None] / new
    phase = np.clip(at * (min(old, new) * ROLLOFF), -ZEROS, ZEROS)
    bank = np.sinc(phase) * np.cos(phase * (math.pi / 2 / ZEROS)) ** 2
    scaled: Samples = (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
    return scaled
