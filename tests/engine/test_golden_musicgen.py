"""The whole path from a checkpoint folder to tokens and sound, against data recorded from AudioCraft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.runtime.patterns import DelayPattern
from tests.support.audiocraft_golden import FRAMES, Golden

PROMPT_FRAMES = 20


@pytest.fixture(scope="module", params=["musicgen", "stereo", "melody"])
def golden(request: pytest.FixtureRequest, golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return Golden(golden_dir, request.param, tmp_path_factory.mktemp(request.param))


def test_facts(golden: Golden) -> None:
    bundle, facts = golden.bundle, golden.facts
    assert bundle.sample_rate == facts["sample_rate"]
    assert bundle.frame_rate == facts["frame_rate"]
    assert bundle.channels == facts["channels"]
    assert bundle.num_codebooks == facts["n_q"]
    assert bundle.card == facts["card"] == facts["special_token_id"]
    assert bundle.window_frames == facts["max_duration_used"] * facts["frame_rate"]


def test_text_embeddings(golden: Golden) -> None:
    texts = [*golden.facts["texts"][:2], None, ""]
    for row, text in enumerate(texts):
        encoded = golden.bundle.text.encode(text)
        mask = golden["text_mask"][row].bool()
        assert int(encoded.mask.sum()) == int(mask.sum())
        if not mask.any():
            assert encoded.is_null
            assert not golden["text_embeds"][row].any()
            continue
        torch.testing.assert_close(encoded.hidden, golden["text_t5_hidden"][row][mask], rtol=1e-4, atol=1e-5)
        projected = golden.bundle.lm.project_text(encoded.hidden)
        torch.testing.assert_close(projected, golden["text_embeds"][row][mask], rtol=1e-4, atol=1e-5)


def test_teacher_forced_logits(golden: Golden) -> None:
    lm, pattern = golden.bundle.lm, DelayPattern(golden.bundle.delays)
    codes, frames = golden["tf_codes"], golden["tf_codes"].shape[2]
    sequence = pattern.sequence(codes, frames, lm.config.special_token)
    assert torch.equal(sequence, golden["tf_sequence"])
    session = lm.session([golden.first, golden.second_padded], sequence.shape[2], guided=False)
    logits = lm(sequence, session)
    torch.testing.assert_close(logits, golden["tf_seq_logits"], rtol=1e-3, atol=1e-4)
    for codebook, delay in enumerate(pattern.delays):
        aligned = logits[:, codebook, delay : delay + frames]
        valid = golden["tf_mask"][:, codebook]
        torch.testing.assert_close(aligned[valid], golden["tf_logits"][:, codebook][valid], rtol=1e-3, atol=1e-4)


def test_logits_of_every_step(golden: Golden) -> None:
    lm, pattern = golden.bundle.lm, DelayPattern(golden.bundle.delays)
    sequence = pattern.sequence(golden["gen1_tokens"], FRAMES, lm.config.special_token)
    recorded = golden["gen1_step_logits"]
    session = lm.session([golden.first], len(recorded))
    for step, expected in enumerate(recorded):
        torch.testing.assert_close(lm(sequence[..., step : step + 1], session)[:, :, 0], expected, rtol=1e-3, atol=1e-4)


def test_greedy_tokens(golden: Golden) -> None:
    assert torch.equal(golden.generate([golden.first]), golden["gen1_tokens"])
    assert torch.equal(golden.generate([golden.second]), golden["gen_solo_b"])
    assert torch.equal(golden.generate([golden.null, golden.null]), golden["uncond_tokens"])


def test_greedy_tokens_of_a_batch(golden: Golden) -> None:
    as_recorded = golden.generate([golden.first, golden.second_padded])
    assert torch.equal(as_recorded, golden["gen2_tokens"])
    masked = golden.generate([golden.first, golden.second])
    assert torch.equal(masked[:1], golden["gen1_tokens"])
    assert torch.equal(masked[1:], golden["gen_solo_b"])


def test_stronger_guidance(golden: Golden) -> None:
    assert torch.equal(golden.generate([golden.first, golden.second_padded], guidance=5.0), golden["cfg5_tokens"])


def test_continuation(golden: Golden) -> None:
    prompt = golden["cont_tokens"][..., :PROMPT_FRAMES]
    assert torch.equal(golden.encode(golden["cont_prompt"][None]), prompt)
    assert torch.equal(golden.generate([golden.first], prompt=prompt), golden["cont_tokens"])
    assert torch.equal(golden.generate([golden.null], prompt=prompt), golden["cont_prompt_notext"])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sample_topk_tokens", {"temperature": 1.0, "top_k": 20}),
        ("sample_topp_tokens", {"temperature": 1.0, "top_p": 0.8}),
        ("sample_temp_tokens", {"temperature": 0.7, "top_k": 0}),
    ],
)
def test_sampled_tokens(golden: Golden, name: str, settings: dict[str, Any]) -> None:
    as_recorded = golden.generate([golden.first, golden.second_padded], seed=7, **settings)
    assert torch.equal(as_recorded, golden[name])
    masked = golden.generate([golden.first, golden.second], seed=7, **settings)
    assert torch.equal(masked[:1], golden[name][:1])


def test_longer_than_the_window(golden: Golden) -> None:
    _, stride_seconds, window_seconds = golden["long_params"].tolist()
    frame_rate = golden.facts["frame_rate"]
    stride = round(stride_seconds * frame_rate)
    assert golden.bundle.window_frames == round(window_seconds * frame_rate)
    expected = golden["long_tokens"]
    assert torch.equal(golden.generate([golden.first], expected.shape[2], stride=stride), expected)
    expected = golden["long_cont_tokens"]
    prompt = expected[..., :PROMPT_FRAMES]
    assert torch.equal(golden.generate([golden.first], expected.shape[2], prompt, stride=stride), expected)


def test_codec(golden: Golden) -> None:
    assert torch.equal(golden.encode(golden["codec_wav"]), golden["codec_codes"])
    for codes, audio in (
        ("codec_codes", "codec_decoded"),
        ("codec_rand_codes", "codec_rand_decoded"),
        ("gen1_tokens", "gen1_wav"),
    ):
        torch.testing.assert_close(golden.decode(golden[codes]), golden[audio], rtol=1e-3, atol=1e-5)
