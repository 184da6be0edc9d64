"""Checkpoints as transformers saves them, with config.json, weights and tokenizer in one folder.

The model is a ``MusicgenForConditionalGeneration`` or a ``MusicgenMelodyForConditionalGeneration``, which hears a melody too; see
`engine.checkpoints.melody_layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from engine.checkpoints.bundle import ModelBundle, fingerprint_of, window_in_frames
from engine.checkpoints.devices import Precision
from engine.checkpoints.melody_layout import MelodyLayout
from engine.checkpoints.parts import (
    CHROMA_PROJECTION,
    PROJECTION,
    check_counts,
    check_decoder,
    fill_lm,
    find_tokenizer,
    first_line,
    lm_config,
    load_tokenizer,
    malformed,
    quiet_transformers,
    refuse_unless,
)
from engine.checkpoints.running import settled
from engine.checkpoints.section import CONFIG_FILE, MUSICGEN_MELODY, OwnSection
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.text import TextConditioner
from engine.runtime.codec import Codec
from engine.runtime.lm import MusicgenLM
from protocols.errors import ErrorCode, RequestError


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
        folder: with config.json, ``model*.safetensors`` or ``pytorch_model*.bin`` (in one piece or sharded), and a tokenizer.
        config: the content of its config.json.
        section: read from it.
        name: of the bundle.
        device: for all parts.
        precision: of the LM; the codec and the text encoder run in single precision.

    Raises:
        RequestError: a missing or damaged file, or a model of another kind; the text names the file or the key.
    """
    weights, tokenizer_files = _find_weights(folder), find_tokenizer(folder)
    _check_kinds(config)
    layout = MelodyLayout.read(folder, config) if config["model_type"] == MUSICGEN_MELODY else None

    ensure_torchaudio()
    model = _load_model(folder, melody=layout is not None)
    _check_parts(model.config)
    if names := _names(weights):
        check_counts(model.config.decoder, model.config.text_encoder, names)
    if layout is not None:
        layout.check(model.config)
    tokenizer = load_tokenizer(folder)

    audio_channels = model.config.decoder.audio_channels
    positions = model.config.decoder.max_position_embeddings
    lm, precision = _build_lm(model, folder, device, precision)
    encodec = model.audio_encoder.float().eval().requires_grad_(False)
    encoder = model.text_encoder.float().to(device).eval().requires_grad_(False)
    del model
    for part in (encodec, encoder):
        _detach_from_file(part)
    parameters = lm.size + sum(p.numel() for part in (encodec, encoder) for p in part.parameters())

    # Single precision on every device: the codec costs little beside the LM, and codes of a prompt turn on rounding errors.
    codec = Codec(encodec, audio_channels, device, torch.float32)
    codec.stream()  # one that cannot is refused now, and not by the first request
    longest = lm.pattern.most_frames(positions - lm.config.chroma_frames)
    window, stride = window_in_frames(codec.frame_rate, longest, section.window_seconds, section.stride_seconds)
    melody_files = [] if layout is None or layout.file is None else [layout.file]
    return ModelBundle(
        name=name,
        status=section.status,
        fingerprint=fingerprint_of([folder / CONFIG_FILE, *weights, *tokenizer_files, *melody_files]),
        lm=lm,
        codec=codec,
        text=TextConditioner(tokenizer, encoder, device),
        score=False,
        melody=None if layout is None else layout.facts(codec.frame_rate, window),
        window_frames=window,
        stride_frames=stride,
        device=device,
        dtype=precision.dtype,
        form=precision.form,
        parameters=parameters,
        resampling="sinc",
        kind=section.kind,
    )


def _find_weights(folder: Path) -> list[Path]:
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        allowed = "a folder with weights: model*.safetensors or pytorch_model*.bin"
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)
    return weights


def _names(weights: list[Path]) -> list[str]:
    """Which tensors there are, where files tell without being loaded. Transformers leaves out in silence what it has no use for."""
    names: list[str] = []
    for path in weights:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names += file.keys()
    return names


def _load_model(folder: Path, *, melody: bool) -> Any:
    from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

    kind = MusicgenMelodyForConditionalGeneration if melody else MusicgenForConditionalGeneration
    load: Any = kind.from_pretrained

    try:
        with quiet_transformers():
            # A mismatch is let pass here and refused below, where it can be named.
            model, report = load(
                folder, local_files_only=True, dtype="auto", output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:  # a damaged file surfaces as any of a dozen types, some of them of the libraries below
        raise malformed(folder, f"weights that load: {first_line(error)}") from error
    # transformers fills what a checkpoint lacks with random numbers; that would be heard as a bad model.
    if absent := sorted(str(key) for key in report["missing_keys"]):
        raise malformed(folder, f"weights with {_listed(absent)}")
    misfits = [str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]]
    if misfits:
        raise malformed(folder, f"weights that fit its config.json, unlike {_listed(sorted(misfits))}")
    return model


def _detach_from_file(part: nn.Module) -> None:
    """Copy weights that lie in the file as it is mapped into memory: a single one would keep all of the file there."""
    for tensor in chain(part.parameters(), part.buffers()):
        tensor.data = tensor.data.clone()


def _listed(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _check_kinds(config: Mapping[str, Any]) -> None:
    """Refuse parts of another kind before they are looked for among the weights."""
    for part, kind in (("text_encoder", "t5"), ("audio_encoder", "encodec")):
        if isinstance(found := config.get(part), dict):
            refuse_unless({f"{part}.model_type": (found.get("model_type", kind), kind)})


def _check_parts(config: Any) -> None:
    """Refuse what the runtime would compute wrongly."""
    decoder, codec = config.decoder, config.audio_encoder
    check_decoder(decoder, config.text_encoder)
    refuse_unless(
        {
            "audio_encoder.audio_channels": (codec.audio_channels, 1),
            "audio_encoder.codebook_size": (codec.codebook_size, decoder.vocab_size),
            "audio_encoder.num_quantizers": (codec.num_quantizers, decoder.num_codebooks // decoder.audio_channels),
        }
    )


def _build_lm(model: Any, folder: Path, device: torch.device, precision: Precision) -> tuple[MusicgenLM, Precision]:
    """Our LM with the weights of transformers' decoder, which is taken apart on the way so that both never stand in full.

    Its precision is the one given, or a better one that this shape allows.
    """
    state = {f"decoder.{name}": tensor for name, tensor in model.decoder.state_dict().items()}
    for name in (PROJECTION, CHROMA_PROJECTION):
        if (projection := getattr(model, name, None)) is not None:
            state |= {f"{name}.weight": projection.weight, f"{name}.bias": projection.bias}
    config = lm_config(
        model.config.decoder,
        model.config.text_encoder,
        projection=f"{PROJECTION}.weight" in state,
        chroma_frames=getattr(model.config, "chroma_length", 0),
    )
    del model.decoder
    precision = settled(precision, config, device)
    lm = MusicgenLM(config, device=device, dtype=precision.dtype)
    fill_lm(lm, state, folder, precision.form)
    return lm, precision
