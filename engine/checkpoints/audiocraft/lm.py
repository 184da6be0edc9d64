"""AudioCraft's language models as the runtime has them: the shape by the configuration, the weights once they are known to fit it.

Nothing is allocated before every tensor is known to have the shape that the configuration gives it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.files import are_numbers, shown
from engine.checkpoints.audiocraft.magnet import MAGNET_LM, is_magnet
from engine.checkpoints.audiocraft.package import Package
from engine.checkpoints.audiocraft.variants import (
    LAYER_SCALES,
    further_tensors,
    layer_scaled,
    read_pattern,
    read_variant,
)
from engine.checkpoints.devices import Precision
from engine.conditioning.text import MAX_TOKENS
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from engine.runtime.transformer import rotations
from protocols.errors import ErrorCode, RequestError

CONDITIONERS = "condition_provider.conditioners."
TEXT = f"{CONDITIONERS}description."
MELODY = f"{CONDITIONERS}self_wav."
CHROMA_WINDOW = f"{MELODY}chroma.spec.window"

_PROJECTION = f"{TEXT}output_proj"
_T5 = f"{TEXT}t5."
_LAYERS = "transformer.layers."
_NOT_OURS = re.compile(rf"{re.escape(MELODY)}chroma\.|.*\brope\.")
"""What AudioCraft stores although it follows from the configuration, see `stored_table`: windows and filters of the chroma, and
what positions rotate by."""
_RATES, _DECAYS = "transformer.rope.frequencies", "transformer.rope.xpos.decay_rates"
_NORMS = {"norm1": "self_norm", "norm_cross": "cross_norm", "norm2": "ff_norm"}
_MOST_FRAMES = 1 << 16
_MOST_POSITIONS = 1 << 16


@dataclass(frozen=True)
class LMFacts:
    """What a configuration says of an LM, beside its shape.

    Attributes:
        window_seconds: what it was trained on.
        sound: whether it makes sounds (AudioGen) instead of music.
        interleaved: whether a mono codec runs once per channel and the codebooks alternate.
        codebooks: of each run of the codec.
        chroma_exponent: two to the power of it is the length of the Fourier transform of chroma; 0: it hears no melody.
        style: whether it hears the style of a recording.
        text_encoder: what the T5 is called.
    """

    window_seconds: float
    sound: bool
    interleaved: bool
    codebooks: int
    chroma_exponent: int
    style: bool
    text_encoder: str

    @classmethod
    def read(cls, config: Config) -> LMFacts:
        """Read them, and refuse what the engine does not compute.

        Raises:
            RequestError: ``unsupported``, ``malformed`` or ``missing``; names the key.
        """
        config.choice("lm_model", ["transformer_lm", MAGNET_LM])
        transformer = config.section("transformer_lm")
        interleaved = config.flag("interleave_stereo_codebooks.use", False)
        if interleaved:
            config.section("interleave_stereo_codebooks").expect(per_timestep=False)
        config.section("tokens", optional=True).expect(padding_with_special_token=False)
        books = transformer.whole("n_q", least=1, most=64)
        runs = 2 if interleaved else 1
        if books % runs:
            raise RequestError(ErrorCode.MALFORMED, transformer.key("n_q"), books, "an even number, for two channels")
        heard = _conditioners(config)
        exponent = 0
        if heard.get("self_wav") == "chroma_stem":
            chroma = config.section("conditioners.self_wav.chroma_stem")
            chroma.expect(n_chroma=12, argmax=True)
            exponent = chroma.whole("radix2_exp", 12, least=8, most=17)
        text = config.section("conditioners.description.t5")
        text.expect(normalize_text=False)
        return cls(
            window_seconds=config.number("dataset.segment_duration", least=0.1, most=3600),
            sound=_makes_sounds(config, heard),
            interleaved=interleaved,
            codebooks=books // runs,
            chroma_exponent=exponent,
            style=heard.get("self_wav") == "style",
            text_encoder=text.text("name"),
        )


def _conditioners(config: Config) -> dict[str, str]:
    """The kind of each conditioner, and that they are joined with the codes as the runtime does it."""
    section = config.section("conditioners")
    heard: dict[str, str] = {}
    for name in section:
        if name == "args":
            continue
        kinds = {"description": ["t5"], "self_wav": ["chroma_stem", "style"]}.get(name)
        if kinds is None:
            allowed = "only description and self_wav among the conditioners"
            raise RequestError(ErrorCode.UNSUPPORTED, section.key(name), section.get(f"{name}.model"), allowed)
        heard[name] = section.choice(f"{name}.model", kinds)
    if "description" not in heard:
        raise RequestError(
            ErrorCode.UNSUPPORTED, section.key("description"), None, "a model that hears a text, with t5"
        )
    fuser = config.section("fuser")
    fuser.expect(sum=[], input_interpolate=[])
    prefix = ["self_wav", "description"] if "self_wav" in heard or _text_first(config) else []
    # In whatever order they are listed, AudioCraft puts the sound before the text.
    prefix = [name for name in prefix if name in heard]
    for key, expected in (("prepend", prefix), ("cross", [] if prefix else ["description"])):
        if sorted(found := fuser.texts(key, [])) != sorted(expected):
            raise RequestError(ErrorCode.UNSUPPORTED, fuser.key(key), found, str(expected))
    return heard


def _text_first(config: Config) -> bool:
    """Whether the text, and nothing else, stands before the codes."""
    return config.section("fuser").texts("prepend", []) == ["description"]


def _makes_sounds(config: Config, heard: Mapping[str, str]) -> bool:
    solver = config.get("solver")
    if isinstance(solver, str) and solver:
        return "audio" in solver
    return "self_wav" not in heard and config.get("sample_rate") == 16_000


def lm_config(
    config: Config, facts: LMFacts, weights: Mapping[str, Tensor], window_frames: int, chroma_frames: int
) -> LMConfig:
    """The shape of the LM.

    Args:
        config: of the package.
        facts: read from it.
        weights: the LM's; of them the width of the text encoder.
        window_frames: the most codec frames the LM hears at once.
        chroma_frames: that stand before it, 0 for a model that hears no melody.

    Raises:
        RequestError: what the runtime does not compute; names the key.
    """
    transformer = config.section("transformer_lm")
    transformer.expect(causal=not is_magnet(config))
    variant = read_variant(transformer, config.section("fuser"))
    dim = transformer.whole("dim", least=2, most=1 << 14)
    heads = transformer.whole("num_heads", least=1, most=dim)
    if dim % (2 * heads) and dim % heads:
        raise RequestError(ErrorCode.MALFORMED, transformer.key("num_heads"), heads, f"a divisor of {dim}")
    if dim % 2:
        raise RequestError(ErrorCode.UNSUPPORTED, transformer.key("dim"), dim, "an even number")
    projection = weights.get(f"{_PROJECTION}.weight")
    books = transformer.whole("n_q")
    pattern = DelayPattern.parallel(books) if is_magnet(config) else read_pattern(config, books)
    if variant.rotates and dim // heads % 2:
        allowed = "even numbers for each head, dim / num_heads, which are rotated in pairs"
        raise RequestError(ErrorCode.UNSUPPORTED, transformer.key("num_heads"), heads, allowed)
    before = 0
    if pattern.positions(window_frames) > _MOST_POSITIONS:
        allowed = f"a window that takes up to {_MOST_POSITIONS} steps of its codebooks_pattern"
        window = config.get("dataset.segment_duration")
        raise RequestError(ErrorCode.OUT_OF_RANGE, config.key("dataset.segment_duration"), window, allowed)
    text_first = _text_first(config)
    if text_first:
        before = MAX_TOKENS
    elif chroma_frames or facts.style:
        before = MAX_TOKENS + (chroma_frames or MAX_TOKENS)
    return LMConfig(
        dim=dim,
        layers=transformer.whole("num_layers", least=1, most=512),
        heads=heads,
        ff_dim=int(transformer.number("hidden_scale", 4, least=0.01, most=64) * dim),
        pattern=pattern,
        card=transformer.whole("card", least=2, most=1 << 16),
        text_dim=dim if projection is None or projection.dim() != 2 else projection.shape[1],
        text_projection=projection is not None,
        max_positions=pattern.positions(window_frames) + before,
        chroma_frames=chroma_frames,
        style=facts.style,
        variant=variant,
        text_first=text_first,
    )


@dataclass(frozen=True)
class _Slot:
    """Where a tensor of AudioCraft's, or some rows of it, goes: to these rows of one of ours, times a scale for each of them."""

    name: str
    rows: tuple[int, int]
    theirs: tuple[int, int] | None = None
    scale: str = ""


