"""Checkpoints as AudioCraft writes them, tiny and of random weights, for any shape and form that a test asks for.

Weights come from numpy's ``RandomState``, whose numbers are the same everywhere and for ever: figures recorded from AudioCraft with
them can be compared with.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from engine.checkpoints.parts import quiet_transformers
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from tests.support.tiny_checkpoints import WORDS, build_tokenizer

Kind = Literal["musicgen", "melody", "stereo", "audiogen"]
Form = Literal["exported", "training", "legacy"]

CODEC_FILE = "compression_state_dict.bin"
LM_FILES = {"exported": "state_dict.bin", "training": "checkpoint.th", "legacy": "state_dict.bin"}
TEXT_ENCODER = "t5-base"


def write_audiocraft_checkpoint(
    folder: Path,
    kind: Kind = "musicgen",
    *,
    form: Form = "exported",
    codec_form: Literal["exported", "training", "legacy", "pointer", "none"] = "exported",
    dim: int = 48,
    layers: int = 3,
    heads: int = 4,
    codebooks: int = 4,
    card: int = 64,
    text_dim: int = 32,
    hidden_scale: float = 4,
    seconds: float = 30,
    seed: int = 1,
    text_encoder: bool = True,
    settings: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a folder with an LM, its codec, and the T5 that it names.

    Args:
        folder: is made.
        kind: of model. ``codebooks`` are those of one channel: a stereo model has twice as many.
        form: of the LM's file: as exported, as a solver leaves it (``checkpoint.th``), or exported in torch's format before 1.6.
        codec_form: the same of the codec's, or a pointer to ``facebook/encodec_32khz``, or no file at all.
        dim: of the LM, as all sizes that follow.
        seconds: of the window, ``dataset.segment_duration``.
        text_encoder: whether the T5 lies in the folder.
        settings: dotted keys of the LM's configuration that are other than usual; None takes a key out.
        weights: of the LM, that are added or take the place of others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rate = 16_000 if kind == "audiogen" else 32_000
    config = lm_settings(kind, dim, layers, heads, codebooks, card, hidden_scale, seconds)
    change(config, settings or {})
    state = lm_state(kind, dim, layers, codebooks, card, text_dim, int(hidden_scale * dim), seed) | dict(weights or {})
    save_package(folder / LM_FILES[form], state, config, form)
    if codec_form == "pointer":
        pointer = {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.4.0a2"}
        torch.save(pointer, folder / CODEC_FILE)
    elif codec_form != "none":
        codec = codec_settings(rate, codebooks, card)
        save_package(folder / CODEC_FILE, codec_state(codec, seed), codec, codec_form)
    if text_encoder:
        write_text_encoder(folder / TEXT_ENCODER, text_dim, seed)
    return folder


def save_package(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], form: Form) -> None:
    """Write weights and their configuration as AudioCraft does."""
    if form != "training":
        package = {"best_state": OrderedDict(state), "xp.cfg": yaml.safe_dump(dict(config), sort_keys=False)}
        package |= {"version": "1.4.0a2", "exported": True}
        torch.save(package, path, _use_new_zipfile_serialization=form != "legacy")
        return
    moments = {index: {"step": 7, "exp_avg": torch.zeros(3)} for index in range(2)}
    with omegaconf_nodes() as nodes:
        package = {
            "xp.sig": "0123abcd",
            "xp.cfg": nodes(dict(config)),
            "model": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
            "optimizer": {"state": moments, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.95), "params": [0, 1]}]},
            "best_state": {"model": OrderedDict(state)},
            "fsdp_best_state": {},
            "history": [{"train": {"loss": np.float64(1.5)}, "valid": {"loss": 1.25}}],
        }
        torch.save(package, path)


def lm_settings(
    kind: Kind, dim: int, layers: int, heads: int, codebooks: int, card: int, hidden_scale: float, seconds: float
) -> dict[str, Any]:
    """The configuration of an LM, with the references to other keys that AudioCraft's have."""
    stereo, melody = kind == "stereo", kind == "melody"
    runs = 2 if stereo else 1
    conditioners: dict[str, Any] = {}
    if melody:
        chroma = {"sample_rate": "${sample_rate}", "n_chroma": 12, "radix2_exp": 14, "argmax": True, "cache_path": None}
        conditioners["self_wav"] = {"model": "chroma_stem", "chroma_stem": chroma}
    t5 = {"name": TEXT_ENCODER, "finetune": False, "word_dropout": 0.2, "normalize_text": False}
    conditioners["description"] = {"model": "t5", "t5": t5}
    return {
        "device": "cuda",
        "dtype": "float32",
        "solver": "audiogen" if kind == "audiogen" else "musicgen",
        "dora": {"dir": "/checkpoint/${oc.env:USER}/experiments"},
        "dataset": {"segment_duration": seconds, "batch_size": 192},
        "sample_rate": 16_000 if kind == "audiogen" else 32_000,
        "channels": runs,
        "compression_model_checkpoint": "//pretrained/facebook/encodec_32khz",
        "compression_model_n_q": None,
        "interleave_stereo_codebooks": {"use": stereo, "per_timestep": False},
        "lm_model": "transformer_lm",
        "conditioners": conditioners,
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "prepend": ["self_wav", "description"] if melody else [],
            "cross": [] if melody else ["description"],
            "input_interpolate": [],
        },
        "classifier_free_guidance": {"training_dropout": 0.1, "inference_coef": 3.0},
        "attribute_dropout": {"text": {"description": 0.0}},
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {
                "delays": [book // runs for book in range(runs * codebooks)],
                "flatten_first": 0,
                "empty_initial": 0,
            },
        },
        "transformer_lm": {
            "dim": dim,
            "num_heads": heads,
            "num_layers": layers,
            "hidden_scale": hidden_scale,
            "n_q": runs * codebooks,
            "card": card,
            "dropout": 0.0,
            "emb_lr": None,
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "past_context": None,
            "causal": True,
            "custom": False,
            "memory_efficient": True,
            "attention_as_float32": False,
            "layer_scale": None,
            "positional_embedding": "sin",
            "xpos": False,
            "norm": "layer_norm",
            "cross_attention": False,
            "qk_layer_norm": False,
            "qk_layer_norm_cross": False,
            "kv_repeat": 1,
            "two_step_cfg": False,
        },
    }


