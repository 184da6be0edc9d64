"""The sections ``decoder`` and ``text_encoder`` of our own checkpoints' config.json, read without transformers.

Names and defaults are those of its ``MusicgenDecoderConfig`` and ``T5Config``, which write these sections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from engine.conditioning.t5 import ACTIVATIONS, T5Shape
from protocols.errors import ErrorCode, RequestError

S = TypeVar("S")

_LEAST_BUCKETS = 4


@dataclass(frozen=True)
class DecoderShape:
    """What is read of a decoder's section; see `engine.checkpoints.parts` for what must hold."""

    vocab_size: int = 2048
    max_position_embeddings: int = 2048
    num_hidden_layers: int = 24
    ffn_dim: int = 4096
    num_attention_heads: int = 16
    activation_function: str = "gelu"
    hidden_size: int = 1024
    scale_embedding: bool = False
    num_codebooks: int = 4
    audio_channels: int = 1
    pad_token_id: int | None = 2048
    cross_attention_hidden_size: int | None = None


def read_decoder(config: Mapping[str, Any]) -> DecoderShape:
    """The section ``decoder``.

    Raises:
        RequestError: it is not there, is another model's, or a value has the wrong type.
    """
    shape = _read(config, "decoder", "musicgen_decoder", DecoderShape)
    if shape.audio_channels not in (1, 2):
        raise _wrong("decoder", f"1 or 2 audio channels, not {shape.audio_channels}")
    return shape


def read_text_encoder(config: Mapping[str, Any]) -> T5Shape:
    """The section ``text_encoder``.

    Raises:
        RequestError: as `read_decoder`; or sizes that no encoder has, or an activation that ours does not know.
    """
    shape = _read(config, "text_encoder", "t5", T5Shape)
    for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"):
        if getattr(shape, name) < 1:
            raise _wrong("text_encoder", f"{name} of at least 1, not {getattr(shape, name)}")
    buckets, distance = shape.relative_attention_num_buckets, shape.relative_attention_max_distance
    if buckets < _LEAST_BUCKETS or distance <= buckets // 4:
        raise _wrong("text_encoder", f"distances that fall into buckets, not {distance} into {buckets}")
    if not 0 < shape.layer_norm_epsilon < math.inf:
        raise _wrong("text_encoder", f"layer_norm_epsilon above 0, not {shape.layer_norm_epsilon}")
    if shape.feed_forward_proj not in ACTIVATIONS:
        given, allowed = shape.feed_forward_proj, ", ".join(ACTIVATIONS)
        raise RequestError(ErrorCode.UNSUPPORTED, "text_encoder.feed_forward_proj", given, allowed)
    return shape


def _read(config: Mapping[str, Any], key: str, kind: str, shape: type[S]) -> S:
    part = config.get(key)
    if not isinstance(part, dict):
        raise RequestError(ErrorCode.MALFORMED, key, "null" if part is None else part, "an object")
    if (found := part.get("model_type", kind)) != kind:
        raise RequestError(ErrorCode.UNSUPPORTED, f"{key}.model_type", found, kind)
    hints = get_type_hints(shape)
    values = {field.name: part[field.name] for field in fields(shape) if field.name in part}  # type: ignore[arg-type]
    for name, value in values.items():
        # A truth value is an integer to Python, and none to anybody else.
        fits = isinstance(value, hints[name]) and (hints[name] is bool or not isinstance(value, bool))
        if hints[name] is float and isinstance(value, int) and not isinstance(value, bool):
            fits = True
        if not fits:
            expected = getattr(hints[name], "__name__", str(hints[name]))
            raise _wrong(key, f"{name} as {expected}, not {value!r}"[:200])
    return shape(**values)


def _wrong(key: str, reason: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, key, None, f"a config with {reason}")
