"""Checkpoints as transformers saves a ``MusicgenForConditionalGeneration``: config.json, weights and tokenizer in one folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.bundle import (
    STRIDE_SECONDS,
    WINDOW_SECONDS,
    ModelBundle,
    fingerprint_of,
    window_in_frames,
)
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.text import TextConditioner
from engine.runtime.codec import Codec
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from protocols.errors import ErrorCode, RequestError

SECTION = "daw_bridge"
"""The key of config.json under which a checkpoint says what transformers has no words for; see `OwnSection`."""

_TOKENIZERS = ("tokenizer.json", "spiece.model")
_DOWNLOADED = ["*.json", "spiece.model", "model*.safetensors"]


@dataclass(frozen=True)
class OwnSection:
    """What a checkpoint may say in its ``daw_bridge`` section.

    Attributes:
        trained: False for random weights.
        window_seconds: what the LM was trained on.
        stride_seconds: by how much the window moves when a stream is longer.
    """

    trained: bool = True
    window_seconds: Fraction = Fraction(WINDOW_SECONDS)
    stride_seconds: Fraction = Fraction(STRIDE_SECONDS)

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> OwnSection:
        """Read it from a whole config.json; everything in it is optional.

        Raises:
            RequestError: a value of the wrong kind.
        """
        section = config.get(SECTION, {})
        if not isinstance(section, dict):
            raise RequestError(ErrorCode.MALFORMED, SECTION, section, "an object")
        trained = section.get("trained", True)
        if not isinstance(trained, bool):
            raise RequestError(ErrorCode.MALFORMED, f"{SECTION}.trained", trained, "true or false")
        seconds: dict[str, Fraction] = {}
        for key in ("window_seconds", "stride_seconds"):
            if key not in section:
                continue
            value = section[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise RequestError(ErrorCode.MALFORMED, f"{SECTION}.{key}", value, "seconds above 0")
            seconds[key] = Fraction(str(value))
        return cls(trained=trained, **seconds)


def download(hub_id: str) -> Path:
    """The folder of a hub model in the Hugging Face cache, fetched if it is not there or has changed.

    Raises:
        RequestError: it cannot be fetched and has not been fetched before.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_DOWNLOADED))
        if not list(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(hub_id, allow_patterns=[*_DOWNLOADED, "pytorch_model*.bin"]))
    except GatedRepoError as error:
        advice = f"accept the licence at https://huggingface.co/{hub_id} and log in with: hf auth login"
        raise RequestError(ErrorCode.NOT_ALLOWED, "model", hub_id, advice) from error
    except RepositoryNotFoundError as error:
        raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", hub_id, "a model that is on the hub") from error
    except Exception as error:  # the hub's client lets through whatever its HTTP library, proxy or file system raises
        advice = (
            "it could not be downloaded: check the network, or run `hf download "
            f"{hub_id}` on a machine that has one and give the folder's path"
        )
        raise RequestError(ErrorCode.NOT_FOUND, "model", hub_id, advice) from error
    return folder


