"""JASCO's checkpoints: a transformer that tells a flow of the codec's latents, with what it hears beside the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.codec import load_codec
from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.package import Package, codec_of
from engine.checkpoints.audiocraft.text import find_text_encoder, load_text_encoder, text_files
from engine.checkpoints.bundle import FlowFacts, ModelBundle, UsualSampling, fingerprint_of
from engine.checkpoints.devices import Precision
from engine.conditioning.text import TextConditioner
from engine.runtime.codec import Codec
from engine.runtime.flow import FlowConfig, FlowNetwork
from protocols.errors import ErrorCode, RequestError

FLOW_LM = "flow_matching"
"""What ``lm_model`` is of such a checkpoint."""

_CONDITIONERS = "condition_provider.conditioners"
_KINDS = {"description": "t5", "chords": "chords_emb", "self_wav": "drum_latents", "melody": "melody"}
_DRUMS, _CHORDS, _MELODY = "self_wav", "chords", "melody"
_MOST_CHORDS = 1 << 14


def is_jasco(config: Config) -> bool:
    """Whether a configuration is JASCO's."""
    return bool(config.get("lm_model") == FLOW_LM)


@dataclasses.dataclass(frozen=True)
class JascoSettings:
    """What a configuration says of a JASCO model.

    Attributes:
        shape: of the network.
        facts: what its streams need to know.
        text_encoder: what the T5 is called.
    """

    shape: FlowConfig
    facts: FlowFacts
    text_encoder: str

    @classmethod
    def read(cls, config: Config, weights: Mapping[str, Tensor], frames: int, latents: int) -> JascoSettings:
        """Read it, and refuse what the engine does not compute.

        Args:
            config: of the package.
            weights: of the model; of them the width of the text encoder.
            frames: of a segment.
            latents: width of the codec's latents.

        Raises:
            RequestError: names the key.
        """
        transformer = config.section("transformer_lm")
        transformer.expect(
            activation="gelu",
            norm="layer_norm",
            norm_first=True,
            bias_ff=False,
            bias_attn=False,
            bias_proj=False,
            past_context=None,
            causal=False,
            layer_scale=None,
            positional_embedding="sin",
            positional_scale=1.0,
            max_period=10_000,
            qk_layer_norm=False,
            qk_layer_norm_cross=False,
            kv_repeat=1,
        )
        if (given := transformer.whole("flow_dim", latents)) != latents:
            allowed = f"{latents}, the width of the codec's latents"
            raise RequestError(ErrorCode.MALFORMED, transformer.key("flow_dim"), given, allowed)
        heard = _heard(config)
        conditioners = config.section("conditioners")
        text = conditioners.section("description.t5")
        text.expect(normalize_text=False)
        dim = transformer.whole("dim", least=4, most=1 << 14)
        heads = transformer.whole("num_heads", least=1, most=dim)
        if dim % heads or dim % 2:
            raise RequestError(
                ErrorCode.MALFORMED, transformer.key("num_heads"), heads, f"a divisor of an even dim {dim}"
            )
        layers = transformer.whole("num_layers", least=1, most=512)
        skips = transformer.flag("skip_connections", False)
        if skips and layers % 2:
            raise RequestError(ErrorCode.MALFORMED, transformer.key("num_layers"), layers, "an even number with skips")
        widths = {}
        for name, key in ((_CHORDS, "chords_dim"), (_DRUMS, "drums_dim"), (_MELODY, "melody_dim")):
            own = conditioners.whole(f"{name}.{_KINDS[name]}.out_dim", least=1, most=4096) if name in heard else 0
            if (told := transformer.whole(key, 0)) != own:
                raise RequestError(ErrorCode.MALFORMED, transformer.key(key), told, f"{own}, as the conditioner has")
            widths[key] = own
        projection = weights.get(f"{_CONDITIONERS}.description.output_proj.weight")
        if projection is None or projection.dim() != 2:
            raise RequestError(ErrorCode.MALFORMED, "model", None, "weights with the description's output_proj")
        blur = 1
        if _DRUMS in heard:
            blur = conditioners.whole("self_wav.drum_latents.blurring_factor", 3, least=1, most=frames)
        dropped = config.section("attribute_dropout", optional=True)
        texts_drop = {
            *dropped.section("symbolic", optional=True),
            *dropped.section("wav", optional=True),
        }
        shape = FlowConfig(
            dim=dim,
            layers=layers,
            heads=heads,
            ff_dim=int(transformer.number("hidden_scale", 4, least=0.01, most=64) * dim),
            latents=latents,
            frames=frames,
            text_dim=projection.shape[1],
            chords=conditioners.whole("chords.chords_emb.card", least=1, most=_MOST_CHORDS) if _CHORDS in heard else 0,
            melody_bins=conditioners.whole("melody.melody.card", least=12, most=128) if _MELODY in heard else 0,
            time_dim=transformer.whole("time_embedding_dim", 128, least=4, most=1 << 14),
            skips=skips,
            **widths,
        )
        facts = FlowFacts(
            latent_mean=config.number("compression_model_latent_mean", least=-1e6, most=1e6),
            latent_std=config.number("compression_model_latent_std", least=1e-6, most=1e6),
            blur=blur,
            chords=shape.chords,
            drums=_DRUMS in heard,
            melody_bins=shape.melody_bins,
            text_drops_chords=_CHORDS in texts_drop,
            text_drops_drums=_DRUMS in texts_drop,
            text_drops_melody=_MELODY in texts_drop,
        )
        return cls(shape, facts, text.text("name"))


