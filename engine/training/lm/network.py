"""The LM as it is trained: MusicGen's decoder over whole crops, its text encoder, and the projection of the score.

The same network as `engine.runtime.lm`, which runs it step by step, and as transformers' ``MusicgenForCausalLM``, whose names its
weights have when they are exported.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.lm import sinusoids

EMBEDDING_SCALE = 0.5
"""Standard deviation of a codebook's first embeddings: the sum of four is as large as the positions that are added to it."""
SCORE_SCALE = 0.2

_BLOCK = 160
"""Positions whose attention is computed at once on a CPU."""


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a LayerNorm; no biases elsewhere."""

    def __init__(self, dim: int, heads: int, ff_dim: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.self_norm = nn.LayerNorm(dim)
        self.self_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.self_out = nn.Linear(dim, dim, bias=False)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_q = nn.Linear(dim, dim, bias=False)
        self.cross_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.cross_out = nn.Linear(dim, dim, bias=False)
        self.ff_norm = nn.LayerNorm(dim)
        self.ff_in = nn.Linear(dim, ff_dim, bias=False)
        self.ff_out = nn.Linear(ff_dim, dim, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        # What is added to the residual stream begins small, the smaller the more layers add to it (Radford et al. 2019).
        for last in (self.self_out, self.cross_out, self.ff_out):
            last.weight.data.mul_((3 * layers) ** -0.5)

    def forward(self, x: Tensor, text: Tensor, seen: Tensor) -> Tensor:
        """``x`` ``[batch, n, dim]`` after this layer; it looks at ``text`` ``[batch, length, dim]`` where ``seen`` is true."""
        q, k, v = self._split(self.self_qkv(self.self_norm(x)), 3)
        x = x + self.self_out(_join(attend_causally(q, k, v)))
        (q,) = self._split(self.cross_q(self.cross_norm(x)), 1)
        k, v = self._split(self.cross_kv(text), 2)
        x = x + self.cross_out(_join(attend(q, k, v, seen)))
        fed: Tensor = self.ff_out(F.gelu(self.ff_in(self.ff_norm(x))))
        return x + fed

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        batch, n, width = x.shape
        return x.view(batch, n, parts, self.heads, width // (parts * self.heads)).permute(2, 0, 3, 1, 4).unbind()


class TrainableLM(nn.Module):
    """Codes, words and score to logits.

    Args:
        codebooks: how many.
        card: entries of a codebook; the special token is ``card``.
        features: of the score.
        text_encoder: transformers' ``T5EncoderModel``.
        dim, layers, heads, ff_dim: of the decoder.
        positions: the longest sequence.
    """

    def __init__(
        self,
        *,
        codebooks: int,
        card: int,
        features: int,
        text_encoder: Any,
        dim: int,
        layers: int,
        heads: int,
        ff_dim: int,
        positions: int,
    ) -> None:
        super().__init__()
        self.codebooks, self.card = codebooks, card
        self.text_encoder = text_encoder
        self.text_projection = nn.Linear(text_encoder.config.d_model, dim)
        self.score = nn.Linear(features, dim, bias=False)
        self.embeddings = nn.Embedding(codebooks * (card + 1), dim)
        self.blocks = nn.ModuleList(DecoderBlock(dim, heads, ff_dim, layers) for _ in range(layers))
        self.final_norm = nn.LayerNorm(dim)
        self.heads = nn.Linear(dim, codebooks * card, bias=False)
        nn.init.normal_(self.embeddings.weight, std=EMBEDDING_SCALE)
        nn.init.normal_(self.score.weight, std=SCORE_SCALE)
        nn.init.normal_(self.heads.weight, std=0.5 * dim**-0.5)
        nn.init.normal_(self.text_projection.weight, std=text_encoder.config.d_model**-0.5)
        nn.init.zeros_(self.text_projection.bias)
        self.register_buffer("positions", sinusoids(positions, dim), persistent=False)
        self.register_buffer("offsets", torch.arange(codebooks).mul(card + 1)[:, None], persistent=False)
        self.positions: Tensor
        self.offsets: Tensor

    def forward(self, columns: Tensor, score: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Score what follows each column.

        Args:
            columns: codes in the delay pattern ``[batch, codebooks, n]``, special tokens included.
            score: features ``[batch, n, features]`` of the frame that each column's successor begins.
            tokens: of the text ``[batch, length]``.
            mask: boolean ``[batch, length]``; a row without any true entry has the null text.

        Returns:
            Logits ``[batch, n, codebooks, card]``.
        """
        text, seen = self.hear(tokens, mask)
        x = F.embedding(columns + self.offsets, self.embeddings.weight).sum(1)
        x = x + self.positions[: x.shape[1]] + self.score(score)
        for block in self.blocks:
            x = block(x, text, seen)
        logits: Tensor = self.heads(self.final_norm(x))
        return logits.view(*logits.shape[:2], self.codebooks, self.card)

    def hear(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The projected text ``[batch, length, dim]``, zeros where it is masked, and what attention may see of it.

        A null text is seen in full: it is zeros, which give zero. Were it masked everywhere, softmax would give NaN.
        """
        hidden = self.text_encoder(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        text = self.text_projection(hidden) * mask.unsqueeze(2)
        seen = mask | ~mask.any(1, keepdim=True)
        return text, seen[:, None, None, :]


def attend_causally(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Self-attention in which no position looks ahead; ``[batch, heads, n, head_dim]``.

    On a CPU, torch's fused attention takes twice as long in training as matrices that are written out do, block by block, so
    that most of what is masked is never computed.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    n, parts = q.shape[2], []
    ahead = torch.ones(n, n, dtype=torch.bool).triu_(1)
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        parts.append(attend(q[:, :, start:end], k[:, :, :end], v[:, :, :end], ~ahead[start:end, :end]))
    return torch.cat(parts, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention to where ``seen``, which broadcasts to ``[batch, heads, n, length]``, is true."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    batch, heads, n, width = q.shape
    bias = torch.zeros(seen.shape, dtype=q.dtype).masked_fill_(~seen, -torch.inf)
    bias = bias.expand(batch, heads, n, k.shape[2]).flatten(0, 1) if bias.dim() == 4 else bias
    queries, keys, values = (x.reshape(batch * heads, -1, width) for x in (q, k, v))
    scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(scores.softmax(-1).to(values.dtype), values).view(batch, heads, n, width)


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


def make_text_encoder(vocabulary: int, dim: int, layers: int, seed: int) -> Any:
    """A T5 encoder with first weights of their own ``seed``."""
    ensure_torchaudio()
    from transformers import T5Config, T5EncoderModel

    config: Any = T5Config(
        vocab_size=vocabulary,
        d_model=dim,
        d_kv=32,
        d_ff=4 * dim,
        num_layers=layers,
        num_heads=max(1, dim // 32),
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    # Only now: what is imported for the first time may draw from torch's generator too.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return T5EncoderModel(config)
