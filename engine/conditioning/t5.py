"""T5's encoder and its words, without transformers, whose import takes longer than all else that a small model needs to start.

The computation is transformers' ``T5EncoderModel`` in eval mode, to the bit (Raffel et al. 2020, "Exploring the Limits of Transfer
Learning with a Unified Text-to-Text Transformer"; relative positions as in Mesh TensorFlow). Both are called the same way, so that
`engine.conditioning.text` need not know which one it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

ACTIVATIONS = ("relu", "gated-gelu")


@dataclass(frozen=True)
class T5Shape:
    """What the weights of an encoder look like, under the names that transformers' ``T5Config`` has for it.

    Attributes:
        vocab_size: number of tokens.
        d_model: width of the hidden states.
        d_kv: width of one head.
        d_ff: width of the feed-forward layers.
        num_layers: number of blocks.
        num_heads: heads of each.
        relative_attention_num_buckets, relative_attention_max_distance: how far apart two tokens are, as a head learns it.
        layer_norm_epsilon: of all norms.
        feed_forward_proj: one of `ACTIVATIONS`.
        model_type: "t5".
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    model_type: str = "t5"

    @property
    def hidden_size(self) -> int:
        """As all configs call the width."""
        return self.d_model


class Encoded(NamedTuple):
    """What an encoder gives: hidden states ``[batch, length, d_model]``."""

    last_hidden_state: Tensor


class T5Encoder(nn.Module):
    """The encoder. Its weights are named as in transformers' checkpoints, below ``encoder.``.

    Args:
        shape: of its weights, which are not there yet: ``load_state_dict(…, assign=True)`` brings them.
    """

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.config = shape
        self.embed_tokens = _Matrix(shape.vocab_size, shape.d_model)
        self.block = nn.ModuleList(_Block(shape, first=index == 0) for index in range(shape.num_layers))
        self.final_layer_norm = _RmsNorm(shape)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Encoded:
        """Encode tokens.

        Args:
            input_ids: ``[batch, length]``.
            attention_mask: ``[batch, length]``; 0 where a row is padded.

        Returns:
            Hidden states ``[batch, length, d_model]``.
        """
        length = input_ids.shape[1]
        first = cast(_AttentionLayer, self.block[0].layer[0])  # type: ignore[index]
        bias = first.SelfAttention.bias(length, length)
        if not bool(attention_mask.all()):
            least = torch.finfo(bias.dtype).min
            bias = bias + torch.where(attention_mask.bool(), 0.0, least)[:, None, None, :].to(bias.dtype)
        hidden = F.embedding(input_ids, self.embed_tokens.weight)
        for block in self.block:
            hidden = block(hidden, bias)
        return Encoded(self.final_layer_norm(hidden))


class WordsFile:
    """A ``tokenizer.json``, read by the library that transformers' fast tokenizers are made of and called as they are. One thread.

    Raises:
        Exception: of the library's own, for a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, text: str, return_tensors: str = "pt") -> dict[str, Tensor]:
        """``input_ids`` ``[1, length]`` of a text, the end token included."""
        return {"input_ids": torch.tensor([self._tokenizer.encode(text).ids])}


class _Matrix(nn.Module):
    """A layer without bias. torch's own would draw first weights, which on no device at all takes it a second of imports."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class _RmsNorm(nn.Module):
    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape.d_model, device="meta"))
        self._epsilon = shape.layer_norm_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return self.weight * (hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self._epsilon))


class _Attention(nn.Module):
    def __init__(self, shape: T5Shape, *, first: bool) -> None:
        super().__init__()
        inner = shape.num_heads * shape.d_kv
        self._heads, self._shape = shape.num_heads, shape
        self.q = _Matrix(inner, shape.d_model)
        self.k = _Matrix(inner, shape.d_model)
        self.v = _Matrix(inner, shape.d_model)
        self.o = _Matrix(shape.d_model, inner)
        if first:
            self.relative_attention_bias = _Matrix(shape.relative_attention_num_buckets, shape.num_heads)

    def bias(self, queries: int, keys: int) -> Tensor:
        """``[1, heads, queries, keys]``: what each head adds for the distance between two tokens. The first block's only."""
        device = self.relative_attention_bias.weight.device
        apart = torch.arange(keys, device=device)[None, :] - torch.arange(queries, device=device)[:, None]
        return F.embedding(self._bucket(apart), self.relative_attention_bias.weight).permute(2, 0, 1)[None]

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            part(hidden).unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        heard = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return cast(Tensor, self.o(heard.transpose(1, 2).flatten(2)))

    def _bucket(self, apart: Tensor) -> Tensor:
        """Distances near 0 have a bucket of their own, those further away share one by their logarithm; half for each direction."""
        half = self._shape.relative_attention_num_buckets // 2
        exact = half // 2
        far = apart.abs()
        # In single precision, step by step as the reference: a bucket's edge falls between two whole distances.
        logarithm = torch.log(far.float() / exact) / math.log(self._shape.relative_attention_max_distance / exact)
        shared = (exact + (logarithm * (half - exact)).to(torch.long)).clamp(max=half - 1)
        return (apart > 0).to(torch.long) * half + torch.where(far < exact, far, shared)


class _FeedForward(nn.Module):
    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self._gated = shape.feed_forward_proj == "gated-gelu"
        if self._gated:
            self.wi_0 = _Matrix(shape.d_ff, shape.d_model)
            self.wi_1 = _Matrix(shape.d_ff, shape.d_model)
        else:
            self.wi = _Matrix(shape.d_ff, shape.d_model)
        self.wo = _Matrix(shape.d_model, shape.d_ff)

    def forward(self, hidden: Tensor) -> Tensor:
        if self._gated:
            return cast(Tensor, self.wo(_gelu(self.wi_0(hidden)) * self.wi_1(hidden)))
        return cast(Tensor, self.wo(F.relu(self.wi(hidden))))


def _gelu(x: Tensor) -> Tensor:
    """GELU by the hyperbolic tangent, in the reference's order: torch's own differs in the last bit."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class _AttentionLayer(nn.Module):
    def __init__(self, shape: T5Shape, *, first: bool) -> None:
        super().__init__()
        self.SelfAttention = _Attention(shape, first=first)
        self.layer_norm = _RmsNorm(shape)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return hidden + cast(Tensor, self.SelfAttention(self.layer_norm(hidden), bias))


class _FeedForwardLayer(nn.Module):
    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.DenseReluDense = _FeedForward(shape)
        self.layer_norm = _RmsNorm(shape)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + cast(Tensor, self.DenseReluDense(self.layer_norm(hidden)))


class _Block(nn.Module):
    def __init__(self, shape: T5Shape, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(shape, first=first), _FeedForwardLayer(shape)])

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        attention, feed_forward = self.layer
        return cast(Tensor, feed_forward(attention(hidden, bias)))