def weight_slots(config: LMConfig, *, scaled: bool = False) -> dict[str, list[_Slot]]:
    """Which of AudioCraft's tensors make each of ours.

    Args:
        config: the shape of the LM.
        scaled: whether what its layers add is scaled: then what they put out is, once and for all.
    """
    dim, card, books = config.dim, config.card, config.num_codebooks
    slots = {
        "embeddings": [_Slot(f"emb.{k}.weight", (k * (card + 1), (k + 1) * (card + 1))) for k in range(books)],
        "heads.weight": [_Slot(f"linears.{k}.weight", (k * card, (k + 1) * card)) for k in range(books)],
    }
    if config.variant.head_bias:
        slots["heads.bias"] = [_Slot(f"linears.{k}.bias", (k * card, (k + 1) * card)) for k in range(books)]
    whole: dict[str, str] = {}
    scales: dict[str, str] = {}
    if config.variant.norm_first:
        whole |= {f"final_norm.{part}": f"out_norm.{part}" for part in ("weight", "bias")}
    further = further_tensors(config)
    parts = [("weight", "weight"), ("bias", "bias")]
    if config.text_projection:
        whole |= {f"text_{ours}": f"{_PROJECTION}.{theirs}" for ours, theirs in parts}
    if config.chroma_frames:
        whole |= {f"chroma_{ours}": f"{MELODY}output_proj.{theirs}" for ours, theirs in parts}
    for index in range(config.layers):
        ours, theirs = f"layers.{index}", f"{_LAYERS}{index}"
        whole |= {
            f"{ours}.self_qkv.weight": f"{theirs}.self_attn.in_proj_weight",
            f"{ours}.self_out.weight": f"{theirs}.self_attn.out_proj.weight",
            f"{ours}.ff_in.weight": f"{theirs}.linear1.weight",
            f"{ours}.ff_out.weight": f"{theirs}.linear2.weight",
        }
        norms = dict(_NORMS)
        if config.cross_attention:
            joined = f"{theirs}.cross_attention.in_proj_weight"
            slots |= {
                f"{ours}.cross_q.weight": [_Slot(joined, (0, dim), (0, dim))],
                f"{ours}.cross_kv.weight": [_Slot(joined, (0, 2 * dim), (dim, 3 * dim))],
            }
            whole[f"{ours}.cross_out.weight"] = f"{theirs}.cross_attention.out_proj.weight"
            if config.variant.attention_bias:
                joined = f"{theirs}.cross_attention.in_proj_bias"
                slots |= {
                    f"{ours}.cross_q.bias": [_Slot(joined, (0, dim), (0, dim))],
                    f"{ours}.cross_kv.bias": [_Slot(joined, (0, 2 * dim), (dim, 3 * dim))],
                }
        else:
            del norms["norm_cross"]
        for their_norm, norm in norms.items():
            whole |= {f"{ours}.{norm}.{part}": f"{theirs}.{their_norm}.{part}" for part in ("weight", "bias")}
        whole |= {f"{ours}.{name}": f"{theirs}.{their_name}" for name, their_name in further.items()}
        if scaled:
            for layer, scale in LAYER_SCALES.items():
                scales |= {f"{ours}.{layer}.{part}": f"{theirs}.{scale}" for part in ("weight", "bias")}
    return slots | {target: [_Slot(name, (0, -1), scale=scales.get(target, ""))] for target, name in whole.items()}


