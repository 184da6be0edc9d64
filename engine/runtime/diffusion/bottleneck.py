"""What stands between the two halves of a diffusion U-Net: a recurrent network both ways, or a transformer.

Attributes are named as AudioCraft's state dicts have them, so that its weights fit as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8
LAYERS = 6
FEED_FORWARD = 2048
"""Of the transformer: AudioCraft's U-Net has them fixed."""

_LONGEST_PERIOD = 10_000.0


class BidirectionalRecurrence(nn.Module):
    """A two-layer LSTM that reads both ways, and what joins the two: ``[batch, size, steps]`` to the same shape."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, size, num_layers=2, bidirectional=True)
        self.linear = nn.Linear(2 * size, size)

    def forward(self, rows: Tensor) -> Tensor:
        """Both directions over all steps."""
        heard, _ = self.lstm(rows.permute(2, 0, 1))
        joined: Tensor = self.linear(heard)
        return joined.permute(1, 2, 0)


class Transformer(nn.Module):
    """Six post-norm layers without biases in attention and feed-forward, over sinusoidal positions.

    Args:
        size: of a step.
        cross_attention: whether each layer hears the condition by attention.
    """

    def __init__(self, size: int, *, cross_attention: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(size, cross_attention=cross_attention) for _ in range(LAYERS))

    def forward(self, rows: Tensor, condition: Tensor | None) -> Tensor:
        """Take ``[batch, steps, size]`` and, for cross-attention, a condition ``[batch, frames, size]``."""
        rows = rows + positions(rows.shape[1], rows.shape[2], rows)
        for layer in self.layers:
            rows = layer(rows, condition)
        return rows


class _Layer(nn.Module):
    def __init__(self, size: int, *, cross_attention: bool) -> None:
        super().__init__()
        self.self_attn = _Attention(size)
        self.linear1 = nn.Linear(size, FEED_FORWARD, bias=False)
        self.linear2 = nn.Linear(FEED_FORWARD, size, bias=False)
        self.norm1 = nn.LayerNorm(size)
        self.norm2 = nn.LayerNorm(size)
        self.cross_attention = _Attention(size) if cross_attention else None
        if cross_attention:
            self.norm_cross = nn.LayerNorm(size)

    def forward(self, rows: Tensor, condition: Tensor | None) -> Tensor:
        heard: Tensor = self.norm1(rows + self.self_attn(rows, rows))
        if self.cross_attention is not None:
            assert condition is not None
            # Its queries are what came into the layer, not what self-attention has made of that.
            heard = self.norm_cross(heard + self.cross_attention(rows, condition))
        result: Tensor = self.norm2(heard + self.linear2(F.relu(self.linear1(heard))))
        return result


class _Attention(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(size, HEADS, bias=False, batch_first=True)

    def forward(self, queries: Tensor, heard: Tensor) -> Tensor:
        result: Tensor = self.mha(queries, heard, heard, need_weights=False)[0]
        return result


def positions(count: int, size: int, like: Tensor) -> Tensor:
    """Sinusoidal embeddings of the first positions, cosines first: ``[1, count, size]``, on the device of ``like``."""
    half = size // 2
    exponents = torch.arange(half, device=like.device, dtype=like.dtype) / (half - 1)
    at = torch.arange(count, device=like.device, dtype=like.dtype)[:, None]
    phase = at / torch.full([], _LONGEST_PERIOD, device=like.device, dtype=like.dtype) ** exponents
    return torch.cat((phase.cos(), phase.sin()), -1)[None]
