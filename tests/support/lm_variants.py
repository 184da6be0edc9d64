"""LMs in AudioCraft's layout that differ from MusicGen's in layers or pattern, each with weights that numpy's seed decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.lm import LMFacts, build_lm, lm_config
from engine.checkpoints.audiocraft.package import Package
from engine.checkpoints.devices import Precision
from engine.runtime.lm import MusicgenLM
from tests.support.audiocraft_checkpoints import change, lm_settings, lm_state

DIM, LAYERS, HEADS, BOOKS, CARD, TEXT_DIM = 32, 2, 4, 4, 48, 24
WINDOW = 30
_UNFUSED = {"transformer_lm.memory_efficient": False, "transformer_lm.custom": True}
_LAYER = "transformer.layers"


@dataclass(frozen=True)
class Case:
    """An LM.

    Attributes:
        settings: dotted keys of its configuration that are other than MusicGen's.
        books: codebooks.
        seed: of the weights, one for which no greedy choice is a close one.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    books: int = BOOKS
    seed: int = 3

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, whole."""
        config = lm_settings("musicgen", DIM, LAYERS, HEADS, self.books, CARD, 4, WINDOW / 50)
        change(config, self.settings)
        return config

    @property
    def state(self) -> dict[str, Tensor]:
        """Its weights by AudioCraft's names, in single precision."""
        transformer, crossing = self.config["transformer_lm"], bool(self.config["fuser"]["cross"])
        state = {name: tensor.float() for name, tensor in _base(self.books, self.seed).items()}
        numbers = np.random.RandomState(77)

        def add(name: str, size: int, around: float = 0.0) -> None:
            state[name] = torch.from_numpy(around + 0.3 * numbers.randn(size)).float()

        for index in range(LAYERS):
            layer = f"{_LAYER}.{index}"
            if not crossing:
                for name in [name for name in state if name.startswith(f"{layer}.") and "cross" in name]:
                    del state[name]
            if transformer["bias_attn"]:
                for part in ("self_attn", "cross_attention") if crossing else ("self_attn",):
                    add(f"{layer}.{part}.in_proj_bias", 3 * DIM)
                    add(f"{layer}.{part}.out_proj.bias", DIM)
            if transformer["bias_ff"]:
                add(f"{layer}.linear1.bias", 4 * DIM)
                add(f"{layer}.linear2.bias", DIM)
            for key, part in (("qk_layer_norm", "self_attn"), ("qk_layer_norm_cross", "cross_attention")):
                if transformer[key] and (crossing or part == "self_attn"):
                    for side in "qk":
                        add(f"{layer}.{part}.{side}_layer_norm.weight", DIM, 1.5)
                        add(f"{layer}.{part}.{side}_layer_norm.bias", DIM)
            if transformer["layer_scale"] is not None:
                for part in ("1", "2", *["cross"] * crossing):
                    add(f"{layer}.layer_scale_{part}.scale", DIM, 0.8)
            if (repeat := transformer["kv_repeat"]) > 1:
                name = f"{layer}.self_attn.in_proj_weight"
                state[name] = state[name][: DIM + 2 * (DIM // repeat)].clone()
                if transformer["bias_attn"]:
                    name = f"{layer}.self_attn.in_proj_bias"
                    state[name] = state[name][: DIM + 2 * (DIM // repeat)].clone()
        if transformer["bias_proj"]:
            for book in range(self.books):
                add(f"linears.{book}.bias", CARD)
        if not transformer["norm_first"]:
            del state["out_norm.weight"], state["out_norm.bias"]
        return state

    def lm(self) -> MusicgenLM:
        """The runtime's LM of it."""
        config = Config.read(self.config)
        package = Package(Path("state_dict.bin"), config, self.state, exported=True)
        shape = lm_config(config, LMFacts.read(config), package.weights, WINDOW, 0)
        return build_lm(shape, package, package.weights, torch.device("cpu"), Precision("float32", torch.float32))


CASES: dict[str, Case] = {
    "musicgen": Case(),
    "biases": Case({f"transformer_lm.{key}": True for key in ("bias_ff", "bias_attn", "bias_proj")}, seed=10),
    "relu": Case({"transformer_lm.activation": "relu"}),
    "norms_last": Case({"transformer_lm.norm_first": False}),
    "norms_last_biases": Case(
        {f"transformer_lm.{key}": True for key in ("bias_ff", "bias_attn", "bias_proj")}
        | {"transformer_lm.norm_first": False, "transformer_lm.layer_scale": 0.5}
    ),
    "layer_scale": Case({"transformer_lm.layer_scale": 0.1}),
    "rope": Case(_UNFUSED | {"transformer_lm.positional_embedding": "rope"}),
    "sin_rope": Case(
        _UNFUSED | {"transformer_lm.positional_embedding": "sin_rope", "transformer_lm.positional_scale": 0.6}
    ),
    "xpos": Case(
        _UNFUSED
        | {"transformer_lm.positional_embedding": "rope", "transformer_lm.xpos": True, "transformer_lm.max_period": 500}
    ),
    "qk_norm": Case({"transformer_lm.qk_layer_norm": True, "transformer_lm.qk_layer_norm_cross": True}),
    "kv_repeat": Case({"transformer_lm.kv_repeat": 2}),
    "kv_repeat_rope_biases": Case(
        _UNFUSED
        | {
            "transformer_lm.kv_repeat": 4,
            "transformer_lm.bias_attn": True,
            "transformer_lm.positional_embedding": "rope",
        }
    ),
    "past_context": Case(_UNFUSED | {"transformer_lm.past_context": 7}),
    "past_context_fused": Case({"transformer_lm.past_context": 64}),
    "torch_attention": Case({"transformer_lm.memory_efficient": False, "transformer_lm.bias_attn": True}),
    "text_positions": Case({"fuser.cross_attention_pos_emb": True, "fuser.cross_attention_pos_emb_scale": 0.7}),
    "text_positions_biases": Case(
        {"fuser.cross_attention_pos_emb": True, "transformer_lm.bias_attn": True, "transformer_lm.norm_first": False}
    ),
    "text_first": Case({"fuser.cross": [], "fuser.prepend": ["description"], "transformer_lm.bias_attn": True}),
    "parallel": Case({"codebooks_pattern.modeling": "parallel", "codebooks_pattern.parallel": {}}, seed=11),
    "flatten_first": Case({"codebooks_pattern.delay.flatten_first": 3}),
    "empty_initial": Case({"codebooks_pattern.delay.empty_initial": 2}),
    "late_delays": Case({"codebooks_pattern.delay.delays": [1, 1, 4, 6]}),
    "unroll": Case({"codebooks_pattern.modeling": "unroll", "codebooks_pattern.unroll": {}}, seed=5),
    "unroll_delayed": Case(
        {
            "codebooks_pattern.modeling": "unroll",
            "codebooks_pattern.unroll": {"flattening": [0, 1, 1, 3], "delays": [0, 3, 3, 4]},
        }
    ),
    "coarse_first": Case(
        {"codebooks_pattern.modeling": "coarse_first", "codebooks_pattern.coarse_first": {"delays": [0, 1, 2]}}
    ),
    "musiclm": Case({"codebooks_pattern.modeling": "musiclm", "codebooks_pattern.musiclm": {"group_by": 2}}),
    "six_books": Case({"codebooks_pattern.delay.delays": [0, 1, 1, 2, 2, 5]}, books=6, seed=10),
}
"""What a fine-tune may have instead of MusicGen's layers, and every pattern."""


def text(number: int, length: int = 6) -> Tensor:
    """Hidden states of a text, ``[length, TEXT_DIM]``."""
    return torch.from_numpy(2 * np.random.RandomState(500 + number).randn(length, TEXT_DIM)).float()


def prompt(books: int, frames: int) -> Tensor:
    """Codes to go on from, ``[1, codebooks, frames]``."""
    return torch.from_numpy(np.random.RandomState(600).randint(0, CARD, (1, books, frames)))


def _base(books: int, seed: int) -> dict[str, Tensor]:
    return lm_state("musicgen", DIM, LAYERS, books, CARD, TEXT_DIM, 4 * DIM, seed)
