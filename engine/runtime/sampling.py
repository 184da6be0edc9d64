"""From logits to tokens: guidance, temperature, top-k and top-p, as AudioCraft defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from protocols.errors import ErrorCode, RequestError


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn. The defaults are MusicGen's.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: keep only the k most likely tokens (and those as likely as the k-th); 0 keeps all.
        top_p: keep only the most likely tokens that reach this probability together; takes the place of ``top_k``
            when above 0.
        guidance: how far to go from the unconditional logits towards the conditional ones, and beyond them above 1
            (classifier-free guidance, AudioCraft's ``cfg_coef``).

    Raises:
        RequestError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    guidance: float = 3.0

    def __post_init__(self) -> None:
        checks = (
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 <= self.top_p <= 1, "0 to 1"),
            ("guidance", True, "any finite number"),
        )
        for field, inside, allowed in checks:
            value = getattr(self, field)
            if not math.isfinite(value) or not inside:
                raise RequestError(ErrorCode.OUT_OF_RANGE, field, value, allowed)


class Blend(NamedTuple):
    """How much each conditional row counts in its stream; both are ``[parts, streams]``.

    ``rows`` says which row is a stream's first, second… part, and ``weights`` what it counts. A stream of fewer parts than another
    repeats one of its rows with a weight of 0, which adds nothing.
    """

    rows: Tensor
    weights: Tensor


def guide(logits: Tensor, guidance: float, blend: Blend | None = None) -> Tensor:
    """Join the rows of every stream: ``[rows, …]``, conditional rows first, then a null row per stream, to ``[streams, …]``.

    Of several conditional rows of a stream, the weighted sum takes the place of the one: with weights that add up to 1 that is
    composed guidance, ``null + guidance · Σ weight · (conditional - null)`` (Liu et al., 2022). It is added part by part, so that a
    stream's result is the same whatever stands beside it.

    Args:
        logits: of any floating type; the result is in single precision.
        guidance: see `SamplingSettings`.
        blend: which rows belong to which stream; None where each stream has one.
    """
    rows = logits.float()
    if blend is None:
        conditional, null = rows.chunk(2)
    else:
        streams = blend.rows.shape[1]
        single, null = rows[:-streams], rows[-streams:]
        weights = blend.weights.view(*blend.weights.shape, *[1] * (rows.dim() - 1))
        conditional = single[blend.rows[0]] * weights[0]
        for part, weight in zip(blend.rows[1:], weights[1:], strict=True):
            conditional = conditional + single[part] * weight
    return torch.add(null, conditional - null, alpha=guidance)


def sample(logits: Tensor, settings: SamplingSettings, generator: torch.Generator) -> Tensor:
    """Draw one token from each distribution.

    Args:
        logits: ``[…, card]``, guided.
        settings: temperature, top-k and top-p; guidance is not looked at.
        generator: on the logits' device. Greedy choices leave it untouched.

    Returns:
        ``[…]`` tokens. Nothing waits for the device.
    """
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    return sample_from(_probabilities(logits, settings), settings, generator)


def sample_together(logits: Tensor, settings: SamplingSettings, generators: Sequence[torch.Generator]) -> Tensor:
    """As `sample`, for several streams of the same settings at once, each of which draws from a generator of its own.

    Args:
        logits: ``[streams, …, card]``, guided.
        settings: see `sample`; with top-p, on a GPU, rounding may depend on how many streams there are.
        generators: of each stream, on the logits' device.

    Returns:
        ``[streams, …]`` tokens. On a GPU that is a dozen launches for all of them, and one more for each stream.
    """
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities, tokens = _kept(_probabilities(logits, settings), settings)
    clocks = torch.empty_like(probabilities, memory_format=torch.contiguous_format)
    for row, generator in zip(clocks, generators, strict=True):
        _wind(row, generator)
    return _named((probabilities / clocks).argmax(dim=-1), tokens)


def _probabilities(logits: Tensor, settings: SamplingSettings) -> Tensor:
    heated = logits.float() if settings.temperature == 1 else logits.float() / settings.temperature
    return torch.softmax(heated, dim=-1)


def sample_from(probabilities: Tensor, settings: SamplingSettings, generator: torch.Generator) -> Tensor:
    """Draw one token from each distribution ``[…, card]``, by top-k and top-p of the settings alone: ``[…]`` tokens."""
    kept, tokens = _kept(probabilities, settings)
    return _named(draw(kept, generator), tokens)


def _kept(probabilities: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor | None]:
    """Of distributions ``[…, card]`` what may be drawn, and the token that stands at each place where that is not its number."""
    if settings.top_p > 0:
        ordered, tokens = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = ordered.masked_fill_(before > settings.top_p, 0)
        return kept / kept.sum(dim=-1, keepdim=True), tokens
    if settings.top_k == 0:
        return probabilities, None
    kept = _likeliest(probabilities, settings.top_k)
    # A race has the same winner whatever the sum is. On a CPU it is brought to 1 all the same, as ever: rounding once more could
    # change a token in millions. On a GPU the order of a sum depends on the number of rows, and so on the neighbours.
    return kept / kept.sum(dim=-1, keepdim=True) if kept.is_cpu else kept, None


def _named(places: Tensor, tokens: Tensor | None) -> Tensor:
    return places if tokens is None else tokens.gather(-1, places.unsqueeze(-1)).squeeze(-1)


def keep_likeliest(probabilities: Tensor, count: int) -> Tensor:
    """Of each distribution ``[…, card]`` only the ``count`` likeliest tokens, and those as likely as the last of them."""
    kept = _likeliest(probabilities, count)
    return kept / kept.sum(dim=-1, keepdim=True)


def _likeliest(probabilities: Tensor, count: int) -> Tensor:
    card = probabilities.shape[-1]
    if count >= card:
        return probabilities
    if probabilities.is_cpu:  # which finds one of many without putting the others in order
        least = probabilities.kthvalue(card - count + 1, dim=-1, keepdim=True).values
    else:
        least = probabilities.topk(count, dim=-1).values[..., -1:]
    return probabilities * (probabilities >= least)


def draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one index from each ``[…, card]`` row: a race of exponential clocks, whose first to ring wins.

    It consumes the generator and chooses exactly as ``torch.multinomial`` with one sample does, without the check of the
    probabilities for which that waits for a GPU at every call.
    """
    clocks = torch.empty_like(probabilities, memory_format=torch.contiguous_format)
    return (probabilities / _wind(clocks, generator)).argmax(dim=-1)


