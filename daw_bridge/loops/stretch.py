"""Sound made longer or shorter at the same pitch, so that a loop follows the clock's tempo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_S = 0.02
"""Half of a grain: what lies between two of them."""

SLACK_S = 0.006
"""How far a grain may be from where the tempo puts it, so that it fits the one before."""

_COARSE = 4  # samples that are taken together where a grain's place is looked for first
_PULL = 0.02  # by how much more alike a place must be to be taken that is as far off as can be
_SILENCE = 1e-12


def stretch(sound: NDArray[np.float32], frames: int, sample_rate: int) -> NDArray[np.float32]:
    """The same sound in ``frames`` frames.

    Waveform similarity overlap-add (W. Verhelst and M. Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for
    high quality time-scale modification of speech", 1993). A grain's error of place is not passed on to the next, so that beats
    stay where they belong, to `SLACK_S` and as much of `HALF_S` as the length changes by. The first grain is where it was.

    Args:
        sound: ``[samples, channels]``.
        frames: wanted.
        sample_rate: Hz.
    """
    hop = round(HALF_S * sample_rate / _COARSE) * _COARSE
    slack = round(SLACK_S * sample_rate / _COARSE) * _COARSE
    pace = (len(sound) - 1) / max(1, frames - 1)
    padded = np.pad(sound, ((slack, 3 * hop + slack), (0, 0)))
    # Not a plain sum, in which a side that is the other one turned over would be lost.
    mono = padded @ np.linspace(1, 0.7, sound.shape[1], dtype=np.float32)
    whole = len(mono) // _COARSE
    coarse = mono[: whole * _COARSE].reshape(whole, _COARSE).mean(axis=1)
    window = (0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * hop) + 0.5) / hop)).astype(np.float32)[:, np.newaxis]
    out: NDArray[np.float32] = np.zeros((frames + 2 * hop, sound.shape[1]), np.float32)
    head = sound[:hop]
    out[: len(head)] = head * (1 - window[: len(head)])  # nothing fades in there
    previous = slack - hop
    for start in range(0, frames, hop):
        # The middle of a grain is where the tempo puts it, so that what it holds is off by half its length at most.
        meant = slack + min(max(0, round((start + hop) * pace) - hop), len(sound) - 1)
        place = slack if start == 0 else _closest(mono, coarse, meant, previous + hop, hop, slack)
        grain = padded[place : place + 2 * hop]
        out[start : start + 2 * hop] += grain * window[: len(grain)]
        previous = place
    return out[:frames]


def _closest(
    mono: NDArray[np.float32], coarse: NDArray[np.float32], meant: int, natural: int, hop: int, slack: int
) -> int:
    """Where, around ``meant``, the sound is most like the natural continuation of the last grain."""
    small, middle = hop // _COARSE, slack // _COARSE
    first = max(0, (meant - slack) // _COARSE)
    wanted = coarse[natural // _COARSE : natural // _COARSE + small]
    best = first + _most_alike(coarse[first : first + 2 * middle + small], wanted, middle)
    around = max(0, (best - 1) * _COARSE + natural % _COARSE)
    return around + _most_alike(mono[around : around + 2 * _COARSE + hop], mono[natural : natural + hop], _COARSE)


def _most_alike(sound: NDArray[np.float32], wanted: NDArray[np.float32], middle: int) -> int:
    """Offset at which ``sound`` correlates best with what is wanted; what is as good nearer to ``middle`` is better."""
    count = len(sound) - len(wanted) + 1
    if count <= 1:
        return 0
    product = np.correlate(sound, wanted, "valid")
    sums = np.concatenate(([0.0], np.cumsum(np.square(sound, dtype=np.float64))))
    power = (sums[len(wanted) :] - sums[: -len(wanted)]) * float(np.square(wanted, dtype=np.float64).sum())
    away = (np.arange(count) - middle) / middle
    return int(np.argmax(product / np.sqrt(power + _SILENCE) - _PULL * away**2))
