"""LMs of a few thousand random weights, made in memory, of each kind there is; and texts, melodies and scores for them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import CodebookPattern, DelayPattern

Kind = Literal["cross", "score", "prefix"]
KINDS: tuple[Kind, ...] = ("cross", "score", "prefix")
MUSICGEN_DELAYS = DelayPattern.musicgen(4, 1)
CARD, TEXT_DIM, CHROMA_FRAMES, BINS, FEATURES = 32, 24, 11, 12, 7


def random_lm(kind: Kind, pattern: CodebookPattern = MUSICGEN_DELAYS) -> MusicgenLM:
    """Text by cross-attention, beside a score or not, or before the codes after a melody. Logits differ clearly."""
    config = LMConfig(
        dim=32,
        layers=2,
        heads=4,
        ff_dim=64,
        pattern=pattern,
        card=CARD,
        text_dim=TEXT_DIM,
        text_projection=True,
        max_positions=400,
        chroma_frames=CHROMA_FRAMES if kind == "prefix" else 0,
        chroma_bins=BINS,
        score_features=FEATURES if kind == "score" else 0,
    )
    lm = MusicgenLM(config)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in lm.named_parameters():
        if "norm" not in name:
            parameter.normal_(0, 1.3 * parameter.shape[-1] ** -0.5, generator=generator)
    return lm


def text(seed: int, length: int = 5) -> Tensor:
    """Hidden states of a text, ``[length, TEXT_DIM]``."""
    return 2 * torch.randn(length, TEXT_DIM, generator=torch.Generator().manual_seed(seed))


def codes(frames: int, streams: int = 1) -> Tensor:
    """Codes ``[streams, 4, frames]`` in which special tokens occur."""
    return torch.randint(0, CARD + 1, (streams, 4, frames), generator=torch.Generator().manual_seed(5))


class Scale:
    """A melody that goes up with the frames of the stream, and counts how often it was asked."""

    def __init__(self, first: int) -> None:
        self.first, self.asked = first, 0

    def window(self, frame: int) -> Tensor:
        self.asked += 1
        return (torch.arange(CHROMA_FRAMES) + frame // 3 + self.first) % BINS


class Waves:
    """A score that differs from frame to frame, and counts how often it was asked."""

    def __init__(self, speed: float) -> None:
        self.speed, self.asked = speed, 0

    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        self.asked += 1
        phases = np.arange(frame, frame + count)[:, None] * self.speed * np.arange(1, FEATURES + 1)
        return np.sin(phases).astype(np.float32)
