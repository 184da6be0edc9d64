"""Activations of codec networks on rows ``[batch, rows, channels]``.

All but `final_activation`'s keep zeros and work on every value by itself, so that padding with zeros, reflections or copies before
them is padding after them: a layer may keep its inputs raw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from protocols.errors import ErrorCode, RequestError


class Activation(Protocol):
    """Called with rows, gives as many; ``inplace`` allows it to overwrite them."""

    def __call__(self, rows: Tensor, inplace: bool = False) -> Tensor: ...


class Elu:
    """The exponential linear unit (Clevert et al. 2016)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, rows: Tensor, inplace: bool = False) -> Tensor:
        return F.elu(rows, self.alpha, inplace=inplace)


class Snake:
    """``x + sin²(a x) / a`` with an ``a`` for each channel (Ziyin et al. 2020), as the Descript Audio Codec has it.

    Args:
        alpha: ``[channels]``.
    """

    def __init__(self, alpha: Tensor) -> None:
        self.alpha = alpha
        self.inverse = (alpha + 1e-9).reciprocal()

    def __call__(self, rows: Tensor, inplace: bool = False) -> Tensor:
        waves = torch.mul(rows, self.alpha).sin_().square_().mul_(self.inverse)
        return waves.add_(rows)


class _Plain:
    """An activation of torch's without an in-place form that is worth having."""

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        self.function, self.settings = function, settings

    def __call__(self, rows: Tensor, inplace: bool = False) -> Tensor:
        return self.function(rows, **self.settings)


# torch.nn's name -> the parameters that it takes here, with the function that they go to.
_KEEP_ZEROS: Final[dict[str, tuple[Callable[..., Tensor], dict[str, type]]]] = {
    "ELU": (F.elu, {"alpha": float}),
    "ReLU": (F.relu, {}),
    "LeakyReLU": (F.leaky_relu, {"negative_slope": float}),
    "GELU": (F.gelu, {"approximate": str}),
    "SiLU": (F.silu, {}),
    "Mish": (F.mish, {}),
    "Tanh": (torch.tanh, {}),
    "Softsign": (F.softsign, {}),
    "Identity": (lambda rows: rows, {}),
}
_FINAL: Final[dict[str, tuple[Callable[..., Tensor], dict[str, type]]]] = {
    **_KEEP_ZEROS,
    "Sigmoid": (torch.sigmoid, {}),
    "Hardtanh": (F.hardtanh, {"min_val": float, "max_val": float}),
}
_APPROXIMATIONS: Final = ("none", "tanh")


def hidden_activation(name: str, settings: Mapping[str, Any], key: str = "activation") -> Activation:
    """The activation between two layers, by the name and parameters that ``torch.nn`` gives it.

    Raises:
        RequestError: ``unsupported``, naming ``key``, for one that is not known or does not keep zeros.
    """
    function, checked = _look_up(_KEEP_ZEROS, name, settings, key)
    return Elu(**checked) if name == "ELU" else _Plain(function, **checked)


def final_activation(name: str, settings: Mapping[str, Any], key: str = "final_activation") -> Activation:
    """The activation after the last layer.

    Raises:
        RequestError: ``unsupported``, naming ``key``, for one that is not known.
    """
    function, checked = _look_up(_FINAL, name, settings, key)
    return _Plain(function, **checked)


def _look_up(
    table: Mapping[str, tuple[Callable[..., Tensor], dict[str, type]]], name: str, settings: Mapping[str, Any], key: str
) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    if name not in table:
        raise RequestError(ErrorCode.UNSUPPORTED, key, name, ", ".join(table))
    function, known = table[name]
    checked: dict[str, Any] = {}
    for parameter, value in settings.items():
        if parameter == "inplace":  # changes where the result is written, not the result
            continue
        if parameter not in known:
            allowed = ", ".join(known) or "no parameters"
            raise RequestError(ErrorCode.UNSUPPORTED, f"{key}_params.{parameter}", value, f"{allowed} of {name}")
        if known[parameter] is float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RequestError(ErrorCode.UNSUPPORTED, f"{key}_params.{parameter}", value, "a number")
            value = float(value)
        elif value not in _APPROXIMATIONS:
            raise RequestError(ErrorCode.UNSUPPORTED, f"{key}_params.{parameter}", value, ", ".join(_APPROXIMATIONS))
        checked[parameter] = value
    return function, checked
