"""The Descript Audio Codec (Kumar et al. 2023, arXiv:2306.06546) on streams.

An encoder and a decoder of convolutions with Snake between them, and codebooks that are looked up by direction in eight
dimensions. All padding is zeros and nothing remembers more than its windows, so that every stream equals the whole file.

Tensors go by transformers' names for ``DacModel``: ``encoder.conv1.weight``, ``decoder.block.0.res_unit1.snake1.alpha``,
``quantizer.quantizers.0.in_proj.weight``; weight norm may be folded in or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from engine.runtime.activations import Snake, final_activation
from engine.runtime.audio_codec import EncoderStream
from engine.runtime.codec import StreamedCodec
from engine.runtime.encodec_weights import fingerprint_of, fitting, folded
from engine.runtime.encoding import StreamingEncoder
from engine.runtime.quantizers import FactorisedQuantizer
from engine.runtime.seanet import StreamingNetwork, transposed_conv
from engine.runtime.settled_layers import Pointwise
from engine.runtime.streaming_layers import Conv, Layer, Residual
from engine.runtime.strided_layers import Strided
from protocols.errors import ErrorCode, RequestError

_DILATIONS: Final = (1, 3, 9)
_TAPS: Final = 7


@dataclass(frozen=True, kw_only=True)
class DacWeights:
    """A DAC model.

    Attributes:
        sample_rate: in Hz.
        encoder_width: channels of the encoder's first layer; each ratio doubles them.
        decoder_width: channels of the decoder's first layer; each ratio halves them.
        down: the encoder's ratios in its order.
        up: the decoder's.
        dimension: of the latents.
        codebooks: how many there are.
        card: codes per codebook.
        codebook_dims: dimensions of each codebook's entries.
        state: every tensor by transformers' name.
    """

    sample_rate: int
    encoder_width: int
    decoder_width: int
    down: tuple[int, ...]
    up: tuple[int, ...]
    dimension: int
    codebooks: int
    card: int
    codebook_dims: tuple[int, ...]
    state: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, least, most in (
            *(("sample_rate", 1, 1 << 20), ("encoder_width", 1, 1 << 14), ("decoder_width", 1, 1 << 16)),
            *(("dimension", 1, 1 << 20), ("codebooks", 1, 1024), ("card", 2, 1 << 20)),
        ):
            if not least <= getattr(self, name) <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self, name), f"{least} to {most}")
        for name, ratios in (("down", self.down), ("up", self.up)):
            if not 1 <= len(ratios) <= 16 or not all(1 <= ratio <= 1024 for ratio in ratios):
                allowed = "1 to 16 whole numbers, 1 to 1024"
                raise RequestError(ErrorCode.OUT_OF_RANGE, f"{name}sampling_ratios", list(ratios), allowed)
        if len(self.codebook_dims) != self.codebooks or not all(0 < small <= 1 << 16 for small in self.codebook_dims):
            dims = list(self.codebook_dims)[:8]
            raise RequestError(ErrorCode.OUT_OF_RANGE, "codebook_dim", dims, f"{self.codebooks} numbers above 0")

    @property
    def hop_length(self) -> int:
        return math.prod(self.up)

    @classmethod
    def of_model(cls, model: Any) -> DacWeights:
        """Those of a transformers ``DacModel``; its tensors are shared, not copied."""
        return cls.of_config(model.config, model.state_dict())

    @classmethod
    def of_config(cls, config: Any, state: Mapping[str, Tensor]) -> DacWeights:
        """Those of transformers' ``DacConfig`` and the tensors of such a model."""
        return cls(
            sample_rate=int(config.sampling_rate),
            encoder_width=int(config.encoder_hidden_size),
            decoder_width=int(config.decoder_hidden_size),
            down=tuple(int(ratio) for ratio in config.downsampling_ratios),
            up=tuple(int(ratio) for ratio in config.upsampling_ratios),
            dimension=int(config.hidden_size),
            codebooks=int(config.n_codebooks),
            card=int(config.codebook_size),
            codebook_dims=(int(config.codebook_dim),) * int(config.n_codebooks),
            state=state,
        )


