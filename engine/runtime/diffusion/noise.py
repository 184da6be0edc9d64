"""Where a diffusion model's noise comes from: drawn by position, so that any piece of a stream hears the same noise."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_BLOCK = 1 << 14
"""Samples that are drawn at once. It is part of what a seed means: another size makes other noise."""
_MASK = (1 << 64) - 1


class Noise(Protocol):
    """Gives Gaussian noise of unit variance."""

    def draw(self, band: int, draw: int, first: int, shape: tuple[int, int, int]) -> Tensor:
        """Noise for a piece of a sound.

        Args:
            band: which of the diffusion models it is for.
            draw: which of its draws: 0 is where it begins, the others follow the steps.
            first: position of the piece in the stream, in samples.
            shape: ``(batch, channels, samples)``.
        """


class PositionedNoise:
    """Noise that depends on seed, band, draw and position alone, whatever was drawn before.

    Args:
        seed: any whole number.
        device: where it is drawn. Another kind of device draws other noise from the same seed.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._device = device
        self._generator = torch.Generator(device)

    def draw(self, band: int, draw: int, first: int, shape: tuple[int, int, int]) -> Tensor:
        """As `Noise.draw`."""
        batch, channels, samples = shape
        blocks = []
        for block in range(first // _BLOCK, (first + samples - 1) // _BLOCK + 1):
            self._generator.manual_seed(mixed(self._seed, band, draw, block))
            blocks.append(torch.randn(batch, channels, _BLOCK, generator=self._generator, device=self._device))
        return torch.cat(blocks, -1)[..., first % _BLOCK :][..., :samples]


class SequentialNoise:
    """Noise in the order in which it is asked for, as AudioCraft draws it from one generator.

    Args:
        generator: where it comes from.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def draw(self, band: int, draw: int, first: int, shape: tuple[int, int, int]) -> Tensor:
        """As `Noise.draw`, but for that only the order counts."""
        return torch.randn(shape, generator=self._generator, device=self._generator.device)


def mixed(*values: int) -> int:
    """One number of 63 bits from several, each bit of which changes it all over: SplitMix64 (Steele et al. 2014), chained."""
    state = 0
    for value in values:
        state = (state + (value & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
