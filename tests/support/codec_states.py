"""Weights of small codecs from numpy seeds, by the names that AudioCraft, the ``encodec`` package and Descript give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

SEANET: dict[str, Any] = {
    "channels": 1,
    "dimension": 8,
    "n_filters": 4,
    "n_residual_layers": 1,
    "ratios": [4, 2],
    "activation": "ELU",
    "activation_params": {"alpha": 1.0},
    "norm": "weight_norm",
    "norm_params": {},
    "kernel_size": 7,
    "residual_kernel_size": 3,
    "last_kernel_size": 7,
    "dilation_base": 2,
    "causal": False,
    "pad_mode": "constant",
    "true_skip": True,
    "compress": 2,
    "lstm": 2,
    "disable_norm_outer_blocks": 0,
    "encoder": {},
    "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
}
"""The configuration of AudioCraft's SEANet, at a size that costs nothing."""

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {
        "causal": True,
        "pad_mode": "reflect",
        "true_skip": False,
        "lstm": 1,
        "decoder": {"trim_right_ratio": 0.5, "final_activation": None, "final_activation_params": None},
    },
    "no_norm": {
        "norm": "none",
        "lstm": 0,
        "activation_params": {"alpha": 0.7},
        "decoder": {"trim_right_ratio": 1.0, "final_activation": "Tanh", "final_activation_params": {}},
    },
    "spectral_norm": {"norm": "spectral_norm", "pad_mode": "replicate", "n_residual_layers": 2, "dilation_base": 3},
    "group_norm": {
        "norm": "time_group_norm",
        "norm_params": {"eps": 1e-3},
        "channels": 2,
        "disable_norm_outer_blocks": 2,
        "true_skip": False,
        "renormalize": True,
    },
    "two_halves": {
        "activation": "LeakyReLU",
        "activation_params": {"negative_slope": 0.3},
        "renormalize": True,
        "ratios": [5, 3],
        "pad_mode": "reflect",
        "encoder": {"lstm": 1, "kernel_size": 5},
        "decoder": {"n_filters": 6, "residual_kernel_size": 5, "trim_right_ratio": 1.0},
    },
}
"""What is changed in `SEANET`; ``renormalize`` is the codec's."""

SAMPLE_RATE, CODEBOOKS, CARD = 1600, 3, 32


def settings_of(name: str) -> dict[str, Any]:
    """A whole configuration of AudioCraft's for one of `VARIANTS`."""
    seanet = SEANET | VARIANTS[name]
    renormalize = seanet.pop("renormalize", False)
    channels, causal = seanet["channels"], seanet["causal"]
    return {
        "compression_model": "encodec",
        "device": "cpu",
        "sample_rate": SAMPLE_RATE,
        "channels": channels,
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": "${sample_rate}",
            "channels": "${channels}",
            "causal": causal,
            "renormalize": renormalize,
        },
        "seanet": seanet,
        "rvq": {"n_q": CODEBOOKS, "bins": CARD, "q_dropout": False, "kmeans_init": True},
    }


def sound(channels: int, samples: int, seed: int = 1) -> Tensor:
    """``[channels, samples]``."""
    return torch.from_numpy(np.random.RandomState(seed).randn(channels, samples).astype("f4") * 0.3)


