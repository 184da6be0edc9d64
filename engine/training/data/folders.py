"""How a folder of data is written: by one run at a time, after one recipe, each file whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from audio_files.locks import try_lock
from protocols.errors import ErrorCode, RequestError

RECIPE_FILE = "recipe.json"

_LOCK_FILE = ".lock"
_NO_ROOM = frozenset(getattr(errno, name) for name in ("ENOSPC", "EFBIG", "EDQUOT") if hasattr(errno, name))


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep other runs from writing to a folder, which is made when it is not there, and to the folders in it.

    The operating system holds the lock and gives it back however the process ends. What writers that were killed have left
    half written is removed.

    Raises:
        RequestError: ``busy`` while another run writes, ``not_allowed`` when the folder cannot be written.
    """
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK_FILE).open("ab")
    with file:
        if not try_lock(file):
            raise RequestError(ErrorCode.BUSY, "folder", str(folder), "a folder that no other run is writing to")
        with written(folder):
            for pattern in (".*.part", "*/.*.part"):
                for left in folder.glob(pattern):
                    left.unlink(missing_ok=True)
        yield


def claim(folder: Path, recipe: Mapping[str, object], allowed: str) -> None:
    """Write down what a folder is made of, or find the same written there.

    Args:
        folder: that is there.
        recipe: what can be written as JSON.
        allowed: said to those who come with another recipe.

    Raises:
        RequestError: ``not_allowed`` for a folder of another recipe, or one that cannot be written.
    """
    path = folder / RECIPE_FILE
    text = json.dumps(dict(recipe), indent=2) + "\n"
    with written(folder):
        if not path.exists():
            write_whole(path, [text.encode()])
        held = path.read_bytes()
    if held != text.encode():
        raise RequestError(ErrorCode.NOT_ALLOWED, "folder", str(folder), allowed)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about writing to a folder into a `RequestError`.

    Raises:
        RequestError: ``too_large`` when there is no room, ``not_allowed`` for everything else.
    """
    try:
        yield
    except OSError as error:
        code = ErrorCode.TOO_LARGE if error.errno in _NO_ROOM else ErrorCode.NOT_ALLOWED
        raise RequestError(code, "folder", str(folder), error.strerror or str(error)) from error


def write_whole(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Give a file its name when all of it is on the disk.

    Raises:
        OSError: as the operating system has it; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
