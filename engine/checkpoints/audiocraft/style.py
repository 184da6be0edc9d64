"""The style conditioner of a MusicGen-Style package: what ``conditioners.self_wav`` says, and the weights below that name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.codec import load_codec
from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.mert import load_mert
from engine.checkpoints.audiocraft.package import CODEC_FILE, PRETRAINED, Package, Pointer, checked_name
from engine.conditioning.mert import MERT, MERT_FRAME_RATE, MERT_WIDTH
from engine.conditioning.style import (
    CodecFeatures,
    StyleConditioner,
    StyleEncoder,
    StyleFacts,
    StyleFeatures,
)
from engine.runtime.audio_codec import AudioCodec
from protocols.errors import ErrorCode, RequestError

CONDITIONER = "condition_provider.conditioners.self_wav."
"""What the names of its weights begin with."""

_SCALES = {"xsmall": (256, 8, 4), "default": (512, 8, 8), "large": (1024, 16, 24), "none": (512, 1, 0)}
"""Width, heads and layers; AudioCraft has no other."""
_LAYER = {
    "self_attn.in_proj_weight": "self_qkv.weight",
    "self_attn.out_proj.weight": "self_out.weight",
    "linear1.weight": "ff_in.weight",
    "linear2.weight": "ff_out.weight",
    "norm1.weight": "self_norm.weight",
    "norm1.bias": "self_norm.bias",
    "norm2.weight": "ff_norm.weight",
    "norm2.bias": "ff_norm.bias",
}


def read_style(
    config: Config,
    weights: Mapping[str, Tensor],
    codec: AudioCodec,
    *,
    dim: int,
    device: torch.device,
    dtype: torch.dtype,
    folder: Path,
    source: Package | Pointer | None = None,
    encoder: str = "",
) -> StyleConditioner:
    """Build the style conditioner of a package.

    Args:
        config: of the language model, the whole of it.
        weights: of the language model, by AudioCraft's names; of them, those that begin with `CONDITIONER`.
        codec: the package's own.
        dim: width of the language model.
        device: where it computes.
        dtype: of the language model.
        folder: the package, in which MERT is looked for.
        source: where the package's own codec came from; None for its own weights.
        encoder: folder or hub id of MERT; empty for one in ``folder``, else that of the hub.

    Raises:
        RequestError: a key or weights that do not fit; the text names them. As `load_mert`.
    """
    section = config.section("conditioners.self_wav.style")
    own = (name for name in weights if name.startswith(CONDITIONER))
    state = _Weights({name.removeprefix(CONDITIONER): weights[name] for name in own})
    width, heads, layers = _SCALES[section.choice("transformer_scale", list(_SCALES), "default")]
    every = section.whole("ds_factor", 15, least=1, most=1000)
    facts = _facts(section, codec.sample_rate, codec.frame_rate, every)
    # First of all: what does not fit is refused before anything large is made for it.
    weight, bias = state.take("output_proj.weight", dim, width), state.take("output_proj.bias", dim)
    if section.choice("model_name", ("encodec", "mert")) == "encodec":
        heard = _heard_codec(config, section, codec, source, folder, device)
        features = _codec_features(section, state, heard, width, device)
    else:
        features = _mert_features(state, width, codec.sample_rate, device, folder, encoder)
    network = StyleEncoder(width, heads, layers, normalised=section.flag("batch_norm", True))
    with torch.no_grad():
        for number, layer in enumerate(network.layers):
            slots = dict(layer.named_parameters())
            for theirs, ours in _LAYER.items():
                slots[ours].copy_(state.take(f"transformer.layers.{number}.{theirs}", *slots[ours].shape))
        if network.norm is not None:
            assert network.norm.running_mean is not None
            assert network.norm.running_var is not None
            network.norm.running_mean.copy_(state.take("batch_norm.running_mean", width))
            network.norm.running_var.copy_(state.take("batch_norm.running_var", width))
    card = section.whole("bins", 1024, least=1, most=1 << 16)
    books = [state.take(f"rvq.vq.layers.{book}._codebook.embed", card, width) for book in range(facts.books)]
    return StyleConditioner(
        facts,
        features,
        network,
        torch.stack(books) if books else None,
        every,
        weight,
        bias,
        device=device,
        dtype=dtype,
    )


class _Weights:
    """The conditioner's weights, each checked as it is taken."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def take(self, name: str, *shape: int) -> Tensor:
        value = self._weights.get(name)
        if value is None:
            raise RequestError(ErrorCode.MALFORMED, CONDITIONER + name, "absent", f"weights of shape {list(shape)}")
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise RequestError(ErrorCode.MALFORMED, CONDITIONER + name, found, f"weights of shape {list(shape)}")
        value = value.float()
        if not bool(torch.isfinite(value).all()):
            raise RequestError(ErrorCode.MALFORMED, CONDITIONER + name, "NaN or infinity", "finite weights")
        return value


