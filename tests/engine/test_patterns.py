"""The delay pattern against AudioCraft's, and its small laws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.patterns import DelayPattern

MONO = DelayPattern.musicgen(4, 1)
STEREO = DelayPattern.musicgen(8, 2)


def test_musicgen_delays() -> None:
    assert MONO.delays == (0, 1, 2, 3)
    assert STEREO.delays == (0, 0, 1, 1, 2, 2, 3, 3)
    with pytest.raises(ValueError, match="delays"):
        DelayPattern(())


@pytest.mark.parametrize(("name", "pattern"), [("delay_0123", MONO), ("delay_stereo", STEREO)])
def test_layout_equals_audiocraft(golden_dir: Path, name: str, pattern: DelayPattern) -> None:
    recorded = json.loads((golden_dir / "patterns.json").read_text())[name]
    frames, codebooks = recorded["T"], recorded["n_q"]
    assert pattern.max_delay == recorded["max_delay"]
    for step, coordinates in enumerate(recorded["layout"]):
        held = {codebook: frame for frame, codebook in coordinates}
        for codebook in range(codebooks):
            frame = pattern.frame_at(step, codebook)
            # Their layout goes on counting past the last frame; their mask, checked below, hides it.
            assert held.get(codebook) == (frame if frame >= 0 else None)
    codes = torch.arange(codebooks * frames).view(1, codebooks, frames)
    sequence = pattern.sequence(codes, frames, 999)
    assert sequence[0].tolist() == recorded["sequence"]
    assert pattern.slots(0, frames, frames).int().tolist() == recorded["mask"]
    assert int(pattern.slots(3, 4, frames)[0].nonzero()) == recorded["first_step_t3"]


@given(
    delays=st.lists(st.integers(0, 5), min_size=1, max_size=6).map(tuple),
    frames=st.integers(1, 12),
    data=st.data(),
)
def test_frames_come_back(delays: tuple[int, ...], frames: int, data: st.DataObject) -> None:
    pattern = DelayPattern(delays)
    first = data.draw(st.integers(0, frames))
    end = data.draw(st.integers(first, frames))
    codes = torch.randint(0, 50, (2, len(delays), frames))
    sequence = pattern.sequence(codes, frames, 50)
    assert sequence.shape[2] == pattern.steps(frames)
    assert torch.equal(pattern.frames(sequence, first, end), codes[..., first:end])
    assert int((sequence == 50).sum()) == 2 * len(delays) * (pattern.max_delay + 1)
    known = pattern.sequence(codes[..., :first], frames, 50)
    assert torch.equal(torch.where(pattern.slots(first, frames, frames), sequence, known), sequence)


def test_a_frame_is_complete_with_its_most_delayed_codebook() -> None:
    for frame in range(5):
        step = frame + 1 + MONO.max_delay
        assert MONO.frame_completed_at(step) == frame
        assert MONO.frame_at(step, 3) == frame
    assert MONO.frame_completed_at(MONO.max_delay) < 0
