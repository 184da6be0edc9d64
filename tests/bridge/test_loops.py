"""Layers of loops on a card that is moved by hand: every repetition on its line, to the sample, and nothing that clicks."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daw_bridge.audio.output import OfflineOutput
from daw_bridge.loops.history import MAX_TAKES
from daw_bridge.loops.layer import Layer
from daw_bridge.loops.take import Take
from protocols.errors import ErrorCode, RequestError
from tests.support.loop_stage import MARK, LoopStage, marked, tone

RATE = 48_000
BAR = 2 * RATE


def marks(stage: LoopStage, height: float = 0.5) -> list[int]:
    """Frames at which takes begin whose mark is so high."""
    sound = stage.sound[:, 0]
    return [int(frame) - MARK for frame in np.flatnonzero(np.abs(sound - height) < 1e-3)]


def steepest(sound: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(sound[:, 0])).max())


def test_a_loop_begins_each_bar_on_its_frame() -> None:
    rate = 44_100
    stage = LoopStage(rate, "87.3", block=512)
    bar = Fraction(4 * 60 * rate * 10, 873)
    stage.start()
    layer = stage.layer()
    place = layer.begin(marked("loop", 4, round(bar), rate))
    stage.play(float(60 * bar / rate))
    found = marks(stage)
    assert len(found) >= 58
    assert found == [stage.frame_of(4 * turn) for turn in range(len(found))]
    assert (place.bar, place.beat, place.frame) == (1, 1, found[0])
    assert layer.underruns == 0


class Counter:
    """A voice that only looks for where takes begin."""

    finished = begun = False
    gain = 1.0

    def __init__(self, rate: int) -> None:
        self.starts: list[int] = []
        self.frame = 0

    def schedule(self, output: OfflineOutput, frame: int) -> None:
        self.frame = frame
        self.begun = True

    def status(self) -> Any:
        return self

    underruns = 0

    def write(self, block: NDArray[np.float32]) -> int:
        self.starts += (np.flatnonzero(block[:, 0]) + self.frame - MARK).tolist()
        self.frame += len(block)
        return len(block)


def test_ten_thousand_bars_do_not_drift() -> None:
    rate, bars = 44_100, 10_000
    stage = LoopStage(rate, "87.3", block=rate)
    output = stage.output
    assert output is not None
    voice = Counter(rate)
    stage.open_voice = lambda *_: voice  # type: ignore[method-assign, assignment]
    layer = stage.layer()

    def second() -> None:
        output.meters.note_heard(stage.time)
        output.meters.note_block(rate, 0.0)
        stage.time += 1
        stage.stage.update()
        layer.pump()

    second()
    stage.grid.start()
    bar = Fraction(4 * 60 * rate * 10, 873)
    # Too short by two samples, so that each repetition has to be put right.
    layer.begin(marked("loop", 8, round(2 * bar) - 2, rate))
    while len(voice.starts) < bars // 2:
        second()
    first = voice.starts[0]
    drift = [start - first - round(turn * 2 * bar) for turn, start in enumerate(voice.starts)]
    assert set(drift) <= {-1, 0, 1}
    assert abs(drift[-1]) <= 1
    assert voice.starts == [stage.frame_of(8 * turn) for turn in range(len(voice.starts))]


@pytest.mark.parametrize("tail", [0, 100, 4800])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_closures_do_not_click(tail: int, noise: float) -> None:
    stage = LoopStage(bpm="119")
    length = round(Fraction(240, 119) * RATE)
    take = tone("tone", 4, length, 441.7, tail=tail, phase=1.0)
    take.samples += np.random.default_rng(3).normal(0, noise, take.samples.shape).astype(np.float32)
    layer = stage.layer()
    stage.start()
    layer.begin(take)
    stage.play(14)
    sound = stage.sound[stage.frame_of(0) + 480 : stage.frame_of(24)]
    # A sine alone is nowhere steeper than at its own zeros: there the slope of the fade comes on top.
    assert steepest(sound) <= steepest(take.samples) * (1 if noise else 1.08)
    assert np.abs(sound).max() <= np.abs(take.samples).max() * 1.1


def test_an_attack_on_the_line_is_heard_whole() -> None:
    stage = LoopStage()
    drum = np.random.default_rng(5).uniform(-0.9, 0.9, RATE // 10) * np.exp(-np.arange(RATE // 10) / 2000)
    drum[:24] *= np.linspace(0, 0.1, 24)
    samples = np.full((BAR + 4800, 1), 0.01, np.float32)
    samples[: len(drum), 0] = drum
    layer = stage.layer()
    stage.start()
    layer.begin(Take("drum", samples, BAR, 4, RATE))
    stage.play(5)
    for beat in (0, 4, 8):
        line = stage.frame_of(beat)
        heard = stage.sound[line : line + len(drum), 0]
        assert np.abs(heard - drum).max() < 0.011, "the end of the bar before rings under it, and that is all"


def test_a_change_comes_on_the_bar_at_its_place_or_where_the_loop_ends() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    layer.begin(marked("first", 8, 2 * BAR, height=0.5))
    stage.play(0.5)
    long = np.zeros((2 * BAR, 1), np.float32)
    long[MARK], long[BAR + MARK] = 0.25, 0.125
    place = layer.follow(Take("second", long, 2 * BAR, 8, RATE), "bar")
    assert (place.bar, place.beat) == (2, 1)
    stage.play(4.5)
    assert marks(stage, 0.5) == [stage.frame_of(0)]
    assert marks(stage, 0.125) == [stage.frame_of(4)], "in its second bar"
    assert marks(stage, 0.25) == [stage.frame_of(8)]
    place = layer.step(-1, "loop")
    assert (place.bar, place.frame) == (5, stage.frame_of(16))
    stage.play(5)
    assert marks(stage, 0.5) == [stage.frame_of(0), stage.frame_of(16)]
    layer.step(1, "bar")
    stage.play(2)
    assert [take.name for take in stage.begun] == ["first", "second", "first", "second"]
    assert [state for state in stage.states() if state != "waiting"] == ["playing", "changed", "changed", "changed"]


def test_what_goes_on_from_a_take_follows_it_as_if_there_were_no_seam() -> None:
    stage = LoopStage()
    whole = tone("whole", 8, 2 * BAR, 301.3)
    first = Take("first", whole.samples[:BAR], BAR, 4, RATE)
    second = Take("second", whole.samples[BAR:], BAR, 4, RATE, follows=first.number)
    layer = stage.layer()
    stage.start()
    layer.begin(first)
    stage.play(0.5)
    layer.follow(second, "loop")
    stage.play(4)
    start = stage.frame_of(0)
    heard = stage.sound[start + 480 : start + 2 * BAR - 480, 0]
    assert np.abs(heard - whole.samples[480 : 2 * BAR - 480, 0]).max() < 1e-6


def test_undo_and_redo_have_ends() -> None:
    layer = LoopStage().layer()
    with pytest.raises(RequestError) as refused:
        layer.step(-1, "bar")
    assert refused.value.code is ErrorCode.EMPTY
    for index in range(MAX_TAKES + 5):
        layer.keep(marked(str(index), 4, BAR))
    assert len(layer.history.takes) == MAX_TAKES
    for _ in range(MAX_TAKES - 1):
        layer.step(-1, "bar")
    assert layer.take is not None
    assert layer.take.name == "5"
    with pytest.raises(RequestError):
        layer.step(-1, "bar")
    layer.step(1, "bar")
    layer.keep(marked("new", 4, BAR))
    assert [take.name for take in layer.history.takes] == ["5", "6", "new"]
    with pytest.raises(RequestError):
        layer.step(1, "bar")


def test_a_new_tempo_moves_the_bar_lines_and_the_loop_with_them() -> None:
    stage = LoopStage()
    layer = stage.layer()
    samples = np.zeros((2 * BAR + 4800, 1), np.float32)
    samples[MARK], samples[BAR + MARK] = 0.5, 0.25
    stage.start()
    layer.begin(Take("loop", samples, 2 * BAR, 8, RATE))
    stage.play(1)
    for bpm in ("126", "113", "120.7"):
        stage.clock.timeline.set_tempo(Fraction(bpm), stage.clock.now())
        stage.play(9)
    firsts, seconds = marks(stage, 0.5), marks(stage, 0.25)
    assert len(firsts) >= 6
    for found, beat in ((firsts, 0), (seconds, 4)):
        lines = [stage.frame_of(beat + 8 * turn) for turn in range(20)]
        assert set(lines) & set(range(len(stage.sound) - MARK)) <= set(found), (
            "each line has its bar, whatever sounds between"
        )
    assert layer.underruns == 0


def test_where_the_clock_stands_it_waits_and_after_a_jump_it_begins_on_the_bar() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    layer.begin(marked("loop", 8, 2 * BAR))
    stage.play(1)
    stage.clock.timeline.stop(stage.clock.now())
    stage.play(3)
    assert layer.state == "waiting"
    assert not stage.sound[-RATE:].any()
    stage.clock.timeline.locate(9, stage.clock.now())
    stage.clock.timeline.start(stage.clock.now())
    stage.play(4)
    begun = [place.frame for state, place, _ in stage.told if state == "playing"][-1]
    assert begun in marks(stage)
    assert begun == stage.frame_of(12)
    stage.clock.timeline.locate(101.5, stage.clock.now())
    stage.play(4)
    assert marks(stage)[-1] == stage.frame_of(104)
    assert layer.underruns == 0


def test_mute_and_stop_are_on_the_line() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    level = Take("level", np.full((BAR + 4800, 1), 0.5, np.float32), BAR, 4, RATE)
    layer.begin(level)
    stage.play(0.6)
    place = layer.mute(True, "beat")
    stage.play(1)
    layer.mute(False, "bar")
    stage.play(2)
    sound = stage.sound[:, 0]
    off, back = place.frame, stage.frame_of(4)
    assert sound[off - 1] == 0.5
    assert 0 < sound[off + 240] < 0.5
    assert not sound[off + 480 : back].any()
    assert 0 < sound[back + 240] < 0.5
    assert sound[back + 480] == 0.5
    layer.mute(True, "now")
    stage.play(0.1)
    assert not stage.sound[-256:].any()
    layer.mute(False, "bar")
    stage.play(2)
    assert stage.sound[-1, 0] == 0.5
    end = layer.stop("bar").frame
    stage.play(2.5)
    sound = stage.sound[:, 0]
    assert sound[end - 1] == 0.5
    assert not sound[end + 480 :].any()
    assert layer.state == "stopped"
    layer.again()
    stage.play(4)
    assert stage.sound[-1, 0] == 0.5


def test_what_was_to_come_on_a_line_is_not_lost_where_the_layer_does_not_get_there() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    layer.begin(Take("level", np.full((BAR, 1), 0.5, np.float32), BAR, 4, RATE))
    stage.play(3)
    layer.mute(True, "bar")
    stage.lose_card()
    stage.play(0.05)
    stage.another_card(RATE)
    stage.play(2)
    assert layer.state == "playing"
    assert not stage.sound.any()
    layer.mute(False, "beat")
    stage.play(1)
    assert stage.sound[-1, 0] == 0.5
    layer.stop("bar")
    layer.again()
    stage.play(3)
    assert stage.sound[-1, 0] == 0.5
    layer.stop("bar")
    stage.lose_card()
    stage.play(0.05)
    stage.another_card(44_100)
    stage.play(3)
    assert layer.state == "stopped"


def test_a_mark_between_bars_leaves_the_sound_as_it_is() -> None:
    stage = LoopStage()
    take = tone("tone", 4, BAR, 200.0)
    other = Take("tone", take.samples.copy(), BAR, 4, RATE, number=take.number)
    layer = stage.layer(fit=lambda _: take if stage.grid.rendered < BAR else other)
    stage.start()
    layer.begin(take)
    stage.play(2)
    layer.mute(False, "beat")
    stage.play(3)
    assert steepest(stage.sound[stage.frame_of(0) + 480 :]) <= steepest(take.samples) * 1.01


def test_on_another_card_it_goes_on_on_the_beat_at_its_place() -> None:
    stage = LoopStage()
    takes = {rate: marked("loop", 4, 2 * rate, rate) for rate in (48_000, 44_100)}
    layer = stage.layer(fit=lambda take: takes.get(stage.grid.rate))
    stage.start()
    layer.begin(takes[48_000])
    stage.play(3.3)
    stage.lose_card()
    stage.play(0.2)
    stage.another_card(44_100)
    stage.play(5)
    assert "moved" in stage.states()
    found = marks(stage)
    beats = [stage.clock.timeline.beat_at(stage.stage.seconds_at(frame)) for frame in found]
    assert len(found) >= 2
    for beat in beats:
        assert float(beat) % 4 == pytest.approx(0, abs=1e-3) or float(beat) % 4 == pytest.approx(4, abs=1e-3)


def test_sound_that_came_too_late_is_placed_anew() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    layer.begin(marked("loop", 4, BAR))
    stage.play(3)
    pumps, stage.pumps = stage.pumps, []
    stage.play(0.5)  # the bridge is stuck
    stage.pumps = pumps
    stage.play(6)
    assert layer.underruns == 1
    assert marks(stage) == [stage.frame_of(4 * turn) for turn in range(len(marks(stage)))]


def test_what_was_to_follow_still_does_where_sound_came_too_late() -> None:
    stage = LoopStage()
    layer = stage.layer()
    stage.start()
    layer.begin(marked("first", 4, BAR, height=0.5))
    stage.play(3)
    pumps, stage.pumps = stage.pumps, []
    layer.follow(marked("second", 4, BAR, height=0.25), "loop")
    stage.play(0.5)
    stage.pumps = pumps
    stage.play(0.02)
    assert layer.underruns == 1
    stage.play(3)
    changed = [place.frame for state, place, _ in stage.told if state == "changed"]
    assert changed == marks(stage, 0.25)[:1]
    third = layer.follow(marked("third", 4, BAR, height=0.125), "bar")
    stage.play(3)
    assert third.frame in marks(stage, 0.125)
    assert [take.name for take in stage.begun] == ["first", "second", "third"]


def test_levels() -> None:
    stage = LoopStage()
    layers = [stage.layer(number) for number in (1, 2)]
    stage.start()
    for layer in layers:
        layer.begin(Take("level", np.full((BAR, 1), 0.25, np.float32), BAR, 4, RATE))
    stage.play(1)
    assert stage.sound[-1, 0] == pytest.approx(0.5)
    layers[0].track.set_level(0.5)
    stage.play(0.2)
    assert stage.sound[-1, 0] == pytest.approx(0.375)


def test_layers_play_together_to_the_sample() -> None:
    stage = LoopStage(bpm="133.3")
    layers: list[Layer] = [stage.layer(number) for number in (1, 2)]
    bar = Fraction(2400, 1333) * RATE
    stage.start()
    layers[0].begin(marked("one", 4, round(bar), height=0.5))
    stage.play(5)
    layers[1].begin(marked("two", 8, round(2 * bar), height=0.25))
    stage.play(10)
    sound = stage.sound[:, 0]
    both = np.flatnonzero(np.abs(sound - 0.75) < 1e-3)
    assert len(both) >= 2
