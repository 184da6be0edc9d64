"""A whole evaluation of a tiny model, and what it is made of."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.words import key_in, metre_in, tempo_in
from engine.evaluation.command import main
from engine.evaluation.generation import Request, decode, encode, make_clips
from engine.evaluation.language import cross_entropy, unigram_entropy
from engine.evaluation.material import HeldOut, _caption, _prompt, read_held_out, scale_of
from engine.evaluation.metrics import melody_request, tempo_metrics
from engine.evaluation.profile import profiles
from engine.evaluation.report import FULL_CLIPS, GATES, Plan, evaluate, gates_of
from engine.runtime.patterns import DelayPattern
from engine.runtime.sampling import SamplingSettings
from engine.training.composer import compose
from engine.training.data import Clip
from engine.training.data.records import record_of
from engine.training.data.sampler import step_generator
from engine.training.display import Display
from engine.training.package import status_of
from protocols.errors import RequestError
from tests.support.own_models import forget_score, write_own_model

SECONDS = Fraction(3)


@pytest.fixture(scope="module")
def clips(shards: Path) -> list[HeldOut]:
    return read_held_out(shards, 4, SECONDS)


@pytest.fixture(scope="module")
def report(bundle: ModelBundle, shards: Path) -> dict[str, Any]:
    return evaluate(bundle, Plan(clips=4, melodies=2, seconds=SECONDS, data=shards), Display())


def test_prompts_say_the_tempo_the_key_and_the_metre_of_their_piece() -> None:
    for seed in range(0, 2500, 25):
        record = record_of(compose(seed), 0, 1)
        caption = _caption(record, step_generator(0, seed))
        prompt = _prompt(Clip(record, caption, Fraction(0), SECONDS))
        assert key_in(prompt) == scale_of(record), prompt
        assert abs((tempo_in(prompt) or 0) - record.bpm) <= Fraction(1, 2), prompt
        assert tuple(metre_in(prompt) or (4, 2)) == (record.metre.beats, record.metre.division), prompt


def test_clips_of_shards_are_whole_begin_with_a_bar_and_come_again(shards: Path, clips: list[HeldOut]) -> None:
    again = read_held_out(shards, 4, SECONDS)
    for one, other in zip(clips, again, strict=True):
        bars = one.clip.start / one.clip.record.seconds_at(one.clip.record.metre.beats)
        assert abs(bars - round(bars)) < Fraction(1, 1000)
        assert len(one.mix) == len(one.other) == 3 * 32_000
        assert one.prompt == other.prompt
        assert np.array_equal(one.mix, other.mix)
    assert len({one.clip.record.seed for one in clips}) == 4
    assert read_held_out(shards, 4, SECONDS, seed=1)[0].clip.start != clips[0].clip.start


def test_clips_that_no_piece_is_long_enough_for_are_refused(shards: Path) -> None:
    with pytest.raises(RequestError, match="up to 12"):
        read_held_out(shards, 4, Fraction(13))


def test_a_clip_does_not_depend_on_what_is_made_beside_it(bundle: ModelBundle) -> None:
    requests = [Request(f"happy rock, {bpm} bpm, in C major") for bpm in (90, 100, 120)]
    together, alone = (make_clips(bundle, requests, SECONDS, 5, batch=batch) for batch in (3, 1))
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (3 * 32_000,)
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not np.allclose(together[0], together[1])


def test_an_audio_prompt_comes_first(bundle: ModelBundle, clips: list[HeldOut]) -> None:
    codes = encode(bundle, clips[0].mix)[:, :50]
    (made,) = make_clips(bundle, [Request("sad piano", codes=codes)], Fraction(1), 5)
    assert made.shape == (2 * 32_000,)
    # The decoder's right context is all that the continuation changes of the prompt.
    heard = 32_000 - bundle.codec.lookahead_samples
    np.testing.assert_allclose(made[:heard], decode(bundle, codes, 32_000)[:heard], atol=1e-4)


def test_a_melody_changes_what_is_made(bundle: ModelBundle, clips: list[HeldOut]) -> None:
    request = melody_request(bundle, clips[0])
    assert request.melody is not None
    with_it, without = (make_clips(bundle, [one], SECONDS, 5)[0] for one in (request, replace(request, melody=None)))
    assert not np.allclose(with_it, without)


def test_cross_entropy_is_that_of_the_network_that_was_trained(tmp_path: Path) -> None:
    trained = write_own_model(tmp_path / "tiny")
    bundle = load_model(str(tmp_path / "tiny"), device="cpu", dtype="float32")
    codes = torch.randint(0, bundle.card, (3, 4, 40), generator=torch.Generator().manual_seed(2))
    text = bundle.text.encode("a happy rock song")
    found = cross_entropy(bundle, codes, [bundle.lm.condition(text.hidden)] * 3)

    sequence = DelayPattern(bundle.delays).sequence(codes, 40, bundle.card)
    tokens = bundle.text._tokenizer("a happy rock song", return_tensors="pt")["input_ids"].expand(3, -1)
    score = torch.zeros(3, sequence.shape[2] - 1, trained.score.in_features)
    with torch.no_grad():
        logits = trained(sequence[..., :-1], score, tokens, torch.ones_like(tokens, dtype=torch.bool))
    for book, value in enumerate(found):
        targets = sequence[:, book, 1:].flatten()
        wanted = F.cross_entropy(
            logits[:, :, book].flatten(0, 1)[targets < bundle.card], targets[targets < bundle.card]
        )
        assert value == pytest.approx(float(wanted), rel=1e-3)


def test_the_entropy_of_known_frequencies() -> None:
    even = torch.arange(16).repeat(1, 1, 1000)
    assert unigram_entropy(even, 32) == [pytest.approx(math.log(16), abs=1e-3)]
    assert unigram_entropy(torch.zeros(2, 1, 50, dtype=torch.long), 32) == [0.0]
    few = torch.randint(0, 16, (1, 1, 200), generator=torch.Generator().manual_seed(3))
    assert unigram_entropy(few, 16) == [pytest.approx(math.log(16), abs=0.02)]


def test_what_is_real_reaches_the_ceiling(clips: list[HeldOut]) -> None:
    real = profiles([one.mix for one in clips], 32_000, threads=2)
    for metric in tempo_metrics(clips, real, real, real).values():
        assert metric["value"] == pytest.approx(metric["ceiling"], rel=0.05)


def test_gates_are_met_by_what_was_measured_on_enough_clips_alone() -> None:
    groups: dict[str, dict[str, dict[str, Any]]] = {"codec": {}, "music": {}}
    for gate in GATES.values():
        group, metric = gate.metric
        groups[group][metric] = {"value": gate.bound}
    whole = gates_of(groups, FULL_CLIPS)
    assert all(gate["met"] is True for gate in whole.values())
    assert status_of({"gates": whole}) == "trained"

    few = gates_of(groups, FULL_CLIPS - 1)
    assert not few["silent_clips"]["met"]
    assert few["silent_clips"]["needs_clips"] == FULL_CLIPS
    assert status_of({"gates": few}) == "preview"
    for value in (None, math.nan, 0.69):
        groups["music"]["tempo_right"] = {"value": value}
        assert gates_of(groups, FULL_CLIPS)["tempo_right"]["met"] is False
    groups["codec"]["log_mel_distance"] = {"value": 0.21}
    assert gates_of(groups, FULL_CLIPS)["codec_log_mel_distance"]["met"] is False


def test_a_report_is_json_and_has_every_metric_with_its_ceiling(report: dict[str, Any], bundle: ModelBundle) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["model"]["fingerprint"] == bundle.fingerprint
    assert report["setup"]["clips"] == 4
    for group in report["metrics"].values():
        for metric in group.values():
            assert {"value", "ceiling"} <= set(metric)
    music = report["metrics"]["music"]
    assert music["tempo_right"]["ceiling"] == 1.0
    assert music["melody_cosine"]["ceiling"] > 0.9
    assert music["melody_cosine"]["value"] < 0.5
    assert music["frechet_logmel"]["value"] > 0
    assert set(report["gates"]) == set(GATES)
    names = {metric for group in report["metrics"].values() for metric in group}
    assert set(report["about"]) <= names | {"ceiling", "through_codec", "control"}
    assert len(report["clips"]) == 4


def test_the_same_evaluation_has_the_same_numbers(report: dict[str, Any], bundle: ModelBundle, shards: Path) -> None:
    again = evaluate(bundle, Plan(clips=4, melodies=2, seconds=SECONDS, data=shards, threads=2), Display())
    assert again["metrics"] == report["metrics"]
    assert again["clips"] == report["clips"]


def test_other_sampling_than_the_default_is_measured_and_not_judged(bundle: ModelBundle, shards: Path) -> None:
    plan = Plan(clips=4, melodies=2, seconds=SECONDS, data=shards, sampling=SamplingSettings(guidance=1.5))
    found = evaluate(bundle, plan, Display())
    assert found["gates"] == {}
    assert found["setup"]["sampling"]["guidance"] == 1.5
    assert status_of(found) == "preview"


def test_a_model_that_hears_no_score_is_measured_without_melodies(tmp_path: Path, shards: Path) -> None:
    write_own_model(tmp_path / "tiny")
    forget_score(tmp_path / "tiny")
    deaf = load_model(str(tmp_path / "tiny"), device="cpu")
    found = evaluate(deaf, Plan(clips=4, melodies=2, seconds=SECONDS, data=shards), Display())
    assert "melody_cosine" not in found["metrics"]["music"]
    assert found["gates"]["melody_cosine"] == {"value": None, "bound": 0.6, "wanted": "at least", "met": False}


def test_the_command_writes_one_json_object_and_refuses_what_is_out_of_range(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_model(tmp_path / "tiny")
    out = tmp_path / "report.json"
    given = [str(tmp_path / "tiny"), "--data", str(shards), "--seconds", "3", "--threads", "1", "--device", "cpu"]
    assert main([*given, "--clips", "4", "--melodies", "2", "--json", "--out", str(out)]) == 0
    written = capsys.readouterr().out
    assert json.loads(written) == json.loads(out.read_text(encoding="utf-8"))
    assert main([*given, "--clips", "1"]) == 2
    assert "clips" in capsys.readouterr().err
    assert main([*given, "--clips", "4", "--melodies", "5"]) == 2
