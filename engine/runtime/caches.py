"""Keys and values in eight bits: a step reads a quarter of what it would read of the past in single precision.

Each number of each head has a scale of its own, found once, from what the model hears of its own samples: the numbers of keys
differ by orders of magnitude, and go on doing so (Hooper et al., "KVQuant", 2024, and Liu et al., "KIVI", 2024, scale keys by
channel for that reason). A scale that does not change lets each column be rounded by itself: no row depends on its neighbours or
on what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM

_STREAMS, _COLUMNS, _SEED = 4, 48, 20
_HEADROOM = 2.0
"""Of the largest number found; what goes beyond is cut off, which costs more than coarser steps do: words, scores and melodies of a
stream bring larger numbers than a few columns without any."""
_TOP = 127


class CacheScales(NamedTuple):
    """What the codes of one layer's cached keys and values are multiplied with, ``[kv_heads · head_dim]`` each."""

    keys: Tensor
    values: Tensor


def as_cached(x: Tensor, scales: Tensor) -> Tensor:
    """Keys or values ``[rows, kv_heads, n, head_dim]`` as they are once they have been in a cache of eight bits."""
    steps = scales.view(1, x.shape[1], 1, x.shape[3])
    return (x / steps).round_().clamp_(-_TOP - 1, _TOP).mul_(steps)


@torch.inference_mode()
def find_scales(lm: MusicgenLM) -> list[CacheScales]:
    """Scales for a model's caches, layer by layer, from a few columns that it samples without a text. Always the same for a model.

    Args:
        lm: with caches in single precision.
    """
    config = lm.config
    columns = min(_COLUMNS, config.max_positions - config.chroma_frames - 1)
    session = lm.session([lm.condition(None)] * _STREAMS, columns, guided=False)
    generator = torch.Generator(lm.device).manual_seed(_SEED)
    codes = torch.full((_STREAMS, config.num_codebooks, 1), config.special_token, device=lm.device)
    for _ in range(columns):
        chances = lm(codes, session).float().softmax(dim=-1).flatten(0, 2)
        codes = torch.multinomial(chances, 1, generator=generator).view(codes.shape)
    used = session.prefix_length + session.position
    found = []
    for memory in session.layers:
        largest = memory.keys_values[:, :, :, :used].float().abs().amax(dim=(1, 3)).flatten(1)
        keys, values = (_HEADROOM / _TOP * largest).clamp_(min=torch.finfo(torch.float32).tiny)
        found.append(CacheScales(keys.contiguous(), values.contiguous()))
    return found
