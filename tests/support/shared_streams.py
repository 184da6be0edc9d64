"""Streams of tiny models without a text encoder, whose sound is their codes, and a scheduler whose clock is moved by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.conditioning.score import ChangingScore
from engine.conditioning.words import Directions
from engine.hearing import Hearing
from engine.runtime.conditions import Condition, Mix
from engine.runtime.lm import MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.scheduler import Scheduler
from engine.stream import AudioBlock, EngineEvent, EngineStream, StreamEnded
from tests.support.random_lms import Scale, Waves, text

WINDOW, STRIDE = 24, 15
HOP, RATE = 8, 400
"""Samples of a frame, and in a second: 50 frames."""


class Echo:
    """A decoder whose sound is the codes: what is sampled is heard at once, sample by sample."""

    def __init__(self) -> None:
        self.batch, self.frames_done, self.samples_done, self.ended = 1, 0, 0, False
        self.lookahead_samples = self.state_bytes = 0

    def decode(self, codes: Tensor) -> Tensor:
        return torch.cat((codes, codes)).T.reshape(1, -1).float()

    def flush(self) -> Tensor:
        return torch.zeros(1, 0)


def condition(lm: MusicgenLM, number: int) -> Condition:
    score = Waves(0.1 + 0.07 * number) if lm.score_weight is not None else None
    melody = Scale(number) if lm.config.chroma_frames else None
    return lm.condition(text(number, 4 + number), score=score, melody=melody)


class Told(Hearing):
    """What is heard is the words and nothing else, so that an LM without a text encoder can be told something."""

    @property
    def condition(self) -> Condition | Mix:
        return self.words[0][0] if len(self.words) == 1 else Mix(tuple(self.words))


def hearing(words: Sequence[tuple[Condition, float]]) -> Hearing:
    directions = Directions("a song")
    score = ChangingScore.steady(directions.score(Fraction(50), first=0), 1)
    return Told(tuple(words), score, scored=False, directions=directions)


def stream(
    lm: Any,
    number: int,
    words: Sequence[tuple[Condition, float]],
    *,
    total: int | None = 30,
    prompt: int = 0,
    lead: float = 100.0,
    chunk: int = 4,
    window: tuple[int, int] = (WINDOW, STRIDE),
    **others: Any,
) -> EngineStream:
    heard = hearing(words)
    codes = torch.randint(0, lm.card, (1, 4, prompt), generator=torch.Generator().manual_seed(number))
    sampler = FrameSampler(
        lm,
        [heard.condition],
        SamplingSettings(),
        total_frames=None if total is None else total + prompt,
        prompt=codes,
        window_frames=window[0],
        stride_frames=window[1],
        seed=number,
        prefill_chunk=chunk,
    )
    samples = None if total is None else total * HOP
    lead_samples = round(lead * RATE)
    return EngineStream(
        number, sampler, heard, Echo(), RATE, HOP, samples, lead_samples, prompt_frames=prompt, **others
    )


@dataclass
class Desk:
    """A scheduler, what it says, and a clock that is moved by hand."""

    now: float = 0.0
    events: list[EngineEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.collected: list[int] = []
        self.scheduler = Scheduler(
            self.events.append, max_running=64, clock=lambda: self.now, collect=self.collected.append
        )

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.scheduler.step(wait_seconds=1e-6)

    def samples(self, number: int) -> np.ndarray:
        blocks = [event for event in self.events if isinstance(event, AudioBlock) and event.stream == number]
        assert [block.sequence for block in blocks] == list(range(len(blocks)))
        return np.concatenate([block.samples for block in blocks]) if blocks else np.zeros((0, 1), np.float32)

    def ended(self, number: int) -> StreamEnded | None:
        ends = [event for event in self.events if isinstance(event, StreamEnded) and event.stream == number]
        return ends[0] if ends else None
