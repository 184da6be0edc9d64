"""onnxruntime against the model's own modules: the same graph, rows that do not know each other, and memory that comes back."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from engine.runtime.caches import find_scales
from engine.runtime.conditions import Condition, Mix
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.onnx import OnnxRunner, arena, attach, cache_form, unsupported, unsupported_shape
from engine.runtime.onnx.reference import PlainKernels
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.runtime.session import Session
from engine.runtime.transformer import Variant
from tests.support.random_lms import (
    CARD,
    KINDS,
    MUSICGEN_DELAYS,
    TEXT_DIM,
    Kind,
    Scale,
    Waves,
    codes,
    random_lm,
    text,
)

VARIANTS = {
    "relu": Variant(activation="relu"),
    "biases": Variant(attention_bias=True, ff_bias=True, head_bias=True),
    "shared keys": Variant(kv_repeat=2),
    "places for words": Variant(text_positions=1.0),
    "normed questions": Variant(cross_qk_norm=True),
}


def variant_lm(variant: Variant) -> MusicgenLM:
    config = LMConfig(32, 2, 4, 64, MUSICGEN_DELAYS, CARD, TEXT_DIM, True, 400, variant=variant)
    lm = MusicgenLM(config)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in lm.named_parameters():
        around = 1.0 if name.endswith("norm.weight") else 0.0
        parameter.copy_(around + 0.2 * torch.randn(parameter.shape, generator=generator))
    return lm


def condition(lm: MusicgenLM, number: int, length: int = 5) -> Condition:
    """One with a text, a melody and a score of its own, where the model hears them."""
    score = Waves(0.1 + 0.07 * number) if lm.score_weight is not None else None
    melody = Scale(number) if lm.config.chroma_frames else None
    return lm.condition(text(number, length), score=score, melody=melody)


def stream(lm: MusicgenLM, number: int = 0, frames: int = 220, temperature: float = 1.0) -> Tensor:
    """A stream over several windows, whose words change on the way: ``[1, 4, frames]``."""
    sampling = SamplingSettings(temperature=temperature)
    sampler = FrameSampler(
        lm, [condition(lm, number)], sampling, total_frames=frames, window_frames=64, stride_frames=40, seed=3
    )
    made: list[Tensor] = []
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
            if len(made) == 30:
                sampler.set_condition(0, Mix(((condition(lm, 1, 7), 0.7), (condition(lm, 2, 3), 0.3))))
            if len(made) == 90:
                sampler.set_condition(0, condition(lm, 4, 20))
    return torch.cat(made, dim=2)


@torch.inference_mode()
def scored(lm: MusicgenLM, heard: Condition | Mix, *, guided: bool = True) -> Tensor:
    """Logits of 40 columns, in pieces of several and of one: ``[rows, 4, columns, card]``."""
    session = lm.session([heard], 64, guided=guided)
    columns, parts = codes(40), [0, 7, 8, 9, 10, 21, 22, 23, 40]
    return torch.cat([lm(columns[..., a:b], session) for a, b in pairwise(parts)], dim=2)


@pytest.mark.parametrize("kind", KINDS)
def test_without_rounding_the_graph_is_the_model(kind: Kind) -> None:
    lm = random_lm(kind)
    mixed = Mix(((condition(lm, 0), 0.5), (condition(lm, 1, 9), 0.5)))
    logits, tokens = scored(lm, mixed), stream(lm)
    attach(lm, 1)
    assert torch.allclose(scored(lm, mixed), logits, atol=2e-5)
    assert torch.equal(stream(lm), tokens)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name: str) -> None:
    lm = variant_lm(VARIANTS[name])
    mixed, null = Mix(((condition(lm, 0), 0.5), (condition(lm, 1, 9), 0.5))), lm.condition(None)
    expected = [scored(lm, mixed), scored(lm, null), scored(lm, null, guided=False)]
    attach(lm, 1)
    for heard, logits in zip(
        [scored(lm, mixed), scored(lm, null), scored(lm, null, guided=False)], expected, strict=True
    ):
        assert torch.allclose(heard, logits, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_rounded_it_is_the_rounded_model(kind: Kind, form: str) -> None:
    """Activations on the edge between two roundings fall to either side, so whole passes agree but for a few such edges."""
    exact = scored(random_lm(kind), condition(random_lm(kind), 0))
    lm = random_lm(kind)
    lm.pack(form)  # type: ignore[arg-type]
    plain = scored(lm, condition(lm, 0))
    attach(lm, 1)
    made = scored(lm, condition(lm, 0))
    off = (made - plain).abs()
    assert (off > 1e-4).any(dim=(1, 3)).float().mean() < 0.5, "most columns are the same within the order of sums"
    assert off.square().mean() < 0.1 * (plain - exact).square().mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "caches"), [("int8", "float32"), ("int4", "float32"), ("int8", "int8")])
def test_tokens_are_those_of_the_same_kernels_run_plainly(kind: Kind, form: str, caches: str) -> None:
    lm = random_lm(kind)
    lm.pack(form)  # type: ignore[arg-type]
    attach(lm, 2, kv_cache=caches, keep=True)  # type: ignore[arg-type]
    logits, tokens = scored(lm, condition(lm, 0)), stream(lm)
    lm.runner = PlainKernels(lm)
    assert torch.equal(scored(lm, condition(lm, 0)), logits)
    assert torch.equal(stream(lm), tokens)


def test_the_plain_run_of_the_kernels_is_the_model_but_for_rounding() -> None:
    lm = random_lm("cross")
    expected = scored(lm, condition(lm, 0))
    lm.runner = PlainKernels(lm)
    assert torch.allclose(scored(lm, condition(lm, 0)), expected, atol=2e-5)
    packed = random_lm("cross")
    packed.pack("int8")
    attach(packed, 1)
    with pytest.raises(ValueError, match="not there to be read"):
        PlainKernels(packed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "caches"), [("int8", "float32"), ("int4", "float32"), ("int8", "int8")])
def test_a_row_does_not_know_its_neighbours(kind: Kind, form: str, caches: str) -> None:
    """Logits to the bit: beside others of any age, number of rows and length of text, some of them idle, some gone."""

    def made_alone(number: int, threads: int) -> list[Tensor]:
        lm = fresh(threads)
        return play(lm, open_session(lm, number), number)

    def fresh(threads: int) -> MusicgenLM:
        lm = random_lm(kind)
        lm.pack(form)  # type: ignore[arg-type]
        attach(lm, threads, kv_cache=caches)  # type: ignore[arg-type]
        return lm

    def open_session(lm: MusicgenLM, number: int) -> Session:
        length = 3 + 14 * (number % 3)
        heard: Condition | Mix = condition(lm, number, length)
        if number % 2:
            heard = Mix(((condition(lm, number, length), 0.6), (condition(lm, number + 1), 0.4)))
        return lm.session([heard], 40)

    def play(lm: MusicgenLM, session: Session, number: int) -> list[Tensor]:
        columns = codes(40, 6)[number : number + 1]
        lm.hear(columns[..., : 3 * number + 1], session)
        return [
            lm.step([Step(columns[..., at : at + 1], session)])[0].clone()
            for at in range(3 * number + 1, 3 * number + 9)
        ]

    alone = [made_alone(number, threads=1 + number % 2) for number in range(6)]
    lm = fresh(2)
    chance = random.Random(5)
    sessions = [open_session(lm, number) for number in range(6)]
    together: list[list[Tensor]] = [[] for _ in sessions]
    waiting = list(range(6))
    while waiting:
        chosen = sorted(chance.sample(waiting, chance.randint(1, len(waiting))), key=lambda _: chance.random())
        steps = []
        for number in chosen:
            columns, session = codes(40, 6)[number : number + 1], sessions[number]
            if not session.position:
                lm.hear(columns[..., : 3 * number + 1], session)
            steps.append(Step(columns[..., session.position : session.position + 1], session))
        for number, logits in zip(chosen, lm.step(steps), strict=True):
            together[number].append(logits.clone())
        waiting = [number for number in waiting if len(together[number]) < 8]
    for mine, others in zip(alone, together, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(mine, others, strict=True))


def test_texts_that_grow_and_go_change_no_neighbour() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    attach(lm, 1)
    columns = codes(40)

    def steps(disturb: Callable[[Session], None]) -> list[Tensor]:
        session, other = lm.session([condition(lm, 1)], 40), lm.session([condition(lm, 2)], 40)
        made = []
        for at in range(20):
            made.append(lm.step([Step(columns[..., at : at + 1], one) for one in (other, session)])[1].clone())
            if at == 8:
                disturb(other)
        return made

    quiet = steps(lambda other: None)
    longer = steps(lambda other: other.set_condition(0, condition(lm, 3, 70)))
    none = steps(lambda other: other.set_condition(0, lm.condition(None)))
    mixed = steps(lambda other: other.set_condition(0, Mix(((condition(lm, 3), 0.5), (condition(lm, 4), 0.5)))))
    for others in (longer, none, mixed):
        assert all(torch.equal(one, other) for one, other in zip(quiet, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_words_and_a_rewind_are_heard_as_by_the_modules(kind: Kind) -> None:
    @torch.inference_mode()
    def played(lm: MusicgenLM) -> Tensor:
        columns = codes(40)
        session = lm.session([condition(lm, 1), condition(lm, 2, 9)], 40)
        both = columns.expand(2, -1, -1)
        made = [lm(both[..., :10], session)]
        session.set_condition(1, Mix(((condition(lm, 2, 9), 0.5), (condition(lm, 3, 30), 0.5))))
        made += [lm(both[..., at : at + 1], session).flatten(0, 1) for at in range(session.position, 15)]
        session.rewind(4)
        made += [lm(both[..., 4:5], session).flatten(0, 1)]
        session.begin(7, [condition(lm, 4, 2), condition(lm, 5, 2)])
        made += [lm(both[..., :6], session)]
        return torch.cat([one.flatten() for one in made])

    lm = random_lm(kind)
    expected = played(lm)
    attach(lm, 1)
    assert torch.allclose(played(lm), expected, atol=2e-5)


def test_rows_come_back() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    runner = attach(lm, 1)
    kept = lm.session([condition(lm, 0)], 30)
    for _ in range(100):
        session = lm.session([condition(lm, 1), condition(lm, 2)], 300)
        lm.hear(codes(5, 2), session)
    assert runner.rows_taken == 2 + 4
    before = scored(lm, condition(lm, 3))
    del session
    gc.collect()
    assert torch.equal(scored(lm, condition(lm, 3)), before), "rows that were others' before"
    assert runner.rows_taken <= 2 + 2
    lm.step([Step(codes(1), kept)])


def test_more_sessions_than_an_arena_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.onnx.arena._MOST_ROWS", 4)
    lm = random_lm("cross")
    lm.pack("int8")
    attach(lm, 1)
    sessions = [lm.session([condition(lm, number)], 30) for number in range(5)]
    together = [logits.clone() for logits in lm.step([Step(codes(1), session) for session in sessions])]
    for number, logits in enumerate(together):
        assert torch.equal(lm.step([Step(codes(1), lm.session([condition(lm, number)], 30))])[0], logits)


def test_a_system_that_promises_little_gets_smaller_arenas(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    given = arena._address_space

    def stingy(size: int) -> object:
        asked.append(size)
        if size > 3_000_000:
            raise OSError(12, "Cannot allocate memory")
        return given(size)

    monkeypatch.setattr(arena, "_address_space", stingy)
    lm = random_lm("cross")
    attach(lm, 1)
    sessions = [lm.session([condition(lm, 0)], 30) for _ in range(20)]
    assert len(asked) > 2
    assert max(asked) > 3_000_000
    lm.step([Step(codes(1), session) for session in sessions])
    monkeypatch.setattr(arena, "_address_space", lambda size: stingy(1 << 40))
    attach(lm, 1)
    with pytest.raises(MemoryError, match="caches of 2 rows"):
        lm.session([condition(lm, 0)], 30)


def test_a_gap_is_run_along_only_where_that_costs_less() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    runner = attach(lm, 1)
    sessions = [lm.session([condition(lm, number)], 390) for number in range(3)]
    rows = runner._arenas[0]
    outer = [(0, 2), (4, 2)]
    assert runner._batches(rows, outer) == [(0, 6)]
    lm.hear(codes(390), sessions[1])
    assert runner._batches(rows, outer) == [(0, 2), (4, 6)]
    assert runner._batches(rows, [(0, 2), (2, 2), (4, 2)]) == [(0, 6)]


def test_scales_are_found_the_same_each_time_and_hold_what_is_heard() -> None:
    def found() -> list[Tensor]:
        lm = random_lm("score")
        lm.pack("int8")
        return [part for scales in find_scales(lm) for part in scales]

    first, second = found(), found()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all((part > 0).all() and part.shape == (32,) for part in first)


def test_caches_of_eight_bits_cost_little() -> None:
    lm = random_lm("score")
    exact = scored(lm, condition(lm, 0))
    attach(lm, 1, kv_cache="int8")
    narrow = scored(lm, condition(lm, 0))
    lm.runner = None
    plain = scored(lm, condition(lm, 0))
    error = float((narrow - exact).square().mean() / exact.square().mean())
    assert 0 < error < 1e-3
    assert float((narrow - plain).square().mean() / exact.square().mean()) < 0.1 * error, "but for numbers on an edge"
    assert cache_form(1024) == "int8"
    assert cache_form(64) == "float32"
    assert cache_form(2048, "float32") == "float32"


def test_sessions_are_opened_beside_a_thread_that_steps() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    attach(lm, 1)
    expected = stream(lm)
    over = threading.Event()

    def prepare() -> None:
        length = 1
        while not over.is_set():
            lm.session([condition(lm, 7, length)] * (1 + length % 3), 50)
            length = length % 90 + 1

    other = threading.Thread(target=prepare)
    other.start()
    try:
        assert torch.equal(stream(lm), expected)
    finally:
        over.set()
        other.join()


def test_what_it_cannot_run() -> None:
    assert unsupported_shape(variant_lm(Variant()).config) is None
    for variant, words in (
        (Variant(norm_first=False), "norms"),
        (Variant(positions="rope"), "rotates"),
        (Variant(qk_norm=True), "norms queries"),
        (Variant(past_context=9), "looks back"),
    ):
        reason = unsupported_shape(variant_lm(variant).config)
        assert reason is not None
        assert words in reason
    packed = random_lm("cross")
    packed.heads.weight = torch.nn.Parameter(torch.empty(0), requires_grad=False)
    assert unsupported(packed) is not None
    with pytest.raises(ValueError, match="not there to be read"):
        attach(packed)
    assert unsupported(random_lm("cross").double()) is not None


def test_the_modules_let_their_codes_go() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    size, error = lm.size, lm.rounding_error
    before = scored(lm, condition(lm, 0))
    attach(lm, 1)
    inside = [linear for layer in lm.layers for linear in (layer.ff_in, layer.cross_kv)]
    assert all(isinstance(linear, Linear) and not linear.rounded.codes.numel() for linear in inside)  # type: ignore[union-attr]
    assert (lm.size, lm.rounding_error) == (size, error)
    for _ in range(3):
        torch.randint(0, 256, (1 << 20,), dtype=torch.uint8)  # whatever lies where they were
        assert torch.allclose(scored(lm, condition(lm, 0)), before, atol=0.5)
    lm.runner = None
    with pytest.raises(RuntimeError, match="let go"):
        scored(lm, condition(lm, 0))


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("dim", [40, 768])
def test_a_word_does_not_know_how_many_there_are(form: str, dim: int) -> None:
    """Its numbers are those of the plain product, and the same to the bit in a text of any length; blocks are small and large."""
    biased = Variant(attention_bias=True)
    lm = MusicgenLM(LMConfig(dim, 2, dim // 8, 32, MUSICGEN_DELAYS, CARD, TEXT_DIM, True, 50, variant=biased))
    generator = torch.Generator().manual_seed(7)
    for parameter in lm.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    lm.pack(form)  # type: ignore[arg-type]
    runner = attach(lm, 1, kv_cache="float32", keep=True)
    words = torch.randn(21, dim, generator=generator) * torch.linspace(0.1, 3, 21).unsqueeze(1)
    told = runner.texts(words)
    assert told is not None
    plain = torch.stack([layer.cross_kv(words) for layer in lm.layers])  # type: ignore[operator]
    assert (told - plain).abs().max() < 1e-5 * plain.abs().max()
    for length in (1, 2, 3, 8, 13, 20):
        alone = runner.texts(words[:length])
        last = runner.texts(words[-length:])
        assert alone is not None
        assert last is not None
        assert torch.equal(alone, told[:, :length])
        assert torch.equal(last, told[:, -length:])


@pytest.mark.parametrize("name", VARIANTS)
def test_texts_of_variants_are_those_of_the_modules(name: str) -> None:
    lm = variant_lm(VARIANTS[name])
    lm.pack("int8")

    def conditions() -> list[Tensor | None]:
        heard = [lm.condition(None), *(condition(lm, number, length) for number, length in enumerate((1, 6, 17)))]
        return [part for one in heard for part in (one.keys_values, one.null_keys_values)]

    expected = conditions()
    runner = attach(lm, 1)
    assert runner.texts(torch.ones(1, 32)) is not None
    for made, plain in zip(conditions(), expected, strict=True):
        assert (made is None) == (plain is None)
        if made is not None and plain is not None:
            assert made.shape == plain.shape
            assert torch.allclose(made, plain, rtol=0, atol=1e-5 * float(plain.abs().max()) if plain.numel() else 0)


def test_matrices_in_single_precision_make_texts_by_the_modules() -> None:
    lm = random_lm("cross")
    assert attach(lm, 1).texts(torch.ones(1, lm.config.dim)) is None


def test_a_model_goes_when_nobody_holds_it() -> None:
    lm = random_lm("cross")
    lm.pack("int8")
    attach(lm, 1)
    gone = weakref.ref(lm)
    scored(lm, condition(lm, 0))
    del lm
    assert gone() is None, "by counting references"


def test_it_is_a_runner() -> None:
    lm = random_lm("cross")
    runner: OnnxRunner = attach(lm, 3)
    assert lm.runner is runner
    assert (runner.name, runner.threads) == ("onnx", 3)
