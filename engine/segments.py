"""Streams of a model that decodes whole segments (MAGNeT): what a request asks of it, and the sampler that does it."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from engine.checkpoints.bundle import ModelBundle, UsualSampling
from engine.journal.replay import Recording
from engine.runtime.conditions import Condition, Mix
from engine.runtime.magnet import MagnetConfig, MagnetSampler
from engine.runtime.sampling import SamplingSettings
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Generate, StreamRequest

_MOST_STEPS = 500
_NOTHING_ASKED = Generate()


def read_steps(text: str, codebooks: int) -> tuple[int, ...] | None:
    """The passes for each codebook that a request asks for; None for the model's own.

    Raises:
        RequestError: about ``steps``.
    """
    if not text.strip():
        return None
    allowed = f"{codebooks} whole numbers from 1 to {_MOST_STEPS}, such as {' '.join(['20', '10', '10', '10', '10'][:codebooks])}"
    words = re.split(r"[\s,]+", text.strip())
    if len(words) != codebooks or not all(word.isascii() and word.isdigit() and len(word) < 5 for word in words):
        raise RequestError(ErrorCode.MALFORMED, "steps", text, allowed)
    steps = tuple(map(int, words))
    if not 1 <= min(steps) <= max(steps) <= _MOST_STEPS:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "steps", text, allowed)
    return steps


def decoding_of(request: StreamRequest, config: MagnetConfig) -> MagnetConfig:
    """How the segments of a stream are decoded.

    Raises:
        RequestError: about ``steps``.
    """
    steps = read_steps(request.steps, len(config.decoding_steps)) or config.decoding_steps
    return replace(config, decoding_steps=steps, final_guidance=request.final_guidance, arrangement=request.spans)


def settings_of(request: StreamRequest, usual: UsualSampling) -> tuple[SamplingSettings, str]:
    """How tokens are drawn, and a note of it in words.

    MAGNeT was made for other settings than the protocol's defaults, which are MusicGen's: a value that is such a default is taken
    to be not asked for. Top-k alone is asked for by a ``top_k`` of one's own without ``top_p``.

    Args:
        request: as it came in.
        usual: how the model is sampled where nothing is asked for.
    """
    own = {
        name: getattr(request, name)
        for name in ("temperature", "top_k", "top_p", "guidance")
        if getattr(request, name) != getattr(_NOTHING_ASKED, name)
    }
    if "top_k" in own:
        own.setdefault("top_p", 0.0)
    settings = replace(SamplingSettings(usual.temperature, usual.top_k, usual.top_p, usual.guidance), **own)
    chosen = f"top_p {settings.top_p:g}" if settings.top_p else f"top_k {settings.top_k}"
    note = (
        f"this model decodes whole segments, at temperature {settings.temperature:g}, {chosen}, "
        f"guidance {settings.guidance:g} to {request.final_guidance:g}"
    )
    if settings.top_p and settings.top_k:
        note = f"{note}; top_k is left out, since top_p goes before it"
    return settings, note


def segment_sampler(
    bundle: ModelBundle,
    request: StreamRequest,
    condition: Condition | Mix,
    settings: SamplingSettings,
    *,
    seed: int,
    stride: int,
    prompt: Tensor | None,
    new_frames: int | None,
    recording: Recording | None,
) -> MagnetSampler:
    """The sampler of a stream.

    Args:
        bundle: with a MAGNeT model.
        request: as it came in.
        condition: what the stream follows at first.
        settings: how tokens are drawn at first.
        seed: that is used.
        stride: in frames.
        prompt: ``[codebooks, frames]``, or None.
        new_frames: of new material, None without an end.
        recording: what was made of it before.

    Raises:
        RequestError: about ``steps``.
    """
    assert bundle.magnet is not None
    prompt_frames = 0 if prompt is None else prompt.shape[1]
    past = None
    if recording is not None:
        known = torch.from_numpy(recording.codes[: request.from_frame].T.astype("int64"))
        past = (known if prompt is None else torch.cat((prompt.cpu(), known), dim=1))[None]
    return MagnetSampler(
        bundle.lm,
        decoding_of(request, bundle.magnet),
        [condition],
        settings,
        total_frames=None if new_frames is None else prompt_frames + new_frames,
        prompt=None if prompt is None else prompt[None],
        window_frames=bundle.lm.config.max_positions,
        stride_frames=stride,
        seed=seed,
        past=past,
    )
