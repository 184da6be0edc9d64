"""Listeners of live streams over one connection to an engine, each of which takes its sound as fast as it plays and cannot wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks._engine_line import EngineLine
from protocols.messages import Acknowledge, AudioHeader, Cancel, Ended, Event, Opened, Reply, StreamRequest

_PUMP_S = 0.01
"""How often a player tells what it has played, as the bridge does."""


@dataclass
class Listener:
    """One stream as it is heard. It begins to sound once the prebuffer is there, and from then on time does not wait for it.

    Attributes:
        number: of the stream.
        began: when it began to sound, of the monotonic clock; None before.
        received: samples that have come.
        late_frames: codec frames that came after the moment at which they were due, or never came, since `forgive`.
        closest: by how much the latest of them was early, in seconds; below 0 when it was late.
        joined_s: from its request to its first sound.
        fault: why the engine ended it; empty while it runs.
    """

    number: int
    asked: float
    began: float | None = None
    received: int = 0
    late_frames: int = 0
    closest: float = float("inf")
    joined_s: float = 0.0
    fault: str = ""

    def take(self, position: int, samples: int, now: float, rate: int, frame_samples: int, prebuffer: float) -> None:
        """A block of ``samples`` that begins at ``position`` has come."""
        if self.began is not None:
            margin = self.began + position / rate - now
            self.closest = min(self.closest, margin)
            if margin < 0:
                self.late_frames += -(-samples // frame_samples)
        self.received = position + samples
        if self.began is None and self.received >= prebuffer * rate:
            self.began = now
            self.joined_s = now - self.asked

    def played(self, now: float, rate: int) -> int:
        """How many samples its listener has heard, at most what there is."""
        return 0 if self.began is None else min(self.received, int((now - self.began) * rate))

    def forgive(self) -> None:
        """Count from here on."""
        self.late_frames, self.closest = 0, float("inf")

    def close(self, now: float, rate: int, frame_samples: int) -> None:
        """Count what is due by now and has not come; nothing is taken afterwards."""
        if self.began is None:
            self.closest = min(self.closest, 0.0)
            return
        owed = int((now - self.began) * rate) - self.received
        self.closest = min(self.closest, -owed / rate)
        if owed > 0:
            self.late_frames += -(-owed // frame_samples)


class Players:
    """Any number of `Listener` over one line. One thread.

    Args:
        line: to the engine.
        prebuffer: audio that must be there before a stream sounds, in seconds.
    """

    def __init__(self, line: EngineLine, prebuffer: float) -> None:
        self.listeners: dict[int, Listener] = {}
        self._line = line
        self._prebuffer = prebuffer
        self._told = 0.0
        self._early: list[AudioHeader] = []

    def join(self, request: StreamRequest) -> Listener:
        """Open another stream while the others play.

        Raises:
            RequestError: the engine refuses it.
            RuntimeError: the engine says nothing for a minute.
        """
        asked = time.monotonic()
        self._line.send(request)
        opened: list[Opened] = []

        def hear(content: Reply | Event) -> None:
            if isinstance(content, Opened):
                opened.append(content)

        self._serve(60.0, lambda: bool(opened), hear)
        if not opened:
            raise RuntimeError("the engine did not open a stream within 60 s")
        listener = self.listeners[opened[0].stream] = Listener(opened[0].stream, asked)
        for header in self._early:
            if header.stream == listener.number:
                self._take(header, time.monotonic())
        self._early.clear()
        return listener

    def play(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let all of them sound for so long, or until something is so."""
        self._serve(seconds, until, lambda content: None)

    def forgive(self) -> None:
        """Count late frames from here on."""
        for listener in self.listeners.values():
            listener.forgive()

    def close(self) -> None:
        """Count what is missing, end all streams and hear that they have ended."""
        now, welcome = time.monotonic(), self._line.welcome
        for listener in self.listeners.values():
            listener.close(now, welcome.sample_rate, welcome.frame_samples)
        left = {number for number, listener in self.listeners.items() if not listener.fault}
        for number in left:
            self._line.send(Cancel(stream=number))
        deadline = time.monotonic() + 60.0
        while left and time.monotonic() < deadline:
            content = self._line.poll(1.0)
            if isinstance(content, Ended):
                left.discard(content.stream)

    def _serve(self, seconds: float, until: Callable[[], bool], hear: Callable[[Reply | Event], None]) -> None:
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends and not until():
            if now >= self._told + _PUMP_S:
                self._told = now
                self._acknowledge(now)
            content = self._line.poll(max(0.0, min(self._told + _PUMP_S, ends) - now))
            if isinstance(content, AudioHeader):
                self._take(content, time.monotonic())
            elif isinstance(content, Ended):
                if content.stream in self.listeners:
                    self.listeners[content.stream].fault = f"{content.reason} {content.text}".strip()
            elif content is not None:
                hear(content)

    def _acknowledge(self, now: float) -> None:
        rate = self._line.welcome.sample_rate
        for number, listener in self.listeners.items():
            if listener.began is not None and not listener.fault:
                self._line.send(Acknowledge(stream=number, position=listener.played(now, rate)))

    def _take(self, block: AudioHeader, now: float) -> None:
        listener, welcome = self.listeners.get(block.stream), self._line.welcome
        if listener is None:
            self._early.append(block)  # it may come before the answer that gives its stream a listener
            return
        listener.take(block.position, block.frames, now, welcome.sample_rate, welcome.frame_samples, self._prebuffer)
