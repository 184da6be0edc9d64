"""Our LM against transformers' on the same random weights, and against itself in other orders of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.runtime.lm import Condition, MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint

GREEDY = SamplingSettings(temperature=0.0, guidance=3.0)
FRAMES = 40

SHAPES: dict[str, dict[str, Any]] = {
    "projected_text": {"dim": 48, "text_dim": 32},
    "text_as_wide_as_the_lm": {"dim": 32, "text_dim": 32},
    "stereo": {"dim": 48, "text_dim": 32, "codebooks": 8, "channels": 2},
}


class Pair:
    """One checkpoint, loaded by us and by transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import MusicgenForConditionalGeneration

        self.bundle: ModelBundle = load_model(str(folder), device="cpu", dtype="float32")
        reference: Any = MusicgenForConditionalGeneration.from_pretrained(folder)
        self.reference = reference.eval()

    def conditions(self, texts: tuple[str | None, ...]) -> list[Condition]:
        return [condition_of(self.bundle, text) for text in texts]

    def reference_codes(self, texts: tuple[str, ...], frames: int, prompt: Tensor | None = None) -> Tensor:
        """``[batch, codebooks, frames]`` as transformers' generate makes them on its way to audio."""
        reference, bundle = self.reference, self.bundle
        tokens = bundle.text._tokenizer(list(texts), return_tensors="pt", padding=True)
        known = 0 if prompt is None else prompt.shape[2]
        extra = {} if prompt is None else {"decoder_input_ids": prompt.reshape(-1, known)}
        decoded: list[Tensor] = []
        codec = reference.audio_encoder
        decode = codec.decode

        def record(codes: Tensor, **arguments: Any) -> Any:
            decoded.append(codes[0])
            return decode(codes, **arguments)

        codec.decode = record
        try:
            reference.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                do_sample=False,
                guidance_scale=3.0,
                max_new_tokens=frames - known + max(bundle.delays),
                **extra,
            )
        finally:
            codec.decode = decode
        if bundle.channels == 1:
            return decoded[0]
        left, right = decoded
        return torch.stack((left, right), dim=2).flatten(1, 2)


def condition_of(bundle: ModelBundle, text: str | None) -> Condition:
    encoded = bundle.text.encode(text)
    return bundle.lm.condition(encoded.hidden, encoded.mask)


def generate(bundle: ModelBundle, conditions: list[Condition], frames: int, prompt: Tensor | None = None) -> Tensor:
    sampler = FrameSampler(
        bundle.lm,
        conditions,
        GREEDY,
        total_frames=frames,
        prompt=prompt,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=0,
        prefill_chunk=7,
    )
    made = [] if prompt is None else [prompt]
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)


