"""The exchange folder: unique paths for audio that hosts hand over, and cleaning by age and size."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audio_files.publishing import folder_error
from protocols.errors import ErrorCode, RequestError

YOUNG_SECONDS = 600.0
"""What was written or read this lately may still be: it stays, however full the folder is."""

MAX_SUFFIX = 8
UPLOADS = "uploads"
"""Folder in the exchange folder for what came over the network; the engine's alone."""

_SUFFIX = re.compile(rf"[a-z0-9]{{1,{MAX_SUFFIX}}}")
# Strict enough that cleaning can never take a file that somebody else made. Behind the suffix hosts put their own: .part, .asd.
_HANDED = re.compile(r"handed-\d{8}-\d{6}-[0-9a-f]{12}(_[a-z0-9-]{1,80})?(\.[A-Za-z0-9]{1,16}){0,3}")


@dataclass(frozen=True)
class _Handed:
    path: Path
    size: int
    used: float


class ExchangeFolder:
    """Hands out paths and cleans up behind those who used them. Any thread; several processes may share one folder.

    Args:
        folder: is made when it is needed.
        max_bytes: of all files that were handed over.
        max_seconds: how long one is kept after it was last written or read.
    """

    def __init__(self, folder: Path, max_bytes: int, max_seconds: float) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    def fresh(self, suffix: str = "wav", words: str = "") -> Path:
        """A path in the folder at which there is no file, and which nobody else is given.

        Args:
            suffix: of the file, such as ``wav``; a dot before it is left out.
            words: small letters, digits and hyphens to know it by; see `audio_files.takes.slug`.

        Raises:
            RequestError: OUT_OF_RANGE for a suffix of other characters; about ``folder`` when it cannot be made.
        """
        plain = suffix.removeprefix(".").lower()
        if not _SUFFIX.fullmatch(plain):
            allowed = f"1 to {MAX_SUFFIX} letters and digits, such as wav"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "suffix", suffix, allowed)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise folder_error(error, self.folder) from error
        known = f"_{words}" if words else ""
        return self.folder / f"handed-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(6)}{known}.{plain}"

    def clean(self, in_use: Collection[str | os.PathLike[str]] = (), *, now: float | None = None) -> list[Path]:
        """Remove what is too old, and beyond the size what was not used for longest.

        Only plain files that lie in the folder itself and have a name as `fresh` gives them are ever removed; links are not
        followed. What is in use counts as used now. A file that cannot be removed is left.

        Args:
            in_use: files that somebody works with.
            now: seconds since the epoch, for tests.

        Returns:
            The files that were removed.
        """
        now = time.time() if now is None else now
        busy = {_resolved(path) for path in in_use}
        kept: list[_Handed] = []
        removed: list[Path] = []
        for file in self._files():
            if file.path in busy:
                _touch(file.path, now)
                kept.append(_Handed(file.path, file.size, now))
            elif now - file.used > self._max_seconds and _remove(file, removed):
                continue
            else:
                kept.append(file)
        total = sum(file.size for file in kept)
        for file in sorted(kept, key=lambda file: file.used):
            if total <= self._max_bytes or now - file.used < YOUNG_SECONDS:
                break
            if _remove(file, removed):
                total -= file.size
        return removed

    def _files(self) -> list[_Handed]:
        files = []
        with suppress(OSError), os.scandir(self.folder.resolve()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if _HANDED.fullmatch(entry.name) and stat.S_ISREG(found.st_mode):
                        files.append(_Handed(Path(entry.path), found.st_size, max(found.st_mtime, found.st_atime)))
        return files


def note_use(path: Path) -> None:
    """Note that a file was read, if it was handed over: many systems do not note it by themselves."""
    if _HANDED.fullmatch(path.name):
        _touch(path, time.time())


def title_of(path: str) -> str:
    """What a file is called, for what is made from it; empty for one that was handed over, whose name says nothing."""
    file = Path(path)
    return "" if _HANDED.fullmatch(file.name) else file.stem


def _resolved(path: str | os.PathLike[str]) -> Path | None:
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _touch(path: Path, now: float) -> None:
    with suppress(OSError):
        os.utime(path, (now, path.stat().st_mtime), follow_symlinks=os.utime not in os.supports_follow_symlinks)


def _remove(file: _Handed, removed: list[Path]) -> bool:
    try:
        if max(file.path.lstat().st_mtime, 0.0) > file.used:
            return False  # somebody has written to it since the folder was listed
        file.path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # another process holds it
    removed.append(file.path)
    return True
