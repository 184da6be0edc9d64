"""Weights of eight or four bits: a matrix that is kept small, and its product with activations of the model's own precision.

Only weights are rounded, never activations by what stands beside them, so that a row of a batch has the same result whatever its
neighbours are. Eight bits are symmetric, with a scale for each output; four bits have a scale and a middle for each group of inputs
(Frantar et al. 2023 and Lin et al. 2024 name the same forms). PyTorch has products of such weights that never write the matrix out
again; where they are missing or wrong on a machine, which is tried out once, the matrix is unpacked for each product: slower than a
full one, but as small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal["int8", "int4"]

GROUP = 64
"""Inputs that share a scale and a middle, in four bits."""
_GROUPS = (64, 32)
_INT8_TOP, _INT4_TOP, _INT4_MIDDLE = 127, 15, 8


class QuantisedWeight(ABC):
    """A matrix ``[outputs, inputs]`` in few bits. Never changes; any thread.

    Attributes:
        shape: outputs and inputs.
        error: root mean square of what was rounded away, relative to that of the matrix.
    """

    shape: tuple[int, int]
    error: float

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """What it takes in memory."""

    @abstractmethod
    def plain(self) -> Tensor:
        """The matrix as it is heard, float32."""

    @abstractmethod
    def product(self, x: Tensor) -> Tensor:
        """``x @ weight.T`` for ``[rows, inputs]``, in the dtype of ``x``."""


class Int8Weight(QuantisedWeight):
    """Eight bits, symmetric, a scale for each output.

    Args:
        weight: ``[outputs, inputs]``, floats on any device.
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.detach().float()
        scales = (exact.abs().amax(dim=1) / _INT8_TOP).clamp_(min=torch.finfo(torch.float32).tiny)
        self.shape = (exact.shape[0], exact.shape[1])
        self._codes = (exact / scales[:, None]).round_().clamp_(-_INT8_TOP, _INT8_TOP).to(torch.int8)
        self._scales = scales
        self._half_scales = scales.to(torch.bfloat16)
        self._fast = _int8_works(weight.device) and self.shape[1] % 32 == 0
        self.error = _relative_error(exact, self.plain())

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._scales.nbytes + self._half_scales.nbytes

    def plain(self) -> Tensor:
        return self._codes.float() * self._scales[:, None]

    def product(self, x: Tensor) -> Tensor:
        if self._fast:
            return torch._weight_int8pack_mm(x.to(torch.bfloat16), self._codes, self._half_scales).to(x.dtype)
        return F.linear(x, self._codes.to(x.dtype)) * self._scales.to(x.dtype)


class Int4Weight(QuantisedWeight):
    """Four bits, a scale and a middle for each group of inputs.

    Args:
        weight: ``[outputs, inputs]``, floats on any device; inputs come in whole groups (see `has_groups`).
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.detach().float()
        outputs, inputs = exact.shape
        self.shape = (outputs, inputs)
        self._group = next(size for size in _GROUPS if inputs % size == 0)
        grouped = exact.view(outputs, -1, self._group)
        low, high = grouped.amin(-1), grouped.amax(-1)
        self._scales = ((high - low) / _INT4_TOP).clamp_(min=torch.finfo(torch.float32).tiny)
        self._middles = low + _INT4_MIDDLE * self._scales
        codes = ((grouped - low[..., None]) / self._scales[..., None]).round_().clamp_(0, _INT4_TOP)
        codes = codes.to(torch.uint8).view(outputs, inputs)
        self._packed = codes[:, ::2] | (codes[:, 1::2] << 4)
        self.error = _relative_error(exact, self.plain())
        self._fast: tuple[Tensor, Tensor] | None = None
        if weight.device.type == "cpu" and _int4_works() and outputs % 32 == 0:
            self._fast = _fast_int4(codes, self._scales, self._middles)
            self._packed = self._packed.new_empty(0)

    @property
    def nbytes(self) -> int:
        fast = 0 if self._fast is None else sum(part.nbytes for part in self._fast)
        return self._packed.nbytes + self._scales.nbytes + self._middles.nbytes + fast

    def plain(self) -> Tensor:
        packed = self._packed
        if not packed.numel():
            # The product's own layout is not public: the identity brings the matrix back, each number by itself.
            return self.product(torch.eye(self.shape[1])).T.contiguous()
        codes = torch.stack((packed & 15, packed >> 4), dim=-1).view(*self._scales.shape, self._group)
        plain = (codes.float() - _INT4_MIDDLE) * self._scales[..., None] + self._middles[..., None]
        return plain.view(self.shape)

    def product(self, x: Tensor) -> Tensor:
        if self._fast is not None:
            codes, scales = self._fast
            made = torch._weight_int4pack_mm_for_cpu(x.to(torch.bfloat16), codes, self._group, scales)
            return made.to(x.dtype)
        return F.linear(x, self.plain().to(x.dtype))


def has_groups(inputs: int) -> bool:
    """Whether rows of so many inputs come in whole groups."""
    return any(inputs % size == 0 for size in _GROUPS)


def quantise(weight: Tensor, form: Form) -> QuantisedWeight:
    """Round a matrix ``[outputs, inputs]``; one that does not come in whole groups gets eight bits in place of four."""
    return Int4Weight(weight) if form == "int4" and has_groups(weight.shape[1]) else Int8Weight(weight)


def _relative_error(exact: Tensor, rounded: Tensor) -> float:
    power = float(exact.square().mean())
    return float(((exact - rounded).square().mean() / power).sqrt()) if power else 0.0


def _fast_int4(codes: Tensor, scales: Tensor, middles: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, and scales with middles, as the CPU's product wants them."""
    both = torch.stack((scales, middles), dim=-1).transpose(0, 1).contiguous().to(torch.bfloat16)
    return torch._convert_weight_to_int4pack_for_cpu(codes.int(), 1), both


@cache
def _int8_works(device: torch.device) -> bool:
    """Try the product on a small matrix: it is not public, and a build or a device may lack it."""
    codes = torch.arange(-64, 64, dtype=torch.int8, device=device).repeat(32, 1).roll(3, 0)
    scales = torch.linspace(0.5, 1.5, 32, device=device).to(torch.bfloat16)
    x = torch.linspace(-1, 1, 2 * 128, device=device).view(2, 128).to(torch.bfloat16)
    try:
        made = torch._weight_int8pack_mm(x, codes, scales).float()
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    expected = F.linear(x.float(), codes.float()) * scales.float()
    return torch.allclose(made, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


@cache
def _int4_works() -> bool:
    """As `_int8_works`, on the CPU."""
    codes = torch.arange(64, dtype=torch.uint8).remainder(16).repeat(32, 2)
    scales, middles = torch.full((32, 2), 0.5), torch.full((32, 2), 0.25)
    x = torch.linspace(-1, 1, 2 * 128).view(2, 128).to(torch.bfloat16)
    try:
        made = torch._weight_int4pack_mm_for_cpu(x, *_with_group(_fast_int4(codes, scales, middles))).float()
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    expected = F.linear(x.float(), (codes.float() - _INT4_MIDDLE) * 0.5 + 0.25)
    return torch.allclose(made, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


def _with_group(packed: tuple[Tensor, Tensor]) -> tuple[Tensor, int, Tensor]:
    return packed[0], GROUP, packed[1]