def encodec_state(seanet: Mapping[str, Any], codebooks: int, card: int, seed: int) -> dict[str, Tensor]:
    """All tensors of an EnCodec model by AudioCraft's names, which are the ``encodec`` package's, too."""
    make = _Tensors(seed)
    encoder, decoder = ({**seanet, **seanet[part]} for part in ("encoder", "decoder"))
    blocks = len(encoder["ratios"]) + 2

    def plain_norm(shape: Mapping[str, Any], plain: bool) -> str:
        return "none" if plain else str(shape["norm"])

    def residual(name: str, shape: Mapping[str, Any], width: int, kind: str) -> None:
        hidden = width // shape["compress"]
        make.conv(f"{name}.block.1.conv", hidden, width, shape["residual_kernel_size"], kind, 0.5)
        make.conv(f"{name}.block.3.conv", width, hidden, 1, kind, 0.5)
        if not shape["true_skip"]:
            make.conv(f"{name}.shortcut.conv", width, width, 1, kind)

    index, width, bare = 0, encoder["n_filters"], encoder["disable_norm_outer_blocks"]
    kind = plain_norm(encoder, bare >= 1)
    make.conv(f"encoder.model.{index}.conv", width, encoder["channels"], encoder["kernel_size"], kind, 2.0)
    for place, ratio in enumerate(reversed(encoder["ratios"])):
        kind = plain_norm(encoder, bare >= place + 2)
        for _ in range(encoder["n_residual_layers"]):
            index += 1
            residual(f"encoder.model.{index}", encoder, width, kind)
        index += 2
        make.conv(f"encoder.model.{index}.conv", 2 * width, width, 2 * ratio, kind, 1.4)
        width *= 2
    if encoder["lstm"]:
        index += 1
        make.lstm(f"encoder.model.{index}", width, encoder["lstm"])
    index += 2
    kind = plain_norm(encoder, bare == blocks)
    make.conv(f"encoder.model.{index}.conv", encoder["dimension"], width, encoder["last_kernel_size"], kind, 1.4)

    index, width, bare = 0, decoder["n_filters"] * 2 ** len(decoder["ratios"]), decoder["disable_norm_outer_blocks"]
    kind = plain_norm(decoder, bare == blocks)
    make.conv(f"decoder.model.{index}.conv", width, decoder["dimension"], decoder["kernel_size"], kind)
    if decoder["lstm"]:
        index += 1
        make.lstm(f"decoder.model.{index}", width, decoder["lstm"])
    for place, ratio in enumerate(decoder["ratios"]):
        kind = plain_norm(decoder, bare >= blocks - (place + 1))
        index += 2
        make.conv(f"decoder.model.{index}.convtr", width // 2, width, 2 * ratio, kind, 1.4, transposed=True)
        width //= 2
        for _ in range(decoder["n_residual_layers"]):
            index += 1
            residual(f"decoder.model.{index}", decoder, width, kind)
    index += 2
    kind = plain_norm(decoder, bare >= 1)
    make.conv(f"decoder.model.{index}.conv", decoder["channels"], width, decoder["last_kernel_size"], kind)
    for book in range(codebooks):
        embed = make.normal((card, encoder["dimension"]), 0.7**book)
        name = f"quantizer.vq.layers.{book}._codebook"
        make.state |= {f"{name}.embed": embed, f"{name}.embed_avg": embed.clone()}
        make.state |= {f"{name}.inited": torch.ones(1), f"{name}.cluster_size": torch.ones(card)}
    return make.state


def descript_content(seed: int, **settings: Any) -> dict[str, Any]:
    """What a file of the ``descript-audio-codec`` package holds; ``settings`` are its ``kwargs``."""
    make = _Tensors(seed)

    def unit(name: str, width: int) -> None:
        make.state[f"{name}.block.0.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
        make.plain_conv(f"{name}.block.1", width, width, 7, 0.4)
        make.state[f"{name}.block.2.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
        make.plain_conv(f"{name}.block.3", width, width, 1, 0.4)

    width, down, up = settings["encoder_dim"], settings["encoder_rates"], settings["decoder_rates"]
    make.plain_conv("encoder.block.0", width, 1, 7)
    for place, ratio in enumerate(down, 1):
        for inner in range(3):
            unit(f"encoder.block.{place}.block.{inner}", width)
        make.state[f"encoder.block.{place}.block.3.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
        make.plain_conv(f"encoder.block.{place}.block.4", 2 * width, width, 2 * ratio)
        width *= 2
    dimension = width
    make.state[f"encoder.block.{len(down) + 1}.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
    make.plain_conv(f"encoder.block.{len(down) + 2}", dimension, width, 3)
    for index, small in enumerate(settings["codebook_dim"]):
        name = f"quantizer.quantizers.{index}"
        make.plain_conv(f"{name}.in_proj", small, dimension, 1)
        make.plain_conv(f"{name}.out_proj", dimension, small, 1, 0.5)
        make.state[f"{name}.codebook.weight"] = make.normal((settings["codebook_size"], small), 1.0)
    width = settings["decoder_dim"]
    make.plain_conv("decoder.model.0", width, dimension, 7)
    for place, ratio in enumerate(up, 1):
        make.state[f"decoder.model.{place}.block.0.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
        make.plain_conv(f"decoder.model.{place}.block.1", width // 2, width, 2 * ratio, transposed=True)
        width //= 2
        for inner in range(3):
            unit(f"decoder.model.{place}.block.{inner + 2}", width)
    make.state[f"decoder.model.{len(up) + 1}.alpha"] = make.uniform((1, width, 1), 0.5, 1.5)
    make.plain_conv(f"decoder.model.{len(up) + 2}", 1, width, 7)
    return {"state_dict": make.state, "metadata": {"kwargs": dict(settings)}}


class _Tensors:
    """Draws tensors one after the other."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)
        self.state: dict[str, Tensor] = {}

    def normal(self, shape: tuple[int, ...], scale: float) -> Tensor:
        return torch.from_numpy((self.random.randn(*shape) * scale).astype("f4"))

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.from_numpy(self.random.uniform(low, high, shape).astype("f4"))

    def conv(
        self, name: str, out: int, inputs: int, taps: int, norm: str, gain: float = 1.0, *, transposed: bool = False
    ) -> None:
        """A convolution as AudioCraft names it: one module in another, and a norm beside it."""
        inner = name.rpartition(".")[2]
        self.plain_conv(f"{name}.{inner}", out, inputs, taps, gain, norm, transposed=transposed)
        if norm == "time_group_norm":
            self.state[f"{name}.norm.weight"] = self.uniform((out,), 0.5, 1.5)
            self.state[f"{name}.norm.bias"] = self.normal((out,), 0.1)

    def plain_conv(
        self,
        name: str,
        out: int,
        inputs: int,
        taps: int,
        gain: float = 1.0,
        norm: str = "weight_norm",
        *,
        transposed: bool = False,
    ) -> None:
        shape = (inputs, out, taps) if transposed else (out, inputs, taps)
        weight = self.normal(shape, gain * (inputs * (2 if transposed else taps)) ** -0.5)
        self.state[f"{name}.bias"] = self.normal((out,), 0.05)
        if norm == "weight_norm":
            self.state[f"{name}.weight_v"] = weight * 3
            self.state[f"{name}.weight_g"] = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
        elif norm == "spectral_norm":
            rows = (weight.transpose(0, 1) if transposed else weight).flatten(1)
            left = torch.nn.functional.normalize(self.normal((rows.shape[0],), 1.0), dim=0)
            for _ in range(8):
                right = torch.nn.functional.normalize(rows.t() @ left, dim=0)
                left = torch.nn.functional.normalize(rows @ right, dim=0)
            self.state |= {f"{name}.weight_orig": weight, f"{name}.weight_u": left, f"{name}.weight_v": right}
        else:
            self.state[f"{name}.weight"] = weight

    def lstm(self, name: str, width: int, layers: int) -> None:
        for layer in range(layers):
            for part, shape in (("ih", (4 * width, width)), ("hh", (4 * width, width))):
                self.state[f"{name}.lstm.weight_{part}_l{layer}"] = self.normal(shape, width**-0.5)
                self.state[f"{name}.lstm.bias_{part}_l{layer}"] = self.normal((4 * width,), 0.1)
