"""Melody models against transformers' on the same random weights, and against themselves in other orders of work."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.melody import MelodyCondition, MelodyFacts, melody_from_audio
from engine.conditioning.text import MAX_TOKENS
from engine.runtime.conditions import NULL_BIN, Melody
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings, guide
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint

FRAMES = 40
PROMPT_FRAMES = 17
GUIDANCE = 3.0
CHROMA_FRAMES = 31
TUNES = ((0, 4, 7, 9, 11, 2), (5, 5, 3))
"""Shorter than the chroma of a window, so that they are repeated."""

SHAPES: dict[str, dict[str, Any]] = {
    "projected_text": {"dim": 48, "text_dim": 32},
    "text_as_wide_as_the_lm": {"dim": 32, "text_dim": 32},
    "stereo": {"dim": 48, "text_dim": 32, "codebooks": 8, "channels": 2},
}


def one_hot(tune: tuple[int, ...]) -> Tensor:
    return F.one_hot(torch.tensor(tune), 12).float()


class Pair:
    """One checkpoint, loaded by us and by transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import MusicgenMelodyForConditionalGeneration

        self.bundle: ModelBundle = load_model(str(folder), device="cpu", dtype="float32")
        reference: Any = MusicgenMelodyForConditionalGeneration.from_pretrained(folder)
        self.reference = reference.eval()

    def tokens(self, texts: tuple[str | None, ...]) -> dict[str, Tensor]:
        """Texts as transformers' processor gives them; the mask of one that is None is zeros, as for no text at all."""
        tokens = self.bundle.text._tokenizer([text or "" for text in texts], return_tensors="pt", padding=True)
        mask = tokens["attention_mask"]
        for row, text in enumerate(texts):
            mask[row] *= text is not None
        return {"input_ids": tokens["input_ids"], "attention_mask": mask}

    def reference_codes(
        self,
        texts: tuple[str | None, ...],
        tunes: tuple[tuple[int, ...], ...] = (),
        prompt: Tensor | None = None,
        frames: int = FRAMES,
    ) -> Tensor:
        """``[batch, codebooks, frames]`` as transformers' generate makes them on its way to audio."""
        reference, bundle = self.reference, self.bundle
        known = 0 if prompt is None else prompt.shape[2]
        extra: dict[str, Tensor] = {} if prompt is None else {"decoder_input_ids": prompt.reshape(-1, known)}
        if tunes:
            extra["input_features"] = torch.stack([one_hot(tune) for tune in tunes])
        decoded: list[Tensor] = []
        codec = reference.audio_encoder
        decode = codec.decode

        def record(codes: Tensor, **arguments: Any) -> Any:
            decoded.append(codes[0])
            return decode(codes, **arguments)

        codec.decode = record
        try:
            reference.generate(
                **self.tokens(texts),
                do_sample=False,
                guidance_scale=GUIDANCE,
                max_new_tokens=frames - known + max(bundle.delays),
                **extra,
            )
        finally:
            codec.decode = decode
        if bundle.channels == 1:
            return decoded[0]
        left, right = decoded
        return torch.stack((left, right), dim=2).flatten(1, 2)

    def reference_logits(
        self, text: str | None, tune: tuple[int, ...] | None, codes: Tensor, *, guided: bool = False
    ) -> Tensor:
        """``[codebooks, n, card]`` logits after each of the codes ``[1, codebooks, n]``, in one pass and without a cache."""
        features = {} if tune is None else {"input_features": one_hot(tune)[None]}
        flat = codes.reshape(-1, codes.shape[2])
        with torch.no_grad():
            logits: Tensor = self.reference(**self.tokens((text,)), **features, decoder_input_ids=flat).logits
            if guided:
                tokens = self.tokens((text,))
                tokens["attention_mask"].zero_()
                null = self.reference(**tokens, decoder_input_ids=flat).logits
                logits = null + GUIDANCE * (logits - null)
        return logits[:, -codes.shape[2] :]


def facts_of(bundle: ModelBundle) -> MelodyFacts:
    assert bundle.melody is not None
    return bundle.melody


def condition_of(
    bundle: ModelBundle,
    text: str | None,
    tune: tuple[int, ...] | None = None,
    *,
    melody: Melody | None = None,
    length: int = 0,
) -> Condition:
    """With ``length`` the text is padded, as in a batch of transformers."""
    encoded = bundle.text.encode(text)
    missing = max(length - len(encoded.hidden), 0)
    if tune is not None:
        melody = MelodyCondition(tune, facts_of(bundle))
    return bundle.lm.condition(
        F.pad(encoded.hidden, (0, 0, 0, missing)), F.pad(encoded.mask, (0, missing)), melody=melody
    )


