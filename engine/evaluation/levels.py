"""Clips that are no use to anyone: silent ones, and ones that clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENT_DBFS = -50.0
"""RMS below which a clip, or a tenth of a second of it, is silent."""
SILENT_SHARE = 0.5
"""A clip of which more than this is silent is silent."""
FULL_SCALE = 0.999
"""Magnitude from which a sample clips."""
CLIPPED_SHARE = 0.001
"""A clip of which more samples than this clip is a clipping one."""

_WINDOW_SECONDS = 0.1


def is_silent(samples: NDArray[np.float32], sample_rate: int) -> bool:
    """Whether a clip ``[samples]`` is silent as a whole or for the greater part, or is no sound at all (NaN, no samples)."""
    if not len(samples) or not np.isfinite(samples).all():
        return True
    power = np.square(samples, dtype=np.float64)
    least = 10 ** (SILENT_DBFS / 10)
    width = min(len(power), round(_WINDOW_SECONDS * sample_rate))
    windows = power[: len(power) // width * width].reshape(-1, width).mean(axis=1)
    return bool(power.mean() < least or (windows < least).mean() > SILENT_SHARE)


def is_clipping(samples: NDArray[np.float32]) -> bool:
    """Whether too many samples of a clip ``[samples]`` are at full scale."""
    return bool(len(samples) and (np.abs(samples) >= FULL_SCALE).mean() > CLIPPED_SHARE)
