"""Streams that begin at a moment that their host has named, on a sound card that is moved by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from daw_bridge.clock.starts import GUARD_S, Start
from daw_bridge.clock.timeline import Position
from tests.support.clock_stage import BLOCK, RATE, Singer, Stage


def singer_at(stage: Stage, seconds: float) -> tuple[Singer, int]:
    """A stream that is to begin so many seconds from now, and the frame of that moment."""
    singer = Singer(stage)
    moment = stage.clock.now() + Fraction(str(seconds))
    stage.starts.add_at(singer, moment)
    return singer, stage.time_of.frame_at(moment)


@pytest.mark.parametrize("pace", [1.0, 1.00007])
def test_a_stream_begins_at_its_moment_to_the_sample(pace: float) -> None:
    stage = Stage(pace=pace, jitter=0.002)
    stage.play(3)
    expected = []
    for seconds in (0.2, 1.1, 0.35):
        singer, frame = singer_at(stage, seconds)
        singer.sing()
        stage.play(seconds + 0.3)
        expected.append(frame)
        assert singer.start.frame == frame
        assert singer.start.seconds == pytest.approx(seconds, abs=0.001)
    assert stage.onsets == expected


def test_the_clock_has_no_part_in_it() -> None:
    stage = Stage()
    stage.play(0.1)
    singer, frame = singer_at(stage, 0.5)
    singer.sing()
    stage.play(0.2)
    assert not stage.clock.timeline.playing(stage.clock.now())
    stage.clock.timeline.start(stage.clock.now())
    stage.clock.timeline.set_tempo(61, stage.clock.now())
    stage.play(0.5)
    assert stage.onsets == [frame]


def test_what_is_ready_only_later_says_so_and_begins_as_soon_as_it_can() -> None:
    stage = Stage()
    stage.play(0.1)
    singer, frame = singer_at(stage, 0.3)
    stage.play(0.32)
    assert [type(told) for told in singer.told] == [Start, Position]
    assert stage.onsets == []
    now = len(stage.heard) * BLOCK
    singer.sing()
    stage.play(0.2)
    assert now <= stage.onsets[0] <= now + 2 * BLOCK
    assert now > frame


def test_a_moment_that_is_too_near_is_told_late_at_once() -> None:
    stage = Stage()
    stage.play(0.1)
    singer, _ = singer_at(stage, float(GUARD_S) / 2)
    assert [type(told) for told in singer.told] == [Position]
    singer.sing()
    stage.play(0.2)
    assert len(stage.onsets) == 1


def test_what_is_ready_just_in_time_is_on_time() -> None:
    stage = Stage()
    stage.play(0.1)
    singer, frame = singer_at(stage, 0.3)
    stage.play(0.3 - 2 * BLOCK / RATE - float(GUARD_S) - 0.02)
    singer.sing()
    stage.play(0.3)
    assert [type(told) for told in singer.told] == [Start]
    assert stage.onsets == [frame]
