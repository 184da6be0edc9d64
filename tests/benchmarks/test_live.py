"""The live figures at their smallest: a real engine, a tiny model, a moment of sound; and a session over OSC."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks import _live, session
from benchmarks._engine_line import PlayedStream
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from tests.support.own_models import write_own_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder, window_seconds=Fraction(2))
    return str(folder)


def test_changes_and_late_frames_are_measured(tiny: str) -> None:
    live = _live.measure_live(tiny, 2, 0.05, threads=1)
    assert live["changes"]["changes"] == 2
    assert 0 < live["changes"]["change_to_frame"]["p50_ms"] < 10_000
    assert live["changes"]["change_to_frame_frames"] > 0
    assert live["endless"]["frames"] > 50
    assert 0 <= live["endless"]["late_frames"] <= live["endless"]["frames"]
    assert json.loads(json.dumps(live)) == live
    assert "change of the prompt" in _live.describe_live(live)


def test_a_block_that_comes_after_its_moment_is_late() -> None:
    stream = PlayedStream.__new__(PlayedStream)
    stream.margins = [(0.1, 2), (-0.001, 3), (0.0, 4)]
    assert _live._late(stream) == 3


def test_a_session_is_played_recorded_and_listened_to(tiny: str, tmp_path: Path) -> None:
    try:
        Renderer().close()
    except RequestError as error:
        pytest.skip(str(error))
    result = session.measure(tiny, threads=1, keep=tmp_path / "kept", beats=12)
    assert [line.split()[0] for line in result["said"]] == [
        "/bridge/notes/file",
        "/bridge/open",
        "/bridge/update",
        "/bridge/cancel",
    ]
    (change,) = result["morph"]["recorded"]
    assert (change["prompt"], change["morph"]) == ("distorted guitar", 8.0)
    assert change["frame"] > 0
    assert -1 <= result["chroma_cosine"] <= 1
    assert set(result["seam"]) == {"jump", "level_db"}
    assert "hears a melody" in result["note"]
    assert {"region.wav", "clip.mid", "takes"} <= {path.name for path in (tmp_path / "kept").iterdir()}
    assert "cosine to the clip" in session.describe(result)
