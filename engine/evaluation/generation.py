"""What a model makes of requests: many clips side by side, each as the engine would make it alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.checkpoints import ModelBundle
from engine.conditioning.score import FrameMelody, Score
from engine.conditioning.words import Directions
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings

BATCH = 25
"""Clips that are sampled side by side."""

Samples = NDArray[np.float32]
Tell = Callable[[int], None]
"""Hears how many clips are done."""


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of the model.

    Attributes:
        prompt: as a user types it.
        melody: for models that hear a score; repeated if it is shorter than the clip.
        codes: of an audio prompt, ``[codebooks, frames]``. All requests of one batch have prompts of one length.
    """

    prompt: str
    melody: FrameMelody | None = None
    codes: Tensor | None = None

    @property
    def prompt_frames(self) -> int:
        return 0 if self.codes is None else self.codes.shape[-1]


def make_clips(
    bundle: ModelBundle,
    requests: Sequence[Request],
    seconds: Fraction,
    seed: int,
    settings: SamplingSettings | None = None,
    *,
    batch: int = BATCH,
    tell: Tell = lambda done: None,
) -> list[Samples]:
    """Make a clip of each request.

    Args:
        bundle: the model.
        requests: what is asked for.
        seconds: of new material.
        seed: of all draws; each clip's are its own, whatever stands beside it.
        settings: of sampling; the protocol's defaults if None.
        batch: clips side by side; requests with prompts of different lengths do not stand side by side.
        tell: hears how many clips are done.

    Returns:
        float32 ``[samples]`` for each, mono; with an audio prompt, the prompt as the codec has it comes first.
    """
    settings = settings or SamplingSettings()
    made: list[Samples] = []
    new_frames = math.ceil(seconds * bundle.frame_rate)
    for prompt_frames, group in itertools.groupby(requests, key=lambda request: request.prompt_frames):
        alike = list(group)
        for start in range(0, len(alike), batch):
            part = alike[start : start + batch]
            total = prompt_frames + new_frames
            seeds = [seed + len(made) + index for index in range(len(part))]
            rows = _sample(bundle, part, total, seeds, settings)
            samples = prompt_frames * bundle.hop_length + round(seconds * bundle.sample_rate)
            made += [decode(bundle, row, samples) for row in rows]
            tell(len(made))
    return made


def condition_of(bundle: ModelBundle, request: Request) -> Condition:
    """What the model hears of a request; as `engine.preparation` prepares a stream, with a melody where one is given."""
    directions = Directions(request.prompt)
    ((words, _),) = directions.prompts(scored=bundle.score)
    text = bundle.text.encode(words)
    score: Score | None = None
    if bundle.score:
        score = directions.score(bundle.frame_rate, first=request.prompt_frames)
        score = replace(score, melody=request.melody, origin=request.prompt_frames)
    return bundle.lm.condition(None if text.is_null else text.hidden, score=score)


def encode(bundle: ModelBundle, samples: Samples) -> Tensor:
    """Codes ``[codebooks, frames]`` of a mono clip."""
    return bundle.codec.encode(torch.from_numpy(samples).expand(bundle.channels, -1))


def decode(bundle: ModelBundle, codes: Tensor, samples: int) -> Samples:
    """The first ``samples`` of codes ``[codebooks, frames]``, mono; padded with silence where there are fewer."""
    audio = bundle.codec.decode(codes).mean(dim=0)[:samples].cpu().numpy()
    return np.pad(audio, (0, samples - len(audio))).astype(np.float32)


def _sample(
    bundle: ModelBundle, requests: Sequence[Request], total: int, seeds: Sequence[int], settings: SamplingSettings
) -> Tensor:
    """Codes ``[requests, codebooks, total]``, those of the audio prompts included."""
    known = [request.codes for request in requests if request.codes is not None]
    sampler = FrameSampler(
        bundle.lm,
        [condition_of(bundle, request) for request in requests],
        settings,
        total_frames=total,
        prompt=torch.stack(known) if known else None,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=seeds,
    )
    parts = [torch.stack(known).to(bundle.device)] if known else []
    while not sampler.done:
        frames = sampler.advance()
        if frames is not None:
            parts.append(frames)
    return torch.cat(parts, dim=2)
