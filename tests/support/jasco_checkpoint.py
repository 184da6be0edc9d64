"""A tiny JASCO in AudioCraft's layout, of random weights that are the same everywhere: figures were recorded with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints.parts import quiet_transformers
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from tests.support.audiocraft_checkpoints import CODEC_FILE, change, lm_settings, save_package, write_text_encoder

TEXT = "a happy rock song with guitar"
# AudioCraft leaves chords out by the number 194, whatever the model.
CHORDS = {"N": 0, "F": 1, "C": 2, "Bb": 3, "G7": 4, "C#m7": 5, "F/C": 6, "Abmaj7": 7, "UNK": 193}
LATENTS, DIM, LAYERS, TEXT_DIM, BINS, CARD = 16, 32, 4, 32, 53, 194
CODEC = "encodec_32khz"


def write_jasco_checkpoint(folder: Path, *, skips: bool = True, settings: Mapping[str, Any] | None = None) -> Path:
    """Write a folder with the model, a codec in transformers' layout that it points to, a T5, and a list of chords.

    Args:
        folder: is made.
        skips: whether there are skip connections.
        settings: dotted keys of the configuration that are other than usual; None takes a key out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = jasco_settings(skips)
    change(config, settings or {})
    save_package(folder / "state_dict.bin", jasco_state(skips), config, "exported")
    torch.save({"pretrained": f"facebook/{CODEC}", "exported": True, "version": "1.4.0a2"}, folder / CODEC_FILE)
    write_codec(folder / CODEC)
    write_text_encoder(folder / "t5-base", TEXT_DIM, seed=3)
    (folder / "chord_to_index_mapping.json").write_text(json.dumps(CHORDS))
    return folder


def jasco_settings(skips: bool) -> dict[str, Any]:
    """The configuration of a model that hears chords, drums and melody, with segments of a second."""
    config = lm_settings("musicgen", DIM, LAYERS, 4, 4, 64, 4, 1)
    config |= {
        "solver": "jasco",
        "lm_model": "flow_matching",
        "compression_model_latent_std": 4.0102,
        "compression_model_latent_mean": -0.0074,
        "compression_model_framerate": 50,
        "compression_model_latent_dim": LATENTS,
        "attribute_dropout": {
            "text": {"description": 0.0},
            "symbolic": {"chords": 0.5, "melody": 0.5},
            "wav": {"self_wav": 0.5},
        },
    }
    config["fuser"]["ignore"] = ["chords", "self_wav", "melody"]
    drums = {
        "sample_rate": "${sample_rate}",
        "out_dim": 2,
        "blurring_factor": 3,
        "cache_path": None,
        "compression_model_latent_dim": "${compression_model_latent_dim}",
        "compression_model_framerate": "${compression_model_framerate}",
        "segment_duration": "${dataset.segment_duration}",
    }
    config["conditioners"] |= {
        "chords": {"model": "chords_emb", "chords_emb": {"card": CARD, "out_dim": 8}},
        "self_wav": {"model": "drum_latents", "drum_latents": drums},
        "melody": {"model": "melody", "melody": {"card": BINS, "out_dim": 8}},
    }
    transformer = config["transformer_lm"]
    for name in ("emb_lr", "two_step_cfg"):
        del transformer[name]
    transformer |= {
        "causal": False,
        "skip_connections": skips,
        "flow_dim": "${compression_model_latent_dim}",
        "chords_dim": "${conditioners.chords.chords_emb.out_dim}",
        "drums_dim": "${conditioners.self_wav.drum_latents.out_dim}",
        "melody_dim": "${conditioners.melody.melody.out_dim}",
    }
    return config


def jasco_state(skips: bool) -> dict[str, Tensor]:
    """The weights in half precision, under AudioCraft's names, without those of the codec."""
    numbers = np.random.RandomState(4)
    state: dict[str, Tensor] = {}

    def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.from_numpy(numbers.randn(rows, columns) * 1.3 * columns**-0.5).half()
        if bias:
            state[f"{name}.bias"] = torch.from_numpy(0.1 * numbers.randn(rows)).half()

    def norm(name: str) -> None:
        state[f"{name}.weight"] = torch.from_numpy(1 + 0.1 * numbers.randn(DIM)).half()
        state[f"{name}.bias"] = torch.from_numpy(0.1 * numbers.randn(DIM)).half()

    conditioners = "condition_provider.conditioners"
    linear(f"{conditioners}.chords.emb", CARD + 1, 8, bias=False)
    linear(f"{conditioners}.description.output_proj", DIM, TEXT_DIM)
    linear(f"{conditioners}.melody.output_proj", 8, BINS)
    linear(f"{conditioners}.self_wav.output_proj", 2, LATENTS)
    linear("emb", DIM, LATENTS + 18, bias=False)
    for index in range(LAYERS):
        layer = f"transformer.layers.{index}"
        for part in ("self_attn", "cross_attention"):
            linear(f"{layer}.{part}.in_proj", 3 * DIM, DIM, bias=False)
            state[f"{layer}.{part}.in_proj_weight"] = state.pop(f"{layer}.{part}.in_proj.weight")
            linear(f"{layer}.{part}.out_proj", DIM, DIM, bias=False)
        linear(f"{layer}.linear1", 4 * DIM, DIM, bias=False)
        linear(f"{layer}.linear2", DIM, 4 * DIM, bias=False)
        for name in ("norm1", "norm2", "norm_cross"):
            norm(f"{layer}.{name}")
    for index in range(LAYERS // 2 if skips else 0):
        linear(f"transformer.skip_projections.{index}", DIM, 2 * DIM)
    norm("out_norm")
    linear("linear", LATENTS, DIM, bias=False)
    linear("temb.dense.0", 512, 128)
    linear("temb.dense.1", 512, 512)
    linear("temb_proj", DIM, 512)
    return state


def write_codec(folder: Path) -> Path:
    """An EnCodec of 50 frames per second in transformers' layout."""
    ensure_torchaudio()
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[1.2],
        codebook_size=64,
        codebook_dim=LATENTS,
        hidden_size=LATENTS,
        num_filters=4,
        num_lstm_layers=1,
        use_causal_conv=False,
    )
    make: Any = EncodecModel
    with torch.random.fork_rng(devices=[]):
        codec = make(config).eval()
    numbers = np.random.RandomState(5)
    with torch.no_grad():
        for name, tensor in sorted(codec.state_dict().items()):
            if not tensor.is_floating_point() or name.endswith(("embed_avg", "cluster_size", "inited")):
                continue
            scale = 1.0 if name.endswith("embed") else 0.05 if tensor.dim() == 1 else tensor[0].numel() ** -0.5
            tensor.copy_(torch.from_numpy(numbers.randn(*tensor.shape) * scale))
        for name, tensor in codec.state_dict().items():
            if name.endswith("original0"):
                tensor.abs_().add_(0.5)
    with quiet_transformers():
        codec.save_pretrained(folder)
    return folder
