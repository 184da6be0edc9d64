"""Several prompts in a stream, and what turns bit by bit while it plays: heard as described, and made again from the record."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.blending import between, blended, heaviest
from engine.conditioning.words import Directions
from engine.preparation import Preparation, directions_of
from engine.runtime.conditions import Condition, Mix
from engine.stream import EngineStream
from protocols.melody import MelodyLine
from protocols.messages import Generate, Open, StreamRequest, Update
from tests.support.own_models import forget_score, write_own_model
from tests.support.streams import codes_of, frames_of, play
from tests.support.tiny_checkpoints import write_tiny_checkpoint

TUNE = MelodyLine.of_seconds([(0, Fraction(1, 2), 60), (Fraction(1, 2), 2, 67)], 2).encode()
BEAT = 25
"""Frames at 120 beats/min."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder, window_seconds=Fraction(8, 5))
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder: Path = tmp_path_factory.mktemp("models") / "deaf"
    write_own_model(folder, window_seconds=Fraction(8, 5))
    forget_score(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def melodic(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("melodic")
    return load_model(str(write_tiny_checkpoint(folder, chroma_length=31)), device="cpu")


def text(bundle: ModelBundle, prompt: str) -> Condition:
    encoded = bundle.text.encode(prompt)
    return bundle.lm.condition(None if encoded.is_null else encoded.hidden)


def alter(bundle: ModelBundle, stream: EngineStream, **changes: object) -> None:
    """Ask a stream for a change, as the service does."""
    update = Update(stream=1, **changes)  # type: ignore[arg-type]
    stream.add_change(Preparation(bundle).condition(Change.of(update, stream.hearing.directions)))


def step(stream: EngineStream, frames: int = 1) -> None:
    """Make so many frames; what is heard afterwards is what the last one was sampled under."""
    made = stream.frames
    while stream.frames < made + frames:
        stream.advance()


def heard(stream: EngineStream) -> Condition:
    condition = stream.hearing.condition
    assert isinstance(condition, Condition)
    return condition


def mixed(stream: EngineStream) -> list[float]:
    condition = stream.hearing.condition
    assert isinstance(condition, Mix)
    return [share for _, share in condition.parts]


def test_a_blend_is_the_text_in_between(plain: ModelBundle) -> None:
    long, short = plain.text.encode("a happy rock song with guitar"), plain.text.encode("sad piano")
    lm = plain.lm
    mean = 0.25 * lm.project_text(long.hidden)
    mean[: len(short.hidden)] += 0.75 * lm.project_text(short.hidden)
    made = blended(((lm.condition(long.hidden), 0.25), (lm.condition(short.hidden), 0.75)))
    for layer, (keys, values) in zip(lm.layers, made.keys_values, strict=True):
        expected = layer.cross_kv(mean).view(len(mean), 2, lm.config.heads, lm.config.head_dim).permute(1, 2, 0, 3)
        assert torch.allclose(torch.stack((keys, values)), expected, atol=1e-5)
    assert blended(((made, 1.0),)) is made


def test_a_blend_of_prefixes_is_the_text_in_between(melodic: ModelBundle) -> None:
    long, short = text(melodic, "a happy rock song with guitar"), text(melodic, "sad piano")
    made = blended(((long, 0.5), (short, 0.5))).prefix
    assert made is not None
    assert long.prefix is not None
    assert short.prefix is not None
    count = len(short.prefix.text)
    assert len(made.text) == len(long.prefix.text) > count
    assert torch.allclose(made.text[:count], (long.prefix.text[:count] + short.prefix.text) / 2)
    assert torch.allclose(made.text[count:], long.prefix.text[count:] / 2)


def test_between_words(plain: ModelBundle) -> None:
    first, second, third = (((text(plain, prompt), 1.0),) for prompt in ("happy rock", "sad piano", "drums"))
    assert between(first, second, 1.0, "embedding") is second
    ((way, share),) = between(first, second, 0.25, "embedding")
    assert share == 1
    assert torch.equal(way.keys_values, blended(((first[0][0], 0.75), (second[0][0], 0.25))).keys_values)
    assert between(first, second, 0.25, "guidance") == ((first[0][0], 0.75), (second[0][0], 0.25))
    several = ((first[0][0], 0.5), (third[0][0], 0.5))
    assert between(several, first, 0.5, "embedding") == ((first[0][0], 0.75), (third[0][0], 0.25)), "one part each"
    many = tuple((text(plain, f"song {number}"), (number + 1) / 55) for number in range(10))
    kept = heaviest(many)
    assert [condition for condition, _ in kept] == [condition for condition, _ in many[:1:-1]]
    assert sum(share for _, share in kept) == pytest.approx(1)


@pytest.mark.parametrize("blend", ["embedding", "guidance"])
@pytest.mark.parametrize("which", ["plain", "scored", "melodic"])
def test_weights_shape_the_music(which: str, blend: str, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)

    def codes(prompt: str, weights: str = "") -> NDArray[np.int64]:
        asked = Generate(prompt=prompt, weights=weights, blend=blend, duration=0.5, seed=1)  # type: ignore[arg-type]
        return codes_of(play(bundle, asked))

    both = "a happy rock song with guitar || sad piano"
    assert np.array_equal(codes(both, "0 1"), codes("sad piano"))
    assert np.array_equal(codes(both, "1 0"), codes("a happy rock song with guitar"))
    assert np.array_equal(codes(both), codes(both, "2 2"))
    assert not np.array_equal(codes(both), codes(both, "1 9"))
    assert not np.array_equal(codes(both), codes("sad piano"))


def test_embedding_and_guidance_differ(scored: ModelBundle) -> None:
    prompt = "a happy rock song with guitar || sad piano"
    made = [codes_of(play(scored, Generate(prompt=prompt, blend=how, duration=0.5, seed=1))) for how in BLENDS]
    assert not np.array_equal(*made)


BLENDS = ("embedding", "guidance")


def test_a_morph_takes_a_step_with_each_frame(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a happy rock song with guitar", bpm=120.0, seed=1, guidance=3.0))
    before, after = heard(stream).keys_values, text(scored, "sad piano").keys_values
    step(stream, 10)
    alter(scored, stream, prompt="sad piano", guidance=5.0, top_k=7, morph=2.0)
    step(stream)
    for number in range(1, 2 * BEAT + 1):
        progress = number / (2 * BEAT)
        if number < 2 * BEAT:
            padded = torch.zeros_like(before)
            padded[..., : after.shape[3], :] = after
            expected = torch.lerp(before, padded, progress)
        else:
            expected = after
        assert torch.allclose(heard(stream).keys_values, expected, atol=1e-5), number
        assert stream.sampler.settings.guidance == pytest.approx(3 + 2 * progress)
        assert stream.sampler.settings.top_k == 7, "a count changes at once"
        step(stream)
    assert torch.equal(heard(stream).keys_values, after)
    assert stream.sampler.settings.guidance == 5


def test_beats_are_counted_at_the_tempo_of_the_stream(scored: ModelBundle) -> None:
    for bpm, frames in ((60.0, 50), (0.0, 25), (240.0, 12)):
        stream = play(scored, Open(prompt="a song", bpm=bpm, seed=1, guidance=2.0))
        alter(scored, stream, guidance=4.0, morph=1.0)
        stream.advance()
        assert stream.sampler.settings.guidance == pytest.approx(2 + 2 / frames)


@pytest.mark.parametrize("which", ["scored", "melodic"])
def test_a_morph_by_guidance_keeps_both_prompts_until_it_is_over(which: str, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    blend = "guidance" if which == "scored" else "embedding"  # what a melody model hears first is never put in between
    asked = Open(prompt="a happy rock song", bpm=240.0, blend=blend, melody=TUNE, seed=1)  # type: ignore[arg-type]
    stream = play(bundle, asked)
    step(stream, 5)
    alter(bundle, stream, prompt="sad piano || drums", weights="3 1", blend="guidance", morph=0.32)
    step(stream)
    assert mixed(stream) == pytest.approx([0.75, 0.1875, 0.0625])
    step(stream)
    assert mixed(stream) == pytest.approx([0.5, 0.375, 0.125])
    step(stream, 2)
    assert mixed(stream) == pytest.approx([0.75, 0.25])
    step(stream, 3)


def test_a_morph_that_is_interrupted_goes_on_from_where_it_is(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a happy rock song", bpm=120.0, seed=1))
    step(stream, 3)
    alter(scored, stream, prompt="sad piano", morph=4.0)
    step(stream, 40)
    here = heard(stream).keys_values
    alter(scored, stream, prompt="drums", morph=4.0)
    step(stream)
    after = text(scored, "drums").keys_values
    moved = heard(stream).keys_values
    assert moved.shape == here.shape
    assert 0 < float((moved - here).abs().max()) < 0.1 * float(after.abs().max())
    step(stream, 4 * BEAT)
    assert torch.equal(heard(stream).keys_values, after)


@pytest.mark.parametrize("which", ["plain", "scored"])
def test_a_tempo_that_changes_on_the_way_does_not_end_a_morph(which: str, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    stream = play(bundle, Open(prompt="a happy rock song", bpm=120.0, seed=1))
    step(stream, 3)
    alter(bundle, stream, prompt="sad piano", morph=4.0)
    step(stream, 50)
    before = heard(stream).keys_values
    alter(bundle, stream, bpm=90.0, key="A minor")
    step(stream)
    told = "sad piano" if which == "scored" else "sad piano, 90 bpm, in A minor"
    goal = text(bundle, told).keys_values
    assert heard(stream).keys_values.shape[3] >= before.shape[3]
    assert not torch.equal(heard(stream).keys_values, goal)
    step(stream, 50)
    assert torch.equal(heard(stream).keys_values, goal)


def test_other_prompts_at_once_end_a_morph(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a happy rock song", seed=1))
    alter(scored, stream, prompt="sad piano", guidance=9.0, morph=8.0)
    step(stream, 5)
    alter(scored, stream, prompt="drums", guidance=2.0)
    step(stream)
    assert torch.equal(heard(stream).keys_values, text(scored, "drums").keys_values)
    assert stream.sampler.settings.guidance == 2
    step(stream, 5)
    assert torch.equal(heard(stream).keys_values, text(scored, "drums").keys_values)


def test_a_seed_begins_the_choice_of_tokens_anew(scored: ModelBundle) -> None:
    def codes(*script: dict[str, object]) -> NDArray[np.int64]:
        return codes_of(play(scored, Generate(prompt="drums", seed=1, duration=1.0, script=json.dumps(script))))

    one = codes({"frame": 20, "seed": 5})
    assert np.array_equal(one, codes({"frame": 20, "seed": 5}))
    assert np.array_equal(one[:, :20], codes()[:, :20])
    assert not np.array_equal(one, codes())
    assert not np.array_equal(one, codes({"frame": 20, "seed": 6}))


UPDATES: tuple[dict[str, object], ...] = (
    {"prompt": "sad piano", "morph": 1.0},
    {"prompt": "drums || a happy rock song", "weights": "1 3"},
    {"weights": "1 1", "morph": 0.5},
    {"blend": "guidance"},
    {"blend": "guidance", "prompt": "techno || sad piano || drums", "morph": 0.7},
    {"blend": "embedding", "morph": 0.3},
    {"prompt": ""},
    {"melody": TUNE},
    {"melody": ""},
    {"guidance": 1.0, "morph": 1.0},
    {"guidance": 6.0},
    {"temperature": 0.7, "morph": 0.4},
    {"top_k": 5},
    {"top_p": 0.9},
    {"seed": 7},
    {"bpm": 171.0},
    {"key": "F# dorian"},
)


@pytest.mark.parametrize("trial", range(4))
@pytest.mark.parametrize("which", ["plain", "scored", "melodic"])
def test_any_updates_are_made_again_from_their_record(which: str, trial: int, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    choose = np.random.default_rng(trial)
    asked: StreamRequest = Generate(prompt="a song", bpm=133.0, duration=3.0, seed=5, melody=TUNE if trial % 2 else "")
    stream, preparation = play(bundle, asked), Preparation(bundle)
    directions, made, records = directions_of(asked), [], []
    ends = int(choose.integers(60, 151))
    for codes, changes in frames_of(stream, ends):
        made.append(codes)
        records += [change.record() for change in changes]
        while choose.random() < 0.15:
            wanted = UPDATES[choose.integers(len(UPDATES))]
            if wanted.get("weights") and "prompt" not in wanted and "||" not in directions.prompt:
                continue
            if wanted.get("weights") and "prompt" not in wanted and directions.prompt.count("||") != 1:
                continue
            if wanted.get("melody") and which == "plain":
                continue
            change = Change.of(Update(stream=1, **wanted), directions)  # type: ignore[arg-type]
            directions = change.directions or directions
            stream.add_change(preparation.condition(change))
    assert records
    again = play(bundle, Generate(**{**as_dict(asked), "script": json.dumps(records)}))
    assert np.array_equal(np.concatenate(made, axis=1), codes_of(again, ends)[:, : len(made)])
    assert not np.array_equal(np.concatenate(made, axis=1), codes_of(play(bundle, asked), ends)[:, : len(made)])


def as_dict(request: StreamRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_directions_of_a_request_carry_weights_and_blend() -> None:
    asked = Generate(prompt="a || b", weights="1 2", blend="guidance")
    assert directions_of(asked) == Directions("a || b", weights="1 2", blend="guidance")
