"""A linear layer that lays its weight out for the CPU when it is told that the weight is final.

One step of the LM multiplies a handful of rows with every weight there is, so that its time is the time of these products. The
BLAS behind ``F.linear`` is tuned for many rows; oneDNN's inner product over a weight in its own blocked layout is two to
four times as fast for few, and not slower for many. PyTorch exposes it as the operators that its compiler emits; where they
are missing, ``F.linear`` does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.quantised import Form, QuantisedWeight, quantise


class Linear(nn.Module):
    """``x @ weight.T + bias``, then an activation. What it has is allocated and left as it is: it comes from a checkpoint.

    Args:
        rows: width of the output.
        columns: width of the input.
        bias: whether it has one.
        activation: applied to the output; GELU is the exact (erf) one.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        bias: bool = False,
        activation: Literal["none", "gelu", "relu"] = "none",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns, device=device, dtype=dtype), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(rows, device=device, dtype=dtype), requires_grad=False) if bias else None
        self.activation = activation
        self._packed: Tensor | None = None
        self.rounded: QuantisedWeight | None = None
        """The weight in few bits, where it was packed so."""

    @property
    def packed_numbers(self) -> int:
        """How many weights `pack` has laid out, which are no parameter any more."""
        if self.rounded is not None:
            return self.rounded.shape[0] * self.rounded.shape[1]
        return 0 if self._packed is None else self._packed.numel()

    @property
    def packed_bytes(self) -> int:
        """What they take in memory."""
        if self.rounded is not None:
            return self.rounded.nbytes
        return 0 if self._packed is None else self._packed.numel() * self._packed.element_size()

    def pack(self, form: Form | None = None) -> None:
        """Put the weight into the layout of this machine's fastest product and let the plain copy go.

        Only for a weight that will not change, move or be saved any more. Does nothing where there is no such layout.

        Args:
            form: of few bits, to which the weight is rounded; None keeps it as it is.
        """
        if self._packed is not None or self.rounded is not None:
            return
        if form is not None:
            self.rounded = quantise(self.weight, form)
            self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)
        elif self.weight.device.type == "cpu" and _packing_works(self.weight.dtype):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
            self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return _packed_product()(x, self._packed, self.bias, self.activation, [], "none")
        if self.rounded is not None:
            y = self.rounded.product(x.flatten(0, -2)).view(*x.shape[:-1], self.rounded.shape[0])
            y = y if self.bias is None else y.add_(self.bias)
        else:
            y = F.linear(x, self.weight, self.bias)
        if self.activation == "none":
            return y
        return F.gelu(y) if self.activation == "gelu" else F.relu(y)


@cache
def _packed_product() -> Callable[..., Tensor]:
    product: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default
    return product


@cache
def _packing_works(dtype: torch.dtype) -> bool:
    """Try the operators on a small product: they are not public, and a build or a processor may lack them."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        weight = torch.linspace(-1, 1, 32 * 16).view(32, 16).to(dtype)
        x = torch.linspace(-1, 1, 2 * 16).view(2, 1, 16).to(dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        activated = _packed_product()(x, packed, None, "gelu", [], "none")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(activated, F.gelu(F.linear(x, weight)), rtol=0, atol=1e-5 if dtype is torch.float32 else 0.1)
