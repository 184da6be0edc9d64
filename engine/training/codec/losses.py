"""What a codec is trained to make small, and how several such things share one gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.spectral_network import mel_filters

_FLOOR = 1e-5
"""Of mel magnitudes, where a sine of amplitude 1 is near 1 in a band as narrow as itself: -100 dB."""


class MultiScaleMel(nn.Module):
    """The distance of log mel spectra at several resolutions, and of the magnitudes themselves.

    The mean absolute difference of natural logarithms makes quiet and loud count alike; the difference of magnitudes,
    a tenth of the weight, keeps the loud parts right. (Yamamoto et al. 2020, arXiv:1910.11480, for several
    resolutions; Défossez et al. 2022 and Kumar et al. 2023, arXiv:2306.06546, for mel spectra of codecs.)

    Args:
        sample_rate: in Hz.
        windows: samples per spectrum at each resolution; the hop is a quarter.
        bands: mel bands at each resolution.
    """

    def __init__(self, sample_rate: int, windows: tuple[int, ...], bands: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = windows
        for window, count in zip(windows, bands, strict=True):
            self.register_buffer(f"taper_{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"mel_{window}", mel_filters(window // 2 + 1, count, sample_rate), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Compare ``[batch, 1, samples]``; a scalar."""
        total = made.new_zeros(())
        for window in self.windows:
            first, second = self.mel(made, window), self.mel(real, window)
            total = total + F.l1_loss(first.log(), second.log()) + 0.1 * F.l1_loss(first, second) / second.mean()
        return total / len(self.windows)

    def mel(self, audio: Tensor, window: int) -> Tensor:
        """Mel magnitudes ``[batch, frames, bands]``, not below the floor."""
        taper, filters = self.get_buffer(f"taper_{window}"), self.get_buffer(f"mel_{window}")
        frames = F.pad(audio[:, 0], (window // 2, window // 2)).unfold(1, window, window // 4) * taper
        parts = torch.view_as_real(torch.fft.rfft(frames))
        magnitude = (parts.square().sum(-1) + 1e-7).sqrt() * (4 / window)
        return (magnitude @ filters).clamp(min=_FLOOR)


class LogMel(nn.Module):
    """The distance of log mel spectra that codecs are measured by: the mean absolute difference of log10 magnitudes, 1 is 20 dB.

    80 bands, windows of 2048 samples, hop 512; magnitudes below -80 dB (of a sine of amplitude 1) count as -80 dB.
    """

    _WINDOW, _BANDS, _QUIETEST = 2048, 80, 1e-4

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self._spectra = MultiScaleMel(sample_rate, (self._WINDOW,), (self._BANDS,))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Compare ``[batch, 1, samples]``; a scalar."""
        return F.l1_loss(self.spectrum(made), self.spectrum(real))

    def spectrum(self, audio: Tensor) -> Tensor:
        """Logarithms to base 10 of mel magnitudes, ``[batch, frames, bands]``, for ``[batch, 1, samples]``."""
        return self._spectra.mel(audio, self._WINDOW).clamp(min=self._QUIETEST).log10()


def discriminator_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """The hinge loss of a discriminator whose last map per scale is its verdict."""
    losses = [F.relu(1 - one[-1]).mean() + F.relu(1 + two[-1]).mean() for one, two in zip(real, made, strict=True)]
    return torch.stack(losses).mean()


def adversarial_loss(made: list[list[Tensor]]) -> Tensor:
    """The hinge loss of the generator."""
    return torch.stack([F.relu(1 - maps[-1]).mean() for maps in made]).mean()


def feature_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """How far the discriminator's inner maps are apart, relative to their size (Défossez et al. 2022, eq. 3)."""
    losses = [
        F.l1_loss(second, first.detach()) / first.detach().abs().mean().clamp(min=1e-6)
        for one, two in zip(real, made, strict=True)
        for first, second in zip(one[:-1], two[:-1], strict=True)
    ]
    return torch.stack(losses).mean()


class Balancer:
    """Gives every loss a fixed share of the gradient at the codec's output, whatever its scale.

    The loss balancer of EnCodec (Défossez et al. 2022, section 3.4): each gradient with respect to the audio is
    divided by a running average of its norm before the weights apply.

    Args:
        decay: of the running averages.
    """

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = decay
        self.norms: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def gradient(self, losses: Mapping[str, Tensor], output: Tensor, shares: Mapping[str, float]) -> Tensor:
        """The balanced gradient of the losses with respect to ``output``, a leaf ``[batch, channels, samples]``.

        Args:
            losses: scalars that depend on ``output``; a gradient that is not finite is left out.
            output: the codec's audio.
            shares: of the gradient, relative to one another; a loss without one has none.
        """
        shares = {name: shares[name] for name in losses if shares.get(name, 0.0) > 0}
        whole = sum(shares.values())
        total = torch.zeros_like(output)
        for name, share in shares.items():
            (gradient,) = torch.autograd.grad(losses[name], output, retain_graph=True)
            norm = float(gradient.flatten(1).norm(dim=1).mean())
            if not math.isfinite(norm):
                continue
            count = self._counts[name] = self._counts.get(name, 0) + 1
            # The average of all so far until there are enough of them for the decay.
            decay = min(self.decay, 1 - 1 / count)
            self.norms[name] = decay * self.norms.get(name, 0.0) + (1 - decay) * norm
            total += gradient * (share / whole / max(self.norms[name], 1e-12))
        return total / output.shape[0]

    def state_dict(self) -> dict[str, dict[str, float]]:
        return {"norms": dict(self.norms), "counts": {name: float(count) for name, count in self._counts.items()}}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.norms = dict(state["norms"])
        self._counts = {name: int(count) for name, count in state["counts"].items()}
