"""Melodies against data recorded from AudioCraft, beyond what `tests.parity` compares."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from engine.conditioning.melody import MelodyCondition, MelodyFacts, chroma
from engine.runtime.conditions import NULL_BIN
from tests.parity.recorded import RecordedModel, arrays


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> RecordedModel:
    return RecordedModel(golden_dir, "melody")


@pytest.fixture(scope="module")
def facts(golden: RecordedModel) -> MelodyFacts:
    assert golden.bundle.melody is not None
    return golden.bundle.melody


def test_chroma_of_none(golden_dir: Path, facts: MelodyFacts) -> None:
    recorded = arrays(golden_dir / "utils.npz")["chroma_null"][0]
    assert torch.equal(chroma(torch.zeros(20), facts).argmax(dim=1), recorded.argmax(dim=1))
    assert recorded[:, NULL_BIN].all()


def test_facts(golden: RecordedModel, facts: MelodyFacts) -> None:
    assert facts == MelodyFacts(32_000, Fraction(50), golden.bundle.window_frames, int(golden["melody_chroma_len"]))
    assert facts.rate == Fraction("7.8125")


def test_the_null_melody_has_null_text(golden: RecordedModel) -> None:
    nothing = golden.null.prefix
    assert nothing is not None
    assert torch.equal(nothing.text, golden["melody_null_text"][0])


def test_a_melody_written_down_is_heard_as_one_that_is_read(golden: RecordedModel, facts: MelodyFacts) -> None:
    written = MelodyCondition(golden["melody_chroma"][0].argmax(dim=1), facts)
    heard = golden.condition(golden.texts[0], written)
    assert torch.equal(golden.generate([heard]), golden["melody_tokens"])
    assert not torch.equal(golden["melody_tokens"], golden["gen1_tokens"])
