"""The reference data's AudioCraft checkpoints, written again in transformers layout with the table of names of both."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from engine.checkpoints.torchaudio_guard import ensure_torchaudio


def convert(golden: Path, model: str, folder: Path) -> Path:
    """Write ``golden/model`` as a transformers checkpoint into ``folder``."""
    ensure_torchaudio()
    from transformers import AutoConfig, MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration

    lm, lm_settings = _read(golden / model / "state_dict.bin")
    codec, codec_settings = _read(golden / model / "compression_state_dict.bin")
    facts = json.loads((golden / f"{model}.json").read_text())
    transformer = lm_settings["transformer_lm"]
    card = transformer["card"]
    decoder = MusicgenDecoderConfig(
        vocab_size=card,
        hidden_size=transformer["dim"],
        num_hidden_layers=transformer["num_layers"],
        num_attention_heads=transformer["num_heads"],
        ffn_dim=transformer["hidden_scale"] * transformer["dim"],
        num_codebooks=transformer["n_q"],
        audio_channels=facts["channels"],
        pad_token_id=card,
        bos_token_id=card,
    )
    text = AutoConfig.from_pretrained(golden / "t5-tiny")
    config = MusicgenConfig(text_encoder=text, audio_encoder=_codec_config(codec_settings), decoder=decoder)
    built = MusicgenForConditionalGeneration(config)
    built.text_encoder = built.text_encoder.from_pretrained(golden / "t5-tiny")
    _load(built.decoder, _decoder_state(lm))
    _load(built.audio_encoder, _codec_state(codec))
    _load(built.enc_to_dec_proj, _below(lm, "condition_provider.conditioners.description.output_proj."))
    built.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(golden / "t5-tiny" / file, folder / file)
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    raw["daw_bridge"] = {"window_seconds": facts["max_duration_used"], "stride_seconds": 1.2}
    path.write_text(json.dumps(raw))
    return folder


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    package = torch.load(path, weights_only=True)
    state = {name: tensor.float() for name, tensor in package["best_state"].items()}
    settings: dict[str, Any] = yaml.safe_load(package["xp.cfg"])
    return state, settings


def _load(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert not missing, missing


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _decoder_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        r"emb\.": "model.decoder.embed_tokens.",
        r"linears\.": "lm_heads.",
        r"out_norm\.": "model.decoder.layer_norm.",
        r"transformer\.layers\.": "model.decoder.layers.",
        r"cross_attention\.": "encoder_attn.",
        r"norm1\.": "self_attn_layer_norm.",
        r"norm_cross\.": "encoder_attn_layer_norm.",
        r"norm2\.": "final_layer_norm.",
        r"linear([12])\.": r"fc\1.",
    }
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("condition_provider."):
            continue
        for theirs, ours in names.items():
            name = re.sub(rf"(?:^|(?<=\.)){theirs}", ours, name)
        if name.endswith("in_proj_weight"):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                converted[name.replace("in_proj_weight", f"{part}_proj.weight")] = rows
        else:
            converted[name] = tensor
    return converted


def _codec_config(settings: dict[str, Any]) -> Any:
    from transformers import EncodecConfig

    seanet, quantizer = settings["seanet"], settings["rvq"]
    sample_rate = settings["sample_rate"]
    frames_per_second = sample_rate / math.prod(seanet["ratios"])
    return EncodecConfig(
        sampling_rate=sample_rate,
        audio_channels=1,
        target_bandwidths=[quantizer["n_q"] * math.log2(quantizer["bins"]) * frames_per_second / 1000],
        hidden_size=seanet["dimension"],
        num_filters=seanet["n_filters"],
        num_residual_layers=seanet["n_residual_layers"],
        upsampling_ratios=seanet["ratios"],
        norm_type=seanet["norm"],
        kernel_size=seanet["kernel_size"],
        last_kernel_size=seanet["last_kernel_size"],
        residual_kernel_size=seanet["residual_kernel_size"],
        dilation_growth_rate=seanet["dilation_base"],
        use_causal_conv=settings["encodec"]["causal"],
        pad_mode=seanet["pad_mode"],
        compress=seanet["compress"],
        num_lstm_layers=seanet["lstm"],
        codebook_size=quantizer["bins"],
        use_conv_shortcut=not seanet["true_skip"],
    )


def _codec_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        r"^(encoder|decoder)\.model\.": r"\1.layers.",
        r"\.(conv|convtr)\.\1\.": ".conv.",
        r"weight_g$": "parametrizations.weight.original0",
        r"weight_v$": "parametrizations.weight.original1",
        r"^quantizer\.vq\.layers\.(\d+)\._codebook\.": r"quantizer.layers.\1.codebook.",
    }
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, ours in names.items():
            name = re.sub(theirs, ours, name)
        converted[name] = tensor
    return converted
