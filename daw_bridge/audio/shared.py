"""Bytes that two processes see: a mapped temporary file."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

_RAM_DISK = Path("/dev/shm")


class SharedBlock:
    """A zeroed block of memory, made by one process and attached by another through its path.

    It is a mapped file, in memory where the system has a RAM disk. (``multiprocessing.shared_memory`` is no choice:
    up to Python 3.12 a process that attaches a block also destroys it when it exits.)

    Threads: any; the bytes have no lock of their own.
    """

    def __init__(self, path: str, size: int, descriptor: int) -> None:
        self.path = path
        self.size = size
        try:
            self.memory = memoryview(mmap.mmap(descriptor, size))
        finally:
            os.close(descriptor)

    @classmethod
    def create(cls, size: int) -> SharedBlock:
        """Make a block of ``size`` bytes; raises OSError when there is no room anywhere."""
        if _RAM_DISK.is_dir():
            with contextlib.suppress(OSError):  # full, or not ours to write: an ordinary file does as well
                return cls._create_in(_RAM_DISK, size)
        return cls._create_in(None, size)

    @classmethod
    def _create_in(cls, folder: Path | None, size: int) -> SharedBlock:
        descriptor, path = tempfile.mkstemp(prefix="daw-bridge-", dir=folder)
        try:
            os.truncate(descriptor, size)
            # A sparse file on a full RAM disk kills the process at its first write: take the room now or fail now.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.close(descriptor)
            Path(path).unlink()
            raise
        return cls(path, size, descriptor)

    @classmethod
    def attach(cls, path: str, size: int) -> SharedBlock:
        """Map a block that another process made; raises OSError when it is gone."""
        return cls(path, size, os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)))

    def unlink(self) -> None:
        """Remove the name; the bytes live until both sides have let go. Safe to call twice."""
        # It may be gone already, or be refused on a system that keeps mapped files: then the other side removes it.
        with contextlib.suppress(OSError):
            Path(self.path).unlink()
