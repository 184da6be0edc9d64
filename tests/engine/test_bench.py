"""``daw-bridge bench``: what is measured, what is suggested, and what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from engine.bench import measuring
from engine.bench.__main__ import main
from engine.bench.comparison import Comparison, Machine, Measured, Setting, _suggestion
from engine.bench.measuring import MARGIN, Figures
from engine.bench.random_models import SHAPES, random_model
from engine.bench.report import headline, told
from protocols.errors import ErrorCode, RequestError
from tests.support.own_models import write_own_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in our own layout."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder)
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(measuring, "_MOST_STREAMS", 4)
    monkeypatch.setattr(measuring, "_ROUNDS", 3)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def measured(dtype: str, threads: int, realtime: float, streams: int = 1) -> Measured:
    """A setting with made-up figures."""
    figures = Figures(realtime, 10.0, 1.0, 5.0, 500, 40.0, 8.0, streams, {1: 10.0})
    return Measured(Setting(dtype, "auto", threads), dtype, "onnx", figures)


def test_the_present_setting_comes_first_and_every_precision_after_it(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"engine.model={model}", "engine.threads=1", "engine.device=cpu", "engine.dtype=float32"]
    assert main([*(part for flag in flags for part in ("--set", flag)), "--json", "--seconds", "0.05"]) == 0
    content = json.loads(capsys.readouterr().out)
    line = content.pop("headline")
    result = msgspec.convert(content, Comparison, strict=False)
    assert line == headline(result)
    assert result.measured[0].setting == Setting("float32", "auto", 1)
    assert {one.dtype for one in result.measured if one.figures is not None} >= {"float32", "int8"}
    run = [(one.dtype, one.runner, one.setting.threads) for one in result.measured if one.figures is not None]
    assert len(run) == len(set(run)), "nothing is measured twice"
    for one in result.measured:
        figures = one.figures
        if figures is None:
            assert one.reason
            continue
        assert min(figures.realtime, figures.step_ms, figures.codec_ms, figures.weights_mb, figures.stream_mb) > 0
        assert figures.floor_ms is not None
        assert figures.floor_ms > 0
        assert list(figures.rounds_ms) == [1 << n for n in range(len(figures.rounds_ms))]
        assert max(figures.rounds_ms) <= 4
        fits = [n for n, ms in figures.rounds_ms.items() if ms + n * figures.codec_ms <= MARGIN * 20]
        assert max(fits, default=0) <= figures.live_streams < 2 * max(fits, default=1)
    assert str(result.machine.cores) in told(result)


def test_what_is_clearly_faster_is_suggested() -> None:
    present = measured("float32", 2, 1.0)
    assert _suggestion([present, measured("int8", 2, 2.0), measured("int4", 1, 1.5)]) == ({"dtype": "int8"}, 2.0)
    assert _suggestion([present, measured("int8", 1, 3.0)]) == ({"dtype": "int8", "threads": 1}, 3.0)


def test_neither_a_moods_worth_nor_the_hosts_cores_are_suggested() -> None:
    present = measured("int8", 2, 2.0)
    refused = Measured(Setting("int4", "auto", 2), reason="not here")
    assert _suggestion([present, measured("int4", 2, 2.1), measured("int8", 4, 4.0), refused]) == ({}, 1.0)


def test_words_name_what_is_slow_missing_and_better() -> None:
    machine = Machine("a processor", 4, "cpu", 2, 3.5, 0.6)
    refused = Measured(Setting("int4", "auto", 2), reason="no kernel")
    result = Comparison("pocket", machine, [measured("float32", 2, 1.25, streams=7), refused], {"dtype": "int8"}, 2.5)
    assert headline(result).startswith("on this machine: 1.2 × real time (pocket, float32 by onnx, 2 of 4 cores")
    text = told(result)
    assert "no kernel" in text
    assert "busy" in text
    assert "2.5 times as fast: daw-bridge up --set engine.dtype=int8" in text
    assert text.splitlines()[1].split()[-1] == "7"


def test_a_shape_is_a_model_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.bench.random_models import Shape

    monkeypatch.setitem(SHAPES, "tiny", Shape(64, 2, 2))
    asked = {"device": "cpu", "runner": "auto", "kv_cache": "auto", "threads": 1}
    rounded, plain = (random_model("tiny", dtype=dtype, **asked) for dtype in ("int8", "float32"))
    assert rounded.form == "int8"
    assert plain.form is None
    text = plain.text.encode("x")
    codes = torch.randint(2048, (1, 4, 6), generator=torch.Generator().manual_seed(1))
    scores = []
    with torch.inference_mode():
        for bundle in (rounded, plain):
            session = bundle.lm.session([bundle.lm.condition(text.hidden, text.mask)], 8)
            scores.append(bundle.lm(codes, session)[0])
    assert float((scores[0] - scores[1]).norm() / scores[1].norm()) < 0.05, "the same weights, but for rounding"
    with pytest.raises(RequestError) as refused:
        random_model("huge", dtype="auto", **asked)
    assert refused.value.code is ErrorCode.UNKNOWN_MODEL


def test_what_is_wrong_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model-shape", "huge"]) == 2
    assert capsys.readouterr().err.startswith("bench: unknown_model")
