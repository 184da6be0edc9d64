"""The layers and heads of a `MusicgenLM` as one ONNX graph whose matrices stay in few bits.

One graph does steps and pre-fills: rows, columns and the length of texts are free. ``MatMulNBits`` multiplies codes with
activations that it rounds to eight bits row by row and block by block; ``GroupQueryAttention`` writes keys and values in place,
with a length of its own for each row, so that rows of different ages share a batch. Both are onnxruntime's own operators. A model
whose matrices are in single precision gets ``MatMul``: slower than torch, and the way to tell the graph from its rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from onnx import TensorProto, helper
from torch import Tensor

from engine.runtime.caches import CacheScales
from engine.runtime.linear import Linear
from engine.runtime.quantised import BlockWeight
from engine.runtime.transformer import DecoderLayer

if TYPE_CHECKING:
    from engine.runtime.lm import LMConfig, MusicgenLM

_FLOAT, _INT8, _INT32, _INT64 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64
_TYPES = {torch.float32: _FLOAT, torch.uint8: TensorProto.UINT8, torch.int64: _INT64}
OPS = "com.microsoft"
ROUNDED_ACTIVATIONS = 4
"""Of ``accuracy_level``: products of eight-bit integers."""
_IR_VERSION, _OPSET = 10, 21


class StepGraph(NamedTuple):
    """A graph and what it takes from outside of itself.

    Attributes:
        model: serialised, without weights.
        weights: by the names that the graph gives them.
    """

    model: bytes
    weights: dict[str, Tensor]


def unsupported(lm: MusicgenLM) -> str | None:
    """Why the graph cannot run this model; None: it can."""
    reasons = {
        "it is not on a CPU": lm.device.type != "cpu",
        "its activations are not in single precision": lm.dtype is not torch.float32,
        "its matrices are not there to be read": not all(_readable(linear) for linear in linears_of(lm)),
    }
    return unsupported_shape(lm.config) or next((reason for reason, holds in reasons.items() if holds), None)


def unsupported_shape(config: LMConfig) -> str | None:
    """Why the graph cannot run a model of this shape, in whatever precision; None: it can."""
    variant = config.variant
    reasons = {
        "its norms stand after the layers": not variant.norm_first,
        "it rotates queries and keys": variant.rotates,
        "it norms queries and keys": variant.qk_norm,
        "it looks back for a limited time": variant.past_context is not None,
        f"a head of {config.head_dim} numbers has no whole eights of them": config.head_dim % 8 != 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def linears_of(lm: MusicgenLM) -> list[Linear]:
    """The linear layers that a step runs: all but those that make keys and values of a text, which run once."""
    layers = cast("Sequence[DecoderLayer]", lm.layers)
    inside = [module for layer in layers for name, module in layer.named_children() if name != "cross_kv"]
    return [module for module in [*inside, lm.heads] if isinstance(module, Linear)]


def text_linears_of(lm: MusicgenLM) -> list[Linear]:
    """Those that make keys and values of a text, layer by layer; none without cross-attention."""
    if not lm.config.cross_attention:
        return []
    return [layer.cross_kv for layer in cast("Sequence[DecoderLayer]", lm.layers)]


def weights_of(lm: MusicgenLM) -> list[BlockWeight]:
    """Those of the matrices of `linears_of` and `text_linears_of` that are in few bits."""
    every = [*linears_of(lm), *text_linears_of(lm)]
    return [linear.rounded for linear in every if isinstance(linear.rounded, BlockWeight)]


def _readable(linear: Linear) -> bool:
    """Whether its matrix is there: in few bits, or as it was loaded; torch's own layouts cannot be read."""
    weight = linear.rounded
    return not weight.released if isinstance(weight, BlockWeight) else linear.weight.numel() > 0


