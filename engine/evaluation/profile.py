"""Everything that is measured of one clip by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.chroma import key_chroma
from engine.evaluation.levels import is_clipping, is_silent
from engine.evaluation.onsets import onset_rate, onset_strength
from engine.evaluation.spectra import embed, spectral_centroid
from engine.evaluation.tempo import estimate_tempo

Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Profile:
    """What is measured of a clip.

    Attributes:
        strength: `engine.evaluation.onsets.onset_strength`.
        tempo: estimated, in beats per minute; 0 where there is none.
        onset_rate: per second.
        chroma: `engine.evaluation.chroma.key_chroma`.
        centroid: in Hz; NaN for silence.
        embedding: `engine.evaluation.spectra.embed`.
        silent: whether it is, as `engine.evaluation.levels` says.
        clipping: whether it does.
    """

    strength: NDArray[np.float64]
    tempo: float
    onset_rate: float
    chroma: NDArray[np.float64]
    centroid: float
    embedding: NDArray[np.float64]
    silent: bool
    clipping: bool


def profile(samples: Samples, sample_rate: int) -> Profile:
    """Measure a clip ``[samples]``."""
    silent, samples = is_silent(samples, sample_rate), np.nan_to_num(samples)
    strength = onset_strength(samples, sample_rate)
    return Profile(
        strength=strength,
        tempo=estimate_tempo(strength),
        onset_rate=onset_rate(strength),
        chroma=key_chroma(samples, sample_rate),
        centroid=spectral_centroid(samples, sample_rate),
        embedding=embed(samples, sample_rate),
        silent=silent,
        clipping=is_clipping(samples),
    )


def profiles(
    clips: Sequence[Samples], sample_rate: int, threads: int = 1, tell: Callable[[int], None] = lambda done: None
) -> list[Profile]:
    """Measure clips, several at once; ``tell`` hears how many are done."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = []
        for one in pool.map(lambda samples: profile(samples, sample_rate), clips):
            found.append(one)
            tell(len(found))
    return found


def mean(values: Sequence[float]) -> float:
    """The mean of what is a number; NaN when nothing is."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
