"""Where crops of audio come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from protocols.errors import ErrorCode, RequestError


class Clips(Protocol):
    """A source of crops. Equal generators give equal crops, so that a training that is resumed hears what it would have heard."""

    def crops(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw float32 mono crops ``[count, samples]`` in -1…1, at the codec's sample rate."""


class MemoryClips:
    """Crops from anywhere in recordings that are held in memory, the longer ones more often.

    Args:
        recordings: float32 ``[samples]``, mono.

    Raises:
        RequestError: ``empty`` without a recording.
    """

    def __init__(self, recordings: Sequence[Tensor]) -> None:
        if not recordings:
            raise RequestError(ErrorCode.EMPTY, "recordings", allowed="at least one recording")
        self._recordings = list(recordings)
        self._lengths = torch.tensor([len(one) for one in recordings], dtype=torch.float64)

    def crops(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        """See `Clips`.

        Raises:
            RequestError: ``out_of_range`` when no recording is that long.
        """
        room = (self._lengths - samples + 1).clamp(min=0)
        if not bool(room.any()):
            allowed = f"at most {int(self._lengths.max())}, the longest recording"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "samples", samples, allowed)
        result = []
        for index in torch.multinomial(room, count, replacement=True, generator=generator).tolist():
            start = int(torch.randint(int(room[index]), (), generator=generator))
            result.append(self._recordings[index][start : start + samples])
        return torch.stack(result)
