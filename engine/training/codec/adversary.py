"""The game between a codec and the discriminator."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.training.codec.discriminator import Discriminator
from engine.training.codec.losses import adversarial_loss, discriminator_loss, feature_loss


class Adversary:
    """The discriminator and its optimiser.

    Args:
        windows: samples per spectrum at each resolution.
        filters: channels of the discriminator.
        rate: its learning rate.
        crops: how many of a batch's crops it hears.
        samples: how long a part of each.
        bf16: whether it computes in bfloat16.
    """

    def __init__(
        self, windows: tuple[int, ...], filters: int, rate: float, crops: int, samples: int, bf16: bool
    ) -> None:
        self.discriminator = Discriminator(windows, filters)
        self.optimiser = self._make_optimiser(rate)
        self._rate, self._crops, self._samples, self._bf16 = rate, crops, samples, bf16

    def to(self, device: torch.device) -> Adversary:
        """Move to a device; before the first `play`."""
        self.discriminator.to(device)
        self.optimiser = self._make_optimiser(self._rate)
        return self

    def set_rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def play(
        self, output: Tensor, audio: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """One step of the discriminator, then what it says to the codec; on few and short crops, since it costs the most.

        Args:
            output: what the codec made, ``[batch, 1, samples]``.
            audio: what it should have made.
            generator: chooses the crops.

        Returns:
            The losses ``adversarial`` and ``feature``, which depend on ``output``; and numbers for the metrics:
            ``discriminator``, its own loss, which is 2 for one that cannot tell at all, and ``verdict_gap``, how much higher it
            rates the original.
        """
        count, length = min(self._crops, len(audio)), min(self._samples, audio.shape[2])
        chosen = torch.randperm(len(audio), generator=generator)[:count].to(audio.device)
        start = int(torch.randint(audio.shape[2] - length + 1, (), generator=generator))
        real = audio[chosen, :, start : start + length]
        made = output[chosen, :, start : start + length]
        report = self._learn(real, made.detach())
        self.discriminator.requires_grad_(False)
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=self._bf16):
            with torch.no_grad():
                real_maps = self.discriminator(real)
            made_maps = self.discriminator(made)
            losses = {"adversarial": adversarial_loss(made_maps), "feature": feature_loss(real_maps, made_maps)}
        self.discriminator.requires_grad_(True)
        return losses, report

    def _learn(self, real: Tensor, made: Tensor) -> dict[str, float]:
        with torch.autocast(real.device.type, torch.bfloat16, enabled=self._bf16):
            real_maps, made_maps = self.discriminator(real), self.discriminator(made)
            loss = discriminator_loss(real_maps, made_maps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.discriminator.parameters() if parameter.grad is not None]
        if bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
            self.optimiser.step()
        gaps = [
            one[-1].detach().mean() - two[-1].detach().mean() for one, two in zip(real_maps, made_maps, strict=True)
        ]
        return {"discriminator": float(loss.detach()), "verdict_gap": float(torch.stack(gaps).mean())}

    def _make_optimiser(self, rate: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(self.discriminator.parameters(), lr=rate, betas=(0.5, 0.9), weight_decay=0.0)
