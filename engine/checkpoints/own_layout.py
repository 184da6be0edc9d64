"""Checkpoints of our own models: MusicGen's decoder, its text encoder and a spectral codec, with a score beside the words.

A folder of these files:

``config.json``
    ``"model_type": "musicgen"``, ``text_encoder`` and ``decoder`` as transformers' ``MusicgenConfig`` has them, and the section
    ``daw_bridge``; see `OwnSection`.
``model.safetensors``
    The weights under transformers' names, ``decoder.*``, ``text_encoder.*`` and ``enc_to_dec_proj.*``, in any precision. A model
    that hears a score has ``score.weight`` ``[dim, features]`` too.
``tokenizer.json``, ``tokenizer_config.json``
    The tokenizer.
the folder that ``daw_bridge.codec`` names
    The codec; see `engine.runtime.spectral_codec`.

Weights are taken from the file by their names; no model of transformers' stands beside ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.bundle import ModelBundle, fingerprint_of, window_in_frames
from engine.checkpoints.devices import Precision
from engine.checkpoints.own_shapes import DecoderShape, read_decoder, read_text_encoder
from engine.checkpoints.parts import (
    DECODER,
    PROJECTION,
    check_counts,
    check_decoder,
    fill_lm,
    find_tokenizer,
    first_line,
    lm_config,
    load_tokenizer,
    malformed,
    refuse_unless,
)
from engine.checkpoints.running import settled
from engine.checkpoints.section import CONFIG_FILE, MUSICGEN, SECTION, OwnSection
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.score import FEATURES, FORM
from engine.conditioning.t5 import T5Encoder, T5Shape, WordsFile
from engine.conditioning.text import TextConditioner
from engine.runtime import spectral_codec
from engine.runtime.lm import MusicgenLM
from engine.runtime.spectral_codec import SpectralCodec, load_spectral_network
from protocols.errors import ErrorCode, RequestError

WEIGHTS_FILE = "model.safetensors"

_TEXT = "text_encoder."
_SCORE = "score.weight"
_PLAIN_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes of transformers that add nothing to the file."""
_MOST_POSITIONS = 1 << 16


def load_folder(
    folder: Path,
    config: Mapping[str, Any],
    section: OwnSection,
    name: str,
    device: torch.device,
    precision: Precision,
) -> ModelBundle:
    """Load a checkpoint folder.

    Args:
        folder: as described above.
        config: the content of its config.json.
        section: read from it; with a ``codec``.
        name: of the bundle.
        device: for all parts.
        precision: of the LM; the codec and the text encoder run in single precision.

    Raises:
        RequestError: a missing or damaged file, or parts that do not fit each other; the text names the file or the key.
    """
    refuse_unless({"model_type": (config.get("model_type"), MUSICGEN)})
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), f"a folder with {WEIGHTS_FILE}")
    tokenizer_files = find_tokenizer(folder)
    codec_folder = _codec_folder(folder, section)

    state = _read_weights(folder)
    decoder, text = _configs(config, state)
    features = _score_features(section, state)
    codec, codec_parameters = _load_codec(codec_folder, decoder, device)
    tokenizer = _load_words(folder)
    encoder = _build_encoder(text, state, folder).to(device)
    lm, precision = _build_lm(decoder, text, features, state, folder, device, precision)
    if state:
        raise malformed(folder, f"weights without {min(state)}")
    parameters = codec_parameters + lm.size + sum(p.numel() for p in encoder.parameters())

    longest = lm.pattern.most_frames(lm.config.max_positions)
    window, stride = window_in_frames(codec.frame_rate, longest, section.window_seconds, section.stride_seconds)
    codec_files = [codec_folder / spectral_codec.CONFIG_FILE, codec_folder / spectral_codec.WEIGHTS_FILE]
    return ModelBundle(
        name=name,
        status=section.status,
        fingerprint=fingerprint_of([folder / CONFIG_FILE, weights, *tokenizer_files, *codec_files]),
        lm=lm,
        codec=codec,
        text=TextConditioner(tokenizer, encoder, device),
        score=bool(features),
        melody=None,
        window_frames=window,
        stride_frames=stride,
        device=device,
        dtype=precision.dtype,
        form=precision.form,
        parameters=parameters,
    )


def _codec_folder(folder: Path, section: OwnSection) -> Path:
    root = folder.resolve()
    try:
        codec = (root / str(section.codec)).resolve()
        inside, found = codec != root and codec.is_relative_to(root), codec.is_dir()
    except (OSError, ValueError):  # a name that no file system takes
        inside = found = False
    if not inside:
        raise RequestError(ErrorCode.NOT_ALLOWED, f"{SECTION}.codec", section.codec, "a folder inside the model's own")
    if not found:
        raise RequestError(ErrorCode.NOT_FOUND, f"{SECTION}.codec", section.codec, f"a folder in {folder.name}")
    return codec


