"""What clocks meet in tests: a bridge, a sender of MIDI clock, a MIDI output, each moved by a clock in a test's hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from daw_bridge.clock.clocks import ManualClock
from daw_bridge.clock.midi import MidiClock
from protocols.errors import RequestError
from protocols.messages import Event, Reply
from protocols.osc.front import Asker


class ClockBridge:
    """The bridge as a clock sees it: slow work is done at once, or when the test says.

    Args:
        told: gets the events.
        waits: slow work waits for `work`.
    """

    def __init__(self, told: list[Event], waits: bool = False) -> None:
        self.told = told
        self.answers: list[Reply | RequestError] = []
        self._waits = waits
        self._work: list[Callable[[], None]] = []

    def publish(self, event: Event) -> None:
        self.told.append(event)

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        def do() -> None:
            try:
                self.answers.append(reply(work()))
            except RequestError as error:
                self.answers.append(error)

        self._work.append(do)
        if not self._waits:
            self.work()

    def work(self) -> None:
        """Do what waits."""
        waiting, self._work = self._work, []
        for do in waiting:
            do()


class Sequencer:
    """Sends MIDI clock as another machine does: ticks come up to ``jitter`` seconds late, or in blocks of a sound card.

    Args:
        hand: the time.
        clock: who hears it.
        jitter: seconds.
        block: seconds; 0 for none.
        seed: of the jitter.
    """

    def __init__(
        self, hand: ManualClock, clock: MidiClock, jitter: float = 0.0, block: float = 0.0, seed: int = 1
    ) -> None:
        self.hand, self.clock = hand, clock
        self.jitter, self.block = jitter, block
        self.bpm = 120.0
        self.ticks = 0  # sent since the song began
        self.drop: set[int] = set()
        self.errors_ms: list[float] = []
        self.tempos: list[float] = []
        self._chance = random.Random(seed)
        self._due = float(hand.now())
        self._last = self._period = 0.0
        self._coming: list[tuple[float, bytes]] = []

    def send(self, message: str) -> None:
        """Say something at once; ``fa`` and ``fb`` let the next tick be due after a millisecond."""
        self.clock.receive(bytes.fromhex(message), float(self.hand.now()))
        if message in ("fa", "fb"):
            self.ticks = 0 if message == "fa" else self.ticks
            self._due = float(self.hand.now()) + 0.001

    def play(
        self, beats: float, tempo: Callable[[float], float] | None = None, pump_s: Fraction = Fraction(1, 100)
    ) -> None:
        """Send ticks for a while, at ``tempo`` of the beats since this call, and notice how far the clock is off."""
        until, begun = self.ticks + round(beats * 24), self.ticks
        self.errors_ms, self.tempos = [], []
        while self.ticks < until or self._coming:
            self.hand.advance(pump_s)
            now = float(self.hand.now())
            while self.ticks < until and self._due <= now:
                if tempo is not None:
                    self.bpm = tempo((self.ticks - begun) / 24)
                self._tick()
            while self._coming and self._coming[0][0] <= now:
                at, message = self._coming.pop(0)
                self.clock.receive(message, at)
            self.clock.pump()
            beat = (self.ticks - 1 + min(1.0, (now - self._last) / self._period)) / 24
            off = float(self.clock.timeline.beat_at(self.hand.now())) - beat
            self.errors_ms.append(off * 60_000 / self.bpm)
            self.tempos.append(float(self.clock.timeline.at(self.hand.now()).bpm))

    def _tick(self) -> None:
        self._last, self._period = self._due, 60 / self.bpm / 24
        at = self._due + self._chance.uniform(0, self.jitter)
        if self.block:
            at = (at // self.block + 1) * self.block
        at = max(at, self._coming[-1][0] if self._coming else 0.0)
        if self.ticks not in self.drop:
            self._coming.append((at, b"\xf8"))
        self.ticks += 1
        self._due += self._period


class Wire:
    """A MIDI output whose messages are sent when the test's clock has reached their moments."""

    def __init__(self, hand: ManualClock) -> None:
        self.name = "wire"
        self.error: RequestError | None = None
        self.closed = False
        self.sent: list[tuple[float, str]] = []
        self._hand = hand
        self._waiting: list[tuple[int, bytes]] = []

    def perf_ns(self) -> int:
        return round(self._hand.now() * 10**9)

    def send(self, messages: list[tuple[int, bytes]]) -> None:
        self._waiting += messages
        assert self._waiting == sorted(self._waiting, key=lambda one: one[0]), "in order"

    def drop(self, at: int) -> None:
        self._waiting = [one for one in self._waiting if one[0] < at]

    def pump(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def due(self) -> list[tuple[float, bytes]]:
        """What has been sent since the last call, with its moment in seconds."""
        now = self.perf_ns()
        due = [(at / 1e9, message) for at, message in self._waiting if at <= now]
        self._waiting = [one for one in self._waiting if one[0] > now]
        self.sent += [(at, message.hex()) for at, message in due]
        return due
