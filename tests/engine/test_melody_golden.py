"""Melodies: from a recording to chroma to tokens, against data recorded from AudioCraft."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.conditioning.melody import AudioMelody, MelodyCondition, MelodyFacts, chroma, melody_from_audio
from engine.runtime.lm import Condition
from engine.runtime.patterns import DelayPattern
from engine.runtime.session import NULL_BIN, Melody
from tests.support.audiocraft_golden import FRAMES, Golden, arrays

FACTS = MelodyFacts(sample_rate=32_000, frame_rate=Fraction(50), window_frames=1500, frames=235)
GUIDANCE = 3.0
BETA = 2.0
"""Of the recorded double guidance: how much more than the melody alone the text counts."""


@pytest.fixture(scope="module")
def golden(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return Golden(golden_dir, "melody", tmp_path_factory.mktemp("melody"))


@pytest.fixture(scope="module")
def facts(golden: Golden) -> MelodyFacts:
    assert golden.bundle.melody is not None
    return golden.bundle.melody


@pytest.fixture(scope="module")
def melody(golden: Golden, facts: MelodyFacts) -> Melody:
    return melody_from_audio(golden["melody_wav32k"], facts, total_frames=FRAMES)


@pytest.fixture(scope="module")
def utils(golden_dir: Path) -> dict[str, Tensor]:
    return arrays(golden_dir / "utils.npz")


def test_chroma(utils: dict[str, Tensor], golden: Golden, facts: MelodyFacts) -> None:
    for sound, strengths, names in (
        (utils["chroma_wav"], utils["chroma_argmax0"], utils["chroma_argmax1"]),
        (golden["melody_stems_mix"][0], None, golden["melody_chroma"]),
    ):
        ours = chroma(sound[0], facts)
        if strengths is not None:
            assert torch.equal(ours, strengths[0])
        assert torch.equal(torch.nn.functional.one_hot(ours.argmax(dim=1), 12).float(), names[0])


def test_chroma_of_a_short_sound_and_of_none(utils: dict[str, Tensor]) -> None:
    beginning = chroma(utils["chroma_wav"][0, :4000], FACTS).argmax(dim=1)
    assert torch.equal(beginning, utils["chroma_short"][0].argmax(dim=1))
    silence = chroma(torch.zeros(20), FACTS).argmax(dim=1)
    assert torch.equal(silence, utils["chroma_null"][0].argmax(dim=1))
    assert utils["chroma_null"][0, :, NULL_BIN].all()


def test_facts(golden: Golden, facts: MelodyFacts) -> None:
    assert facts == MelodyFacts(32_000, Fraction(50), golden.bundle.window_frames, int(golden["melody_chroma_len"]))
    assert facts.rate == Fraction("7.8125")


def test_what_stands_before_the_codes(golden: Golden, melody: Melody) -> None:
    prefix = golden.condition(golden.facts["texts"][0], melody).prefix
    assert prefix is not None
    conditional, null = prefix.rows(0)
    torch.testing.assert_close(conditional[: prefix.frames], golden["melody_embeds"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(null[: prefix.frames], golden["melody_null_embeds"][0], rtol=0, atol=1e-6)
    assert not null[prefix.frames :].any()
    nothing = golden.null.prefix
    assert nothing is not None
    assert torch.equal(nothing.text, golden["melody_null_text"][0])


def test_greedy_tokens(golden: Golden, melody: Melody) -> None:
    heard = golden.condition(golden.facts["texts"][0], melody)
    assert torch.equal(golden.generate([heard]), golden["melody_tokens"])
    assert not torch.equal(golden["melody_tokens"], golden["gen1_tokens"])


def test_a_melody_written_down_is_heard_as_one_that_is_read(golden: Golden, facts: MelodyFacts) -> None:
    written = MelodyCondition(golden["melody_chroma"][0].argmax(dim=1), facts)
    heard = golden.condition(golden.facts["texts"][0], written)
    assert torch.equal(golden.generate([heard]), golden["melody_tokens"])


def test_a_melody_beside_none(golden: Golden, melody: Melody) -> None:
    first, second = golden.facts["texts"][:2]
    as_recorded = [golden.condition(first, melody), golden.second_padded]
    assert torch.equal(golden.generate(as_recorded), golden["melody_two_tokens"])
    masked = golden.generate([golden.condition(first, melody), golden.condition(second)])
    assert torch.equal(masked[:1], golden["melody_tokens"])
    assert torch.equal(masked[1:], golden["gen_solo_b"])


def test_longer_than_the_window(golden: Golden, facts: MelodyFacts) -> None:
    expected = golden["melody_long_tokens"]
    frames, stride = expected.shape[2], round(golden["long_params"][1].item() * golden.facts["frame_rate"])
    sliding = melody_from_audio(golden["melody_wav32k"], facts, total_frames=frames)
    assert isinstance(sliding, AudioMelody)
    heard = golden.condition(golden.facts["texts"][0], sliding)
    assert torch.equal(golden.generate([heard], frames, stride=stride), expected)


def unguided(golden: Golden, conditions: list[Condition], streams: int) -> Tensor:
    """Greedy codes ``[streams, codebooks, frames]`` where rows that are joined here, and not by the sampler, are guided by hand.

    Of the conditions, those with text and melody come first, then (of one stream) the melody alone, then the null ones.
    """
    lm, pattern = golden.bundle.lm, DelayPattern(golden.bundle.delays)
    nothing = torch.empty(streams, pattern.num_codebooks, 0, dtype=torch.long)
    sequence = pattern.sequence(nothing, FRAMES, lm.config.special_token)
    slots = pattern.slots(0, FRAMES, FRAMES)
    session = lm.session(conditions, sequence.shape[2], guided=False)
    for step in range(1, sequence.shape[2]):
        heard = sequence[..., step - 1 : step].repeat(len(conditions) // streams, 1, 1)
        whole, *rest = lm(heard, session)[:, :, -1].split(streams)
        null = rest[-1]
        if len(rest) == 2:
            whole = rest[0] + BETA * (whole - rest[0])
        tokens = (null + GUIDANCE * (whole - null)).argmax(dim=-1)
        column = sequence[..., step]
        column.copy_(torch.where(slots[:, step], tokens, column))
    return pattern.frames(sequence, 0, FRAMES)


def test_rows_of_their_own_for_null(golden: Golden) -> None:
    """AudioCraft's ``two_step_cfg``: the null text is as long as it is alone, and not as long as its neighbours."""
    codes = unguided(golden, [golden.first, golden.second_padded, golden.null, golden.null], 2)
    assert torch.equal(codes, golden["twostep_cfg3_tokens"])


def test_guidance_by_melody_and_by_text(golden: Golden, melody: Melody) -> None:
    """AudioCraft's ``cfg_coef_beta``: from nothing to the melody to melody and text."""
    heard = golden.condition(golden.facts["texts"][0], melody)
    alone, nothing = golden.condition(None, melody, padded=True), golden.condition(None, padded=True)
    codes = unguided(golden, [heard, alone, nothing], 1)
    assert torch.equal(codes, golden["melody_beta_tokens"])
