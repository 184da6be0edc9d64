"""Measurements of a piece of audio, in the numbers an engineer would ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_files.loudness import MAX_METER_CHANNELS, MIN_METER_RATE, LoudnessMeter, decibels
from protocols.errors import ErrorCode, RequestError

SILENCE_DBFS = -60.0
# The highest value of 16-bit audio, so that clipping is found in files of every width.
CLIP_LEVEL = 1.0 - 2.0**-15

_SILENCE_WINDOW_SECONDS = 0.02
_FFT_SIZE = 8192
_SEGMENTS_AT_ONCE = 64
_METER_BLOCK = 65_536
# Nominal names of the octave bands of IEC 61260-1, from the fifth below 1 kHz up.
_NOMINAL_HZ = (31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
_OCTAVE = 10.0**0.3


@dataclass(frozen=True, slots=True)
class Measurement:
    """What ``measure`` found. Levels are in dB re full scale, over all channels; silence is minus infinity.

    Attributes:
        seconds: length.
        rms_dbfs: level of the root mean square; a full-scale sine has -3.01.
        peak_dbfs: highest sample.
        lufs: integrated loudness (ITU-R BS.1770-4); None under 0.4 s, under 8 kHz, or over five channels.
        spectral_centroid_hz: centre of the average magnitude spectrum (Peeters 2004); None for silence.
        silent_share: share of 20 ms windows under -60 dBFS, 0 to 1.
        clipped_samples: samples at full scale.
        dc_offset: mean of the channel that is furthest from zero, linear.
        octave_bands_dbfs: pairs of nominal centre in Hz and level in that octave, for bands that begin below half the
            sample rate.
    """

    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    lufs: float | None
    spectral_centroid_hz: float | None
    silent_share: float
    clipped_samples: int
    dc_offset: float
    octave_bands_dbfs: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        loudness = "no loudness" if self.lufs is None else f"{self.lufs:.1f} LUFS"
        centroid = (
            "no centroid" if self.spectral_centroid_hz is None else f"centroid {self.spectral_centroid_hz:.0f} Hz"
        )
        bands = "  ".join(f"{hz:g}: {level:.1f}" for hz, level in self.octave_bands_dbfs)
        return (
            f"{self.seconds:.2f} s, {self.rms_dbfs:.1f} dBFS RMS, peak {self.peak_dbfs:.1f} dBFS, {loudness}, "
            f"{centroid}, {self.silent_share:.0%} silent, {self.clipped_samples} clipped, "
            f"DC {self.dc_offset:+.5f}\noctaves in dBFS: {bands}"
        )


def measure(audio: npt.NDArray[np.floating], sample_rate: int) -> Measurement:
    """Measure audio ``[channels, samples]`` or ``[samples]``, full scale at 1.0.

    Raises:
        RequestError: about ``audio``: BAD_TYPE (no floats, or another shape), EMPTY, MALFORMED (NaN or infinite
            samples); about ``sample_rate``: OUT_OF_RANGE.
    """
    samples = _checked(audio, sample_rate)
    power = _power_spectrum(samples)
    frequencies = np.fft.rfftfreq(_FFT_SIZE, 1.0 / sample_rate)
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    means = samples.mean(axis=1, dtype=np.float64)
    return Measurement(
        seconds=samples.shape[1] / sample_rate,
        rms_dbfs=decibels(math.sqrt(mean_square)),
        peak_dbfs=decibels(float(np.abs(samples).max())),
        lufs=_loudness(samples, sample_rate),
        spectral_centroid_hz=_centroid(power, frequencies),
        silent_share=_silent_share(samples, sample_rate),
        clipped_samples=int(np.count_nonzero(np.abs(samples) >= CLIP_LEVEL)),
        dc_offset=float(means[np.argmax(np.abs(means))]),
        octave_bands_dbfs=_octave_bands(power, frequencies, sample_rate),
    )


def _checked(audio: npt.NDArray[np.floating], sample_rate: int) -> npt.NDArray[np.floating]:
    if sample_rate < 1:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "sample_rate", sample_rate, "1 Hz or more")
    if not isinstance(audio, np.ndarray) or audio.dtype.kind != "f" or audio.ndim not in (1, 2):
        held = f"{audio.dtype} {audio.shape}" if isinstance(audio, np.ndarray) else type(audio).__name__
        raise RequestError(ErrorCode.BAD_TYPE, "audio", held, "floats [channels, samples] or [samples]")
    if audio.size == 0:
        raise RequestError(ErrorCode.EMPTY, "audio", audio.shape, "at least one sample")
    not_finite = audio.size - int(np.count_nonzero(np.isfinite(audio)))
    if not_finite:
        held = f"{not_finite} NaN or infinite samples"
        raise RequestError(ErrorCode.MALFORMED, "audio", held, "finite samples only")
    return np.atleast_2d(audio)


def _power_spectrum(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Mean square per FFT bin by Welch's method (1967): Hann windows, half overlapped, averaged over channels."""
    length = samples.shape[1]
    width = min(length, _FFT_SIZE)
    # Periodic, and never zero at the first sample, which may be the only one.
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(width) + 0.5) / width)
    starts = np.arange(0, length - width + 1, max(1, width // 2))
    if starts[-1] + width < length:
        starts = np.append(starts, length - width)
    total = np.zeros(_FFT_SIZE // 2 + 1)
    for first in range(0, len(starts), _SEGMENTS_AT_ONCE):
        places = starts[first : first + _SEGMENTS_AT_ONCE, None] + np.arange(width)
        spectrum = np.fft.rfft(samples[:, places] * window, n=_FFT_SIZE, axis=-1)
        total += (np.square(spectrum.real) + np.square(spectrum.imag)).sum(axis=(0, 1))
    total[1:-1] *= 2.0  # the half of the spectrum that rfft leaves out
    return np.asarray(total / (len(samples) * len(starts) * np.square(window).sum() * _FFT_SIZE))


def _centroid(power: npt.NDArray[np.float64], frequencies: npt.NDArray[np.floating]) -> float | None:
    magnitude = np.sqrt(power)
    total = float(magnitude.sum())
    return float(magnitude @ frequencies) / total if total > 0.0 else None


def _octave_bands(
    power: npt.NDArray[np.float64], frequencies: npt.NDArray[np.floating], sample_rate: int
) -> tuple[tuple[float, float], ...]:
    bands = []
    for index, nominal in enumerate(_NOMINAL_HZ):
        low = 1000.0 * _OCTAVE ** (index - 5 - 0.5)
        if low >= sample_rate / 2:
            break
        inside = (frequencies >= low) & (frequencies < low * _OCTAVE)
        bands.append((nominal, decibels(math.sqrt(float(power[inside].sum())))))
    return tuple(bands)


def _silent_share(samples: npt.NDArray[np.floating], sample_rate: int) -> float:
    width = max(1, round(_SILENCE_WINDOW_SECONDS * sample_rate))
    starts = np.arange(0, samples.shape[1], width)
    energy = np.add.reduceat(np.square(samples, dtype=np.float64).mean(axis=0), starts)
    lengths = np.diff(np.append(starts, samples.shape[1]))
    return float(np.mean(energy / lengths < 10.0 ** (SILENCE_DBFS / 10.0)))


def _loudness(samples: npt.NDArray[np.floating], sample_rate: int) -> float | None:
    channels, length = samples.shape
    if channels > MAX_METER_CHANNELS or sample_rate < MIN_METER_RATE:
        return None
    meter = LoudnessMeter(sample_rate, channels)
    for start in range(0, length, _METER_BLOCK):
        meter.push(samples[:, start : start + _METER_BLOCK].T)
    return meter.integrated()
