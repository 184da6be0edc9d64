"""A stream depends on its own seed, settings and conditions, and on nothing that runs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint

WINDOW, STRIDE = 40, 24


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture(scope="module")
def conditions(bundle: ModelBundle) -> list[Condition]:
    encoded = [bundle.text.encode(text) for text in TEXTS]
    return [bundle.lm.condition(text.hidden, text.mask) for text in encoded]


def stream(
    bundle: ModelBundle,
    conditions: list[Condition],
    seed: int | list[int] = 1,
    total: int | None = 60,
    prompt: Tensor | None = None,
    chunk: int = 16,
    settings: SamplingSettings | None = None,
) -> FrameSampler:
    return FrameSampler(
        bundle.lm,
        conditions,
        settings or SamplingSettings(),
        total_frames=total,
        prompt=prompt,
        window_frames=WINDOW,
        stride_frames=STRIDE,
        seed=seed,
        prefill_chunk=chunk,
    )


def completed(sampler: FrameSampler) -> Iterator[Tensor]:
    while not sampler.done:
        if (frames := sampler.advance()) is not None:
            yield frames


def read(sampler: FrameSampler, frames: int | None = None) -> Tensor:
    made: list[Tensor] = []
    for part in completed(sampler):
        made.append(part)
        if frames is not None and len(made) == frames:
            break
    return torch.cat(made, dim=2)


def prompt_of(bundle: ModelBundle, frames: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(0, bundle.card, (rows, bundle.num_codebooks, frames), generator=generator)


def test_same_seed_same_tokens(bundle: ModelBundle, conditions: list[Condition]) -> None:
    first, again = (read(stream(bundle, conditions[:1])) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, read(stream(bundle, conditions[:1], seed=2)))


def test_other_streams_and_the_global_generator_change_nothing(
    bundle: ModelBundle, conditions: list[Condition]
) -> None:
    alone = read(stream(bundle, conditions[:1]))
    interleaved = completed(stream(bundle, conditions[:1]))
    others = [completed(stream(bundle, conditions, seed=3)), completed(stream(bundle, conditions[1:], seed=1))]
    made = []
    for frames in interleaved:
        made.append(frames)
        torch.rand(3)
        for other in others:
            next(other, None)
    assert torch.equal(torch.cat(made, dim=2), alone)


def test_rows_with_seeds_of_their_own(bundle: ModelBundle, conditions: list[Condition]) -> None:
    together = read(stream(bundle, conditions, seed=[5, 6]))
    assert torch.equal(together[:1], read(stream(bundle, conditions[:1], seed=5)))
    assert torch.equal(together[1:], read(stream(bundle, conditions[1:], seed=6)))


def test_the_prefill_chunk_changes_only_how_often_one_waits(bundle: ModelBundle, conditions: list[Condition]) -> None:
    prompt = prompt_of(bundle, 21)
    reference = read(stream(bundle, conditions[:1], prompt=prompt, chunk=64))
    assert reference.shape[2] == 60 - 21
    sampler = stream(bundle, conditions[:1], prompt=prompt, chunk=4)
    assert sampler.frames_done == 21
    waited = 0
    while (first := sampler.advance()) is None:
        waited += 1
    # Six chunks for 21 positions, then the steps that it takes to complete a frame.
    assert waited == 6 + max(bundle.delays)
    assert torch.equal(torch.cat((first, read(sampler)), dim=2), reference)


def test_every_frame_once(bundle: ModelBundle, conditions: list[Condition]) -> None:
    sampler = stream(bundle, conditions, total=3 * WINDOW)
    seen = 0
    for frames in completed(sampler):
        assert frames.shape[:2] == (2, bundle.num_codebooks)
        assert int(frames.max()) < bundle.card
        seen += frames.shape[2]
        assert sampler.frames_done == seen
    assert seen == 3 * WINDOW
    assert sampler.advance() is None


def test_an_endless_stream_is_the_beginning_of_any_long_one(bundle: ModelBundle, conditions: list[Condition]) -> None:
    # The last window of a finite stream is shorter; up to there both are the same.
    endless = stream(bundle, conditions[:1], total=None)
    made = read(endless, 4 * WINDOW)
    assert not endless.done
    finite = read(stream(bundle, conditions[:1], total=5 * WINDOW))
    assert torch.equal(made, finite[..., : 4 * WINDOW])


def test_an_endless_stream_holds_two_windows(bundle: ModelBundle, conditions: list[Condition]) -> None:
    def held(sampler: FrameSampler) -> int:
        tensors = [value for value in vars(sampler).values() if isinstance(value, Tensor)]
        assert sampler._ahead is not None
        sessions = [sampler._session, sampler._ahead._session]
        caches = [layer.keys_values for session in sessions if session is not None for layer in session.layers]
        return sum(tensor.untyped_storage().nbytes() for tensor in (*tensors, *caches))

    sampler = stream(bundle, conditions[:1], total=None)
    sizes = set()
    read(sampler, WINDOW)
    for _ in range(5):
        read(sampler, STRIDE)
        sizes.add(held(sampler))
    assert len(sizes) == 1


@pytest.mark.parametrize("frames", [WINDOW, WINDOW + 1, 3 * WINDOW])
def test_a_prompt_as_long_as_the_window(bundle: ModelBundle, conditions: list[Condition], frames: int) -> None:
    prompt = prompt_of(bundle, frames)
    made = read(stream(bundle, conditions[:1], prompt=prompt, total=frames + 10))
    assert made.shape[2] == 10
    heard = prompt[..., -(WINDOW - STRIDE) :]
    assert torch.equal(made, read(stream(bundle, conditions[:1], prompt=heard, total=heard.shape[2] + 10)))


def test_a_prompt_that_is_the_whole_stream(bundle: ModelBundle, conditions: list[Condition]) -> None:
    sampler = stream(bundle, conditions[:1], prompt=prompt_of(bundle, 30), total=30)
    assert sampler.done
    assert sampler.advance() is None


def test_settings_hold_from_the_next_step(bundle: ModelBundle, conditions: list[Condition]) -> None:
    greedy = SamplingSettings(temperature=0.0)
    steady = read(stream(bundle, conditions[:1], settings=greedy))
    sampler = stream(bundle, conditions[:1], settings=greedy)
    made = [read(sampler, 10)]
    sampler.settings = replace(greedy, guidance=-8.0)
    made.append(read(sampler))
    changed = torch.cat(made, dim=2)
    assert torch.equal(changed[..., :10], steady[..., :10])
    # Ten frames complete, the next three begun: codebook 0 is three frames ahead, the last one none.
    ahead = max(bundle.delays)
    assert torch.equal(changed[:, 0, : 10 + ahead], steady[:, 0, : 10 + ahead])
    assert not torch.equal(changed, steady)


def test_a_new_text_holds_from_the_next_step(bundle: ModelBundle, conditions: list[Condition]) -> None:
    greedy = SamplingSettings(temperature=0.0)
    steady = read(stream(bundle, conditions, settings=greedy))
    sampler = stream(bundle, conditions, settings=greedy)
    made = [read(sampler, 10)]
    sampler.set_condition(0, conditions[1])
    made.append(read(sampler))
    changed = torch.cat(made, dim=2)
    assert torch.equal(changed[..., :10], steady[..., :10])
    assert not torch.equal(changed[:1], steady[:1])
    assert torch.equal(changed[1:], steady[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": torch.zeros(1, 3, 5, dtype=torch.long)}, "prompt of shape"),
        ({"prompt": torch.full((1, 4, 5), 64)}, "prompt codes"),
        ({"stride_frames": WINDOW}, "stride"),
        ({"total_frames": 0}, "total_frames"),
        ({"prefill_chunk": 0}, "prefill_chunk"),
        ({"seed": [1, 2]}, "2 seeds for 1 rows"),
    ],
)
def test_arguments_that_do_not_fit(
    bundle: ModelBundle, conditions: list[Condition], change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {
        "total_frames": 10,
        "window_frames": WINDOW,
        "stride_frames": STRIDE,
        "seed": 1,
    }
    with pytest.raises(ValueError, match=message):
        FrameSampler(bundle.lm, conditions[:1], SamplingSettings(), **(arguments | change))  # type: ignore[arg-type]
