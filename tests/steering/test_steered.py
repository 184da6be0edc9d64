"""What the bridge does with the stages: asked for, handed on, looked after, and told."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from sounds import RATE, blocks, clicks, music

from daw_bridge.asked import Asked
from daw_bridge.clock.starts import Start
from daw_bridge.clock.timeline import Position, Timeline
from daw_bridge.steering.beats import Grid
from daw_bridge.steering.character import AS_USUAL, Sampling
from daw_bridge.steering.desk import SteeringDesk
from daw_bridge.steering.governor import Setting
from daw_bridge.steering.opening import setting_of, steering_of
from daw_bridge.steering.reference import Reference
from daw_bridge.steering.steered import UNSTEERED, Steered, Steering, names_file
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import GovernorTold, LockTold, PlayOpen, SetGovernor
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Update
from protocols.settings import FileSettings
from tests.support.facts import WELCOME

FACTS = msgspec.structs.replace(WELCOME, sample_rate=RATE, channels=1)
HELD = Steering(Setting(on=True, reference=Reference(-30.0)), sampling=Sampling(1.0, 250, 3.0), seed=5)
STAGE_AT_0 = 7  # seconds


class Stream(SimpleNamespace):
    """A stream as far as the desk looks at it."""

    __hash__ = object.__hash__


class Line:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def write(self, block: Any, begun: bool) -> None:
        self.heard.append(block)

    def finish(self) -> None:
        self.heard.append(None)


class Host:
    """A bridge with one stream, whose clock and card are moved by hand."""

    def __init__(self, steering: Steering) -> None:
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.now = 0.0
        self.wordings = [(0, Wording(facts=Facts(120.0, "", prompt="drums")))]
        self.stream = Stream(
            number=3, engine_number=9, samples=0, steered=Steered(steering, FACTS), wordings=self.wordings, asker=None,
            rates=(RATE, 640),
        )  # fmt: skip
        self.streams = SimpleNamespace(played=[self.stream], find=lambda number: self.stream)
        self.engine = SimpleNamespace(ready=True, request=lambda message, answered: self.asked.append(message))
        self.timeline = Timeline(120)
        self.timeline.start(Fraction(STAGE_AT_0))
        stage = SimpleNamespace(output=object(), seconds_at=lambda frame: Fraction(frame, 48_000))
        self.clock = SimpleNamespace(stage=stage, clock=SimpleNamespace(timeline=self.timeline))
        self.desk = SteeringDesk(self, FileSettings(), lambda: self.now)  # type: ignore[arg-type]

    def publish(self, event: Any, asker: Any) -> None:
        self.told.append(event)

    def play(self, sound: Any) -> Any:
        heard = []
        for block in blocks(sound, RATE // 10):
            self.stream.samples += len(block)
            self.now += 0.1
            heard.append(self.stream.steered.in_time(self.stream.steered.govern(block)))
            self.desk.pump()
        return np.concatenate(heard)


def test_a_reference_is_the_start_a_loudness_or_a_file(tmp_path: Path) -> None:
    files = FileSettings(allowed=str(tmp_path))
    assert setting_of("start", 0, 0, FACTS, files) == Setting(on=True, learn="all")
    for text in ("-18", "-18.0", "-18 LUFS", "-18lufs"):
        assert setting_of(text, 0, 0, FACTS, files) == Setting(True, Reference(-18.0))
        assert not names_file(text)
    file = tmp_path / "loud.wav"
    sound = music(6)
    sound[: RATE * 3] *= 0.1
    soundfile.write(file, sound, RATE, subtype="FLOAT")
    assert names_file(str(file))
    quiet, loud = (setting_of(str(file), start, 2.5, FACTS, files).reference for start in (0.0, 3.25))
    assert quiet is not None
    assert loud is not None
    assert quiet.lufs is not None
    assert loud.lufs == pytest.approx(quiet.lufs + 20, abs=1)
    with pytest.raises(RequestError) as refused:
        setting_of("-2", 0, 0, FACTS, files)
    assert refused.value.code == ErrorCode.OUT_OF_RANGE


def test_what_is_asked_for_is_what_is_steered() -> None:
    files = FileSettings()
    asked = PlayOpen(prompt="x", temperature=1.1, guidance=4.0, seed=9, at="bar", bpm=60.0)
    steering = steering_of(asked, 60.0, FACTS, files)
    assert steering.lock
    assert steering.sampling == Sampling(1.1, 250, 4.0)
    assert (steering.seed, steering.bar_seconds) == (9, 4.0)
    assert steering.setting == Setting(on=True, learn="all")
    off = steering_of(PlayOpen(prompt="x", govern=False), 0.0, FACTS, files)
    assert off.setting == Setting(on=False, learn="all")
    assert not off.lock
    assert not steering_of(PlayOpen(prompt="x", at="bar", sound=False), 0.0, FACTS, files).lock
    assert not steering_of(PlayOpen(prompt="x", at="bar", lock=False), 0.0, FACTS, files).lock


def test_without_steering_everything_goes_through() -> None:
    steered, line, block = Steered(UNSTEERED, FACTS), Line(), music(1)
    assert steered.in_time(steered.govern(block)) is block
    steered.finish(line)
    assert line.heard == [None]
    assert (steered.source(77), steered.sidecar, steered.look()) == (77, {}, None)
    slow = msgspec.structs.replace(FACTS, sample_rate=4000)
    assert Steered(HELD, slow).governor is None, "rates at which loudness is not defined are left alone"


def test_a_sidecar_governs_again_and_an_heir_holds_the_same() -> None:
    sound = music(20)
    steered = Steered(HELD, FACTS)
    held = np.concatenate([steered.govern(block) for block in blocks(sound, 999)])
    again = Steered(Steering.again(steered.sidecar), FACTS)
    assert np.array_equal(again.govern(sound), held)
    assert again.look() is None
    assert Steering.again({}) == UNSTEERED
    heir = steered.heir.setting
    assert heir is not None
    assert heir.reference is not None
    assert (heir.on, heir.reference.lufs) == (True, -30)
    assert heir.reference.shape_db
    off = Steered(Steering(Setting(on=False, learn="all")), FACTS)
    off.govern(sound)
    assert off.sidecar == {}
    with pytest.raises(RequestError):
        Steered(Steering.again({"governor": "x"}), FACTS)


def test_what_drifts_is_asked_of_the_engine_and_the_user_wins() -> None:
    host = Host(dataclasses.replace(HELD, setting=Setting(on=True, learn="all")))
    host.play(music(24))
    assert host.asked == []
    host.play(np.zeros((30 * RATE, 1), np.float32))
    assert host.asked
    assert all(isinstance(asked, Update) and asked.stream == 9 and asked.seed is not None for asked in host.asked)
    assert any(isinstance(told, GovernorTold) and told.steered == "silent" for told in host.told)
    count = len(host.asked)
    _, before = host.wordings[-1]
    host.wordings.append((70, dataclasses.replace(before, asked=Asked((("temperature", 1.4),)))))
    host.play(np.zeros((RATE, 1), np.float32))
    assert host.asked[count:] == [Update(stream=9, temperature=1.4, top_k=250, guidance=3.0)]
    record = host.stream.steered.governor.record
    host.wordings.append((90, dataclasses.replace(before, facts=Facts(120.0, "", prompt="strings"))))
    host.play(music(1))
    assert host.stream.steered.governor.record[len(record) :][0]["learn"] == "spectrum"


def test_a_governor_is_set_and_told() -> None:
    host = Host(HELD)
    host.play(music(10))
    told = [event for event in host.told if isinstance(event, GovernorTold)]
    assert [event.reference for event in told] == [-30] * len(told)
    assert 2 <= len(told) <= 3
    state = host.desk.handle(SetGovernor(stream=3, reference="-25"), None)  # type: ignore[arg-type]
    assert state is not None
    host.play(music(8))
    state = host.desk.handle(SetGovernor(stream=3, on=False), None)  # type: ignore[arg-type]
    assert state is not None
    assert (state.on, state.reference) == (False, -25)
    host.stream.steered = Steered(UNSTEERED, FACTS)
    with pytest.raises(RequestError) as refused:
        host.desk.handle(SetGovernor(stream=3), None)  # type: ignore[arg-type]
    assert refused.value.code == ErrorCode.UNSUPPORTED


def test_a_stream_is_kept_on_the_clock_s_beats_wherever_it_begins() -> None:
    host = Host(Steering(lock=True))
    lock = host.stream.steered.lock
    host.play(clicks(2, 120))
    assert lock.grid is None, "not before it is known where the stream begins"
    began = STAGE_AT_0 + 3 * Fraction(1, 2)
    host.stream.steered.start = Start(Position(1, 4), int(began * 48_000), 0.0)
    host.play(clicks(1, 120))
    assert lock.grid == Grid(Fraction(120), lock.grid.origin, RATE)
    assert lock.grid.origin % (RATE // 2) == 0
    grid = lock.grid
    host.play(clicks(10, 120, late_ms=15))
    assert lock.grid is grid
    told = [event for event in host.told if isinstance(event, LockTold)]
    assert told[-1].error == pytest.approx(15, abs=2) or told[-1].corrected == pytest.approx(15, abs=2)
    assert told[-1].confidence > 0.5
    confidence = lock.state.confidence
    host.wordings.append((500, Wording(facts=Facts(120.1, "", prompt="drums"))))
    host.play(clicks(1, 120))
    assert confidence > 0.5 > lock.state.confidence, "at another tempo it listens anew"
    host.timeline.set_tempo(Fraction(1201, 10), began + 14)
    host.play(clicks(1, 120))
    assert lock.grid.bpm == Fraction(1201, 10)
    host.timeline.stop(began + 16)
    host.play(clicks(2, 120))
    assert lock.grid is None


def test_a_grid_that_moves_a_little_is_followed() -> None:
    steered = Steered(Steering(lock=True), FACTS)
    lock = steered.lock
    assert lock is not None
    steered.follow(Grid(Fraction(120), 0, RATE))
    for block in blocks(clicks(20, 120), 640):
        steered.in_time(block)
    steered.follow(Grid(Fraction(120), -RATE // 50, RATE))
    assert lock.state.error_ms == pytest.approx(20, abs=1)
    for block in blocks(clicks(20, 120), 640):
        steered.in_time(block)
    assert abs(lock.state.error_ms) < 4
    assert lock.state.corrected_ms == pytest.approx(20, abs=4)


def test_requests_that_say_nothing_are_as_usual() -> None:
    assert steering_of(PlayOpen(prompt=""), 0.0, FACTS, FileSettings()).sampling == AS_USUAL
