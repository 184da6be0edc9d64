"""How good a codec is, on crops it has not been trained on, and the curves of its training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from engine.training.codec.journal import MetricsFile
from engine.training.codec.losses import MultiScaleMel

_LOG = logging.getLogger(__name__)

_WINDOW = 2048
_BANDS = 80
_FLOOR = 1e-4
_QUIET = 1e-3


@dataclass(frozen=True)
class CodecQuality:
    """What a codec does to audio, averaged over clips.

    Attributes:
        log_mel: mean absolute difference of log10 mel magnitudes: 1 is 20 dB. 80 bands, windows of 2048 samples, hop
            512, magnitudes below -80 dB (of a sine of amplitude 1) count as -80 dB.
        si_sdr: scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019); clips quieter than -60 dBFS are
            left out.
        level: RMS of the decoded audio over that of the original, in dB, median over the same clips; far below 0 is
            a collapse to silence.

    The last two are NaN when all clips are that quiet.
    """

    log_mel: float
    si_sdr: float
    level: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class QualityMeter:
    """Measures `CodecQuality`; holds the spectra's tables."""

    def __init__(self, sample_rate: int) -> None:
        self._mel = MultiScaleMel(sample_rate, (_WINDOW,), (_BANDS,))

    @torch.no_grad()
    def measure(self, codec: Callable[[Tensor], Tensor], audio: Tensor, batch: int = 16) -> CodecQuality:
        """Run ``codec``, from audio to audio of the same shape, over ``[clips, 1, samples]``, ``batch`` clips at once."""
        self._mel.to(audio.device)
        mel, ratio, level = [], [], []
        for real in torch.split(audio, batch):
            made = codec(real)
            first, second = (self._mel.mel(one, _WINDOW).clamp(min=_FLOOR).log10() for one in (made, real))
            mel.append((first - second).abs().mean((1, 2)))
            loud = real.square().mean((1, 2)).sqrt() > _QUIET
            ratio.append(si_sdr(made[loud, 0], real[loud, 0]))
            level.append(10 * ((made[loud].square().mean((1, 2)) + 1e-12) / real[loud].square().mean((1, 2))).log10())
        return CodecQuality(
            log_mel=float(torch.cat(mel).mean()),
            si_sdr=float(torch.cat(ratio).mean()),
            level=float(torch.cat(level).nanmedian()),
        )


def si_sdr(made: Tensor, real: Tensor) -> Tensor:
    """The scale-invariant signal-to-distortion ratio of ``[clips, samples]``, in dB, per clip."""
    scale = (made * real).sum(1, keepdim=True) / real.square().sum(1, keepdim=True).clamp(min=1e-12)
    target = scale * real
    return 10 * ((target.square().sum(1) + 1e-12) / ((made - target).square().sum(1) + 1e-12)).log10()


def plot_curves(lines: Path, picture: Path) -> bool:
    """Draw the numbers of a metrics file (JSON lines with ``step``) over the steps.

    Returns:
        Whether it was drawn: matplotlib is an optional package.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        _say_once("no curves are drawn: matplotlib is not installed (pip install 'daw-bridge[train]')")
        return False
    series: dict[str, list[tuple[int, float]]] = {}
    for line in MetricsFile(lines).read():
        step = line.pop("step")
        for name, value in line.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, []).append((step, float(value)))
    if not series:
        return False
    columns = 3
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(5 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (name, points) in enumerate(sorted(series.items())):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=80)
    return True


@cache
def _say_once(text: str) -> None:
    _LOG.info(text)
