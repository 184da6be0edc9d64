"""Spectra of clips: where their weight lies, how far two of them are apart, and the statistics by which sets are compared."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.runtime.spectral_network import mel_filters

RESOLUTIONS = (512, 1024, 2048)
"""Windows in samples of the multi-resolution STFT; the hop is a quarter."""

_FLOOR = 1e-5
_CENTROID_SECONDS = 0.064
_GATE_DB = -40.0
_EMBEDDING_BANDS = 32
_EMBEDDING_SECONDS = 0.064
_MEL_FLOOR = 1e-4


def spectral_centroid(samples: NDArray[np.float32], sample_rate: int) -> float:
    """The mean over time of the spectrum's centre of mass (magnitudes), in Hz; NaN for silence.

    Frames of 64 ms that are more than 40 dB below the loudest are left out.
    """
    magnitude = _magnitude(samples, round(_CENTROID_SECONDS * sample_rate / 2) * 2)
    level = magnitude.sum(axis=1) if len(magnitude) else np.zeros(1)
    if level.max() < 1e-6:
        return float("nan")
    heard = level > level.max() * 10 ** (_GATE_DB / 20)
    hertz = np.arange(magnitude.shape[1]) * sample_rate / (2 * (magnitude.shape[1] - 1))
    return float(((magnitude[heard] @ hertz) / level[heard]).mean())


def multi_resolution_distance(made: Tensor, real: Tensor) -> float:
    """How far the spectra of ``[clips, samples]`` are apart, averaged over `RESOLUTIONS` and clips; 0 for equal sound.

    Spectral convergence plus the mean absolute difference of natural logarithms of magnitudes, above -100 dB of a sine of
    amplitude 1 (Yamamoto et al., "Parallel WaveGAN", 2020, eq. 4 to 6).
    """
    total = 0.0
    for window in RESOLUTIONS:
        first, second = (_stft(one, window) for one in (made, real))
        difference = torch.linalg.vector_norm(first - second, dim=(1, 2))
        convergence = difference / torch.linalg.vector_norm(second, dim=(1, 2)).clamp(min=_FLOOR)
        logarithmic = (first.clamp(min=_FLOOR).log() - second.clamp(min=_FLOOR).log()).abs().mean((1, 2))
        total += float((convergence + logarithmic).mean())
    return total / len(RESOLUTIONS)


def embed(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """The statistics of each whole second of a clip, ``[seconds, 64]``: mean and standard deviation of 32 log10 mel magnitudes.

    Magnitudes below -80 dB (of a sine of amplitude 1) count as -80 dB.
    """
    size = round(_EMBEDDING_SECONDS * sample_rate / 2) * 2
    count = len(samples) // sample_rate
    mel = np.log10(np.maximum(_magnitude(samples, size) @ _mel(sample_rate, size), _MEL_FLOOR))
    per_second = mel.shape[0] // max(1, count) if count else 0
    windows = mel[: count * per_second].reshape(count, per_second, _EMBEDDING_BANDS)
    if not count:
        return np.zeros((0, 2 * _EMBEDDING_BANDS))
    return np.concatenate([windows.mean(axis=1), windows.std(axis=1)], axis=1)


def _magnitude(samples: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Magnitudes ``[frames, bins]`` of windows half of which overlap; a sine of amplitude 1 peaks at 1."""
    if len(samples) < size:
        return np.zeros((0, size // 2 + 1))
    taper = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[:: size // 2]
    return np.asarray(np.abs(np.fft.rfft(frames * taper)) * (2 / taper.sum()))


def _stft(audio: Tensor, window: int) -> Tensor:
    taper = torch.hann_window(window, device=audio.device)
    spectrum = torch.stft(audio, window, window // 4, window=taper, return_complex=True)
    return spectrum.abs() * (2 / taper.sum())


@cache
def _mel(sample_rate: int, size: int) -> NDArray[np.float64]:
    return mel_filters(size // 2 + 1, _EMBEDDING_BANDS, sample_rate).numpy().astype(np.float64)
