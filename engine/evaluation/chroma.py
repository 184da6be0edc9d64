"""Which pitch classes sound in a clip, how many of them are in a key, and whether they follow a melody.

The spectrum's peaks are taken, and not its bins, so that leakage and broad-band sound count for little (Gómez, "Tonal
Description of Music Audio Signals", 2006); drums are reduced by median filters over time and frequency (Fitzgerald,
"Harmonic/Percussive Separation Using Median Filtering", 2010); what is below 100 Hz, where a semitone is narrower than a bin, is
left out.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

PITCH_CLASSES = 12

KEY_RATE = 15.625
"""Frames per second of `key_chroma`."""
MELODY_RATE = 31.25
"""Frames per second of `melody_chroma`."""

ROLL_LOWEST, ROLL_KEYS = 36, 60
"""Of `piano_roll`: the C two octaves below middle C, and five octaves."""

_KEY_WINDOW, _MELODY_WINDOW = 0.256, 0.128
_KEY_HERTZ = (100.0, 2000.0)
_MELODY_HERTZ = (200.0, 2000.0)
_ROLL_HERTZ = (65.0, 2050.0)
_MELODY_CENTRE, _MELODY_WIDTH = 72.0, 8.0
_HARMONIC_SECONDS = 0.576
_PERCUSSIVE_HERTZ = 66.0
_TINY = 1e-12


def key_chroma(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Energy of each pitch class, C first, ``[frames, 12]`` at `KEY_RATE`, of spectral peaks from 100 to 2000 Hz.

    Args:
        samples: ``[samples]``, mono.
        sample_rate: in Hz.
    """
    frequency, energy = _peaks(samples, sample_rate, _KEY_WINDOW, KEY_RATE, _KEY_HERTZ)
    return _fold(_pitch(frequency), energy)


def melody_chroma(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """As `key_chroma`, of where melodies are: weighted by a Gaussian of 8 semitones around the C above middle C.

    ``[frames, 12]`` at `MELODY_RATE`. Frame ``i`` is centred at ``i / MELODY_RATE`` seconds.
    """
    frequency, energy = _peaks(samples, sample_rate, _MELODY_WINDOW, MELODY_RATE, _MELODY_HERTZ)
    pitch = _pitch(frequency)
    return _fold(pitch, energy * np.exp(-0.5 * np.square((pitch - _MELODY_CENTRE) / _MELODY_WIDTH)))


def piano_roll(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Energy of each key of a piano as it is heard, harmonics included: ``[frames, ROLL_KEYS]`` at `MELODY_RATE`."""
    frequency, energy = _peaks(samples, sample_rate, _MELODY_WINDOW, MELODY_RATE, _ROLL_HERTZ)
    keys = np.round(_pitch(frequency)).astype(np.int64) - ROLL_LOWEST
    return np.stack([np.where(keys == key, energy, 0).sum(axis=1) for key in range(ROLL_KEYS)], axis=1)


def share_in_key(chroma: NDArray[np.float64], scale: Collection[int]) -> float:
    """The share of the energy of `key_chroma` in a scale; NaN without energy. White noise gives 7/12 with seven notes."""
    total = chroma.sum()
    return float(chroma[:, sorted(scale)].sum() / total) if total > _TINY else float("nan")


def melody_cosine(chroma: NDArray[np.float64], pitches: NDArray[np.int64]) -> float:
    """The mean cosine of chroma and melody over the frames in which the melody sounds; NaN where it never does.

    The melody's chroma is 1 at its pitch class. So a frame of it alone gives 1, and one in which a second pitch class is as strong
    0.7. A silent frame gives 0.

    Args:
        chroma: `melody_chroma`.
        pitches: the melody ``[frames]`` at the same moments, below 0 where it rests.
    """
    at, frames = _sounding(chroma, pitches)
    if not len(frames):
        return float("nan")
    return float((frames[np.arange(len(at)), at] / np.maximum(np.linalg.norm(frames, axis=1), _TINY)).mean())


def melody_agreement(chroma: NDArray[np.float64], pitches: NDArray[np.int64]) -> float:
    """The share of the frames in which the melody sounds whose strongest pitch class is the melody's; NaN where it never does.

    A frame without any energy agrees with nothing.
    """
    at, frames = _sounding(chroma, pitches)
    if not len(frames):
        return float("nan")
    return float(((frames.argmax(axis=1) == at) & (frames.max(axis=1) > _TINY)).mean())


def _sounding(chroma: NDArray[np.float64], pitches: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    count = min(len(chroma), len(pitches))
    sounds = pitches[:count] >= 0
    return pitches[:count][sounds], chroma[:count][sounds]


def _peaks(
    samples: NDArray[np.float32], sample_rate: int, window: float, rate: float, band: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequency in Hz and energy of each bin that is a peak of the harmonic part, both ``[frames, bins]``; energy 0 elsewhere."""
    size, hop = round(window * sample_rate / 2) * 2, round(sample_rate / rate)
    count = len(samples) // hop
    if not count:
        return np.ones((0, 1)), np.zeros((0, 1))
    padded = np.pad(samples.astype(np.float64), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: count * hop : hop]
    spacing = sample_rate / size
    # A little more than the band, so that the filters see both sides of its edges.
    highest = min(size // 2, round(1.1 * band[1] / spacing))
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1]))[:, : highest + 1]
    magnitude *= _harmonic(magnitude, round(_HARMONIC_SECONDS * rate) | 1, round(_PERCUSSIVE_HERTZ / spacing) | 1)

    left, centre, right = magnitude[:, :-2], magnitude[:, 1:-1], magnitude[:, 2:]
    is_peak = (centre >= left) & (centre > right)
    energy = np.where(is_peak, np.square(left) + np.square(centre) + np.square(right), 0)
    a, b, c = (np.log(np.maximum(part, _TINY)) for part in (left, centre, right))
    # The vertex of the parabola through three points of the logarithm (Smith and Serra, "PARSHL", 1987).
    bend = a - 2 * b + c
    shift = np.clip(np.divide(0.5 * (a - c), bend, out=np.zeros_like(bend), where=bend < -_TINY), -0.5, 0.5)
    frequency = (np.arange(1, highest) + shift) * spacing
    energy[(frequency < band[0]) | (frequency > band[1])] = 0
    return frequency, energy


def _harmonic(magnitude: NDArray[np.float64], frames: int, bins: int) -> NDArray[np.float64]:
    """How much of each bin lasts, from 0 to 1."""
    lasting = np.square(median_filter(magnitude, (frames, 1)))
    sudden = np.square(median_filter(magnitude, (1, bins)))
    return np.asarray(lasting / (lasting + sudden + _TINY))


def _pitch(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """MIDI key numbers, with fractions."""
    return np.asarray(69 + 12 * np.log2(frequency / 440))


def _fold(pitch: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
    classes = np.round(pitch).astype(np.int64) % PITCH_CLASSES
    return np.stack([np.where(classes == index, energy, 0).sum(axis=1) for index in range(PITCH_CLASSES)], axis=1)
