"""The U-Net that estimates the noise in a band's sound, hearing what the codec's codes say.

The network is that of MultiBandDiffusion (San Roman et al., "From Discrete Tokens to High-Fidelity Audio Using Multi-Band
Diffusion", 2023) as AudioCraft has it. Attributes are named as its state dicts have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.diffusion.bottleneck import HEADS, BidirectionalRecurrence, Transformer, positions
from protocols.errors import ErrorCode, RequestError

_BLOCK_KERNEL = 3
_MOST_DEPTH = 12
_MOST_CHANNELS = 1 << 16
_MOST_BLOCKS = 16
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a diffusion U-Net, under AudioCraft's names.

    Attributes:
        channels: of the sound.
        num_steps: of the noise schedule; each has an embedding.
        hidden: channels of the outermost layer.
        depth: layers of each half.
        growth: how many times as many channels each layer has as the one outside it.
        max_channels: of any layer.
        kernel: of the convolutions that change the rate.
        stride: by how much each layer changes the rate.
        res_blocks: residual blocks of a layer.
        norm_groups: groups of each group norm.
        emb_all_layers: whether each layer hears which step it is, or only the outermost.
        bilstm: whether a recurrent network stands between the halves.
        transformer: whether a transformer stands there.
        cross_attention: whether the transformer hears the condition by attention; else it is added.
        codec_dim: size of the condition; None for a model that hears none.
    """

    channels: int = 1
    num_steps: int = 1000
    hidden: int = 24
    depth: int = 3
    growth: float = 2.0
    max_channels: int = 10_000
    kernel: int = 4
    stride: int = 2
    res_blocks: int = 1
    norm_groups: int = 4
    emb_all_layers: bool = False
    bilstm: bool = False
    transformer: bool = False
    cross_attention: bool = False
    codec_dim: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "channels": (1, 16),
            "num_steps": (1, _MOST_STEPS),
            "hidden": (1, _MOST_CHANNELS),
            "depth": (1, _MOST_DEPTH),
            "max_channels": (1, _MOST_CHANNELS),
            "kernel": (1, 1024),
            "stride": (1, 1024),
            "res_blocks": (0, _MOST_BLOCKS),
            "norm_groups": (1, _MOST_CHANNELS),
            "codec_dim": (1, _MOST_CHANNELS),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, value, f"{low} to {high}")
        if not 0 < self.growth <= 64:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "growth", self.growth, "more than 0, at most 64")
        if self.kernel < self.stride or (self.kernel - self.stride) % 2:
            allowed = f"the stride ({self.stride}) or more, by an even number"
            raise RequestError(ErrorCode.UNSUPPORTED, "kernel", self.kernel, allowed)
        widths = self.widths
        for width in widths:
            if not 1 <= width <= _MOST_CHANNELS or width % self.norm_groups:
                allowed = f"a divisor of each layer's channels ({', '.join(map(str, widths))})"
                raise RequestError(ErrorCode.UNSUPPORTED, "norm_groups", self.norm_groups, allowed)
        if self.transformer and (widths[-1] % HEADS or widths[-1] < 4):
            allowed = f"a multiple of {HEADS} channels in the innermost layer"
            raise RequestError(ErrorCode.UNSUPPORTED, "transformer", f"{widths[-1]} channels", allowed)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each layer, from the outermost."""
        widths = [self.hidden]
        while len(widths) < self.depth:
            widths.append(min(int(widths[-1] * self.growth), self.max_channels))
        return tuple(widths)


class DiffusionUNet(nn.Module):
    """Estimates the noise in ``[batch, channels, samples]``."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        outer = (config.channels, *widths[:-1])
        self.encoders = nn.ModuleList(_Encoder(*pair, config) for pair in zip(outer, widths, strict=True))
        self.decoders = nn.ModuleList(_Decoder(*pair, config) for pair in zip(widths[::-1], outer[::-1], strict=True))
        self.embedding = nn.Embedding(config.num_steps, widths[0])
        self.embeddings = None
        if config.emb_all_layers:
            self.embeddings = nn.ModuleList(nn.Embedding(config.num_steps, width) for width in widths[1:])
        self.bilstm = BidirectionalRecurrence(widths[-1]) if config.bilstm else None
        self.transformer = None
        if config.transformer:
            self.transformer = Transformer(widths[-1], cross_attention=config.cross_attention)
        self.conv_codec = None
        if config.codec_dim is not None:
            self.conv_codec = nn.Conv1d(config.codec_dim, widths[-1], 1)

    def forward(self, sound: Tensor, step: int, condition: Tensor | None = None) -> Tensor:
        """Estimate the noise.

        Args:
            sound: with noise, ``[batch, channels, samples]``.
            step: of the noise schedule.
            condition: the codec's latents ``[batch, codec_dim, frames]``.
        """
        count = sound.shape[2]
        which = torch.full((sound.shape[0],), step, device=sound.device, dtype=torch.long)
        rows, skips = sound, []
        for depth, encoder in enumerate(self.encoders):
            rows = encoder(rows)
            if depth == 0:
                rows = rows + self.embedding(which)[:, :, None]
            elif self.embeddings is not None:
                rows = rows + self.embeddings[depth - 1](which)[:, :, None]
            skips.append(rows)
        heard = None
        if self.conv_codec is not None:
            assert condition is not None, "the model hears the codec's latents"
            heard = self.conv_codec(condition)
            if self.transformer is not None and self.transformer_crosses:
                heard = heard.transpose(1, 2)
                heard = heard + positions(heard.shape[1], heard.shape[2], heard)
            else:
                rows = rows + F.interpolate(heard, rows.shape[2])
                # The condition goes around the bottleneck too: a model without one hears it only there.
                skips[-1] = rows
                heard = None
        if self.transformer is not None:
            rows = self.transformer(rows.transpose(1, 2), heard).transpose(1, 2)
        elif self.bilstm is not None:
            rows = self.bilstm(rows)
        else:
            rows = torch.zeros_like(rows)
        for decoder in self.decoders:
            skip = skips.pop()
            rows = decoder(rows[:, :, : skip.shape[2]] + skip)
        return rows[:, :, :count]

    @property
    def transformer_crosses(self) -> bool:
        """Whether the condition is heard by cross-attention."""
        return self.config.transformer and self.config.cross_attention


