"""Beats, seconds and samples, and the clocks that count them."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from daw_bridge.clock.clocks import Clock, ManualClock
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.host import HostClock
from daw_bridge.clock.timeline import MAX_PIECES, Position, Timeline
from protocols.bridge_messages import Beat, LocateClock, Play, SetClock, StartClock, StopClock
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event
from protocols.osc.front import Peer
from tests.support.clocks import ClockBridge


def test_ten_thousand_bars_do_not_drift() -> None:
    clock = ManualClock(Timeline(87.3))
    clock.timeline.start(Fraction(0))
    for bar in range(10_001):
        # In integers: a bar of 4 beats at 87.3 bpm and 44.1 kHz is 4 * 60 * 44100 * 10 / 873 samples; a half rounds up.
        expected = (2 * bar * 4 * 60 * 44_100 * 10 + 873) // (2 * 873)
        assert clock.timeline.sample_at(Fraction(4 * bar), 44_100) == expected
        assert clock.timeline.beat_at(clock.now()) == 4 * bar
        clock.advance_beats(4)
    assert clock.now() == Fraction(10_001 * 4 * 600, 873)


def test_tempo_changes_stops_and_jumps_lose_nothing() -> None:
    chance = random.Random(5)
    clock = ManualClock(Timeline(87.3))
    line, beat, bpm, playing = clock.timeline, Fraction(0), Fraction(873, 10), False
    for _ in range(5000):
        match chance.randrange(4):
            case 0:
                bpm = Fraction(chance.randrange(200, 3000), 10)
                line.set_tempo(bpm, clock.now())
            case 1:
                playing = not playing
                (line.start if playing else line.stop)(clock.now())
            case 2:
                beat = Fraction(chance.randrange(4000), 4)
                line.locate(beat, clock.now())
        passed = Fraction(chance.randrange(1, 480_000), 48_000)
        clock.advance(passed)
        beat += passed * bpm / 60 * playing
        assert line.beat_at(clock.now()) == beat
        ahead = line.seconds_at(beat + 7, clock.now())
        assert ahead == (clock.now() + 7 * 60 / bpm if playing else None)
    assert len(line._pieces) <= MAX_PIECES


def test_the_next_bar_is_never_one_that_has_passed() -> None:
    line = Timeline(120, beats_per_bar=3)
    assert line.next_beat("bar", Fraction(0)) is None
    line.start(Fraction(10))
    assert line.next_beat("bar", Fraction(0)) == 0, "a start that lies ahead"
    assert line.next_beat("bar", Fraction(10)) == 0
    assert line.next_beat("bar", Fraction(10) + Fraction(1, 10**9)) == 3
    assert line.next_beat("beat", Fraction(10) + Fraction(1, 10**9)) == 1
    assert line.seconds_at(Fraction(3), Fraction(0)) == Fraction(23, 2)
    assert line.seconds_at(Fraction(3), Fraction(12)) is None, "it has passed"
    assert line.position(Fraction(11, 2)) == Position(2, 3)
    line.set_tempo(60, Fraction(5))
    assert line.seconds_at(Fraction(3), Fraction(0)) == 13, "a start that lies ahead stays"


class Reaper:
    """Sends what Reaper's default pattern file sends, thirty times a second, over a network that jitters."""

    def __init__(self, hand: ManualClock, clock: HostClock, jitter: float = 0.004) -> None:
        self.hand, self.clock, self.jitter = hand, clock, jitter
        self.chance = random.Random(3)
        self.bpm = Fraction(120)
        self.began_at = Fraction(0)  # the beat at second 0 of the project
        self.seconds = Fraction(0)
        self.send("/tempo/raw", 120.0)

    @property
    def beat(self) -> Fraction:
        return self.began_at + self.seconds * self.bpm / 60

    def send(self, address: str, value: float | str) -> None:
        self.clock.receive(address, [value])

    def play(self, seconds: float) -> None:
        """Send for a while; every packet comes up to ``jitter`` seconds late."""
        for _ in range(round(seconds * 30)):
            late = Fraction(self.chance.uniform(0, self.jitter))
            self.hand.advance(Fraction(1, 30))
            self.seconds += Fraction(1, 30) - late  # what was sent is as old as it is late
            self.send("/time", float(self.seconds))
            hundredths = self.beat * 100 // 1
            self.send("/beat/str", f"{hundredths // 400 + 1}.{hundredths // 100 % 4 + 1}.{hundredths % 100:02d}")
            self.seconds += late

    @property
    def error_ms(self) -> float:
        """How far the clock is ahead of the host."""
        return float((self.clock.timeline.beat_at(self.hand.now()) - self.beat) * 60 / self.bpm) * 1000


@pytest.fixture
def hand() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reaper(hand: ManualClock) -> Reaper:
    return Reaper(hand, HostClock(hand.now))


def test_a_host_is_followed(hand: ManualClock, reaper: Reaper) -> None:
    clock: Clock = reaper.clock
    reaper.seconds = Fraction(-1, 5)
    reaper.play(0.2)
    assert not clock.timeline.playing(hand.now()), "it stands"
    reaper.send("/play", 1.0)
    reaper.play(10)
    assert clock.timeline.playing(hand.now())
    assert -4 < reaper.error_ms < 0, "late by what the network takes, and no more"
    reaper.send("/play", 0.0)
    reaper.send("/stop", 1.0)
    stopped = clock.timeline.beat_at(hand.now())
    hand.advance(5)
    assert clock.timeline.beat_at(hand.now()) == stopped


