"""A stream starts when enough is ready for the speed at which the rest will come."""

from __future__ import annotations

import random

import pytest

from daw_bridge.pace import LEAST_LEAD_S, MOST_LEAD_S, Pace, lead_of
from protocols.messages import AudioHeader
from protocols.settings import BridgeSettings

RATE = 32_000
FRAME = 640
BRIDGE = BridgeSettings()
USUAL = BRIDGE.prebuffer_ms / 1000
FADE = BRIDGE.fade_ms / 1000
BLOCK = 0.005


def arrive(pace: Pace, stream: int, waits: list[float]) -> list[float]:
    """A stream of frames of 20 ms, each after its wait; when they arrive."""
    now, arrivals = 0.0, []
    for number, wait in enumerate(waits):
        now += wait
        arrivals.append(now)
        header = AudioHeader(
            stream=stream, sequence=number, position=number * FRAME, frames=FRAME, channels=1, sample_rate=RATE
        )
        pace.arrived(header, now)
    return arrivals


def fast(waits: list[float], streams: int = 5, realtime: float = 4.0, bridge: BridgeSettings = BRIDGE) -> Pace:
    """What is known after some streams that arrived so."""
    pace = Pace(bridge)
    for stream in range(streams):
        arrive(pace, stream, waits)
        pace.measured(realtime)
    return pace


def runs_dry(arrivals: list[float], prebuffer: float) -> bool:
    """Whether a voice that starts with so much sound has none left before the last frame is there."""
    frame = FRAME / RATE
    start = next(arrivals[n] for n in range(len(arrivals)) if (n + 1) * frame >= prebuffer)
    return any(arrived > start + n * frame for n, arrived in enumerate(arrivals) if arrived > start)


def test_an_engine_that_is_fast_or_unknown_needs_nothing_extra() -> None:
    pace = Pace(BRIDGE)
    assert pace.prebuffer(30) == USUAL
    pace.measured(4.0)
    assert pace.prebuffer(30) == USUAL


@pytest.mark.parametrize("realtime", [0.25, 0.5, 0.9, 1.2])
@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_playback_never_overtakes_an_engine_of_that_speed(realtime: float, seconds: float) -> None:
    pace = Pace(BRIDGE)
    pace.measured(realtime)
    ready = pace.prebuffer(seconds)
    starts = ready / realtime
    assert ready > USUAL
    for tenth in range(int(seconds * 10)):
        played = tenth / 10
        assert min(seconds, realtime * (starts + played)) >= played


def test_the_speed_follows_what_is_measured() -> None:
    pace = Pace(BRIDGE)
    pace.measured(0.2)
    for _ in range(30):
        pace.measured(5.0)
    assert pace.prebuffer(30) == USUAL
    pace.measured(0.0)  # nothing was made yet: says nothing
    assert pace.prebuffer(30) == USUAL


def test_less_will_do_where_sound_comes_evenly() -> None:
    pace = fast([0.004] * 60)
    assert pace.prebuffer(0, BLOCK) == pytest.approx(BLOCK + FADE + 0.01), "a little at least"
    assert pace.prebuffer(0, BLOCK, streams=1) > pace.prebuffer(0, BLOCK)
    assert pace.prebuffer(0, 1.0) == USUAL


def test_one_late_block_near_the_beginning_is_remembered() -> None:
    waits = [0.004] * 60
    waits[2] = 0.02
    assert fast(waits).prebuffer(0, BLOCK) == pytest.approx(BLOCK + FADE + 2 * 0.02)
    waits[2], waits[30] = 0.004, 0.02  # by then there is half a second in store
    assert fast(waits).prebuffer(0, BLOCK) == pytest.approx(BLOCK + FADE + 0.01)


def test_what_was_learnt_would_have_been_enough() -> None:
    chance = random.Random(5)
    for _ in range(200):
        waits = [chance.choice((0.002, 0.004, 0.008, 0.015, 0.03)) for _ in range(60)]
        pace = fast(waits)
        ready = pace.prebuffer(0)
        assert ready <= USUAL
        arrivals = arrive(pace, 9, waits)
        assert not runs_dry(arrivals, ready) or runs_dry(arrivals, USUAL)


@pytest.mark.parametrize("streams", [0, 3])
def test_few_streams_say_nothing(streams: int) -> None:
    assert fast([0.004] * 60, streams).prebuffer(0) == USUAL


def test_a_slow_engine_and_a_fixed_setting_keep_to_the_setting() -> None:
    assert fast([0.004] * 60, realtime=1.6).prebuffer(0) == USUAL
    assert fast([0.004] * 60, bridge=BridgeSettings(prebuffer="fixed")).prebuffer(0) == USUAL


def test_a_stream_that_ran_dry_takes_back_what_was_learnt() -> None:
    pace = fast([0.004] * 60)
    pace.ended(3, 0)
    assert pace.prebuffer(0) < USUAL
    pace.ended(4, 1)
    for stream in range(7):
        arrive(pace, stream, [0.004] * 60)
        assert pace.prebuffer(0) == USUAL, "it takes longer to be believed again"
    arrive(pace, 8, [0.004] * 60)
    assert pace.prebuffer(0) < USUAL


def test_streams_that_go_on_or_stop_early_say_nothing() -> None:
    pace = fast([0.004] * 60, streams=3)
    arrive(pace, 7, [0.004] * 20)
    pace.ended(7, 0)
    later = AudioHeader(stream=8, sequence=0, position=FRAME, frames=2 * RATE, channels=1, sample_rate=RATE)
    pace.arrived(later, 0.0)
    assert pace.prebuffer(0) == USUAL


@pytest.mark.parametrize(("seconds", "lead"), [(1, LEAST_LEAD_S), (30, 30), (3600, MOST_LEAD_S)])
def test_the_lead_covers_the_stream_within_bounds(seconds: float, lead: float) -> None:
    assert lead_of(seconds) == lead
