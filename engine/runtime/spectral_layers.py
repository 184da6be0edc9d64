"""The spectral decoder as it runs on a stream: layers for `engine.runtime.seanet.StreamingNetwork`.

They keep to the rules of `engine.runtime.streaming_layers`: rows come in by any number, final rows go out, nothing is
computed twice, and what a stream has to remember is in a state object that the caller keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.seanet import StreamingNetwork
from engine.runtime.spectral_network import Block, Entry, SpectralConfig, SpectralDecoder, add_up, spectra_made
from engine.runtime.streaming_layers import Conv, Layer, Window


@dataclass(slots=True)
class Overlap(Window):
    """What the overlap-add remembers of one stream: the sums ``[batch, margin]`` that later pieces still add to.

    Attributes:
        pieces: how many have been added, counted up to the number that overlap.
        place: the next piece's, in the period of the drawn phases.
    """

    pieces: int
    place: int = 0


class Normalised(Layer[Window]):
    """A convolution and the norm after it."""

    def __init__(self, conv: Conv, norm: nn.LayerNorm) -> None:
        self.conv = conv
        self.delay, self.width = conv.delay, conv.width
        self.norm = _affine(norm, conv.weight)

    def new_state(self, batch: int) -> Window:
        return self.conv.new_state(batch)

    def step(self, rows: Tensor | None, state: Window, last: bool) -> Tensor | None:
        result = self.conv.step(rows, state, last)
        return None if result is None else _norm(result, self.norm)


class ConvNeXt(Layer[Window]):
    """A causal ConvNeXt block; its residual scale is folded into its last matrix."""

    def __init__(self, block: Block, like: Tensor) -> None:
        self.taps = block.depthwise.weight.detach()[:, 0, 0].to(like, copy=True)
        assert block.depthwise.bias is not None
        self.bias = block.depthwise.bias.detach().to(like, copy=True)
        self.norm = _affine(block.norm, like)
        self.expand = [value.detach().to(like, copy=True) for value in (block.expand.weight, block.expand.bias)]
        scale = block.scale.detach()
        contract = (block.contract.weight.detach() * scale[:, None], block.contract.bias.detach() * scale)
        self.contract = [value.to(like, copy=True) for value in contract]
        self.channels, self.past = self.taps.shape[0], self.taps.shape[1] - 1
        self.width = max(self.taps.numel(), len(self.expand[1]))

    def new_state(self, batch: int) -> Window:
        return Window(self.taps.new_zeros(batch, self.past, self.channels), started=True, skip=0)

    def step(self, rows: Tensor | None, state: Window, last: bool) -> Tensor | None:
        if rows is None:
            return None
        assert state.rows is not None
        extended = torch.cat((state.rows, rows), 1)
        state.rows = extended[:, extended.shape[1] - self.past :].clone()
        hidden = (extended.unfold(1, self.past + 1, 1) * self.taps).sum(-1) + self.bias
        hidden = F.gelu(F.linear(_norm(hidden, self.norm), *self.expand))
        return F.linear(hidden, *self.contract).add_(rows)


class Head(Layer[None]):
    """The last norm and matrix, whose output is float32: magnitudes and phases, ``[batch, n, subframes * 3 * bins]``."""

    def __init__(self, decoder: SpectralDecoder, like: Tensor) -> None:
        self.norm = _affine(decoder.norm, like)
        self.weight = decoder.head.weight.detach().to(like, copy=True)
        self.bias = decoder.head.bias.detach().to(like, copy=True)
        self.width = len(self.bias)

    def new_state(self, batch: int) -> None:
        return None

    def step(self, rows: Tensor | None, state: None, last: bool) -> Tensor | None:
        return None if rows is None else F.linear(_norm(rows, self.norm), self.weight, self.bias).float()


class Synthesis(Layer[Overlap]):
    """Inverse Fourier transforms and overlap-add: samples ``[batch, n * hop_length, 1]``.

    The sum of the squared windows, by which the samples are divided, is exact at both ends of a stream, where fewer
    windows overlap.
    """

    def __init__(self, decoder: SpectralDecoder, like: Tensor) -> None:
        self.config: SpectralConfig = decoder.config
        self.taper = decoder.taper.to(like.device, copy=True)
        noise = decoder.noise(self.config.noise_period)
        self.noise = None if noise is None else noise.detach().to(like.device, copy=True)
        self.rate = self.config.hop_length
        self.delay = self.config.margin // 2
        self.width = decoder.head.out_features
        self.overlap = self.config.window // self.config.distance
        # Weights of a stream of few pieces: before the steady state at its start, after it at its end.
        squared = self.taper.square().expand(1, 2 * self.overlap, -1)
        edges = add_up(squared, self.config)[0]
        margin, distance = self.config.margin, self.config.distance
        self.rising, self.steady, self.falling = edges[:margin], edges[margin : margin + distance], edges[-margin:]

    def new_state(self, batch: int) -> Overlap:
        rows = torch.zeros(batch, self.config.margin, device=self.taper.device)
        return Overlap(rows, started=True, skip=self.delay, pieces=0)

    def begin_at(self, frame: int, state: Overlap) -> None:
        state.place = frame * self.config.subframes % self.config.noise_period if self.noise is not None else 0

    def step(self, rows: Tensor | None, state: Overlap, last: bool) -> Tensor | None:
        parts = []
        if rows is not None:
            parts.append(self._add(rows, state))
        if last and state.pieces:
            parts.append(self._end(state))
        return torch.cat(parts, 1).unsqueeze(2) if parts else None

    def _add(self, values: Tensor, state: Overlap) -> Tensor:
        spectra = spectra_made(values, self.config, self._draw(values.shape[1], state))
        pieces = _inverse(spectra, self.config.window).mul_(self.taper)
        count, margin, distance = pieces.shape[1], self.config.margin, self.config.distance
        summed = add_up(pieces, self.config)
        assert state.rows is not None
        summed[:, :margin] += state.rows
        state.rows = summed[:, count * distance :].clone()
        final = summed[:, : count * distance]
        # Counted in pieces, `before` says how far into the stream these samples begin.
        before = state.pieces
        state.pieces = min(before + count, self.overlap)
        rising = self.rising[before * distance : (before + count) * distance]
        weight = torch.cat((rising, self.steady.repeat(count - len(rising) // distance)))
        audio = (final / weight)[:, state.skip :] if state.skip else final / weight
        state.skip = max(0, state.skip - count * distance)
        return audio

    def _draw(self, frames: int, state: Overlap) -> Tensor | None:
        """The drawn phases of the next frames."""
        if self.noise is None:
            return None
        count, period = frames * self.config.subframes, self.config.noise_period
        places = torch.arange(state.place, state.place + count, device=self.noise.device) % period
        state.place = (state.place + count) % period
        return self.noise[places]

    def _end(self, state: Overlap) -> Tensor:
        """The samples that waited for pieces that never come, up to the end of the last codec frame."""
        weight = self.falling
        if state.pieces < self.overlap:
            # A stream so short that some of the windows at its end never were.
            pieces = self.taper.square().expand(1, state.pieces, -1)
            weight = add_up(pieces, self.config)[0, -self.config.margin :]
        assert state.rows is not None
        kept = slice(state.skip, self.delay)
        return state.rows[:, kept] / weight[kept]


def _inverse(spectra: Tensor, window: int) -> Tensor:
    """Real signals ``[batch, n, window]`` of spectra; on a CPU by numpy, since torch's spreads a few transforms over threads.

    They take 20 µs; but threads that wait for one which another process has pushed aside wait for milliseconds.
    """
    if spectra.device.type != "cpu":
        pieces: Tensor = torch.fft.irfft(spectra, n=window)
        return pieces
    return torch.from_numpy(np.fft.irfft(spectra.numpy(), n=window)).float()


def build_network(decoder: SpectralDecoder, device: torch.device, dtype: torch.dtype) -> StreamingNetwork:
    """Copy a spectral decoder's weights into layers that run on a stream; ``dtype`` is that of the matrices."""
    like = torch.empty(0, device=device, dtype=dtype)
    layers: list[Layer[Any]] = [_entry(decoder.entry, like)]
    layers += [ConvNeXt(block, like) for block in decoder.blocks if isinstance(block, Block)]
    layers += [Head(decoder, like), Synthesis(decoder, like)]
    return StreamingNetwork(layers, device)


def _entry(entry: Entry, like: Tensor) -> Normalised:
    assert entry.conv.bias is not None
    weight, bias = (value.detach().to(like, copy=True) for value in (entry.conv.weight, entry.conv.bias))
    conv = Conv(weight, bias, pad=entry.pad, pad_mode="constant")
    return Normalised(conv, entry.norm)


def _affine(norm: nn.LayerNorm, like: Tensor) -> tuple[Tensor, Tensor, float]:
    return norm.weight.detach().to(like, copy=True), norm.bias.detach().to(like, copy=True), norm.eps


def _norm(rows: Tensor, affine: tuple[Tensor, Tensor, float]) -> Tensor:
    weight, bias, eps = affine
    return F.layer_norm(rows, weight.shape, weight, bias, eps)