def _wind(clocks: Tensor, generator: torch.Generator) -> Tensor:
    """Fill ``clocks`` with exponentially distributed numbers, those of ``exponential_``; on a CPU in half of its time."""
    if clocks.is_cpu and _by_logarithm():
        return clocks.copy_(_uniform(clocks.shape, generator).neg_().log1p_().neg_())
    return clocks.exponential_(1, generator=generator)


def _uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).uniform_(generator=generator)


@cache
def _by_logarithm() -> bool:
    """Whether ``exponential_`` is, as in the builds for x86 that were tried, the logarithm of what ``uniform_`` gives in double
    precision: of whole vectors at once it takes less time."""
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    shape = (1024,)
    same = torch.equal(
        _uniform(shape, ours).neg_().log1p_().neg_().float(), torch.empty(shape).exponential_(generator=theirs)
    )
    return same and torch.equal(ours.get_state(), theirs.get_state())


def pass_over(shape: tuple[int, ...], settings: SamplingSettings, generator: torch.Generator) -> None:
    """Leave the generator as `sample` would that is given logits of this shape."""
    if settings.temperature == 0:
        return
    if generator.device.type == "cpu" and _by_logarithm():
        _uniform(shape, generator)
    else:
        torch.empty(shape, device=generator.device).exponential_(1, generator=generator)
