"""The tempo of a clip, estimated from its sound alone, and whether its onsets lie on a beat that is known."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from engine.evaluation.onsets import RATE

SLOWEST, FASTEST = 40.0, 240.0
"""Beats per minute that are considered."""
TOLERANCE = 0.04
"""How far a right tempo may be off, and octaves of it too: "accuracy 2" of Gouyon et al., "An Experimental Comparison of Audio
Tempo Induction Algorithms", 2006, with halves and doubles, and without thirds and triples.
"""

_STEPS_PER_OCTAVE = 120
_BEATS = 8
_LONGEST = 0.75
_BLUR_SECONDS = 0.032
_PREFERRED, _OCTAVES = 110.0, 1.0
_BEAT_SECONDS = 0.03


def estimate_tempo(strength: NDArray[np.float64]) -> float:
    """The tempo of a clip of some seconds, in beats per minute; 0 where nothing repeats.

    The autocorrelation of the onset strength is averaged over the first eight multiples of each beat's length, which tells tempos
    apart that differ by fractions of a frame, and weighted by how often people hear such a tempo (Ellis, "Beat Tracking by
    Dynamic Programming", 2007).

    Args:
        strength: `engine.evaluation.onsets.onset_strength`.
    """
    smooth = gaussian_filter1d(strength - uniform_filter1d(strength, RATE), _BLUR_SECONDS * RATE)
    count = len(smooth)
    if count < 2 * RATE or not smooth.any():
        return 0.0
    smooth = smooth - smooth.mean()
    power = np.square(np.abs(np.fft.rfft(smooth, 2 * count)))
    related = np.fft.irfft(power)[:count] / np.maximum(count - np.arange(count), count // 4)
    tempos, preference = _tempos()
    lags = np.arange(1, _BEATS + 1)[:, None] * (60 * RATE / tempos)
    heard = lags < _LONGEST * count
    scores = np.where(heard, np.interp(lags, np.arange(count), related), 0).sum(axis=0) / np.maximum(
        1, heard.sum(axis=0)
    )
    scores = np.where(heard[0], scores, 0) * preference
    best = int(scores.argmax())
    return float(tempos[best]) if scores[best] > 0 else 0.0


def is_right(estimated: float, asked: float) -> bool:
    """Whether a tempo is within `TOLERANCE` of the one that was asked for, or of its half or its double."""
    return any(abs(estimated / (asked * octave) - 1) <= TOLERANCE for octave in (0.5, 1.0, 2.0))


def beat_alignment(strength: NDArray[np.float64], bpm: float, first_beat: float = 0.0) -> float:
    """How much begins within 30 ms of the beats of a grid, relative to the whole clip: 1 is chance, NaN silence.

    Args:
        strength: `engine.evaluation.onsets.onset_strength`.
        bpm: of the grid.
        first_beat: when a beat falls, in seconds.
    """
    mean = strength.mean() if len(strength) else 0.0
    if mean <= 0:
        return float("nan")
    beats = (np.arange(len(strength)) / RATE - first_beat) * bpm / 60
    near = np.abs(beats - np.round(beats)) * 60 / bpm <= _BEAT_SECONDS
    return float(strength[near].mean() / mean) if near.any() else float("nan")


@cache
def _tempos() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    octaves = np.arange(0, np.log2(FASTEST / SLOWEST), 1 / _STEPS_PER_OCTAVE)
    tempos = SLOWEST * 2**octaves
    return tempos, np.exp(-0.5 * (np.log2(tempos / _PREFERRED) / _OCTAVES) ** 2)