def build_lm(
    config: LMConfig,
    package: Package,
    weights: Mapping[str, Tensor],
    device: torch.device,
    precision: Precision,
    *,
    packed: bool = True,
) -> MusicgenLM:
    """The LM with its weights.

    Args:
        config: its shape.
        package: where the weights come from, for errors.
        weights: by AudioCraft's names, see `lm_weights`.
        device: where it runs.
        precision: in which it computes and is kept.
        packed: pack each matrix as soon as it is filled. False: the model can still be saved.

    Raises:
        RequestError: ``malformed`` for a tensor that is missing, of another shape, or of no use; names it.
    """
    dtype = precision.dtype
    _check_sizes(config, package, weights)
    slots = weight_slots(config, scaled=layer_scaled(package.config.section("transformer_lm")))
    used: set[str] = set()
    shapes = dict(MusicgenLM(config, device="meta").named_parameters())
    for target, parts in slots.items():
        for part in parts:
            _check(part, shapes[target], package, weights)
            used |= {part.name, part.scale} - {""}
    if further := sorted(set(weights) - used):
        raise _misfit(package, f"an LM as its transformer_lm says, without {further[0]}")
    turned = _stored_rotations(config, package)
    lm = MusicgenLM(config, device=device, dtype=dtype)
    if turned is not None:
        lm.rotations = turned.to(device)
    with torch.no_grad():
        for target, parts in slots.items():
            parameter = lm.get_parameter(target)
            for part in parts:
                tensor = weights[part.name]
                theirs = tensor if part.theirs is None else tensor[part.theirs[0] : part.theirs[1]]
                if part.scale:
                    scale = weights[part.scale].float()
                    theirs = theirs.float() * (scale if theirs.dim() == 1 else scale.unsqueeze(1))
                first, end = part.rows
                (parameter if end < 0 else parameter[first:end]).copy_(theirs)
            if not are_numbers(parameter):
                allowed = (
                    f"an LM whose {parts[0].name} has neither NaN nor infinity in {str(dtype).removeprefix('torch.')}"
                )
                raise _misfit(package, allowed)
            del parameter
            if packed and target.endswith(".weight"):
                lm.pack_matrix(target, precision.form)
    return lm