def sampler_of(
    bundle: ModelBundle, conditions: list[Condition], frames: int = FRAMES, prompt: Tensor | None = None, **shape: int
) -> FrameSampler:
    return FrameSampler(
        bundle.lm,
        conditions,
        SamplingSettings(temperature=0.0, guidance=GUIDANCE),
        total_frames=frames,
        prompt=prompt,
        window_frames=shape.get("window", bundle.window_frames),
        stride_frames=shape.get("stride", bundle.stride_frames),
        seed=0,
        prefill_chunk=shape.get("chunk", 7),
    )


def run(sampler: FrameSampler, prompt: Tensor | None = None) -> Tensor:
    made = [] if prompt is None else [prompt]
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)


def generate(
    bundle: ModelBundle, conditions: list[Condition], frames: int = FRAMES, prompt: Tensor | None = None, **shape: int
) -> Tensor:
    return run(sampler_of(bundle, conditions, frames, prompt, **shape), prompt)


@pytest.fixture(scope="module", params=SHAPES, ids=list(SHAPES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    return Pair(write_tiny_checkpoint(folder, chroma_length=CHROMA_FRAMES, **SHAPES[request.param]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("tiny")
    return load_model(str(write_tiny_checkpoint(folder, chroma_length=CHROMA_FRAMES)), device="cpu")


def random_codes(bundle: ModelBundle, batch: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, bundle.card, (batch, bundle.num_codebooks, frames), generator=generator)


# --- against transformers


@pytest.mark.parametrize("tune", [None, TUNES[0]], ids=["no_melody", "melody"])
@pytest.mark.parametrize("text", [None, TEXTS[0]], ids=["no_text", "text"])
@pytest.mark.parametrize("prompted", [False, True], ids=["from_nothing", "continued"])
def test_greedy_tokens_equal_transformers(
    pair: Pair, text: str | None, tune: tuple[int, ...] | None, prompted: bool
) -> None:
    prompt = random_codes(pair.bundle, 1, PROMPT_FRAMES) if prompted else None
    expected = pair.reference_codes((text,), () if tune is None else (tune,), prompt)
    ours = generate(pair.bundle, [condition_of(pair.bundle, text, tune)], prompt=prompt)
    assert ours.shape == (1, pair.bundle.num_codebooks, FRAMES)
    assert torch.equal(ours, expected)
    assert len(set(expected.flatten().tolist())) > 5  # a model that repeats itself would agree with anything


def test_what_is_heard_is_heard(pair: Pair) -> None:
    """Were the model deaf to melodies or texts, the other tests would prove nothing."""
    made = [
        generate(pair.bundle, [condition_of(pair.bundle, text, tune)])
        for text in (None, TEXTS[0])
        for tune in (None, *TUNES)
    ]
    assert len({tuple(codes.flatten().tolist()) for codes in made}) == len(made)


def test_a_batch_equals_transformers(pair: Pair) -> None:
    """Transformers' batches have no mask: they pad the shorter text, and it hears the padding."""
    tunes = (TUNES[0], (2, 2, 9, 7, 5, 0))
    expected = pair.reference_codes(TEXTS, tunes)
    length = pair.tokens(TEXTS)["input_ids"].shape[1]
    bundle = pair.bundle
    padded = [condition_of(bundle, text, tune, length=length) for text, tune in zip(TEXTS, tunes, strict=True)]
    assert torch.equal(generate(bundle, padded), expected)


def test_in_a_batch_each_is_as_it_is_alone(pair: Pair) -> None:
    bundle = pair.bundle
    heard: list[tuple[str | None, tuple[int, ...] | None]] = [
        (TEXTS[0], TUNES[0]),
        (TEXTS[1], TUNES[1]),
        (None, TUNES[1]),
        (TEXTS[1], None),
        (None, None),
    ]
    together = generate(bundle, [condition_of(bundle, text, tune) for text, tune in heard])
    for row, (text, tune) in enumerate(heard):
        alone = pair.reference_codes((text,), () if tune is None else (tune,))
        assert torch.equal(together[row : row + 1], alone), (text, tune)


@pytest.mark.parametrize("tune", [None, TUNES[1]], ids=["no_melody", "melody"])
@pytest.mark.parametrize("text", [None, TEXTS[1]], ids=["no_text", "text"])
def test_logits_equal_transformers(pair: Pair, text: str | None, tune: tuple[int, ...] | None) -> None:
    codes = random_codes(pair.bundle, 1, 12)
    session = pair.bundle.lm.session([condition_of(pair.bundle, text, tune)], 12)
    logits = pair.bundle.lm(codes, session)
    expected = pair.reference_logits(text, tune, codes)
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-4)
    guided = pair.reference_logits(text, tune, codes, guided=True)
    torch.testing.assert_close(guide(logits, GUIDANCE)[0], guided, rtol=1e-3, atol=1e-3)


def test_a_recording_is_heard_as_by_transformers_feature_extractor(pair: Pair) -> None:
    from transformers import MusicgenMelodyFeatureExtractor

    facts = facts_of(pair.bundle)
    seconds = torch.arange(3 * facts.sample_rate) / facts.sample_rate
    sound = torch.sin(2 * torch.pi * 220 * 2 ** (seconds.mul(4).floor() / 12) * seconds)
    extractor: Any = MusicgenMelodyFeatureExtractor
    features = extractor()(sound.numpy(), sampling_rate=facts.sample_rate, return_tensors="pt")["input_features"]
    melody = melody_from_audio(sound, facts, total_frames=FRAMES)
    assert torch.equal(melody.window(0)[: features.shape[1]], features[0].argmax(dim=1))
    read = tuple(features[0].argmax(dim=1).tolist())
    expected = pair.reference_codes((TEXTS[0],), (read,))
    assert torch.equal(generate(pair.bundle, [condition_of(pair.bundle, TEXTS[0], melody=melody)]), expected)


# --- beyond the window


class SlidTune:
    """What `MelodyCondition` should say, in the plainest way: every frame of chroma takes the pitch of its moment."""

    def __init__(self, tune: tuple[int, ...], facts: MelodyFacts, origin: int = 0) -> None:
        self.tune, self.facts, self.origin = tune, facts, origin

    def window(self, frame: int) -> tuple[int, ...]:
        begin = Fraction(frame - self.origin) / self.facts.frame_rate
        moments = [begin * self.facts.rate + index for index in range(self.facts.frames)]
        return tuple(self.tune[int(moment // 1) % len(self.tune)] for moment in moments)


@pytest.mark.parametrize("prompt_frames", [0, PROMPT_FRAMES], ids=["from_nothing", "continued"])
def test_windows_equal_a_loop_over_whole_windows(pair: Pair, prompt_frames: int) -> None:
    """The reference's loop, window by window through transformers: the melody slides, the shared frames are the prompt."""
    bundle, window, stride, frames = pair.bundle, 40, 24, 100
    prompt = random_codes(bundle, 1, prompt_frames) if prompt_frames else None
    tune = SlidTune(TUNES[0], facts_of(bundle), origin=prompt_frames)
    expected, offset, shared = random_codes(bundle, 1, 0), 0, prompt
    while expected.shape[2] < frames:
        made = pair.reference_codes((TEXTS[0],), (tune.window(offset),), shared, min(window, frames - offset))
        expected = torch.cat((expected[..., :offset], made), dim=2)
        offset += stride
        shared = made[..., stride:]
    melody = MelodyCondition(TUNES[0], facts_of(bundle), origin=prompt_frames)
    heard = condition_of(bundle, TEXTS[0], melody=melody)
    ours = generate(bundle, [heard], frames, prompt, window=window, stride=stride)
    assert torch.equal(ours, expected)


# --- against itself


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_any_split_of_the_work_gives_the_same(bundle: ModelBundle, chunk: int) -> None:
    conditions = [condition_of(bundle, TEXTS[0], TUNES[0]), condition_of(bundle, None, TUNES[1])]
    whole = generate(bundle, conditions, 90, window=40, stride=24, chunk=200)
    assert torch.equal(generate(bundle, conditions, 90, window=40, stride=24, chunk=chunk), whole)


def test_another_melody_from_the_next_step_on(pair: Pair) -> None:
    """The frames so far are heard again after the new melody: as though they were an audio prompt under it."""
    bundle = pair.bundle
    old, new = (condition_of(bundle, TEXTS[0], tune) for tune in TUNES)
    sampler = sampler_of(bundle, [old])
    made = []
    while sampler.frames_done < PROMPT_FRAMES:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    sampler.set_condition(0, new)
    changed = torch.cat((*made, run(sampler)), dim=2)
    before = generate(bundle, [old])
    assert torch.equal(changed[..., :PROMPT_FRAMES], before[..., :PROMPT_FRAMES])
    assert not torch.equal(changed, before)
    # Codebook k of a frame in the making is already sampled where its delay has passed; those stay, and all else is the new one's.
    first_step = PROMPT_FRAMES + max(bundle.delays) + 1
    special = bundle.lm.config.special_token
    codes = torch.full((1, bundle.num_codebooks, FRAMES + max(bundle.delays) + 1), special)
    for codebook, delay in enumerate(bundle.delays):
        codes[:, codebook, 1 + delay : 1 + delay + FRAMES] = changed[:, codebook]
    logits = pair.reference_logits(TEXTS[0], TUNES[1], codes[..., :-1], guided=True)
    tokens = logits.argmax(dim=-1)
    for codebook, delay in enumerate(bundle.delays):
        steps = slice(first_step, 1 + delay + FRAMES)
        assert torch.equal(codes[0, codebook, steps], tokens[codebook, steps.start - 1 : steps.stop - 1])


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_half_precision_stays_close(tmp_path: Path, dtype: str, tolerance: float) -> None:
    folder = str(write_tiny_checkpoint(tmp_path, chroma_length=CHROMA_FRAMES))
    single, half = load_model(folder, device="cpu", dtype="float32"), load_model(folder, device="cpu", dtype=dtype)
    codes = random_codes(single, 1, 8)
    logits = [
        loaded.lm(codes, loaded.lm.session([condition_of(loaded, TEXTS[0], TUNES[0])], 8)).float()
        for loaded in (single, half)
    ]
    assert (logits[0] - logits[1]).norm() < tolerance * logits[0].norm()


# --- a prefix in a session


def test_the_prefix_is_heard_in_pieces_or_at_once(bundle: ModelBundle) -> None:
    lm, codes = bundle.lm, random_codes(bundle, 2, 9)
    conditions = [condition_of(bundle, text, tune) for text, tune in zip(TEXTS, TUNES, strict=True)]
    at_once, in_pieces = lm.session(conditions, 9), lm.session(conditions, 9)
    assert at_once.prefix_pending == at_once.prefix_length > CHROMA_FRAMES
    expected = lm(codes, at_once)
    while in_pieces.prefix_pending:
        lm.hear_prefix(in_pieces, 4)
    torch.testing.assert_close(lm(codes, in_pieces), expected, rtol=1e-4, atol=1e-4)


def test_what_old_and_new_prefix_share_is_kept(bundle: ModelBundle) -> None:
    lm, codes = bundle.lm, random_codes(bundle, 1, 9)
    session = lm.session([condition_of(bundle, TEXTS[0], TUNES[0])], 9)
    lm(codes, session)
    session.set_condition(0, condition_of(bundle, TEXTS[0], TUNES[0]))
    assert (session.prefix_pending, session.position) == (0, 9)  # nothing has changed: nothing is forgotten
    other_words = condition_of(
        bundle, "a sad techno song with drums", TUNES[0], length=session.prefix_length - CHROMA_FRAMES
    )
    session.set_condition(0, other_words)
    assert (session.prefix_heard, session.position) == (CHROMA_FRAMES, 0)
    expected = lm(codes, lm.session([other_words], 9))
    torch.testing.assert_close(lm(codes, session), expected, rtol=1e-4, atol=1e-4)
    session.set_condition(0, condition_of(bundle, TEXTS[0], TUNES[1]))
    assert session.prefix_heard == 0


def test_a_model_without_melody_refuses_one(tmp_path: Path) -> None:
    deaf = load_model(str(write_tiny_checkpoint(tmp_path)), device="cpu")
    assert deaf.melody is None
    facts = MelodyFacts(32_000, Fraction(50), 100, CHROMA_FRAMES)
    with pytest.raises(ValueError, match="hears none"):
        deaf.lm.condition(None, melody=MelodyCondition(TUNES[0], facts))


def test_a_melody_for_another_model_is_refused(bundle: ModelBundle) -> None:
    facts = MelodyFacts(32_000, Fraction(50), 100, CHROMA_FRAMES + 1)
    condition = bundle.lm.condition(None, melody=MelodyCondition(TUNES[0], facts))
    with pytest.raises(ValueError, match=f"not {CHROMA_FRAMES}"):
        bundle.lm.session([condition], 5)


def test_the_longest_text_finds_room_beside_a_full_window(bundle: ModelBundle) -> None:
    words = " ".join(["techno"] * (MAX_TOKENS - 1))
    heard = condition_of(bundle, words, TUNES[0])
    assert heard.prefix is not None
    assert heard.prefix.length == CHROMA_FRAMES + MAX_TOKENS
    assert generate(bundle, [heard], 2, chunk=1000).shape[2] == 2
    lead = bundle.window_frames + max(bundle.delays)
    assert bundle.lm.session([heard], lead).positions == lead


def test_silence_is_the_null_melody(bundle: ModelBundle) -> None:
    facts = facts_of(bundle)
    silent = MelodyCondition([-1], facts)
    assert torch.equal(silent.window(0), torch.full((CHROMA_FRAMES,), NULL_BIN))
    assert torch.equal(
        generate(bundle, [condition_of(bundle, TEXTS[0], melody=silent)]),
        generate(bundle, [condition_of(bundle, TEXTS[0])]),
    )
