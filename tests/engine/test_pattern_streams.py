"""Streams of models with other codebook patterns than MusicGen's: when frames come, and that a journal goes on in each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import stream as stream_module
from engine.checkpoints import ModelBundle, load_model
from engine.journal.replay import Windows
from engine.runtime.custom_lm import CustomLM
from engine.runtime.patterns import (
    CoarseFirstPattern,
    CodebookPattern,
    DelayPattern,
    GroupedPattern,
    UnrollPattern,
)
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from protocols.messages import Open, Update
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.journals import go_on, kit, play
from tests.support.lm_variants import CASES, text

WINDOW = 0.48
LAST = 60
PATTERNS: dict[str, dict[str, Any]] = {
    "flatten_first": {"modeling": "delay", "delay": {"delays": [0, 1, 2, 3], "flatten_first": 3, "empty_initial": 1}},
    "unroll": {"modeling": "unroll", "unroll": {"flattening": [0, 1, 1, 2], "delays": [0, 2, 2, 2]}},
    "coarse_first": {"modeling": "coarse_first", "coarse_first": {"delays": [0, 1, 2]}},
    "musiclm": {"modeling": "musiclm", "musiclm": {"group_by": 2}},
}


@pytest.fixture(scope="module", params=sorted(PATTERNS))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder: Path = tmp_path_factory.mktemp("models") / request.param
    settings = {"codebooks_pattern": PATTERNS[request.param]}
    write_audiocraft_checkpoint(folder, dim=32, layers=2, seconds=WINDOW, settings=settings)
    return load_model(str(folder), device="cpu")


@pytest.fixture(autouse=True)
def frequent_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 8)


def test_a_stream_goes_on_from_its_journal(bundle: ModelBundle) -> None:
    preparation, admission = kit(bundle)
    request = Open(prompt="a happy rock song", seed=5)
    updates = (
        (9, Update(stream=1, prompt="sad piano", temperature=0.8)),
        (30, Update(stream=1, prompt="fast drums", seed=8)),
        (44, Update(stream=1, top_k=20)),
    )
    whole = play(preparation, admission, request, LAST, updates=updates)
    assert len(whole.changes) == len(updates)
    assert len(np.unique(whole.codes)) > 20
    for first in (3, bundle.window_frames, bundle.window_frames + 1, 46):
        again = go_on(preparation, admission, bundle, request, whole, first, min(LAST, first + 12))
        length = min(len(again.codes), len(whole.codes) - first)
        assert length > 5
        assert np.array_equal(again.codes[:length], whole.codes[first : first + length]), f"from frame {first}"


def test_an_audio_prompt_stays_as_it_is(bundle: ModelBundle) -> None:
    preparation, admission = kit(bundle)
    codes = np.random.default_rng(2).integers(0, bundle.card, (bundle.num_codebooks, 7)).astype("<u2")
    request = Open(prompt="a happy rock song", seed=5, codebooks=bundle.num_codebooks)
    whole = play(preparation, admission, request, 30, codes.tobytes())
    assert np.frombuffer(whole.prompt_codes, "<u2").reshape(codes.shape).tolist() == codes.tolist()
    again = go_on(preparation, admission, bundle, request, whole, 20, 28)
    assert len(again.codes) > 5
    assert np.array_equal(again.codes, whole.codes[20 : 20 + len(again.codes)])


@cache
def sampler_of(name: str) -> tuple[CodebookPattern, list[int]]:
    """The pattern of a case, and the calls that it took to each frame of a first window."""
    lm = CASES[name].lm()
    sampler = FrameSampler(
        lm,
        [lm.condition(text(1))],
        SamplingSettings(),
        total_frames=12,
        window_frames=12,
        stride_frames=6,
        seed=1,
        prefill_chunk=100,
    )
    calls, came = 0, []
    while not sampler.done:
        calls += 1
        if sampler.advance() is not None:
            came.append(calls)
    return lm.pattern, came


@pytest.mark.parametrize("name", ["musicgen", "parallel", "unroll", "unroll_delayed", "coarse_first", "musiclm"])
def test_a_frame_comes_with_the_step_of_its_last_code(name: str) -> None:
    pattern, came = sampler_of(name)
    layout = pattern.layout(12)
    blank = layout.first_step(0) - 1  # columns that are heard at once, in one call
    assert came == [layout.completing_step(frame) - blank + min(blank, 1) for frame in range(12)]


def patterns() -> Iterator[CodebookPattern]:
    yield DelayPattern((0, 1, 2, 3))
    yield DelayPattern((1, 1, 4, 6))
    yield DelayPattern((0, 2), flatten_first=3, empty_initial=2)
    yield UnrollPattern((0, 1, 1), (0, 3, 3))
    yield CoarseFirstPattern((0, 1))
    yield GroupedPattern(4, 2)


class Silent:
    """A network to which all codes are alike."""

    card, text_dim, max_positions = 4, 1, 1000

    def __init__(self, pattern: CodebookPattern) -> None:
        self.pattern = pattern

    def begin(self, texts: Sequence[Tensor], positions: int) -> object:
        return self

    def step(self, codes: Tensor, state: object) -> Tensor:
        return torch.zeros(*codes.shape, self.card)


@pytest.mark.parametrize("pattern", list(patterns()), ids=repr)
@pytest.mark.parametrize(("length", "stride", "prompt"), [(12, 5, 0), (12, 5, 7), (9, 8, 1)])
def test_a_journal_knows_where_a_sampler_was(pattern: CodebookPattern, length: int, stride: int, prompt: int) -> None:
    """What is told of a stream that is gone on with is what the sampler told of it while it ran."""
    lm = CustomLM(Silent(pattern), device=torch.device("cpu"))
    sampler = FrameSampler(
        lm,
        [lm.condition(None)],
        SamplingSettings(temperature=0),
        total_frames=None,
        prompt=torch.zeros(1, pattern.num_codebooks, prompt, dtype=torch.long),
        window_frames=length,
        stride_frames=stride,
        seed=0,
    )
    windows, layout = Windows(length, stride, pattern, prompt), pattern.layout(length)
    reached: list[tuple[int, int]] = []
    for frames in range(prompt, prompt + 30):
        assert sampler.frames_done == frames
        assert sampler.next_frame == windows.next_frame(frames)
        reached.append((sampler._offset, sampler._step))
        # The first step that is drawn anew is that with the first code of the frame that comes next.
        drawn = (sampler._offset, layout.first_step(frames - sampler._offset))
        for earlier, place in enumerate(reached, prompt):
            assert windows.knows(frames, earlier) == (place <= drawn), (frames, earlier)
        while sampler.advance() is None:
            pass
