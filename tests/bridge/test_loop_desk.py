"""Loops as hosts ask for them: recorded, read, gone on with, varied, chosen; the engine's side of it is played by the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from daw_bridge.holdover import History
from daw_bridge.loops.desk import LoopDesk
from daw_bridge.loops.take import TAIL_S
from daw_bridge.stream_table import StreamTable
from protocols.bridge_messages import (
    ChooseLoop,
    ClearLoop,
    ContinueLoop,
    FeedLoop,
    LevelLoop,
    LoopChange,
    LoopInfo,
    LoopList,
    LoopPlaced,
    Loops,
    PlayContinue,
    PlayLoop,
    RecordLoop,
    StopLoop,
    UndoLoop,
    VaryLoop,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Finished
from protocols.osc.front import Asker, Peer
from protocols.settings import FileSettings
from tests.support.loop_stage import LoopStage

RATE, MODEL_RATE = 48_000, 32_000
BAR = 2 * RATE
ASKER = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/loop", 1)


class Ordered:
    """A stream that the desk has asked for."""

    def __init__(self, host: Host, request: PlayContinue, tap: Any) -> None:
        self.request, self.tap, self.host = request, tap, host
        self.rates = (MODEL_RATE, 640)
        self.cancelled = False

    def open(self) -> Ordered:
        self.tap.opened(self)
        return self

    def cancel(self) -> None:
        self.cancelled = True

    def make(self, height: float) -> None:
        """Let the engine make all of it: a level."""
        left = round(self.request.duration * MODEL_RATE)
        while left > 0:
            self.tap.audio(np.full((min(640, left), 1), height, np.float32))
            left -= 640
        self.over(Finished(
            stream=1, reason="done", seconds=self.request.duration, seed=1, path="/takes/made.wav", underruns=0, first_sound_ms=0,
        ))  # fmt: skip

    def over(self, answer: Finished | RequestError) -> None:
        self.host.orders.remove(self)
        self.tap.over(answer)


class Host:
    """The bridge and its sound card, and the engine behind it."""

    def __init__(self, folder: Path, bpm: str = "120", inputs: int = 2) -> None:
        self.stage = LoopStage(RATE, bpm, inputs=inputs)
        self.clock: Any = SimpleNamespace(stage=self.stage.stage, clock=self.stage.clock)
        self.streams = StreamTable()
        self.calls: list[Callable[[], None]] = []
        self.events: list[LoopChange] = []
        self.answers: list[Any] = []
        self.orders: list[Ordered] = []
        self.most = 8
        self.desk = LoopDesk(self, self.stage, FileSettings(takes=str(folder / "takes"), allowed=[str(folder)]))  # type: ignore[arg-type]
        self.stage.pumps.append(self.pump)
        self.stage.play(0.1)

    def pump(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        self.desk.pump()

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def publish(self, event: Any, asker: Asker | None = None) -> None:
        self.events.append(event)

    def done(self, asker: Asker, reply: Any) -> None:
        self.answers.append(reply)

    def fail(self, asker: Asker, error: RequestError) -> None:
        self.answers.append(error)

    def play(self, request: PlayContinue, asker: Asker, tap: Any = None) -> None:
        if len(self.orders) >= self.most:
            raise RequestError(ErrorCode.BUSY, "streams", self.most)
        self.orders.append(Ordered(self, request, tap))

    def cancel(self, stream: Ordered) -> None:
        stream.cancel()

    def ask(self, request: Any) -> Any:
        return self.desk.handle(request, ASKER)

    def placed(self, request: Any) -> LoopPlaced:
        answer = self.ask(request)
        assert isinstance(answer, LoopPlaced)
        return answer

    def until(self, condition: Callable[[], object]) -> None:
        """Let what is read and written beside the loop be done, while no time passes on stage."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, [event.state for event in self.events]
            self.pump()
            time.sleep(0.001)

    def play_until_changed(self) -> None:
        """Let time pass until another take is heard."""
        changes = self.states().count("changed")
        for _ in range(200):
            self.stage.play(0.05)
            if self.states().count("changed") > changes:
                self.stage.play(0.3)
                return
        raise AssertionError(self.states())

    def states(self) -> list[str]:
        return [event.state for event in self.events]

    def last(self, state: str) -> LoopChange:
        return [event for event in self.events if event.state == state][-1]

    def info(self) -> LoopInfo:
        listing = self.ask(Loops())
        assert isinstance(listing, LoopList)
        return listing.items[0]

    def has(self, field: str, value: object) -> bool:
        """Whether the first layer is listed so."""
        return bool(getattr(self.info(), field) == value)

    def has_ready(self, count: int) -> bool:
        """Whether so many variations can be chosen."""
        return len(self.info().variations) == count

    def region(self, folder: Path, seconds: float = 2.0, rate: int = RATE, height: float = 0.5) -> Path:
        path = folder / "region.wav"
        soundfile.write(path, np.full((round(seconds * rate), 2), height, np.float32), rate, subtype="FLOAT")
        return path

    def begin(self, folder: Path) -> None:
        """A loop of one bar plays on layer 1, its level 0.5."""
        self.ask(PlayLoop(layer=1, path=str(self.region(folder))))
        self.until(lambda: self.answers)
        self.stage.play(1)
        assert self.stage.sound[-1, 0] == 0.5


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.desk.close()