class _Block(nn.Module):
    """Two dilated convolutions beside what they are added to."""

    def __init__(self, width: int, groups: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (_BLOCK_KERNEL - 1) // 2
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv1 = nn.Conv1d(width, width, _BLOCK_KERNEL, padding=padding, dilation=dilation)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv1d(width, width, _BLOCK_KERNEL, padding=padding, dilation=dilation)

    def forward(self, rows: Tensor) -> Tensor:
        heard = self.conv1(F.relu(self.norm1(rows)))
        result: Tensor = self.conv2(F.relu(self.norm2(heard)))
        return rows + result


def _blocks(width: int, config: UNetConfig) -> nn.Sequential:
    return nn.Sequential(*(_Block(width, config.norm_groups, 2**index) for index in range(config.res_blocks)))


class _Encoder(nn.Module):
    def __init__(self, before: int, width: int, config: UNetConfig) -> None:
        super().__init__()
        self.stride = config.stride
        padding = (config.kernel - config.stride) // 2
        self.conv = nn.Conv1d(before, width, config.kernel, config.stride, padding, bias=False)
        self.norm = nn.GroupNorm(config.norm_groups, width)
        self.res_blocks = _blocks(width, config)

    def forward(self, rows: Tensor) -> Tensor:
        rows = F.pad(rows, (0, -rows.shape[2] % self.stride))
        result: Tensor = self.res_blocks(F.relu(self.norm(self.conv(rows))))
        return result


class _Decoder(nn.Module):
    def __init__(self, width: int, after: int, config: UNetConfig) -> None:
        super().__init__()
        padding = (config.kernel - config.stride) // 2
        self.res_blocks = _blocks(width, config)
        self.norm = nn.GroupNorm(config.norm_groups, width)
        self.convtr = nn.ConvTranspose1d(width, after, config.kernel, config.stride, padding, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.convtr(F.relu(self.norm(self.res_blocks(rows))))
        return result
