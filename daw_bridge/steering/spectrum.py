"""What a hop of sound is, in few numbers: power by third of an octave, with and without the ear's weighting, and its colour.

Loudness is that of ITU-R BS.1770-4, measured in the spectrum: the K-weighting is applied to the power of Hann windows that overlap
by half, which agrees with the filters to about a tenth of a dB and needs no filter of its own. So one transform of a hop tells its
loudness and what an equaliser would make of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

HOP_SECONDS = 0.1
LOWEST_HZ = 25.0
_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
_FLOOR = 1e-20

Bands = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HopSpectrum:
    """One hop, heard through a window twice as long that ends with it.

    Attributes:
        power: mean square in each band, summed over channels: ``[bands]``.
        weighted: the same, K-weighted.
        flatness: geometric by arithmetic mean of the power between 200 Hz and 10 kHz (Johnston 1988), 0 to 1; 1 is white noise.
        centroid_hz: centre of the magnitude spectrum; 0 for silence.
    """

    power: Bands
    weighted: Bands
    flatness: float
    centroid_hz: float


@dataclass(frozen=True, eq=False)
class BandLayout:
    """The bands at one sample rate: thirds of an octave from 25 Hz to half the rate.

    Attributes:
        sample_rate: in Hz.
        hop: samples.
        centres: in Hz, ``[bands]``.
    """

    sample_rate: int
    hop: int
    centres: NDArray[np.float64]
    _starts: NDArray[np.intp]
    _taper: NDArray[np.float64]
    _frequencies: NDArray[np.float64]
    _ear: NDArray[np.float64]
    _flat: slice

    def measure(self, window: NDArray[np.float32]) -> HopSpectrum:
        """Measure the last hop of ``window`` ``[2 hops, channels]``."""
        samples = window.astype(np.float64).T
        spectrum = np.fft.rfft(samples * self._taper, axis=-1)
        each = np.square(spectrum.real) + np.square(spectrum.imag)
        each *= 2.0 / (np.square(self._taper).sum() * samples.shape[1])
        weights = np.array(_CHANNEL_WEIGHTS)[np.minimum(np.arange(len(each)), len(_CHANNEL_WEIGHTS) - 1)]
        power = each.sum(axis=0)
        weighted = (weights @ each) * self._ear
        magnitude = np.sqrt(power)
        total = float(magnitude.sum())
        flat = power[self._flat]
        mean = float(flat.mean())
        flatness = float(np.exp(np.log(flat + _FLOOR).mean())) / mean if mean > _FLOOR else 0.0
        return HopSpectrum(
            np.add.reduceat(power, self._starts)[:-1],
            np.add.reduceat(weighted, self._starts)[:-1],
            min(1.0, flatness),
            float(magnitude @ self._frequencies) / total if total > 0 else 0.0,
        )


@cache
def band_layout(sample_rate: int) -> BandLayout:
    """The bands at a rate of at least 8 kHz."""
    hop = max(1, round(HOP_SECONDS * sample_rate))
    size = 2 * hop
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate).astype(np.float64)
    count = max(1, math.floor(3 * math.log2(sample_rate / 2 / LOWEST_HZ)))
    edges = LOWEST_HZ * 2 ** (np.arange(count + 1) / 3)
    edges[-1] = sample_rate / 2
    # A third of an octave below 50 Hz is narrower than a bin: such bands share one with their neighbours.
    starts = np.maximum.accumulate(np.searchsorted(frequencies, edges))
    starts[-1] = len(frequencies) - 1
    usable = np.flatnonzero(np.diff(starts) > 0)
    starts = np.append(starts[usable], starts[-1])
    centres = np.sqrt(frequencies[starts[:-1]] * frequencies[np.maximum(starts[1:] - 1, starts[:-1])])
    taper = np.hanning(size + 1)[:-1].astype(np.float64)
    low, high = np.searchsorted(frequencies, (200.0, min(10_000.0, 0.45 * sample_rate)))
    ear = np.square(np.abs(ear_response(frequencies, sample_rate)))
    return BandLayout(sample_rate, hop, centres, starts, taper, frequencies, ear, slice(int(low), int(high)))


def ear_response(frequencies: NDArray[np.float64], sample_rate: int) -> NDArray[np.complex128]:
    """The K-weighting of BS.1770-4: a high shelf and a high-pass as biquads (R. Bristow-Johnson's forms), as pyloudnorm's."""
    response: NDArray[np.complex128] = np.ones(len(frequencies), np.complex128)
    z = np.exp(-2j * np.pi * frequencies / sample_rate)
    for numerator, denominator in (_high_shelf(1500.0, 4.0, sample_rate), _high_pass(38.0, 0.5, sample_rate)):
        response *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return response


def lufs_of(energy: float) -> float:
    """K-weighted mean square, summed over channels, as LUFS; silence is -120."""
    return -0.691 + 10 * math.log10(energy) if energy > 1.2e-12 else -120.0


def _high_shelf(centre: float, gain_db: float, sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    root = 10 ** (gain_db / 40)
    cosine = math.cos(2 * math.pi * centre / sample_rate)
    bend = math.sin(2 * math.pi * centre / sample_rate) / math.sqrt(2) * 2 * math.sqrt(root)
    numerator = (root + 1 + (root - 1) * cosine + bend, -2 * (root - 1 + (root + 1) * cosine))
    third = root + 1 + (root - 1) * cosine - bend
    denominator = (root + 1 - (root - 1) * cosine + bend, 2 * (root - 1 - (root + 1) * cosine))
    last = root + 1 - (root - 1) * cosine - bend
    return root * np.array([*numerator, third]), np.array([*denominator, last])


def _high_pass(centre: float, quality: float, sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cosine = math.cos(2 * math.pi * centre / sample_rate)
    bend = math.sin(2 * math.pi * centre / sample_rate) / (2 * quality)
    return (
        np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2]),
        np.array([1 + bend, -2 * cosine, 1 - bend]),
    )
