"""MIDI clock that is sent: what a receiver makes of it, on a wire and with a clock that are moved by hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from daw_bridge.clock.clocks import ManualClock
from daw_bridge.clock.midi import MidiClock
from daw_bridge.clock.outputs import MAX_OUTPUTS, ClockOutputs
from daw_bridge.clock.sender import START_AHEAD_S, ClockSender
from protocols.errors import ErrorCode, RequestError
from tests.support.clocks import Wire


class Stage:
    """A clock, the wire it is sent on, and a receiver that follows."""

    def __init__(self) -> None:
        self.hand = ManualClock()
        self.wire = Wire(self.hand)
        self.sender = ClockSender(self.wire, self.wire.perf_ns)
        self.receiver = MidiClock(self.hand.now)

    def play(self, seconds: float, pump_s: Fraction = Fraction(1, 100)) -> None:
        until = self.hand.now() + Fraction(seconds)
        while self.hand.now() < until:
            self.hand.advance(pump_s)
            self.sender.pump(self.hand)
            for at, message in self.wire.due():
                self.receiver.receive(message, at)
            self.receiver.pump()

    @property
    def off(self) -> float:
        """Beats that the receiver is ahead."""
        now = self.hand.now()
        return float(self.receiver.timeline.beat_at(now) - self.hand.timeline.beat_at(now))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_start_comes_before_its_first_tick_and_every_tick_on_its_moment(stage: Stage) -> None:
    stage.hand.timeline.set_tempo(87.3, stage.hand.now())
    stage.play(1)
    begun = stage.hand.now() + START_AHEAD_S
    stage.hand.timeline.start(begun)
    stage.play(10)
    kinds = [message for _, message in stage.wire.sent]
    start = kinds.index("fa")
    assert set(kinds) == {"f8", "fa"}
    ticks = [at for at, message in stage.wire.sent[start:] if message == "f8"]
    due = [float(begun + Fraction(tick * 60 * 10, 24 * 873)) for tick in range(len(ticks))]
    assert ticks == pytest.approx(due, abs=1e-8)
    assert stage.wire.sent[start][0] < ticks[0]
    assert all(message == "f8" for message in kinds[:start]), "who follows knows the tempo before"
    assert len(kinds[:start]) > 20
    assert stage.off == pytest.approx(0, abs=1e-6)


def test_elsewhere_it_is_a_song_position_and_a_continue(stage: Stage) -> None:
    stage.hand.timeline.locate(Fraction(41, 8), stage.hand.now())
    stage.play(0.5)
    stage.hand.timeline.start(stage.hand.now() + START_AHEAD_S)
    stage.play(2)
    sent = [message for _, message in stage.wire.sent if message != "f8"]
    assert sent == ["f21500", "fb"], "5.125 beats: the next sixteenth is the 21st"
    assert stage.off == pytest.approx(0, abs=1e-6)
    stage.hand.timeline.stop(stage.hand.now())
    stage.play(1)
    assert stage.wire.sent[-1][1] == "f8", "the tempo is told while it stands"
    assert [message for _, message in stage.wire.sent if message != "f8"][-1] == "fc"
    assert not stage.receiver.timeline.playing(stage.hand.now())


def test_whatever_the_clock_does_who_follows_is_at_the_same_beat(stage: Stage) -> None:
    chance, line = random.Random(7), stage.hand.timeline
    line.start(START_AHEAD_S)
    for _ in range(30):
        now = stage.hand.now()
        match chance.randrange(4):
            case 0:
                line.set_tempo(Fraction(chance.randrange(600, 2000), 10), now)
            case 1:
                line.locate(Fraction(chance.randrange(800), 8), now)
            case 2:
                line.stop(now)
                stage.play(0.1 + chance.random())
                assert not stage.receiver.timeline.playing(stage.hand.now())
                line.start(stage.hand.now() + START_AHEAD_S)
            case 3:
                line.locate(
                    line.beat_at(now) + Fraction(chance.randrange(-20, 20), 10_000), now
                )  # one that follows wavers
        stage.play(3)
        assert abs(stage.off) < 0.01, "beats; a tick is 0.042"


def test_a_bridge_that_is_held_up_sends_what_it_has_planned(stage: Stage) -> None:
    stage.hand.timeline.start(START_AHEAD_S)
    stage.play(2)
    stage.play(4, pump_s=Fraction(18, 100))
    gaps = [late - early for (early, _), (late, _) in zip(stage.wire.sent[60:], stage.wire.sent[61:], strict=False)]
    assert gaps == pytest.approx([1 / 48] * len(gaps), abs=1e-8)


def test_positions_beyond_what_midi_can_say_begin_anew(stage: Stage) -> None:
    stage.hand.timeline.locate(4 * 16_384 / 16 + 1, stage.hand.now())
    stage.hand.timeline.start(stage.hand.now() + START_AHEAD_S)
    stage.play(1)
    assert [message for _, message in stage.wire.sent if message != "f8"] == ["f20400", "fb"]


def test_before_bar_1_it_waits_for_bar_1(stage: Stage) -> None:
    stage.hand.timeline.locate(-2, stage.hand.now())
    stage.hand.timeline.start(stage.hand.now())
    stage.play(0.9)
    assert {message for _, message in stage.wire.sent} == {"f8"}
    stage.play(2)
    assert [message for _, message in stage.wire.sent if message != "f8"] == ["fa"]
    assert stage.off == pytest.approx(0, abs=1e-3)


def test_outputs_are_opened_again_and_closed() -> None:
    hand, wires = ManualClock(), []

    def open_output(name: str) -> Wire:
        wires.append(Wire(hand))
        return wires[-1]

    outputs = ClockOutputs(open_output, lambda: round(hand.now() * 10**9))
    outputs.pump(hand)
    outputs.add("Synth A")
    outputs.add("Synth A")
    outputs.add("Drums")
    assert (outputs.names, len(wires)) == (["Synth A", "Drums"], 2)
    wires[0].error = RequestError(ErrorCode.UNKNOWN_DEVICE, "output", "Synth A")
    for _ in range(3):
        outputs.pump(hand)
    assert (len(wires), wires[0].closed, wires[1].closed) == (2, True, False)
    hand.advance(3)
    outputs.pump(hand)
    assert (len(wires), outputs.names) == (3, ["Synth A", "Drums"])
    outputs.remove("drum")
    assert (outputs.names, wires[1].closed) == (["Synth A"], True)
    with pytest.raises(RequestError) as caught:
        outputs.remove("drum")
    assert (caught.value.code, caught.value.allowed) == (ErrorCode.NOT_FOUND, "Synth A")
    for number in range(MAX_OUTPUTS - 1):
        outputs.add(str(number))
    with pytest.raises(RequestError) as caught:
        outputs.add("one more")
    assert caught.value.code == ErrorCode.BUSY
    outputs.close()
    assert all(wire.closed for wire in wires)
