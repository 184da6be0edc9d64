"""MAGNeT: tokens as AudioCraft draws them, segments as streams, and what a request can ask of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.journal.replay import Recording
from engine.preparation import Preparation
from engine.runtime.magnet import MagnetConfig, MagnetDecoder, MagnetSampler
from engine.runtime.sampling import SamplingSettings
from engine.segments import read_steps, settings_of
from engine.stream import AudioBlock
from protocols.errors import RequestError
from protocols.messages import Continue, Generate, Open
from protocols.settings import Settings
from tests.support.magnet_checkpoint import TEXT, write_magnet_checkpoint
from tests.support.streams import Admission, codes_of, frames_of, play, prepare

FIGURES = json.loads((Path(__file__).parent / "figures" / "magnet.json").read_text())
WINDOW = 50
FAST = {"prompt": TEXT, "steps": "3 2 2 1"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = write_magnet_checkpoint(tmp_path_factory.mktemp("magnet") / "tiny")
    return load_model(str(folder), device="cpu", dtype="float32")


def sampled(sampler: MagnetSampler) -> Tensor:
    frames = []
    while not sampler.done:
        made = sampler.advance()
        if made is not None:
            frames.append(made)
    return torch.cat(frames, dim=-1)[0]


def condition(bundle: ModelBundle) -> Any:
    return bundle.lm.condition(bundle.text.encode(TEXT).hidden)


def prompt_of(case: dict[str, Any]) -> Tensor | None:
    return torch.from_numpy(np.random.RandomState(3).randint(0, 64, (1, 4, 10))) if case.get("prompt") else None


@pytest.mark.parametrize("case", FIGURES["cases"], ids=lambda case: f"seed{case['seed']}")
def test_tokens_are_those_of_audiocraft(bundle: ModelBundle, case: dict[str, Any]) -> None:
    config = MagnetConfig(
        decoding_steps=tuple(case["steps"]),
        final_guidance=case.get("mn", 1.0),
        arrangement=case.get("arr", "nonoverlap"),
        scoring=case.get("scoring", "max"),
    )
    settings = SamplingSettings(
        case.get("temp", 3.0), case.get("top_k", 0), case.get("top_p", 0.9), case.get("mx", 10.0)
    )
    prompt, tokens = prompt_of(case), torch.tensor(case["tokens"])
    sampler = MagnetSampler(
        bundle.lm,
        config,
        [condition(bundle)],
        settings,
        total_frames=case.get("T", WINDOW),
        prompt=prompt,
        window_frames=WINDOW,
        stride_frames=30,
        seed=case["seed"],
    )
    known = 0 if prompt is None else prompt.shape[-1]
    made = sampled(sampler)
    assert made.shape[1] == case.get("T", WINDOW) - known
    assert torch.equal(made[:, : tokens.shape[1] - known], tokens[:, known:])


def test_logits_are_those_of_audiocraft(bundle: ModelBundle) -> None:
    codes = torch.from_numpy(np.random.RandomState(4).randint(0, 65, (4, WINDOW)))
    decoder = MagnetDecoder(bundle.lm, MagnetConfig())
    for codebook, figures in enumerate(FIGURES["logits"]):
        with torch.inference_mode():
            heard = decoder.listen(condition(bundle), WINDOW)
        logits = returned(decoder._hear(heard, codes, codebook))
        found = torch.stack([logits[row, place, :6] for row in (0, 1) for place in (0, 25, 49)])
        torch.testing.assert_close(found, torch.tensor(figures), atol=1e-4, rtol=0)


@torch.inference_mode()
def returned(pieces: Iterator[None]) -> Any:
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        return end.value


def test_a_request_gives_audiocrafts_tokens_and_the_frames_beyond_the_last_span(bundle: ModelBundle) -> None:
    prepared = prepare(bundle, Generate(prompt=TEXT, duration=1.0, seed=7, steps="2 2 2 1"))
    assert "temperature 3, top_p 0.9, guidance 10 to 1" in prepared.note
    codes = torch.from_numpy(codes_of(prepared.stream))
    assert torch.equal(codes[:, :48], torch.tensor(FIGURES["cases"][0]["tokens"]))
    assert torch.equal(codes[:, 48:], torch.tensor(FIGURES["remainder"]))


def test_positions_may_be_turned_into_attention(tmp_path: Path) -> None:
    folder = write_magnet_checkpoint(tmp_path / "rope", transformer_lm__positional_embedding="rope")
    turned = load_model(str(folder), device="cpu", dtype="float32")
    codes = torch.from_numpy(codes_of(play(turned, Generate(prompt=TEXT, duration=1.0, seed=7, steps="2 2 2 1"))))
    assert torch.equal(codes[:, :48], torch.tensor(FIGURES["rope"]))


def test_a_model_of_sounds_says_so(tmp_path: Path) -> None:
    folder = write_magnet_checkpoint(tmp_path / "sound", kind="audiogen", solver="audio_magnet")
    sounds = load_model(str(folder), device="cpu", dtype="float32")
    assert (sounds.kind, sounds.sample_rate, sounds.window_frames, sounds.usual.seconds) == ("sound", 16_000, 48, 1.0)
    assert codes_of(play(sounds, Generate(**FAST, duration=0.5))).shape == (4, 25)


def test_what_is_heard_is_the_whole_file_decode_and_audiocrafts(bundle: ModelBundle) -> None:
    stream = play(bundle, Generate(prompt=TEXT, duration=1.0, seed=7, steps="2 2 2 1"))
    blocks: list[AudioBlock] = []
    while not stream.sampler.done:
        blocks += [event for event in stream.advance() if isinstance(event, AudioBlock)]
    heard = np.concatenate([block.samples for block in blocks])[:, 0]
    tokens = torch.tensor(FIGURES["cases"][0]["tokens"])
    whole = torch.cat((tokens, torch.tensor(FIGURES["remainder"])), dim=1)
    np.testing.assert_allclose(heard, bundle.codec.decode(whole)[0].numpy(), atol=1e-5)
    # AudioCraft's ends with the last span; the decoder looks four frames ahead.
    np.testing.assert_allclose(heard[1000:28000:3000], FIGURES["wav"][:9], atol=1e-4)


def test_a_piece_of_work_is_bounded_and_changes_nothing(bundle: ModelBundle) -> None:
    config = MagnetConfig(decoding_steps=(3, 2, 2, 1))
    made = []
    for piece in (1, 10, 1000):
        arguments = {"total_frames": 130, "window_frames": WINDOW, "stride_frames": 30, "seed": 4, "piece": piece}
        sampler = MagnetSampler(bundle.lm, config, [condition(bundle)], SamplingSettings(), **arguments)  # type: ignore[arg-type]
        made.append(sampled(sampler))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    decoder = MagnetDecoder(bundle.lm, config, piece=1)
    decoded = decoder.decode(condition(bundle), SamplingSettings(), torch.Generator(), torch.empty(4, 0).long(), 50)
    with torch.inference_mode():
        assert len(list(decoded)) == decoder.pieces(50, 0) == 8 * 3 + 4 * 3 + 1


def test_the_next_segment_is_decoded_while_the_present_one_is_handed_out(bundle: ModelBundle) -> None:
    stream = play(bundle, Open(**FAST, seed=2))
    waits, wait = [], 0
    while stream.frames < 170:
        before = stream.frames
        stream.advance()
        wait = 0 if stream.frames > before else wait + 1
        waits.append(wait)
    first = next(index for index, waited in enumerate(waits) if index and not waited)
    assert waits[first - 1] > 8, "the first segment has to be waited for"
    assert max(waits[first:]) <= 3, "the others are there when they are needed"


def test_a_longer_stream_is_the_same_again_and_from_its_journal(bundle: ModelBundle) -> None:
    request = Generate(**FAST, duration=2.8, seed=5)
    codes = codes_of(play(bundle, request))
    assert codes.shape == (4, 140)
    assert (codes == codes_of(play(bundle, request))).all()
    for frame in (20, 48, 90, 139):
        plan = replace(
            Admission(bundle, Settings()).plan(from_frame(request, frame), b""),
            recording=Recording(codes[:, :frame].T.astype(np.uint16)),
        )
        stream = Preparation(bundle).prepare(1, plan).stream
        assert (codes_of(stream)[:, frame:] == codes[:, frame:]).all()
    lost = codes.copy()
    lost[:, 30] = 0
    plan = replace(
        Admission(bundle, Settings()).plan(from_frame(request, 60), b""),
        recording=Recording(lost[:, :60].T.astype(np.uint16)),
    )
    kept = codes_of(Preparation(bundle).prepare(1, plan).stream)
    assert (kept[:, :60] == lost[:, :60]).all(), "what was made before is not made again"


def from_frame(request: Generate, frame: int) -> Generate:
    return structs.replace(request, from_frame=frame)


def test_other_words_are_heard_from_the_next_segment_that_is_not_begun(bundle: ModelBundle) -> None:
    plain = codes_of(play(bundle, Generate(**FAST, duration=2.4, seed=5)))
    script = json.dumps([{"frame": 20, "prompt": "sad piano"}])
    changed = list(frames_of(play(bundle, Generate(**FAST, duration=2.4, seed=5, script=script))))
    codes = np.concatenate([made for made, _ in changed], axis=1)
    assert [frame for frame, (_, changes) in enumerate(changed) if changes] == [20]
    differs = np.nonzero((codes != plain).any(axis=0))[0]
    # The second segment, from frame 48 on, was begun with the first one's first frame.
    assert differs[0] >= 48 + 30
    reseeded = codes_of(play(bundle, Generate(**FAST, duration=2.4, seed=5, script='[{"frame": 0, "seed": 9}]')))
    assert (reseeded != plain)[:, :48].any()


def test_several_prompts_pull_by_guidance(bundle: ModelBundle) -> None:
    request = Generate(
        prompt="sad piano || happy drums", weights="0.7 0.3", blend="guidance", steps="3 2 2 1", duration=0.6, seed=5
    )
    both = codes_of(play(bundle, request))
    alone = codes_of(play(bundle, structs.replace(request, prompt="sad piano", weights="")))
    assert both.shape == alone.shape
    assert (both != alone).any()


def test_it_goes_on_from_audio(bundle: ModelBundle) -> None:
    sound = (0.1 * np.random.RandomState(1).standard_normal(16_000)).astype("<f4")
    request = Continue(**FAST, duration=0.9, seed=5, sample_rate=32_000, seam=False)
    prepared = prepare(bundle, request, sound.tobytes())
    assert "the last 0.36 s of the audio prompt" in prepared.note
    assert codes_of(prepared.stream).shape == (4, 45)
    for stride in (0.02, 0.94):
        again = structs.replace(request, stride=stride)
        assert codes_of(prepare(bundle, again, sound.tobytes()).stream).shape == (4, 45)
    with pytest.raises(RequestError, match=r"0\.02 to 0\.94 s"):
        prepare(bundle, structs.replace(request, stride=0.96), sound.tobytes())


def test_settings_are_its_own_unless_others_are_asked_for(bundle: ModelBundle) -> None:
    usual = bundle.usual
    assert settings_of(Generate(), usual)[0] == SamplingSettings(3.0, 0, 0.9, 10.0)
    assert settings_of(Generate(top_k=40), usual)[0] == SamplingSettings(3.0, 40, 0.0, 10.0)
    asked = Generate(temperature=1.5, top_k=40, top_p=0.5, guidance=6.0, final_guidance=2.0)
    settings, note = settings_of(asked, usual)
    assert settings == SamplingSettings(1.5, 40, 0.5, 6.0)
    assert "guidance 6 to 2; top_k is left out" in note


@pytest.mark.parametrize(
    ("text", "code"), [("20 10 10", "malformed"), ("a b c d", "malformed"), ("0 1 1 1", "out_of_range")]
)
def test_steps_are_checked(text: str, code: str) -> None:
    with pytest.raises(RequestError, match="4 whole numbers from 1 to 500") as refusal:
        read_steps(text, 4)
    assert (refusal.value.code, refusal.value.field) == (code, "steps")
    assert read_steps("1, 2 3 4", 4) == (1, 2, 3, 4)
    assert read_steps(" ", 4) is None


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"masking__span_len": 0}, "masking.span_len"),
        ({"masking": None}, "masking.span_len"),
        ({"transformer_lm__causal": True}, "transformer_lm.causal"),
        ({"transformer_lm__subcodes_context": -2}, "transformer_lm.subcodes_context"),
        ({"codebooks_pattern__modeling": "delay"}, "codebooks_pattern.modeling"),
        ({"transformer_lm__past_context": 100}, "transformer_lm.past_context"),
        ({"dataset__segment_duration": 0.1}, "dataset.segment_duration"),
        ({"dataset__segment_duration": 1000}, "dataset.segment_duration"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], key: str) -> None:
    folder = write_magnet_checkpoint(tmp_path / "tiny", **settings)
    with pytest.raises(RequestError) as refusal:
        load_model(str(folder), device="cpu", dtype="float32")
    assert refusal.value.field == key
