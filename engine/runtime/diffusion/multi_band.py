"""MultiBandDiffusion: several diffusion models, each for a band of the sound, that hear a codec's latents.

The method is that of San Roman et al., "From Discrete Tokens to High-Fidelity Audio Using Multi-Band Diffusion" (NeurIPS 2023), the
figures AudioCraft's: what `MultiBandDiffusion.render` gives equals its ``tokens_to_wav`` where both hear the same noise.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.runtime.diffusion.filters import FilterBank
from engine.runtime.diffusion.noise import Noise
from engine.runtime.diffusion.schedule import USUAL_STEPS, NoiseSchedule
from engine.runtime.diffusion.unet import DiffusionUNet
from protocols.errors import ErrorCode, RequestError

EQUALISER_BANDS = 32
"""Bands in which the sound is given the level of the codec's, as in AudioCraft."""


@dataclass(frozen=True)
class BandLevels:
    """How a diffusion model's space is turned back into sound: each band has its own level and mean there.

    Attributes:
        bank: of the bands.
        gains: ``[bands]``.
        mean: of all bands together, in the sound.
    """

    bank: FilterBank
    gains: Tensor
    mean: float

    def restored(self, sound: Tensor) -> Tensor:
        """The sound ``[..., samples]`` that stands for one in the model's space."""
        return self.bank.weighted(sound, self.gains) + self.mean


@dataclass(frozen=True)
class DiffusionBand:
    """One of the diffusion models.

    Attributes:
        network: estimates noise.
        schedule: of the noise.
        levels: of the model's space; None where that is the sound itself.
    """

    network: DiffusionUNet
    schedule: NoiseSchedule
    levels: BandLevels | None


class MultiBandDiffusion:
    """The diffusion models of a package. Immutable; any thread.

    Args:
        bands: the models, whose sounds add up.
        sample_rate: of the sound, in Hz.
        device: where they are.
        codebooks: of the codec, per channel, that they were trained with; None where that is not known.

    Attributes:
        condition_size: of the codec's latents that they hear; None for models that hear none.
        channels: of the sound.

    Raises:
        RequestError: ``unsupported`` for models that differ in channels or in what they hear.
    """

    def __init__(
        self, bands: Sequence[DiffusionBand], sample_rate: int, device: torch.device, *, codebooks: int | None = None
    ) -> None:
        if not bands:
            raise RequestError(ErrorCode.EMPTY, "n_bands", 0, "one model or more")
        self.bands = tuple(bands)
        self.sample_rate = sample_rate
        self.device = device
        self.codebooks = codebooks
        sizes = {(band.network.config.codec_dim, band.network.config.channels) for band in bands}
        if len(sizes) > 1:
            found = ", ".join(f"{size} and {channels}" for size, channels in sorted(sizes, key=str))
            raise RequestError(ErrorCode.UNSUPPORTED, "codec_dim and channels", found, "the same in each model")
        ((self.condition_size, self.channels),) = sizes
        self._equaliser = FilterBank(EQUALISER_BANDS, sample_rate, device)

    @property
    def parameters(self) -> int:
        """How many weights the models have together."""
        return sum(weights.numel() for band in self.bands for weights in band.network.parameters())

    def runs(self, steps: int) -> int:
        """How many times a network runs for one sound."""
        return steps * len(self.bands)

    def render(
        self, condition: Tensor, reference: Tensor, noise: Noise, *, first: int = 0, steps: int = USUAL_STEPS
    ) -> Tensor:
        """Make the sound of a piece as a whole.

        Args:
            condition: the codec's latents ``[batch, size, frames]``.
            reference: the codec's own sound ``[batch, channels, samples]``, whose length and levels it gets.
            noise: that it begins with.
            first: position of the piece in the stream, in samples.
            steps: that each model takes.

        Returns:
            float32 ``[batch, channels, samples]``.
        """
        running = self.rendering(condition, reference, noise, first=first, steps=steps)
        while True:
            try:
                next(running)
            except StopIteration as over:
                made: Tensor = over.value
                return made

    @torch.inference_mode()
    def rendering(
        self, condition: Tensor, reference: Tensor, noise: Noise, *, first: int = 0, steps: int = USUAL_STEPS
    ) -> Generator[None, None, Tensor]:
        """As `render`, with a rest after each run of a network, so that other work can be done between two of them."""
        shape = (reference.shape[0], reference.shape[1], reference.shape[2])
        condition = condition.float()
        total = torch.zeros(shape, device=self.device)
        for number, band in enumerate(self.bands):
            scale, clip = band.schedule.noise_scale, band.schedule.clip
            sound = noise.draw(number, 0, first, shape) * scale
            for turn, step in enumerate(band.schedule.steps(steps), 1):
                estimate = band.network(sound, step.step, condition) * scale
                sound = (sound - step.share * estimate) / step.root
                if step.deviation:
                    sound = sound + step.deviation * noise.draw(number, turn, first, shape) * scale
                if clip:
                    sound = sound.clamp(-clip, clip)
                yield
            total += sound if band.levels is None else band.levels.restored(sound)
        return self._equalised(total, reference)

    def _equalised(self, sound: Tensor, reference: Tensor) -> Tensor:
        """The sound with the reference's level in each of 32 bands; all channels have the same gains."""
        own, wanted = self._equaliser.deviations(sound), self._equaliser.deviations(reference)
        # A band that is silent stays so; a piece of one sample has no deviation at all.
        gains = torch.where(own > 0, wanted / own.clamp(min=torch.finfo(own.dtype).tiny), 0.0)
        return self._equaliser.weighted(sound, torch.nan_to_num(gains, nan=1.0, posinf=0.0))
