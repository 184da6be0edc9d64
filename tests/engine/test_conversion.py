"""Checkpoints of AudioCraft's in transformers' layout: the same model, or a refusal, and never half of one."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.checkpoints import ModelBundle, conversion, load_model
from engine.checkpoints.conversion import convert
from engine.checkpoints.convert import main
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from protocols.errors import ErrorCode, RequestError
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint

SMALL: dict[str, Any] = {"dim": 40, "layers": 2, "card": 16}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audiocraft_checkpoint(tmp_path_factory.mktemp("small") / "small", **SMALL)


def greedy(bundle: ModelBundle, frames: int = 16) -> Tensor:
    text = bundle.text.encode("a happy rock song")
    sampler = FrameSampler(
        bundle.lm,
        [bundle.lm.condition(text.hidden, text.mask)],
        SamplingSettings(temperature=0.0),
        total_frames=frames,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=0,
    )
    made = []
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)[0]


def refused(source: Path, target: Path, **options: Any) -> RequestError:
    before = sorted(target.parent.iterdir()) if target.parent.exists() else []
    with pytest.raises(RequestError) as caught:
        convert(source, target, **options)
    assert (sorted(target.parent.iterdir()) if target.parent.exists() else []) == before
    return caught.value


@pytest.mark.parametrize("kind", ["musicgen", "melody", "stereo", "audiogen"])
def test_it_is_the_same_model(kind: Any, tmp_path: Path) -> None:
    seconds = 4 if kind == "audiogen" else 30
    source = write_audiocraft_checkpoint(tmp_path / "source", kind, seconds=seconds, **SMALL)
    report = convert(source, tmp_path / "target")
    assert report.logits < 1e-5
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "target").iterdir())
    original, converted = (
        load_model(str(tmp_path / name), device="cpu", dtype="float32") for name in ("source", "target")
    )
    assert torch.equal(greedy(converted), greedy(original))
    codes = torch.arange(16).repeat(original.num_codebooks, 1)
    torch.testing.assert_close(converted.codec.decode(codes), original.codec.decode(codes))
    for fact in ("kind", "sample_rate", "channels", "window_frames", "stride_frames", "delays", "card", "resampling"):
        assert getattr(converted, fact) == getattr(original, fact), fact
    assert converted.melody == original.melody


def test_what_a_solver_leaves_is_converted_too(small: Path, tmp_path: Path) -> None:
    source = write_audiocraft_checkpoint(tmp_path / "source", form="training", codec_form="training", **SMALL)
    convert(source, tmp_path / "target")
    converted = load_model(str(tmp_path / "target"), device="cpu", dtype="float32")
    assert torch.equal(greedy(converted), greedy(load_model(str(small), device="cpu", dtype="float32")))


def test_precision(small: Path, tmp_path: Path) -> None:
    sizes = {dtype: convert(small, tmp_path / dtype, dtype=dtype).bytes for dtype in ("auto", "float32")}
    assert sizes["auto"] < sizes["float32"]
    weights = [load_model(str(tmp_path / name), device="cpu", dtype="float32").lm.embeddings for name in sizes]
    assert torch.equal(*weights)
    assert refused(small, tmp_path / "x", dtype="int8").field == "dtype"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"codebooks_pattern.modeling": "parallel"}, "codebooks_pattern"),
        ({"transformer_lm.positional_embedding": "rope"}, "positions"),
    ],
)
def test_what_transformers_lacks(settings: dict[str, Any], named: str, small: Path, tmp_path: Path) -> None:
    source = write_audiocraft_checkpoint(tmp_path / "source", settings=settings, **SMALL)
    error = refused(source, tmp_path / "target")
    assert error.code == ErrorCode.UNSUPPORTED
    assert named in error.text
    assert "transformers can express" in error.text


def test_a_target_that_is_there(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    convert(small, target)
    (target / "mine.txt").write_text("mine")
    assert "--overwrite" in refused(small, target).text
    assert (target / "mine.txt").exists()
    convert(small, target, overwrite=True)
    assert not (target / "mine.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target"]
    file = tmp_path / "file"
    file.touch()
    assert refused(small, file, overwrite=True).code == ErrorCode.NOT_ALLOWED
    own = tmp_path / "own"
    shutil.copytree(small, own)
    assert refused(own, own, overwrite=True).code == ErrorCode.NOT_ALLOWED


def test_a_disk_without_room(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
    assert refused(small, tmp_path / "target").code == ErrorCode.TOO_LARGE


def test_a_result_that_differs_is_not_kept(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = conversion._state

    def damaged(*arguments: Any) -> dict[str, Tensor]:
        state = whole(*arguments)
        state["decoder.lm_heads.2.weight"][3] += 0.5
        return state

    monkeypatch.setattr(conversion, "_state", damaged)
    error = refused(small, tmp_path / "target")
    assert "logits" in error.text
    assert not (tmp_path / "target").exists()


def test_the_command(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(small), str(tmp_path / "target")]) == 0
    assert "logits within" in capsys.readouterr().out
    assert main([str(small), str(tmp_path / "target")]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing"), str(tmp_path / "other")]) == 1
    assert main([str(tmp_path / "target"), str(tmp_path / "other")]) == 1
    assert "AudioCraft's layout" in capsys.readouterr().err
