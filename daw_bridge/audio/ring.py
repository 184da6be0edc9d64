"""A single-producer, single-consumer ring of float32 frames, within one process or between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The two counters stand on cache lines of their own, so that the two sides do not slow each other down.
_LINE = 64
_HEADER = 2 * _LINE


class RingBuffer:
    """Lock-free queue of audio frames between exactly one producer and one consumer.

    The two sides share two counters of frames that only ever grow: ``written`` is stored by the producer alone,
    ``read`` by the consumer alone. Samples are copied before the counter that covers them is stored. Within a process
    the interpreter orders the two steps, between processes x86 does; on processors that may reorder stores it is the
    reserve of one fade that a `Voice` keeps unread which separates the two sides.

    Threads: `write`, `space` for the producer; `read_into`, `available` for the consumer; ``written``, ``read`` for
    anyone. Nothing here blocks, and nothing is allocated apart from array views.

    Args:
        capacity: frames that fit, at least 1.
        channels: samples in a frame, at least 1.
        memory: zeroed, writable bytes shared by both sides, at least `bytes_needed`; private memory when left out.

    Raises:
        ValueError: capacity or channels below 1, or memory too small.
    """

    def __init__(self, capacity: int, channels: int, memory: memoryview | None = None) -> None:
        if capacity < 1 or channels < 1:
            raise ValueError(f"a ring needs frames and channels, not {capacity} x {channels}")
        needed = self.bytes_needed(capacity, channels)
        if memory is None:
            memory = memoryview(bytearray(needed))
        if memory.nbytes < needed:
            raise ValueError(f"{memory.nbytes} bytes given, {needed} needed")
        self.capacity = capacity
        self.channels = channels
        self._written = memory[0:8].cast("q")
        self._read = memory[_LINE : _LINE + 8].cast("q")
        samples = np.frombuffer(memory, np.float32, count=capacity * channels, offset=_HEADER)
        self._samples: NDArray[np.float32] = samples.reshape(capacity, channels)

    @staticmethod
    def bytes_needed(capacity: int, channels: int) -> int:
        """Size of the memory that a ring of this shape lives in, in bytes."""
        return _HEADER + 4 * capacity * channels

    @property
    def written(self) -> int:
        """Frames written since the start."""
        return self._written[0]

    @property
    def read(self) -> int:
        """Frames read since the start."""
        return self._read[0]

    @property
    def available(self) -> int:
        """Frames that the consumer may read now; it can only grow until the consumer reads."""
        return self._written[0] - self._read[0]

    @property
    def space(self) -> int:
        """Frames that the producer may write now; it can only grow until the producer writes."""
        return self.capacity - (self._written[0] - self._read[0])

    def write(self, block: NDArray[np.float32]) -> int:
        """Copy as much of ``block`` [frames, channels] as fits; return the frames taken (0 to len(block))."""
        frames = min(len(block), self.space)
        if frames <= 0:
            return 0
        position = self._written[0]
        start = position % self.capacity
        head = min(frames, self.capacity - start)
        self._samples[start : start + head] = block[:head]
        if head < frames:
            self._samples[: frames - head] = block[head:frames]
        self._written[0] = position + frames
        return frames

    def read_into(self, out: NDArray[np.float32]) -> int:
        """Fill the head of ``out`` [frames, channels] with the oldest frames; return how many (0 to len(out)).

        The rest of ``out`` is left as it was.
        """
        frames = min(len(out), self.available)
        if frames <= 0:
            return 0
        position = self._read[0]
        start = position % self.capacity
        head = min(frames, self.capacity - start)
        out[:head] = self._samples[start : start + head]
        if head < frames:
            out[head:frames] = self._samples[: frames - head]
        self._read[0] = position + frames
        return frames
