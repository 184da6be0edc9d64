"""Where sound goes: the interface of an output, and the outputs that need no sound card."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.mixer import Meters, Mixer
from daw_bridge.audio.voice import VoiceLayout, VoiceMemory

DEFAULT_SAMPLE_RATE = 48_000
"""Rate of an output that has no card to ask, Hz."""


class Output(ABC):
    """Something that plays voices.

    An output is opened once and closed once; ``sample_rate`` and the rest of the description hold from `open` on.

    Threads: one control thread at a time, except ``meters`` and ``active``, which anyone may read.
    """

    name: str = ""
    host_api: str = ""
    sample_rate: int = DEFAULT_SAMPLE_RATE
    channels: int = 2
    blocksize: int = 512
    """Frames in one callback; for a card that varies it, those of the first callback."""
    latency: float = 0.0
    """Seconds from a callback to the ear, as the sound system reports it."""
    meters: Meters

    @abstractmethod
    def open(self) -> None:
        """Start calling back.

        Raises:
            RequestError: the device is unknown or cannot be opened; the text says why.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop at once and let go of everything, within a bounded time. Safe to call twice."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether callbacks come, as far as the sound system knows."""

    @abstractmethod
    def add_voice(self, layout: VoiceLayout) -> VoiceMemory:
        """Begin to play an empty voice; what is written to its ring is heard. Raises RequestError TOO_LARGE."""

    @abstractmethod
    def remove_voice(self, memory: VoiceMemory) -> None:
        """Forget a voice, with no fade; unknown ones are ignored."""

    @abstractmethod
    def set_gain(self, gain: float) -> None:
        """Glide the sum to a linear gain."""


@dataclass(frozen=True)
class CardReading:
    """What an output says of its time.

    Args:
        output: which one; frames count from its opening.
        rendered: frames that it has taken.
        frame: the first frame of a late block.
        heard: ``time.monotonic()`` at which that frame is heard.
    """

    output: Output
    rendered: int
    frame: int
    heard: float


def read_card(output: Output | None) -> CardReading | None:
    """The latest account that an output gives of its time; None where there is none yet. Any thread."""
    heard = output.meters.heard if output is not None else None
    return CardReading(output, output.meters.frames, *heard) if output is not None and heard is not None else None


class LocalOutput(Output):
    """An output whose callback runs in this process, on a mixer of its own.

    Args:
        sample_rate: Hz.
        channels: at least 1.
        blocksize: frames in one callback.
        meters: where the mixer reports; private ones when left out.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        channels: int = 2,
        blocksize: int = 512,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.blocksize = blocksize
        self.mixer = Mixer(sample_rate, channels, meters, clock)
        self.meters = self.mixer.meters

    def add_voice(self, layout: VoiceLayout) -> VoiceMemory:
        memory = VoiceMemory(layout)
        self.mixer.add(memory)
        return memory

    def remove_voice(self, memory: VoiceMemory) -> None:
        self.mixer.remove(memory)

    def set_gain(self, gain: float) -> None:
        self.mixer.gain = gain


class OfflineOutput(LocalOutput):
    """An output that is moved by hand: for tests and for rendering faster than real time."""

    name = "offline"

    def __init__(
        self,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        channels: int = 2,
        blocksize: int = 512,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(sample_rate, channels, blocksize, clock=clock)
        self._open = False

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        self._open = False

    @property
    def active(self) -> bool:
        return self._open

    def advance(self, frames: int) -> NDArray[np.float32]:
        """Render ``frames`` in blocks of ``blocksize`` (the last may be shorter); return them [frames, channels]."""
        out: NDArray[np.float32] = np.empty((frames, self.channels), np.float32)
        for start in range(0, frames, self.blocksize):
            self.mixer.render(out[start : start + self.blocksize])
        return out


class PacedOutput(LocalOutput):
    """No sound card: takes the sound at the pace of a card and drops it, so that streams, clocks and hosts go on.

    A thread renders block after block against deadlines on the monotonic clock. If it falls far behind (a suspended
    laptop), it starts counting anew and does not race after the lost time.
    """

    name = "no sound card"
    host_api = "paced"
    _GIVE_UP_SECONDS = 0.25
    _CLOSE_SECONDS = 2.0

    def __init__(self, sample_rate: int = DEFAULT_SAMPLE_RATE, channels: int = 2, blocksize: int = 512) -> None:
        super().__init__(sample_rate, channels, blocksize)
        self.latency = blocksize / sample_rate
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced-output", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(self._CLOSE_SECONDS)

    @property
    def active(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        block: NDArray[np.float32] = np.empty((self.blocksize, self.channels), np.float32)
        start, blocks = time.monotonic(), 0
        while True:
            due = start + blocks * self.blocksize / self.sample_rate
            self.mixer.render(block, due + self.latency - time.monotonic())
            blocks += 1
            late = time.monotonic() - (start + blocks * self.blocksize / self.sample_rate)
            if late > self._GIVE_UP_SECONDS:
                start, blocks = time.monotonic(), 0
            if self._closing.wait(max(0.0, -late)):
                return
