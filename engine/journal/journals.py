"""All journals: a thread that writes what streams make, lists what there is, and keeps the folder within its bound."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import IO, TypeVar

import structlog

from engine.journal.log import (
    MAGIC,
    End,
    Header,
    Journal,
    change_record,
    end_record,
    frames_record,
    header_record,
    read_journal,
    recording_records,
    state_record,
)
from engine.journal.replay import Recording
from engine.stream import FramesMade
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.messages import JournalInfo

try:
    import fcntl
except ImportError:  # Windows: a journal of another engine that plays is then taken for one that was cut short
    fcntl = None  # type: ignore[assignment]

log = structlog.get_logger()
T = TypeVar("T")

_SUFFIX = ".journal"
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_SYNC_S = 1.0
_MOST_WAITING = 4096
_MOST_LISTED = 200


@dataclass
class _Log:
    """A journal that is being written."""

    path: Path
    file: IO[bytes]
    bytes: int = 0
    dirty: bool = False


class Journals:
    """Writes the journals of this engine's streams, and reads all there are. Nothing that is written waits for the disk.

    Each record is handed to the system at once and synchronised once a second: a process that is killed loses what was not
    handed over yet, which is a chunk of a stream; a machine that loses its power, about a second. Where the disk is full or cannot
    keep up, the stream goes on and its journal ends there.

    Threads: all methods but `run` are called by one thread, that of the I/O loop; answers come on the journal's own.

    Args:
        folder: where they are, one file per stream; None keeps none.
        most_bytes: of all of them; those of streams that are over go first, the oldest before the others.
    """

    def __init__(self, folder: Path | None, most_bytes: int) -> None:
        self.trouble = ""
        self._folder = folder
        self._most_bytes = most_bytes
        self._queue: Queue[Callable[[], None] | None] = Queue(_MOST_WAITING)
        self._live: set[str] = set()
        self._lost: set[str] = set()
        self._logs: dict[str, _Log] = {}
        self._sizes: dict[str, int] = {}
        self._listed: dict[tuple[str, int], JournalInfo] = {}
        self._synced = time.monotonic()
        self._thread = threading.Thread(target=self.run, name="journal", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """How streams are kept, in words."""
        return self.trouble or ("on" if self._folder is not None else "off")

    def new_id(self) -> str:
        """A name for the journal of a stream; empty where none are kept."""
        return "" if self._folder is None else f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"

    def begin(self, journal: str, header: Header, recording: Recording | None) -> None:
        """Begin a journal.

        Args:
            journal: its name, from `new_id`.
            header: what the stream was asked for.
            recording: what it goes on from.
        """
        if journal:
            self._live.add(journal)
            self._put(journal, lambda: self._begin(journal, header, recording))

    def frames(self, journal: str, made: FramesMade) -> None:
        """Add what a stream has made."""

        def content() -> bytes:
            state = state_record(made.first + len(made.codes), made.generator) if made.generator else b""
            return frames_record(made.first, made.codes, made.level_db) + state

        self._put(journal, lambda: self._append(journal, content()))

    def change(self, journal: str, change: dict[str, str | int | float | None]) -> None:
        """Add a change that took effect."""
        self._put(journal, lambda: self._append(journal, change_record(change)))

    def end(self, journal: str, reason: str, text: str) -> None:
        """The stream is over."""
        self._put(journal, lambda: self._finish(journal, End(reason=reason, text=text)))
        self._live.discard(journal)

    def do(self, work: Callable[[], T], answer: Callable[[T | RequestError], None]) -> None:
        """Do something with journals on their thread and hand what came of it, or the error, to ``answer``, on that thread.

        Where too much waits already, the error is ``busy``, and it comes at once.
        """

        def guarded() -> None:
            try:
                result: T | RequestError = work()
            except RequestError as error:
                result = error
            except Exception as error:
                log.exception("a journal was not read")
                result = RequestError(ErrorCode.INTERNAL, "journal", f"{type(error).__name__}: {error}")
            answer(result)

        try:
            self._queue.put_nowait(guarded)
        except Full:
            answer(RequestError(ErrorCode.BUSY, "journal", None, "a disk that keeps up"))

    def stop(self, seconds: float) -> None:
        """Write what waits, for at most ``seconds``."""
        try:
            self._queue.put(None, timeout=seconds)
        except Full:
            return
        self._thread.join(seconds)

    # --- on the journal's thread --------------------------------------------------------------------------------------

    def read(self, journal: str) -> Journal:
        """Read one; see `read_journal`."""
        return read_journal(self._path(journal))

    def items(self) -> list[JournalInfo]:
        """All of them, the newest first; at most 200."""
        if self._folder is None:
            return []
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)[:_MOST_LISTED]
        found = [info for path in paths if (info := self._info(path)) is not None]
        self._listed = {key: info for key, info in self._listed.items() if any(info is one for one in found)}
        return found

    def forget(self, journal: str) -> None:
        """Delete one.

        Raises:
            RequestError: ``not_found``; ``busy`` while its stream plays.
        """
        path = self._path(journal)
        if not path.is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "journal", journal, "a journal that is listed")
        if _is_written(path):
            raise RequestError(ErrorCode.BUSY, "journal", journal, "a journal whose stream is over")
        path.unlink(missing_ok=True)
        self._sizes.pop(journal, None)

    def run(self) -> None:
        """The thread's body."""
        while True:
            try:
                job = self._queue.get(timeout=_SYNC_S)
            except Empty:
                self._sync()
                continue
            if job is None:
                break
            job()
            if time.monotonic() - self._synced >= _SYNC_S:
                self._sync()
        for journal in list(self._logs):
            self._close(journal)

    def _put(self, journal: str, job: Callable[[], None]) -> None:
        if journal not in self._live:
            return
        try:
            self._queue.put_nowait(job)
        except Full:
            self._live.discard(journal)
            self._lost.add(journal)
            self._complain(journal, "the disk does not keep up")

    def _begin(self, journal: str, header: Header, recording: Recording | None) -> None:
        path = self._path(journal)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sizes = {each.stem: each.stat().st_size for each in path.parent.glob(f"*{_SUFFIX}")}
            file = path.open("xb", buffering=0)
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._complain(journal, str(error))
            return
        self._logs[journal] = _Log(path, file)
        self._append(journal, MAGIC + header_record(header))
        for content in () if recording is None else recording_records(recording):
            self._append(journal, content)

    def _append(self, journal: str, content: bytes) -> None:
        entry = self._logs.get(journal)
        if entry is None:
            return
        try:
            if not self._make_room(len(content)):
                raise OSError(f"the journals fill their {self._most_bytes >> 20} MB")
            left = memoryview(content)
            while left:
                left = left[entry.file.write(left) or 0 :]
        except OSError as error:
            self._complain(journal, str(error))
            self._close(journal)
            return
        entry.bytes += len(content)
        entry.dirty = True
        self._sizes[journal] = entry.bytes

    def _finish(self, journal: str, end: End) -> None:
        self._append(journal, end_record(end))
        self._close(journal)

    def _close(self, journal: str) -> None:
        entry = self._logs.pop(journal, None)
        if entry is not None:
            self._synchronise(entry)
            entry.file.close()

    def _sync(self) -> None:
        self._synced = time.monotonic()
        while self._lost:
            self._close(self._lost.pop())
        for entry in self._logs.values():
            if entry.dirty:
                self._synchronise(entry)

    def _synchronise(self, entry: _Log) -> None:
        entry.dirty = False
        try:
            os.fsync(entry.file.fileno())
        except OSError as error:
            self._complain(entry.path.stem, str(error))

    def _make_room(self, wanted: int) -> bool:
        """Delete what is oldest until so many bytes fit; False when all that is left is being written."""
        while sum(self._sizes.values()) + wanted > self._most_bytes:
            over = [journal for journal in sorted(self._sizes) if not _is_written(self._path(journal))]
            if not over:
                return False
            self._path(over[0]).unlink(missing_ok=True)
            del self._sizes[over[0]]
        return True

    def _info(self, path: Path) -> JournalInfo | None:
        try:
            size = path.stat().st_size
            written = _is_written(path)
            if not written and (known := self._listed.get((path.stem, size))) is not None:
                return known
            journal = read_journal(path)
        except (OSError, RequestError):
            return None
        header, end = journal.header, journal.end
        info = JournalInfo(
            journal=path.stem,
            kind=str(header.recipe.request.get("type", "")),
            prompt=shorten(str(header.recipe.request.get("prompt", "")), 200),
            seed=header.recipe.seed,
            model=header.recipe.model,
            fingerprint=header.recipe.fingerprint,
            seconds=journal.seconds,
            begins=header.first_frame * header.frame_samples / header.sample_rate,
            state="playing" if written else end.reason if end is not None else "cut_short",
            bytes=size,
        )
        if not written:
            self._listed[path.stem, size] = info
        return info

    def _path(self, journal: str) -> Path:
        if self._folder is None or not _ID.fullmatch(journal):
            raise RequestError(ErrorCode.NOT_FOUND, "journal", journal, "a journal that is listed")
        return self._folder / f"{journal}{_SUFFIX}"

    def _complain(self, journal: str, why: str) -> None:
        self.trouble = f"the journal of a stream ended early: {why}"
        log.warning("the journal of a stream ends here; the stream goes on", journal=journal, error=why)


def _is_written(path: Path) -> bool:
    """Whether an engine writes it at the moment: the lock goes with the process, however that ends."""
    if fcntl is None:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
