"""Where sound goes: the interface of an output, and the outputs that need no sound card."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import Bus, Capture, CaptureLayout, CaptureReader, CaptureWriter
from daw_bridge.audio.mixer import Meters, Mixer
from daw_bridge.audio.pacer import Pacer
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.audio.voice import VoiceLayout, VoiceMemory
from protocols.errors import ErrorCode, RequestError

DEFAULT_SAMPLE_RATE = 48_000
"""Rate of an output that has no card to ask, Hz."""


class Output(ABC):
    """Something that plays voices, and that may have an input which delivers a block for each block that it takes.

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
    inputs: int = 0
    """Channels of the input; 0 without one."""
    input_name: str = ""
    round_trip: float = 0.0
    """Seconds from a callback to the ear and from there, through the input, to a callback."""
    jack_client: str = ""
    """What a JACK server calls it; empty where it is none of JACK's."""
    input_refusal: RequestError | None = None
    """Why there is no input although one was wanted."""
    _readers: dict[Bus, CaptureReader]

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

    @abstractmethod
    def open_tap(self, seconds: float) -> OutputTap:
        """Let the callback write what it plays, from its next block on, into memory that another process can attach.

        One tap at a time: another takes its place.

        Raises:
            RequestError: TOO_LARGE when there is no memory left to share.
        """

    @abstractmethod
    def close_tap(self) -> None:
        """Let the callback write to no tap. Safe to call without one."""

    def capture(self, bus: Bus, offset: float = 0.0) -> Capture:
        """What this output plays or hears, from its opening on; any thread.

        Args:
            bus: which of both.
            offset: seconds that the input lags behind what the sound system says of its latency.

        Raises:
            RequestError: UNSUPPORTED where there is no such bus; the text says why.
        """
        reader = self._readers.get(bus)
        if reader is None:
            why = self.input_refusal.text if bus is Bus.INPUT and self.input_refusal is not None else ""
            allowed = why or ("an output with an input: /bridge/input" if bus is Bus.INPUT else "an open output")
            raise RequestError(ErrorCode.UNSUPPORTED, "bus", str(bus), allowed)
        delay = round((self.round_trip + offset) * self.sample_rate) if bus is Bus.INPUT else 0
        return Capture(bus, reader, self.sample_rate, delay, self.meters, lambda: self.active)


@dataclass(frozen=True)
class OutputTap:
    """What an output plays, in memory that another process attaches by its path, see `CaptureReader`.

    Its owner calls ``block.unlink`` once the other process has read a frame, or wants none.

    Args:
        block: the memory.
        layout: its shape.
    """

    block: SharedBlock
    layout: CaptureLayout

    @classmethod
    def create(cls, sample_rate: int, channels: int, seconds: float) -> OutputTap:
        """Memory for so many seconds; RequestError TOO_LARGE when there is none left to share."""
        layout = CaptureLayout.lasting(sample_rate, channels, seconds)
        try:
            return cls(SharedBlock.create(layout.bytes_needed), layout)
        except OSError as error:
            size = f"{layout.bytes_needed} bytes"
            raise RequestError(ErrorCode.TOO_LARGE, "output", size, "what fits into memory") from error


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
        inputs: channels of the input; 0 without one.
    """

    def __init__(
        self,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        channels: int = 2,
        blocksize: int = 512,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.monotonic,
        inputs: int = 0,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.blocksize = blocksize
        self.inputs = inputs
        self.mixer = Mixer(sample_rate, channels, meters, clock)
        self.meters = self.mixer.meters
        self._readers = {}
        self._played: CaptureWriter | None = None
        self._heard: CaptureWriter | None = None
        self._tap: CaptureWriter | None = None

    def keep(self, bus: Bus, writer: CaptureWriter) -> None:
        """Let the callback write a bus to ``writer`` from its next block on."""
        if bus is Bus.INPUT:
            self._heard = writer
        else:
            self._played = writer

    def write_to_tap(self, writer: CaptureWriter | None) -> None:
        """Let the callback write what it plays to ``writer`` too, from its next block on."""
        self._tap = writer

    def open_tap(self, seconds: float) -> OutputTap:
        tap = OutputTap.create(self.sample_rate, self.channels, seconds)
        self.write_to_tap(CaptureWriter(tap.layout, tap.block.memory))
        return tap

    def close_tap(self) -> None:
        self.write_to_tap(None)

    def keep_here(self) -> None:
        """Keep both buses in this process's memory."""
        for bus, channels in ((Bus.OUTPUT, self.channels), (Bus.INPUT, self.inputs)):
            if channels and bus not in self._readers:
                writer = CaptureWriter(CaptureLayout.lasting(self.sample_rate, channels))
                self._readers[bus] = writer.reader()
                self.keep(bus, writer)

    def render(self, out: NDArray[np.float32], ahead: float = 0.0, heard: NDArray[np.float32] | None = None) -> None:
        """Callback: fill ``out`` [frames, channels] as `Mixer.render` does, and keep it and what came in, ``heard``."""
        first = self.meters.frames
        self.mixer.render(out, ahead)
        if self._played is not None:
            self._played.write(first, out)
        tap = self._tap  # it may be taken away between two looks
        if tap is not None:
            tap.write(first, out)
        if self._heard is not None and heard is not None:
            self._heard.write(first, heard)

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
        inputs: int = 0,
    ) -> None:
        super().__init__(sample_rate, channels, blocksize, clock=clock, inputs=inputs)
        self._open = False

    def open(self) -> None:
        self.keep_here()
        self._open = True

    def close(self) -> None:
        self._open = False

    @property
    def active(self) -> bool:
        return self._open

    def advance(self, frames: int, heard: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Render ``frames`` in blocks of ``blocksize`` (the last may be shorter); return them [frames, channels].

        ``heard`` [frames, inputs] comes in meanwhile; silence when left out.
        """
        out: NDArray[np.float32] = np.empty((frames, self.channels), np.float32)
        if heard is None:
            heard = np.zeros((frames, self.inputs), np.float32)
        for start in range(0, frames, self.blocksize):
            block = slice(start, start + self.blocksize)
            self.render(out[block], heard=heard[block])
        return out


class PacedOutput(LocalOutput):
    """No sound card: takes the sound at the pace of a card and drops it, so that streams, clocks and hosts go on.

    A thread renders block after block against deadlines on the monotonic clock. If it falls far behind (a suspended
    laptop), it counts an underflow and on from there, and does not race after the lost time.
    """

    name = "no sound card"
    host_api = "paced"
    _CLOSE_SECONDS = 2.0

    def __init__(
        self,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        channels: int = 2,
        blocksize: int = 512,
        meters: Meters | None = None,
    ) -> None:
        super().__init__(sample_rate, channels, blocksize, meters)
        self.latency = blocksize / sample_rate
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced-output", daemon=True)

    def open(self) -> None:
        self.keep_here()
        self.start()

    def start(self) -> None:
        """Begin to call back."""
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
        pacer = Pacer(self.sample_rate, self.blocksize, time.monotonic_ns())
        while True:
            self.render(block, pacer.due / 1e9 + self.latency - time.monotonic())
            pacer.rendered()
            now = time.monotonic_ns()
            if not pacer.caught_up(now):
                self.meters.note_underflow()
            if self._closing.wait(max(0.0, (pacer.due - now) / 1e9)):
                return
