"""Beats of the clock as marks on frames of the card, told ahead to who sends them and told anew where the clock changes."""

from __future__ import annotations

from fractions import Fraction

from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.timeline import Timeline
from daw_bridge.reastream.stream import BAR_MARK, BEAT_MARK

AHEAD_S = 1
"""How far ahead marks are told, so that a bridge that is busy for less than that leaves none out."""

_MOST_MARKS = 64  # in that time; the fastest clock has 17

Plan = tuple[int, int, list[tuple[int, float]]]
"""The first frame, the frame behind the last one, and the marks between them."""


def marks_between(stage: StageTime, timeline: Timeline, first: int, until: int) -> list[tuple[int, float]]:
    """The marks of the frames from ``first`` up to ``until`` of the present card: frame and value, in order."""
    # A beat is on the frame nearest to it, so that of frame ``first`` may lie half a frame before it.
    after = stage.seconds_at(first) - Fraction(1, 2 * stage.sample_rate)
    beat = timeline.next_beat("beat", after)
    marks: list[tuple[int, float]] = []
    while beat is not None and len(marks) < _MOST_MARKS:
        moment = timeline.seconds_at(beat, after)
        if moment is None or (frame := stage.frame_at(moment)) >= until:
            break
        if frame >= first:
            marks.append((frame, BEAT_MARK if beat % timeline.beats_per_bar else BAR_MARK))
        beat += 1
    return marks


class MarkPlan:
    """What has been told, and what is to be told next. For the loop's thread.

    Args:
        stage: the card's time.
    """

    def __init__(self, stage: StageTime) -> None:
        self._stage = stage
        self._told: Plan = (0, 0, [])

    def news(self, timeline: Timeline) -> Plan | None:
        """The plan from the frame that the card takes next on, where it differs from what was told or that soon runs out.

        None also without a card.
        """
        if self._stage.output is None:
            return None
        first = self._stage.frame_at(self._stage.rendered)
        until = first + AHEAD_S * self._stage.sample_rate
        marks = marks_between(self._stage, timeline, first, until)
        _, told_until, told = self._told
        as_told = [mark for mark in told if mark[0] >= first]
        same = as_told == [mark for mark in marks if mark[0] < told_until]
        if same and told_until - first > (until - first) // 2:
            return None
        self._told = (first, until, marks)
        return self._told