def lm_state(
    kind: Kind, dim: int, layers: int, codebooks: int, card: int, text_dim: int, ff_dim: int, seed: int
) -> dict[str, Tensor]:
    """An LM's weights in half precision, large enough for greedy choices to be clear."""
    numbers = np.random.RandomState(seed)
    books = 2 * codebooks if kind == "stereo" else codebooks
    crossing = kind != "melody"
    state: dict[str, Tensor] = {}

    def matrix(name: str, rows: int, columns: int) -> None:
        state[name] = torch.from_numpy(numbers.randn(rows, columns) * 1.5 * columns**-0.5).half()

    def norm(name: str) -> None:
        state[f"{name}.weight"] = torch.from_numpy(1 + 0.1 * numbers.randn(dim)).half()
        state[f"{name}.bias"] = torch.from_numpy(0.1 * numbers.randn(dim)).half()

    def bias(name: str) -> None:
        state[name] = torch.from_numpy(0.1 * numbers.randn(dim)).half()

    conditioners = "condition_provider.conditioners"
    if kind == "melody":
        matrix(f"{conditioners}.self_wav.output_proj.weight", dim, 12)
        bias(f"{conditioners}.self_wav.output_proj.bias")
        state[f"{conditioners}.self_wav.chroma.spec.window"] = torch.hann_window(1 << 14).half()
    matrix(f"{conditioners}.description.output_proj.weight", dim, text_dim)
    bias(f"{conditioners}.description.output_proj.bias")
    for book in range(books):
        matrix(f"emb.{book}.weight", card + 1, dim)
    for index in range(layers):
        layer = f"transformer.layers.{index}"
        matrix(f"{layer}.self_attn.in_proj_weight", 3 * dim, dim)
        matrix(f"{layer}.self_attn.out_proj.weight", dim, dim)
        matrix(f"{layer}.linear1.weight", ff_dim, dim)
        matrix(f"{layer}.linear2.weight", dim, ff_dim)
        norm(f"{layer}.norm1")
        norm(f"{layer}.norm2")
        if crossing:
            matrix(f"{layer}.cross_attention.in_proj_weight", 3 * dim, dim)
            matrix(f"{layer}.cross_attention.out_proj.weight", dim, dim)
            norm(f"{layer}.norm_cross")
    norm("out_norm")
    for book in range(books):
        matrix(f"linears.{book}.weight", card, dim)
    return state