def lm_weights(package: Package) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the LM alone, and those of a text encoder that was trained with it, by transformers' names; often none.

    Attention is named as AudioCraft's own is, also where it was torch's.
    """
    lm: dict[str, Tensor] = {}
    text: dict[str, Tensor] = {}
    for name, tensor in package.weights.items():
        if name.startswith(_T5):
            text[name.removeprefix(_T5)] = tensor
        elif not _NOT_OURS.match(name):
            lm[name.replace(".mha.", ".")] = tensor
    return lm, text


def stored_table(package: Package, name: str, length: int) -> Tensor | None:
    """What AudioCraft computes for its model and then overwrites with what is stored, which is often in half precision.

    Args:
        package: of the LM.
        name: of the tensor.
        length: that it has to have.

    Returns:
        float32 ``[length]``; None where it is not stored.

    Raises:
        RequestError: ``malformed`` for another shape, or for numbers that are of no use; names it.
    """
    tensor = package.weights.get(name)
    if tensor is None:
        return None
    if tensor.shape != (length,) or not tensor.is_floating_point():
        shape = list(tensor.shape)
        raise _misfit(package, f"an LM whose {name} is {[length]}, not {shape} of {tensor.dtype}")
    table = tensor.to("cpu", torch.float32, copy=True)
    if not are_numbers(table) or not bool(table.any()):
        raise _misfit(package, f"an LM whose {name} has numbers, and others than 0")
    return table


def _stored_rotations(config: LMConfig, package: Package) -> Tensor | None:
    if not config.variant.rotates:
        return None
    rates, decays = (stored_table(package, name, config.head_dim // 2) for name in (_RATES, _DECAYS))
    if rates is None and decays is None:
        return None
    return rotations(config.variant, config.max_positions, config.head_dim, rates=rates, decays=decays)


def without_style(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights less those of the style conditioner, which are read by themselves."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(MELODY)}


def _check_sizes(config: LMConfig, package: Package, weights: Mapping[str, Tensor]) -> None:
    """What the configuration counts, against the weights: so that the error names the key, and nothing large is made for it."""
    transformer = package.config.section("transformer_lm")
    for key, value, prefix in (("num_layers", config.layers, _LAYERS), ("n_q", config.num_codebooks, "emb.")):
        found = len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})
        if value != found:
            raise RequestError(ErrorCode.MALFORMED, transformer.key(key), value, f"{found}, as the weights have")
    for key, value, name, axis in (
        ("dim", config.dim, "emb.0.weight", 1),
        ("card", config.card, "linears.0.weight", 0),
        ("hidden_scale", config.ff_dim, f"{_LAYERS}0.linear1.weight", 0),
    ):
        tensor = weights.get(name)
        if tensor is None or tensor.dim() != 2:
            raise _misfit(package, f"an LM with {name}")
        if tensor.shape[axis] != value:
            given: Any = transformer.get(key)
            allowed = f"what fits {name}, which is {list(tensor.shape)}"
            raise RequestError(ErrorCode.MALFORMED, transformer.key(key), given, allowed)


def _check(part: _Slot, target: Tensor, package: Package, weights: Mapping[str, Tensor]) -> None:
    tensor = weights.get(part.name)
    if tensor is None:
        raise _misfit(package, f"an LM with {part.name}")
    first, end = part.rows
    shape = list(target.shape) if end < 0 else [end - first, *target.shape[1:]]
    if part.theirs is not None:
        shape[0] = 3 * weights["emb.0.weight"].shape[1]
    if part.scale:
        _check(_Slot(part.scale, (0, -1)), target if target.dim() == 1 else target[:, 0], package, weights)
    if list(tensor.shape) != shape or not tensor.is_floating_point():
        raise _misfit(package, f"an LM whose {part.name} is {shape}, not {list(tensor.shape)} of {tensor.dtype}")


def _misfit(package: Package, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, "model", shown(package.path), allowed)
