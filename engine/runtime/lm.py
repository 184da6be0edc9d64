"""The decoder LM of MusicGen, run step by step over preallocated caches.

The network is the one of Copet et al., "Simple and Controllable Music Generation" (2023), as AudioCraft and transformers
implement it: a pre-norm transformer over the sum of one embedding per codebook, with sinusoidal positions, cross-attention to
projected text and one linear head per codebook. The weights are shared by all streams and never change while they are used;
everything that does change stands in a `Session`, one for each batch of streams of the same age.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.linear import Linear


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
        max_positions: the longest sequence a session may be made for.
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
    def special_token(self) -> int:
        """Stands in every slot of the delay pattern that holds no frame."""
        return self.card


@dataclass(frozen=True)
class Condition:
    """What one stream's cross-attention looks at, ready for every layer; made by `MusicgenLM.condition`.

    It belongs to no session: the same condition may be used by any number of streams, at any time.

    Attributes:
        keys_values: ``[layers, 2, heads, length, head_dim]``. Length 0 is the null condition: projected null text is all zeros
            and attention has no bias, so that its output is exactly zero and need not be computed.
    """

    keys_values: Tensor

    @property
    def length(self) -> int:
        return self.keys_values.shape[3]


class LayerMemory(NamedTuple):
    """One layer's part of a session: its cache, and what its cross-attention looks at (None: nothing)."""

    keys_values: Tensor
    cross_keys: Tensor | None
    cross_values: Tensor | None