def step_graph(lm: MusicgenLM, scales: Sequence[CacheScales] | None = None) -> StepGraph:
    """The graph of a model; see `unsupported`.

    Its inputs: ``x [rows, n, dim]``, ``lengths [rows]`` (slots before the last column), ``total []`` (the longest, with it),
    ``scored [1]`` (how many columns the heads score), for each layer ``keys0 values0 [rows, kv_heads, slots, head_dim]``, and with
    cross-attention ``text_keys0 text_values0 [rows, heads, length, head_dim]`` and ``text_bias [rows, 1, n, length]``. Its outputs:
    ``hidden [rows, n, dim]``, ``logits [rows, scored, codebooks · card]``, and ``keys0' values0'``, which are the inputs' memory.

    Args:
        lm: the model.
        scales: of the caches, layer by layer, which are then eight bits wide; None: single precision.
    """
    return _Builder(lm, scales).build()


def text_graph(lm: MusicgenLM) -> StepGraph:
    """What makes keys and values of a text: ``x [length, dim]``, projected, to ``told0… [length, 2 · dim]``, keys before values.

    Keys are not normed yet. The length is to be even, as rows of a step are.
    """
    return _Builder(lm, None).build_texts()


class _Builder:
    def __init__(self, lm: MusicgenLM, scales: Sequence[CacheScales] | None) -> None:
        self._lm, self._scales = lm, scales
        self._nodes: list[Any] = []
        self._weights: dict[str, Tensor] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def build(self) -> StepGraph:
        lm, config = self._lm, self._lm.config
        self._take("x", _FLOAT, ["rows", "n", config.dim])
        self._take("lengths", _INT32, ["rows"])
        self._take("total", _INT32, [])
        self._take("scored", _INT64, [1])
        if config.cross_attention:
            self._take("text_bias", _FLOAT, ["rows", 1, "n", "text"])
        layers = list(cast("Sequence[DecoderLayer]", lm.layers))
        stream, normed = "x", self._norm("x", layers[0].self_norm, "normed")
        for index, layer in enumerate(layers):
            following = layers[index + 1].self_norm if index + 1 < len(layers) else lm.final_norm
            stream, normed = self._layer(index, layer, stream, normed, following)
        self._nodes[-1].output[0] = "hidden"
        zero, one = self._weight("zero", torch.tensor([0])), self._weight("one", torch.tensor([1]))
        self._op("Slice", ["hidden", zero, "scored", one], ["heard"])
        self._linear(lm.heads, "heard", "logits")
        self._give("hidden", _FLOAT, ["rows", "n", config.dim])
        self._give("logits", _FLOAT, ["rows", "scored_n", config.num_codebooks * config.card])
        return self._built("step")

    def build_texts(self) -> StepGraph:
        dim = self._lm.config.dim
        self._take("x", _FLOAT, ["length", dim])
        for index, linear in enumerate(text_linears_of(self._lm)):
            self._linear(linear, "x", f"told{index}")
            self._give(f"told{index}", _FLOAT, ["length", 2 * dim])
        return self._built("texts")

    def _built(self, name: str) -> StepGraph:
        held = [given_outside(name, value) for name, value in self._weights.items()]
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, held)
        return StepGraph(serialised(graph), self._weights)

    def _layer(self, index: int, layer: DecoderLayer, stream: str, normed: str, following: Any) -> tuple[str, str]:
        """One layer from its normed input on: the stream after it, and that normed for what follows."""
        self._linear(layer.self_qkv, normed, f"qkv{index}")
        self._self_attention(index, f"qkv{index}")
        self._linear(layer.self_out, f"heard{index}", f"self{index}")
        after = layer.cross_norm if layer.cross_attention else layer.ff_norm
        stream, normed = self._add_and_norm(stream, f"self{index}", after, f"a{index}")
        if layer.cross_attention:
            self._linear(layer.cross_q, normed, f"cross_q{index}")
            asked = f"cross_q{index}"
            if self._lm.config.variant.cross_qk_norm:
                asked = self._norm(asked, layer.cross_q_norm, f"cross_q_normed{index}")
            self._cross_attention(index, asked)
            self._linear(layer.cross_out, f"told{index}", f"cross{index}")
            stream, normed = self._add_and_norm(stream, f"cross{index}", layer.ff_norm, f"b{index}")
        self._linear(layer.ff_in, normed, f"wide{index}")
        if self._lm.config.variant.activation == "gelu":
            self._op("Gelu", [f"wide{index}"], [f"active{index}"], domain=OPS)
        else:
            self._op("Relu", [f"wide{index}"], [f"active{index}"])
        self._linear(layer.ff_out, f"active{index}", f"ff{index}")
        return self._add_and_norm(stream, f"ff{index}", following, f"c{index}")

    def _self_attention(self, index: int, qkv: str) -> None:
        config = self._lm.config
        cached = _FLOAT if self._scales is None else _INT8
        shape = ["rows", config.kv_heads, "slots", config.head_dim]
        for name in (f"keys{index}", f"values{index}"):
            self._take(name, cached, shape)
            self._give(f"{name}'", cached, shape)
        inputs = [qkv, "", "", f"keys{index}", f"values{index}", "lengths", "total"]
        form: dict[str, Any] = {}
        if self._scales is not None:
            scales = self._scales[index]
            inputs += [""] * 5
            inputs += [self._weight(f"{part}_scale{index}", getattr(scales, part)) for part in ("keys", "values")]
            form = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        outputs = [f"heard{index}", f"keys{index}'", f"values{index}'"]
        heads = {"num_heads": config.heads, "kv_num_heads": config.kv_heads}
        self._op("GroupQueryAttention", inputs, outputs, domain=OPS, **heads, **form)

    def _cross_attention(self, index: int, asked: str) -> None:
        heads, head_dim = self._lm.config.heads, self._lm.config.head_dim
        names = [f"text_keys{index}", f"text_values{index}"]
        for name in names:
            self._take(name, _FLOAT, ["rows", heads, "text", head_dim])
        self._op(
            "MultiHeadAttention", [asked, *names, "", "", "text_bias"], [f"told{index}"], domain=OPS, num_heads=heads
        )

    def _linear(self, linear: Linear, x: str, y: str) -> None:
        weight = linear.rounded
        if weight is None:
            self._plain_linear(linear, x, y)
            return
        assert isinstance(weight, BlockWeight)
        outputs, inputs = weight.shape
        given = [x, self._weight(f"{y}.codes", weight.codes), self._weight(f"{y}.scales", weight.scales.flatten())]
        if linear.bias is not None:
            given += ["", "", self._weight(f"{y}.bias", linear.bias)]
        form = {"K": inputs, "N": outputs, "bits": weight.bits, "block_size": weight.block}
        self._op("MatMulNBits", given, [y], domain=OPS, accuracy_level=ROUNDED_ACTIVATIONS, **form)

    def _plain_linear(self, linear: Linear, x: str, y: str) -> None:
        product = y if linear.bias is None else f"{y}.product"
        self._op("MatMul", [x, self._weight(f"{y}.weight", linear.weight.T.contiguous())], [product])
        if linear.bias is not None:
            self._op("Add", [product, self._weight(f"{y}.bias", linear.bias)], [y])

    def _norm(self, x: str, norm: Any, y: str) -> str:
        self._op("LayerNormalization", [x, *self._affine(norm, y)], [y], epsilon=norm.eps)
        return y

    def _add_and_norm(self, stream: str, more: str, norm: Any, name: str) -> tuple[str, str]:
        """Two nodes: the one that does both, ``SkipLayerNormalization``, takes five times as long; its sums are not vectorised."""
        self._op("Add", [stream, more], [f"{name}.stream"])
        return f"{name}.stream", self._norm(f"{name}.stream", norm, f"{name}.normed")

    def _affine(self, norm: Any, name: str) -> list[str]:
        return [self._weight(f"{name}.{part}", getattr(norm, part)) for part in ("weight", "bias")]

    def _weight(self, name: str, value: Tensor) -> str:
        self._weights[name] = value.detach()
        return name

    def _op(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))

    def _take(self, name: str, kind: int, shape: list[Any]) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def _give(self, name: str, kind: int, shape: list[Any]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))


def serialised(graph: Any) -> bytes:
    """A graph as onnxruntime takes it."""
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(OPS, 1)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
    return model


def given_outside(name: str, value: Tensor) -> Any:
    """A weight that is given when the graph is loaded, since a serialised graph holds no more than 2 GB."""
    tensor = TensorProto(name=name, data_type=_TYPES[value.dtype], dims=value.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="given")
    return tensor
