"""Sets for the bridge's service: everything that it remembers, in a file for each, so that it can be had again by name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from audio_files.takes import slug
from daw_bridge.scenes.keeps import Keeper
from daw_bridge.state_file import MAX_FILE_BYTES, StateFile
from protocols.bridge_messages import (
    MAX_SETS,
    ForgetSet,
    KeepSet,
    OpenSet,
    SetInfo,
    SetList,
    SetOpened,
    SetRequest,
    Sets,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Reply
from protocols.osc.front import Asker

log = structlog.get_logger()

_ABOUT = "set"  # the section that says when it was kept
_SUFFIX = ".json"


class SetHost(Protocol):
    """What sets need of the bridge."""

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


class SetDesk:
    """Keeps and opens sets. For the loop's thread; files are read and written beside it.

    Args:
        folder: of the files; None keeps none.
        keeper: what is kept.
        host: the bridge.
    """

    requests = SetRequest

    def __init__(self, folder: Path | None, keeper: Keeper, host: SetHost) -> None:
        self._folder = folder
        self._keeper = keeper
        self._host = host

    def handle(self, request: SetRequest, asker: Asker) -> Reply | None:
        """Carry a request out; it is answered later.

        Raises:
            RequestError: EMPTY without a name; UNSUPPORTED where the bridge keeps nothing.
        """
        if self._folder is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "files.state", "none", "a bridge that keeps its state on disk")
        folder, name = self._folder, str(getattr(request, "name", "a set"))
        if not name.strip():
            raise RequestError(ErrorCode.EMPTY, "name", name, "a name of your choice")
        match request:
            case KeepSet():
                state = self._keeper.state()
                self._host.in_background(lambda: _keep(_path(folder, name), name, state), asker, lambda _: Done())
            case OpenSet():
                self._host.in_background(lambda: _read(folder, name), asker, self._opened)
            case ForgetSet():
                self._host.in_background(lambda: _found(folder, name).unlink(), asker, lambda _: Done())
            case Sets():
                self._host.in_background(lambda: _list(folder), asker, lambda items: SetList(items=items))
        return None

    def pump(self) -> None:
        """Called every few milliseconds: write what the bridge remembers."""
        self._keeper.pump()

    def close(self) -> None:
        """Write it for the last time."""
        self._keeper.pump()

    def _opened(self, state: dict[str, dict[str, Any]]) -> SetOpened:
        taken, refused = self._keeper.restore(state)
        return SetOpened(parts=", ".join(taken), note="; ".join(refused))


def _path(folder: Path, name: str) -> Path:
    """The file of a set: a name that every system can spell, and that no other set has."""
    return folder / f"{slug(name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}{_SUFFIX}"


def _keep(path: Path, name: str, state: dict[str, dict[str, Any]]) -> None:
    if not path.exists() and len(list(path.parent.glob(f"*{_SUFFIX}"))) >= MAX_SETS:
        raise RequestError(ErrorCode.TOO_LONG, "name", name, f"at most {MAX_SETS} sets")
    size = len(msgspec.json.format(msgspec.json.encode(state), indent=2))
    if size > MAX_FILE_BYTES - 4096:
        raise RequestError(ErrorCode.TOO_LARGE, "name", f"{size} bytes", f"a set of at most {MAX_FILE_BYTES} bytes")
    part = path.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)
        file = StateFile(part)
        for section, value in {_ABOUT: {"name": name, "kept": int(time.time())}, **state}.items():
            file.put(section, value)
        file.close()
        part.replace(path)
    except OSError as error:
        raise RequestError(
            ErrorCode.NOT_ALLOWED, "files.state", str(path.parent), f"a folder that can be written to: {error.strerror}"
        ) from None


def _read(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    sections = _sections(_found(folder, name))
    if sections.pop(_ABOUT, None) is None:
        raise RequestError(ErrorCode.MALFORMED, "name", name, "a set that can be read; its file was moved aside")
    return sections


def _found(folder: Path, name: str) -> Path:
    path = _path(folder, name)
    if not path.is_file():
        there = ", ".join(item.name for item in _list(folder))
        raise RequestError(ErrorCode.NOT_FOUND, "name", name, there or "a set; there are none")
    return path


def _list(folder: Path) -> list[SetInfo]:
    items = []
    for path in list(folder.glob(f"*{_SUFFIX}"))[:MAX_SETS]:
        sections = _sections(path)
        about = sections.pop(_ABOUT, {})
        name, kept = about.get("name"), about.get("kept")
        if isinstance(name, str) and isinstance(kept, int):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(kept))
            items.append(SetInfo(name=name, kept=when, parts=", ".join(sections), bytes=path.stat().st_size))
    return sorted(items, key=lambda item: item.name)


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    file = StateFile(path)
    return {section: file.get(section) for section in file.sections}
