"""Weights of eight or four bits: a matrix that is kept small, and its product with activations.

On a CPU a matrix is cut into blocks of inputs with a scale each, laid out as onnxruntime's ``MatMulNBits`` wants it, and
activations are rounded too: every row's block by its own largest number, so that a row of a batch has the same result whatever its
neighbours are. The product here is the plain one, which those of `engine.runtime.onnx` are compared with: integers are summed
exactly, and only the sum over a row's blocks is rounded. Elsewhere only weights are rounded: in eight bits with a scale for each
output, in four with a scale and a middle for each group of inputs (Frantar et al. 2023 and Lin et al. 2024 name the same forms).
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
"""Inputs that share a scale and a middle, in four bits away from a CPU."""
_GROUPS = (64, 32)
_INT8_TOP, _INT4_TOP, _INT4_MIDDLE = 127, 15, 8

_BLOCKS: dict[Form, tuple[int, ...]] = {"int8": (128, 64, 32), "int4": (64, 32)}
"""Inputs that share a scale, on a CPU: the first that divides a row, else the last, and the row is filled up with zeros."""
_SMALLEST = 32
_LARGE = 1 << 20
"""Weights from which on a matrix has large blocks, which take less time. A model of small ones has time enough, and small blocks
leave two thirds of the error."""
_STRETCHES = (1.0, 0.95, 0.9, 0.85)
"""Four bits: what the step between two codes is tried at, relative to the one that reaches the block's largest weight."""
_PIECE = 1 << 19
"""Weights that are worked on at once, so that what stands in between stays in the processor's caches."""
_FEW = 48
"""Up to so many rows of blocks, integers times integers are faster than floats with the zeros left out."""


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


