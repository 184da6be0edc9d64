"""A stage for loops: a card that is moved by hand, its clock, and layers that play on it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import Bus, Capture
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import CardReading, OfflineOutput, Output, read_card
from daw_bridge.clock.clocks import InternalClock
from daw_bridge.clock.stage import StageTime
from daw_bridge.loops.grid import Grid, Place
from daw_bridge.loops.layer import Layer
from daw_bridge.loops.take import Take
from daw_bridge.loops.track import Track


class LoopStage:
    """A card, its time and its clock; `play` lets time pass for all of them.

    Args:
        rate: of the card, Hz.
        bpm: of the clock.
        block: frames in a callback.
        inputs: channels of the card's input.
    """

    def __init__(self, rate: int = 48_000, bpm: str = "120", block: int = 256, inputs: int = 0) -> None:
        self.time = 100.0
        self.block = block
        self.inputs = inputs
        self.heard: list[NDArray[np.float32]] = []
        self.sings: Callable[[int, int], NDArray[np.float32]] | None = None
        """What comes in: of so many frames from a frame on."""
        self.output: OfflineOutput | None = self.open(rate)
        self.voices: list[Feeder] = []
        self.stage = StageTime(self._read, lambda: self.time)
        self.clock = InternalClock(self.stage.now)
        self.clock.timeline.set_tempo(Fraction(bpm), self.clock.now())
        self.grid = Grid(self.stage, lambda: self.clock)
        self.pumps: list[Callable[[], None]] = []
        self.told: list[tuple[str, Place, str]] = []
        self.begun: list[Take] = []

    def open(self, rate: int) -> OfflineOutput:
        output = OfflineOutput(rate, 2, self.block, clock=lambda: self.time, inputs=self.inputs)
        output.open()
        return output

    def another_card(self, rate: int) -> None:
        """The card is gone, and then there is another."""
        self.lose_card()
        self.output = self.open(rate)
        for voice in self.voices:
            voice.attach(self.output)

    def lose_card(self) -> None:
        """The card is gone."""
        self.output = None
        self.heard.clear()
        for voice in self.voices:
            voice.detach()

    def open_voice(self, sample_rate: int, *arguments: Any, **options: Any) -> Feeder:
        voice = Feeder(sample_rate, 2, 1.0, 0.02, scheduled=True)
        if self.output is not None:
            voice.attach(self.output)
        self.voices.append(voice)
        return voice

    def listen(self, bus: Bus) -> Capture:
        assert self.output is not None
        return self.output.capture(bus)

    def layer(self, number: int = 1, fit: Callable[[Take], Take | None] = lambda take: take) -> Layer:
        layer = Layer(number, self.grid, Track(self.open_voice), self, fit)
        self.pumps.append(layer.pump)
        return layer

    def tell(self, layer: Layer, state: str, place: Place, take: str = "", note: str = "") -> None:
        self.told.append((state, place, take))

    def began(self, layer: Layer, take: Take) -> None:
        self.begun.append(take)

    def play(self, seconds: float) -> None:
        rate = self.output.sample_rate if self.output is not None else 48_000
        for _ in range(round(seconds * rate / self.block)):
            self.time += self.block / rate
            if self.output is not None:
                first = self.output.meters.frames
                heard = self.sings(first, self.block) if self.sings is not None else None
                self.heard.append(self.output.advance(self.block, heard))
            self.stage.update()
            for pump in self.pumps:
                pump()

    def start(self) -> None:
        """Let the clock count from bar 1, in a while."""
        self.play(0.1)
        self.grid.start()

    @property
    def sound(self) -> NDArray[np.float32]:
        """What the card has played, [frames, 2]."""
        return np.concatenate(self.heard)

    def frame_of(self, beat: float | Fraction) -> int:
        """Where a beat of the clock was heard."""
        moment = self.clock.timeline.seconds_at(Fraction(beat), Fraction(0))
        assert moment is not None
        return self.stage.frame_at(moment)

    def states(self) -> list[str]:
        return [state for state, _, _ in self.told]

    def _read(self) -> CardReading | None:
        output: Output | None = self.output
        return read_card(output)


MARK = 1000
"""Position of a take's mark."""


def marked(name: str, beats: int, length: int, rate: int = 48_000, height: float = 0.5, tail: int = 4800) -> Take:
    """A silent take with one sample that sounds."""
    samples = np.zeros((length + tail, 1), np.float32)
    samples[MARK] = height
    return Take(name, samples, length, beats, rate)


def tone(
    name: str, beats: int, length: int, hertz: float, rate: int = 48_000, tail: int = 4800, phase: float = 0.0
) -> Take:
    """A take of a sine that goes on in its tail."""
    angle = 2 * np.pi * hertz * np.arange(length + tail) / rate + phase
    return Take(name, (0.5 * np.sin(angle)).astype(np.float32)[:, np.newaxis], length, beats, rate)