def _read_weights(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise malformed(folder, f"weights that load: {first_line(error)}") from error


def _configs(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[DecoderShape, T5Shape]:
    """The shapes of the decoder and the text encoder, checked against each other and the weights."""
    decoder, text = read_decoder(config), read_text_encoder(config)
    # What the weights tell is not believed a second time: a wrong size would be met as a want of memory, or not at all.
    check_counts(decoder, text, state)
    for key, value, found in (
        ("decoder.vocab_size", decoder.vocab_size, _rows(state, "decoder.lm_heads.0.weight", 0)),
        ("decoder.hidden_size", decoder.hidden_size, _rows(state, "decoder.lm_heads.0.weight", 1)),
        ("decoder.ffn_dim", decoder.ffn_dim, _rows(state, f"{DECODER}.layers.0.fc1.weight", 0)),
        ("text_encoder.d_model", text.d_model, _rows(state, f"{_TEXT}shared.weight", 1)),
    ):
        if found is not None and value != found:
            raise RequestError(ErrorCode.MALFORMED, key, value, f"{found}, as the weights have")
    heads, positions = decoder.num_attention_heads, decoder.max_position_embeddings
    if heads < 1 or decoder.hidden_size % (2 * heads):
        allowed = f"a divisor of half of {decoder.hidden_size}"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder.num_attention_heads", heads, allowed)
    if not decoder.num_codebooks < positions <= _MOST_POSITIONS:
        allowed = f"{decoder.num_codebooks + 1} to {_MOST_POSITIONS}"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder.max_position_embeddings", positions, allowed)
    check_decoder(decoder, text)
    return decoder, text


def _rows(state: Mapping[str, Tensor], name: str, dim: int) -> int | None:
    tensor = state.get(name)
    return tensor.shape[dim] if tensor is not None and tensor.dim() == 2 else None


def _score_features(section: OwnSection, state: Mapping[str, Tensor]) -> int:
    if section.score_form is None and _SCORE not in state:
        return 0
    if section.score_form != FORM:
        form = "null" if section.score_form is None else section.score_form
        raise RequestError(ErrorCode.UNSUPPORTED, f"{SECTION}.score_form", form, str(FORM))
    return FEATURES


def _load_codec(folder: Path, decoder: Any, device: torch.device) -> tuple[SpectralCodec, int]:
    """The codec, and how many weights it has."""
    try:
        network = load_spectral_network(folder)
    except RequestError as error:
        field = error.field if error.field == "codec" else f"codec.{error.field}"
        raise RequestError(error.code, field, error.value or folder.name, error.allowed) from error
    # Single precision on every device: the codec costs little beside the LM, and codes of a prompt turn on rounding errors.
    codec = SpectralCodec(network, decoder.audio_channels, device, torch.float32)
    refuse_unless(
        {
            "codec.num_codebooks": (codec.num_codebooks, decoder.num_codebooks),
            "codec.codebook_size": (codec.card, decoder.vocab_size),
        }
    )
    return codec, sum(tensor.numel() for tensor in network.state_dict().values())


def _build_encoder(shape: T5Shape, state: dict[str, Tensor], folder: Path) -> T5Encoder:
    """The text encoder, in single precision; its weights leave ``state``."""
    names = [name for name in state if name.startswith(_TEXT)]
    weights = {name.removeprefix(_TEXT): state.pop(name).to(torch.float32, copy=True) for name in names}
    if (shared := weights.pop("shared.weight", None)) is None:
        raise malformed(folder, f"weights with {_TEXT}shared.weight")
    weights["encoder.embed_tokens.weight"] = shared
    encoder = T5Encoder(shape)
    try:
        encoder.load_state_dict({name.removeprefix("encoder."): part for name, part in weights.items()}, assign=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise malformed(folder, f"a text encoder that fits its config: {lines[-1].strip()[:200]}") from error
    return encoder.eval().requires_grad_(False)


def _load_words(folder: Path) -> Any:
    """The tokenizer: the file itself where that is all of it, else as transformers reads the folder.

    Raises:
        RequestError: it does not load.
    """
    words, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    try:
        kind = json.loads(config.read_bytes()).get("tokenizer_class") if config.is_file() else None
        plain = words.is_file() and (kind is None or kind in _PLAIN_TOKENIZERS)
    except (OSError, ValueError, AttributeError, RecursionError):
        plain = False
    if not plain:
        ensure_torchaudio()
        return load_tokenizer(folder)
    try:
        return WordsFile(words)
    except Exception as error:  # the library raises nothing more special
        raise malformed(folder, f"a tokenizer that loads: {first_line(error)}") from error


def _build_lm(
    decoder: Any,
    text: Any,
    features: int,
    state: dict[str, Tensor],
    folder: Path,
    device: torch.device,
    precision: Precision,
) -> tuple[MusicgenLM, Precision]:
    """The LM, whose weights leave ``state``, and its precision: the one given, or a better one that this shape allows."""
    projection = f"{PROJECTION}.weight" in state
    if not projection and text.d_model != decoder.hidden_size:
        raise malformed(folder, f"weights with {PROJECTION}.weight")
    config = lm_config(decoder, text, projection=projection, score_features=features)
    precision = settled(precision, config, device)
    lm = MusicgenLM(config, device=device, dtype=precision.dtype)
    fill_lm(lm, state, folder, precision.form)
    return lm, precision