def test_what_is_played_in_is_a_loop_from_the_very_next_bar_line(host: Host, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (12 * RATE, 2)).astype(np.float32)
    host.stage.sings = lambda first, frames: noise[first : first + frames]
    place = host.placed(RecordLoop(layer=1, bars=2))
    host.stage.play(2)
    assert (place.bar, place.beat) == (1, 1)
    assert host.info().state == "recording"
    host.stage.play(8.9)
    begins = host.last("playing")
    assert begins.sample == place.sample + 2 * BAR
    sound = host.stage.sound
    played = noise[place.sample : place.sample + 2 * BAR]
    assert not sound[: begins.sample].any()
    assert np.array_equal(sound[begins.sample + 480 : begins.sample + 2 * BAR], played[480:])
    again = begins.sample + 2 * BAR
    assert np.array_equal(sound[again + 480 : again + BAR], played[480:BAR])
    host.until(lambda: "saved" in host.states())
    path = Path(host.last("saved").note)
    written, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    assert len(written) == 2 * BAR + round(TAIL_S * RATE)
    assert np.array_equal(written[: 2 * BAR], played)
    assert path.with_suffix(".json").exists()
    assert host.info().path == str(path)


def test_a_recording_follows_the_tempo_and_a_second_one_can_be_undone(host: Host) -> None:
    host.stage.sings = lambda first, frames: np.full((frames, 2), first / 1e7, np.float32)
    host.ask(RecordLoop(layer=1, bars=1))
    host.stage.play(1)
    host.stage.clock.timeline.set_tempo(100, host.stage.clock.now())
    host.stage.play(6)
    assert host.last("playing").sample == host.stage.frame_of(4)
    first = host.info()
    host.ask(RecordLoop(layer=1, bars=1))
    with pytest.raises(RequestError) as refused:
        host.ask(RecordLoop(layer=1, bars=1))
    assert refused.value.code is ErrorCode.BUSY
    host.stage.play(6)
    assert (host.info().index, host.info().takes) == (2, 2)
    host.ask(UndoLoop(layer=1))
    assert host.info().take == first.take


def test_a_recording_that_ends_too_early_is_kept(host: Host) -> None:
    host.stage.sings = lambda first, frames: np.full((frames, 2), 0.25, np.float32)
    host.ask(RecordLoop(layer=1, bars=4))
    host.stage.play(2)
    host.stage.lose_card()
    host.stage.play(0.5)
    host.stage.another_card(44_100)
    host.stage.play(0.5)
    assert "failed" in host.states()
    host.until(lambda: "saved" in host.states())
    assert soundfile.info(host.last("saved").note).duration > 1


