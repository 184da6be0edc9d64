"""What the operations of a step compute, in plain torch: the yardstick of the kernels, and what a CPU runs in their place.

They read the same tables as the kernels do, pointers included, and take each row by itself: whatever stands beside it, a row has
the same result to the bit.
"""

from __future__ import annotations

import ctypes
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.graphs.tables import FIRST, KEYS, PLACE, SLOTS, TEXT, TEXT_KEYS, TEXT_VALUES, VALUES, WRITE, Tables
from engine.runtime.linear import Linear
from engine.runtime.quantised import Int8Weight

Activation = Literal["none", "gelu", "relu"]


class Matrix(NamedTuple):
    """A linear layer's weights as the step reads them.

    Attributes:
        weight: ``[outputs, inputs]``: floats, or of eight bits with ``scales``.
        scales: of each output, float32; None where the weight is what it says.
        bias: of each output.
        activation: of the result.
    """

    weight: Tensor
    scales: Tensor | None
    bias: Tensor | None
    activation: Activation

    @classmethod
    def of(cls, linear: Linear) -> Matrix:
        """The weights of a layer.

        Raises:
            RuntimeError: they are kept in a form that no kernel reads.
        """
        rounded = linear.rounded
        if isinstance(rounded, Int8Weight):
            return cls(rounded.codes, rounded.scales, linear.bias, linear.activation)
        if rounded is not None:
            raise RuntimeError(f"no kernel for weights of {type(rounded).__name__}")
        if not linear.weight.numel():
            raise RuntimeError("no kernel for weights that are laid out for another product")
        return cls(linear.weight, None, linear.bias, linear.activation)


class Norm(NamedTuple):
    """A LayerNorm's weights."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, norm: nn.Module) -> Norm:
        """The weights of a module."""
        assert isinstance(norm, nn.LayerNorm)
        return cls(norm.weight, norm.bias, norm.eps)


class Ops(Protocol):
    """The operations of a step. Each reads and writes the first ``rows`` rows of buffers of `Tables`, and allocates nothing."""

    def embed(self, tables: Tables, rows: int, embeddings: Tensor, card: int, positions: Tensor) -> None:
        """``x``: the sum of the codes' embeddings, with scores and the position of each row."""

    def linear(
        self, x: Tensor, matrix: Matrix, out: Tensor, rows: int, *, norm: Norm | None = None, add: bool = False
    ) -> None:
        """``out``, or what is to be added to it: the product of ``x``, normalised where there is a ``norm``."""

    def attend(self, tables: Tables, rows: int, layer: int, heads: int, splits: int) -> None:
        """``heard``: self-attention of the queries in ``qkv``, whose keys and values are written to the rows' caches.

        No row has heard more than so many ``splits``; see `engine.runtime.graphs.tables.SPLIT`.
        """

    def look(self, tables: Tables, rows: int, layer: int, heads: int) -> None:
        """``heard``: attention of the queries in ``heard`` to the rows' texts; zeros for a row without one."""


class TorchOps:
    """The operations on a CPU, row by row."""

    def embed(self, tables: Tables, rows: int, embeddings: Tensor, card: int, positions: Tensor) -> None:
        codes = tables.codes[:rows]
        offsets = torch.arange(codes.shape[1]) * (card + 1)
        x = F.embedding(codes + offsets, embeddings).sum(1)
        if tables.scores is not None:
            x += tables.scores[:rows]
        torch.add(x, positions[tables.numbers[PLACE, :rows].long()], out=tables.x[:rows])

    def linear(
        self, x: Tensor, matrix: Matrix, out: Tensor, rows: int, *, norm: Norm | None = None, add: bool = False
    ) -> None:
        x, weight = x[:rows], matrix.weight.to(x.dtype)
        if norm is not None:
            x = F.layer_norm(x, x.shape[1:], norm.weight, norm.bias, norm.eps)
        # A product of its own for each row.
        y = torch.bmm(weight.expand(rows, *weight.shape), x.unsqueeze(2)).squeeze(2)
        if matrix.scales is not None:
            y = y * matrix.scales.to(y.dtype)
        if matrix.bias is not None:
            y = y + matrix.bias
        if matrix.activation != "none":
            y = F.gelu(y) if matrix.activation == "gelu" else F.relu(y)
        out[:rows] = out[:rows] + y if add else y

    def attend(self, tables: Tables, rows: int, layer: int, heads: int, splits: int) -> None:
        for row in range(rows):
            q, k, v = tables.qkv[row].view(3, heads, 1, -1)
            write, first, slots = (int(tables.numbers[which, row]) for which in (WRITE, FIRST, SLOTS))
            shape = (heads, slots, q.shape[-1])
            keys, values = (
                _at(int(tables.pointers[layer, which, row]), shape, tables.cache_dtype) for which in (KEYS, VALUES)
            )
            keys[:, write], values[:, write] = k[:, 0], v[:, 0]
            seen = slice(min(first, write), write + 1)
            heard = F.scaled_dot_product_attention(q.to(keys.dtype)[None], keys[None, :, seen], values[None, :, seen])
            tables.heard[row] = heard.flatten()

    def look(self, tables: Tables, rows: int, layer: int, heads: int) -> None:
        for row in range(rows):
            length = int(tables.numbers[TEXT, row])
            if not length:
                tables.heard[row] = 0
                continue
            q = tables.heard[row].view(heads, 1, -1)
            shape = (heads, length, q.shape[-1])
            keys, values = (
                _at(int(tables.pointers[layer, which, row]), shape, tables.cache_dtype)
                for which in (TEXT_KEYS, TEXT_VALUES)
            )
            heard = F.scaled_dot_product_attention(q.to(keys.dtype)[None], keys[None], values[None])
            tables.heard[row] = heard.flatten()


def _at(address: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The tensor at an address of host memory."""
    numbers = torch.Size(shape).numel()
    memory = (ctypes.c_char * (numbers * dtype.itemsize)).from_address(address)
    return torch.frombuffer(memory, dtype=dtype, count=numbers).view(shape)
