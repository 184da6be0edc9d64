"""Checkpoints in transformers layout with a few thousand random weights, for any shape a test asks for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints.torchaudio_guard import ensure_torchaudio

WORDS = ("happy", "sad", "rock", "techno", "piano", "guitar", "drums", "and", "with", "a", "song", "slow", "fast")
TEXTS = ("a happy rock song with guitar", "sad piano")


def write_tiny_checkpoint(
    folder: Path,
    *,
    dim: int = 48,
    text_dim: int = 32,
    layers: int = 3,
    heads: int = 4,
    codebooks: int = 4,
    channels: int = 1,
    card: int = 64,
    max_positions: int = 256,
    chroma_length: int = 0,
    seed: int = 1,
    max_shard_size: str = "1GB",
) -> Path:
    """Write a ``MusicgenForConditionalGeneration`` whose logits differ enough for greedy choices to be clear.

    With a ``chroma_length`` it is a ``MusicgenMelodyForConditionalGeneration``, with the settings of its feature extractor.
    """
    ensure_torchaudio()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(dim, text_dim, layers, heads, codebooks, channels, card, max_positions, chroma_length)
    if chroma_length:
        from transformers import MusicgenMelodyFeatureExtractor

        extractor: Any = MusicgenMelodyFeatureExtractor
        extractor().save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    build_tokenizer().save_pretrained(folder)
    return folder


def build_model(
    dim: int,
    text_dim: int,
    layers: int,
    heads: int,
    codebooks: int,
    channels: int,
    card: int,
    max_positions: int,
    chroma_length: int = 0,
) -> Any:
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        MusicgenMelodyConfig,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForConditionalGeneration,
        T5Config,
    )

    text = T5Config(
        vocab_size=len(WORDS) + 3,
        d_model=text_dim,
        d_kv=8,
        d_ff=2 * text_dim,
        num_layers=2,
        num_heads=4,
        is_encoder_decoder=False,
        use_cache=False,
    )
    codec = EncodecConfig(
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[codebooks // channels * math.log2(card) * 50 / 1000],
        codebook_size=card,
        hidden_size=16,
        num_filters=4,
        num_lstm_layers=1,
        use_causal_conv=False,
    )
    decoder_config: Any = MusicgenMelodyDecoderConfig if chroma_length else MusicgenDecoderConfig
    decoder = decoder_config(
        vocab_size=card,
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * dim,
        num_codebooks=codebooks,
        audio_channels=channels,
        pad_token_id=card,
        bos_token_id=card,
        max_position_embeddings=max_positions,
    )
    model: Any
    if chroma_length:
        config = MusicgenMelodyConfig(
            text_encoder=text, audio_encoder=codec, decoder=decoder, chroma_length=chroma_length
        )
        model = MusicgenMelodyForConditionalGeneration(config)
    else:
        model = MusicgenForConditionalGeneration(
            MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and not name.startswith("audio_encoder"):
                parameter.normal_(0, 1.5 * parameter.shape[-1] ** -0.5)
            elif name.startswith(("decoder", "enc_to_dec_proj", "audio_enc_to_dec_proj")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, card)
    return model.eval()


def build_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=10_000
    )
