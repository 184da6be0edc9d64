"""MIDI clock from another machine: followed through jitter, changes and losses, by a clock that is moved by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from daw_bridge.clock.clocks import Clock, ManualClock
from daw_bridge.clock.midi import MidiClock
from daw_bridge.clock.timeline import Position, Timeline
from protocols.errors import ErrorCode, RequestError
from tests.support.clocks import Sequencer


@pytest.fixture
def hand() -> ManualClock:
    return ManualClock()


@pytest.fixture
def clock(hand: ManualClock) -> MidiClock:
    return MidiClock(hand.now)


def position(clock: Clock) -> Position:
    return clock.timeline.position(clock.timeline.beat_at(clock.now()))


def spread(errors: list[float]) -> float:
    return max(errors) - min(errors)


def test_ten_thousand_bars_of_ticks_do_not_drift(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.003)
    sequencer.bpm = 87.3
    sequencer.send("fa")
    for bars in (1, 99, 9_900):
        sequencer.play(bars * 4, pump_s=Fraction(1))
        assert all(-3 < error < 0 for error in sequencer.errors_ms[8:-1]), "late by the way, after hours too"
    assert clock.timeline.beat_at(hand.now()) // 1 in (39_999, 40_000)
    assert sequencer.tempos[-1] == pytest.approx(87.3, abs=0.02)


@pytest.mark.parametrize(("jitter", "heard"), [(0.001, 0.4), (0.003, 1.0), (0.010, 3.0)])
def test_jitter_is_averaged_out(hand: ManualClock, clock: MidiClock, jitter: float, heard: float) -> None:
    sequencer = Sequencer(hand, clock, jitter)
    sequencer.send("fa")
    sequencer.play(16)
    sequencer.play(60)
    assert spread(sequencer.errors_ms) < heard, f"ms, of {jitter * 1000:g} ms of jitter"
    assert sum(sequencer.errors_ms) / len(sequencer.errors_ms) == pytest.approx(-500 * jitter, abs=0.5)
    assert spread(sequencer.tempos) < 0.2


def test_blocks_of_a_sound_card_are_averaged_out(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, block=1024 / 48_000)
    sequencer.send("fa")
    sequencer.play(30)
    sequencer.play(60)
    assert spread(sequencer.errors_ms) < 6, "of 21 ms, in which a tick and a block are nearly alike"
    assert set(sequencer.tempos) == {120.0}


def test_a_round_tempo_is_told_round(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.0005)
    sequencer.bpm = 128.5
    sequencer.send("fa")
    sequencer.play(8)
    sequencer.play(8)
    assert set(sequencer.tempos) == {128.5}


@pytest.mark.parametrize("tempo", [60.0, 118.0, 126.0, 140.0, 240.0])
def test_a_new_tempo_is_followed_within_a_beat(hand: ManualClock, clock: MidiClock, tempo: float) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.001)
    sequencer.send("fa")
    sequencer.play(20)
    sequencer.play(1, lambda _: tempo)
    sequencer.play(3, lambda _: tempo)
    assert all(-1.5 < error < 1 for error in sequencer.errors_ms)
    assert sequencer.tempos[-1] == pytest.approx(tempo, rel=0.004)


@pytest.mark.parametrize("slope", [2.5, -5.0])
def test_ramps_are_followed(hand: ManualClock, clock: MidiClock, slope: float) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.001)
    sequencer.send("fa")
    sequencer.play(16)
    sequencer.play(8, lambda beats: 120 + slope * beats)
    assert all(abs(error) < 6 for error in sequencer.errors_ms), "ms, while the tempo changes all the time"
    sequencer.play(4)
    sequencer.play(8)
    assert all(-1.5 < error < 1 for error in sequencer.errors_ms)


def test_start_stop_continue_and_song_position(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock)
    sequencer.play(2)
    assert not clock.timeline.playing(hand.now()), "ticks alone are no start"
    assert clock.timeline.at(hand.now()).bpm == 120
    sequencer.send("fa")
    assert position(clock) == Position(1, 1)
    sequencer.play(6)
    assert position(clock) == Position(2, 2)
    sequencer.send("fc")
    assert (clock.timeline.playing(hand.now()), clock.timeline.beat_at(hand.now())) == (False, 6)
    sequencer.ticks, stood = 0, clock.timeline.beat_at(hand.now())
    sequencer.play(3)
    assert clock.timeline.beat_at(hand.now()) == stood, "ticks go on while it stands"
    sequencer.ticks = 6 * 24
    sequencer.send("fb")
    sequencer.play(2)
    assert all(abs(error) < 0.1 for error in sequencer.errors_ms[3:])
    sequencer.send("fc")
    sequencer.send("f22001")  # 160 sixteenths
    assert position(clock) == Position(11, 1)
    sequencer.ticks = 40 * 24
    sequencer.send("fb")
    sequencer.play(1)
    assert all(abs(error) < 0.1 for error in sequencer.errors_ms[3:])
    sequencer.send("f20000")  # a jump while it plays
    sequencer.ticks = 0
    sequencer.play(1)
    assert all(abs(error) < 0.1 for error in sequencer.errors_ms[3:])
    sequencer.send("fa")
    sequencer.play(1)
    assert clock.timeline.beat_at(hand.now()) == pytest.approx(1, abs=0.05)


def test_a_start_off_the_old_ticks_counts_at_once(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.0005)
    sequencer.play(4)
    hand.advance(Fraction(13, 1000))
    sequencer.send("fa")
    sequencer.play(1)
    assert all(-0.8 < error < 0.3 for error in sequencer.errors_ms[3:])


def test_lost_ticks_are_noticed(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.001)
    sequencer.send("fa")
    sequencer.drop = {500, *range(700, 705)}
    sequencer.play(40)
    sequencer.play(10)
    assert all(-1.5 < error < 1 for error in sequencer.errors_ms)


def test_one_late_tick_and_a_held_up_heap_are_not_heard(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.0005)
    sequencer.send("fa")
    sequencer.play(12)
    came: list[bytes] = []
    receive, clock.receive = clock.receive, lambda message, moment: came.append(message)  # type: ignore[method-assign]
    sequencer.play(Fraction(5, 24))  # type: ignore[arg-type]
    clock.receive = receive  # type: ignore[method-assign]
    assert len(came) == 5
    for message in came:
        clock.receive(message, float(hand.now()))
    sequencer.play(8)
    assert all(-1 < error < 0.3 for error in sequencer.errors_ms)


def test_silence_is_a_stop_until_the_ticks_are_back(hand: ManualClock, clock: MidiClock) -> None:
    sequencer = Sequencer(hand, clock, jitter=0.0005)
    sequencer.send("fa")
    sequencer.play(8)
    begun = sequencer.ticks
    sequencer.drop = set(range(begun, begun + 4 * 24))
    sequencer.play(4)
    assert not clock.timeline.playing(hand.now()), "two seconds of silence"
    sequencer.play(2)
    assert clock.timeline.playing(hand.now())
    assert all(-0.8 < error < 0.3 for error in sequencer.errors_ms[5:]), "where the sender is"
    hand.advance(20)
    clock.pump()
    sequencer._due = float(hand.now())
    sequencer.play(1)
    assert not clock.timeline.playing(hand.now()), "after so long nobody knows where it is"
    sequencer.send("fa")
    sequencer.play(1)
    assert clock.timeline.playing(hand.now())


@pytest.mark.parametrize("message", ["", "90", "903c40", "f2", "f201", "f0", "fe", "ff", "f10a"])
def test_what_is_no_transport_is_left_out(hand: ManualClock, clock: MidiClock, message: str) -> None:
    sequencer = Sequencer(hand, clock)
    sequencer.send("fa")
    sequencer.play(2)
    clock.receive(bytes.fromhex(message), float(hand.now()))
    sequencer.play(2)
    assert all(abs(error) < 0.1 for error in sequencer.errors_ms)


def test_tempos_beyond_all_bounds_do_no_harm(hand: ManualClock, clock: MidiClock) -> None:
    clock.receive(b"\xfa", 0.0)
    for _ in range(5000):
        clock.receive(b"\xf8", float(hand.now()))
    clock.pump()
    assert 20 <= clock.timeline.at(hand.now()).bpm <= 300
    sequencer = Sequencer(hand, clock)
    hand.advance(3)
    clock.pump()
    sequencer.send("fa")
    sequencer.play(3)
    sequencer.play(3)
    assert all(abs(error) < 0.2 for error in sequencer.errors_ms)


class Cable:
    """A MIDI input that can be pulled."""

    def __init__(self) -> None:
        self.name = "cable"
        self.error: RequestError | None = None
        self.closed = False
        self.came: list[tuple[int, bytes]] = []

    def read_raw(self) -> list[tuple[int, bytes]]:
        came, self.came = self.came, []
        return came

    def close(self) -> None:
        self.closed = True


def test_an_input_is_read_by_its_stamps_and_opened_again(hand: ManualClock) -> None:
    cables: list[Cable] = []

    def plug() -> Cable:
        cables.append(Cable())
        return cables[-1]

    clock = MidiClock(hand.now, Timeline(100), plug, lambda: round(hand.now() * 10**9))
    assert clock.input == "cable"
    hand.advance(10)
    cables[0].came = [(9_000_000_000, b"\xfa"), *((9_100_000_000 + 20_833_333 * tick, b"\xf8") for tick in range(40))]
    clock.pump()
    ticks = Fraction(900_000_000, 20_833_333)
    assert float(clock.timeline.beat_at(hand.now())) == pytest.approx(float(ticks / 24), abs=0.001)
    cables[0].error = RequestError(ErrorCode.UNKNOWN_DEVICE, "input", "cable")
    clock.pump()
    assert (cables[0].closed, clock.input) == (True, "")
    for _ in range(5):
        hand.advance(Fraction(1, 2))
        clock.pump()
    assert (len(cables), clock.input) == (2, "cable")
    clock.close()
    assert cables[1].closed
