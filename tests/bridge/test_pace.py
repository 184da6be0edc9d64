"""A stream starts when enough is ready for the speed at which the rest will come."""

from __future__ import annotations

import pytest

from daw_bridge.pace import LEAST_LEAD_S, MOST_LEAD_S, Pace, lead_of


def test_an_engine_that_is_fast_or_unknown_needs_nothing_extra() -> None:
    pace = Pace()
    assert pace.prebuffer(30) == 0
    pace.measured(4.0)
    assert pace.prebuffer(30) == 0


@pytest.mark.parametrize("realtime", [0.25, 0.5, 0.9, 1.2])
@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_playback_never_overtakes_an_engine_of_that_speed(realtime: float, seconds: float) -> None:
    pace = Pace()
    pace.measured(realtime)
    ready = pace.prebuffer(seconds)
    starts = ready / realtime
    assert ready > 0
    for tenth in range(int(seconds * 10)):
        played = tenth / 10
        assert min(seconds, realtime * (starts + played)) >= played


def test_the_speed_follows_what_is_measured() -> None:
    pace = Pace()
    pace.measured(0.2)
    for _ in range(30):
        pace.measured(5.0)
    assert pace.prebuffer(30) == 0
    pace.measured(0.0)  # nothing was made yet: says nothing
    assert pace.prebuffer(30) == 0


@pytest.mark.parametrize(("seconds", "lead"), [(1, LEAST_LEAD_S), (30, 30), (3600, MOST_LEAD_S)])
def test_the_lead_covers_the_stream_within_bounds(seconds: float, lead: float) -> None:
    assert lead_of(seconds) == lead
