"""JASCO: a segment of music out of noise, along the flow that a transformer tells.

Tal et al., "Joint Audio and Symbolic Conditioning for Temporally Controlled Text-to-Music Generation" (2024), as AudioCraft
computes it. The transformer hears the whole segment, frame by frame beside chords, drums and melody of the same frame, and looks
at the words by cross-attention; the moment of the flow is added to the words. It tells how the codec's latents change, from noise
at moment 0 to music at moment 1. Several sources of guidance are joined by a weighted sum of what each of them tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.linear import Linear
from engine.runtime.lm import sinusoids
from engine.runtime.ode import Pieces, dormand_prince, euler
from engine.runtime.quantised import Form

END = 1 - 1e-5
"""The moment at which the music is read off; AudioCraft's."""


@dataclass(frozen=True)
class FlowConfig:
    """The shape of a JASCO model.

    Attributes:
        dim: width of the transformer.
        layers: how many, an even number with ``skips``.
        heads: of attention.
        ff_dim: width of the feed-forward layers.
        latents: width of the codec's latents.
        frames: of a segment.
        text_dim: width of the text encoder's hidden states.
        chords: how many chords the model knows; 0: it hears none.
        chords_dim: width in which a chord is heard.
        drums_dim: width in which drums are heard; 0: it hears none.
        melody_bins: notes of the melody; 0: it hears none.
        melody_dim: width in which the melody is heard.
        time_dim: width of the moment's sinusoids.
        skips: whether the second half of the layers hears the first half's outputs, the last of them first.
    """

    dim: int
    layers: int
    heads: int
    ff_dim: int
    latents: int
    frames: int
    text_dim: int
    chords: int = 0
    chords_dim: int = 0
    drums_dim: int = 0
    melody_bins: int = 0
    melody_dim: int = 0
    time_dim: int = 128
    skips: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim {self.dim} must be even and divisible by heads {self.heads}")
        if self.skips and self.layers % 2:
            raise ValueError(f"{self.layers} layers cannot be halved for skip connections")

    @property
    def heard_dim(self) -> int:
        """Width of what is heard frame by frame."""
        return self.chords_dim + self.drums_dim + self.melody_dim


@dataclass(frozen=True)
class Heard:
    """What one row of the model hears.

    Attributes:
        text: ``[length, dim]`` projected text; zeros for none.
        frames: ``[frames, dim]``, what chords, drums and melody add to each frame.
    """

    text: Tensor
    frames: Tensor


Terms = tuple[tuple[Heard, float], ...]
"""What the flow is guided by, each with its weight; the weights add up to 1."""


