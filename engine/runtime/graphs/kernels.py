"""The operations of a step in Triton.

Every row is by itself: a program of attention belongs to one row, and products are made of tiles whose height and order of sums
do not depend on how many rows there are. So a row's result is the same to the bit in a batch of two and of a hundred, which no
library promises. Attention over a long context is split into pieces that are joined afterwards, as in flash-decoding (Dao et al.,
2023). Norms are part of the products that follow them, and residuals of those that come before: in a layer, only attention stands
between products.

Imported only where Triton is.
"""

# ruff: noqa: N803 - constants of a kernel are written as such
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call, misc, type-arg"

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.runtime.graphs.ops import Matrix, Norm
from engine.runtime.graphs.tables import (
    FIRST,
    KEYS,
    PLACE,
    SLOTS,
    SPLIT,
    TEXT,
    TEXT_KEYS,
    TEXT_VALUES,
    VALUES,
    WRITE,
    Tables,
)

_TILE_ROWS = 16
"""Height of a product's tile: the least that tensor cores take, and the same for every number of rows."""
_WIDE = 64
"""Width of a product's tile where there are several tiles of rows."""
_PIECE = 512
"""Inputs that are read at once for a norm."""
_TEXT_BLOCK = 64
_ACTIVATIONS = {"none": 0, "gelu": 1, "relu": 2}
_TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit
def _embed(
    codes,
    embeddings,
    scores,
    positions,
    places,
    x,
    card,
    dim,
    BOOKS: tl.constexpr,
    SCORED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < dim
    total = tl.zeros([BLOCK], tl.float32)
    for book in tl.static_range(BOOKS):
        entry = tl.load(codes + row * BOOKS + book) + book * (card + 1)
        total += tl.load(embeddings + entry * dim + column, inside, 0.0).to(tl.float32)
    # Rounded wherever the modules round.
    total = total.to(x.dtype.element_ty).to(tl.float32)
    if SCORED:
        total += tl.load(scores + row * dim + column, inside, 0.0).to(tl.float32)
        total = total.to(x.dtype.element_ty).to(tl.float32)
    place = tl.load(places + row).to(tl.int64)
    total += tl.load(positions + place * dim + column, inside, 0.0).to(tl.float32)
    tl.store(x + row * dim + column, total.to(x.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["rows"])
def _linear(
    x,
    weight,
    scales,
    bias,
    norm_weight,
    norm_bias,
    out,
    rows,
    outputs,
    eps,
    INPUTS: tl.constexpr,
    NORMED: tl.constexpr,
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    ADD: tl.constexpr,
    IEEE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PIECE: tl.constexpr,
):
    # Tiles of the same weights are neighbours in time, so that these are read once from memory and then from the cache.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    deep = tl.arange(0, DEPTH)
    here, there = (row < rows)[:, None], (column < outputs)[:, None]
    x_at = x + row[:, None] * INPUTS + deep[None, :]
    weight_at = weight + column[:, None].to(tl.int64) * INPUTS + deep[None, :]
    kind = x.dtype.element_ty
    mean = tl.zeros([ROWS], tl.float32)
    scale = tl.zeros([ROWS], tl.float32)
    if NORMED:
        # In large pieces, the next of which is under way: the weights wait for these two numbers.
        wide = tl.arange(0, PIECE)
        for start in tl.range(0, INPUTS, PIECE, num_stages=3):
            within_row = here & (start + wide < INPUTS)[None, :]
            piece = tl.load(x + row[:, None] * INPUTS + start + wide[None, :], within_row, 0.0).to(tl.float32)
            mean += tl.sum(piece, 1)
            scale += tl.sum(piece * piece, 1)
        mean = mean / INPUTS
        scale = 1.0 / tl.sqrt(tl.maximum(scale / INPUTS - mean * mean, 0.0) + eps)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, INPUTS, DEPTH):
        real = start + deep < INPUTS
        part = tl.load(x_at + start, here & real[None, :], 0.0)
        if NORMED:
            factor = tl.load(norm_weight + start + deep, real, 0.0).to(tl.float32)
            offset = tl.load(norm_bias + start + deep, real, 0.0).to(tl.float32)
            normed = (part.to(tl.float32) - mean[:, None]) * scale[:, None] * factor[None, :] + offset[None, :]
            part = normed.to(kind)
        numbers = tl.load(weight_at + start, there & real[None, :], 0.0).to(kind)
        if IEEE:
            total += tl.dot(part, tl.trans(numbers), input_precision="ieee")
        else:
            total = tl.dot(part, tl.trans(numbers), total)
    within = column < outputs
    if SCALED:
        total *= tl.load(scales + column, within, 0.0)[None, :]
    if BIASED:
        total += tl.load(bias + column, within, 0.0).to(tl.float32)[None, :]
    if ACTIVATION == 1:
        total = 0.5 * total * (1.0 + tl.erf(total * 0.7071067811865476))
    if ACTIVATION == 2:
        total = tl.maximum(total, 0.0)
    out_at = out + row[:, None] * outputs + column[None, :]
    inside = here & within[None, :]
    if ADD:
        total = total.to(kind).to(tl.float32) + tl.load(out_at, inside, 0.0).to(tl.float32)
    tl.store(out_at, total.to(kind), inside)


@triton.jit
def _attend(
    qkv,
    key_table,
    value_table,
    writes,
    firsts,
    slots,
    parts,
    peaks,
    sums,
    scale,
    most_splits,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    SPLIT: tl.constexpr,
):
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    write, first = tl.load(writes + row), tl.load(firsts + row)
    begin = split * SPLIT
    # A row that has not begun sees its own slot.
    first = tl.minimum(first, write)
    if (begin <= write) & (begin + SPLIT > first):
        kind = qkv.dtype.element_ty
        lane = tl.arange(0, LANES)
        real = lane < WIDTH
        own = qkv + row.to(tl.int64) * 3 * HEADS * WIDTH + head * WIDTH + lane
        query = tl.load(own, real, 0.0).to(tl.float32)
        offset = head.to(tl.int64) * tl.load(slots + row) * WIDTH
        keys = tl.multiple_of(tl.load(key_table + row).to(tl.pointer_type(kind)), 16) + offset
        values = tl.multiple_of(tl.load(value_table + row).to(tl.pointer_type(kind)), 16) + offset
        slot = begin + tl.arange(0, SPLIT)
        heard = (slot >= first) & (slot < write)
        at = slot[:, None] * WIDTH + lane[None, :]
        inside = heard[:, None] & real[None, :]
        key = tl.load(keys + at, inside, 0.0).to(tl.float32)
        value = tl.load(values + at, inside, 0.0).to(tl.float32)
        if write < begin + SPLIT:
            # The column's own key and value come from the product, and are written down for the steps that follow.
            new_key = tl.load(own + HEADS * WIDTH, real, 0.0)
            new_value = tl.load(own + 2 * HEADS * WIDTH, real, 0.0)
            tl.store(keys + write * WIDTH + lane, new_key, real)
            tl.store(values + write * WIDTH + lane, new_value, real)
            mine = (slot == write)[:, None]
            key = tl.where(mine, new_key.to(tl.float32)[None, :], key)
            value = tl.where(mine, new_value.to(tl.float32)[None, :], value)
            heard = heard | (slot == write)
        score = tl.where(heard, tl.sum(key * query[None, :], 1) * scale, float("-inf"))
        peak = tl.max(score, 0)
        weight = tl.exp(score - peak)
        cell = (row * HEADS + head) * most_splits + split
        tl.store(parts + cell.to(tl.int64) * WIDTH + lane, tl.sum(value * weight[:, None], 0), real)
        tl.store(peaks + cell, peak)
        tl.store(sums + cell, tl.sum(weight, 0))


@triton.jit
def _join(
    writes,
    firsts,
    parts,
    peaks,
    sums,
    out,
    most_splits,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    SPLIT: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    write = tl.load(writes + row)
    first = tl.minimum(tl.load(firsts + row), write)
    lane = tl.arange(0, LANES)
    real = lane < WIDTH
    cell = (row * HEADS + head) * most_splits
    peak = tl.load(peaks + cell + first // SPLIT)
    for split in range(first // SPLIT + 1, write // SPLIT + 1):
        peak = tl.maximum(peak, tl.load(peaks + cell + split))
    total = tl.zeros([LANES], tl.float32)
    weight = peak * 0.0
    for split in range(first // SPLIT, write // SPLIT + 1):
        factor = tl.exp(tl.load(peaks + cell + split) - peak)
        total += tl.load(parts + (cell + split).to(tl.int64) * WIDTH + lane, real, 0.0) * factor
        weight += tl.load(sums + cell + split) * factor
    tl.store(out + (row * HEADS + head) * WIDTH + lane, (total / weight).to(out.dtype.element_ty), real)


@triton.jit
def _look(
    heard,
    key_table,
    value_table,
    lengths,
    scale,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    length = tl.load(lengths + row)
    kind = heard.dtype.element_ty
    lane = tl.arange(0, LANES)
    real = lane < WIDTH
    own = heard + (row * HEADS + head) * WIDTH + lane
    query = tl.load(own, real, 0.0).to(tl.float32)
    offset = head.to(tl.int64) * length * WIDTH
    keys = tl.multiple_of(tl.load(key_table + row).to(tl.pointer_type(kind)), 16) + offset
    values = tl.multiple_of(tl.load(value_table + row).to(tl.pointer_type(kind)), 16) + offset
    peak = scale * 0.0 - 1e30
    weight = scale * 0.0
    total = tl.zeros([LANES], tl.float32)
    for start in range(0, length, BLOCK):
        slot = start + tl.arange(0, BLOCK)
        seen = slot < length
        at = slot[:, None] * WIDTH + lane[None, :]
        inside = seen[:, None] & real[None, :]
        key = tl.load(keys + at, inside, 0.0).to(tl.float32)
        value = tl.load(values + at, inside, 0.0).to(tl.float32)
        score = tl.where(seen, tl.sum(key * query[None, :], 1) * scale, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 0))
        factor, share = tl.exp(peak - higher), tl.exp(score - higher)
        total = total * factor + tl.sum(value * share[:, None], 0)
        weight = weight * factor + tl.sum(share, 0)
        peak = higher
    # A null text has no length: nothing is heard, and nothing is divided by.
    tl.store(own, (total / tl.where(weight > 0, weight, 1.0)).to(kind), real)


class TritonOps:
    """The operations on a CUDA device, or anywhere under Triton's interpreter; see `engine.runtime.graphs.ops.Ops`.

    Args:
        wide: whether products of more rows than a tile has are made of wider tiles, which read activations less often. That
            changes no sum of a number, so no bit, if the compiler does as it should.
    """

    def __init__(self, *, wide: bool = True) -> None:
        self._wide = wide

    def embed(self, tables: Tables, rows: int, embeddings: Tensor, card: int, positions: Tensor) -> None:
        dim, block = embeddings.shape[1], 256
        _embed[(rows, triton.cdiv(dim, block))](
            tables.codes,
            embeddings,
            tables.x if tables.scores is None else tables.scores,
            positions,
            tables.numbers[PLACE],
            tables.x,
            card,
            dim,
            BOOKS=tables.codes.shape[1],
            SCORED=tables.scores is not None,
            BLOCK=block,
        )

    def linear(
        self, x: Tensor, matrix: Matrix, out: Tensor, rows: int, *, norm: Norm | None = None, add: bool = False
    ) -> None:
        outputs, inputs = matrix.weight.shape
        wide = self._wide and rows > _TILE_ROWS
        columns = _WIDE if wide else _columns(outputs)
        # A narrow tile reads far ahead, since there are not many of them to keep the memory busy.
        depth = min(64 if x.dtype == torch.float32 else 128 if wide else 256, max(16, triton.next_power_of_2(inputs)))
        _linear[(triton.cdiv(rows, _TILE_ROWS), triton.cdiv(outputs, columns))](
            x,
            matrix.weight,
            matrix.weight if matrix.scales is None else matrix.scales,
            matrix.weight if matrix.bias is None else matrix.bias,
            matrix.weight if norm is None else norm.weight,
            matrix.weight if norm is None else norm.bias,
            out,
            rows,
            outputs,
            0.0 if norm is None else norm.eps,
            INPUTS=inputs,
            NORMED=norm is not None,
            SCALED=matrix.scales is not None,
            BIASED=matrix.bias is not None,
            ACTIVATION=_ACTIVATIONS[matrix.activation],
            ADD=add,
            IEEE=x.dtype == torch.float32,
            ROWS=_TILE_ROWS,
            COLUMNS=columns,
            DEPTH=depth,
            PIECE=min(_PIECE, max(16, triton.next_power_of_2(inputs))),
            num_warps=4,
            num_stages=4,
        )

    def attend(self, tables: Tables, rows: int, layer: int, heads: int, splits: int) -> None:
        width = tables.heard.shape[1] // heads
        writes, firsts = tables.numbers[WRITE], tables.numbers[FIRST]
        most = tables.parts.shape[2]
        shape: dict[str, Any] = {"HEADS": heads, "WIDTH": width, "LANES": triton.next_power_of_2(width), "SPLIT": SPLIT}
        _attend[(rows, heads, splits)](
            tables.qkv,
            tables.pointers[layer, KEYS],
            tables.pointers[layer, VALUES],
            writes,
            firsts,
            tables.numbers[SLOTS],
            tables.parts,
            tables.peaks[0],
            tables.peaks[1],
            1 / math.sqrt(width),
            most,
            **shape,
        )
        _join[(rows, heads)](
            writes, firsts, tables.parts, tables.peaks[0], tables.peaks[1], tables.heard, most, **shape, num_warps=1
        )

    def look(self, tables: Tables, rows: int, layer: int, heads: int) -> None:
        width = tables.heard.shape[1] // heads
        _look[(rows, heads)](
            tables.heard,
            tables.pointers[layer, TEXT_KEYS],
            tables.pointers[layer, TEXT_VALUES],
            tables.numbers[TEXT],
            1 / math.sqrt(width),
            HEADS=heads,
            WIDTH=width,
            LANES=triton.next_power_of_2(width),
            BLOCK=_TEXT_BLOCK,
        )


def _columns(outputs: int) -> int:
    """Width of a product's tile: so narrow that there is one for each multiprocessor, by the matrix alone."""
    return 16 if outputs <= 4096 else 32
