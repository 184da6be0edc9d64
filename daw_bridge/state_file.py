"""What the bridge remembers between its runs: one JSON file, a section for each part of the bridge that has something to keep."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

log = structlog.get_logger()

MAX_FILE_BYTES = 16_000_000
"""A larger file is not ours."""

_GATHER_S = 0.2  # what is put within this time is written once
_CLOSE_S = 2.0

Sections = dict[str, msgspec.Raw]


class StateFile:
    """Sections of plain values, kept on disk. The file is read once, when this is made.

    `put` costs the time to encode the value; a thread of its own writes the file beside its old one and puts it in its place, so
    that after a crash one of both is there, whole. Several puts in a fifth of a second are one write. Sections that another process
    has put into the file meanwhile stay. A file that cannot be read is moved aside, to a name with ``broken`` in it. A disk that
    refuses is told in the log, and tried again at the next `put` and at `close`.

    Threads: all of it is for one thread, which may be any.

    Args:
        path: the file; its folder is made when needed. None keeps nothing beyond this run.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._closing = False
        self._unwritten: Sections = {}
        self._thread: threading.Thread | None = None
        self._sections: Sections = (_read(path) if path is not None else None) or {}

    @property
    def sections(self) -> list[str]:
        """The names under which something was put."""
        return list(self._sections)

    def get(self, section: str) -> dict[str, Any]:
        """What was last put under this name, in this run or an earlier one; empty when nothing was."""
        kept: dict[str, Any] = msgspec.json.decode(self._sections.get(section, b"{}"))
        return kept

    def put(self, section: str, value: dict[str, Any]) -> None:
        """Keep a value in place of the section's earlier one. It may hold what JSON can: texts, numbers, lists, dicts, None."""
        encoded = msgspec.Raw(msgspec.json.encode(value))
        if bytes(self._sections.get(section, b"")) == bytes(encoded):
            return
        with self._changed:
            self._sections[section] = encoded
            self._unwritten[section] = encoded
            self._changed.notify()
        if self._thread is None and self.path is not None:
            self._thread = threading.Thread(target=self._write_on, args=(self.path,), name="state-file", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what is not written yet; a disk that hangs is left after two seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _write_on(self, path: Path) -> None:
        """The writing thread."""
        while True:
            with self._changed:
                while not self._unwritten and not self._closing:
                    self._changed.wait()
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, _GATHER_S)
                taken, self._unwritten = self._unwritten, {}
                everything, closing = dict(self._sections), self._closing
            if taken:
                try:
                    there = _read(path)
                    _write(path, everything if there is None else {**there, **taken})
                except OSError as error:
                    log.warning("state not kept", path=str(path), reason=error.strerror)
                    with self._changed:
                        self._unwritten = {**taken, **self._unwritten}
                        if not closing:
                            self._changed.wait()
            if closing:
                return


def _read(path: Path) -> Sections | None:
    """The file's sections; None where there is none, or none that can be read: that one is moved aside."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
        sections: Sections = msgspec.json.decode(content, type=Sections)
        for raw in sections.values():
            msgspec.json.decode(raw, type=dict[str, Any])
        # A copy, or each section would keep the whole file in memory.
        return {name: raw.copy() for name, raw in sections.items()}
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        aside = path.with_name(f"{path.stem}.broken-{uuid.uuid4().hex[:8]}{path.suffix}")
        with suppress(OSError):
            path.replace(aside)
        log.warning("state cannot be read; it begins anew", path=str(path), kept=str(aside), reason=str(error))
    except OSError as error:
        log.warning("state cannot be read; it begins anew", path=str(path), reason=error.strerror)
    return None


def _write(path: Path, sections: Sections) -> None:
    """Put the file in its place at once and whole."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(sections), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
