"""Guidance and the draw: the reference's results, and the laws behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.runtime.sampling import SamplingSettings, draw, guide, sample
from protocols.errors import ErrorCode, RequestError


def distinct(tokens: Tensor) -> list[int]:
    return sorted(set(tokens.flatten().tolist()))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> dict[str, Tensor]:
    with np.load(golden_dir / "utils.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("sample_probs", "sample_topk5", "sample_topp08")}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sample_topk5", SamplingSettings(top_k=5)), ("sample_topp08", SamplingSettings(top_p=0.8, top_k=5))],
)
def test_draws_equal_audiocraft(recorded: dict[str, Tensor], name: str, settings: SamplingSettings) -> None:
    tokens = sample(recorded["sample_probs"].log(), settings, seeded(11))
    assert torch.equal(tokens, recorded[name][..., 0])


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), card=st.integers(2, 70))
def test_draw_is_multinomial(seed: int, rows: int, card: int) -> None:
    probabilities = torch.softmax(torch.randn(rows, card, generator=seeded(seed)) * 3, dim=-1)
    ours, theirs = seeded(seed), seeded(seed)
    for _ in range(3):
        expected = torch.multinomial(probabilities, 1, generator=theirs)[:, 0]
        assert torch.equal(draw(probabilities, ours), expected)
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_temperature_zero_is_greedy_and_leaves_the_generator() -> None:
    logits = torch.randn(2, 4, 30)
    generator = seeded(1)
    before = generator.get_state()
    assert torch.equal(sample(logits, SamplingSettings(temperature=0.0), generator), logits.argmax(-1))
    assert torch.equal(generator.get_state(), before)


def test_top_k_keeps_ties() -> None:
    logits = torch.tensor([2.0, 1.0, 1.0, 1.0, 0.0]).log().expand(4000, 5)
    drawn = sample(logits, SamplingSettings(top_k=2), seeded(2))
    assert distinct(drawn) == [0, 1, 2, 3]


def test_top_k_above_the_number_of_tokens_keeps_all() -> None:
    logits = torch.zeros(2000, 5)
    assert len(distinct(sample(logits, SamplingSettings(top_k=250), seeded(3)))) == 5


def test_top_p_keeps_the_token_that_crosses() -> None:
    # 0.5 and 0.3 lie before 0.8; the third token is dropped because the two before it reach it already.
    logits = torch.tensor([0.5, 0.3125, 0.125, 0.0625]).log().expand(4000, 4)
    assert distinct(sample(logits, SamplingSettings(top_p=0.75), seeded(4))) == [0, 1]
    assert distinct(sample(logits, SamplingSettings(top_p=0.5), seeded(4))) == [0, 1]
    assert distinct(sample(logits, SamplingSettings(top_p=0.4, top_k=4), seeded(4))) == [0]


def test_guidance_goes_past_the_condition() -> None:
    rows = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    assert guide(rows, 1.0).tolist() == [[1.0, 2.0]]
    assert guide(rows, 0.0).tolist() == [[0.0, 4.0]]
    assert guide(rows.half(), 3.0).tolist() == [[3.0, -2.0]]
    assert guide(rows.half(), 3.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_k", -1), ("top_p", 1.1), ("guidance", float("inf"))],
)
def test_settings_out_of_range(field: str, value: float) -> None:
    with pytest.raises(RequestError) as error:
        SamplingSettings(**{field: value})  # type: ignore[arg-type]
    assert error.value.code == ErrorCode.OUT_OF_RANGE
    assert error.value.field == field
