"""A sound card that is moved by hand and keeps a pace of its own, with a clock, and streams that wait for their beginning."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import OfflineOutput, Output, read_card
from daw_bridge.clock.clocks import InternalClock
from daw_bridge.clock.host import HostClock
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.starts import Start, Starts
from daw_bridge.clock.timeline import Position, Unit

RATE = 48_000
BLOCK = 256


class Singer:
    """A stream that has sound when it is told to."""

    def __init__(self, stage: Stage) -> None:
        self.voice: Feeder | None = Feeder(RATE, 1, prebuffer_seconds=0.05, fade_seconds=0.0005, scheduled=True)
        self.voice.attach(stage.output)
        self.told: list[Start | Position] = []
        self.begins_at = 0

    def begins(self, output: Output, frame: int) -> None:
        self.begins_at = frame

    def sing(self, frames: int = 4800) -> Singer:
        assert self.voice is not None
        assert self.voice.write(np.full(frames, 0.25, np.float32)) == frames
        self.voice.finish()
        return self

    def scheduled(self, start: Start) -> None:
        assert self.begins_at == start.frame
        self.told.append(start)

    def late(self, missed: Position) -> None:
        self.told.append(missed)

    @property
    def start(self) -> Start:
        start = self.told[-1]
        assert isinstance(start, Start)
        return start


class Stage:
    """A card, its time, and the clock; `play` lets time pass for all of them.

    Args:
        pace: seconds that the card takes for what it calls a second.
        jitter: callbacks come up to this much late.
    """

    def __init__(self, pace: float = 1.0, jitter: float = 0.0, rate: int = RATE) -> None:
        self.time = 100.0
        self.pace = pace
        self.jitter = jitter
        self.late = 0.0
        self.chance = random.Random(7)
        self.heard: list[NDArray[np.float32]] = []
        self.output: OfflineOutput = self.open(rate)
        self.time_of = StageTime(lambda: read_card(self.output), lambda: self.time)
        self.clock: InternalClock | HostClock = InternalClock(self.time_of.now)
        self.starts = Starts(self.time_of, lambda: self.clock)

    def open(self, rate: int) -> OfflineOutput:
        output = OfflineOutput(rate, 1, BLOCK, clock=lambda: self.time + self.late)
        output.open()
        return output

    def play(self, seconds: float) -> None:
        block = BLOCK / self.output.sample_rate * self.pace
        for _ in range(round(seconds / block)):
            self.time += block
            self.late = self.chance.uniform(0, self.jitter)
            self.heard.append(self.output.advance(BLOCK))
            self.starts.pump()

    def singer(self, unit: Unit = "bar") -> Singer:
        singer = Singer(self)
        self.starts.add(singer, unit)
        return singer

    @property
    def onsets(self) -> list[int]:
        """Frames at which sound begins after silence."""
        sound = np.concatenate(self.heard)[:, 0] != 0
        return [int(frame) for frame in np.flatnonzero(sound[1:] & ~sound[:-1]) + 1]
