"""MusicGen-Style against data recorded from AudioCraft: what is heard of a recording, and what is made of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import soundfile
import torch

from engine.conditioning.style import StyleConditioner
from protocols.messages import Generate
from tests.parity.recorded import RecordedModel
from tests.support.streams import codes_of, play

SECONDS, EVAL_Q = 3.0, 2


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> RecordedModel:
    return RecordedModel(golden_dir, "style")


@pytest.fixture(scope="module")
def style(golden: RecordedModel) -> StyleConditioner:
    assert golden.bundle.style is not None
    return golden.bundle.style


@pytest.fixture(scope="module")
def start(golden: RecordedModel) -> int:
    """Where AudioCraft took its excerpt: at random, from this seed."""
    latest = golden["style_wav"].shape[-1] - int(SECONDS * golden.bundle.sample_rate)
    return random.Random(0).randint(0, latest)


def test_what_is_heard_of_a_recording(golden: RecordedModel, style: StyleConditioner, start: int) -> None:
    embeddings, mask = style.encode(golden["style_wav"], start=start, eval_q=EVAL_Q)
    torch.testing.assert_close(embeddings, golden["style_embeds"][0], rtol=0, atol=1e-5)
    assert mask.tolist() == golden["style_mask"][0].tolist()


@pytest.mark.parametrize(("recorded", "beta"), [("style_betaNone_tokens", 1.0), ("style_beta5.0_tokens", 5.0)])
def test_tokens(golden: RecordedModel, start: int, tmp_path: Path, recorded: str, beta: float) -> None:
    path = tmp_path / "style.wav"
    soundfile.write(path, golden["style_wav"][0].numpy(), golden.bundle.sample_rate, subtype="FLOAT")
    request = Generate(
        prompt=golden.facts["texts"][0],
        duration=1.2,
        temperature=0.0,
        seed=1,
        style_path=str(path),
        style_start=start / golden.bundle.sample_rate,
        style_detail=EVAL_Q,
        double_guidance=beta,
    )
    assert codes_of(play(golden.bundle, request)).tolist() == golden[recorded][0].tolist()
