"""What was heard and what was played at a frame of the card: two buses, kept for the last seconds in shared memory.

The ``input`` bus holds what the card's input delivered, the ``output`` bus the sum as it left the mixer. Both count in the frames
of the output: input frame f came in the very block in which output frame f was rendered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.voice import MAX_BLOCK
from protocols.errors import ErrorCode, RequestError

CAPTURE_SECONDS = 20.0
"""How far back a bus can be read."""

MAX_CAPTURE_BYTES = 32 * 2**20
"""The most memory that one bus takes; many channels at a high rate are kept for a shorter time."""

# The counters on a cache line of their own.
_HEADER = 64


class Bus(StrEnum):
    """Where captured sound comes from."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True)
class CaptureLayout:
    """Shape of a bus in memory.

    Args:
        capacity: frames that are kept, at least `MAX_BLOCK`.
        channels: samples in a frame, at least 1.
    """

    capacity: int
    channels: int

    def __post_init__(self) -> None:
        if self.capacity < MAX_BLOCK or self.channels < 1:
            raise ValueError(f"a bus needs {MAX_BLOCK} frames and a channel at least: {self}")

    @classmethod
    def lasting(cls, sample_rate: int, channels: int, seconds: float = CAPTURE_SECONDS) -> CaptureLayout:
        """Room for ``seconds`` at a rate, as far as `MAX_CAPTURE_BYTES` goes."""
        frames = min(round(sample_rate * seconds), MAX_CAPTURE_BYTES // (4 * channels))
        return cls(max(MAX_BLOCK, frames), channels)

    @property
    def bytes_needed(self) -> int:
        """Size of the memory that the bus lives in."""
        return _HEADER + 4 * self.capacity * self.channels


class _CaptureMemory:
    """The counters and samples that both sides see.

    ``begun`` is stored before a block is copied and ``written`` after it, both as the frame behind the block; ``origin`` is the
    frame that everything since was captured from without a gap, and ``moment`` the time of the latest block. Frame f stands at
    ``f % capacity``.
    """

    def __init__(self, layout: CaptureLayout, memory: memoryview | None) -> None:
        if memory is None:
            memory = memoryview(bytearray(layout.bytes_needed))
        if memory.nbytes < layout.bytes_needed:
            raise ValueError(f"{memory.nbytes} bytes given, {layout.bytes_needed} needed")
        self.memory = memory
        self.origin = memory[0:8].cast("q")
        self.begun = memory[8:16].cast("q")
        self.written = memory[16:24].cast("q")
        self.moment = memory[24:32].cast("d")
        samples = np.frombuffer(memory, np.float32, count=layout.capacity * layout.channels, offset=_HEADER)
        self.samples: NDArray[np.float32] = samples.reshape(layout.capacity, layout.channels)


class CaptureWriter:
    """The audio callback's side of a bus.

    Threads: `write` for the callback alone. It takes no lock and allocates nothing but array views.

    Args:
        layout: the shape.
        memory: zeroed, writable bytes shared with the readers, at least ``layout.bytes_needed``; private when left out.
    """

    def __init__(self, layout: CaptureLayout, memory: memoryview | None = None) -> None:
        self.layout = layout
        self._shared = _CaptureMemory(layout, memory)
        if memory is not None:
            self._shared.samples.fill(0.0)  # every page is fetched here, and none by the callback

    def write(self, first: int, block: NDArray[np.float32]) -> None:
        """Keep ``block`` [frames, channels], whose first frame is ``first``; of one longer than the bus only the end."""
        shared, capacity = self._shared, self.layout.capacity
        if len(block) > capacity:
            first += len(block) - capacity
            block = block[-capacity:]
        end = first + len(block)
        shared.begun[0] = end
        if first != shared.written[0]:
            shared.origin[0] = first
        start = first % capacity
        head = min(len(block), capacity - start)
        shared.samples[start : start + head] = block[:head]
        if head < len(block):
            shared.samples[: len(block) - head] = block[head:]
        shared.moment[0] = time.monotonic()
        shared.written[0] = end

    def reader(self) -> CaptureReader:
        """A reader of the same memory, for another thread of this process."""
        return CaptureReader(self.layout, self._shared.memory)


class CaptureReader:
    """The control side of a bus: reads frames by their number, never half old and half new.

    A frame that the callback may have begun to overwrite while it was copied is refused: the counter that is stored before a
    block is looked at again after the copy. Between processes this counts on stores that are seen in their order, which x86
    guarantees; elsewhere the barriers with which the interpreter changes threads stand between two blocks.

    Threads: any.

    Args:
        layout: the shape.
        memory: what the writer writes to.
    """

    def __init__(self, layout: CaptureLayout, memory: memoryview) -> None:
        self.layout = layout
        self._shared = _CaptureMemory(layout, memory)

    @property
    def latest(self) -> int:
        """The frame behind the last one captured; 0 before the first."""
        return self._shared.written[0]

    @property
    def moment(self) -> float:
        """``time.monotonic()`` at which the latest block was captured; 0 before the first."""
        return self._shared.moment[0]

    @property
    def oldest(self) -> int:
        """The oldest frame that can be read now."""
        return max(self._shared.origin[0], self._shared.begun[0] - self.layout.capacity)

    def read(self, first: int, frames: int) -> NDArray[np.float32]:
        """A copy [frames, channels] of the frames from ``first`` on.

        Raises:
            RequestError: OUT_OF_RANGE where some of it is not there yet, was never captured or is overwritten.
        """
        latest, oldest = self.latest, self.oldest
        if frames < 0 or first < oldest or first + frames > latest:
            raise _outside(first, frames, oldest, latest)
        capacity, samples = self.layout.capacity, self._shared.samples
        out: NDArray[np.float32] = np.empty((frames, self.layout.channels), np.float32)
        start = first % capacity
        head = min(frames, capacity - start)
        out[:head] = samples[start : start + head]
        out[head:] = samples[: frames - head]
        oldest = self.oldest
        if first < oldest:  # overtaken on the way
            raise _outside(first, frames, oldest, self.latest)
        return out


class Capture:
    """A bus of one output by the frames of that output as they are heard.

    What a performer plays in time with output frame f comes in later: by the card's output latency, because f is heard that much
    after it was rendered, and by its input latency. The frames of the input bus are moved back by both, so that what belongs
    together has the same number on both buses.

    Threads: any.

    Args:
        bus: which one.
        reader: of its memory.
        sample_rate: of the output, Hz.
        delay: frames by which the bus lags behind what is heard; 0 for the output bus.
        meters: of the output.
        alive: whether the output still plays.
    """

    def __init__(
        self,
        bus: Bus,
        reader: CaptureReader,
        sample_rate: int,
        delay: int,
        meters: Meters,
        alive: Callable[[], bool],
    ) -> None:
        self.bus = bus
        self.sample_rate = sample_rate
        self.channels = reader.layout.channels
        self.capacity = reader.layout.capacity
        self.delay = delay
        self._reader = reader
        self._meters = meters
        self._alive = alive

    @property
    def alive(self) -> bool:
        """Whether more will come; what has been captured can still be read when it will not."""
        return self._alive()

    @property
    def latest(self) -> int:
        """The frame behind the last one captured, as heard."""
        return self._reader.latest - self.delay

    @property
    def oldest(self) -> int:
        """The oldest frame that can be read now, as heard."""
        return self._reader.oldest - self.delay

    @property
    def gaps(self) -> int:
        """How often the sound system dropped some of the input, or got the output too late: frames captured before and after such a
        moment are nearer to each other here than they were in the room."""
        return self._meters.overflows if self.bus is Bus.INPUT else self._meters.underflows

    def read(self, first: int, frames: int) -> NDArray[np.float32]:
        """A copy [frames, channels] of what was heard or played from frame ``first`` on; NaN and infinity are 0.

        Raises:
            RequestError: OUT_OF_RANGE where some of it is not there yet, was never captured or is overwritten.
        """
        try:
            sound = self._reader.read(first + self.delay, frames)
        except RequestError:
            raise _outside(first, frames, self.oldest, self.latest) from None
        if self.bus is Bus.INPUT and not np.isfinite(sound).all():
            np.nan_to_num(sound, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return sound

    def level(self, seconds: float = 0.3) -> float:
        """Peak of the last ``seconds``, linear; 0 while there is nothing."""
        latest = self.latest
        frames = min(latest - self.oldest, round(seconds * self.sample_rate), self.capacity // 2)
        if frames <= 0:
            return 0.0
        return float(np.abs(self.read(latest - frames, frames)).max())


def _outside(first: int, frames: int, oldest: int, latest: int) -> RequestError:
    if latest <= oldest:
        return RequestError(ErrorCode.OUT_OF_RANGE, "frame", first, "nothing is captured yet")
    reason = "is overwritten or was not captured" if first < oldest else "is not there yet"
    asked = f"{first} to {first + frames}"
    return RequestError(ErrorCode.OUT_OF_RANGE, "frame", asked, f"{oldest} to {latest}: what was asked {reason}")
