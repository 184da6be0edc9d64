"""The reference data: AudioCraft's results, and its checkpoints, written again in transformers layout with both tables of names."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.runtime.session import Melody

FRAMES = 60
"""Length of what was generated within a window."""


class Golden:
    """One recorded model, the data recorded from it, and its conditions."""

    def __init__(self, golden: Path, model: str, folder: Path) -> None:
        self.bundle: ModelBundle = load_model(str(convert(golden, model, folder)), device="cpu")
        self.facts: dict[str, Any] = json.loads((golden / f"{model}.json").read_text())
        self._arrays = arrays(golden / f"{model}.npz")
        self.null = self.bundle.lm.condition(None)
        self.first, self.second = (self.condition(text) for text in self.facts["texts"][:2])
        self.second_padded = self.condition(self.facts["texts"][1], padded=True)

    def __getitem__(self, name: str) -> Tensor:
        return self._arrays[name]

    def condition(self, text: str | None, melody: Melody | None = None, *, padded: bool = False) -> Condition:
        """What the model hears of a text and a melody.

        With ``padded`` it is what AudioCraft's batch makes of it beside the first text, which is longer: its cross-attention has
        no mask, so that the shorter text also looks at the projected padding, which is zeros.
        """
        lm, encoded = self.bundle.lm, self.bundle.text.encode(text)
        longest = len(self.bundle.text.encode(self.facts["texts"][0]).hidden)
        missing = longest - len(encoded.hidden) if padded else 0
        if not lm.config.cross_attention:
            hidden, mask = F.pad(encoded.hidden, (0, 0, 0, missing)), F.pad(encoded.mask, (0, missing))
            return lm.condition(hidden, mask, melody=melody)
        heard = lm.condition(encoded.hidden, encoded.mask)
        return Condition(F.pad(heard.keys_values, (0, 0, 0, missing))) if padded else heard

    def generate(
        self,
        conditions: list[Condition],
        frames: int = FRAMES,
        prompt: Tensor | None = None,
        seed: int = 7,
        stride: int | None = None,
        **settings: Any,
    ) -> Tensor:
        sampler = FrameSampler(
            self.bundle.lm,
            conditions,
            SamplingSettings(**({"temperature": 0.0} | settings)),
            total_frames=frames,
            prompt=prompt,
            window_frames=self.bundle.window_frames,
            stride_frames=self.bundle.stride_frames if stride is None else stride,
            seed=seed,
            prefill_chunk=16,
        )
        made = [] if prompt is None else [prompt]
        while not sampler.done:
            if (completed := sampler.advance()) is not None:
                made.append(completed)
        return torch.cat(made, dim=2)

    def decode(self, codes: Tensor) -> Tensor:
        """``[batch, codebooks, frames]`` to ``[batch, channels, samples]``."""
        return torch.stack([self.bundle.codec.decode(row) for row in codes])

    def encode(self, audio: Tensor) -> Tensor:
        """``[batch, channels, samples]`` to ``[batch, codebooks, frames]``."""
        return torch.stack([self.bundle.codec.encode(row) for row in audio])


def arrays(path: Path) -> dict[str, Tensor]:
    """The content of an npz file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def convert(golden: Path, model: str, folder: Path) -> Path:
    """Write ``golden/model`` as a transformers checkpoint into ``folder``."""
    ensure_torchaudio()
    from transformers import (
        AutoConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        MusicgenMelodyConfig,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForConditionalGeneration,
    )

    lm, lm_settings = _read(golden / model / "state_dict.bin")
    codec, codec_settings = _read(golden / model / "compression_state_dict.bin")
    facts = json.loads((golden / f"{model}.json").read_text())
    transformer = lm_settings["transformer_lm"]
    card = transformer["card"]
    chroma = lm_settings["conditioners"].get("self_wav", {}).get("chroma_stem")
    decoder_config: Any = MusicgenDecoderConfig if chroma is None else MusicgenMelodyDecoderConfig
    decoder = decoder_config(
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
    parts = {"text_encoder": text, "audio_encoder": _codec_config(codec_settings), "decoder": decoder}
    built: Any
    if chroma is None:
        built = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    else:
        size = 2 ** chroma["radix2_exp"]
        settings = {"n_fft": size, "hop_length": size // 4, "sampling_rate": facts["sample_rate"]}
        folder.joinpath("preprocessor_config.json").write_text(json.dumps(settings))
        samples = lm_settings["dataset"]["segment_duration"] * facts["sample_rate"]
        config = MusicgenMelodyConfig(**parts, chroma_length=1 + samples // settings["hop_length"])
        built = MusicgenMelodyForConditionalGeneration(config)
        _load(built.audio_enc_to_dec_proj, _below(lm, "condition_provider.conditioners.self_wav.output_proj."))
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