def test_jitter_is_smoothed(hand: ManualClock) -> None:
    clock = HostClock(hand.now)
    reaper = Reaper(hand, clock, jitter=0.010)
    reaper.send("/play", 1.0)
    reaper.play(5)
    errors = []
    for _ in range(300):
        reaper.play(1 / 30)
        errors.append(reaper.error_ms)
    assert max(errors) - min(errors) < 2, "of 10 ms of jitter"
    assert -7 < errors[-1] < -3, "the mean delay cannot be told from the host's own"


def test_jumps_and_tempo_changes_count_at_once(hand: ManualClock, reaper: Reaper) -> None:
    reaper.send("/play", 1.0)
    reaper.play(4)
    reaper.seconds = Fraction(60)
    reaper.play(0.1)
    assert abs(reaper.error_ms) < 5
    # A tempo marker: the project's seconds go on, its beats do not start from second 0 any more.
    reaper.began_at, reaper.bpm = reaper.beat - reaper.seconds * Fraction("93.5") / 60, Fraction("93.5")
    reaper.send("/tempo/raw", 93.5)
    assert reaper.clock.timeline.at(hand.now()).bpm == Fraction("93.5")
    reaper.play(3)
    assert abs(reaper.error_ms) < 5


def test_one_late_packet_is_no_jump(hand: ManualClock, reaper: Reaper) -> None:
    reaper.send("/play", 1.0)
    reaper.play(4)
    before = reaper.error_ms
    hand.advance(Fraction(1, 50))
    reaper.seconds += Fraction(1, 50)
    reaper.send("/time", float(reaper.seconds) - 0.08)
    assert reaper.error_ms == pytest.approx(before, abs=0.5)
    reaper.seconds -= Fraction(8, 100)  # a small jump is one after all
    reaper.play(0.2)
    assert abs(reaper.error_ms) < 5


def test_nonsense_and_silence_from_a_host(hand: ManualClock, reaper: Reaper) -> None:
    reaper.send("/play", 1.0)
    reaper.play(1)
    for address, value in [
        ("/beat/str", "what"),
        ("/beat/str", ""),
        ("/beat/str", "9" * 4000 + ".1.00"),
        ("/time", True),
        ("/time", float("nan")),
        ("/time", float("inf")),
        ("/tempo/raw", -4.0),
        ("/tempo/raw", "fast"),
        ("/play", "x"),
    ]:
        reaper.send(address, value)
    reaper.clock.receive("/time", [])
    reaper.play(1)
    assert abs(reaper.error_ms) < 5
    hand.advance(4)
    reaper.clock.pump()
    assert not reaper.clock.timeline.playing(hand.now())


def test_the_desk_sets_the_clock_and_tells_every_beat() -> None:
    told: list[Event] = []
    desk = ClockDesk(lambda: None, ClockBridge(told))
    hand = ManualClock()
    desk.clock = hand
    request = Play(prompt="x")
    assert desk.in_time(request).bpm == 0
    assert desk.in_time(Play(prompt="x", at="bar")).bpm == 120, "the clock starts with it"
    state = desk.handle(SetClock(bpm=90.0, beats_per_bar=3))
    assert (state.source, state.playing, state.bpm, state.beats_per_bar) == ("manual", False, 90.0, 3)
    desk.handle(StartClock())
    assert desk.in_time(request).bpm == 90
    assert desk.in_time(Play(prompt="x", bpm=100.0)).bpm == 100
    for _ in range(600):
        desk.pump()
        hand.advance(Fraction(1, 100))
    beats = [(event.bar, event.beat) for event in told if isinstance(event, Beat)]
    assert beats == [(1 + index // 3, 1 + index % 3) for index in range(len(beats))]
    assert len(beats) == 10, "of nine beats in six seconds, and the tenth a little ahead"
    assert all(40 <= event.ms <= 50 for event in told[1:] if isinstance(event, Beat))
    hand.advance(60)
    desk.pump()
    assert len(told) == 11, "what the loop has missed is not told in a heap"
    desk.handle(LocateClock(beat=7.0))
    assert desk.state().position == "3.2"
    assert not desk.handle(StopClock()).playing


def test_a_host_that_counts_cannot_be_told_what_to_do() -> None:
    desk = ClockDesk(lambda: None, ClockBridge([]))
    assert desk.handle(SetClock(source="host", beats_per_bar=3)).source == "host"
    for request in (SetClock(bpm=100.0), StartClock(), StopClock(), LocateClock(beat=0.0)):
        with pytest.raises(RequestError) as caught:
            desk.handle(request)
        assert caught.value.code == ErrorCode.NOT_ALLOWED
    surface, other = Peer("udp", "127.0.0.1", 8000), Peer("udp", "127.0.0.1", 8001)
    assert desk.overhear("/tempo/raw", [97.0], surface)
    assert desk.state().bpm == 97
    assert desk.overhear("/track/1/volume", [0.5], surface), "a surface sends its faders too"
    assert not desk.overhear("/track/1/volume", [0.5], other)
    assert desk.handle(SetClock(source="internal")).bpm == 97