def _facts(section: Config, sample_rate: int, frame_rate: Fraction, every: int) -> StyleFacts:
    rate = section.whole("sample_rate", sample_rate)
    if rate != sample_rate:
        raise RequestError(ErrorCode.UNSUPPORTED, section.key("sample_rate"), rate, f"{sample_rate}, the codec's")
    seconds = section.number("length", 3.0, least=0.1, most=30)
    trained = section.numbers("varying_lengths", [1.5, 4.5]) or [seconds, seconds]
    if len(trained) != 2 or not 0.1 <= trained[0] <= trained[1] <= 30:
        raise RequestError(
            ErrorCode.MALFORMED, section.key("varying_lengths"), trained, "two lengths from 0.1 to 30 s, in order"
        )
    books = section.whole("n_q_out", 6, most=64)
    detail = section.whole("eval_q", 3, most=64)
    if books and not 1 <= detail <= books:
        raise RequestError(
            ErrorCode.MALFORMED, section.key("eval_q"), detail, f"1 to {books}, the codebooks of n_q_out"
        )
    shortest, longest = min(trained[0], seconds), max(trained[1], seconds)
    frame_rate = frame_rate if section.get("model_name") == "encodec" else Fraction(MERT_FRAME_RATE)
    tokens = math.ceil(math.ceil(longest * frame_rate) / every)
    return StyleFacts(sample_rate, seconds, shortest, longest, books, detail if books else 0, tokens)


def _heard_codec(
    config: Config,
    section: Config,
    codec: AudioCodec,
    source: Package | Pointer | None,
    folder: Path,
    device: torch.device,
) -> AudioCodec:
    """The codec whose codes are the features: the package's own, or a released one that the configuration names beside it."""
    named = section.text("encodec_checkpoint", CODEC_FILE)
    if named.endswith(CODEC_FILE) or named == config.get("compression_model_checkpoint"):
        return codec
    if not named.startswith(PRETRAINED):
        allowed = f"the model's own codec ({CODEC_FILE}), or {PRETRAINED} and a released one"
        raise RequestError(ErrorCode.UNSUPPORTED, section.key("encodec_checkpoint"), named, allowed)
    pointer = Pointer(folder / CODEC_FILE, checked_name(named.removeprefix(PRETRAINED), folder / CODEC_FILE))
    if isinstance(source, Pointer) and source.name == pointer.name:
        return codec
    heard = load_codec(folder, pointer, device=device).codec
    if heard.sample_rate != codec.sample_rate:
        found, allowed = f"{named} at {heard.sample_rate} Hz", f"a codec at {codec.sample_rate} Hz, the model's rate"
        raise RequestError(ErrorCode.UNSUPPORTED, section.key("encodec_checkpoint"), found, allowed)
    return heard


def _codec_features(
    section: Config, state: _Weights, codec: AudioCodec, width: int, device: torch.device
) -> StyleFeatures:
    step = 2 if codec.interleaved else 1
    most = codec.num_codebooks // step
    count = section.whole("encodec_n_q", 4, least=1, most=64)
    if count > most:
        raise RequestError(
            ErrorCode.MALFORMED, section.key("encodec_n_q"), count, f"1 to {most}, the codec's codebooks"
        )
    books = [state.take(f"embed.{book}.weight", codec.card, width) for book in range(count)]
    return CodecFeatures(codec, torch.stack(books), device, step=step)


def _mert_features(
    state: _Weights, width: int, sample_rate: int, device: torch.device, folder: Path, encoder: str
) -> StyleFeatures:
    weight, bias = state.take("embed.weight", width, MERT_WIDTH), state.take("embed.bias", width)
    return MERT(load_mert(folder, encoder), weight, bias, sample_rate, device)
