"""A model that is loaded in eight bits is run by onnxruntime: its streams go on from their journals, and are made again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine import stream as stream_module
from engine.checkpoints import ModelBundle, load_model
from engine.runtime.onnx import OnnxRunner
from protocols.messages import Open, Update
from tests.support.journals import go_on, kit, play
from tests.support.own_models import write_own_model

WINDOW, LAST = 40, 100
REQUEST = Open(prompt="a happy rock song", seed=5, bpm=100.0)
UPDATES = (
    (12, Update(stream=1, prompt="sad piano")),
    (33, Update(stream=1, bpm=140.0, temperature=0.7)),
    (52, Update(stream=1, prompt="slow techno", seed=8)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(path, window_seconds=Fraction(WINDOW, 50), heads=6)
    return str(path)


@pytest.fixture(autouse=True)
def frequent_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 16)


@pytest.mark.parametrize("caches", ["float32", "int8"])
def test_a_stream_goes_on_as_it_would_have(folder: str, caches: str) -> None:
    bundle = load_model(folder, device="cpu", dtype="int8", kv_cache=caches)
    runner = bundle.lm.runner  # type: ignore[union-attr]
    assert isinstance(runner, OnnxRunner)
    preparation, admission = kit(bundle)
    whole = play(preparation, admission, REQUEST, LAST, updates=UPDATES)
    assert np.array_equal(play(preparation, admission, REQUEST, LAST, updates=UPDATES).codes, whole.codes)
    for first in (17, 40, 60):
        again = go_on(preparation, admission, bundle, REQUEST, whole, first, first + 24)
        assert len(again.codes) > 5
        assert np.array_equal(again.codes, whole.codes[first : first + len(again.codes)]), f"from frame {first}"


def test_by_itself_a_model_is_run_so_where_it_can(folder: str) -> None:
    def runner(**asked: str) -> tuple[str, str]:
        bundle: ModelBundle = load_model(folder, device="cpu", **asked)  # type: ignore[arg-type]
        return bundle.runner, bundle.precision

    assert runner() == ("onnx", "int8")
    assert runner(runner="plain") == ("plain", "int8")
    assert runner(dtype="float32") == ("plain", "float32")
