"""Cross-fades at constant power: from one sound into another without a click, a dip or a bump."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SILENCE = 1e-12


def crossfade(leaving: NDArray[np.float32], entering: NDArray[np.float32]) -> NDArray[np.float32]:
    """From one sound into another, as long as both are.

    The gains are the halves of a Hann window, divided so that the power stays the same for the correlation of the two sounds:
    what is equal is left as it is, what has nothing in common keeps its loudness. Opposite phases are taken for uncorrelated.

    Args:
        leaving: ``[samples, channels]``.
        entering: of the same shape.
    """
    count = len(leaving)
    if not count:
        return leaving
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count))[:, np.newaxis]
    power = float(np.sqrt(np.vdot(leaving, leaving) * np.vdot(entering, entering)))
    alike = float(np.vdot(leaving, entering)) / power if power > _SILENCE else 1.0
    scale = 1 / np.sqrt(rise**2 + (1 - rise) ** 2 + 2 * max(0.0, alike) * rise * (1 - rise))
    mixed: NDArray[np.float32] = ((leaving * (1 - rise) + entering * rise) * scale).astype(np.float32)
    return mixed
