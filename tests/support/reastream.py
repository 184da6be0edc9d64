"""A receiver of ReaStream that takes nothing but what Cockos' text says, written from that text and not from our sender."""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 47
_BUFFER = 2**23
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40


@dataclass(frozen=True)
class Packet:
    """One packet of audio.

    Args:
        identifier: without its padding.
        sample_rate: Hz.
        samples: [frames, channels].
    """

    identifier: str
    sample_rate: int
    samples: NDArray[np.float32]


def parse(packet: bytes) -> Packet:
    """Read a packet byte by byte; ValueError for whatever the text does not allow."""
    if packet[0:4] != b"MRSR":
        raise ValueError(f"begins with {packet[0:4]!r}")
    if len(packet) < HEADER_BYTES:
        raise ValueError(f"{len(packet)} bytes")
    if int.from_bytes(packet[4:8], "little") != len(packet):
        raise ValueError(f"says it has {int.from_bytes(packet[4:8], 'little')} bytes, has {len(packet)}")
    name, padding, rest = packet[8:40].partition(b"\0")
    if not name or not padding or rest.strip(b"\0"):
        raise ValueError(f"identifier {packet[8:40]!r}")
    channels = packet[40]
    if not 1 <= channels <= 64:
        raise ValueError(f"{channels} channels")
    rate = int.from_bytes(packet[41:45], "little")
    size = int.from_bytes(packet[45:47], "little")
    if not 0 < size <= 1200 or size != len(packet) - HEADER_BYTES or size % (4 * channels):
        raise ValueError(f"{size} bytes of samples in {len(packet)}, {channels} channels")
    samples = np.frombuffer(packet, "<f4", offset=HEADER_BYTES).reshape(channels, -1)
    if not np.isfinite(samples).all():
        raise ValueError("samples that are no numbers")
    return Packet(name.decode(), rate, np.ascontiguousarray(samples.T))


class Receiver:
    """A UDP port on this machine that packets are sent to, emptied by a thread of its own. Used as a context manager.

    Attributes:
        port: where it listens.
        packets: what came, read by `parse`.
        overflowed: packets that the system says it had no room for: this process was too busy to take them.
    """

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.overflowed = 0
        self._raw: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with contextlib.suppress(OSError):  # Linux: beyond the usual limit where that is allowed, and told what is lost
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, name="reastream receiver", daemon=True)
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *exc: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as goodbye:
            goodbye.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            packet, notes, _, _ = self._socket.recvmsg(65536, 64)
            for level, kind, content in notes:
                if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                    self.overflowed = int.from_bytes(content[:4], sys.byteorder)
            if not packet:
                return
            self._raw.put(packet)

    @property
    def frames(self) -> int:
        """Frames taken in."""
        return sum(len(packet.samples) for packet in self.packets)

    def take(self, wait: float = 0.0) -> int:
        """Take in what has come, or comes within ``wait`` seconds; how many packets that were."""
        taken = 0
        with contextlib.suppress(queue.Empty):
            while True:
                self.packets.append(parse(self._raw.get(wait > 0, wait)))
                taken, wait = taken + 1, 0.0
        return taken

    def receive(self, frames: int, seconds: float = 30.0) -> NDArray[np.float32]:
        """All that came, at least so many frames."""
        deadline = time.monotonic() + seconds
        while self.frames < frames:
            assert time.monotonic() < deadline, f"{self.frames} of {frames} frames in {seconds} s"
            self.take(0.1)
        return self.recording()

    def recording(self) -> NDArray[np.float32]:
        """What came [frames, channels], one after the other, as the plug-in plays it."""
        return np.concatenate([packet.samples for packet in self.packets])