def load_folder(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> ModelBundle:
    """Load a checkpoint folder.

    Args:
        folder: with config.json, ``model*.safetensors`` or ``pytorch_model*.bin`` (in one piece or sharded), and a tokenizer.
        name: of the bundle.
        device: for all parts.
        dtype: of the LM; the codec and the text encoder run in single precision.

    Raises:
        RequestError: a missing or damaged file, or a model of another kind; the text names the file or the key.
    """
    raw = _read_config(folder)
    section = OwnSection.read(raw)
    weights, tokenizer_files = _find_files(folder)

    ensure_torchaudio()
    model = _load_model(folder)
    config = model.config
    _check_parts(config)
    tokenizer = _load_tokenizer(folder)

    lm = _build_lm(model, device, dtype)
    encodec = model.audio_encoder.float().eval().requires_grad_(False)
    encoder = model.text_encoder.float().to(device).eval().requires_grad_(False)
    del model
    parameters = sum(parameter.numel() for part in (lm, encodec, encoder) for parameter in part.parameters())
    lm.pack()

    # Single precision on every device: the codec costs little beside the LM, and codes of a prompt turn on rounding errors.
    codec = Codec(encodec, config.decoder.audio_channels, device, torch.float32)
    longest = lm.config.max_positions - max(lm.config.delays)
    window, stride = window_in_frames(codec.frame_rate, longest, section.window_seconds, section.stride_seconds)
    return ModelBundle(
        name=name,
        trained=section.trained,
        fingerprint=fingerprint_of([folder / "config.json", *weights, *tokenizer_files]),
        lm=lm,
        codec=codec,
        text=TextConditioner(tokenizer, encoder, device),
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        num_codebooks=lm.config.num_codebooks,
        card=lm.config.card,
        delays=lm.config.delays,
        frame_rate=codec.frame_rate,
        hop_length=codec.hop_length,
        window_frames=window,
        stride_frames=stride,
        device=device,
        dtype=dtype,
        parameters=parameters,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise RequestError(
            ErrorCode.NOT_FOUND, "model", str(folder), "a folder in transformers layout, with config.json"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = f"a folder whose config.json is readable JSON: {error}"
        raise RequestError(ErrorCode.MALFORMED, "model", str(folder), reason) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or kind != "musicgen":
        raise RequestError(
            ErrorCode.UNSUPPORTED, "model_type", kind or "none", f"musicgen, in the config.json of {folder.name}"
        )
    return config


def _find_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The weights and the tokenizer's files, checked for being there at all."""
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        allowed = "a folder with weights: model*.safetensors or pytorch_model*.bin"
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)
    tokenizer = [folder / file for file in _TOKENIZERS if (folder / file).is_file()]
    if not tokenizer:
        allowed = f"a folder with a tokenizer: {' or '.join(_TOKENIZERS)}"
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)
    return weights, tokenizer


def _load_model(folder: Path) -> Any:
    from transformers import MusicgenForConditionalGeneration

    load: Any = MusicgenForConditionalGeneration.from_pretrained

    try:
        with quiet_transformers():
            model, report = load(folder, local_files_only=True, dtype="auto", output_loading_info=True)
    except Exception as error:  # a damaged file surfaces as any of a dozen types, some of them of the libraries below
        reason = f"weights that load: {_first_line(error)}"
        raise RequestError(ErrorCode.MALFORMED, "model", str(folder), reason) from error
    # transformers fills what a checkpoint lacks with random numbers; that would be heard as a bad model.
    absent = sorted(str(key) for key in report["missing_keys"])
    absent += sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise RequestError(ErrorCode.MALFORMED, "model", str(folder), f"weights with {absent[0]}{more}")
    return model


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


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as with the weights
        reason = f"a tokenizer that loads: {_first_line(error)}"
        raise RequestError(ErrorCode.MALFORMED, "model", str(folder), reason) from error


def _check_parts(config: Any) -> None:
    """Refuse what the runtime would compute wrongly."""
    decoder, codec, text = config.decoder, config.audio_encoder, config.text_encoder
    per_channel = decoder.num_codebooks // decoder.audio_channels
    wanted = {
        "text_encoder.model_type": (text.model_type, "t5"),
        "audio_encoder.model_type": (codec.model_type, "encodec"),
        "decoder.activation_function": (decoder.activation_function, "gelu"),
        "decoder.cross_attention_hidden_size": (decoder.cross_attention_hidden_size, None),
        "decoder.num_codebooks": (decoder.num_codebooks, per_channel * decoder.audio_channels),
        "decoder.pad_token_id": (decoder.pad_token_id, decoder.vocab_size),
    }
    if codec.model_type == "encodec":
        wanted |= {
            "audio_encoder.audio_channels": (codec.audio_channels, 1),
            "audio_encoder.codebook_size": (codec.codebook_size, decoder.vocab_size),
            "audio_encoder.num_quantizers": (codec.num_quantizers, per_channel),
        }
    for key, (value, expected) in wanted.items():
        if value != expected:
            raise RequestError(ErrorCode.UNSUPPORTED, key, "null" if value is None else value, str(expected))


def _build_lm(model: Any, device: torch.device, dtype: torch.dtype) -> MusicgenLM:
    """Our LM with the weights of transformers' decoder, which is taken apart on the way so that both never stand in full."""
    decoder = model.config.decoder
    projection = getattr(model, "enc_to_dec_proj", None)
    config = LMConfig(
        dim=decoder.hidden_size,
        layers=decoder.num_hidden_layers,
        heads=decoder.num_attention_heads,
        ff_dim=decoder.ffn_dim,
        delays=DelayPattern.musicgen(decoder.num_codebooks, decoder.audio_channels).delays,
        card=decoder.vocab_size,
        text_dim=model.config.text_encoder.hidden_size,
        text_projection=projection is not None,
        max_positions=decoder.max_position_embeddings,
    )
    state = dict(model.decoder.state_dict())
    if projection is not None:
        state |= {"text_weight": projection.weight, "text_bias": projection.bias}
    del model.decoder
    lm = MusicgenLM(config, device=device, dtype=dtype)
    with torch.no_grad():
        for target, sources in weight_sources(config).items():
            _assemble(lm.get_parameter(target), [state.pop(source) for source in sources])
    return lm


def weight_sources(config: LMConfig) -> dict[str, list[str]]:
    """Which of the transformers decoder's tensors make each of ours: one on top of the other, where there are several."""
    sources = {
        "embeddings": [f"model.decoder.embed_tokens.{k}.weight" for k in range(config.num_codebooks)],
        "heads.weight": [f"lm_heads.{k}.weight" for k in range(config.num_codebooks)],
        "final_norm.weight": ["model.decoder.layer_norm.weight"],
        "final_norm.bias": ["model.decoder.layer_norm.bias"],
    }
    if config.text_projection:
        sources |= {"text_weight": ["text_weight"], "text_bias": ["text_bias"]}
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"model.decoder.layers.{index}"
        sources |= {
            f"{ours}.self_qkv.weight": [f"{theirs}.self_attn.{part}_proj.weight" for part in "qkv"],
            f"{ours}.self_out.weight": [f"{theirs}.self_attn.out_proj.weight"],
            f"{ours}.cross_q.weight": [f"{theirs}.encoder_attn.q_proj.weight"],
            f"{ours}.cross_kv.weight": [f"{theirs}.encoder_attn.{part}_proj.weight" for part in "kv"],
            f"{ours}.cross_out.weight": [f"{theirs}.encoder_attn.out_proj.weight"],
            f"{ours}.ff_in.weight": [f"{theirs}.fc1.weight"],
            f"{ours}.ff_out.weight": [f"{theirs}.fc2.weight"],
        }
        norms = {
            "self_norm": "self_attn_layer_norm",
            "cross_norm": "encoder_attn_layer_norm",
            "ff_norm": "final_layer_norm",
        }
        for norm, their_norm in norms.items():
            for part in ("weight", "bias"):
                sources[f"{ours}.{norm}.{part}"] = [f"{theirs}.{their_norm}.{part}"]
    return sources


def _assemble(target: Tensor, parts: list[Tensor]) -> None:
    slots = torch.split(target, [len(part) for part in parts])
    for slot, part in zip(slots, parts, strict=True):
        slot.copy_(part)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
