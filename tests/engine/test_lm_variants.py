"""LMs that differ from MusicGen's, and every codebook pattern, against what AudioCraft made of the same weights.

The figures are AudioCraft 1.4.0a2's own, greedy and with a guidance of 3: whole windows, the null text, a continuation, a stream
past its window, and the logits of codebook entry 0 with the codes given.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.lm import LMFacts, build_lm, lm_config, lm_weights
from engine.checkpoints.audiocraft.package import Package
from engine.checkpoints.devices import Precision
from engine.runtime.lm import Condition, MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from protocols.errors import RequestError
from tests.support.lm_variants import CASES, WINDOW, Case, prompt, text

FIGURES: dict[str, Any] = json.loads((Path(__file__).parent / "figures" / "lm_variants.json").read_text())
GREEDY = SamplingSettings(temperature=0)


@cache
def lm_of(name: str) -> MusicgenLM:
    return CASES[name].lm()


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def generate(
    lm: MusicgenLM,
    condition: Condition,
    frames: int,
    given: Tensor | None = None,
    *,
    window: int = WINDOW,
    stride: int = 10,
) -> list[list[int]]:
    """The codes of a stream, its prompt's included."""
    sampler = FrameSampler(
        lm,
        [condition],
        GREEDY,
        total_frames=frames,
        prompt=given,
        window_frames=window,
        stride_frames=stride,
        seed=0,
    )
    made = [] if given is None else [given]
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
            assert sampler.frames_done == sum(piece.shape[2] for piece in made)
    codes: list[list[int]] = torch.cat(made, dim=2)[0].tolist()
    return codes


def test_tokens_are_audiocrafts(name: str) -> None:
    lm, case, recorded = lm_of(name), CASES[name], FIGURES["cases"][name]
    heard = lm.condition(text(1))
    assert generate(lm, heard, WINDOW) == recorded["whole"]
    assert generate(lm, lm.condition(None), 8) == recorded["null"]
    assert generate(lm, heard, 20, prompt(case.books, 9)) == recorded["continued"]
    assert generate(lm, heard, 50, prompt(case.books, 5), window=24) == recorded["long"]


def test_logits_are_audiocrafts(name: str) -> None:
    lm, given = lm_of(name), prompt(CASES[name].books, 12)
    layout = lm.pattern.layout(given.shape[2])
    sequence = layout.sequence(given, lm.special_token)[..., : layout.valid_steps]
    session = lm.session([lm.condition(text(1))], sequence.shape[2], guided=False)
    logits = lm(sequence[..., :-1], session)[0, ..., 0]
    for book, row in enumerate(FIGURES["cases"][name]["logits"]):
        steps = layout.slot_steps[book]
        inside = steps < layout.valid_steps
        assert [figure is not None for figure in row] == inside.tolist()
        ours = logits[book, torch.from_numpy(steps[inside] - 1)]
        assert np.allclose(ours, [figure for figure in row if figure is not None], atol=2e-4)


@pytest.mark.parametrize(
    "name", ["norms_last_biases", "xpos", "text_positions", "kv_repeat_rope_biases", "past_context"]
)
def test_a_neighbour_of_another_length_changes_nothing(name: str) -> None:
    """Rows of several lengths of text, and null texts, side by side: each is what it is alone."""
    lm = lm_of(name)
    conditions = [lm.condition(text(1)), lm.condition(None), lm.condition(text(2, 11))]
    together = FrameSampler(lm, conditions, GREEDY, total_frames=10, window_frames=10, stride_frames=5, seed=0)
    made = []
    while not together.done:
        if (completed := together.advance()) is not None:
            made.append(completed)
    codes = torch.cat(made, dim=2)
    for row, condition in zip(codes, conditions, strict=True):
        assert row.tolist() == generate(lm, condition, 10, window=10, stride=5)


@pytest.mark.parametrize("name", ["norms_last_biases", "relu", "kv_repeat_rope_biases"])
def test_packed_weights_make_the_same(name: str) -> None:
    lm = CASES[name].lm()
    lm.pack()
    assert generate(lm, lm.condition(text(1)), WINDOW) == FIGURES["cases"][name]["whole"]


