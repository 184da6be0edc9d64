"""A stream that goes on from its journal makes what it would have made, from whichever frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from engine import stream as stream_module
from engine.checkpoints import ModelBundle, load_model
from protocols.messages import Open, Update
from tests.support.journals import Played, go_on, kit, play
from tests.support.own_models import write_own_model

WINDOW, STRIDE, LAST = 40, 20, 130


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    path: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(path, window_seconds=Fraction(WINDOW, 50))
    return load_model(str(path), device="cpu")


@pytest.fixture(autouse=True)
def frequent_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 16)


def check(
    bundle: ModelBundle,
    request: Open,
    updates: tuple = (),
    payload: bytes = b"",
    at: tuple = (),
    *,
    exact: bool = True,
) -> Played:
    preparation, admission = kit(bundle)
    whole = play(preparation, admission, request, LAST, payload, updates)
    assert len(whole.changes) == len(updates)
    for first in at or (1, 17, 39, 40, 44, 60, 99, 118):
        again = go_on(preparation, admission, bundle, request, whole, first, min(LAST, first + 24), exact=exact)
        assert again.first == first
        length = min(len(again.codes), len(whole.codes) - first)
        assert length > 5
        assert np.array_equal(again.codes[:length], whole.codes[first : first + length]), f"from frame {first}"
        sound = whole.sound[first * bundle.hop_length :]
        samples = min(len(sound), len(again.sound))
        assert samples > 3 * bundle.hop_length
        assert np.abs(sound[:samples] - again.sound[:samples]).max() < 1e-4, f"from frame {first}"
        assert again.changes == whole.changes[: len(again.changes)]
        assert len(again.changes) >= sum(change["frame"] < first + len(again.codes) for change in whole.changes)
    return whole


def test_words_alone(bundle: ModelBundle) -> None:
    check(bundle, Open(prompt="a happy rock song", seed=5, bpm=100.0))


@pytest.mark.parametrize("exact", [True, False])
def test_changes_of_words_tempo_seed_and_settings(bundle: ModelBundle, exact: bool) -> None:
    updates = (
        (12, Update(stream=1, prompt="sad piano")),
        (33, Update(stream=1, bpm=140.0, temperature=0.7)),
        (40, Update(stream=1, prompt="fast drums", seed=8)),
        (52, Update(stream=1, prompt="slow techno", temperature=0.0)),
        (58, Update(stream=1, temperature=1.0, top_p=0.9)),
        (90, Update(stream=1, key="Am")),
    )
    check(bundle, Open(prompt="a happy rock song", seed=5, bpm=100.0), updates, exact=exact)


@pytest.mark.parametrize("blend", ["embedding", "guidance"])
def test_morphs(bundle: ModelBundle, blend: str) -> None:
    updates = (
        (8, Update(stream=1, prompt="sad piano", morph=2.0, guidance=5.0)),
        (45, Update(stream=1, prompt="fast drums", morph=4.0, temperature=0.8)),
        (70, Update(stream=1, prompt="slow techno || guitar", weights="1 2", morph=1.0)),
    )
    check(bundle, Open(prompt="a happy rock song", seed=5, bpm=100.0, blend=blend), updates)


@pytest.mark.parametrize("frames", [1, 13, 20, 60])
def test_an_audio_prompt(bundle: ModelBundle, frames: int) -> None:
    codes = np.random.default_rng(2).integers(0, bundle.card, (bundle.num_codebooks, frames)).astype("<u2")
    request = Open(prompt="a happy rock song", seed=5, codebooks=bundle.num_codebooks)
    check(bundle, request, ((30, Update(stream=1, prompt="sad piano")),), codes.tobytes())


def test_a_small_stride_and_rare_states(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 70)
    check(bundle, Open(prompt="a song", seed=5, stride=0.1), at=(5, 44, 66, 69, 70, 71, 76, 77, 100, 119))


def test_of_a_long_past_only_what_is_needed_is_gone_through(bundle: ModelBundle) -> None:
    preparation, admission = kit(bundle)
    request = Open(prompt="a song", seed=5)
    whole = play(preparation, admission, request, 400)
    early = go_on(preparation, admission, bundle, request, whole, 105, 110)
    late = go_on(preparation, admission, bundle, request, whole, 385, 390)
    assert early.steps == late.steps


def test_without_a_journal_it_is_made_again_from_its_beginning(bundle: ModelBundle) -> None:
    preparation, admission = kit(bundle)
    request = Open(prompt="a song", seed=5)
    whole = play(preparation, admission, request, LAST)
    again = play(preparation, admission, structs.replace(request, from_frame=112), LAST)
    assert again.first == 0
    frames = min(len(again.codes), len(whole.codes))
    assert frames > 120
    assert np.array_equal(again.codes[:frames], whole.codes[:frames])
    expected = whole.sound[112 * bundle.hop_length :]
    length = min(len(expected), len(again.sound))
    assert np.abs(expected[:length] - again.sound[:length]).max() < 1e-4
