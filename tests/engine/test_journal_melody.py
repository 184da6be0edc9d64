"""Melody models go on from their journal, too: what they hear before the codes changes while they play."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine import stream as stream_module
from engine.checkpoints import load_model
from protocols.melody import MelodyLine
from protocols.messages import Open, Update
from tests.support.journals import go_on, kit, play
from tests.support.tiny_checkpoints import write_tiny_checkpoint

TUNE = MelodyLine.of_seconds([(0, Fraction(1, 2), 60), (Fraction(1, 2), 1, 64), (Fraction(3, 2), 2, 67)], 2)
OTHER = MelodyLine.of_seconds([(0, Fraction(1, 2), 62), (Fraction(1, 2), 2, 65)], 2)


@pytest.mark.parametrize("chroma", [0, 31])
def test_a_stream_with_melodies_goes_on(tmp_path: Path, chroma: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 16)
    loaded = load_model(str(write_tiny_checkpoint(tmp_path, chroma_length=chroma)), device="cpu")
    bundle = replace(loaded, window_frames=40, stride_frames=20)
    updates = [
        (12, Update(stream=1, prompt="sad piano with a guitar and drums")),
        (58, Update(stream=1, prompt="a song")),
        (66, Update(stream=1, prompt="fast rock", morph=0.5)),
    ]
    if chroma:
        updates.insert(1, (35, Update(stream=1, melody=OTHER.encode())))
    preparation, admission = kit(bundle)
    request = Open(prompt="a happy song", seed=5, bpm=120.0, melody=TUNE.encode() if chroma else "")
    whole = play(preparation, admission, request, 110, updates=updates)
    assert len(whole.changes) == len(updates)
    for first in (3, 13, 36, 40, 43, 57, 60, 61, 67, 79, 80, 85):
        again = go_on(preparation, admission, bundle, request, whole, first, first + 24)
        length = min(len(again.codes), len(whole.codes) - first)
        assert length > 10
        assert np.array_equal(again.codes[:length], whole.codes[first : first + length]), f"from frame {first}"
        sound = whole.sound[first * bundle.hop_length :]
        samples = min(len(sound), len(again.sound))
        assert np.abs(sound[:samples] - again.sound[:samples]).max() < 1e-4, f"from frame {first}"
