"""A split as the codec's training wants it."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.training.data.sampler import Alignment, ClipSampler
from engine.training.data.shards import Split


class SplitClips:
    """Crops from anywhere in an audio split; an `engine.training.codec.clips.Clips`.

    Args:
        split: of audio, at the codec's sample rate.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self._samplers: dict[tuple[int, int], ClipSampler] = {}

    def crops(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw float32 crops ``[count, samples]`` in -1…1.

        Raises:
            RequestError: ``out_of_range`` when no piece is that long, ``unsupported`` for a split of codes.
        """
        sampler = self._samplers.get((count, samples))
        if sampler is None:
            sampler = ClipSampler(self._split, samples, count, seed=0, alignment=Alignment.ANY)
            self._samplers[count, samples] = sampler
        step = int(torch.randint(1 << 62, (), generator=generator))
        return torch.from_numpy(sampler.batch(step).audio)
