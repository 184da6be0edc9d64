"""SEANet as a chain of streaming layers, encoder and decoder, built from plain shapes and tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import Tensor, nn

from engine.runtime.activations import Activation, final_activation, hidden_activation
from engine.runtime.encodec_weights import GROUP_NORM, EncodecWeights, SeanetShape, fitting, folded
from engine.runtime.settled_layers import GroupNorm, Pointwise, Settled, SettledResidual
from engine.runtime.streaming_layers import Conv, Layer, Lstm, Residual
from engine.runtime.strided_layers import Strided

if TYPE_CHECKING:
    from engine.runtime.codec_graph import DecoderGraph

# Values in the largest matrix of a layer. On a CPU it should stay in the cache and be memory that the allocator
# reuses; on an accelerator the bound only keeps a long file from filling the memory.
_CPU_VALUES: Final = 1 << 20
_ACCELERATOR_VALUES: Final = 1 << 26

# Of the comparison of a graph with the layers: rows in a piece, and pieces after which any stream is past its beginning.
_COMPARED: Final = 4
_BEGINNING: Final = 8
_TOLERANCE: Final = 1e-4


class Graph(Protocol):
    """What runs the first layers of a network in the middle of a stream.

    Attributes:
        layers: how many of them; what follows gets the rows that ``step`` returns.
    """

    layers: int

    def takes(self, rows: Tensor, states: Sequence[Any]) -> bool:
        """Whether it can do this call."""

    def step(self, rows: Tensor, states: Sequence[Any]) -> Tensor:
        """Do it; the states move on."""


class StreamingNetwork:
    """A chain of layers, for any number of streams: ``step`` with the states that ``new_states`` made.

    Where a layer would make too large a matrix, its rows are split and every piece runs to the end of the chain:
    the early layers, whose weights are what takes time, see many rows at once, the late ones few.

    Attributes:
        rate: output rows per input row, in a chain without strides.
        delay: output rows held back behind the newest input row, once a stream has started; in a chain without strides.
        graph: what runs the first layers in the middle of a stream; None: the layers themselves. See `accelerate`.

    Args:
        layers: in order.
        device: where they are.
    """

    def __init__(self, layers: list[Layer[Any]], device: torch.device) -> None:
        self.layers = tuple(layers)
        self.graph: Graph | None = None
        values = _CPU_VALUES if device.type == "cpu" else _ACCELERATOR_VALUES
        self._limits = [max(1, values // layer.width) for layer in layers]
        self.rate, self.delay = 1, 0
        for layer in layers:
            self.rate *= layer.rate
            self.delay = self.delay * layer.rate + layer.delay

    def new_states(self, batch: int, frame: int = 0) -> list[Any]:
        """One state per layer, before the first row, which is that of this frame."""
        states = [layer.new_state(batch) for layer in self.layers]
        for layer, state in zip(self.layers, states, strict=True):
            layer.begin_at(frame, state)
        return states

    def accelerate(self, threads: int) -> bool:
        """Let onnxruntime run what it can of the network from now on; False where that is nothing, or not what the layers make.

        Args:
            threads: of the CPU.
        """
        from engine.runtime.codec_graph import DecoderGraph, covered

        if not covered(self.layers):
            return False
        self.graph = None
        graph = DecoderGraph(self.layers, threads)
        if not self._equals(graph):
            return False
        self.graph = graph
        return True

    @torch.inference_mode()
    def _equals(self, graph: DecoderGraph) -> bool:
        """Whether a graph makes what the layers make of some rows in the middle of a stream."""
        chance = torch.Generator().manual_seed(0)
        channels = graph.channels
        states, others = self.new_states(1), self.new_states(1)
        for _ in range(_BEGINNING):
            rows = torch.randn(1, _COMPARED, channels, generator=chance)
            self._run(0, rows.clone(), states, False)
            self._run(0, rows, others, False)
            if graph.takes(rows, states):
                break
        else:
            return False
        rows = torch.randn(1, _COMPARED, channels, generator=chance)
        made = self._run(graph.layers, graph.step(rows, states), states, False)
        expected = self._run(0, rows.clone(), others, False)
        if made is None or expected is None:
            return False
        return torch.allclose(made, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max()))

    def step(self, rows: Tensor | None, states: list[Any], last: bool = False) -> Tensor | None:
        """Run rows ``[batch, n, in]`` through all layers: the final rows ``[batch, m, out]``; None is no row.

        ``last`` ends the stream; its states are spent then. May overwrite ``rows``.
        """
        graph = self.graph
        if graph is not None and rows is not None and not last and graph.takes(rows, states):
            return self._run(graph.layers, graph.step(rows, states), states, last)
        return self._run(0, rows, states, last)

    def _run(self, first: int, rows: Tensor | None, states: list[Any], last: bool) -> Tensor | None:
        for index in range(first, len(self.layers)):
            if rows is not None and rows.shape[1] > self._limits[index]:
                # The same number of rows in each, so that no piece is left with a few.
                pieces = rows.chunk(math.ceil(rows.shape[1] / self._limits[index]), 1)
                results = [self._run(index, piece, states, last and piece is pieces[-1]) for piece in pieces]
                final = [result for result in results if result is not None]
                return torch.cat(final, 1) if final else None
            rows = self.layers[index].step(rows, states[index], last)
            if rows is None and not last:
                return None
        return rows


def build_decoder(weights: EncodecWeights, device: torch.device, dtype: torch.dtype) -> StreamingNetwork:
    """A SEANet decoder: latents ``[batch, n, dimension]`` to samples ``[batch, m, channels]``.

    The last convolution stays in float32, so that the samples are not rounded to a half float's few bits.

    Raises:
        RequestError: ``unsupported`` for a padding mode or activation without a streaming form, ``malformed`` for weights that
            are missing or have another shape.
    """
    shape = weights.decoder
    make = _Maker(shape, weights.state, "decoder.layers.", device, dtype)
    width = shape.filters * 2 ** len(shape.ratios)
    make.conv(shape.dimension, width, shape.kernel_size, normed=shape.plain_blocks < shape.blocks)
    make.lstm(width)
    for index, ratio in enumerate(shape.ratios):
        normed = shape.plain_blocks < shape.blocks - (index + 1)
        make.activation()
        make.transposed(width, width // 2, ratio, normed)
        width //= 2
        for layer in range(shape.residual_layers):
            make.residual(width, shape.dilation_growth**layer, normed)
    make.activation()
    make.dtype = torch.float32
    make.conv(shape.filters, shape.channels, shape.last_kernel_size, normed=shape.plain_blocks < 1)
    if shape.final_activation is not None:
        settled = final_activation(shape.final_activation, shape.final_activation_params)
        make.layers.append(Pointwise(settled, shape.channels))
    return StreamingNetwork(make.layers, device)


def build_encoder(weights: EncodecWeights, device: torch.device) -> StreamingNetwork:
    """A SEANet encoder in float32: samples ``[batch, n, channels]`` to latents ``[batch, m, dimension]``, before the quantiser.

    Raises:
        RequestError: as `build_decoder` does.
    """
    shape = weights.encoder
    make = _Maker(shape, weights.state, "encoder.layers.", device, torch.float32)
    width = shape.filters
    make.conv(shape.channels, width, shape.kernel_size, normed=shape.plain_blocks < 1)
    for index, ratio in enumerate(reversed(shape.ratios)):
        normed = shape.plain_blocks < index + 2
        for layer in range(shape.residual_layers):
            make.residual(width, shape.dilation_growth**layer, normed)
        make.activation()
        make.strided(width, 2 * width, ratio, normed)
        width *= 2
    make.lstm(width)
    make.activation()
    make.conv(width, shape.dimension, shape.last_kernel_size, normed=shape.plain_blocks < shape.blocks)
    return StreamingNetwork(make.layers, device)


class _Maker:
    """Makes one layer after the other, and counts them as the reference does."""

    def __init__(
        self, shape: SeanetShape, state: Mapping[str, Tensor], prefix: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.shape, self.state, self.prefix, self.device, self.dtype = shape, state, prefix, device, dtype
        self.layers: list[Layer[Any]] = []
        self.count = 0
        self._activation: Activation = hidden_activation(shape.activation, shape.activation_params)
        self._pending: Activation | None = None

    def activation(self) -> None:
        """Comes before the next layer."""
        self._pending = self._activation
        self.count += 1

    def conv(self, inputs: int, outputs: int, taps: int, *, normed: bool) -> None:
        self._append(self._conv(self._name(), inputs, outputs, taps, 1, normed, self._take()))

    def strided(self, inputs: int, outputs: int, ratio: int, normed: bool) -> None:
        name, activation = self._name(), self._take()
        weight, bias = self._weights(name, (outputs, inputs, 2 * ratio))
        right = 0 if self.shape.causal else ratio // 2
        norm = self._norm(name, outputs) if normed else None
        layer = Strided(
            weight,
            bias,
            stride=ratio,
            pad=(ratio - right, right),
            pad_mode=self.shape.pad_mode,
            activation=activation if norm is None else None,
        )
        self._append(layer if norm is None else Settled(layer, norm, activation=activation))

    def transposed(self, inputs: int, outputs: int, ratio: int, normed: bool) -> None:
        name, activation = self._name(), self._take()
        weight, bias = self._weights(name, (inputs, outputs, 2 * ratio), outputs=1)
        right = math.ceil(ratio * self.shape.trim_right_ratio) if self.shape.causal else ratio // 2
        trim = (ratio - right, right)
        norm = self._norm(name, outputs) if normed else None
        if norm is None:
            self._append(transposed_conv(weight, bias, ratio, trim, activation))
        else:
            # The norm is over what is trimmed as well.
            self._append(Settled(transposed_conv(weight, bias, ratio, (0, 0), None), norm, trim, activation))

    def residual(self, width: int, dilation: int, normed: bool) -> None:
        name, shape = self._name(), self.shape
        hidden = width // shape.compress
        inner, outer, shortcut = f"{name}.block.1", f"{name}.block.3", f"{name}.shortcut"
        if normed and shape.norm == GROUP_NORM:
            first = self._conv(inner, width, hidden, shape.residual_kernel_size, dilation, True, self._activation)
            second = self._conv(outer, hidden, width, 1, 1, True, self._activation)
            around = self._conv(shortcut, width, width, 1, 1, True, None) if shape.shortcut else None
            assert isinstance(first, Settled)
            assert isinstance(second, Settled)
            assert around is None or isinstance(around, Settled)
            self._append(SettledResidual((first, second), around))
            return
        weight, bias = self._weights(outer, (width, hidden, 1))
        matrix = None
        if shape.shortcut:
            columns, more = self._weights(shortcut, (width, width, 1))
            matrix, bias = columns.squeeze(2), bias + more
        convolution = self._conv(inner, width, hidden, shape.residual_kernel_size, dilation, False, None)
        assert isinstance(convolution, Conv)
        activations = (self._activation, self._activation)
        self._append(Residual(convolution, weight.squeeze(2), bias, matrix, activations))

    def lstm(self, width: int) -> None:
        if not self.shape.lstm_layers:
            return
        # From nowhere, since random first weights would move the global generator.
        lstm = nn.LSTM(width, width, self.shape.lstm_layers, batch_first=True, device="meta", dtype=self.dtype)
        lstm = lstm.to_empty(device=self.device).requires_grad_(False).eval()
        name = self._name()
        for own, parameter in lstm.named_parameters():
            parameter.copy_(fitting(self.state, f"{name}.lstm.{own}", tuple(parameter.shape)))
        self._append(Lstm(lstm))

    def _conv(
        self,
        name: str,
        inputs: int,
        outputs: int,
        taps: int,
        dilation: int,
        normed: bool,
        activation: Activation | None,
    ) -> Layer[Any]:
        weight, bias = self._weights(name, (outputs, inputs, taps))
        total = (taps - 1) * dilation
        right = 0 if self.shape.causal else total // 2
        norm = self._norm(name, outputs) if normed else None
        layer = Conv(
            weight,
            bias,
            dilation=dilation,
            pad=(total - right, right),
            pad_mode=self.shape.pad_mode,
            activation=activation if norm is None else None,
        )
        return layer if norm is None else Settled(layer, norm, activation=activation)

    def _weights(self, name: str, shape: tuple[int, int, int], outputs: int = 0) -> tuple[Tensor, Tensor]:
        """Copies of a convolution's weight, whatever norms it folded in, and bias."""
        weight = folded(self.state, f"{name}.conv.weight", shape, outputs=outputs)
        bias = fitting(self.state, f"{name}.conv.bias", (shape[outputs],))
        return weight.to(self.device, self.dtype, copy=True), bias.to(self.device, self.dtype, copy=True)

    def _norm(self, name: str, channels: int) -> GroupNorm | None:
        if self.shape.norm != GROUP_NORM:
            return None
        weight, bias = (fitting(self.state, f"{name}.norm.{part}", (channels,)) for part in ("weight", "bias"))
        weight, bias = (part.to(self.device, self.dtype, copy=True) for part in (weight, bias))
        return GroupNorm(weight, bias, self.shape.norm_eps)

    def _name(self) -> str:
        return f"{self.prefix}{self.count}"

    def _take(self) -> Activation | None:
        taken, self._pending = self._pending, None
        return taken

    def _append(self, layer: Layer[Any]) -> None:
        self.layers.append(layer)
        self.count += 1


def transposed_conv(
    weight: Tensor, bias: Tensor, rate: int, trim: tuple[int, int], activation: Activation | None
) -> Conv:
    """A transposed convolution ``[in, out, 2 * rate]`` whose kernel is twice its stride, as a convolution of two taps.

    Args:
        weight: ``[in, out, 2 * rate]``.
        bias: ``[out]``.
        rate: its stride.
        trim: output rows to drop at the start and the end of a stream.
        activation: what the input goes through first.
    """
    channels, out, kernel = weight.shape
    assert kernel == 2 * rate, (kernel, rate)
    # Output row t * rate + r is x[t] @ w[r] + x[t - 1] @ w[r + rate]: the later half belongs to the older tap.
    taps = weight.view(channels, out, 2, rate).flip(2).permute(3, 1, 0, 2).reshape(rate * out, channels, 2)
    return Conv(taps, bias.repeat(rate), pad=(1, 1), pad_mode="constant", activation=activation, rate=rate, trim=trim)
