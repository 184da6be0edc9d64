"""Models by their shape alone: random weights in our runtime and in transformers, so that speed needs no download."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.codec import Codec
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern

_CODEBOOKS = 4
_MAX_POSITIONS = 2048
_STD = 0.02


@dataclass(frozen=True)
class ModelShape:
    """What the speed of a model depends on.

    Attributes:
        dim, layers, heads: of the LM; its feed-forward layers are four times as wide.
        card: entries per codebook, of which there are four.
        text_dim: width of the text encoder.
        codec_filters, codec_dim, codec_lstm_layers: of EnCodec, mono, 32 kHz, 50 frames per second.
    """

    dim: int
    layers: int
    heads: int
    card: int = 2048
    text_dim: int = 768
    codec_filters: int = 64
    codec_dim: int = 128
    codec_lstm_layers: int = 2

    def lm_config(self) -> LMConfig:
        """As our runtime wants it."""
        return LMConfig(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            ff_dim=4 * self.dim,
            pattern=DelayPattern.musicgen(_CODEBOOKS, 1),
            card=self.card,
            text_dim=self.text_dim,
            text_projection=self.text_dim != self.dim,
            max_positions=_MAX_POSITIONS,
        )

    def codec_config(self) -> Any:
        """As transformers wants it (``EncodecConfig``)."""
        ensure_torchaudio()
        from transformers import EncodecConfig

        return EncodecConfig(
            sampling_rate=32_000,
            audio_channels=1,
            upsampling_ratios=[8, 5, 4, 4],
            target_bandwidths=[_CODEBOOKS * math.log2(self.card) * 50 / 1000],
            codebook_size=self.card,
            codebook_dim=self.codec_dim,
            hidden_size=self.codec_dim,
            num_filters=self.codec_filters,
            num_lstm_layers=self.codec_lstm_layers,
            use_causal_conv=False,
            normalize=False,
            chunk_length_s=None,
            overlap=None,
        )


SHAPES = {
    "pocket": ModelShape(
        dim=256, layers=6, heads=4, card=1024, text_dim=128, codec_filters=8, codec_dim=64, codec_lstm_layers=1
    ),
    "musicgen-small": ModelShape(dim=1024, layers=24, heads=16),
    "musicgen-medium": ModelShape(dim=1536, layers=48, heads=24),
    "musicgen-large": ModelShape(dim=2048, layers=48, heads=32),
}


def step_weights(config: LMConfig) -> int:
    """How many weights one step of the LM must read: all but the embeddings, of which it reads a row for each codebook, and what
    turns a text into keys and values, which is done once."""
    dim, ff_dim = config.dim, config.ff_dim
    attention = 4 * dim * dim + 2 * dim * dim
    layer = attention + 2 * dim * ff_dim + 6 * dim
    return config.layers * layer + config.num_codebooks * config.card * dim + 2 * dim


def all_weights(config: LMConfig) -> int:
    """How many weights the LM has."""
    text = config.text_dim * config.dim + config.dim if config.text_projection else 0
    embeddings = config.num_codebooks * (config.card + 1) * config.dim
    score = config.score_features * config.dim
    return step_weights(config) + config.layers * 2 * config.dim * config.dim + embeddings + text + score


def build_lm(shape: ModelShape, device: torch.device, dtype: torch.dtype) -> MusicgenLM:
    """Our LM, laid out for the machine as a loaded one is."""
    lm = MusicgenLM(shape.lm_config(), device=device, dtype=dtype)
    with torch.no_grad():
        for module in lm.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, nn.LayerNorm):
                    parameter.fill_(1.0 if name == "weight" else 0.0)
                else:
                    parameter.normal_(0.0, _STD)
    lm.pack()
    return lm


def build_codec(shape: ModelShape, device: torch.device) -> Codec:
    """Our codec; in single precision, as a loaded one is."""
    config = shape.codec_config()
    from transformers import EncodecModel

    model: Any = EncodecModel(config)
    return Codec(model.eval(), 1, device, torch.float32)


def build_peer(shape: ModelShape, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' ``MusicgenForConditionalGeneration`` of the same shape, with a text encoder of one layer: it runs once per
    text and not per step."""
    codec = shape.codec_config()
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config

    text = T5Config(
        vocab_size=1000,
        d_model=shape.text_dim,
        d_kv=32,
        d_ff=shape.text_dim,
        num_layers=1,
        num_heads=4,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=shape.card,
        hidden_size=shape.dim,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_dim=4 * shape.dim,
        num_codebooks=_CODEBOOKS,
        pad_token_id=shape.card,
        bos_token_id=shape.card,
        max_position_embeddings=_MAX_POSITIONS,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model: Any = MusicgenForConditionalGeneration(
                MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
            )
    finally:
        torch.set_default_dtype(usual)
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, shape.card)
    # The codec runs in single precision on both sides.
    model.audio_encoder.float()
    return model.eval()
