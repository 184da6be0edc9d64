"""How much begins, 250 times a second, in a hop of a stream.

The strength is the flux of a spectrum in bands on a logarithmic scale (Bello et al., "A Tutorial on Onset Detection in Music
Signals", 2005), each band compared with the loudest of its neighbours a moment ago, so that vibrato is no onset (Böck and Widmer,
"Maximum Filter Vibrato Suppression for Onset Detection", 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.spectrum import HOP_SECONDS

FRAMES = 25
"""Of onset strength in a hop."""
RATE = FRAMES / HOP_SECONDS
"""Frames a second."""

_WINDOW_SECONDS = 0.016
_LAG = 2  # frames
_EARLY_SECONDS = 0.0008
"""A window sees a burst before its middle has come to it: by so much, measured with clicks."""
_BANDS = 32
_LOWEST_HZ = 40.0
_COMPRESSION = 300.0
_LOUD_ENOUGH = 1e-5

Strength = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OnsetReader:
    """Reads onset strength at one sample rate.

    Attributes:
        hop: samples of a hop.
        window: samples that it needs: the hop and what comes before it.
        centres: where the frames are, in samples before (so: negative) the hop's end: ``[FRAMES]``.
    """

    hop: int
    window: int
    centres: NDArray[np.int64]
    _places: NDArray[np.int64]
    _taper: NDArray[np.float64]
    _filters: NDArray[np.float64]

    def read(self, window: NDArray[np.float32], level: float) -> Strength:
        """The onset strength of the last hop, ``[FRAMES]``; it hardly depends on how loud all is.

        Args:
            window: ``[window, channels]``, ending with the hop.
            level: usual RMS of the stream; below -100 dBFS nothing begins.
        """
        if level < _LOUD_ENOUGH:
            return np.zeros(FRAMES)
        sound = sum(window.T.astype(np.float64)) / (window.shape[1] * level)
        spectrum = np.fft.rfft(sound[self._places] * self._taper, axis=-1)
        bands = np.log1p(_COMPRESSION * (np.abs(spectrum) @ self._filters))
        before = bands[:-_LAG].copy()
        np.maximum(before[:, 1:], bands[:-_LAG, :-1], out=before[:, 1:])
        np.maximum(before[:, :-1], bands[:-_LAG, 1:], out=before[:, :-1])
        return np.asarray(np.maximum(bands[_LAG:] - before, 0).mean(axis=1))


@cache
def onset_reader(sample_rate: int) -> OnsetReader:
    """The reader for a rate of at least 8 kHz."""
    hop = max(1, round(HOP_SECONDS * sample_rate))
    size = 2 ** round(math.log2(_WINDOW_SECONDS * sample_rate))
    # Where a rate has no whole number of samples in a frame, frames are a sample apart more or less; their places are known.
    ends = np.arange(1 - _LAG, FRAMES + 1) * hop // FRAMES
    window = hop + size + hop * (_LAG + 1) // FRAMES
    places = (window - hop + ends)[:, None] - size + np.arange(size)
    taper = np.hanning(size + 1)[:-1]
    taper *= 2 / taper.sum()
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    edges = np.geomspace(_LOWEST_HZ, 0.48 * sample_rate, _BANDS + 2)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    filters = filters[:, filters.sum(axis=0) > 0]
    centres = ends[_LAG:] - size // 2 - hop + round(_EARLY_SECONDS * sample_rate)
    return OnsetReader(hop, window, centres, places, taper, filters)