def test_what_positions_rotate_by_is_not_taken_for_a_weight() -> None:
    case = CASES["xpos"]
    stored = {"transformer.rope.frequencies": torch.ones(4), "transformer.rope.xpos.decay_rates": torch.ones(4)}
    stored["transformer.layers.0.self_attn.rope.frequencies"] = torch.ones(4)
    package = Package(Path("state_dict.bin"), Config.read(case.config), case.state | stored, exported=True)
    weights, text_encoder = lm_weights(package)
    assert weights.keys() == case.state.keys()
    assert not text_encoder


@pytest.mark.parametrize("stored", ["as computed", "in half precision", "too few", "all zero"])
def test_positions_rotate_by_what_is_stored(stored: str) -> None:
    case = CASES["xpos"]
    config = Config.read(case.config)
    shape = lm_config(config, LMFacts.read(config), case.state, WINDOW, 0)
    half = torch.arange(shape.head_dim // 2, dtype=torch.float32)
    rates, decays = shape.variant.max_period ** (-2 * half / shape.head_dim), (half * 2 / shape.head_dim + 0.4) / 1.4
    if stored == "in half precision":
        rates, decays = rates.half(), decays.half()
    if stored in ("too few", "all zero"):
        rates = rates[:-1] if stored == "too few" else rates * 0
    tables = {"transformer.rope.frequencies": rates, "transformer.rope.xpos.decay_rates": decays}
    package = Package(Path("state_dict.bin"), config, case.state | tables, exported=True)

    def build() -> Tensor:
        lm = build_lm(shape, package, case.state, torch.device("cpu"), Precision("float32", torch.float32))
        assert lm.rotations is not None
        return lm.rotations

    if stored in ("too few", "all zero"):
        with pytest.raises(RequestError, match=r"rope\.frequencies"):
            build()
        return
    turned, computed = build(), lm_of("xpos").rotations
    assert computed is not None
    torch.testing.assert_close(turned[0, 9].angle(), torch.polar(torch.ones(()), 9 * rates.float()).angle())
    torch.testing.assert_close(turned[0, 9].abs(), decays.float() ** (9 / 512))
    assert torch.allclose(turned, computed, rtol=0, atol=1e-6) == (stored == "as computed")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transformer_lm.norm", "batch_norm"),
        ("transformer_lm.activation", "geglu"),
        ("transformer_lm.positional_embedding", "alibi"),
        ("transformer_lm.causal", False),
        ("transformer_lm.kv_repeat", 3),
        ("transformer_lm.past_context", -1),
        ("codebooks_pattern.modeling", "spiral"),
        ("codebooks_pattern.delay.delays", [0, 1]),
        ("codebooks_pattern.delay.delays", [3, 2, 1, 0]),
        ("codebooks_pattern.delay.delays", ["a", 1, 2, 3]),
        ("codebooks_pattern.delay.empty_initial", -1),
    ],
)
def test_what_cannot_be_computed_is_refused_by_its_key(key: str, value: object) -> None:
    config = Config.read(Case({key: value, "transformer_lm.memory_efficient": False}).config)
    state = CASES["musicgen"].state
    with pytest.raises(RequestError) as refusal:
        lm_config(config, LMFacts.read(config), state, WINDOW, 0)
    assert refusal.value.field == key


def test_weights_of_another_variant_are_refused() -> None:
    for wanted, state in (("biases", CASES["musicgen"].state), ("musicgen", CASES["layer_scale"].state)):
        config = Config.read(CASES[wanted].config)
        package = Package(Path("state_dict.bin"), config, state, exported=True)
        shape = lm_config(config, LMFacts.read(config), state, WINDOW, 0)
        with pytest.raises(RequestError, match=r"bias|layer_scale"):
            build_lm(shape, package, state, torch.device("cpu"), Precision("float32", torch.float32))
