"""How a finished file gets its name: written under a temporary name, published whole, never over another file."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protocols.errors import ErrorCode, RequestError

LEFTOVER_SECONDS = 86_400.0

# Strict enough that cleaning can never take a file that somebody else made.
_LEFTOVER = re.compile(r"\.take-[0-9a-f]{32}\.(part|claim)")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def create_temporary(folder: Path) -> Path:
    """Create an empty file with a unique temporary name in ``folder``.

    Raises:
        RequestError: about ``folder`` (NOT_FOUND, NOT_ALLOWED, TOO_LARGE when its disk is full).
    """
    path = folder / f".take-{uuid.uuid4().hex}.part"
    try:
        with path.open("xb"):
            return path
    except OSError as error:
        raise folder_error(error, folder) from error


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its final name, in one step and only if that name is free.

    Both names lie in one folder. Of several processes that publish under one name, one wins. Hard links do it where
    the file system has them, a rename on Windows, which refuses a taken name by itself. Elsewhere (exFAT, some network
    shares) the name is claimed first by a file that is created exclusively; that keeps writers of takes apart, not
    other programs.

    Raises:
        FileExistsError: the name is taken; ``temporary`` is as it was.
        OSError: the file system refuses.
    """
    if os.name == "nt":
        temporary.rename(final)
        return
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _publish_by_claim(temporary, final)
    else:
        with suppress(OSError):  # it is published; the second name is a leftover at worst
            temporary.unlink()


@contextmanager
def written_whole(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary file beside ``final``, which gets that name when the ``with`` ends well, and is removed when it does not.

    Args:
        final: its folder is there.
        replace: take the place of a file that has the name already.

    Raises:
        RequestError: NOT_ALLOWED about ``out`` for a name that is taken; about the folder.
    """
    taken = RequestError(
        ErrorCode.NOT_ALLOWED, "out", str(final), "a new file; replace takes the place of one that is there"
    )
    if final.exists() and not replace:
        raise taken
    temporary = create_temporary(final.parent)
    try:
        yield temporary
        sync_to_disk(temporary)
        if replace:
            temporary.replace(final)
        else:
            publish(temporary, final)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        raise folder_error(error, final.parent) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file under another name, then give it its own, in place of one that has it.

    Raises:
        RequestError: about the folder.
    """
    temporary = create_temporary(path.parent)
    try:
        temporary.write_bytes(content)
        sync_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        raise folder_error(error, path.parent) from error
    finally:
        temporary.unlink(missing_ok=True)


def move_whole(source: Path, path: Path) -> None:
    """Move a file in place of one that has the name already; from another disk it is copied first, and whole when it appears.

    Raises:
        RequestError: about the folder that it goes to; the source is as it was.
    """
    try:
        source.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise folder_error(error, path.parent) from error
        _copy_whole(source, path)


def _copy_whole(source: Path, path: Path) -> None:
    temporary = create_temporary(path.parent)
    try:
        shutil.copyfile(source, temporary)
        sync_to_disk(temporary)
        temporary.replace(path)
        source.unlink()
    except OSError as error:
        raise folder_error(error, path.parent) from error
    finally:
        temporary.unlink(missing_ok=True)


def clean_leftovers(folder: Path, *, older_than_seconds: float = LEFTOVER_SECONDS) -> list[Path]:
    """Remove what crashed runs left: files with a temporary name that nobody has written to for a day.

    A take that is still being written keeps its file young. Files that cannot be removed are left.

    Returns:
        The files that were removed.

    Raises:
        RequestError: ``folder`` cannot be listed.
    """
    removed = []
    try:
        leftovers = [path for path in folder.iterdir() if _LEFTOVER.fullmatch(path.name)]
    except OSError as error:
        raise folder_error(error, folder) from error
    oldest = time.time() - older_than_seconds
    for path in leftovers:
        try:
            if path.lstat().st_mtime < oldest:
                path.unlink()
                removed.append(path)
        except OSError:
            continue  # another process was faster, or still holds it
    return removed


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content is on the disk, so that its final name never outlives its content in a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def folder_error(error: OSError, folder: Path) -> RequestError:
    """What a failed operation in a takes folder means to whoever chose the folder."""
    name = str(folder)
    if error.errno in _FULL:
        return RequestError(ErrorCode.TOO_LARGE, "folder", name, f"a disk with room for the take; {error.strerror}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RequestError(ErrorCode.NOT_ALLOWED, "folder", name, "a folder this process may write to")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return RequestError(ErrorCode.NOT_FOUND, "folder", name, "an existing folder")
    return RequestError(ErrorCode.INTERNAL, "folder", name, f"a folder that can be written; {error.strerror or error}")


def _publish_by_claim(temporary: Path, final: Path) -> None:
    digest = hashlib.sha256(final.name.encode()).hexdigest()[:32]
    claim = final.with_name(f".take-{digest}.claim")
    with claim.open("xb"):
        pass
    try:
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
        temporary.replace(final)
    finally:
        claim.unlink(missing_ok=True)
