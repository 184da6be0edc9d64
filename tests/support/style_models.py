"""MusicGen-Style checkpoints in AudioCraft's layout, tiny and of random weights, and a recording for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint

DIM, CARD, BINS = 48, 64, 16
WIDTHS = {"xsmall": 256, "none": 512}
SCALES = {"xsmall": 4, "none": 0}
FORMS: dict[str, dict[str, Any]] = {
    "quantised": {"transformer_scale": "xsmall", "n_q_out": 4, "eval_q": 3, "ds_factor": 15, "batch_norm": True},
    "plain": {"transformer_scale": "none", "n_q_out": 0, "eval_q": 3, "ds_factor": 10, "batch_norm": False},
}
"""What the conditioners are like: with everything, and with nothing but features."""

_CONDITIONER = "condition_provider.conditioners.self_wav."


def write_style_checkpoint(folder: Path, form: str = "quantised", *, seconds: float = 30, mert: bool = False) -> Path:
    """Write a folder as `write_audiocraft_checkpoint` does, of a model that hears styles."""
    style = FORMS[form] | {
        "model_name": "mert" if mert else "encodec",
        "sample_rate": "${sample_rate}",
        "encodec_checkpoint": f"//pretrained/{folder.name}/compression_state_dict.bin",
        "encodec_n_q": 3,
        "length": 3.0,
        "q_dropout": True,
        "bins": BINS,
        "varying_lengths": [1.5, 4.5],
        "compute_mask": True,
        "num_codebooks_lm": "${transformer_lm.n_q}",
        "ds_rate_compression": 640,
        "use_middle_of_segment": False,
        "rvq_threshold_ema_dead_code": 0.1,
    }
    write_audiocraft_checkpoint(
        folder,
        "melody",
        dim=DIM,
        card=CARD,
        seconds=seconds,
        settings={"conditioners.self_wav": {"model": "style", "style": style}},
        weights=style_state(style, mert),
    )
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    del package["best_state"][f"{_CONDITIONER}chroma.spec.window"]  # of the melody model that it was made from
    torch.save(package, folder / "state_dict.bin")
    return folder


def style_state(style: dict[str, Any], mert: bool = False) -> dict[str, Tensor]:
    """The weights of a conditioner, in half precision."""
    numbers = np.random.RandomState(3001)
    width, books = WIDTHS[style["transformer_scale"]], style["n_q_out"]
    state: dict[str, Tensor] = {}

    def drawn(name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> None:
        state[_CONDITIONER + name] = torch.from_numpy(mean + scale * numbers.randn(*shape)).half()

    drawn("output_proj.weight", DIM, width, scale=1.5 * width**-0.5)
    drawn("output_proj.bias", DIM, scale=0.1)
    if mert:
        drawn("embed.weight", width, 768, scale=768**-0.5)
        drawn("embed.bias", width, scale=0.1)
    else:
        for book in range(style["encodec_n_q"]):
            drawn(f"embed.{book}.weight", CARD, width)
    for index in range(SCALES[style["transformer_scale"]]):
        layer = f"transformer.layers.{index}"
        for name, rows, columns in (
            ("self_attn.in_proj_weight", 3 * width, width),
            ("self_attn.out_proj.weight", width, width),
            ("linear1.weight", 4 * width, width),
            ("linear2.weight", width, 4 * width),
        ):
            drawn(f"{layer}.{name}", rows, columns, scale=columns**-0.5)
        for norm in ("norm1", "norm2"):
            drawn(f"{layer}.{norm}.weight", width, scale=0.1, mean=1.0)
            drawn(f"{layer}.{norm}.bias", width, scale=0.1)
    for book in range(books):
        codebook = f"rvq.vq.layers.{book}._codebook"
        drawn(f"{codebook}.embed", BINS, width)
        state[_CONDITIONER + f"{codebook}.inited"] = torch.ones(1).half()
        state[_CONDITIONER + f"{codebook}.cluster_size"] = torch.ones(BINS).half()
        state[_CONDITIONER + f"{codebook}.embed_avg"] = state[_CONDITIONER + f"{codebook}.embed"].clone()
    if style["batch_norm"]:
        drawn("batch_norm.running_mean", width, scale=0.2)
        state[_CONDITIONER + "batch_norm.running_var"] = torch.from_numpy(1 + numbers.rand(width)).half()
        state[_CONDITIONER + "batch_norm.num_batches_tracked"] = torch.tensor(7)
    return state


def recording(seconds: float = 4.0, pitch: float = 220.0, sample_rate: int = 32_000) -> np.ndarray[Any, Any]:
    """A few tones and some noise, float32 ``[samples]``."""
    times = np.arange(int(seconds * sample_rate)) / sample_rate
    tones = sum(np.sin(2 * np.pi * pitch * part * times + part) / part for part in (1, 1.5, 2.02, 3))
    noise = np.random.RandomState(int(pitch)).randn(len(times))
    return np.asarray(0.15 * tones * (1 + np.sin(5 * times)) + 0.02 * noise, dtype=np.float32)
