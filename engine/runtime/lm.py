"""The decoder LM of MusicGen, run step by step over preallocated caches.

The network is the one of Copet et al., "Simple and Controllable Music Generation" (2023), as AudioCraft and transformers
implement it: a pre-norm transformer over the sum of one embedding per codebook, with sinusoidal positions and one linear head per
codebook. Text is looked at by cross-attention, or heard before the codes together with a melody; a score is heard with the
codes, frame by frame. The weights are shared by all streams and never change while they are used; everything that does change
stands in a `Session`, one for each batch of streams of the same age.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.linear import Linear
from engine.runtime.session import Condition, LayerMemory, Melody, Mix, Prefix, Score, Session

__all__ = ["Condition", "LMConfig", "Mix", "MusicgenLM", "Session", "sinusoids"]


@dataclass(frozen=True)
class LMConfig:
    """The shape of a MusicGen LM.

    Attributes:
        dim: width of the residual stream.
        layers: number of transformer layers.
        heads: attention heads per layer; divides ``dim``.
        ff_dim: width of the feed-forward layer.
        delays: of each codebook, in frames; their number is the number of codebooks (8 for stereo: left and right interleaved).
        card: entries per codebook; the special token is ``card`` itself.
        text_dim: width of the text encoder's hidden states.
        text_projection: whether a linear layer joins the text's width to ``dim``.
        max_positions: the longest sequence a session may be made for, prefix included.
        chroma_frames: of the melody that melody models hear before text and codes; 0: the model hears no melody, and text by
            cross-attention.
        chroma_bins: of each of these frames; one of them is on.
        score_features: of each frame of a score; 0: the model hears none.
    """

    dim: int
    layers: int
    heads: int
    ff_dim: int
    delays: tuple[int, ...]
    card: int
    text_dim: int
    text_projection: bool
    max_positions: int
    chroma_frames: int = 0
    chroma_bins: int = 12
    score_features: int = 0

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim {self.dim} must be even and divisible by heads {self.heads}")
        if not self.text_projection and self.text_dim != self.dim:
            raise ValueError(f"text_dim {self.text_dim} differs from dim {self.dim} and nothing projects it")

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def num_codebooks(self) -> int:
        return len(self.delays)

    @property
    def cross_attention(self) -> bool:
        """Whether text is looked at by cross-attention; else it is part of the prefix."""
        return self.chroma_frames == 0

    @property
    def special_token(self) -> int:
        """Stands in every slot of the delay pattern that holds no frame."""
        return self.card


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention where the model has it, and feed-forward, each behind a LayerNorm. No biases elsewhere."""

    def __init__(self, config: LMConfig, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.heads = config.heads
        self.head_dim = config.head_dim
        dim, ff_dim = config.dim, config.ff_dim
        self.self_norm = _norm(dim, device, dtype)
        self.self_qkv = Linear(3 * dim, dim, device=device, dtype=dtype)
        self.self_out = Linear(dim, dim, device=device, dtype=dtype)
        if config.cross_attention:
            self.cross_norm = _norm(dim, device, dtype)
            self.cross_q = Linear(dim, dim, device=device, dtype=dtype)
            self.cross_kv = Linear(2 * dim, dim, device=device, dtype=dtype)
            self.cross_out = Linear(dim, dim, device=device, dtype=dtype)
        self.ff_norm = _norm(dim, device, dtype)
        self.ff_in = Linear(ff_dim, dim, gelu=True, device=device, dtype=dtype)
        self.ff_out = Linear(dim, ff_dim, device=device, dtype=dtype)

    def forward(
        self, x: Tensor, memory: LayerMemory, start: int, mask: Tensor | None, cross_mask: Tensor | None
    ) -> Tensor:
        """Run ``x`` ``[rows, n, dim]``, which stands at slots ``start…`` of the cache; written over and returned."""
        rows, n, dim = x.shape
        qkv = self.self_qkv(self.self_norm(x)).view(rows, n, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        keys, values = memory.keys_values[:, :, :, : start + n].unbind()
        keys[:, :, start:] = k
        values[:, :, start:] = v
        heard = F.scaled_dot_product_attention(
            q.to(keys.dtype), keys, values, attn_mask=mask, is_causal=mask is None and n > 1
        )
        x += self.self_out(heard.transpose(1, 2).reshape(rows, n, dim).to(x.dtype))

        if memory.cross_keys is not None and memory.cross_values is not None:
            listening = memory.cross_keys.shape[0]
            conditional = x[:listening]
            q = self.cross_q(self.cross_norm(conditional)).view(listening, n, self.heads, self.head_dim)
            heard = F.scaled_dot_product_attention(
                q.transpose(1, 2).to(keys.dtype), memory.cross_keys, memory.cross_values, attn_mask=cross_mask
            )
            conditional += self.cross_out(heard.transpose(1, 2).reshape(listening, n, dim).to(x.dtype))

        x += self.ff_out(self.ff_in(self.ff_norm(x)))
        return x


class MusicgenLM(nn.Module):
    """The LM's weights and its step. Any number of sessions may run on one model, one after the other.

    The weights are allocated and left as they are: they come from a checkpoint.
    """

    def __init__(
        self, config: LMConfig, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.config = config
        dim, codebooks, card = config.dim, config.num_codebooks, config.card

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype), requires_grad=False)

        self.embeddings = weight(codebooks * (card + 1), dim)
        self.layers = nn.ModuleList(DecoderLayer(config, device, dtype) for _ in range(config.layers))
        self.final_norm = _norm(dim, device, dtype)
        self.heads = Linear(codebooks * card, dim, device=device, dtype=dtype)
        self.text_weight = weight(dim, config.text_dim) if config.text_projection else None
        self.text_bias = weight(dim) if config.text_projection else None
        self.chroma_weight = weight(dim, config.chroma_bins) if config.chroma_frames else None
        self.chroma_bias = weight(dim) if config.chroma_frames else None
        self.score_weight = weight(dim, config.score_features) if config.score_features else None
        self.register_buffer("position_table", sinusoids(config.max_positions, dim).to(device, dtype), persistent=False)
        offsets = torch.arange(codebooks, device=device).mul(card + 1).unsqueeze(1)
        self.register_buffer("codebook_offsets", offsets, persistent=False)
        self.position_table: Tensor
        self.codebook_offsets: Tensor

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embeddings.dtype

    @property
    def cache_dtype(self) -> torch.dtype:
        """What keys and values are kept in: on a CPU, attention in half precision is several times slower than in single."""
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def pack(self) -> None:
        """Lay the weights out for this machine, once they are final; the model can then neither move nor be saved."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.pack()

    @torch.inference_mode()
    def project_text(self, hidden: Tensor) -> Tensor:
        """Bring a text encoder's hidden states ``[…, text_dim]`` to the LM's width, device and dtype."""
        hidden = hidden.to(self.device, self.dtype)
        return hidden if self.text_weight is None else F.linear(hidden, self.text_weight, self.text_bias)

    @torch.inference_mode()
    def condition(
        self,
        hidden: Tensor | None,
        mask: Tensor | None = None,
        *,
        melody: Melody | None = None,
        score: Score | None = None,
    ) -> Condition:
        """Bring one text, and a melody or a score, into the form that the model hears, once.

        Args:
            hidden: ``[length, text_dim]`` hidden states of the text encoder; None is the null text.
            mask: boolean ``[length]``, false where ``hidden`` is padding; without any true entry it is the null text. In a prefix,
                padding keeps its place and is zeros, as in both references; cross-attention does not see it, as in transformers.
            melody: for melody models only; None is the null melody.
            score: for models with ``score_features`` only; None adds nothing.

        Raises:
            ValueError: hidden states of another shape, or a melody or a score for a model that hears none.
        """
        config = self.config
        if hidden is None:
            hidden, mask = torch.zeros(1, config.text_dim), torch.zeros(1, dtype=torch.bool)
        if hidden.dim() != 2 or hidden.shape[1] != config.text_dim:
            raise ValueError(f"text of shape {tuple(hidden.shape)}, not [length, {config.text_dim}]")
        if mask is None:
            mask = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
        if score is not None and self.score_weight is None:
            raise ValueError("a score for a model that hears none")
        if self.chroma_weight is not None and self.chroma_bias is not None:
            text = self.project_text(hidden).masked_fill(~mask.to(self.device).unsqueeze(1), 0)
            prefix = Prefix(self.chroma_weight.T + self.chroma_bias, config.chroma_frames, melody, text)
            return Condition(self._cross_keys_values(text[:0]), prefix, score)
        if melody is not None:
            raise ValueError("a melody for a model that hears none")
        return Condition(self._cross_keys_values(self.project_text(hidden[mask])), score=score)

    def _cross_keys_values(self, text: Tensor) -> Tensor:
        """Every layer's cross-attention keys and values of ``[length, dim]`` projected text; see `Condition`."""
        config, length = self.config, text.shape[0]
        packed = torch.empty(config.layers, length, 2 * config.dim, device=self.device, dtype=self.cache_dtype)
        if length:
            for layer, slot in zip(cast("Sequence[DecoderLayer]", self.layers), packed, strict=True):
                slot.copy_(layer.cross_kv(text))
        split = packed.view(config.layers, length, 2, config.heads, config.head_dim)
        return split.permute(0, 2, 3, 1, 4).contiguous()

    def session(
        self, conditions: Sequence[Condition | Mix], positions: int, *, guided: bool = True, frame: int = 0
    ) -> Session:
        """A fresh state for streams that start together; see `Session`."""
        return Session(self, conditions, positions, guided=guided, frame=frame)

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """The sum of the codebooks' embeddings: ``[streams, codebooks, n]`` codes to ``[streams, n, dim]``."""
        return F.embedding(codes + self.codebook_offsets, self.embeddings).sum(1)

    @torch.inference_mode()
    def hear_prefix(self, session: Session, most: int) -> None:
        """Work through the next piece of a session's prefix, of at most ``most`` positions; any split gives the same result."""
        start = session.prefix_heard
        end = min(start + most, session.prefix_length)
        self._append(session.prefix[:, start:end], session, start)
        session.prefix_heard = end

    @torch.inference_mode()
    def advance(self, embedded: Tensor, session: Session) -> Tensor:
        """Append ``n`` positions to a session and return their normalised hidden states.

        Args:
            embedded: ``[streams, n, dim]`` embeddings without positions; all rows of a stream hear the same, but for the
                scores, which only the conditional ones hear.
            session: moves on by ``n`` positions. Any split of a sequence over several calls gives the same result. What is left of
                its prefix is heard first.

        Returns:
            ``[rows, n, dim]``.

        Raises:
            ValueError: a wrong number of streams, or no room left in the session.
        """
        streams, n, _ = embedded.shape
        position = session.position
        if streams != session.streams or position + n > session.positions:
            raise ValueError(
                f"{streams} streams and {n} positions do not fit a session of {session.streams} streams "
                f"at position {position} of {session.positions}"
            )
        if session.prefix_pending:
            self.hear_prefix(session, session.prefix_pending)
        heard = session.scores(position, position + n)
        conditional = embedded if session.owners is None else embedded[session.owners]
        if heard is not None:
            conditional = conditional + heard
        x = torch.cat((conditional, embedded)) if session.guided else conditional
        hidden: Tensor = self.final_norm(self._append(x, session, session.prefix_length + position))
        session.position = position + n
        return hidden

    def _append(self, embedded: Tensor, session: Session, start: int) -> Tensor:
        """Run ``[rows, n, dim]`` embeddings, which stand at slots ``start…`` of a session's caches, through the layers."""
        end = start + embedded.shape[1]
        places = slice(start, end) if session.starts is None else session.places(start, end)
        x = embedded + self.position_table[places]
        mask, cross_mask = session.mask(start, end), session.cross_mask
        for layer, memory in zip(self.layers, session.layers, strict=True):
            x = layer(x, memory, start, mask, cross_mask)
        return x

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """All heads at once: ``[rows, n, dim]`` hidden states to ``[rows, codebooks, n, card]`` logits."""
        rows, n, _ = hidden.shape
        scores: Tensor = self.heads(hidden).view(rows, n, self.config.num_codebooks, self.config.card)
        return scores.transpose(1, 2)

    def forward(self, codes: Tensor, session: Session) -> Tensor:
        """Append ``[streams, codebooks, n]`` codes (special tokens included) and score what follows each of them.

        Returns:
            ``[rows, codebooks, n, card]`` logits, not guided: see `engine.runtime.sampling.guide`.
        """
        return self.logits(self.advance(self.embed(codes), session))


def _norm(dim: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-5, device=device, dtype=dtype).requires_grad_(False)


def sinusoids(positions: int, dim: int) -> Tensor:
    """The table of positions, ``[positions, dim]``: cosines, then sines, of periods from 2π to 2π·10⁴."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000) / max(half - 1, 1)))
    phases = torch.arange(positions, dtype=torch.float32).unsqueeze(1) * rates
    return torch.cat((phases.cos(), phases.sin()), dim=1)