class BlockWeight(QuantisedWeight):
    """Blocks of inputs with a scale each, symmetric, whose product rounds activations to eight bits per row and block.

    Eight bits use 1 to 255 around 128. In four bits the block's weight of largest magnitude is code 0 (eight steps below the
    middle, by a scale of either sign, as GGML's Q4_0 has it), or a little beyond where a smaller step leaves a smaller error.

    Attributes:
        bits: 8 or 4.
        block: inputs that share a scale; the last block of a row may be filled up with zeros.
        codes: uint8 ``[outputs, blocks, block · bits / 8]``; of two codes in a byte, the first is the lower.
        scales: float32 ``[outputs, blocks]``.

    Args:
        weight: ``[outputs, inputs]``, floats on any device.
        form: how many bits.
        block: inputs that share a scale; 0 chooses.
    """

    def __init__(self, weight: Tensor, form: Form = "int8", *, block: int = 0) -> None:
        outputs, inputs = weight.shape
        self.shape = (outputs, inputs)
        self.bits = 8 if form == "int8" else 4
        self.block = block or _block_of(outputs, inputs, form)
        blocks = -(-inputs // self.block)
        self.codes = torch.empty(outputs, blocks, self.block * self.bits // 8, dtype=torch.uint8, device=weight.device)
        self.scales = torch.empty(outputs, blocks, dtype=torch.float32, device=weight.device)
        self._nbytes = self.codes.nbytes + self.scales.nbytes
        lost = power = 0.0
        for piece in _pieces(outputs, blocks * self.block):
            exact = _in_blocks(weight[piece].detach().float(), self.block)
            signed, scales = _rounded8(exact) if self.bits == 8 else _rounded4(exact)
            self.scales[piece] = scales
            power += float(exact.square().sum())
            lost += float(exact.sub_(signed * scales.unsqueeze(2)).square_().sum())
            codes = signed.add_(1 << self.bits - 1).to(torch.uint8)
            self.codes[piece] = codes if self.bits == 8 else codes[..., ::2] | (codes[..., 1::2] << 4)
        self.error = (lost / power) ** 0.5 if power else 0.0

    @property
    def nbytes(self) -> int:
        return self._nbytes

    @property
    def released(self) -> bool:
        """Whether codes and scales have been let go, so that there is no product here any more."""
        return not self.codes.numel()

    def release(self) -> None:
        """Let codes and scales go: somebody else has laid them out in his own way, and takes about as much for it."""
        self.codes, self.scales = self.codes.new_empty(0), self.scales.new_empty(0)

    def plain(self) -> Tensor:
        made = torch.empty(self.shape, dtype=torch.float32, device=self.codes.device)
        for piece in _pieces(self.shape[0], self.scales.shape[1] * self.block):
            heard = self._signed(piece).float() * self.scales[piece].unsqueeze(2)
            made[piece] = heard.flatten(1)[:, : self.shape[1]]
        return made

    def product(self, x: Tensor) -> Tensor:
        if self.released:
            raise RuntimeError("codes that were let go have no product")
        blocks = self.scales.shape[1]
        heard = _in_blocks(x.float(), self.block)
        tops = heard.abs().amax(dim=2)
        # Rounded by what is multiplied with, as the kernels do: where nothing sounds, by nothing.
        steps = torch.where(tops > 0, _INT8_TOP / tops, 0.0)
        rounded = (heard * steps.unsqueeze(2)).round_()
        scales = tops / _INT8_TOP
        few = len(x) * blocks <= _FEW and x.device.type == "cpu" and _integers_work()
        spread = _spread(rounded.to(torch.int8)) if few else rounded.transpose(0, 1)
        made = torch.empty(len(x), self.shape[0], dtype=torch.float32, device=x.device)
        for piece in _pieces(self.shape[0], blocks * self.block):
            signed = self._signed(piece)
            if few:
                sums = torch._int_mm(spread, signed.flatten(1).T).view(len(x), blocks, -1).float()
            else:
                # Exact in single precision: no sum reaches 2^24.
                sums = torch.bmm(spread, signed.float().permute(1, 2, 0)).transpose(0, 1)
            sums = sums * scales.unsqueeze(2) * self.scales[piece].T
            made[:, piece] = _folded(sums)
        return made.to(x.dtype)

    def _signed(self, piece: slice) -> Tensor:
        """Codes of some outputs as they count, int8 ``[outputs, blocks, block]``."""
        codes = self.codes[piece]
        if self.bits == 8:
            return codes.bitwise_xor(128).view(torch.int8)
        both = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(2)
        return both.view(torch.int8).sub_(_INT4_MIDDLE)


class Int8Weight(QuantisedWeight):
    """Eight bits, symmetric, a scale for each output; activations stay as they are.

    Args:
        weight: ``[outputs, inputs]``, floats on any device.
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.detach().float()
        scales = (exact.abs().amax(dim=1) / _INT8_TOP).clamp_(min=torch.finfo(torch.float32).tiny)
        self.shape = (exact.shape[0], exact.shape[1])
        self.codes = (exact / scales[:, None]).round_().clamp_(-_INT8_TOP, _INT8_TOP).to(torch.int8)
        self.scales = scales
        self.error = _relative_error(exact, self.plain())

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes

    def plain(self) -> Tensor:
        return self.codes.float() * self.scales[:, None]

    def product(self, x: Tensor) -> Tensor:
        return F.linear(x, self.codes.to(x.dtype)) * self.scales.to(x.dtype)


class Int4Weight(QuantisedWeight):
    """Four bits, a scale and a middle for each group of inputs; activations stay as they are.

    Args:
        weight: ``[outputs, inputs]``, floats on any device; inputs come in whole groups (see `has_groups`).
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.detach().float()
        outputs, inputs = exact.shape
        self.shape = (outputs, inputs)
        self.group = next(size for size in _GROUPS if inputs % size == 0)
        grouped = exact.view(outputs, -1, self.group)
        low, high = grouped.amin(-1), grouped.amax(-1)
        self.scales = ((high - low) / _INT4_TOP).clamp_(min=torch.finfo(torch.float32).tiny)
        self.middles = low + _INT4_MIDDLE * self.scales
        codes = ((grouped - low[..., None]) / self.scales[..., None]).round_().clamp_(0, _INT4_TOP)
        codes = codes.to(torch.uint8).view(outputs, inputs)
        self.codes = codes[:, ::2] | (codes[:, 1::2] << 4)
        self.error = _relative_error(exact, self.plain())

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.middles.nbytes

    def plain(self) -> Tensor:
        codes = torch.stack((self.codes & 15, self.codes >> 4), dim=-1).view(*self.scales.shape, self.group)
        plain = (codes.float() - _INT4_MIDDLE) * self.scales[..., None] + self.middles[..., None]
        return plain.view(self.shape)

    def product(self, x: Tensor) -> Tensor:
        return F.linear(x, self.plain().to(x.dtype))


def has_groups(inputs: int) -> bool:
    """Whether rows of so many inputs come in whole groups."""
    return any(inputs % size == 0 for size in _GROUPS)


def quantise(weight: Tensor, form: Form) -> QuantisedWeight:
    """Round a matrix ``[outputs, inputs]``: on a CPU in blocks, elsewhere with activations left as they are.

    Away from a CPU, a matrix that does not come in whole groups gets eight bits in place of four.
    """
    if weight.device.type == "cpu":
        return BlockWeight(weight, form)
    return Int4Weight(weight) if form == "int4" and has_groups(weight.shape[1]) else Int8Weight(weight)


def _block_of(outputs: int, inputs: int, form: Form) -> int:
    """How many inputs share a scale."""
    if outputs * inputs < _LARGE:
        return _SMALLEST
    return next((size for size in _BLOCKS[form] if inputs % size == 0), _SMALLEST)


def _pieces(outputs: int, inputs: int) -> list[slice]:
    """Rows of a matrix, so many at once that they make up `_PIECE` weights."""
    step = max(1, _PIECE // inputs)
    return [slice(first, min(first + step, outputs)) for first in range(0, outputs, step)]


def _in_blocks(rows: Tensor, block: int) -> Tensor:
    """``[n, inputs]`` as ``[n, blocks, block]``, the last one filled up with zeros. Never the memory of ``rows``, if written to."""
    n, inputs = rows.shape
    missing = -inputs % block
    return (F.pad(rows, (0, missing)) if missing else rows.clone()).view(n, -1, block)


def _rounded8(exact: Tensor) -> tuple[Tensor, Tensor]:
    """Codes as they count, and scales, of ``[n, blocks, block]``."""
    scales = (exact.abs().amax(dim=2) / _INT8_TOP).clamp_(min=torch.finfo(torch.float32).tiny)
    return (exact / scales.unsqueeze(2)).round_().clamp_(-_INT8_TOP, _INT8_TOP), scales


def _rounded4(exact: Tensor) -> tuple[Tensor, Tensor]:
    """As `_rounded8`, in four bits: of a few steps, the one that leaves the smallest square error in a block."""
    tiny = torch.finfo(torch.float32).tiny
    largest = exact.gather(2, exact.abs().argmax(dim=2, keepdim=True)).squeeze(2)
    whole = -largest / _INT4_MIDDLE
    whole = torch.where(whole.abs() < tiny, tiny, whole)
    best, codes, scales = torch.full_like(whole, torch.inf), torch.empty_like(exact), torch.empty_like(whole)
    for stretch in _STRETCHES:
        tried = (whole * stretch).clone()
        rounded = (exact / tried.unsqueeze(2)).round_().clamp_(-_INT4_MIDDLE, _INT4_MIDDLE - 1)
        error = (rounded * tried.unsqueeze(2)).sub_(exact).square_().sum(dim=2)
        better = error < best
        best = torch.where(better, error, best)
        scales = torch.where(better, tried, scales)
        codes = torch.where(better.unsqueeze(2), rounded, codes)
    return codes, scales


def _spread(blocks: Tensor) -> Tensor:
    """``[rows, blocks, block]`` as ``[rows · blocks, inputs]``: every block alone in a row of zeros, so that it is summed alone."""
    rows, count, block = blocks.shape
    spread = blocks.new_zeros(rows, count, count, block)
    spread.diagonal(dim1=1, dim2=2).copy_(blocks.transpose(1, 2))
    return spread.view(rows * count, count * block)


def _folded(sums: Tensor) -> Tensor:
    """Sum ``[rows, blocks, outputs]`` over blocks, in an order that depends on their number alone."""
    while (count := sums.shape[1]) > 1:
        half = count // 2
        folded = sums[:, :half] + sums[:, half : 2 * half]
        sums = folded if count % 2 == 0 else torch.cat((folded, sums[:, -1:]), dim=1)
    return sums[:, 0]


def _relative_error(exact: Tensor, rounded: Tensor) -> float:
    power = float(exact.square().mean())
    return float(((exact - rounded).square().mean() / power).sqrt()) if power else 0.0


@cache
def _integers_work() -> bool:
    """Try integers times integers on a small product: it is not public, and a build may lack it."""
    left = torch.arange(-96, 96).to(torch.int8).view(2, 96)
    right = torch.arange(96 * 5).remainder(255).sub(127).to(torch.int8).view(5, 96)
    try:
        made = torch._int_mm(left, right.T)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.equal(made.long(), left.long() @ right.long().T)
