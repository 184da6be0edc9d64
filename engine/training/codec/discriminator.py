"""The adversary: convolutions over complex spectra at several resolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.2


class SpectrumDiscriminator(nn.Module):
    """Judges the complex spectrum of one resolution, patch by patch.

    The layout of EnCodec's MS-STFT discriminator (Défossez et al. 2022, section 3.4): convolutions that are longer in
    frequency than in time, stride 2 in frequency, growing dilation in time.

    Args:
        window: samples per spectrum; the hop is a quarter.
        filters: channels of every layer.
    """

    taper: Tensor

    def __init__(self, window: int, filters: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        # Stride 2 from the first layer on: full resolution in frequency would be half of the whole cost.
        layers = [nn.Conv2d(2, filters, (3, 9), stride=(1, 2), padding=(1, 4))]
        for dilation in (1, 2, 4):
            layers.append(
                nn.Conv2d(filters, filters, (3, 9), stride=(1, 2), dilation=(dilation, 1), padding=(dilation, 4))
            )
        layers.append(nn.Conv2d(filters, filters, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.verdict = weight_norm(nn.Conv2d(filters, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """The maps of all layers for ``[batch, 1, samples]``, the verdict ``[batch, 1, frames, bins]`` last."""
        frames = audio[:, 0].unfold(1, self.window, self.window // 4) * self.taper
        spectrum = torch.view_as_real(torch.fft.rfft(frames, norm="ortho"))
        maps: list[Tensor] = []
        values = spectrum.permute(0, 3, 1, 2)
        for layer in self.layers:
            values = F.leaky_relu(layer(values), _SLOPE)
            maps.append(values)
        maps.append(self.verdict(values))
        return maps


class Discriminator(nn.Module):
    """One `SpectrumDiscriminator` per resolution; ``[batch, 1, samples]`` to their lists of maps."""

    def __init__(self, windows: tuple[int, ...], filters: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(SpectrumDiscriminator(window, filters) for window in windows)

    def forward(self, audio: Tensor) -> list[list[Tensor]]:
        return [scale(audio) for scale in self.scales]
