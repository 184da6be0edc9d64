"""Codebook patterns: AudioCraft's layouts, and the laws that every pattern keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.runtime.patterns import (
    CoarseFirstPattern,
    CodebookPattern,
    DelayPattern,
    GroupedPattern,
    Layout,
    UnrollPattern,
)

MONO = DelayPattern.musicgen(4, 1)
STEREO = DelayPattern.musicgen(8, 2)
RECORDED: dict[str, CodebookPattern] = {
    "delay_0123": MONO,
    "delay_stereo": STEREO,
    "delay_flatten_first2": DelayPattern((0, 1, 2, 3), flatten_first=2),
    "delay_empty_initial2": DelayPattern((0, 1, 2, 3), empty_initial=2),
    "parallel": DelayPattern.parallel(4),
    "unroll": UnrollPattern.flat(4),
    "unroll_partial": UnrollPattern((0, 1, 1, 1), (0, 3, 3, 3)),
    "coarse_first": CoarseFirstPattern((0, 1, 2)),
    "musiclm_g2": GroupedPattern(4, 2),
}


@st.composite
def patterns(draw: st.DrawFn) -> CodebookPattern:
    """Any pattern of AudioCraft's kinds, of up to six codebooks."""
    books = draw(st.integers(1, 6))
    numbers = st.lists(st.integers(0, 5), min_size=books, max_size=books)
    kind = draw(st.sampled_from(["delay", "unroll", "coarse", "grouped"]))
    if kind == "coarse" and books > 1:
        return CoarseFirstPattern(tuple(draw(numbers)[1:]))
    if kind == "grouped":
        return GroupedPattern(
            books, draw(st.sampled_from([group for group in range(1, books + 1) if books % group == 0]))
        )
    if kind == "unroll":
        flattening = sorted(draw(numbers))
        steps = sorted(set(flattening))
        delays = draw(st.lists(st.integers(0, 4), min_size=len(steps), max_size=len(steps)))
        delay_of = dict(zip(steps, sorted(delays), strict=True))
        return UnrollPattern(tuple(flattening), tuple(delay_of[step] for step in flattening))
    return DelayPattern(tuple(draw(numbers)), draw(st.integers(0, 4)), draw(st.integers(0, 3)))


def test_musicgen_delays() -> None:
    assert MONO.delays == (0, 1, 2, 3)
    assert STEREO.delays == (0, 0, 1, 1, 2, 2, 3, 3)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_layouts_are_audiocrafts(golden_dir: Path, name: str) -> None:
    recorded = json.loads((golden_dir / "patterns.json").read_text())
    assert set(recorded) == set(RECORDED)
    facts = recorded[name]
    layout = RECORDED[name].layout(facts["T"])
    codes = torch.arange(facts["n_q"] * facts["T"]).view(1, facts["n_q"], facts["T"])
    sequence = layout.sequence(codes, 999)
    assert facts == {
        "n_q": layout.codebooks,
        "T": layout.frames,
        "layout": [[list(coordinate) for coordinate in step] for step in layout.coordinates],
        "sequence": sequence[0].tolist(),
        "valid_sequence": sequence[0, :, : layout.valid_steps].tolist(),
        "mask": layout.mask.int().tolist(),
        "max_delay": layout.max_delay,
        "first_step_t3": layout.first_step(3),
        "roundtrip": torch.equal(layout.codes(sequence, 0, layout.frames), codes),
    }


def test_the_definitions() -> None:
    """As in Copet et al. (2023), figure 1, written out by hand for three frames; a dash is the special token."""
    for pattern, drawn in (
        (DelayPattern.parallel(2), "-012 -012"),
        (DelayPattern((0, 1)), "-012- --012"),
        (DelayPattern((0, 1), flatten_first=1), "-0-12- --0-12"),
        (DelayPattern((0, 1), empty_initial=1), "--012- ---012"),
        (UnrollPattern.flat(2), "-0-1-2- --0-1-2"),
        (UnrollPattern((0, 2), (0, 0)), "--0--1--2- ---0--1--2"),
        (UnrollPattern((0, 1), (0, 1)), "-0-1-2-- --0-1-2"),
        (CoarseFirstPattern((0, 1)), "-012---- ----012- -----012"),
        (GroupedPattern(2, 1), "-012--- ----012"),
        (GroupedPattern(4, 2), "-0-1-2------ --0-1-2------ -------0-1-2- --------0-1-2"),
    ):
        sequence = pattern.sequence(torch.arange(3).expand(1, pattern.num_codebooks, 3), 3, -1)[0].tolist()
        rows = ["".join("-" if frame < 0 else str(frame) for frame in row).rstrip("-") for row in sequence]
        assert rows == [row.rstrip("-") for row in drawn.split()], pattern


