"""Several prompts at once, and prompts that turn into others.

**In embedding space** prompts become one text in between: the weighted mean of what the LM makes of them, token by token, the
shorter ones followed by zeros, which is what the null text is. Everything up to the keys and values of cross-attention is linear in
that text, so that these are what is averaged: a frame of a morph costs a sum.

**By guidance** each prompt is followed by itself and pulls with its weight; see `engine.runtime.session.Mix`. What a melody model
hears before the codes cannot change without being heard anew: its morphs are always made in this way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.runtime.conditions import Condition
from protocols.messages import BlendName

Words = tuple[tuple[Condition, float], ...]
"""Texts as the LM hears them, joined by guidance, with their shares of it, 1 in all."""

MOST_KEPT = 8
"""Of the prompts that a morph sets out from, where it interrupts another one again and again."""


@torch.inference_mode()
def blended(words: Words) -> Condition:
    """One text between several: their mean in embedding space. What is not text is that of the first one."""
    first = words[0][0]
    if len(words) == 1:
        return first
    keys_values = _mean([(condition.keys_values, share) for condition, share in words], dim=3)
    prefix = first.prefix
    if prefix is not None:
        texts = [(condition.prefix.text, share) for condition, share in words if condition.prefix is not None]
        prefix = dataclasses.replace(prefix, text=_mean(texts, dim=0))
    return dataclasses.replace(first, keys_values=keys_values, prefix=prefix)


def between(before: Words, after: Words, progress: float, blend: BlendName) -> Words:
    """The words on the way from some to others.

    Args:
        before: where the way begins.
        after: where it ends.
        progress: how much of it is behind, 0 to 1.
        blend: how both are joined.
    """
    if progress >= 1 or before is after:
        return after
    alone = len(before) == len(after) == 1 and after[0][0].prefix is None
    if blend == "embedding" and alone:
        return ((blended(((before[0][0], 1 - progress), (after[0][0], progress))), 1.0),)
    shares: dict[tuple[int, int], tuple[Condition, float]] = {}
    for words, weight in ((before, 1 - progress), (after, progress)):
        for condition, share in words:
            known, sum_so_far = shares.get(_identity(condition), (condition, 0.0))
            shares[_identity(condition)] = (known, sum_so_far + weight * share)
    return tuple(shares.values())


def heaviest(words: Words) -> Words:
    """At most `MOST_KEPT` of the words, those with the greatest shares, which are 1 in all again."""
    if len(words) <= MOST_KEPT:
        return words
    kept = sorted(words, key=lambda part: -part[1])[:MOST_KEPT]
    total = sum(share for _, share in kept)
    return tuple((condition, share / total) for condition, share in kept)


def _mean(parts: Sequence[tuple[Tensor, float]], dim: int) -> Tensor:
    """The weighted sum of tensors that may differ in length along ``dim``; what is missing counts as zeros."""
    shape = list(parts[0][0].shape)
    shape[dim] = max(tensor.shape[dim] for tensor, _ in parts)
    result = parts[0][0].new_zeros(shape)
    for tensor, share in parts:
        result.narrow(dim, 0, tensor.shape[dim]).add_(tensor, alpha=share)
    return result


def _identity(condition: Condition) -> tuple[int, int]:
    """Equal for two conditions of the same text, whatever melody and score stand beside it."""
    return id(condition.keys_values), id(condition.prefix and condition.prefix.text)
