"""What ``transformer_lm`` and ``codebooks_pattern`` of a configuration say of an LM's layers and its order of codes.

What a configuration leaves out has AudioCraft's default, which is not always MusicGen's value. Options of training, and those that
choose between ways of computing the same, are not read: ``custom``, ``checkpointing``, ``attention_as_float32``, ``dropout``,
``two_step_cfg`` and their like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from engine.checkpoints.audiocraft.config import Config
from engine.runtime.patterns import (
    CoarseFirstPattern,
    CodebookPattern,
    DelayPattern,
    GroupedPattern,
    UnrollPattern,
)
from engine.runtime.transformer import Variant
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.runtime.lm import LMConfig

LAYER_SCALES = {
    "self_out": "layer_scale_1.scale",
    "cross_out": "layer_scale_cross.scale",
    "ff_out": "layer_scale_2.scale",
}
"""Of each layer of ours that is the last of a part: the tensor that scales what the part adds."""

_MOST_DELAY = 1024


def read_variant(transformer: Config, fuser: Config) -> Variant:
    """Where the layers differ from MusicGen's.

    Args:
        transformer: the section ``transformer_lm``.
        fuser: the section ``fuser``.

    Raises:
        RequestError: what the runtime does not compute, or options that exclude each other; names the key.
    """
    transformer.choice("norm", ["layer_norm"], "layer_norm")
    # AudioCraft's fused attention takes no notice of it: so such a model was trained to see everything.
    fused = transformer.flag("memory_efficient", False)
    context = None if fused else transformer.whole("past_context", 0, least=1, most=1 << 20) or None
    repeat = transformer.whole("kv_repeat", 1, least=1, most=1024)
    positions = transformer.choice("positional_embedding", ["sin", "rope", "sin_rope"], "sin")
    qk_norm = transformer.flag("qk_layer_norm", False)
    heads = transformer.whole("num_heads", 8, least=1)
    if heads % repeat or (repeat > 1 and qk_norm):
        allowed = f"a divisor of num_heads, {heads}; 1 beside qk_layer_norm"
        raise RequestError(ErrorCode.UNSUPPORTED, transformer.key("kv_repeat"), repeat, allowed)
    return Variant(
        attention_bias=transformer.flag("bias_attn", True),
        ff_bias=transformer.flag("bias_ff", True),
        head_bias=transformer.flag("bias_proj", True),
        norm_first=transformer.flag("norm_first", False),
        activation=cast("Literal['gelu', 'relu']", transformer.choice("activation", ["gelu", "relu"], "relu")),
        positions=cast("Literal['sin', 'rope', 'sin_rope']", positions),
        max_period=transformer.number("max_period", 10_000, least=1),
        positional_scale=transformer.number("positional_scale", 1, least=0),
        xpos=positions != "sin" and transformer.flag("xpos", False),
        qk_norm=qk_norm,
        cross_qk_norm=transformer.flag("qk_layer_norm_cross", False),
        kv_repeat=repeat,
        past_context=context,
        text_positions=_text_positions(fuser),
    )


def _text_positions(fuser: Config) -> float | None:
    """The scale of positions in the text that cross-attention looks at."""
    if not fuser.texts("cross", []) or not fuser.flag("cross_attention_pos_emb", False):
        return None
    return fuser.number("cross_attention_pos_emb_scale", 1)


def layer_scaled(transformer: Config) -> bool:
    """Whether what every part of a layer adds is scaled, number by number (Touvron et al., 2021: LayerScale)."""
    return transformer.get("layer_scale") is not None


def read_pattern(config: Config, books: int) -> CodebookPattern:
    """The codebook pattern of an LM.

    Args:
        config: the whole configuration.
        books: how many codebooks it has.

    Raises:
        RequestError: a pattern that the runtime does not have, or options that make none; names the key.
    """
    section = config.section("codebooks_pattern", optional=True)
    # Before there were patterns, models had ``q_modeling``: one code each, or one frame more of delay for each.
    earlier = config.choice("transformer_lm.q_modeling", list(_PATTERNS), "delay")
    name = section.choice("modeling", list(_PATTERNS), earlier)
    options = section.section(name if name in section or name != "musiclm" else "music_lm", optional=True)
    try:
        return _PATTERNS[name](options, books)
    except ValueError as error:
        raise RequestError(ErrorCode.UNSUPPORTED, options.key(""), None, str(error)) from error


def _delay(options: Config, books: int) -> CodebookPattern:
    return DelayPattern(
        _numbers(options, "delays", range(books), books),
        flatten_first=options.whole("flatten_first", 0, most=1 << 20),
        empty_initial=options.whole("empty_initial", 0, most=1 << 10),
    )


def _parallel(options: Config, books: int) -> CodebookPattern:
    return DelayPattern.parallel(books, options.whole("empty_initial", 0, most=1 << 10))


def _unroll(options: Config, books: int) -> CodebookPattern:
    flattening = _numbers(options, "flattening", range(books), books)
    return UnrollPattern(flattening, _numbers(options, "delays", [0] * books, books))


def _coarse_first(options: Config, books: int) -> CodebookPattern:
    return CoarseFirstPattern(_numbers(options, "delays", [0] * (books - 1), books - 1))


def _grouped(options: Config, books: int) -> CodebookPattern:
    return GroupedPattern(books, options.whole("group_by", 2, least=1, most=books))


_PATTERNS: dict[str, Callable[[Config, int], CodebookPattern]] = {
    "delay": _delay,
    "parallel": _parallel,
    "unroll": _unroll,
    "coarse_first": _coarse_first,
    "musiclm": _grouped,
}


def _numbers(options: Config, name: str, default: range | list[int], count: int) -> tuple[int, ...]:
    """One number per codebook, in ascending order, as AudioCraft wants them."""
    numbers = options.wholes(name, list(default), most=_MOST_DELAY)
    if len(numbers) != count or numbers != sorted(numbers):
        allowed = f"{count} numbers from 0 to {_MOST_DELAY}, in ascending order"
        raise RequestError(ErrorCode.MALFORMED, options.key(name), numbers, allowed)
    return tuple(numbers)


def further_tensors(config: LMConfig) -> dict[str, str]:
    """Those of AudioCraft's tensors that MusicGen lacks, by the names of ours that they become, for one layer.

    Names are below ``layers.<index>`` and ``transformer.layers.<index>``.
    """
    variant, cross = config.variant, config.cross_attention
    names: dict[str, str] = {}
    if variant.attention_bias:
        names |= {"self_qkv.bias": "self_attn.in_proj_bias", "self_out.bias": "self_attn.out_proj.bias"}
        if cross:
            names["cross_out.bias"] = "cross_attention.out_proj.bias"
    if variant.ff_bias:
        names |= {"ff_in.bias": "linear1.bias", "ff_out.bias": "linear2.bias"}
    for wanted, ours, theirs in (
        (variant.qk_norm, "self", "self_attn"),
        (variant.cross_qk_norm and cross, "cross", "cross_attention"),
    ):
        if wanted:
            for side in "qk":
                for part in ("weight", "bias"):
                    names[f"{ours}_{side}_norm.{part}"] = f"{theirs}.{side}_layer_norm.{part}"
    return names
