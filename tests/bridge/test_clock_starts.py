"""Streams that begin on a beat, on a sound card that is moved by hand and keeps a pace of its own."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import OfflineOutput, read_card
from daw_bridge.clock.host import HostClock
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.starts import Start
from daw_bridge.clock.timeline import Position, Timeline
from tests.support.clock_stage import BLOCK, RATE, Stage


def test_starts_are_whole_bars_apart_to_the_sample() -> None:
    stage = Stage(pace=1.00005, jitter=0.003)
    stage.play(1)
    stage.clock.timeline.set_tempo(Fraction("87.3"), stage.clock.now())
    chance, told = random.Random(2), []
    for _ in range(12):
        stage.play(chance.uniform(0.2, 2.5))
        singer = stage.singer().sing()
        stage.play(4)
        told.append(singer.start)
    onsets = stage.onsets
    assert onsets == [start.frame for start in told]
    bar = Fraction(4 * 60 * RATE * 10, 873)
    for start, onset in zip(told, onsets, strict=True):
        exact = onsets[0] + (start.position.bar - told[0].position.bar) * bar
        assert abs(onset - exact) <= 1
        assert start.position.beat == 1
    assert told[0].position == Position(1, 1), "a clock that stands starts with its first stream"


def test_a_beat_is_heard_when_the_clock_says_so() -> None:
    stage = Stage(pace=1.0001, jitter=0.002)
    stage.play(5)
    stage.clock.timeline.start(stage.clock.now())
    stage.play(20)
    singer = stage.singer("beat").sing()
    before, moment = stage.time, stage.clock.now()
    stage.play(2)
    start = singer.start
    # The first block of this card is asked for, and heard, one block after the beginning.
    heard = 100.0 + (start.frame + BLOCK) / RATE * stage.pace
    assert heard - before == pytest.approx(start.seconds, abs=0.003)
    beat = stage.clock.timeline.beat_at(moment + Fraction(start.seconds))
    assert float(beat) == pytest.approx(round(beat), abs=1e-6)


def test_what_is_not_ready_says_so_before_and_begins_a_bar_later() -> None:
    stage = Stage()
    stage.play(0.1)
    stage.clock.timeline.start(stage.clock.now())
    began = stage.time_of.frame_at(stage.clock.timeline.seconds_at(Fraction(0), Fraction(0)) or Fraction(0))
    singer = stage.singer()
    promised = singer.start
    assert promised.position == Position(2, 1)
    while len(singer.told) == 1:
        stage.play(BLOCK / RATE)
    assert stage.output.meters.frames < promised.frame, "told before the beat"
    assert singer.told[1] == Position(2, 1)
    assert singer.start.position == Position(3, 1)
    singer.sing()
    stage.play(4)
    assert stage.onsets == [singer.start.frame] == [began + 4 * RATE]


def test_the_clock_waits_for_the_stream_that_it_starts_with() -> None:
    stage = Stage()
    stage.play(0.1)
    singer = stage.singer()
    stage.play(2)
    assert all(told.position.bar == 1 for told in singer.told if isinstance(told, Start))
    assert Position(1, 1) in singer.told
    singer.sing()
    stage.play(1)
    assert singer.start.position == Position(1, 1)
    assert stage.onsets == [singer.start.frame]
    assert stage.clock.timeline.playing(stage.clock.now())


def test_a_start_follows_the_tempo_a_jump_and_a_stop() -> None:
    stage = Stage()
    line = stage.clock.timeline
    stage.play(0.1)
    line.start(stage.clock.now())
    stage.play(0.5)
    singer = stage.singer().sing()
    first = singer.start
    line.set_tempo(100, stage.clock.now())
    stage.play(0.1)
    assert singer.start.position == first.position
    assert singer.start.frame > first.frame
    line.locate(41, stage.clock.now())
    stage.play(0.05)
    assert singer.start.position == Position(12, 1)
    line.locate(2, stage.clock.now())
    stage.play(0.05)
    assert singer.start.position == Position(2, 1), "not eleven bars later"
    line.stop(stage.clock.now())
    stage.play(5)
    assert not stage.onsets
    line.start(stage.clock.now())
    stage.play(2)
    assert singer.start.position == Position(2, 1)
    assert stage.onsets == [singer.start.frame]


def test_a_start_that_is_settled_does_not_move() -> None:
    stage = Stage()
    stage.play(0.1)
    stage.clock.timeline.start(stage.clock.now())
    stage.play(0.5)
    singer = stage.singer().sing()
    promised = singer.start
    while promised.frame - stage.output.meters.frames > 0.02 * RATE:
        stage.play(BLOCK / RATE)
    stage.clock.timeline.set_tempo(30, stage.clock.now())
    stage.play(1)
    assert singer.told == [promised]
    assert stage.onsets == [promised.frame]


def test_another_card_in_between() -> None:
    stage = Stage()
    stage.play(0.1)
    stage.clock.timeline.start(stage.clock.now())
    stage.play(0.2)
    singer = stage.singer().sing()
    assert singer.voice is not None
    moment = stage.clock.now() + Fraction(singer.start.seconds)
    stage.play(0.5)
    singer.voice.detach()
    stage.output = stage.open(44_100)
    stage.heard.clear()
    stage.play(0.05)
    singer.voice.attach(stage.output)
    stage.play(3)
    assert stage.onsets == [singer.start.frame]
    assert singer.start.position == Position(2, 1)
    assert float(stage.time_of.seconds_at(stage.onsets[0]) - moment) == pytest.approx(0, abs=1e-3)


def test_a_stream_that_is_stopped_while_it_waits_is_over() -> None:
    stage = Stage()
    stage.play(0.1)
    singer = stage.singer().sing()
    assert singer.voice is not None
    singer.voice.stop()
    stage.play(0.1)
    assert singer.voice.finished
    stage.play(3)
    assert not stage.onsets


def test_with_a_host_that_stands_streams_wait_for_it() -> None:
    stage = Stage()
    stage.play(0.1)
    host = HostClock(stage.time_of.now, Timeline(120))
    stage.clock = host
    singer = stage.singer().sing()
    stage.play(3)
    assert not singer.told
    host.receive("/play", [1.0])
    stage.play(2.5)
    assert singer.start.position == Position(2, 1)
    assert stage.onsets == [singer.start.frame]


def test_the_time_of_the_stage_is_smooth_and_keeps_the_pace_of_the_card() -> None:
    stage = Stage(pace=1.003, jitter=0.010)
    stage.play(60)
    errors = []
    for _ in range(1000):
        stage.play(BLOCK / RATE)
        # The first frame of the block that has just been asked for; the call says 5 ms late on average that it is heard now.
        errors.append(float(stage.time_of.now() - stage.time_of.seconds_at(stage.output.meters.frames - BLOCK)))
    assert max(errors) - min(errors) < 0.0015, "of 10 ms of jitter"
    assert np.mean(errors) == pytest.approx(-0.005, abs=0.001), "a pace that differs is learnt, and leaves no lag"


def test_without_a_card_time_goes_on_and_never_back() -> None:
    stage = Stage()
    stage.play(1)
    present: list[OfflineOutput | None] = [stage.output]
    time_of = StageTime(lambda: read_card(present[0]), lambda: stage.time)
    moments, began = [time_of.now()], stage.time
    for output in (stage.output, None, stage.open(44_100)):
        present[0] = output
        if output is not None:
            stage.output = output
        for _ in range(20):
            stage.play(0.05)
            moments.append(time_of.now())
    assert moments == sorted(moments)
    assert float(moments[-1] - moments[0]) == pytest.approx(stage.time - began, abs=1e-4)
    stage.time += 5  # the card stands still for as long, such as in a suspended laptop
    before = time_of.now()
    stage.play(1)
    assert float(time_of.now() - before) == pytest.approx(0, abs=0.02), "time does not go back, it waits"


def test_a_host_is_met_on_its_beat() -> None:
    stage = Stage(jitter=0.002)
    stage.play(1)
    host = HostClock(stage.time_of.now, Timeline(120))
    stage.clock = host
    host.receive("/tempo/raw", [100.0])
    host.receive("/play", [1.0])
    began, chance = stage.time, random.Random(6)

    def follow(packets: int) -> None:
        for _ in range(packets):
            sent = stage.time - began
            stage.play(0.033)
            late = chance.uniform(0, 0.006)
            hundredths = int((sent + 0.033 - late) * 100 / 60 * 100)
            host.receive("/time", [stage.time - began - late])
            host.receive("/beat/str", [f"{hundredths // 400 + 1}.{hundredths // 100 % 4 + 1}.{hundredths % 100:02d}"])

    follow(150)
    singer = stage.singer().sing()
    follow(150)
    begins = began + (singer.start.position.bar - 1) * 4 * 60 / 100
    heard = 100 + (stage.onsets[0] + BLOCK) / RATE
    assert heard - begins == pytest.approx(0.003, abs=0.003), "late by what the network takes"


@pytest.mark.parametrize("blocks", [[256], [1], [4096], [300, 7, 5000]])
def test_a_voice_begins_at_its_frame_whatever_the_blocks_are(blocks: list[int]) -> None:
    output = OfflineOutput(RATE, 1, 8192)
    voice = Feeder(RATE, 1, prebuffer_seconds=0.01, fade_seconds=0.0005, scheduled=True)
    voice.attach(output)
    voice.write(np.full(9600, 0.25, np.float32))
    output.advance(1000)
    voice.schedule(output, 999)
    assert not output.advance(1000).any(), "its frame has passed: it waits for another"
    voice.schedule(output, 5123)
    heard = []
    while output.meters.frames < 6000:
        heard += [output.advance(frames) for frames in blocks]
    sound = np.flatnonzero(np.concatenate(heard)[:, 0])
    assert sound[0] == 5123 - 2000
    assert voice.begun
    voice.postpone()
    assert output.advance(100).all(), "a voice that has begun goes on"


def test_a_voice_that_is_not_scheduled_begins_at_once() -> None:
    output = OfflineOutput(RATE, 1, 256)
    voice = Feeder(RATE, 1, prebuffer_seconds=0.01)
    voice.attach(output)
    voice.schedule(output, 10**6)
    voice.write(np.full(9600, 0.25, np.float32))
    assert output.advance(256).any()