class DacCodec(StreamedCodec):
    """A DAC model; everything that it can do is documented at `engine.runtime.audio_codec.AudioCodec`.

    The last frame of a signal is filled with zeros before it is encoded, as the reference's preprocessing does. With an odd ratio
    (24 kHz) the reference's decoder makes a few samples less than whole frames; zeros stand for them at the end.

    Args:
        weights: of the model; they are copied.
        channels: 1, or 2 for interleaved stereo.
        device: where encoding and decoding run.
        dtype: of the decoder: float32, bfloat16 or float16. Audio is float32 always.

    Raises:
        RequestError: ``unsupported`` for another number of channels or ratios that do not make whole frames, ``malformed`` for
            weights that are missing or have another shape.
    """

    fills_frames = True

    def __init__(
        self,
        weights: DacWeights,
        channels: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if math.prod(weights.down) != weights.hop_length:
            raise RequestError(
                ErrorCode.UNSUPPORTED,
                "downsampling_ratios",
                list(weights.down),
                f"ratios that make {weights.hop_length}",
            )
        device = torch.device(device)
        with torch.no_grad():
            self._quantizer = _quantizer(weights, device)
            super().__init__(
                sample_rate=weights.sample_rate,
                hop_length=weights.hop_length,
                native=1,
                channels=channels,
                tables=self._quantizer.tables(),
                device=device,
                dtype=dtype,
                fingerprint=fingerprint_of(
                    (weights.sample_rate, weights.down, weights.card), weights.state, self._quantizer.codebooks[0]
                ),
            )
            self._encoder_network = _encoder(weights, device)
            self._network = _decoder(weights, device, dtype)
        self.missing_samples = 0
        for ratio in weights.up:
            self.missing_samples = self.missing_samples * ratio + ratio % 2

    @property
    def network(self) -> StreamingNetwork:
        return self._network

    def _encoder(self, num_codebooks: int | None, scales: Tensor | None) -> EncoderStream:
        books, scales = self._books(num_codebooks), self._checked_scales(scales)
        block = max(1, round(self.frame_rate)) * self.hop_length
        return StreamingEncoder(self, self._encoder_network, self._quantizer, books, scales, block)


class _Maker:
    """Copies tensors and makes layers of them."""

    def __init__(self, weights: DacWeights, device: torch.device, dtype: torch.dtype) -> None:
        self.state, self.device, self.dtype = weights.state, device, dtype
        self.layers: list[Layer[Any]] = []

    def weights(self, name: str, shape: tuple[int, ...], outputs: int = 0) -> tuple[Tensor, Tensor]:
        weight = folded(self.state, f"{name}.weight", shape)
        bias = fitting(self.state, f"{name}.bias", (shape[outputs],))
        return weight.to(self.device, self.dtype, copy=True), bias.to(self.device, self.dtype, copy=True)

    def snake(self, name: str, channels: int) -> Snake:
        alpha = fitting(self.state, f"{name}.alpha", (1, channels, 1)).flatten()
        return Snake(alpha.to(self.device, self.dtype, copy=True))

    def conv(self, name: str, inputs: int, outputs: int, taps: int, snake: Snake | None = None) -> None:
        weight, bias = self.weights(name, (outputs, inputs, taps))
        pad = (taps // 2, taps // 2)
        self.layers.append(Conv(weight, bias, pad=pad, pad_mode="constant", activation=snake))

    def residuals(self, name: str, width: int) -> None:
        for index, dilation in enumerate(_DILATIONS):
            unit = f"{name}.res_unit{index + 1}"
            weight, bias = self.weights(f"{unit}.conv1", (width, width, _TAPS))
            reach = _TAPS // 2 * dilation
            inner = Conv(weight, bias, dilation=dilation, pad=(reach, reach), pad_mode="constant")
            outer, outer_bias = self.weights(f"{unit}.conv2", (width, width, 1))
            snakes = (self.snake(f"{unit}.snake1", width), self.snake(f"{unit}.snake2", width))
            self.layers.append(Residual(inner, outer.squeeze(2), outer_bias, None, snakes))


def _encoder(weights: DacWeights, device: torch.device) -> StreamingNetwork:
    make, width = _Maker(weights, device, torch.float32), weights.encoder_width
    make.conv("encoder.conv1", 1, width, _TAPS)
    for index, ratio in enumerate(weights.down):
        name = f"encoder.block.{index}"
        make.residuals(name, width)
        weight, bias = make.weights(f"{name}.conv1", (2 * width, width, 2 * ratio))
        pad = math.ceil(ratio / 2)
        snake = make.snake(f"{name}.snake1", width)
        make.layers.append(
            Strided(weight, bias, stride=ratio, pad=(pad, pad), pad_mode="constant", fill=False, activation=snake)
        )
        width *= 2
    make.conv("encoder.conv2", width, weights.dimension, 3, make.snake("encoder.snake1", width))
    return StreamingNetwork(make.layers, device)


def _decoder(weights: DacWeights, device: torch.device, dtype: torch.dtype) -> StreamingNetwork:
    make, width = _Maker(weights, device, dtype), weights.decoder_width
    make.conv("decoder.conv1", weights.dimension, width, _TAPS)
    for index, ratio in enumerate(weights.up):
        name = f"decoder.block.{index}"
        weight, bias = make.weights(f"{name}.conv_t1", (width, width // 2, 2 * ratio), outputs=1)
        pad = math.ceil(ratio / 2)
        make.layers.append(transposed_conv(weight, bias, ratio, (pad, pad), make.snake(f"{name}.snake1", width)))
        width //= 2
        make.residuals(name, width)
    make.dtype = torch.float32
    make.conv("decoder.conv2", width, 1, _TAPS, make.snake("decoder.snake1", width))
    make.layers.append(Pointwise(final_activation("Tanh", {}), 1))
    return StreamingNetwork(make.layers, device)


def _quantizer(weights: DacWeights, device: torch.device) -> FactorisedQuantizer:
    make = _Maker(weights, device, torch.float32)
    books: list[Tensor] = []
    inward: list[tuple[Tensor, Tensor]] = []
    outward: list[tuple[Tensor, Tensor]] = []
    for index, small in enumerate(weights.codebook_dims):
        name = f"quantizer.quantizers.{index}"
        table = fitting(weights.state, f"{name}.codebook.weight", (weights.card, small))
        books.append(table.to(device, torch.float32, copy=True))
        for pairs, which, shape in (
            (inward, "in_proj", (small, weights.dimension, 1)),
            (outward, "out_proj", (weights.dimension, small, 1)),
        ):
            matrix, bias = make.weights(f"{name}.{which}", shape)
            pairs.append((matrix.squeeze(2), bias))
    return FactorisedQuantizer(books, inward, outward)