def codec_settings(
    sample_rate: int, codebooks: int, card: int, *, filters: int = 4, dimension: int = 16, lstm: int = 1
) -> dict[str, Any]:
    """The configuration of a codec of 50 frames per second."""
    return {
        "device": "cuda",
        "solver": "compression",
        "sample_rate": sample_rate,
        "channels": 1,
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": "${sample_rate}",
            "channels": "${channels}",
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "dimension": dimension,
            "channels": "${channels}",
            "causal": "${encodec.causal}",
            "n_filters": filters,
            "n_residual_layers": 1,
            "ratios": [8, 5, 4, sample_rate // 8000],
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": "weight_norm",
            "norm_params": {},
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 7,
            "dilation_base": 2,
            "pad_mode": "constant",
            "true_skip": True,
            "compress": 2,
            "lstm": lstm,
            "disable_norm_outer_blocks": 0,
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
            "encoder": {},
        },
        "rvq": {"n_q": codebooks, "q_dropout": False, "bins": card, "decay": 0.99, "kmeans_init": True},
    }


def codec_state(config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """A codec's weights in single precision."""
    numbers = np.random.RandomState(seed + 1000)
    seanet, quantizer = config["seanet"], config["rvq"]
    filters, dimension, ratios = seanet["n_filters"], seanet["dimension"], seanet["ratios"]
    state: dict[str, Tensor] = {}

    def single(*shape: int) -> Tensor:
        return torch.from_numpy(numbers.randn(*shape)).float()

    def conv(name: str, out: int, into: int, kernel: int, transposed: bool = False) -> None:
        shape = (into, out, kernel) if transposed else (out, into, kernel)
        state[f"{name}.bias"] = 0.05 * single(out)
        state[f"{name}.weight_g"] = 1 + 0.1 * single(shape[0], 1, 1).abs()
        state[f"{name}.weight_v"] = single(*shape)

    def residual(part: str, index: int, width: int) -> None:
        inner = width // seanet["compress"]
        conv(f"{part}.model.{index}.block.1.conv.conv", inner, width, seanet["residual_kernel_size"])
        conv(f"{part}.model.{index}.block.3.conv.conv", width, inner, 1)

    def lstm(part: str, index: int, width: int) -> None:
        for layer in range(seanet["lstm"]):
            for kind, columns in (("weight_ih", width), ("weight_hh", width)):
                state[f"{part}.model.{index}.lstm.{kind}_l{layer}"] = single(4 * width, columns) * width**-0.5
            for kind in ("bias_ih", "bias_hh"):
                state[f"{part}.model.{index}.lstm.{kind}_l{layer}"] = 0.05 * single(4 * width)

    width, index = filters, 1
    conv("encoder.model.0.conv.conv", width, 1, seanet["kernel_size"])
    for ratio in reversed(ratios):
        residual("encoder", index, width)
        conv(f"encoder.model.{index + 2}.conv.conv", 2 * width, width, 2 * ratio)
        width, index = 2 * width, index + 3
    if seanet["lstm"]:
        lstm("encoder", index, width)
        index += 1
    conv(f"encoder.model.{index + 1}.conv.conv", dimension, width, seanet["last_kernel_size"])

    conv("decoder.model.0.conv.conv", width, dimension, seanet["kernel_size"])
    index = 1
    if seanet["lstm"]:
        lstm("decoder", index, width)
        index += 1
    for ratio in ratios:
        conv(f"decoder.model.{index + 1}.convtr.convtr", width // 2, width, 2 * ratio, transposed=True)
        width //= 2
        residual("decoder", index + 2, width)
        index += 3
    conv(f"decoder.model.{index + 1}.conv.conv", 1, width, seanet["last_kernel_size"])

    for book in range(quantizer["n_q"]):
        name = f"quantizer.vq.layers.{book}._codebook"
        state[f"{name}.inited"] = torch.ones(1)
        state[f"{name}.cluster_size"] = torch.ones(quantizer["bins"])
        state[f"{name}.embed"] = single(quantizer["bins"], dimension)
        state[f"{name}.embed_avg"] = state[f"{name}.embed"].clone()
    return state


def write_text_encoder(folder: Path, dim: int, seed: int) -> Path:
    """Write a T5 encoder of two layers in transformers' layout, with a tokenizer that knows a few words."""
    ensure_torchaudio()
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(WORDS) + 3,
        d_model=dim,
        d_kv=8,
        d_ff=2 * dim,
        num_layers=2,
        num_heads=4,
        is_encoder_decoder=False,
        use_cache=False,
    )
    numbers = np.random.RandomState(seed + 2000)
    make: Any = T5EncoderModel
    with torch.random.fork_rng(devices=[]):
        encoder = make(config)
    with torch.no_grad():
        for name, parameter in sorted(encoder.named_parameters()):
            scale = 0.1 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            drawn = torch.from_numpy(numbers.randn(*parameter.shape) * scale).float()
            parameter.copy_(1 + drawn if "layer_norm" in name else drawn)
    with quiet_transformers():
        encoder.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def change(config: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Set dotted keys of a configuration; None takes a key out."""
    for key, value in settings.items():
        *path, last = key.split(".")
        section = config
        for name in path:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(last, None)
        else:
            section[last] = value


@contextmanager
def omegaconf_nodes() -> Iterator[Any]:
    """A function that makes of plain values what OmegaConf's nodes are in a pickle, without OmegaConf.

    The classes are there, under OmegaConf's names, until the context is left: a pickle is written inside and read outside.
    """
    modules = {name: ModuleType(name) for name in ("omegaconf", "omegaconf.dictconfig", "omegaconf.listconfig")}
    modules |= {name: ModuleType(name) for name in ("omegaconf.nodes", "omegaconf.base")}
    made: dict[str, Any] = {}
    for full in (
        "dictconfig.DictConfig",
        "listconfig.ListConfig",
        "nodes.AnyNode",
        "base.ContainerMetadata",
        "base.Metadata",
    ):
        module, name = full.split(".")
        made[name] = type(name, (), {"__module__": f"omegaconf.{module}"})
        setattr(modules[f"omegaconf.{module}"], name, made[name])

    def node(value: Any, parent: Any = None) -> Any:
        kind = {dict: "DictConfig", list: "ListConfig"}.get(type(value), "AnyNode")
        new = made[kind]()
        metadata = made["Metadata" if kind == "AnyNode" else "ContainerMetadata"]()
        metadata.__dict__.update(ref_type=Any, object_type=type(value), optional=True, key=None, flags={})
        new.__dict__.update(_metadata=metadata, _parent=parent, _flags_cache=None)
        if kind == "DictConfig":
            new.__dict__["_content"] = {key: node(one, new) for key, one in value.items()}
        elif kind == "ListConfig":
            new.__dict__["_content"] = [node(one, new) for one in value]
        else:
            new.__dict__["_val"] = value
        return new

    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield node
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
