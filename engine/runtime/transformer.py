"""The layers of a decoder LM, as MusicGen has them and as fine-tunes of AudioCraft's ``transformer_lm`` may have them instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.caches import CacheScales, as_cached
from engine.runtime.linear import Linear
from engine.runtime.session import LayerMemory

_XPOS_SMOOTHING, _XPOS_TIME = 0.4, 512


@dataclass(frozen=True)
class Variant:
    """Where a transformer differs from MusicGen's. The defaults are MusicGen's, and cost nothing.

    Attributes:
        attention_bias: biases in all of attention's projections.
        ff_bias: in the feed-forward layer.
        head_bias: in the heads that score the codes.
        norm_first: whether norms stand before attention and feed-forward, and one at the end; else after each of them.
        activation: of the feed-forward layer.
        positions: added to the embeddings ("sin"), turned into queries and keys ("rope": Su et al., 2021), or both.
        max_period: of their rotation.
        positional_scale: of both, 0 for none.
        xpos: rotated queries and keys decay too (Sun et al., 2022).
        qk_norm: a LayerNorm on queries and on keys in self-attention.
        cross_qk_norm: the same in cross-attention.
        kv_repeat: how many heads share one head of keys and values in self-attention.
        past_context: how many positions back self-attention sees; None: all.
        text_positions: scale of sinusoidal positions that are added to what cross-attention looks at; None: there are none.
    """

    attention_bias: bool = False
    ff_bias: bool = False
    head_bias: bool = False
    norm_first: bool = True
    activation: Literal["gelu", "relu"] = "gelu"
    positions: Literal["sin", "rope", "sin_rope"] = "sin"
    max_period: float = 10_000.0
    positional_scale: float = 1.0
    xpos: bool = False
    qk_norm: bool = False
    cross_qk_norm: bool = False
    kv_repeat: int = 1
    past_context: int | None = None
    text_positions: float | None = None

    @property
    def rotates(self) -> bool:
        """Whether queries and keys are turned by their positions."""
        return self.positions != "sin"


MUSICGEN = Variant()


class Rotation(NamedTuple):
    """What queries and keys are multiplied with, complex ``[…, n, head_dim / 2]``."""

    queries: Tensor
    keys: Tensor


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention where the model has it, and feed-forward, each with a norm.

    Args:
        dim: width of the residual stream.
        heads: of attention.
        ff_dim: width of the feed-forward layer.
        cross_attention: whether it has any.
        variant: where it differs from MusicGen's.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        ff_dim: int,
        *,
        cross_attention: bool,
        variant: Variant,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, heads // variant.kv_repeat, dim // heads
        self._variant = variant
        self.cache_scales: CacheScales | None = None
        """Of keys and values that are kept in eight bits; None: they are kept as they are."""
        self._plain = variant.kv_repeat == 1 and not variant.qk_norm and not variant.rotates
        kv_dim = self.kv_heads * self.head_dim
        biased = variant.attention_bias

        def norm() -> nn.LayerNorm:
            return layer_norm(dim, device, dtype)

        def linear(
            rows: int, columns: int, *, bias: bool, activation: Literal["none", "gelu", "relu"] = "none"
        ) -> Linear:
            return Linear(rows, columns, bias=bias, activation=activation, device=device, dtype=dtype)

        self.self_norm = norm()
        self.self_qkv = linear(dim + 2 * kv_dim, dim, bias=biased)
        self.self_out = linear(dim, dim, bias=biased)
        if variant.qk_norm:
            self.self_q_norm, self.self_k_norm = norm(), norm()
        self.cross_attention = cross_attention
        if cross_attention:
            self.cross_norm = norm()
            self.cross_q = linear(dim, dim, bias=biased)
            self.cross_kv = linear(2 * dim, dim, bias=biased)
            self.cross_out = linear(dim, dim, bias=biased)
            if variant.cross_qk_norm:
                self.cross_q_norm, self.cross_k_norm = norm(), norm()
        self.ff_norm = norm()
        self.ff_in = linear(ff_dim, dim, bias=variant.ff_bias, activation=variant.activation)
        self.ff_out = linear(dim, ff_dim, bias=variant.ff_bias)

    def forward(
        self,
        x: Tensor,
        memory: LayerMemory,
        start: int,
        mask: Tensor | None,
        cross_mask: Tensor | None,
        rotation: Rotation | None = None,
    ) -> Tensor:
        """Run ``x`` ``[rows, n, dim]``, which stands at slots ``start…`` of the cache; written over and returned."""
        if not self._variant.norm_first:
            return self._norms_last(x, memory, start, mask, cross_mask, rotation)
        x += self._hear_codes(self.self_norm(x), memory, start, mask, rotation)
        if memory.cross_keys is not None:
            conditional = x[: len(memory.cross_keys)]
            conditional += self._hear_text(self.cross_norm(conditional), memory, cross_mask)
            if self._variant.attention_bias:
                x[len(memory.cross_keys) :] += self._null_text()
        x += self.ff_out(self.ff_in(self.ff_norm(x)))
        return x

    def _norms_last(
        self,
        x: Tensor,
        memory: LayerMemory,
        start: int,
        mask: Tensor | None,
        cross_mask: Tensor | None,
        rotation: Rotation | None,
    ) -> Tensor:
        """As `forward`; what asks for text is the layer's input, as in AudioCraft."""
        heard: Tensor = self.self_norm(x + self._hear_codes(x, memory, start, mask, rotation))
        if self.cross_attention:
            if memory.cross_keys is not None:
                listening = len(memory.cross_keys)
                heard[:listening] += self._hear_text(x[:listening], memory, cross_mask)
                if self._variant.attention_bias:
                    heard[listening:] += self._null_text()
            heard = self.cross_norm(heard)
        normed: Tensor = self.ff_norm(heard + self.ff_out(self.ff_in(heard)))
        return normed

    def _hear_codes(
        self, x: Tensor, memory: LayerMemory, start: int, mask: Tensor | None, rotation: Rotation | None
    ) -> Tensor:
        rows, n, dim = x.shape
        if self._plain:
            qkv = self.self_qkv(x).view(rows, n, 3, self.heads, self.head_dim)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        else:
            q, k, v = self._queries_keys_values(self.self_qkv(x), rotation)
        if self.cache_scales is not None:
            k, v = (as_cached(part, scales) for part, scales in zip((k, v), self.cache_scales, strict=True))
        keys, values = memory.keys_values[:, :, :, : start + n].unbind()
        keys[:, :, start:] = k
        values[:, :, start:] = v
        heard = F.scaled_dot_product_attention(
            q.to(keys.dtype),
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and n > 1,
            enable_gqa=self.kv_heads != self.heads,
        )
        out: Tensor = self.self_out(heard.transpose(1, 2).reshape(rows, n, dim).to(x.dtype))
        return out

    def _queries_keys_values(self, qkv: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """``[rows, heads, n, head_dim]`` each; keys and values may have fewer heads."""
        dim, kv_dim = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q, k, v = torch.split(qkv, [dim, kv_dim, kv_dim], dim=2)
        if self._variant.qk_norm:
            q, k = self.self_q_norm(q), self.self_k_norm(k)
        q, k, v = (part.reshape(*part.shape[:2], -1, self.head_dim).transpose(1, 2) for part in (q, k, v))
        if rotation is not None:
            q, k = _rotated(q, rotation.queries), _rotated(k, rotation.keys)
        return q, k, v

    def _hear_text(self, x: Tensor, memory: LayerMemory, cross_mask: Tensor | None) -> Tensor:
        assert memory.cross_keys is not None
        assert memory.cross_values is not None
        rows, n, dim = x.shape
        q = self.cross_q(x)
        if self._variant.cross_qk_norm:
            q = self.cross_q_norm(q)
        q = q.view(rows, n, self.heads, self.head_dim).transpose(1, 2)
        heard = F.scaled_dot_product_attention(
            q.to(memory.cross_keys.dtype), memory.cross_keys, memory.cross_values, attn_mask=cross_mask
        )
        out: Tensor = self.cross_out(heard.transpose(1, 2).reshape(rows, n, dim).to(x.dtype))
        return out

    def text_keys_values(self, text: Tensor) -> Tensor:
        """What cross-attention looks at of projected text ``[length, dim]``: ``[length, 2 · dim]``, keys before values."""
        return self.normed_text(self.cross_kv(text))

    def normed_text(self, keys_values: Tensor) -> Tensor:
        """What `cross_kv` gives for a text, ``[length, 2 · dim]``, as cross-attention looks at it."""
        if not self._variant.cross_qk_norm:
            return keys_values
        keys, values = keys_values.chunk(2, dim=1)
        return torch.cat((self.cross_k_norm(keys), values), dim=1)

    def _null_text(self) -> Tensor:
        """What a null row hears where there are biases: all keys of a text of zeros are equal, and so are its values."""
        bias = self.cross_kv.bias
        assert bias is not None
        nothing: Tensor = self.cross_out(bias[bias.shape[0] // 2 :])
        return nothing


def layer_norm(dim: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.LayerNorm:
    """A LayerNorm over the last dimension, as all of MusicGen's are."""
    return nn.LayerNorm(dim, eps=1e-5, device=device, dtype=dtype).requires_grad_(False)


def rotations(
    variant: Variant, positions: int, head_dim: int, *, rates: Tensor | None = None, decays: Tensor | None = None
) -> Tensor:
    """What turns the queries and keys of these positions: complex ``[2, positions, head_dim / 2]``.

    Args:
        variant: of the layers.
        positions: how many.
        head_dim: how many numbers a head has.
        rates: radians per position ``[head_dim / 2]``, of a model that was trained with others than follow from ``max_period``.
        decays: the same of ``xpos``: what is left after a period of it, 0 to 1.
    """
    half = torch.arange(head_dim // 2, dtype=torch.float32)
    if rates is None:
        rates = 1.0 / variant.max_period ** (2 * half / head_dim)
    if decays is None:
        decays = (half / (head_dim // 2) + _XPOS_SMOOTHING) / (1 + _XPOS_SMOOTHING)
    moments = torch.arange(positions, dtype=torch.float32).unsqueeze(1)
    angles = moments * rates
    decay = torch.ones_like(angles)
    if variant.xpos:
        decay = decays ** (moments / _XPOS_TIME)
    turned = torch.stack((torch.polar(decay, angles), torch.polar(1 / decay, angles)))
    return turned * variant.positional_scale + (1 - variant.positional_scale)


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Neighbouring numbers of ``[rows, heads, n, head_dim]`` are the parts of a complex one."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)
