"""From what a card plays to packets: the next frames of its tap, with a channel of marks beside them, sent on a socket."""

from __future__ import annotations

import socket
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import CaptureReader
from daw_bridge.reastream.packets import PacketWriter
from protocols.errors import RequestError

BAR_MARK, BEAT_MARK = 1.0, 0.5

MAX_FRAMES = 8192
"""Frames that are sent at one look; what is left comes with the next."""


@dataclass
class Counts:
    """What has become of the sound.

    Args:
        packets: sent.
        frames: sent.
        dropped: packets that the system did not take.
        gaps: places where frames are missing.
        missed: frames that are missing there.
        unmarked: frames that were sent before their marks were known; without marks 0.
        hop: seconds from the card's block to its last packet, of the latest block.
        longest_hop: the longest of all.
    """

    packets: int = 0
    frames: int = 0
    dropped: int = 0
    gaps: int = 0
    missed: int = 0
    unmarked: int = 0
    hop: float = 0.0
    longest_hop: float = 0.0


class Marks:
    """One-sample impulses by frames of the card: 1.0 on bar lines, 0.5 on other beats.

    What is planned holds for a span of frames; it may be planned anew for what has not been sent yet.
    """

    def __init__(self) -> None:
        self._frames: list[int] = []
        self._values: list[float] = []
        self.until = 0
        """The frame up to which all marks are known."""

    def plan(self, first: int, until: int, marks: Sequence[tuple[int, float]]) -> None:
        """From frame ``first`` up to ``until`` these are the marks, in order; what was planned from ``first`` on is forgotten."""
        keep = bisect_left(self._frames, first)
        self._frames[keep:] = [frame for frame, _ in marks]
        self._values[keep:] = [value for _, value in marks]
        self.until = until

    def write(self, first: int, out: NDArray[np.float32]) -> None:
        """Put the marks of ``len(out)`` frames from ``first`` on into ``out``, which is all 0; earlier ones are forgotten."""
        begin, end = bisect_left(self._frames, first), bisect_left(self._frames, first + len(out))
        for frame, value in zip(self._frames[begin:end], self._values[begin:end], strict=True):
            out[frame - first] = value
        del self._frames[:end], self._values[:end]


class TapStream:
    """Sends what one tap brings, from the moment it is made.

    Threads: one.

    Args:
        reader: of the tap.
        writer: of packets: as many channels as the tap, or one more for marks.
        sink: a UDP socket that does not block and is not connected, so that a missing receiver is no error.
        target: address and port.
        counts: where to count.
    """

    def __init__(
        self,
        reader: CaptureReader,
        writer: PacketWriter,
        sink: socket.socket,
        target: tuple[str, int],
        counts: Counts,
    ) -> None:
        self.first: int | None = None
        """The first frame that was sent."""
        self.marks = Marks() if writer.channels > reader.layout.channels else None
        self._reader = reader
        self._writer = writer
        self._sink = sink
        self._target = target
        self._counts = counts
        self._next = 0

    @property
    def next(self) -> int:
        """The frame that is sent next."""
        return self._next

    def pump(self) -> int:
        """Send what has been played since the last look; returns how many frames that were."""
        latest = self._reader.latest
        if self.first is None:
            # Without marks known there is nothing to align by: the first packets wait for the first plan.
            if latest == 0 or (self.marks is not None and self.marks.until == 0):
                return 0
            self.first = self._next = self._reader.latest
            return 0
        if (
            latest - self._next > self._reader.layout.capacity * 3 // 4
        ):  # what is left may be overwritten while it is read
            self._skip_to(latest)
        moment = self._reader.moment
        frames = min(latest - self._next, MAX_FRAMES)
        if frames <= 0:
            return 0
        try:
            sound = self._reader.read(self._next, frames)
        except RequestError:  # overwritten while it was read
            self._skip_to(latest)
            return 0
        for packet in self._writer.packets(self._with_marks(sound)):
            self._send(packet)
        self._next += frames
        self._counts.frames += frames
        if self._reader.latest == latest:  # else the moment may be that of a later block
            self._counts.hop = time.monotonic() - moment
            self._counts.longest_hop = max(self._counts.longest_hop, self._counts.hop)
        return frames

    def _with_marks(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.marks is None:
            return sound
        block = np.zeros((len(sound), sound.shape[1] + 1), np.float32)
        block[:, :-1] = sound
        self._counts.unmarked += min(len(sound), max(0, self._next + len(sound) - self.marks.until))
        self.marks.write(self._next, block[:, -1])
        return block

    def _skip_to(self, frame: int) -> None:
        self._counts.gaps += 1
        self._counts.missed += max(0, frame - self._next)
        self._next = frame

    def _send(self, packet: bytes) -> None:
        try:
            self._sink.sendto(packet, self._target)
            self._counts.packets += 1
        except OSError:  # no room, no way there: the next packet may get through
            self._counts.dropped += 1
