"""How much memory a step of the LM must read: what no implementation gets around, and so where the floors come from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import torch

from engine.checkpoints import hub, pocket
from engine.checkpoints.catalogue import find_source
from engine.checkpoints.devices import Precision
from engine.checkpoints.section import CONFIG_FILE, OwnSection, read_config
from engine.runtime.linear import Linear
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.onnx import CacheForm, cache_form
from engine.runtime.patterns import DelayPattern
from engine.runtime.quantised import Form, quantise

ROWS = 2
"""Of a stream that is guided: with and without its condition."""


@dataclass(frozen=True)
class Traffic:
    """What the streams of a model read.

    Attributes:
        weights: bytes that a step reads once, however many streams it is for.
        cache: bytes that it reads for each stream, at the mean of positions of a stream that has long been running.
        period: seconds of sound in a step.
    """

    weights: int
    cache: int
    period: float

    def most_streams(self, bandwidth: float) -> int:
        """How many streams any engine could hold in real time at so many GB/s (10⁹ bytes), by what it reads alone."""
        return max(0, int((self.period * bandwidth * 1e9 - self.weights) // self.cache))


def weight_bytes(config: LMConfig, precision: Precision, device: torch.device) -> int:
    """Bytes of all weights that one step reads: all but the embeddings, of which it reads a row for each codebook, and what turns a
    text into keys and values, which is done once."""
    skeleton = MusicgenLM(config, device="meta")
    total = 2 * config.dim * (3 * config.layers + 1) * precision.dtype.itemsize  # norms
    for name, module in skeleton.named_modules():
        if isinstance(module, Linear) and not name.endswith("cross_kv"):
            form: Form | None = precision.form
            if form == "int4" and name == "heads":
                form = "int8"  # see `MusicgenLM.pack`
            outputs, inputs = module.weight.shape
            row = inputs * precision.dtype.itemsize
            if form is not None:
                row = quantise(torch.zeros(1, inputs, device=device), form).nbytes
            total += outputs * row
    return total


def cache_bytes(config: LMConfig, positions: float, text_tokens: int, itemsize: float) -> int:
    """Bytes of keys and values that a step reads for one guided stream; the row without a condition looks at no text."""
    kv_dim = config.kv_heads * config.head_dim
    return round(2 * config.layers * itemsize * (ROWS * positions * kv_dim + text_tokens * config.dim))


def checkpoint_folder(name: str) -> Path:
    """Where the files are of a model that `load_model` knows, on this disk by now."""
    source = find_source(name)
    if source.folder is not None:
        return source.folder
    return hub.obtain(source.hub_id) if source.hub_id is not None else pocket.pocket_folder()


def cache_itemsize(config: LMConfig, precision: Precision, device: torch.device, kv_cache: str = "auto") -> int:
    """Bytes of a number in the caches of what the engine runs such a model by."""
    if device.type != "cpu":
        return precision.dtype.itemsize
    narrow = precision.form is not None and cache_form(config.dim, cast("CacheForm", kv_cache)) == "int8"
    return 1 if narrow else 4


def traffic_of(folder: Path, precision: Precision, device: torch.device, kv_cache: str = "auto") -> Traffic | None:
    """Of a checkpoint in transformers' layout or our own; None for others.

    Args:
        folder: of the checkpoint.
        precision: in which it runs.
        device: where it runs.
        kv_cache: as the engine's setting.
    """
    if not (folder / CONFIG_FILE).is_file():
        return None
    content = read_config(folder)
    section, decoder = OwnSection.read(content), content.get("decoder", {})
    if "hidden_size" not in decoder:
        return None
    config = LMConfig(
        dim=decoder["hidden_size"],
        layers=decoder["num_hidden_layers"],
        heads=decoder["num_attention_heads"],
        ff_dim=decoder["ffn_dim"],
        pattern=DelayPattern.musicgen(decoder["num_codebooks"], decoder.get("audio_channels", 1)),
        card=decoder["vocab_size"],
        text_dim=decoder["hidden_size"],
        text_projection=False,
        max_positions=1,
    )
    rate = Fraction(50)
    heard = float((section.window_seconds - section.stride_seconds / 2) * rate)
    itemsize = cache_itemsize(config, precision, device, kv_cache)
    return Traffic(
        weight_bytes(config, precision, device), cache_bytes(config, heard, 0, itemsize), period=float(1 / rate)
    )
