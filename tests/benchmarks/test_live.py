"""The live figures at their smallest: a real engine, a tiny model, a moment of sound; and a session over OSC."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _live, _performance, session
from benchmarks._engine_line import PlayedStream
from benchmarks._rig import RATE
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from tests.support.jack import require_jack
from tests.support.midi import require_midi
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


def test_where_marks_are_says_how_exact_loops_start() -> None:
    loop = _performance._marked_loop(4)
    bar = round(_performance.BAR_S * RATE)
    sound = np.concatenate([np.zeros(777, np.float32), loop, loop])
    assert _performance._loop_starts(sound) == {"marks": 8, "bars": 7, "largest_error_samples": 0.0}
    late = np.concatenate([sound[: 777 + 5 * bar], np.zeros(3, np.float32), sound[777 + 5 * bar :]])
    assert _performance._loop_starts(late)["largest_error_samples"] == pytest.approx(3)
    assert _performance._loop_starts(np.zeros(RATE, np.float32))["marks"] == 0


def test_a_gap_and_a_click_are_seen_beside_the_music() -> None:
    music = (0.5 * np.sin(np.arange(4 * RATE) * 0.05)).astype(np.float32)
    heard = music * np.float32(10 ** (-6 / 20))
    whole = _performance._continuity(heard, [(0, len(heard))], music)
    assert whole["largest_step"] == pytest.approx(whole["largest_step_of_the_music"], rel=1e-3)
    assert whole["quietest_rms"] == pytest.approx(whole["quietest_rms_of_the_music"], rel=1e-3)
    broken = heard.copy()
    broken[RATE : RATE + RATE // 2] = 0
    found = _performance._continuity(broken, [(0, len(heard))], music)
    assert found["largest_step"] > 2 * whole["largest_step"]
    assert found["quietest_rms"] == 0


@pytest.mark.timeout(180)
def test_a_performance_is_played_and_read(tiny: str) -> None:
    require_jack()
    require_midi()
    result = _performance.measure_performance(tiny, minutes=0.1, kills=1, threads=1)
    assert result["kills"] == 1
    assert result["loop_starts"]["marks"] > 4
    assert result["note_to_sound"]["max_ms"] > 0
    assert result["take_made_again_difference"] < 1e-5
    assert json.loads(json.dumps(result)) == result
