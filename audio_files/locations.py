"""Which files a client may name: one gate for every path that arrives over a socket."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePath

from protocols.errors import ErrorCode, RequestError


def locate_file(
    path: str | os.PathLike[str], allowed_folders: Sequence[str | os.PathLike[str]] | None, *, field: str = "path"
) -> Path:
    """Resolve a path that a client sent and check that it is a readable file inside an allowed folder.

    Symbolic links and ``..`` are resolved first, on both sides, so neither leads out of an allowed folder. A relative
    path is taken from the working directory; ``~`` is not expanded. The folder check comes before any other, so that
    the answer for a path outside tells nothing about what lies there.

    Args:
        path: the file, as the client wrote it.
        allowed_folders: folders whose files, at any depth, may be read. An empty sequence allows nothing; None
            allows every file this process may read, which is right only where the client is trusted.
        field: the parameter's name in the errors.

    Returns:
        The absolute path, free of links.

    Raises:
        RequestError: MISSING (empty), BAD_TYPE (not a path, or a folder or device instead of a file), MALFORMED
            (characters no file name has), NOT_ALLOWED (outside, or no permission), NOT_FOUND.
    """
    text = _as_text(path, field)
    try:
        resolved = Path(text).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        raise RequestError(ErrorCode.NOT_FOUND, field, text, "a path that leads to a file") from error
    except ValueError as error:
        raise RequestError(ErrorCode.MALFORMED, field, text, "a path of ordinary characters") from error
    if allowed_folders is not None and not any(is_inside(resolved, folder) for folder in allowed_folders):
        folders = ", ".join(os.fspath(folder) for folder in allowed_folders)
        raise RequestError(ErrorCode.NOT_ALLOWED, field, text, f"a file inside: {folders}" if folders else "no file")
    try:
        mode = resolved.stat().st_mode
        if stat.S_ISDIR(mode):
            raise RequestError(ErrorCode.BAD_TYPE, field, text, "a file; this is a folder")
        # A pipe or a device would block the reader, perhaps for ever.
        if not stat.S_ISREG(mode):
            raise RequestError(ErrorCode.BAD_TYPE, field, text, "a file; this is a pipe or a device")
        with resolved.open("rb"):
            pass
    except OSError as error:
        raise _unreadable(error, field, text) from error
    return resolved


def lies_inside(path: PurePath, folder: PurePath) -> bool:
    """Whether ``path`` is ``folder`` or lies under it, both already resolved, by the rules of their system's paths."""
    return path.is_relative_to(folder)


def is_inside(path: Path, folder: str | os.PathLike[str]) -> bool:
    """Whether a path that is resolved already is a folder or lies under it, by whatever name the folder is called."""
    try:
        root = Path(folder).resolve()
        if lies_inside(path, root) or not root.is_dir():
            return lies_inside(path, root)
        # On a file system that ignores case the same folder has several spellings, which resolving keeps (macOS).
        return any(parent.exists() and parent.samefile(root) for parent in path.parents)
    except (OSError, RuntimeError, ValueError):
        return False


def _as_text(path: object, field: str) -> str:
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError as error:
        raise RequestError(ErrorCode.BAD_TYPE, field, path, "a path, as text") from error
    if not isinstance(text, str):
        raise RequestError(ErrorCode.BAD_TYPE, field, path, "a path, as text")
    if not text.strip():
        raise RequestError(ErrorCode.MISSING, field, allowed="the path of a file")
    return text


def _unreadable(error: OSError, field: str, text: str) -> RequestError:
    if isinstance(error, PermissionError):
        return RequestError(ErrorCode.NOT_ALLOWED, field, text, "a file this process has permission to read")
    if error.errno == errno.ENAMETOOLONG:
        return RequestError(ErrorCode.NOT_FOUND, field, text, "a path this system can hold")
    return RequestError(ErrorCode.NOT_FOUND, field, text, "an existing file")