def test_a_card_that_is_lost_while_a_loop_closes_leaves_the_take_before(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.stage.sings = lambda first, frames: np.full((frames, 2), 0.25, np.float32)
    host.ask(RecordLoop(layer=1, bars=1))
    while host.info().takes < 2:
        host.stage.play(0.01)
    host.stage.lose_card()
    host.stage.play(0.1)
    host.stage.another_card(RATE)
    host.stage.play(4)
    assert (host.info().takes, host.info().state) == (1, "playing")
    assert host.stage.sound[-1, 0] == 0.5
    host.ask(StopLoop(layer=0, at="now"))
    host.stage.play(0.1)
    assert not host.stage.sound[-256:].any()


def test_a_region_at_another_tempo_is_stretched_to_the_clock(host: Host, tmp_path: Path) -> None:
    rate = 44_100
    samples = np.zeros((round(2.4 * rate), 1), np.float32)
    for beat in range(4):  # a bar at 100 bpm
        samples[round(0.6 * beat * rate) : round(0.6 * beat * rate) + 300] = 0.5
    path = tmp_path / "beats.wav"
    soundfile.write(path, samples, rate)
    host.ask(PlayLoop(layer=1, path=str(path), bars=1))
    host.until(lambda: host.answers)
    assert isinstance(host.answers[0], LoopPlaced)
    deadline = time.monotonic() + 20
    while "playing" not in host.states():
        host.stage.play(0.05)
        assert time.monotonic() < deadline
    host.stage.play(0.3)
    host.until(lambda: not host.desk._fitting._under_way)
    host.stage.play(6)
    sound = host.stage.sound[host.last("playing").sample + BAR : host.last("playing").sample + 2 * BAR, 0]
    onsets = np.flatnonzero((np.abs(sound[1:]) > 0.1) & (np.abs(sound[:-1]) <= 0.1))
    for beat in range(4):
        assert np.abs(onsets - beat * RATE // 2).min() < 0.007 * RATE
    host.ask(ContinueLoop(layer=1))
    host.until(lambda: host.orders)
    asked = host.orders[0].request
    assert asked.path != str(path), "the engine hears it at the clock's tempo"
    assert (asked.length, asked.bpm) == (2, 120)
    assert soundfile.info(asked.path).duration == pytest.approx(2, abs=0.05)


def test_refusals(host: Host, tmp_path: Path) -> None:
    for request in (ContinueLoop(layer=1), VaryLoop(layer=2), UndoLoop(layer=3), FeedLoop(layer=4)):
        with pytest.raises(RequestError) as refused:
            host.ask(request)
        assert refused.value.code is ErrorCode.EMPTY
    with pytest.raises(RequestError) as refused:
        host.ask(RecordLoop(layer=1, bars=100))
    assert refused.value.code is ErrorCode.OUT_OF_RANGE
    with pytest.raises(RequestError) as refused:
        host.ask(RecordLoop(layer=1, bars=1, source="stream", stream=7))
    assert refused.value.code is ErrorCode.UNKNOWN_STREAM
    with pytest.raises(RequestError) as refused:
        host.ask(ChooseLoop(layer=1, letter="A"))
    assert refused.value.code is ErrorCode.NOT_FOUND
    host.ask(PlayLoop(layer=1, path=str(host.region(tmp_path)), bars=9))
    host.until(lambda: host.answers)
    assert host.answers[0].code is ErrorCode.OUT_OF_RANGE
    assert host.ask(Loops()).items == []


def test_the_continuation_begins_where_the_loop_ends(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    place = host.placed(ContinueLoop(layer=1, bars=2, prompt="strings", temperature=0.7, seed=5))
    (order,) = host.orders
    asked = order.request
    assert (asked.prompt, asked.temperature, asked.seed, asked.bpm) == ("strings", 0.7, 5, 120)
    assert (asked.path, asked.length, asked.sound, asked.save) == (str(tmp_path / "region.wav"), 2, False, True)
    assert asked.duration == pytest.approx(4 + TAIL_S)
    order.open().make(0.25)
    host.until(lambda: host.info().takes == 2)
    host.stage.play(6)
    changed = host.last("changed")
    assert changed.sample == place.sample == host.stage.frame_of(4 * (place.bar - 1))
    sound = host.stage.sound[:, 0]
    assert sound[changed.sample - 1] == 0.5
    assert sound[changed.sample + 480] == pytest.approx(0.25, abs=1e-3)
    assert "late" not in host.states()
    assert host.info().bars == 2
    host.ask(UndoLoop(layer=1, at="loop"))
    host.stage.play(5)
    assert host.stage.sound[-1, 0] == 0.5


def test_where_the_engine_is_late_the_loop_plays_again_and_says_so_before(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    place = host.placed(ContinueLoop(layer=1))
    (order,) = host.orders
    order.open()
    while "late" not in host.states():
        host.stage.play(0.01)
    late = host.last("late")
    assert (late.bar, late.sample) == (place.bar, place.sample)
    assert late.seconds > 0, "told before it"
    host.stage.play(0.5)
    assert host.stage.sound[-1, 0] == 0.5, "never silence"
    order.make(0.25)
    host.until(lambda: host.info().takes == 2)
    host.stage.play(2.5)
    assert host.last("changed").bar == place.bar + 1
    assert host.info().late == 1


def test_it_feeds_on_itself_until_told_otherwise(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.ask(ContinueLoop(layer=1, feed=True))
    sources = []
    for turn in range(3):
        (order,) = host.orders
        sources.append(order.request.path)
        order.open().make(0.1 * (turn + 1))
        host.until(partial(host.has, "takes", turn + 2))
        host.play_until_changed()
        assert host.stage.sound[-1, 0] == pytest.approx(0.1 * (turn + 1), abs=1e-3)
    assert sources[0] != sources[1] == sources[2] == "/takes/made.wav"
    assert host.info().feeding
    host.ask(FeedLoop(layer=1, feed=False))
    (order,) = host.orders
    order.open().make(0.6)
    host.until(lambda: host.info().takes == 5)
    host.play_until_changed()
    assert not host.orders
    assert not host.info().feeding
    host.ask(FeedLoop(layer=1))
    host.until(lambda: host.orders)
    host.ask(StopLoop(layer=1))
    assert host.orders[0].open().cancelled
    assert not host.info().feeding


def test_variations_side_by_side_as_many_as_the_engine_takes(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.most = 2
    host.ask(VaryLoop(layer=1, count=4, seed=10))
    seeds = []
    for index in range(4):
        host.until(lambda: host.orders)
        assert len(host.orders) == min(2, 4 - index)
        order = host.orders[0].open()
        seeds.append(order.request.seed)
        order.make(0.1 * (order.request.seed - 9))
        host.until(partial(host.has_ready, index + 1))
    assert sorted(seeds) == [10, 11, 12, 13]
    assert host.info().variations == "ABCD"
    assert host.info().takes == 1, "nothing changes before one is chosen"
    choices: tuple[tuple[Literal["A", "C"], float], ...] = (("C", 0.3), ("A", 0.1))
    for letter, height in choices:
        place = host.placed(ChooseLoop(layer=1, letter=letter))
        host.stage.play(2.5)
        assert host.last("changed").sample == place.sample
        assert host.stage.sound[-1, 0] == pytest.approx(height, abs=1e-3)
    host.ask(UndoLoop(layer=1))
    host.stage.play(2.5)
    assert host.stage.sound[-1, 0] == pytest.approx(0.3, abs=1e-3)


def test_what_the_engine_refuses_is_told_and_the_loop_plays_on(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.ask(ContinueLoop(layer=1))
    host.orders[0].over(RequestError(ErrorCode.ENGINE_LOST, "engine", "tcp"))
    assert host.last("failed").note.startswith("engine_lost")
    host.stage.play(3)
    assert host.stage.sound[-1, 0] == 0.5
    host.most = 0
    host.ask(ContinueLoop(layer=1))
    assert host.last("failed").note.startswith("busy")
    assert host.info().making == 0


def test_level_and_clear(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.ask(LevelLoop(layer=1, level=-6.0206))
    host.stage.play(0.3)
    assert host.stage.sound[-1, 0] == pytest.approx(0.25, abs=1e-3)
    host.ask(ClearLoop(layer=1))
    host.stage.play(0.3)
    assert not host.stage.sound[-256:].any()
    assert host.ask(Loops()).items == []


def test_on_a_card_of_another_rate_the_loop_goes_on(host: Host, tmp_path: Path) -> None:
    host.begin(tmp_path)
    host.stage.lose_card()
    host.stage.play(0.3)
    host.ask(ContinueLoop(layer=1))
    host.orders[0].open().make(0.25)
    host.until(lambda: host.info().takes == 2)
    host.ask(UndoLoop(layer=1))
    host.stage.another_card(44_100)
    host.stage.play(0.3)
    host.until(lambda: not host.desk._fitting._under_way)
    host.stage.play(3)
    assert host.stage.sound[-1, 0] == pytest.approx(0.5, abs=1e-3)


class Singing:
    """A stream that began with frame ``began`` of the card."""

    number = 3
    rates = (MODEL_RATE, 640)

    def __init__(self, host: Host, began: int, sound: NDArray[np.float32]) -> None:
        self.history = History(20 * MODEL_RATE, 1)
        self.history.append(sound)
        self._host, self._began = host, began

    @property
    def played(self) -> int:
        output = self._host.stage.output
        assert output is not None
        return (output.meters.frames - self._began) * MODEL_RATE // RATE


def test_the_last_bars_of_a_stream(host: Host, tmp_path: Path) -> None:
    host.stage.grid.start()
    host.stage.play(1)
    count = 9 * MODEL_RATE
    sound = np.repeat(np.arange(count // 320) % 97 / 97, 320).astype(np.float32)[:, np.newaxis]
    stream = Singing(host, host.stage.frame_of(1), sound)
    host.streams._open[3] = stream  # type: ignore[assignment]
    host.stage.play(6)
    host.ask(RecordLoop(layer=1, bars=2, source="stream", stream=3))
    host.until(lambda: "saved" in host.states())
    written, rate = soundfile.read(host.last("saved").note, dtype="float32")
    assert rate == MODEL_RATE
    heard = host.stage.output
    assert heard is not None
    last = max(beat for beat in range(0, 40, 4) if host.stage.frame_of(beat) <= heard.meters.frames)
    end = round(Fraction((host.stage.frame_of(last) - host.stage.frame_of(1)) * MODEL_RATE, RATE))
    assert np.abs(written[: 4 * MODEL_RATE] - sound[end - 4 * MODEL_RATE : end, 0]).mean() < 1e-3
    host.until(lambda: not host.desk._fitting._under_way)
    host.stage.play(3)
    assert host.info().state == "playing"
    with pytest.raises(RequestError):
        host.ask(RecordLoop(layer=1, bars=1, source="stream", stream=4))
    host.ask(RecordLoop(layer=2, bars=8, source="stream", stream=3))
    host.stage.play(0.2)
    assert host.last("failed").note.startswith("out_of_range: bars = 8")
