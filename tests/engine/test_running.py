"""What runs a model: chosen by itself, asked for, refused, and told apart by fingerprints."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import pytest
import torch

from engine.checkpoints import ModelBundle, load_model, running
from engine.checkpoints.devices import Precision, pick_precision
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from engine.runtime.quantised import BlockWeight
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.runtime.transformer import DecoderLayer, Variant
from protocols.errors import ErrorCode, RequestError
from tests.support.magnet_checkpoint import write_magnet_checkpoint
from tests.support.tiny_checkpoints import write_tiny_checkpoint

CPU = torch.device("cpu")
FRAMES = 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), dim=64)  # heads of 16: onnxruntime wants whole eights


@cache
def loaded(folder: Path, **asked: str) -> ModelBundle:
    return load_model(str(folder), device="cpu", **asked)  # type: ignore[arg-type]


def sampled(bundle: ModelBundle) -> torch.Tensor:
    text = bundle.text.encode("a song")
    sampler = FrameSampler(
        bundle.lm,
        [bundle.lm.condition(text.hidden, text.mask)],
        SamplingSettings(),
        total_frames=FRAMES,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=3,
    )
    frames = []
    while not sampler.done:
        if (made := sampler.advance()) is not None:
            frames.append(made)
    return torch.cat(frames, dim=2)


def config(variant: Variant) -> LMConfig:
    return LMConfig(
        dim=32,
        layers=1,
        heads=2,
        ff_dim=64,
        pattern=DelayPattern((0, 1)),
        card=16,
        text_dim=32,
        text_projection=False,
        max_positions=32,
        variant=variant,
    )


def test_by_itself_a_cpu_runs_eight_bits_by_onnxruntime(tiny: Path) -> None:
    bundle = loaded(tiny)
    assert (bundle.precision, bundle.runner, bundle.narrow_caches) == ("int8", "onnx", False)
    assert bundle.lm.runner is not None
    assert isinstance(bundle.lm.heads.rounded, BlockWeight)
    assert bundle.lm.heads.rounded.released, "its matrices are in memory once"
    assert sampled(bundle).shape[2] == FRAMES


def test_the_modules_run_the_same_precision(tiny: Path) -> None:
    plain, other = loaded(tiny, runner="plain"), loaded(tiny)
    assert (plain.precision, plain.runner, plain.lm.runner) == ("int8", "plain", None)
    assert plain.fingerprint != other.fingerprint, "sums in another order fall to other sides of a rounding"
    assert sampled(plain).shape == sampled(other).shape


def test_what_is_asked_for_stays(tiny: Path) -> None:
    single = loaded(tiny, dtype="float32")
    assert (single.precision, single.runner, single.lm.runner) == ("float32", "plain", None)
    four = loaded(tiny, dtype="int4", runner="onnx")
    assert (four.precision, four.runner) == ("int4", "onnx")


def test_caches_of_eight_bits_are_told(tiny: Path) -> None:
    wide, narrow, plain = loaded(tiny), loaded(tiny, kv_cache="int8"), loaded(tiny, kv_cache="int8", runner="plain")
    assert (wide.narrow_caches, narrow.narrow_caches, plain.narrow_caches) == (False, True, True)
    assert len({bundle.fingerprint for bundle in (wide, narrow, plain)}) == 3
    assert plain.lm.runner is None
    assert sampled(plain).shape == sampled(narrow).shape
    scales = [cast("DecoderLayer", bundle.lm.layers[0]).cache_scales for bundle in (narrow, plain)]
    assert scales[0] is not None
    assert scales[1] is not None
    assert torch.equal(scales[0].keys, scales[1].keys)


def test_precisions_have_fingerprints_of_their_own(tiny: Path) -> None:
    names = ("float32", "bfloat16", "int8", "int4")
    found = {name: loaded(tiny, dtype=name).fingerprint for name in names}
    assert len(set(found.values())) == len(names)
    assert loaded(tiny).fingerprint == found["int8"]


@pytest.mark.parametrize(
    ("asked", "field", "code"),
    [
        ({"runner": "fast"}, "runner", ErrorCode.NOT_ALLOWED),
        ({"kv_cache": "int2"}, "kv_cache", ErrorCode.NOT_ALLOWED),
        ({"runner": "graphs"}, "runner", ErrorCode.UNSUPPORTED),
        ({"runner": "onnx", "dtype": "float32"}, "runner", ErrorCode.UNSUPPORTED),
    ],
)
def test_what_cannot_be_is_refused(tiny: Path, asked: dict[str, str], field: str, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as refused:
        loaded(tiny, **asked)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert "plain" in refused.value.allowed or "float32" in refused.value.allowed


def test_without_onnxruntime_it_is_single_precision(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.runtime.onnx import check

    def reason() -> str:
        return "products that differ"

    running._why_no_onnx.cache_clear()
    monkeypatch.setattr(check, "why_not", reason)
    loaded.cache_clear()
    try:
        bundle = loaded(tiny)
        assert (bundle.precision, bundle.runner) == ("float32", "plain")
        asked = loaded(tiny, dtype="int8")
        assert (asked.precision, asked.runner) == ("int8", "plain")
        assert sampled(asked).shape[2] == FRAMES
        with pytest.raises(RequestError) as refused:
            loaded(tiny, dtype="int8", runner="onnx")
        assert reason() in refused.value.allowed
    finally:
        running._why_no_onnx.cache_clear()
        loaded.cache_clear()


def test_shapes_that_the_graph_has_no_words_for_stay_in_single_precision() -> None:
    auto = pick_precision("auto", CPU)
    assert running.settled(auto, config(Variant()), CPU).name == "int8"
    assert running.settled(auto, config(Variant(positions="rope")), CPU) == auto
    chosen = Precision("float32", torch.float32)
    assert running.settled(chosen, config(Variant()), CPU) is chosen


def test_models_of_segments_stay_in_single_precision(tmp_path: Path) -> None:
    bundle = loaded(write_magnet_checkpoint(tmp_path / "magnet"))
    assert (bundle.precision, bundle.runner) == ("float32", "plain")
    assert isinstance(bundle.lm, MusicgenLM)
    rounded = loaded(tmp_path / "magnet", dtype="int8")
    assert (rounded.precision, rounded.runner) == ("int8", "plain")