def load_jasco(
    folder: Path, package: Package, name: str, device: torch.device, precision: Precision, *, text_encoder: str = ""
) -> ModelBundle:
    """Load a checkpoint folder of JASCO's; as `engine.checkpoints.audiocraft.layout.load_folder`, which hands the package over."""
    config = package.config
    loaded = load_codec(folder, codec_of(folder, package), device=device)
    codec = loaded.codec
    if not isinstance(codec, Codec) or codec.interleaved:
        raise RequestError(
            ErrorCode.UNSUPPORTED, "codec", type(codec).__name__, "EnCodec, whose latents the model makes"
        )
    seconds = config.number("dataset.segment_duration", least=0.1, most=600)
    frames = int(Fraction(str(seconds)) * codec.frame_rate)
    if (given := config.number("compression_model_framerate", float(codec.frame_rate))) != codec.frame_rate:
        allowed = f"{float(codec.frame_rate):g}, the codec's"
        raise RequestError(ErrorCode.MALFORMED, "compression_model_framerate", given, allowed)
    read = JascoSettings.read(config, package.weights, frames, codec.latent_dimension)
    encoder_folder = find_text_encoder(folder, read.text_encoder, text_encoder)
    tokenizer, encoder = load_text_encoder(encoder_folder, {})
    if encoder.config.d_model != read.shape.text_dim:
        allowed = f"a T5 of width {read.shape.text_dim}, not {encoder.config.d_model}"
        raise RequestError(ErrorCode.MALFORMED, "text_encoder", str(encoder_folder), allowed)
    network = build_flow(read.shape, package, device, precision.dtype)
    encoder = encoder.to(device)
    parameters = loaded.parameters + sum(p.numel() for part in (network, encoder) for p in part.parameters())
    network.pack(precision.form)
    return ModelBundle(
        name=name,
        status="trained",
        fingerprint=fingerprint_of([package.path, *loaded.files, *text_files(encoder_folder)]),
        lm=cast("Any", network),
        codec=codec,
        text=TextConditioner(tokenizer, encoder, device),
        score=False,
        melody=None,
        window_frames=frames,
        stride_frames=frames - 1,
        device=device,
        dtype=precision.dtype,
        form=precision.form,
        parameters=parameters,
        resampling="sinc",
        usual=UsualSampling(seconds=seconds, guidance=5.0),
        flow=read.facts,
        folder=folder,
    )


def _heard(config: Config) -> set[str]:
    """The conditioners, and that they are joined as the runtime does it."""
    section = config.section("conditioners")
    heard = set()
    for name in section:
        if name == "args":
            continue
        if name not in _KINDS:
            allowed = f"only {', '.join(_KINDS)} among the conditioners"
            raise RequestError(ErrorCode.UNSUPPORTED, section.key(name), section.get(f"{name}.model"), allowed)
        section.choice(f"{name}.model", [_KINDS[name]])
        heard.add(name)
    if "description" not in heard:
        raise RequestError(ErrorCode.MISSING, section.key("description"), None, "a model that hears a text")
    fuser = config.section("fuser")
    fuser.expect(sum=[], prepend=[], input_interpolate=[], cross_attention_pos_emb=False)
    if (found := fuser.texts("cross", [])) != ["description"]:
        raise RequestError(ErrorCode.UNSUPPORTED, fuser.key("cross"), found, "description")
    return heard