class Session:
    """The state of a batch of aligned streams: caches, position and conditions. One thread at a time.

    A guided session holds two rows per stream, ``[conditional…; null…]``. The caches are allocated once; a position that has not
    been reached is never read, so starting over is only a matter of `rewind`.

    Args:
        lm: the model the session belongs to.
        conditions: one per stream.
        positions: the most positions the session will hold.
        guided: whether null rows stand beside the conditional ones.

    Raises:
        ValueError: no streams, or more positions than the model has.
    """

    def __init__(self, lm: MusicgenLM, conditions: Sequence[Condition], positions: int, *, guided: bool = True) -> None:
        config = lm.config
        if not conditions:
            raise ValueError("a session needs at least one stream")
        if not 0 < positions <= config.max_positions:
            raise ValueError(f"positions {positions} outside 1 to {config.max_positions}")
        self.streams = len(conditions)
        self.rows = 2 * self.streams if guided else self.streams
        self.positions = positions
        self.position = 0
        shape = (config.layers, 2, self.rows, config.heads, positions, config.head_dim)
        self._caches = list(torch.zeros(shape, device=lm.device, dtype=lm.cache_dtype).unbind())
        self._conditions = list(conditions)
        self.layers: list[LayerMemory] = []
        self.cross_mask: Tensor | None = None
        self._pack_conditions()

    @property
    def guided(self) -> bool:
        return self.rows != self.streams

    def rewind(self, position: int = 0) -> None:
        """Forget everything from ``position`` on; the next codes are taken to stand there."""
        if not 0 <= position <= self.position:
            raise ValueError(f"cannot rewind to {position} from {self.position}")
        self.position = position

    def set_condition(self, stream: int, condition: Condition) -> None:
        """Change what one stream listens to, from the next codes on. What is cached stays as it was heard."""
        self._conditions[stream] = condition
        self._pack_conditions()

    @torch.inference_mode()
    def _pack_conditions(self) -> None:
        """Lay the streams' keys and values side by side, each masked to its own length."""
        lengths = [condition.length for condition in self._conditions]
        longest = max(lengths)
        self.cross_mask = None
        if longest == 0:
            self.layers = [LayerMemory(cache, None, None) for cache in self._caches]
            return
        if self.streams == 1:
            packed = self._conditions[0].keys_values.unsqueeze(2)
        else:
            first = self._conditions[0].keys_values
            layers, _, heads, _, head_dim = first.shape
            packed = first.new_zeros(layers, 2, self.streams, heads, longest, head_dim)
            for stream, condition in enumerate(self._conditions):
                packed[:, :, stream, :, : condition.length] = condition.keys_values
            if min(lengths) < longest:
                # A null stream looks at zeros, which gives zero: were it masked everywhere, softmax would give NaN.
                seen = torch.tensor([length or longest for length in lengths], device=packed.device)
                self.cross_mask = (torch.arange(longest, device=packed.device) < seen[:, None])[:, None, None, :]
        self.layers = [
            LayerMemory(cache, keys, values)
            for cache, (keys, values) in zip(self._caches, (layer.unbind() for layer in packed), strict=True)
        ]


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind its own LayerNorm. The attentions have no biases."""

    def __init__(self, config: LMConfig, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.heads = config.heads
        self.head_dim = config.head_dim
        dim, ff_dim = config.dim, config.ff_dim
        self.self_norm = _norm(dim, device, dtype)
        self.self_qkv = Linear(3 * dim, dim, device=device, dtype=dtype)
        self.self_out = Linear(dim, dim, device=device, dtype=dtype)
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
        """Run ``x`` ``[rows, n, dim]``, which stands at positions ``start…``; written over and returned."""
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
            streams = memory.cross_keys.shape[0]
            conditional = x[:streams]
            q = self.cross_q(self.cross_norm(conditional)).view(streams, n, self.heads, self.head_dim)
            heard = F.scaled_dot_product_attention(
                q.transpose(1, 2).to(keys.dtype), memory.cross_keys, memory.cross_values, attn_mask=cross_mask
            )
            conditional += self.cross_out(heard.transpose(1, 2).reshape(streams, n, dim).to(x.dtype))

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
    def condition(self, hidden: Tensor | None, mask: Tensor | None = None) -> Condition:
        """Compute every layer's cross-attention keys and values of one text, once.

        Args:
            hidden: ``[length, text_dim]`` hidden states of the text encoder; None is the null text.
            mask: boolean ``[length]``, false where ``hidden`` is padding; without any true entry it is the null text.
        """
        config = self.config
        if hidden is None:
            hidden = torch.empty(0, config.text_dim)
        if hidden.dim() != 2 or hidden.shape[1] != config.text_dim:
            raise ValueError(f"text of shape {tuple(hidden.shape)}, not [length, {config.text_dim}]")
        text = self.project_text(hidden if mask is None else hidden[mask])
        length = text.shape[0]
        packed = torch.empty(config.layers, length, 2 * config.dim, device=self.device, dtype=self.cache_dtype)
        if length:
            for layer, slot in zip(cast("Sequence[DecoderLayer]", self.layers), packed, strict=True):
                slot.copy_(layer.cross_kv(text))
        split = packed.view(config.layers, length, 2, config.heads, config.head_dim)
        return Condition(split.permute(0, 2, 3, 1, 4).contiguous())

    def session(self, conditions: Sequence[Condition], positions: int, *, guided: bool = True) -> Session:
        """A fresh state for streams that start together; see `Session`."""
        return Session(self, conditions, positions, guided=guided)

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """The sum of the codebooks' embeddings: ``[streams, codebooks, n]`` codes to ``[streams, n, dim]``."""
        return F.embedding(codes + self.codebook_offsets, self.embeddings).sum(1)

    @torch.inference_mode()
    def advance(self, embedded: Tensor, session: Session) -> Tensor:
        """Append ``n`` positions to a session and return their normalised hidden states.

        Args:
            embedded: ``[streams, n, dim]`` embeddings without positions; both rows of a guided stream hear the same.
            session: moves on by ``n`` positions. Any split of a sequence over several calls gives the same result.

        Returns:
            ``[rows, n, dim]``.

        Raises:
            ValueError: a wrong number of streams, or no room left in the session.
        """
        streams, n, _ = embedded.shape
        start = session.position
        end = start + n
        if streams != session.streams or end > session.positions:
            raise ValueError(
                f"{streams} streams and {n} positions do not fit a session of {session.streams} streams "
                f"at position {start} of {session.positions}"
            )
        x = embedded + self.position_table[start:end]
        if session.guided:
            x = torch.cat((x, x))
        mask = None
        if n > 1 and start > 0:
            # is_causal aligns to the first key, so a chunk that continues a cache needs its mask written out.
            mask = torch.ones(n, end, dtype=torch.bool, device=x.device).tril_(start)
        cross_mask = session.cross_mask
        for layer, memory in zip(self.layers, session.layers, strict=True):
            x = layer(x, memory, start, mask, cross_mask)
        session.position = end
        hidden: Tensor = self.final_norm(x)
        return hidden

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
