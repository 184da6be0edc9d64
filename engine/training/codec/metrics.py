"""How good a codec is, on crops it has not been trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from engine.training.codec.losses import LogMel

_QUIET = 1e-3


@dataclass(frozen=True)
class CodecQuality:
    """What a codec does to audio, averaged over clips.

    Attributes:
        log_mel: `engine.training.codec.losses.LogMel`.
        detail: how much the decoded log mel spectra change from one frame to the next, over how much the original's do:
            below 1 is blurred, above 1 is rough.
        si_sdr: scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019); clips quieter than -60 dBFS are
            left out.
        level: RMS of the decoded audio over that of the original, in dB, median over the same clips; far below 0 is
            a collapse to silence.

    ``si_sdr`` and ``level`` are NaN when all clips are that quiet, ``detail`` when no original changes.
    """

    log_mel: float
    detail: float
    si_sdr: float
    level: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class QualityMeter:
    """Measures `CodecQuality`; holds the spectra's tables."""

    def __init__(self, sample_rate: int) -> None:
        self._mel = LogMel(sample_rate)

    @torch.no_grad()
    def measure(self, codec: Callable[[Tensor], Tensor], audio: Tensor, batch: int = 16) -> CodecQuality:
        """Run ``codec``, from audio to audio of the same shape, over ``[clips, 1, samples]``, ``batch`` clips at once."""
        self._mel.to(audio.device)
        mel, ratio, level = [], [], []
        changes = torch.zeros(2, device=audio.device)
        for real in torch.split(audio, batch):
            made = codec(real)
            spectra = [self._mel.spectrum(one) for one in (made, real)]
            mel.append((spectra[0] - spectra[1]).abs().mean((1, 2)))
            changes += torch.stack([one.diff(dim=1).abs().sum() for one in spectra])
            loud = real.square().mean((1, 2)).sqrt() > _QUIET
            ratio.append(si_sdr(made[loud, 0], real[loud, 0]))
            level.append(10 * ((made[loud].square().mean((1, 2)) + 1e-12) / real[loud].square().mean((1, 2))).log10())
        return CodecQuality(
            log_mel=float(torch.cat(mel).mean()),
            detail=float(changes[0] / changes[1]) if changes[1] > 0 else math.nan,
            si_sdr=float(torch.cat(ratio).mean()),
            level=float(torch.cat(level).nanmedian()),
        )


def si_sdr(made: Tensor, real: Tensor) -> Tensor:
    """The scale-invariant signal-to-distortion ratio of ``[clips, samples]``, in dB, per clip."""
    scale = (made * real).sum(1, keepdim=True) / real.square().sum(1, keepdim=True).clamp(min=1e-12)
    target = scale * real
    return 10 * ((target.square().sum(1) + 1e-12) / ((made - target).square().sum(1) + 1e-12)).log10()
