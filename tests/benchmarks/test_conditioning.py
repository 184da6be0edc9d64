"""The conditioning benchmark at its smallest: it runs, and its figures are figures."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks import conditioning
from daw_bridge.lead_line import lead_line
from daw_bridge.midi_file import read_midi_clip
from engine.training.composer import compose
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from protocols.melody import MelodyLine


def test_every_figure_is_there_and_the_shares_add_up() -> None:
    try:
        Renderer().close()
    except RequestError as error:
        pytest.skip(str(error))
    result = conditioning.measure(2, repeats=1)
    for misses, agreement in (("misses", "agreement"), ("misses_as_composed", "agreement_as_composed")):
        assert result[agreement] + sum(result[misses].values()) == pytest.approx(1, abs=0.001)
        assert 0.5 < result[agreement] <= 1
    for name in conditioning.STAGES:
        for before in ("", "alone_"):
            assert 0 < result[f"{before}{name}_ms"]["p50_ms"] < 10_000
    assert set(result["agreement_by_instrument"]) == set(list(conditioning.ROUND)[:2])
    assert result["notes_per_clip"] > 10
    assert set(result["recordings"]) >= {"auto", "harmonic", "none"}
    for one in result["recordings"].values():
        assert one["lead_notes"] > 0.8
        assert 0.4 < one["mix_chroma"] <= 1
    assert json.loads(json.dumps(result)) == result
    assert "from clip to condition" in conditioning.describe(result)


def test_a_piece_comes_back_from_its_clip(tmp_path: Path) -> None:
    piece = compose(4)
    conditioning.write_clip(piece, tmp_path / "clip.mid")
    clip = read_midi_clip(tmp_path / "clip.mid", allowed_folders=[tmp_path])
    assert len(clip.notes) == sum(len(track.notes) for track in piece.tracks)
    assert float(clip.length_seconds) == pytest.approx(float(piece.seconds), rel=1e-5)
    assert [note.pitch for note in lead_line(clip).notes] == [note.pitch for note in piece.lead]


def test_misses_are_told_apart() -> None:
    line = MelodyLine.of_seconds([(0, 2, 60), (2, 4, 62), (7, 8, 60)], 10)
    moments = np.arange(10 * 32_000) / 32_000
    right = np.select([moments < 2, moments < 4, (moments >= 7) & (moments < 8)], [261.63, 293.66, 261.63], 0)
    wrong = np.where((moments >= 7) & (moments < 8), 392.0, right)  # the fifth above
    for hertz, overtones in ((right, 0), (wrong, 12)):  # a second, and half a window before and after it
        sound = np.where(hertz > 0, np.sin(2 * np.pi * hertz * moments), 0).astype(np.float32)
        counts = conditioning.compare(line, sound)
        assert counts.total() == int(10 * Fraction(125, 16))
        assert abs(counts["overtone"] - overtones) <= 3
        assert counts["same"] >= counts.total() - overtones - 8
