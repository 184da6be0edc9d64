"""Tiny packages of MultiBandDiffusion in AudioCraft's layout, from a seed of numpy's: the same weights for ever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.runtime.diffusion.unet import DiffusionUNet, UNetConfig
from tests.support.audiocraft_checkpoints import change, omegaconf_nodes

LATENT = 16
CODEBOOKS = 4
PROCESSOR_BANDS = 4


def settings(sample_rate: int, **changes: Any) -> dict[str, Any]:
    """A configuration such as AudioCraft's solver has; ``changes`` are dotted keys, their dots written as ``__``."""
    config: dict[str, Any] = {
        "solver": "diffusion",
        "channels": 1,
        "sample_rate": sample_rate,
        "n_q": CODEBOOKS,
        "model": "unet",
        "device": "cpu",
        "optim": {"ema": {"device": "${device}"}},
        "processor": {
            "name": "multi_band_processor",
            "use": True,
            "n_bands": PROCESSOR_BANDS,
            "num_samples": 10000,
            "power_std": 0.8,
        },
        "schedule": {
            "repartition": "power",
            "variable_step_batch": True,
            "beta_t0": 1e-5,
            "beta_t1": 2.9e-2,
            "beta_exp": 7.5,
            "num_steps": 1000,
            "variance": "beta",
            "clip": 5.0,
            "rescale": 1.0,
            "n_bands": None,
            "noise_scale": 1.0,
        },
        "diffusion_unet": {
            "hidden": 8,
            "depth": 2,
            "res_blocks": 1,
            "norm_groups": 2,
            "kernel": 8,
            "stride": 4,
            "growth": 2,
            "max_channels": 10_000,
            "dropout": 0.0,
            "emb_all_layers": True,
            "bilstm": False,
            "codec_dim": LATENT,
            "transformer": False,
            "cross_attention": False,
        },
    }
    change(config, {name.replace("__", "."): value for name, value in changes.items()})
    return config


def package(sample_rate: int, *configs: Mapping[str, Any], seed: int = 1) -> dict[Any, Any]:
    """What a file holds: a model for each configuration."""
    numbers = np.random.RandomState(seed)
    content: dict[Any, Any] = {"n_bands": len(configs), "sample_rate": sample_rate}
    for place, config in enumerate(configs):
        content[place] = {
            "cfg": dict(config),
            "model_state": _weights(config, numbers),
            "processor_state": _levels(config, numbers),
        }
    return content


def write_package(path: Path, content: Mapping[Any, Any]) -> Path:
    """Write it as AudioCraft does, its configurations as OmegaConf's nodes."""
    with omegaconf_nodes() as nodes:
        made = dict(content)
        for place in range(content["n_bands"]):
            if place in content:
                made[place] = content[place] | {"cfg": nodes(content[place]["cfg"])}
        torch.save(made, path)
    return path


def _weights(config: Mapping[str, Any], numbers: np.random.RandomState) -> dict[str, Tensor]:
    unet = {name: value for name, value in config["diffusion_unet"].items() if name != "dropout"}
    with torch.device("meta"):
        network = DiffusionUNet(
            UNetConfig(channels=config["channels"], num_steps=config["schedule"]["num_steps"], **unet)
        )
    state = {}
    for name, tensor in network.state_dict().items():
        spread = 0.5 / max(1, int(np.prod(tensor.shape[1:]))) ** 0.5 if tensor.dim() > 1 else 0.1
        base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        values = base + spread * numbers.standard_normal(tuple(tensor.shape))
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def _levels(config: Mapping[str, Any], numbers: np.random.RandomState) -> dict[str, Tensor]:
    processor = config["processor"]
    if not processor["use"]:
        return {}
    count = processor["n_bands"]
    return {
        "counts": torch.tensor([10.0]),
        "sum_x": torch.from_numpy(0.01 * numbers.standard_normal(count)).float(),
        "sum_x2": torch.from_numpy(0.5 + 3 * numbers.random_sample(count)).float(),
        "sum_target_x2": torch.from_numpy(0.5 + 3 * numbers.random_sample(count)).float(),
    }
