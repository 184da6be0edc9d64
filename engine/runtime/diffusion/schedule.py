"""The noise schedule of a diffusion model, and the coefficients of the steps back from noise to sound.

Ho et al., "Denoising Diffusion Probabilistic Models" (2020); the steps that are taken are some of those that the model was trained
on, as in Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021). The figures are AudioCraft's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from protocols.errors import ErrorCode, RequestError

USUAL_STEPS = 20
"""How many steps AudioCraft takes."""

_MOST_STEPS = 100_000


@dataclass(frozen=True)
class Step:
    """One step back: ``sound = (sound - share * noise) / root + deviation * fresh noise``.

    Attributes:
        step: of the schedule, which the model is told.
        share: of the estimated noise that is taken away.
        root: what the rest is divided by.
        deviation: of the noise that is added; 0 in the last step.
    """

    step: int
    share: float
    root: float
    deviation: float


@dataclass(frozen=True)
class NoiseSchedule:
    """How much noise each step has, under AudioCraft's names.

    Attributes:
        num_steps: of the schedule.
        beta_t0: variance that the first step adds.
        beta_t1: variance that the last step adds.
        beta_exp: exponent of the power between them.
        clip: bound of the sound after each step; 0 for none.
        noise_scale: what all noise is multiplied by.
    """

    num_steps: int = 1000
    beta_t0: float = 1e-4
    beta_t1: float = 0.02
    beta_exp: float = 1.0
    clip: float = 5.0
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.num_steps <= _MOST_STEPS:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "num_steps", self.num_steps, f"2 to {_MOST_STEPS}")
        for name in ("beta_t0", "beta_t1"):
            if not 0 < getattr(self, name) < 1:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self, name), "more than 0, less than 1")
        if not 0 < self.beta_exp <= 1000:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "beta_exp", self.beta_exp, "more than 0, at most 1000")
        if not 0 <= self.clip <= 1e6:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "clip", self.clip, "0 to 1000000")
        if not 0 <= self.noise_scale <= 1e6:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "noise_scale", self.noise_scale, "0 to 1000000")

    def visited(self, steps: int = USUAL_STEPS) -> list[int]:
        """The steps of the schedule that are taken, the noisiest first, and 0 behind them.

        Raises:
            RequestError: ``out_of_range`` for none, or more than the schedule has.
        """
        if not 1 <= steps < self.num_steps:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "steps", steps, f"1 to {self.num_steps - 1}")
        return [*(self.num_steps - 1 - turn * self.num_steps // steps for turn in range(steps)), 0]

    def steps(self, steps: int = USUAL_STEPS) -> list[Step]:
        """The steps back, in order.

        Raises:
            RequestError: as `visited`.
        """
        visited = self.visited(steps)
        # In single precision and in AudioCraft's order of operations: the products of a thousand factors differ otherwise.
        ends = self.beta_t0 ** (1 / self.beta_exp), self.beta_t1 ** (1 / self.beta_exp)
        betas = torch.linspace(*ends, self.num_steps, dtype=torch.float32) ** self.beta_exp
        kept = (1 - betas).cumprod(0)[visited]
        ratios = torch.cat((kept[:-1] / kept[1:], kept[-1:]))
        result = []
        for place, step in enumerate(visited[:-1]):
            # What is left of the sound in this step and in the next one that is visited.
            left = (1 - betas[: step + 1]).prod() if place else (1 - betas).prod()
            following = (1 - betas[: visited[place + 1] + 1]).prod()
            alpha = 1 - (1 - ratios[place])
            last = place == len(visited) - 2
            variance = torch.zeros([]) if last else (1 - following) / (1 - left) * (1 - alpha)
            share = (1 - alpha) / (1 - left).sqrt()
            deviation = max(float(variance), 0.0) ** 0.5
            result.append(Step(step, float(share), float(alpha.sqrt()), deviation))
        return result
