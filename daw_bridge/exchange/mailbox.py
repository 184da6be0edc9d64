"""The folders of the file queue: numbered files of whole OSC packets, each under its final name only when it is whole.

``in/<client>-<n>.osc`` is what a client says, ``out/<client>-<n>.osc`` what it is answered. Nothing else in these folders is read,
followed or removed: neither links nor folders, nor files of any other name.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from audio_files.locks import try_lock
from protocols.errors import ErrorCode, RequestError

MAX_FILE = 256 * 1024
"""Largest file that is read or written, in bytes."""
MAX_LISTED = 4096
"""Most entries of a folder that are looked at in one go."""
PART_SECONDS = 600.0
"""A file that a client has not finished for this long is a leftover."""

_NAME = re.compile(r"([a-z0-9]{4,40})-([1-9][0-9]{0,8})\.(osc|part)")
_NO_FOLLOWING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class _Found:
    """A file of the queue by its name."""

    path: Path
    client: str
    number: int
    whole: bool


class Mailbox:
    """One bridge's file queue on disk. For one thread.

    Args:
        folder: holds ``in`` and ``out``, a lock, and the file ``bridge`` that tells clients which run of the bridge serves them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming, self.outgoing = folder / "in", folder / "out"
        self._lock: BinaryIO | None = None

    def open(self) -> None:
        """Make the folders, take them for this process, and drop what an earlier run left.

        Raises:
            RequestError: BUSY when another bridge serves them; NOT_ALLOWED when one of them is a link or cannot be written.
        """
        try:
            for folder in (self.folder, self.incoming, self.outgoing):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if folder.is_symlink():
                    raise RequestError(
                        ErrorCode.NOT_ALLOWED, "files.exchange", str(folder), "a folder, not a link to one"
                    )
            lock = (self.folder / "lock").open("ab")
            if not try_lock(lock):
                lock.close()
                raise RequestError(
                    ErrorCode.BUSY, "files.exchange", str(self.folder), "one bridge for each exchange folder"
                )
            self._lock = lock
            for found in (*self._list(self.incoming), *self._list(self.outgoing)):
                self._remove(found.path)
            self._write(self.folder / "bridge", f"{secrets.token_hex(8)}\n".encode())
        except OSError as error:
            self.close()
            allowed = f"a folder this process may write to; {error.strerror or error}"
            raise RequestError(ErrorCode.NOT_ALLOWED, "files.exchange", str(self.folder), allowed) from None

    def close(self) -> None:
        """Let another bridge serve the folders. Answers that were not fetched stay until then."""
        if self._lock is not None:
            self._remove(self.folder / "bridge")
            self._lock.close()
            self._lock = None

    def waiting(self) -> dict[str, list[int]]:
        """The numbers of the files that wait, ascending, by client. Unfinished files of clients that are gone are removed.

        Raises:
            OSError: the folder is gone.
        """
        numbers: dict[str, list[int]] = {}
        for found in self._list(self.incoming):
            if found.whole:
                numbers.setdefault(found.client, []).append(found.number)
            elif self._age(found.path) > PART_SECONDS:
                self._remove(found.path)
        return {client: sorted(found) for client, found in numbers.items()}

    def take(self, client: str, number: int) -> bytes | None:
        """Read a file that waits, and remove it; None when it cannot be read (yet).

        Raises:
            RequestError: TOO_LARGE; the file is removed.
        """
        path = self._path(self.incoming, client, number)
        try:
            handle = os.open(path, os.O_RDONLY | _NO_FOLLOWING)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            content = file.read(MAX_FILE + 1)
        if not self._remove(path):
            return None  # it would be carried out again and again
        if len(content) > MAX_FILE:
            raise RequestError(ErrorCode.TOO_LARGE, "file", path.name, f"at most {MAX_FILE} bytes")
        return content

    def put(self, client: str, number: int, content: bytes) -> None:
        """Write an answer, and then give it its name.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        self._write(self._path(self.outgoing, client, number), content)

    def is_fetched(self, client: str, number: int) -> bool:
        """Whether a client has read an answer and removed it."""
        return not os.path.lexists(self._path(self.outgoing, client, number))

    def drop(self, client: str) -> None:
        """Remove what is left of a client."""
        self._drop(self.incoming, client)
        self._drop(self.outgoing, client)

    def drop_answers(self, client: str) -> None:
        """Remove the answers that a client has not fetched."""
        self._drop(self.outgoing, client)

    def _drop(self, folder: Path, client: str) -> None:
        with suppress(OSError):
            for found in self._list(folder):
                if found.client == client:
                    self._remove(found.path)

    @staticmethod
    def _path(folder: Path, client: str, number: int) -> Path:
        return folder / f"{client}-{number}.osc"

    @staticmethod
    def _list(folder: Path) -> list[_Found]:
        """The queue's own files in a folder: plain ones, by their names."""
        files = []
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_LISTED:
                    break
                name = _NAME.fullmatch(entry.name)
                if name is not None and entry.is_file(follow_symlinks=False):
                    files.append(_Found(Path(entry.path), name[1], int(name[2]), name[3] == "osc"))
        return files

    @staticmethod
    def _age(path: Path) -> float:
        try:
            return time.time() - path.lstat().st_mtime
        except OSError:
            return 0.0

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        with suppress(FileNotFoundError):
            part.unlink()  # never written through: it may be a link
        try:
            with part.open("xb") as file:
                file.write(content)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    @staticmethod
    def _remove(path: Path) -> bool:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return False
        return True
