"""What both layouts of a checkpoint have in common: MusicGen's decoder under transformers' names, and a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.conditioning.text import MAX_TOKENS
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from engine.runtime.quantised import Form
from protocols.errors import ErrorCode, RequestError

PROJECTION = "enc_to_dec_proj"
"""Name of the layer that brings the text to the decoder's width."""
CHROMA_PROJECTION = "audio_enc_to_dec_proj"
"""Name of the layer that brings a melody model's chroma to the decoder's width."""
DECODER = "decoder.model.decoder"

_TOKENIZERS = ("tokenizer.json", "spiece.model")
_NORMS = {"self_norm": "self_attn_layer_norm", "ff_norm": "final_layer_norm"}
_CROSS_NORM = {"cross_norm": "encoder_attn_layer_norm"}


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, and no warnings about what is checked here anyway."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def malformed(folder: Path, reason: str) -> RequestError:
    """The refusal of a checkpoint that is damaged; ``reason`` says what an undamaged one has."""
    return RequestError(ErrorCode.MALFORMED, "model", str(folder), reason)


def first_line(error: Exception) -> str:
    """What an error of another library says, short enough for one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def check_decoder(decoder: Any, text: Any) -> None:
    """Refuse a decoder that the runtime would compute wrongly, and a text encoder that is not a T5.

    Args:
        decoder: transformers' ``MusicgenDecoderConfig`` or ``MusicgenMelodyDecoderConfig``.
        text: its text encoder's config.

    Raises:
        RequestError: ``unsupported``; names the key.
    """
    refuse_unless(
        {
            "text_encoder.model_type": (text.model_type, "t5"),
            "decoder.activation_function": (decoder.activation_function, "gelu"),
            "decoder.scale_embedding": (decoder.scale_embedding, False),
            "decoder.cross_attention_hidden_size": (getattr(decoder, "cross_attention_hidden_size", None), None),
            "decoder.num_codebooks": (
                decoder.num_codebooks,
                decoder.num_codebooks // decoder.audio_channels * decoder.audio_channels,
            ),
            "decoder.pad_token_id": (decoder.pad_token_id, decoder.vocab_size),
        }
    )


def check_counts(decoder: Any, text: Any, names: Iterable[str]) -> None:
    """Refuse configs that count other layers, codebooks or blocks than there are among the weights with these names.

    Raises:
        RequestError: ``malformed``; names the key.
    """
    names = list(names)
    for key, value, numbered in (
        ("decoder.num_codebooks", decoder.num_codebooks, f"{DECODER}.embed_tokens."),
        ("decoder.num_hidden_layers", decoder.num_hidden_layers, f"{DECODER}.layers."),
        ("text_encoder.num_layers", text.num_layers, "text_encoder.encoder.block."),
    ):
        found = len({name.removeprefix(numbered).split(".")[0] for name in names if name.startswith(numbered)})
        if value != found:
            raise RequestError(ErrorCode.MALFORMED, key, value, f"{found}, as the weights have")


def refuse_unless(wanted: dict[str, tuple[object, object]]) -> None:
    """Raise ``unsupported`` for the first key whose value is not the expected one beside it."""
    for key, (value, expected) in wanted.items():
        if value != expected:
            raise RequestError(ErrorCode.UNSUPPORTED, key, "null" if value is None else value, str(expected))


def lm_config(
    decoder: Any, text: Any, *, projection: bool, score_features: int = 0, chroma_frames: int = 0
) -> LMConfig:
    """The shape of our LM for these configs of transformers.

    A text that stands in a prefix has room beside the checkpoint's positions: these are computed, and both references count on.
    """
    return LMConfig(
        dim=decoder.hidden_size,
        layers=decoder.num_hidden_layers,
        heads=decoder.num_attention_heads,
        ff_dim=decoder.ffn_dim,
        pattern=DelayPattern.musicgen(decoder.num_codebooks, decoder.audio_channels),
        card=decoder.vocab_size,
        text_dim=text.hidden_size,
        text_projection=projection,
        max_positions=decoder.max_position_embeddings + (MAX_TOKENS if chroma_frames else 0),
        chroma_frames=chroma_frames,
        score_features=score_features,
    )


def fill_lm(lm: MusicgenLM, state: MutableMapping[str, Tensor], folder: Path, form: Form | None) -> None:
    """Copy the weights into ``lm`` and pack each matrix at once, in this form.

    What is copied leaves ``state``, so that a large model never stands in full twice.

    Raises:
        RequestError: ``malformed`` for a tensor that is missing or has another shape; names it.
    """
    with torch.no_grad():
        for target, sources in weight_sources(lm.config).items():
            slots = lm.get_parameter(target).chunk(len(sources))
            for slot, source in zip(slots, sources, strict=True):
                part = state.pop(source, None)
                if part is None:
                    raise malformed(folder, f"weights with {source}")
                if part.shape != slot.shape or not part.is_floating_point():
                    shapes = f"{list(slot.shape)}, not {list(part.shape)}"
                    raise malformed(folder, f"weights whose {source} is {shapes} of {part.dtype}")
                slot.copy_(part)
            del slots, slot, part
            if target.endswith(".weight"):
                lm.pack_matrix(target, form)


def weight_sources(config: LMConfig) -> dict[str, list[str]]:
    """Which of transformers' tensors make each of ours: equal parts, one on top of the other, where there are several."""
    sources = {
        "embeddings": [f"{DECODER}.embed_tokens.{k}.weight" for k in range(config.num_codebooks)],
        "heads.weight": [f"decoder.lm_heads.{k}.weight" for k in range(config.num_codebooks)],
        "final_norm.weight": [f"{DECODER}.layer_norm.weight"],
        "final_norm.bias": [f"{DECODER}.layer_norm.bias"],
    }
    if config.text_projection:
        sources |= {"text_weight": [f"{PROJECTION}.weight"], "text_bias": [f"{PROJECTION}.bias"]}
    if config.chroma_frames:
        sources |= {"chroma_weight": [f"{CHROMA_PROJECTION}.weight"], "chroma_bias": [f"{CHROMA_PROJECTION}.bias"]}
    if config.score_features:
        sources |= {"score_weight": ["score.weight"]}
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"{DECODER}.layers.{index}"
        sources |= {
            f"{ours}.self_qkv.weight": [f"{theirs}.self_attn.{part}_proj.weight" for part in "qkv"],
            f"{ours}.self_out.weight": [f"{theirs}.self_attn.out_proj.weight"],
            f"{ours}.ff_in.weight": [f"{theirs}.fc1.weight"],
            f"{ours}.ff_out.weight": [f"{theirs}.fc2.weight"],
        }
        if config.cross_attention:
            sources |= {
                f"{ours}.cross_q.weight": [f"{theirs}.encoder_attn.q_proj.weight"],
                f"{ours}.cross_kv.weight": [f"{theirs}.encoder_attn.{part}_proj.weight" for part in "kv"],
                f"{ours}.cross_out.weight": [f"{theirs}.encoder_attn.out_proj.weight"],
            }
        norms = _NORMS | _CROSS_NORM if config.cross_attention else _NORMS
        for norm, their_norm in norms.items():
            for part in ("weight", "bias"):
                sources[f"{ours}.{norm}.{part}"] = [f"{theirs}.{their_norm}.{part}"]
    return sources


def find_tokenizer(folder: Path) -> list[Path]:
    """The tokenizer's files.

    Raises:
        RequestError: there are none.
    """
    files = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    if not files:
        allowed = f"a folder with a tokenizer: {' or '.join(_TOKENIZERS)}"
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)
    return files


def load_tokenizer(folder: Path) -> Any:
    """Transformers' tokenizer of a checkpoint.

    Raises:
        RequestError: it does not load.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a damaged file surfaces as any of a dozen types, some of them of the libraries below
        raise malformed(folder, f"a tokenizer that loads: {first_line(error)}") from error
