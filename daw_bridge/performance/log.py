"""The log of a performance on disk: lines that are only ever appended, each with its checksum.

A line is the CRC-32 of its text in hexadecimal, a space, and the text: a JSON object whose ``e`` says what happened. What follows a
line that is broken or not whole is not read.

``begin``   id, name, time (since 1970); zero: pair of card and frame before which nothing belongs to it
``card``    c: its number here; name, rate, channels; origin: seconds of the stage at its frame 0, as a fraction
``stream``  s: its number here; what it is (`StreamLine`)
``journal`` s, journal: the engine that makes it is another
``place``   s, c, start: frame of the card with which it begins there; origin: its sample there, as a fraction
``level``   s (0 for everything), c, frame, gain: linear, from that frame on
``held``    s: where its last bars were played again (`HeldBars`); told anew when it goes on
``governor`` s, record: of its governor, as its take's sidecar holds it
``at``      s, c, frame, frames: taken from it at its latest place; samples: made so far
``over``    s, the same, and path: its take; stopped: whether it was faded out before its end
``end``     nothing follows
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Full, Queue
from typing import IO, Any

import msgspec
import structlog

log = structlog.get_logger()

MAX_BYTES = 32 * 2**20
"""Of one log; what happens later is not written down."""

MAX_FOLDER_BYTES = 256 * 2**20
SUFFIX = ".performance"
_SYNC_S = 1.0
_MOST_WAITING = 4096


class LogWriter:
    """Writes one log on a thread of its own, so that a disk which hangs holds nobody up.

    A line is handed to the system at once: a process that is killed loses what has happened in the last milliseconds. Where the
    disk is full the performance goes on, and its log ends.

    Args:
        path: the file; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: Queue[bytes | threading.Event | None] = Queue(_MOST_WAITING)
        self._bytes = 0
        self._full = False
        self._thread = threading.Thread(target=self._run, name="performance-log", daemon=True)
        self._thread.start()

    def write(self, line: dict[str, Any]) -> None:
        """Add a line."""
        text = encoded(line)
        if self._full or self._bytes + len(text) > MAX_BYTES:
            if not self._full:
                log.warning("a performance is not written down any further", path=str(self.path))
            self._full = True
            return
        self._bytes += len(text)
        self._put(text)

    def close(self) -> None:
        """Nothing follows."""
        self._put(encoded({"e": "end"}))
        self._put(None)
        self._thread.join(2.0)

    def synced(self) -> threading.Event:
        """Set once everything that was written so far can be read."""
        event = threading.Event()
        self._put(event)
        return event

    def _put(self, item: bytes | threading.Event | None) -> None:
        try:
            self._queue.put_nowait(item)
        except Full:
            self._full = True

    def _run(self) -> None:
        try:
            with self.path.open("xb", buffering=0) as file:  # a line is with the system at once
                self._write_on(file)
        except OSError as error:
            self._full = True
            log.warning("a performance is not written down", path=str(self.path), reason=error.strerror)
            self._drain()

    def _write_on(self, file: IO[bytes]) -> None:
        synced, dirty = time.monotonic(), False
        while True:
            try:
                item = self._queue.get(timeout=_SYNC_S)
            except Empty:
                item = b""
            if isinstance(item, threading.Event):
                item.set()
            elif item is None:
                os.fsync(file.fileno())
                return
            elif item:
                file.write(item)
                dirty = True
            if dirty and time.monotonic() - synced >= _SYNC_S:
                os.fsync(file.fileno())
                synced, dirty = time.monotonic(), False

    def _drain(self) -> None:
        """Nobody shall wait for a log that is none."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()


def encoded(line: dict[str, Any]) -> bytes:
    """A line as it stands in the file."""
    text = msgspec.json.encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log, as far as it is whole; nothing of a file that cannot be read."""
    try:
        content = path.read_bytes()[: MAX_BYTES + 2**16]
    except OSError:
        return
    for row in content.split(b"\n")[:-1]:
        checksum, _, text = row.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                return
            line = msgspec.json.decode(text)
        except ValueError:
            return
        if not isinstance(line, dict):
            return
        yield line


def make_room(folder: Path, most: int = MAX_FOLDER_BYTES) -> None:
    """Delete the oldest logs where all of them are larger than allowed."""
    found = sorted(folder.glob(f"*{SUFFIX}"), reverse=True)
    left = most
    for path in found:
        try:
            left -= path.stat().st_size
            if left < 0:
                path.unlink()
        except OSError as error:
            log.warning("an old performance stays", path=str(path), reason=error.strerror)