class FlowLayer(nn.Module):
    """Self-attention over the whole segment, cross-attention and feed-forward, each behind a LayerNorm. No biases elsewhere."""

    def __init__(self, config: FlowConfig, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.heads = config.heads
        dim = config.dim
        kind: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_norm, self.cross_norm, self.ff_norm = (_norm(dim, device, dtype) for _ in range(3))
        self.self_qkv = Linear(3 * dim, dim, **kind)
        self.self_out = Linear(dim, dim, **kind)
        self.cross_q = Linear(dim, dim, **kind)
        self.cross_kv = Linear(2 * dim, dim, **kind)
        self.cross_out = Linear(dim, dim, **kind)
        self.ff_in = Linear(config.ff_dim, dim, activation="gelu", **kind)
        self.ff_out = Linear(dim, config.ff_dim, **kind)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Run ``x`` ``[rows, frames, dim]`` beside the words ``[rows, length, dim]``."""
        q, k, v = self.self_qkv(self.self_norm(x)).chunk(3, dim=-1)
        x = x + self.self_out(self._attend(q, k, v))
        k, v = self.cross_kv(words).chunk(2, dim=-1)
        x = x + self.cross_out(self._attend(self.cross_q(self.cross_norm(x)), k, v))
        heard: Tensor = x + self.ff_out(self.ff_in(self.ff_norm(x)))
        return heard

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (self._split(part) for part in (queries, keys, values))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        rows, count, dim = x.shape
        return x.view(rows, count, self.heads, dim // self.heads).transpose(1, 2)


class FlowNetwork(nn.Module):
    """The weights of a JASCO model, and what they make of a moment and a state. They never change while they are used.

    The weights are allocated and left as they are: they come from a checkpoint.

    Args:
        config: the shape.
        piece: the most positions times layers that one piece of work goes through is this times the number of layers.
    """

    def __init__(
        self,
        config: FlowConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        piece: int = 64,
    ) -> None:
        super().__init__()
        self.config = config
        self._piece = piece
        dim, wide = config.dim, 4 * config.time_dim

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype), requires_grad=False)

        self.latents_in = weight(dim, config.latents)
        self.heard_in = weight(dim, config.heard_dim)
        self.layers = nn.ModuleList(FlowLayer(config, device, dtype) for _ in range(config.layers))
        halves = config.layers // 2 if config.skips else 0
        self.skip_weights = nn.ParameterList(weight(dim, 2 * dim) for _ in range(halves))
        self.skip_biases = nn.ParameterList(weight(dim) for _ in range(halves))
        self.final_norm = _norm(dim, device, dtype)
        self.latents_out = weight(config.latents, dim)
        self.text_weight, self.text_bias = weight(dim, config.text_dim), weight(dim)
        self.time_in, self.time_in_bias = weight(wide, config.time_dim), weight(wide)
        self.time_out, self.time_out_bias = weight(wide, wide), weight(wide)
        self.time_to_words, self.time_to_words_bias = weight(dim, wide), weight(dim)
        self.chords = weight(config.chords + 1, config.chords_dim)
        self.drums_weight, self.drums_bias = weight(config.drums_dim, config.latents), weight(config.drums_dim)
        self.melody_weight, self.melody_bias = weight(config.melody_dim, config.melody_bins), weight(config.melody_dim)
        self.register_buffer("position_table", sinusoids(config.frames, dim).to(device, dtype), persistent=False)
        self.position_table: Tensor

    @property
    def device(self) -> torch.device:
        return self.latents_in.device

    @property
    def dtype(self) -> torch.dtype:
        return self.latents_in.dtype

    def pack(self, form: Form | None = None) -> None:
        """Lay the weights out for this machine, once they are final; the model can then neither move nor be saved.

        Args:
            form: of few bits, to which the layers' matrices are rounded; None keeps them as they are.
        """
        for module in self.modules():
            if isinstance(module, Linear):
                module.pack(form)

    @torch.inference_mode()
    def text(self, hidden: Tensor) -> Tensor:
        """Bring a text's hidden states ``[length, text_dim]`` to the model's width."""
        return F.linear(hidden.to(self.device, self.dtype), self.text_weight, self.text_bias)

    @torch.inference_mode()
    def heard(
        self, frames: int, *, chords: Tensor | None = None, drums: Tensor | None = None, melody: Tensor | None = None
    ) -> Tensor:
        """What is added to each of ``frames`` frames: ``[frames, dim]``. What is left out, or not heard, is null.

        Args:
            chords: numbers of chords ``[n]``.
            drums: the codec's latents of drums ``[n, latents]``.
            melody: ``[n, melody_bins]``, 1 where a note sounds.
        """
        config = self.config

        def silent(width: int) -> Tensor:
            return torch.zeros(config.frames, width, device=self.device, dtype=self.dtype)

        parts = []
        if config.chords_dim:
            null = torch.full((config.frames,), config.chords, device=self.device)
            parts.append(F.embedding(null if chords is None else chords.to(self.device), self.chords))
        if config.drums_dim:
            rows = silent(config.latents) if drums is None else drums.to(self.device, self.dtype)
            parts.append(F.linear(rows, self.drums_weight, self.drums_bias))
        if config.melody_dim:
            rows = silent(config.melody_bins) if melody is None else melody.to(self.device, self.dtype)
            parts.append(F.linear(rows, self.melody_weight, self.melody_bias))
        aligned = [F.pad(part[:frames], (0, 0, 0, max(0, frames - len(part)))) for part in parts]
        told = torch.cat(aligned, dim=-1) if aligned else silent(0)[:frames]
        return F.linear(told, self.heard_in)

    def field(self, moment: Tensor, state: Tensor, terms: Terms) -> Pieces:
        """How latents ``[frames, latents]`` change at a moment, guided by ``terms``; some layers at a time."""
        config = self.config
        x = F.linear(state.to(self.dtype), self.latents_in)
        x = torch.stack([x + heard.frames for heard, _ in terms]) + self.position_table[: len(state)]
        longest = max(len(heard.text) for heard, _ in terms)
        words = torch.stack([F.pad(heard.text, (0, 0, 0, longest - len(heard.text))) for heard, _ in terms])
        words = words + self._moment(moment)
        at_once = max(1, self._piece * config.layers // len(state))
        skipped: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            if index and index % at_once == 0:
                yield None
            second = config.skips and index >= config.layers // 2
            if second:
                back = index - config.layers // 2
                x = F.linear(torch.cat((x, skipped.pop()), dim=-1), self.skip_weights[back], self.skip_biases[back])
            x = layer(x, words)
            if config.skips and not second:
                skipped.append(x)
        yield None
        told = F.linear(self.final_norm(x), self.latents_out).float()
        weights = torch.tensor([weight for _, weight in terms], device=told.device)
        return torch.einsum("tfl,t->fl", told, weights)

    def solve(self, noise: Tensor, terms: Terms, steps: int | None = None) -> Pieces:
        """The latents ``[frames, latents]`` that noise of this shape flows to.

        Args:
            noise: float32, normally distributed.
            terms: what guides the flow.
            steps: of Euler's method; None for steps as long as an error of 1e-5 allows, by `dormand_prince`.

        Raises:
            RuntimeError: the flow has no solution.
        """

        def field(moment: Tensor, state: Tensor) -> Pieces:
            return self.field(moment, state, terms)

        if steps is None:
            return dormand_prince(field, noise, end=END)
        return euler(field, noise, steps)

    def _moment(self, moment: Tensor) -> Tensor:
        """A moment as it is added to the words, ``[dim]``."""
        half = self.config.time_dim // 2
        rates = torch.exp(
            torch.arange(half, dtype=torch.float32, device=self.device) * -(math.log(10_000) / (half - 1))
        )
        phases = moment.float() * rates
        x = F.pad(torch.cat((phases.sin(), phases.cos())), (0, self.config.time_dim % 2)).to(self.dtype)
        x = F.linear(F.silu(F.linear(x, self.time_in, self.time_in_bias)), self.time_out, self.time_out_bias)
        return F.linear(x, self.time_to_words, self.time_to_words_bias)


def _norm(dim: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-5, device=device, dtype=dtype).requires_grad_(False)