@given(pattern=patterns(), frames=st.integers(1, 14), data=st.data())
def test_every_code_has_one_slot_and_comes_back(pattern: CodebookPattern, frames: int, data: st.DataObject) -> None:
    layout = pattern.layout(frames)
    codes = torch.randint(0, 50, (2, pattern.num_codebooks, frames))
    sequence = layout.sequence(codes, 50)
    assert sequence.shape == (2, pattern.num_codebooks, layout.steps)
    assert int((sequence != 50).sum()) == codes.numel() == 2 * int(layout.mask.sum())
    assert (sequence[..., 0] == 50).all()
    first = data.draw(st.integers(0, frames))
    end = data.draw(st.integers(first, frames))
    assert torch.equal(layout.codes(sequence, first, end), codes[..., first:end])
    known = layout.sequence(codes[..., :first], 50)
    assert torch.equal(torch.where(layout.slots(first, frames), sequence, known), sequence)
    assert torch.equal(sequence.flatten(1)[:, layout.flat_slots].transpose(1, 2), codes)


@given(pattern=patterns(), frames=st.integers(1, 14))
def test_frames_begin_and_are_completed_in_order(pattern: CodebookPattern, frames: int) -> None:
    layout = pattern.layout(frames)
    completed = [frame for frame in layout.completed if frame >= 0]
    assert completed == list(range(frames))
    for frame in range(frames):
        slots = [step for step, held in enumerate(layout.coordinates) if any(at == frame for at, _ in held)]
        assert (
            len({(step, book) for step in slots for at, book in layout.coordinates[step] if at == frame})
            == layout.codebooks
        )
        assert (slots[0], slots[-1]) == (layout.first_step(frame), layout.completing_step(frame))
        assert layout.begun[slots[0]] <= frame < layout.begun[slots[0] + 1]
    assert layout.first_step(frames) == layout.steps == pattern.steps(frames)
    assert pattern.most_frames(layout.steps - 1) == frames
    assert pattern.most_frames(layout.steps - 2) == frames - 1


class Table(CodebookPattern):
    """A pattern that is written down for one length."""

    def __init__(self, *rows: list[int]) -> None:
        self.rows = rows

    @property
    def num_codebooks(self) -> int:
        return len(self.rows)

    def table(self, frames: int) -> NDArray[np.int64]:
        return np.array(self.rows)


@pytest.mark.parametrize(
    "rows",
    [
        ([0, 1, 2],),
        ([-1, 0, 1],),
        ([-1, 1, 0, 2],),
        ([-1, 0, 1, 2], [-1, 0, 0, 1]),
        ([-1, 0, 1, 2, 2], [-1, 0, 1, 2, 3]),
    ],
)
def test_a_pattern_of_ones_own_is_checked(rows: tuple[list[int], ...]) -> None:
    with pytest.raises(ValueError, match=r"codebook|first step"):
        Table(*rows).layout(3)
    assert isinstance(Table([-1, 0, 1, -1, 2], [-1, 0, -1, 1, 2]).layout(3), Layout)


def test_what_is_no_pattern_is_refused() -> None:
    for make in (
        lambda: DelayPattern(()),
        lambda: DelayPattern((0, -1)),
        lambda: DelayPattern((0,), flatten_first=-1),
        lambda: DelayPattern((0,), empty_initial=-1),
        lambda: UnrollPattern((0, 1), (0,)),
        lambda: UnrollPattern((1, 0), (0, 0)),
        lambda: UnrollPattern((0, 0), (0, 1)),
        lambda: CoarseFirstPattern(()),
        lambda: GroupedPattern(4, 3),
        lambda: MONO.layout(0),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  each says its own
            make()
