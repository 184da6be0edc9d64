"""The delay pattern: which frame of each codebook stands at which step of the LM's sequence.

Step 0 holds no frame. Step ``s`` holds frame ``s - 1 - delay`` of a codebook with that delay, and the special token where there
is no such frame. A frame is complete at the step that holds its most delayed codebook. From Copet et al. (2023), section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DelayPattern:
    """A delay per codebook, in frames. MusicGen's are 0, 1, 2, 3; a stereo pair of codebooks shares one delay."""

    delays: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) < 0:
            raise ValueError(f"delays {self.delays} must be one or more numbers from 0 up")

    @classmethod
    def musicgen(cls, num_codebooks: int, channels: int) -> DelayPattern:
        """The pattern all MusicGen models were trained with; stereo codebooks come as left, right, left, right…"""
        return cls(tuple(codebook // channels for codebook in range(num_codebooks)))

    @property
    def num_codebooks(self) -> int:
        return len(self.delays)

    @property
    def max_delay(self) -> int:
        return max(self.delays)

    def steps(self, frames: int) -> int:
        """The length of the sequence that holds ``frames`` frames."""
        return frames + self.max_delay + 1

    def frame_at(self, step: int, codebook: int) -> int:
        """The frame of ``codebook`` at ``step``; negative or past the end where there is none."""
        return step - 1 - self.delays[codebook]

    def frame_completed_at(self, step: int) -> int:
        """The frame whose last codebook stands at ``step``; negative where none does."""
        return step - 1 - self.max_delay

    def sequence(self, codes: Tensor, frames: int, special_token: int) -> Tensor:
        """Lay out ``codes`` as the beginning of a sequence of ``frames`` frames.

        Args:
            codes: ``[batch, codebooks, n]`` with ``n <= frames``.
            frames: the length of the whole, in frames.
            special_token: fills every slot that ``codes`` leave open.

        Returns:
            ``[batch, codebooks, steps(frames)]``.
        """
        batch, _, known = codes.shape
        sequence = codes.new_full((batch, self.num_codebooks, self.steps(frames)), special_token)
        for codebook, delay in enumerate(self.delays):
            sequence[:, codebook, 1 + delay : 1 + delay + known] = codes[:, codebook]
        return sequence

    def slots(self, first: int, end: int, frames: int) -> Tensor:
        """Where frames ``first`` to ``end`` (not included) stand: boolean ``[codebooks, steps(frames)]``."""
        slots = torch.zeros(self.num_codebooks, self.steps(frames), dtype=torch.bool)
        for codebook, delay in enumerate(self.delays):
            slots[codebook, 1 + delay + first : 1 + delay + end] = True
        return slots

    def frames(self, sequence: Tensor, first: int, end: int) -> Tensor:
        """Read frames ``first`` to ``end`` (not included) of a sequence: ``[batch, codebooks, end - first]``, a copy."""
        columns = [
            sequence[:, codebook, 1 + delay + first : 1 + delay + end] for codebook, delay in enumerate(self.delays)
        ]
        return torch.stack(columns, dim=1)
