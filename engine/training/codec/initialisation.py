"""First weights that let a deep convolutional codec learn at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


@torch.no_grad()
def rescale_to_unit_variance(network: nn.Module, inputs: Tensor, last: float = 1.0) -> None:
    """Scale the convolutions of ``network``, in the order they run, so that each one's output has a deviation of 1.

    Layer-sequential unit variance (Mishkin & Matas 2016, arXiv:1511.06422), by one factor per layer. With weight norm
    the factor goes into its gain. Without this a SEANet's first gradients are so small that it cannot fit one batch.

    Args:
        network: called with ``inputs``.
        inputs: a batch of what it will be trained on.
        last: the deviation of the last layer's output.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Conv1d | nn.ConvTranspose1d)]
    order: list[nn.Module] = []
    hooks = [layer.register_forward_hook(lambda module, _, __: order.append(module)) for layer in layers]
    network(inputs)
    for hook in hooks:
        hook.remove()
    for layer in order:
        measured: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _, __, output, kept=measured: kept.append(output.detach()))
        network(inputs)
        hook.remove()
        _scale(layer, (last if layer is order[-1] else 1.0) / max(float(measured[0].std()), 1e-6))


def _scale(layer: Any, factor: float) -> None:
    gain = layer.parametrizations.weight.original0 if parametrize.is_parametrized(layer) else layer.weight
    gain.mul_(factor)
    if layer.bias is not None:
        layer.bias.mul_(factor)
