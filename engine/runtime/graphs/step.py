"""One column for a batch of rows, as a fixed sequence of operations over `Tables`: what a graph captures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from torch import Tensor

from engine.runtime.graphs.ops import Matrix, Norm, Ops
from engine.runtime.graphs.tables import Tables

if TYPE_CHECKING:
    from engine.runtime.lm import LMConfig, MusicgenLM
    from engine.runtime.transformer import DecoderLayer


class _Attention(NamedTuple):
    norm: Norm
    queries: Matrix
    out: Matrix


class _Layer(NamedTuple):
    own: _Attention
    text: _Attention | None
    ff_norm: Norm
    ff_in: Matrix
    ff_out: Matrix


def unsupported_shape(config: LMConfig) -> str | None:
    """Why the step cannot be that of such a model; None where it can."""
    variant = config.variant
    reasons = (
        (not variant.norm_first, "norms after attention"),
        (variant.rotates, "rotated positions"),
        (variant.qk_norm or variant.cross_qk_norm, "norms of queries and keys"),
        (variant.kv_repeat != 1, "heads that share keys and values"),
        (variant.past_context is not None, "attention that sees a part of the past"),
        # A null row then hears the biases of its null text, for which the tables have no place.
        (variant.attention_bias and config.cross_attention, "cross-attention with biases"),
    )
    return next((reason for is_so, reason in reasons if is_so), None)


class StaticStep:
    """A model's step.

    Args:
        lm: the model; one whose shape is not `unsupported_shape`.
        ops: what computes.
        tables: what it reads and writes.
    """

    def __init__(self, lm: MusicgenLM, ops: Ops, tables: Tables) -> None:
        self._ops = ops
        self._tables = tables
        self._embeddings, self._positions, self._card = lm.embeddings, lm.position_table, lm.card
        self._heads = lm.config.heads
        self._layers = [_layer(layer) for layer in cast("Sequence[DecoderLayer]", lm.layers)]
        self._final = Norm.of(lm.final_norm)
        self._scoring = Matrix.of(lm.heads)

    def __call__(self, rows: int, splits: int) -> Tensor:
        """Run the first ``rows`` rows of the tables, none of which has heard more than so many splits of a context.

        Returns:
            Their logits ``[rows, codebooks · card]``, a view.
        """
        ops, tables, heads = self._ops, self._tables, self._heads
        x, qkv, heard, wide = tables.x, tables.qkv, tables.heard, tables.wide
        ops.embed(tables, rows, self._embeddings, self._card, self._positions)
        for index, layer in enumerate(self._layers):
            ops.linear(x, layer.own.queries, qkv, rows, norm=layer.own.norm)
            ops.attend(tables, rows, index, heads, splits)
            ops.linear(heard, layer.own.out, x, rows, add=True)
            if layer.text is not None:
                ops.linear(x, layer.text.queries, heard, rows, norm=layer.text.norm)
                ops.look(tables, rows, index, heads)
                ops.linear(heard, layer.text.out, x, rows, add=True)
            ops.linear(x, layer.ff_in, wide, rows, norm=layer.ff_norm)
            ops.linear(wide, layer.ff_out, x, rows, add=True)
        ops.linear(x, self._scoring, tables.logits, rows, norm=self._final)
        return tables.logits[:rows]


def _layer(layer: DecoderLayer) -> _Layer:
    own = _Attention(Norm.of(layer.self_norm), Matrix.of(layer.self_qkv), Matrix.of(layer.self_out))
    text = None
    if layer.cross_attention:
        text = _Attention(Norm.of(layer.cross_norm), Matrix.of(layer.cross_q), Matrix.of(layer.cross_out))
    return _Layer(own, text, Norm.of(layer.ff_norm), Matrix.of(layer.ff_in), Matrix.of(layer.ff_out))
