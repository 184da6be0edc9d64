"""Bands of a sound: low-pass filters at frequencies that lie evenly on the mel scale, and what is between them.

The filters are windowed sincs over 16 zero crossings of the lowest, as julius' ``SplitBands`` has them (A. Défossez), which
MultiBandDiffusion was trained with. The bands add up to the sound.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from protocols.errors import ErrorCode, RequestError

_ZERO_CROSSINGS = 8
MOST_BANDS = 256
_MOST_BYTES = 64 << 20
"""Of the filters' spectra that are kept."""


class FilterBank:
    """A sound's bands. Any thread; what it keeps for the next sound is put there in one go.

    Args:
        bands: how many.
        sample_rate: in Hz.
        device: of the sounds.
        filters: the low-pass filters ``[bands - 1, samples]``, an odd number of samples; None to compute them.

    Attributes:
        bands: how many.
        reach: how many samples before and after it a sample of a band depends on.
    """

    def __init__(self, bands: int, sample_rate: int, device: torch.device, filters: Tensor | None = None) -> None:
        if not 1 <= bands <= MOST_BANDS:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "n_bands", bands, f"1 to {MOST_BANDS}")
        self.bands = bands
        self.reach = 0
        self._filters = torch.zeros(0, 1, device=device)
        self._spectra: tuple[int, Tensor] | None = None
        if filters is not None:
            self.reach = filters.shape[1] // 2
            self._filters = filters.to(device, torch.float32, copy=True)
        elif bands > 1:
            self._filters = self._computed(sample_rate).to(device)

    def _computed(self, sample_rate: int) -> Tensor:
        highest = 2595 * math.log10(1 + sample_rate / 2 / 700)
        borders = 700 * (10 ** (torch.linspace(0.0, highest, self.bands + 1)[1:-1] / 2595) - 1)
        cutoffs = [float(border) / sample_rate for border in borders]
        self.reach = int(_ZERO_CROSSINGS / cutoffs[0] / 2)
        window = torch.hann_window(2 * self.reach + 1, periodic=False)
        time = torch.arange(-self.reach, self.reach + 1)
        rows = []
        for cutoff in cutoffs:
            phase = 2 * cutoff * math.pi * time
            row = 2 * cutoff * window * torch.where(phase == 0, 1.0, torch.sin(phase) / phase)
            rows.append(row / row.sum())
        return torch.stack(rows)

    def deviations(self, sound: Tensor) -> Tensor:
        """The standard deviation of each band over all samples and channels: ``[..., samples]`` to ``[bands]``."""
        flat = sound.reshape(-1, sound.shape[-1])
        if self.bands == 1:
            return flat.std()[None]
        size = self._size(flat.shape[-1])
        spectrum = self._spectrum(flat, size)
        result, below = [], torch.zeros_like(flat)
        for row in self._rows(size):
            low = self._cut(torch.fft.irfft(spectrum * row, size), flat.shape[-1])
            result.append((low - below).std())
            below = low
        result.append((flat - below).std())
        return torch.stack(result)

    def weighted(self, sound: Tensor, gains: Tensor) -> Tensor:
        """The sum of the bands ``[..., samples]``, each multiplied by its gain of ``[bands]``: one filter for all."""
        if self.bands == 1:
            return sound * gains[0]
        flat = sound.reshape(-1, sound.shape[-1])
        size = self._size(flat.shape[-1])
        joined = torch.fft.rfft(((gains[:-1] - gains[1:])[:, None] * self._filters).sum(0), size)
        filtered = torch.fft.irfft(self._spectrum(flat, size) * joined, size)
        return (self._cut(filtered, flat.shape[-1]) + flat * gains[-1]).view_as(sound)

    def _size(self, count: int) -> int:
        """Of a transform that holds a padded sound and a filter."""
        return 1 << (count + 4 * self.reach - 1).bit_length()

    def _spectrum(self, flat: Tensor, size: int) -> Tensor:
        """Of a sound whose first and last samples stand for what is beyond them."""
        spectrum: Tensor = torch.fft.rfft(F.pad(flat[:, None], (self.reach, self.reach), mode="replicate")[:, 0], size)
        return spectrum

    def _rows(self, size: int) -> Tensor:
        """The filters' spectra, kept for sounds of the same length."""
        kept = self._spectra
        if kept is None or kept[0] != size:
            kept = (size, torch.fft.rfft(self._filters, size))
            if kept[1].nbytes <= _MOST_BYTES:
                self._spectra = kept
        return kept[1]

    def _cut(self, filtered: Tensor, count: int) -> Tensor:
        return filtered[:, 2 * self.reach : 2 * self.reach + count]
