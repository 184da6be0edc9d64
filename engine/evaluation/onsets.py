"""Where notes begin: onset strength, and onsets picked from it.

The strength is the flux of a mel spectrogram on a logarithmic scale (Bello et al., "A Tutorial on Onset Detection in Music
Signals", 2005), each band compared with the loudest of its neighbours a moment ago, so that vibrato is no onset (Böck and
Widmer, "Maximum Filter Vibrato Suppression for Onset Detection", 2013).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import find_peaks

from engine.runtime.spectral_network import mel_filters

RATE = 125
"""Frames of onset strength per second."""

_WINDOW_SECONDS = 0.032
_BANDS = 64
_COMPRESSION = 1000.0
_LAG = 2
_WIDTH = 3
_PICK_SECONDS = 0.05
_MEAN_SECONDS = 0.8
_LEAST = 0.1


def onset_strength(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """How much begins in each frame, ``[samples * RATE // sample_rate]``; frame ``i`` is centred at ``i / RATE`` seconds.

    It hardly depends on level. Silence, and the first and the last hundredths of a second, give zeros.

    Args:
        samples: ``[samples]``, mono.
        sample_rate: in Hz, a multiple of `RATE`.
    """
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    hop = sample_rate // RATE
    count = len(samples) // hop
    if level < 1e-5 or count < RATE // 10:
        return np.zeros(count)
    size = round(_WINDOW_SECONDS * sample_rate / 2) * 2
    padded = np.pad(samples.astype(np.float64) / level, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: count * hop : hop]
    taper, filters = _tables(sample_rate, size)
    magnitude = np.abs(np.fft.rfft(frames * taper)) * (2 / taper.sum())
    mel = np.log1p(_COMPRESSION * (magnitude @ filters))
    before = maximum_filter1d(mel, _WIDTH, axis=1)
    flux = np.zeros(count)
    flux[_LAG:] = np.maximum(mel[_LAG:] - before[:-_LAG], 0).mean(axis=1)
    # A clip is cut out of music: what its edges seem to begin is none of it.
    edge = -(-size // (2 * hop))
    flux[: _LAG + edge] = flux[count - edge :] = 0
    return flux


def onset_times(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """When notes begin, in seconds: peaks of the strength that stand out from what is around them."""
    around = uniform_filter1d(strength, round(_MEAN_SECONDS * RATE), mode="nearest")
    peaks, _ = find_peaks(strength, distance=max(1, round(_PICK_SECONDS * RATE)), height=around + _LEAST)
    return np.asarray(peaks / RATE, dtype=np.float64)


def onset_rate(strength: NDArray[np.float64]) -> float:
    """Onsets per second."""
    return len(onset_times(strength)) * RATE / len(strength) if len(strength) else 0.0


@cache
def _tables(sample_rate: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    filters = mel_filters(size // 2 + 1, _BANDS, sample_rate).numpy().astype(np.float64)
    return np.hanning(size + 1)[:-1], filters