def build_flow(shape: FlowConfig, package: Package, device: torch.device, dtype: torch.dtype) -> FlowNetwork:
    """The network with its weights, not packed. The codec's, which such files hold too, are left out.

    Raises:
        RequestError: MALFORMED for a tensor that is missing or does not fit; names it.
    """
    weights = package.weights
    sources = _sources(shape)
    with torch.device("meta"):
        blank = FlowNetwork(shape)
    for ours, (theirs, columns) in sources.items():
        wanted = list(blank.get_parameter(ours).shape)
        tensor = weights.get(theirs)
        if tensor is None:
            raise _misfit(package, f"weights with {theirs}")
        found = _part(tensor, theirs, columns)
        if found is None or list(found.shape) != wanted or not tensor.is_floating_point():
            raise _misfit(package, f"weights whose {theirs} fits {wanted}, not {list(tensor.shape)} of {tensor.dtype}")
    network = FlowNetwork(shape, device=device, dtype=dtype)
    with torch.no_grad():
        for ours, (theirs, columns) in sources.items():
            network.get_parameter(ours).copy_(cast("Tensor", _part(weights[theirs], theirs, columns)))
    return network


def _part(tensor: Tensor, name: str, part: slice | None) -> Tensor | None:
    """Some columns of a tensor, or some thirds of the rows of attention's joined projections."""
    if part is None:
        return tensor
    if tensor.dim() != 2:
        return None
    if name.endswith("in_proj_weight"):
        third = tensor.shape[0] // 3
        return tensor[part.start * third : part.stop * third]
    return tensor[:, part]


def _sources(shape: FlowConfig) -> dict[str, tuple[str, slice | None]]:
    """Which of AudioCraft's tensors, and which part of it, makes each of ours."""
    sources: dict[str, tuple[str, slice | None]] = {
        "latents_in": ("emb.weight", slice(0, shape.latents)),
        "heard_in": ("emb.weight", slice(shape.latents, None)),
        "latents_out": ("linear.weight", None),
    }
    whole = {
        "final_norm": "out_norm",
        "text": f"{_CONDITIONERS}.description.output_proj",
        "time_in": "temb.dense.0",
        "time_out": "temb.dense.1",
        "time_to_words": "temb_proj",
    }
    if shape.chords_dim:
        sources["chords"] = (f"{_CONDITIONERS}.chords.emb.weight", None)
    if shape.drums_dim:
        whole["drums"] = f"{_CONDITIONERS}.self_wav.output_proj"
    if shape.melody_dim:
        whole["melody"] = f"{_CONDITIONERS}.melody.output_proj"
    for ours, theirs in whole.items():
        weight, bias = {
            "final_norm": ("final_norm.weight", "final_norm.bias"),
            "text": ("text_weight", "text_bias"),
            "drums": ("drums_weight", "drums_bias"),
            "melody": ("melody_weight", "melody_bias"),
        }.get(ours, (ours, f"{ours}_bias"))
        sources |= {weight: (f"{theirs}.weight", None), bias: (f"{theirs}.bias", None)}
    for index in range(shape.layers // 2 if shape.skips else 0):
        theirs = f"transformer.skip_projections.{index}"
        sources |= {
            f"skip_weights.{index}": (f"{theirs}.weight", None),
            f"skip_biases.{index}": (f"{theirs}.bias", None),
        }
    for index in range(shape.layers):
        ours, theirs = f"layers.{index}", f"transformer.layers.{index}"
        crossing = f"{theirs}.cross_attention.in_proj_weight"
        sources |= {
            f"{ours}.self_qkv.weight": (f"{theirs}.self_attn.in_proj_weight", None),
            f"{ours}.self_out.weight": (f"{theirs}.self_attn.out_proj.weight", None),
            f"{ours}.cross_q.weight": (crossing, slice(0, 1)),
            f"{ours}.cross_kv.weight": (crossing, slice(1, 3)),
            f"{ours}.cross_out.weight": (f"{theirs}.cross_attention.out_proj.weight", None),
            f"{ours}.ff_in.weight": (f"{theirs}.linear1.weight", None),
            f"{ours}.ff_out.weight": (f"{theirs}.linear2.weight", None),
        }
        for our_norm, norm in (("self_norm", "norm1"), ("cross_norm", "norm_cross"), ("ff_norm", "norm2")):
            sources |= {f"{ours}.{our_norm}.{part}": (f"{theirs}.{norm}.{part}", None) for part in ("weight", "bias")}
    return sources


def _misfit(package: Package, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, "model", str(package.path), allowed)
