"""A trained LM on disk, with the names of transformers' ``MusicgenForConditionalGeneration`` and the score's weight beside them.

``config.json``
    ``text_encoder`` and ``decoder`` as transformers' ``MusicgenConfig`` has them, and the section ``daw_bridge`` with the form
    of the score.
``model.safetensors``
    ``decoder.*``, ``text_encoder.*``, ``enc_to_dec_proj.*`` and ``score.weight`` ``[dim, features]``.
``tokenizer.json``, ``tokenizer_config.json``
    The tokenizer.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.conditioning.score import FORM
from engine.training.lm.words import WORD_MARK
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.training.lm.network import TrainableLM

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

_BLOCK_PARTS = {
    "self_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "ff_norm": "final_layer_norm",
    "self_out": "self_attn.out_proj",
    "cross_q": "encoder_attn.q_proj",
    "cross_out": "encoder_attn.out_proj",
    "ff_in": "fc1",
    "ff_out": "fc2",
}
_STACKED = {
    "self_qkv": tuple(f"self_attn.{part}_proj" for part in "qkv"),
    "cross_kv": tuple(f"encoder_attn.{part}_proj" for part in "kv"),
}
_DECODER = "decoder.model.decoder"


def export_lm(model: TrainableLM, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a folder as described above; files of before are replaced one by one, each at once.

    Args:
        model: with the weights to write.
        tokenizer: of its words.
        folder: made when it is not there.
        dtype: float32 or float16.
    """
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in their_names(model).items()}
        save_file(state, work / WEIGHTS_FILE, metadata={"format": "pt"})
        tokenizer.save_pretrained(work)
        (work / CONFIG_FILE).write_text(json.dumps(describe(model), indent=2) + "\n", encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(work.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def describe(model: TrainableLM) -> dict[str, Any]:
    """The content of config.json."""
    block: Any = model.blocks[0]
    decoder = {
        "model_type": "musicgen_decoder",
        "vocab_size": model.card,
        "hidden_size": model.final_norm.normalized_shape[0],
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.heads,
        "ffn_dim": block.ff_in.out_features,
        "num_codebooks": model.codebooks,
        "audio_channels": 1,
        "activation_function": "gelu",
        "scale_embedding": False,
        "pad_token_id": model.card,
        "bos_token_id": model.card,
        "max_position_embeddings": len(model.positions),
    }
    text = {key: value for key, value in model.text_encoder.config.to_dict().items() if value is not None}
    return {
        "model_type": "musicgen",
        "text_encoder": text,
        "decoder": decoder,
        "daw_bridge": {"score_form": FORM},
    }


def their_names(model: TrainableLM) -> dict[str, Tensor]:
    """The weights under transformers' names."""
    state = {f"text_encoder.{name}": tensor for name, tensor in model.text_encoder.state_dict().items()}
    # The same tensor under two names: safetensors keeps it once, and transformers ties it again.
    state.pop("text_encoder.encoder.embed_tokens.weight", None)
    state |= {
        "enc_to_dec_proj.weight": model.text_projection.weight,
        "enc_to_dec_proj.bias": model.text_projection.bias,
        "score.weight": model.score.weight,
        f"{_DECODER}.layer_norm.weight": model.final_norm.weight,
        f"{_DECODER}.layer_norm.bias": model.final_norm.bias,
    }
    for index in range(model.codebooks):
        rows = slice(index * (model.card + 1), (index + 1) * (model.card + 1))
        state[f"{_DECODER}.embed_tokens.{index}.weight"] = model.embeddings.weight[rows]
        rows = slice(index * model.card, (index + 1) * model.card)
        state[f"decoder.lm_heads.{index}.weight"] = model.heads.weight[rows]
    for index, block in enumerate(model.blocks):
        for name, tensor in block.state_dict().items():
            part, kind = name.rsplit(".", 1)
            prefix = f"{_DECODER}.layers.{index}"
            if part in _STACKED:
                pieces = tensor.chunk(len(_STACKED[part]))
                state |= {
                    f"{prefix}.{theirs}.{kind}": piece for theirs, piece in zip(_STACKED[part], pieces, strict=True)
                }
            else:
                state[f"{prefix}.{_BLOCK_PARTS[part]}.{kind}"] = tensor
    return state


def our_names(state: Mapping[str, Tensor], codebooks: int, layers: int) -> dict[str, Tensor]:
    """The reverse of `their_names`.

    Raises:
        KeyError: a tensor is missing.
    """
    ours = {name: tensor for name, tensor in state.items() if name.startswith("text_encoder.")}
    shared = ours["text_encoder.shared.weight"]
    ours["text_encoder.encoder.embed_tokens.weight"] = shared
    ours |= {
        "text_projection.weight": state["enc_to_dec_proj.weight"],
        "text_projection.bias": state["enc_to_dec_proj.bias"],
        "score.weight": state["score.weight"],
        "final_norm.weight": state[f"{_DECODER}.layer_norm.weight"],
        "final_norm.bias": state[f"{_DECODER}.layer_norm.bias"],
        "embeddings.weight": torch.cat([state[f"{_DECODER}.embed_tokens.{k}.weight"] for k in range(codebooks)]),
        "heads.weight": torch.cat([state[f"decoder.lm_heads.{k}.weight"] for k in range(codebooks)]),
    }
    for index in range(layers):
        theirs, mine = f"{_DECODER}.layers.{index}", f"blocks.{index}"
        for part, name in _BLOCK_PARTS.items():
            for kind in ("weight", "bias") if part.endswith("norm") else ("weight",):
                ours[f"{mine}.{part}.{kind}"] = state[f"{theirs}.{name}.{kind}"]
        for part, names in _STACKED.items():
            ours[f"{mine}.{part}.weight"] = torch.cat([state[f"{theirs}.{name}.weight"] for name in names])
    return ours


def load_exported(folder: Path, shape: Mapping[str, int]) -> tuple[list[str], dict[str, Tensor]]:
    """The words of an exported model and its weights under our names, in float32.

    Args:
        folder: that `export_lm`, or the export of a whole model, wrote.
        shape: `LMTraining.shape` of the training that begins with it.

    Raises:
        RequestError: ``not_found`` for missing files, ``malformed`` for damaged ones, ``not_allowed`` for another shape.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "from", str(folder), f"a folder with {name}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        vocabulary = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))["model"]["vocab"]
        words = [token.removeprefix(WORD_MARK) for token, _ in vocabulary if token.startswith(WORD_MARK)]
        decoder, text = config["decoder"], config["text_encoder"]
        held = {
            "dim": decoder["hidden_size"],
            "layers": decoder["num_hidden_layers"],
            "heads": decoder["num_attention_heads"],
            "ff_dim": decoder["ffn_dim"],
            "text_dim": text["d_model"],
            "text_layers": text["num_layers"],
        }
        for name, value in held.items():
            if shape[name] != value:
                raise RequestError(ErrorCode.NOT_ALLOWED, name, shape[name], f"{value}, as {folder.name} has")
        state = our_names(load_file(folder / WEIGHTS_FILE), decoder["num_codebooks"], decoder["num_hidden_layers"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(ErrorCode.MALFORMED, "from", str(folder), f"a model that loads: {error}") from error
    return words, {name: tensor.float() for name, tensor in state.items()}
