"""``python -m benchmarks._traced_bridge``: the bridge as it is, whose streams also write down when they reached which stage.

The marks are readings of the clock on the way and one line to a file after the first sound, so that they cost microseconds.
"""

from __future__ import annotations

import json
import os
import runpy
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import daw_bridge.opening
from daw_bridge.bridge_stream import BridgeStream
from protocols.messages import AudioHeader, Opened

TRACE_VARIABLE = "BENCHMARK_TRACE"
"""Names the file that the marks are appended to."""


@dataclass
class Marks:
    """One stream's stages, each as ``time.monotonic()`` in seconds, a clock that all processes of the machine share.

    Attributes:
        stream: its number.
        received: the request was read from the socket.
        opened: the engine took it.
        first_block: the first audio arrived.
        last_block: the last audio before the sound arrived: what the voice had waited for.
        blocks: how many had arrived by then.
        audible: the audio callback rendered the first sample.
    """

    stream: int = 0
    received: float = 0.0
    opened: float = 0.0
    first_block: float = 0.0
    last_block: float = 0.0
    blocks: int = 0
    audible: float = 0.0


class TracedStream(BridgeStream):
    """A `BridgeStream` that writes its `Marks` down once it sounds."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._marks = Marks()
        self._arrivals: list[float] = []
        super().__init__(*arguments, **named)

    def opened(self, reply: Opened, number: int) -> None:
        self._marks.opened = time.monotonic()
        super().opened(reply, number)

    def audio(self, header: AudioHeader, samples: memoryview) -> None:
        if not self._marks.audible:
            self._arrivals.append(time.monotonic())
        super().audio(header, samples)

    def pump(self) -> None:
        super().pump()
        if self.first_sound_ms and not self._marks.audible:
            self._write_marks()

    def _write_marks(self) -> None:
        marks = self._marks
        marks.stream, marks.received = self.number, self._received
        marks.audible = marks.received + self.first_sound_ms / 1000
        heard = [arrival for arrival in self._arrivals if arrival < marks.audible]
        marks.first_block, marks.last_block, marks.blocks = heard[0], heard[-1], len(heard)
        with Path(os.environ[TRACE_VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(marks)) + "\n")


def read_marks(path: Path) -> dict[int, Marks]:
    """The marks of all streams that sounded, by their numbers."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {marks.stream: marks for marks in (Marks(**json.loads(line)) for line in lines)}


if __name__ == "__main__":
    setattr(daw_bridge.opening, "BridgeStream", TracedStream)  # noqa: B010  (a class's name is no variable to mypy)
    runpy.run_module("daw_bridge", run_name="__main__")
