"""Where a stream can leave out a few milliseconds, or play them twice, without being heard.

A splice goes on at another place of the sound that looks the same, as waveform similarity overlap-add does (W. Verhelst and M.
Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for high quality time-scale modification of speech", 1993),
but once, and then not again for a while. Pitch stays as it is. Of all places at hand the one is taken where least is heard of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FADE_SECONDS = 0.016
REACH_SECONDS = 0.04
"""How far ahead a place is looked for."""
LONGEST_SECONDS = 0.02
"""The most that one splice leaves out or repeats."""
_STEP_SECONDS = 0.004
_SLACK_SECONDS = 0.003
"""How far a splice may miss the length that is wanted, so that periods of the sound match."""
_SLACK_SHARE = 0.5


@dataclass(frozen=True)
class Splice:
    """A place to splice.

    Attributes:
        at: sample from which on the fade goes over to ``at + skip``.
        skip: samples that are left out; negative: that many are heard again.
        roughness: energy of the difference between what fades out and what fades in, by that of the usual level; 0 is inaudible.
        alike: correlation of the two, -1 to 1.
    """

    at: int
    skip: int
    roughness: float
    alike: float


class Splicer:
    """Finds and makes splices.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.fade = max(2, round(FADE_SECONDS * sample_rate))
        self.reach = round(REACH_SECONDS * sample_rate)
        self.longest = round(LONGEST_SECONDS * sample_rate)
        self._step = max(1, round(_STEP_SECONDS * sample_rate))
        self._slack = round(_SLACK_SECONDS * sample_rate)
        self._rising = np.sin(np.pi / 2 * (np.arange(self.fade) + 0.5) / self.fade) ** 2

    @property
    def ahead(self) -> int:
        """Samples that it has to know from where it looks on; and `longest` before that."""
        return self.reach + self.fade + self.longest

    def find(self, sound: NDArray[np.float32], start: int, wanted: int, usual: float) -> Splice | None:
        """The best splice of about ``wanted`` samples, none of them of the other sign.

        Args:
            sound: ``[samples, channels]``.
            start: from where on it may be; `longest` samples are known before it and `ahead` after it.
            wanted: samples to leave out; negative: to hear again. No more than `longest`.
            usual: usual mean square of a sample, all channels together.
        """
        slack = min(self._slack, max(1, round(_SLACK_SHARE * abs(wanted))))
        least, most = sorted((abs(wanted) - slack, min(abs(wanted) + slack, self.longest)))
        skips = np.arange(max(1, least), most + 1) * (1 if wanted > 0 else -1)
        first, last = int(skips.min()), int(skips.max())
        best: Splice | None = None
        for at in range(start, start + self.reach, self._step):
            out = sound[at : at + self.fade].astype(np.float64)
            around = sound[at + first : at + last + self.fade].astype(np.float64)
            own = float(np.square(out).sum())
            sums = np.concatenate(([0.0], np.cumsum(np.square(around).sum(axis=1))))
            others = sums[self.fade :] - sums[: -self.fade]
            product = np.sum([np.correlate(a, b, "valid") for a, b in zip(around.T, out.T, strict=True)], axis=0)
            difference = np.maximum(own + others - 2 * product, 0)
            off = np.abs(np.arange(first, last + 1) - wanted) / self._slack
            index = int(np.argmin(difference * (1 + 0.5 * off**2)))
            roughness = float(difference[index]) / (self.fade * max(usual, 1e-12))
            if best is None or roughness < best.roughness:
                alike = float(product[index]) / max(1e-12, float(np.sqrt(own * others[index])))
                best = Splice(at, first + index, roughness, max(-1.0, min(1.0, alike)))
        return best

    def join(self, sound: NDArray[np.float32], splice: Splice) -> NDArray[np.float32]:
        """The fade of a splice, ``[fade, channels]``; its power is constant for how alike the two sides are."""
        out = sound[splice.at : splice.at + self.fade]
        into = sound[splice.at + splice.skip : splice.at + splice.skip + self.fade]
        rising = self._rising
        alike = max(0.0, splice.alike)
        level = 1 / np.sqrt(rising**2 + (1 - rising) ** 2 + 2 * alike * rising * (1 - rising))
        return np.asarray(out * ((1 - rising) * level)[:, None] + into * (rising * level)[:, None], np.float32)
