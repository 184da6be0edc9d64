"""Sections of our own checkpoints' config.json: what they may say, and what is said of those that say something else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from engine.checkpoints.own_shapes import DecoderShape, read_decoder, read_text_encoder
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.t5 import T5Shape
from protocols.errors import ErrorCode, RequestError

WRONG: dict[str, dict[str, Any]] = {
    "a number in words": {"d_model": "wide"},
    "a truth for a number": {"num_heads": True},
    "no width": {"d_kv": 0},
    "fewer than none": {"d_ff": -1},
    "no buckets": {"relative_attention_num_buckets": 2},
    "all in one bucket": {"relative_attention_max_distance": 8},
    "no epsilon": {"layer_norm_epsilon": 0.0},
    "an endless epsilon": {"layer_norm_epsilon": float("inf")},
    "null": {"num_layers": None},
}


def test_defaults_are_those_of_transformers() -> None:
    ensure_torchaudio()
    from transformers import MusicgenDecoderConfig, T5Config

    for ours, theirs in ((DecoderShape(), MusicgenDecoderConfig()), (T5Shape(), T5Config())):
        for field in fields(ours):  # type: ignore[arg-type]
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


def test_what_is_not_known_is_passed_over() -> None:
    assert read_decoder({"decoder": {"hidden_size": 48, "layerdrop": "often"}}).hidden_size == 48
    assert read_text_encoder({"text_encoder": {"layer_norm_epsilon": 1, "d_model": 24}}).hidden_size == 24
    assert read_decoder({"decoder": {"pad_token_id": None}}).pad_token_id is None


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG)
def test_a_value_that_no_encoder_has_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        read_text_encoder({"text_encoder": values})
    assert refused.value.code is ErrorCode.MALFORMED
    assert refused.value.field == "text_encoder"


def test_an_activation_that_ours_does_not_know_is_unsupported() -> None:
    with pytest.raises(RequestError) as refused:
        read_text_encoder({"text_encoder": {"feed_forward_proj": "gated-silu"}})
    assert refused.value.code is ErrorCode.UNSUPPORTED
    assert "gated-silu" in refused.value.text