@pytest.fixture(scope="module", params=SHAPES, ids=list(SHAPES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    return Pair(write_tiny_checkpoint(folder, **SHAPES[request.param]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu")


def random_codes(bundle: ModelBundle, batch: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, bundle.card, (batch, bundle.num_codebooks, frames), generator=generator)


@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS], ids=["one", "two_lengths"])
@pytest.mark.parametrize("prompted", [False, True], ids=["from_nothing", "continued"])
def test_greedy_tokens_equal_transformers(pair: Pair, texts: tuple[str, ...], prompted: bool) -> None:
    prompt = random_codes(pair.bundle, len(texts), 17) if prompted else None
    expected = pair.reference_codes(texts, FRAMES, prompt)
    ours = generate(pair.bundle, pair.conditions(texts), FRAMES, prompt)
    assert ours.shape == (len(texts), pair.bundle.num_codebooks, FRAMES)
    assert torch.equal(ours, expected)
    assert len(set(expected.flatten().tolist())) > 5  # a model that repeats itself would agree with anything


def test_logits_equal_transformers(pair: Pair) -> None:
    codes = random_codes(pair.bundle, 2, 12)
    tokens = pair.bundle.text._tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = pair.reference(**tokens, decoder_input_ids=codes.reshape(-1, 12)).logits
    session = pair.bundle.lm.session(pair.conditions(TEXTS), 12, guided=False)
    logits = pair.bundle.lm(codes, session)
    torch.testing.assert_close(logits, expected.view_as(logits), rtol=1e-4, atol=1e-4)


def test_a_stream_is_deaf_to_its_neighbours(bundle: ModelBundle) -> None:
    together = generate(bundle, [condition_of(bundle, text) for text in (*TEXTS, None)], FRAMES)
    for row, text in enumerate((*TEXTS, None)):
        assert torch.equal(together[row : row + 1], generate(bundle, [condition_of(bundle, text)], FRAMES))


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_chunked_prefill_equals_whole(bundle: ModelBundle, chunk: int) -> None:
    codes = random_codes(bundle, 2, 33)
    conditions = [condition_of(bundle, text) for text in TEXTS]
    whole = bundle.lm(codes, bundle.lm.session(conditions, 33))
    session = bundle.lm.session(conditions, 40)
    parts = [bundle.lm(part, session) for part in torch.split(codes, chunk, dim=2)]
    assert session.position == 33
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-4, atol=1e-4)


def test_rewinding_leaves_no_trace(bundle: ModelBundle) -> None:
    codes = random_codes(bundle, 1, 20)
    session = bundle.lm.session([condition_of(bundle, TEXTS[0])], 20)
    first = bundle.lm(codes, session)
    session.rewind(5)
    again = bundle.lm(codes[..., 5:], session)
    torch.testing.assert_close(again, first[:, :, 5:], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="cannot rewind"):
        session.rewind(21)


def test_null_text_is_zero_attention(bundle: ModelBundle) -> None:
    codes = random_codes(bundle, 1, 9)
    lm = bundle.lm
    nothing = lm.condition(None)
    zeros = Condition(torch.zeros_like(condition_of(bundle, TEXTS[0]).keys_values))
    skipped = lm(codes, lm.session([nothing], 9))
    computed = lm(codes, lm.session([zeros], 9))
    torch.testing.assert_close(skipped, computed, rtol=0, atol=1e-6)
    conditional, null = skipped.chunk(2)
    torch.testing.assert_close(conditional, null, rtol=0, atol=1e-6)


def test_changing_the_condition_of_one_stream(bundle: ModelBundle) -> None:
    lm = bundle.lm
    codes = random_codes(bundle, 2, 20)
    happy, sad = (condition_of(bundle, text) for text in TEXTS)
    steady = lm.session([happy, sad], 20)
    changed = lm.session([happy, sad], 20)
    for session in (steady, changed):
        lm(codes[..., :10], session)
    changed.set_condition(0, sad)
    before, after = lm(codes[..., 10:], steady), lm(codes[..., 10:], changed)
    assert not torch.allclose(before[0], after[0], atol=1e-2)
    torch.testing.assert_close(before[1:], after[1:], rtol=1e-4, atol=1e-4)  # the neighbour and both null rows

    from_the_start = lm.session([happy], 20)
    from_the_start.set_condition(0, sad)
    expected = lm(codes[1:], lm.session([sad], 20))
    torch.testing.assert_close(lm(codes[1:], from_the_start), expected, rtol=0, atol=1e-6)


def test_a_session_refuses_what_does_not_fit(bundle: ModelBundle) -> None:
    lm = bundle.lm
    session = lm.session([lm.condition(None)], 4)
    with pytest.raises(ValueError, match="do not fit"):
        lm(random_codes(bundle, 1, 5), session)
    with pytest.raises(ValueError, match="do not fit"):
        lm(random_codes(bundle, 2, 1), session)
    with pytest.raises(ValueError, match="positions"):
        lm.session([lm.condition(None)], lm.config.max_positions + 1)
    with pytest.raises(ValueError, match="at least one stream"):
        lm.session([], 4)
    with pytest.raises(ValueError, match="text of shape"):
        lm.condition(torch.zeros(3, lm.config.text_dim + 1))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_half_precision_stays_close(tmp_path: Path, dtype: str, tolerance: float) -> None:
    folder = str(write_tiny_checkpoint(tmp_path))
    single, half = load_model(folder, device="cpu", dtype="float32"), load_model(folder, device="cpu", dtype=dtype)
    codes = random_codes(single, 1, 8)
    logits = [
        loaded.lm(codes, loaded.lm.session([condition_of(loaded, TEXTS[0])], 8)).float() for loaded in (single, half)
    ]
    assert half.lm.dtype == getattr(torch, dtype)
    assert (logits[0] - logits[1]).norm() < tolerance * logits[0].norm()


def test_packing_changes_the_layout_only() -> None:
    torch.manual_seed(3)
    from engine.runtime.lm import LMConfig
    from engine.runtime.patterns import DelayPattern

    config = LMConfig(64, 2, 4, 256, DelayPattern((0, 1)), 32, 48, True, 64)
    lm = MusicgenLM(config)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.normal_(0, 0.1)
    codes = torch.randint(0, 32, (1, 2, 6))
    text = torch.randn(5, 48)
    plain = lm(codes, lm.session([lm.condition(text)], 6))
    lm.pack()
    lm.pack()
    packed = lm(codes, lm.session([lm.condition(text)], 6))
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5)
