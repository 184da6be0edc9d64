"""A host's ticks: seldom or often, with the tempo or without, on arrival or at a time tag; all by a clock in the test's hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from daw_bridge.clock.clocks import ManualClock
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.host import HostClock
from protocols.bridge_messages import ClockTick, SetClock
from protocols.errors import ErrorCode, RequestError
from protocols.osc.front import Asker, Peer
from tests.support.clocks import ClockBridge

PEER = Peer("udp", "127.0.0.1", 9)


class Host:
    """A host that tells a tick every ``step`` beats, up to ``jitter`` seconds late.

    Args:
        tells: whether it tells its tempo.
        tagged: whether it tells the moment, 0.2 s ahead.
    """

    def __init__(self, step: float, jitter: float = 0.0, *, tells: bool = True, tagged: bool = False) -> None:
        self.hand = ManualClock()
        self.hand.advance(7)
        self.clock = HostClock(self.hand.now)
        self.step, self.jitter = step, jitter
        self.tells, self.tagged = tells, tagged
        self.bpm, self.beat = 87.3, 0.0
        self.chance = random.Random(5)
        self.errors_ms: list[float] = []

    def play(self, ticks: int) -> None:
        """Tick, and notice how far the clock is off halfway to the next tick, when nothing has come for a while."""
        self.errors_ms = []
        for _ in range(ticks):
            late = self.chance.uniform(0, self.jitter)
            wait = self.step * 60 / self.bpm
            if self.tagged:
                ahead = Fraction(round((0.2 - late) * 1e9), 10**9)
                self.tell(self.beat + 0.2 * self.bpm / 60, self.hand.now() + Fraction(round(0.2 * 1e9), 10**9))
                assert ahead <= Fraction(1, 5)
                self.go(wait / 2)
            else:
                self.go(late)
                self.tell(self.beat - late * self.bpm / 60, None)
                self.go(wait / 2 - late)
            off = float(self.clock.timeline.beat_at(self.hand.now())) - self.beat
            self.errors_ms.append(off * 60_000 / self.bpm)
            self.go(wait / 2)

    def tell(self, beat: float, at: Fraction | None, playing: bool = True) -> float:
        return float(self.clock.tick(beat, bpm=self.bpm if self.tells else None, playing=playing, at=at))

    def go(self, seconds: float) -> None:
        self.hand.advance(round(seconds, 9))
        self.beat += seconds * self.bpm / 60
        self.clock.pump()

    @property
    def playing(self) -> bool:
        return self.clock.timeline.playing(self.hand.now())

    @property
    def tempo(self) -> float:
        return float(self.clock.timeline.at(self.hand.now()).bpm)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("step", [0.125, 1.0, 4.0])
def test_ticks_lead_the_clock(step: float, tells: bool) -> None:
    host = Host(step, tells=tells)
    host.play(40)
    assert max(map(abs, host.errors_ms[2:])) < 0.01
    assert host.tempo == pytest.approx(87.3, abs=1e-3)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("step", [0.125, 1.0, 4.0])
def test_a_new_tempo_is_followed(step: float, tells: bool) -> None:
    host = Host(step, tells=tells)
    host.play(20)
    host.bpm = 131.0
    host.play(1 if tells else 4)
    host.play(6)
    assert max(map(abs, host.errors_ms)) < 0.01
    assert host.tempo == pytest.approx(131, abs=1e-3)


@pytest.mark.parametrize(("step", "tells", "most_ms"), [(0.125, True, 4), (1, True, 5), (1, False, 6.5), (4, True, 5)])
def test_the_jitter_of_packets_is_averaged(step: float, tells: bool, most_ms: float) -> None:
    host = Host(step, jitter=0.006, tells=tells)
    host.play(200)
    steady = host.errors_ms[50:]
    assert all(-most_ms < error < 0.5 for error in steady), "late by what the network takes, and no more"


def test_ticks_with_time_tags_are_exact_however_late_they_come() -> None:
    host = Host(1.0, jitter=0.15, tagged=True)
    host.play(50)
    assert max(map(abs, host.errors_ms[1:])) < 0.01


def test_a_start_at_a_time_tag_begins_there() -> None:
    host = Host(1.0)
    start = host.hand.now() + Fraction(1, 4)
    host.tell(0.0, start)
    assert host.clock.timeline.beat_at(host.hand.now()) == 0
    assert host.clock.timeline.seconds_at(Fraction(0), Fraction(0)) == start
    host.hand.advance(Fraction(1, 4) + Fraction(60 * 10, 873))
    assert host.clock.timeline.beat_at(host.hand.now()) == 1


def test_a_jump_counts_at_once() -> None:
    host = Host(1.0)
    host.play(8)
    host.beat = 33.0
    host.play(1)
    assert abs(host.errors_ms[0]) < 0.01
    host.beat -= 0.1  # less than half a beat: a stray until the next tick says the same
    host.play(2)
    assert abs(host.errors_ms[0]) > 1
    assert abs(host.errors_ms[1]) < 0.01
    host.tagged = True
    host.beat -= 0.1
    host.play(1)
    assert abs(host.errors_ms[0]) < 0.01, "a host that knows its moments is believed"


def test_one_stray_packet_moves_nothing() -> None:
    host = Host(1.0)
    host.play(8)
    before = host.clock.timeline.beat_at(host.hand.now())
    host.tell(host.beat - 0.1, None)
    assert abs(float(host.clock.timeline.beat_at(host.hand.now()) - before)) < 1e-6


def test_stop_and_start_count_at_once() -> None:
    host = Host(1.0)
    host.play(4)
    host.tell(4.0, None, playing=False)
    assert not host.playing
    host.hand.advance(60)
    assert host.clock.timeline.beat_at(host.hand.now()) == 4
    host.tell(12.0, None, playing=False)
    assert host.clock.timeline.beat_at(host.hand.now()) == 12, "the cursor was moved"
    host.bpm = 140.0
    host.tell(12.0, None, playing=False)
    assert host.tempo == 140
    assert host.tell(12.0, None) == 0
    assert host.playing


@pytest.mark.parametrize(("bpm", "step"), [(40.0, 4.0), (30.0, 6.0), (120.0, 1.0)])
def test_silence_is_measured_by_how_often_the_host_ticks(bpm: float, step: float) -> None:
    host = Host(step)
    host.bpm = bpm
    host.play(3)
    assert host.playing
    interval = step * 60 / bpm
    assert interval == 12 or interval < 12
    silence = max(3.0, 2.5 * interval)
    host.go(silence - interval - 0.1)
    assert host.playing
    host.go(0.2)
    assert not host.playing


def test_a_first_tick_is_waited_after_for_a_bar_and_more() -> None:
    host = Host(4.0)
    host.bpm = 40.0
    host.tell(0.0, None)
    host.go(6.5)
    assert host.playing


def test_metre_and_the_control_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(1.0)
    host.clock.tick(0.0, bpm=120.0, beats_per_bar=3)
    assert host.clock.timeline.beats_per_bar == 3
    host.clock.receive("/play", [0.0])
    host.clock.receive("/tempo/raw", [60.0])
    assert host.playing, "the ticks of a script count, and not what the surface says beside them"
    assert host.tempo == 120
    host.go(20)
    host.clock.receive("/tempo/raw", [60.0])
    assert host.tempo == 60, "a script that is gone leaves it to the surface"


def desk_at(wall: float) -> tuple[ClockDesk, ManualClock]:
    hand = ManualClock()
    desk = ClockDesk(lambda: None, ClockBridge([]), wall=lambda: wall)
    desk.stage.now = hand.now  # type: ignore[method-assign]
    return desk, hand


def test_ticks_do_not_count_while_another_leads() -> None:
    desk, _ = desk_at(1000.0)
    with pytest.raises(RequestError) as caught:
        desk.handle(ClockTick(beat=1.0))
    assert (caught.value.code, caught.value.field, caught.value.value) == (
        ErrorCode.NOT_ALLOWED,
        "source",
        "internal",
    )
    assert "source host" in caught.value.allowed


def test_a_time_tag_is_a_moment_of_the_stage() -> None:
    desk, hand = desk_at(1000.0)
    desk.handle(SetClock(source="host"))
    hand.advance(5)
    desk.handle(ClockTick(beat=8.0, bpm=60.0, beats_per_bar=3), Asker(PEER, "/bridge/clock/tick", 1, when=1000.25))
    assert desk.clock.timeline.seconds_at(Fraction(8), Fraction(0)) == Fraction(21, 4)
    assert desk.state().beats_per_bar == 3
    hand.advance(2)
    assert desk.state().beat == 9.75
    off = desk.handle(ClockTick(beat=9.76, bpm=60.0), Asker(PEER, "/bridge/clock/tick", 1, when=1000.0))
    assert getattr(off, "off_ms", None) == 10
