"""Downloads looked after: what a checkpoint's files point to, whether files are as the hub has them, and deleting them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audio_files.locks import try_lock
from engine.checkpoints import hub
from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.fetching import LOCK_FILE, git_hash_of, sha256_of
from engine.checkpoints.footprint import directory_of
from protocols.catalogue import ALIASES, EVERYTHING, CatalogueEntry
from protocols.errors import ErrorCode, RequestError

Verdict = Literal["ok", "wrong", "missing", "unknown"]

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CheckedFile:
    """A file that was compared with what the hub says of it.

    Attributes:
        hub_id: its repository.
        name: there.
        verdict: ok; wrong: other content; missing; unknown: nothing on this disk says what it should be.
        path: where it is, or would be.
    """

    hub_id: str
    name: str
    verdict: Verdict
    path: Path


def pointed_to(folder: Path) -> list[str]:
    """What else on the hub the files of a checkpoint in AudioCraft's layout name: its codec and its text encoder.

    What cannot be read names nothing: loading says what is wrong with it.
    """
    found = []
    codec, lm = folder / "compression_state_dict.bin", folder / "state_dict.bin"
    try:
        if codec.is_file() and isinstance(name := directory_of(codec).get("pretrained"), str):
            found.append(name)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    try:
        if lm.is_file():
            conditioners = Config.read(directory_of(lm)["xp.cfg"]).section("conditioners", optional=True)
            for key in conditioners:
                t5 = conditioners.section(key).section("t5", optional=True)
                found.append(t5.text("name", ""))
    except (OSError, ValueError, LookupError, TypeError, RequestError):
        pass
    return [ALIASES.get(name, name) for name in found if hub.is_hub_id(ALIASES.get(name, name))]


def check_files(entry: CatalogueEntry, tell: Callable[[str], None] = lambda name: None) -> Iterator[CheckedFile]:
    """Compare the files of one repository with their checksums, which were written down with the download. Reads all of them.

    Args:
        entry: of the repository.
        tell: hears which file is being read.

    Raises:
        RequestError: ``not_downloaded``: nothing of it is here.
    """
    assert entry.hub_id is not None
    folder = hub.latest_snapshot(entry.hub_id)
    if folder is None:
        raise hub.not_downloaded(entry.hub_id)
    hub_id, listed = folder_name(folder), _checksums(folder)
    there = hub.files_in(folder)
    names = listed or dict.fromkeys(there, "")
    wanted = hub.matching(names, entry.patterns) if entry.patterns else hub.choose_files(names)
    other = hub.choose_files(there)
    if not entry.patterns and other and set(other) <= set(hub.AUDIOCRAFT_FILES):
        wanted = other  # AudioCraft's own download, which leaves the other layout out
    for name in wanted:
        path = folder / name
        tell(name)
        if not path.is_file():
            yield CheckedFile(hub_id, name, "missing", path)
            continue
        expected = names.get(name) or _checksum_in_name(path)
        if not expected:
            yield CheckedFile(hub_id, name, "unknown", path)
            continue
        actual = sha256_of(path) if _SHA256.fullmatch(expected) else git_hash_of(path)
        yield CheckedFile(hub_id, name, "ok" if actual == expected else "wrong", path)


def folder_name(snapshot: Path) -> str:
    """The repository that a snapshot is of."""
    return snapshot.parents[1].name.removeprefix("models--").replace("--", "/", 1)


def discard(path: Path) -> None:
    """Delete a downloaded file, link and content."""
    content = path.resolve()
    path.unlink(missing_ok=True)
    content.unlink(missing_ok=True)


def remove(entry: CatalogueEntry) -> int:
    """Delete what was downloaded of a model, and return how many bytes that freed. What it shares with others stays.

    Raises:
        RequestError: ``not_downloaded``; ``busy`` while it is being downloaded; ``not_allowed`` where it cannot be deleted, or
            is no download.
    """
    if entry.hub_id is None:
        allowed = "a model that was downloaded; this one comes with the engine, or is made on this machine"
        raise RequestError(ErrorCode.NOT_ALLOWED, "model", entry.name, allowed)
    freed = 0
    for cache in hub.caches():
        for hub_id in hub.names_of(entry.hub_id):
            folder = hub.repository_folder(cache, hub_id)
            if folder.is_dir():
                freed += _remove(entry, cache, hub_id, folder)
    if not freed:
        raise hub.not_downloaded(entry.hub_id)
    return freed


def needed_by(entry: CatalogueEntry) -> list[str]:
    """Which models that are on this disk need this one beside them."""
    return [
        other.name
        for other in EVERYTHING.values()
        if entry.name in other.needs and other.hub_id is not None and hub.latest_snapshot(other.hub_id) is not None
    ]


def _remove(entry: CatalogueEntry, cache: Path, hub_id: str, folder: Path) -> int:
    try:
        with (folder / LOCK_FILE).open("wb") as lock:
            if not try_lock(lock):
                raise RequestError(ErrorCode.BUSY, "model", entry.name, "it is being downloaded at the moment")
            before = hub.bytes_on_disk(cache, hub_id)
            if entry.patterns and len(hub.entries_of(hub_id)) > 1:
                for snapshot in (folder / "snapshots").glob("*"):
                    for name in hub.matching(hub.files_in(snapshot), entry.patterns):
                        discard(snapshot / name)
                return before - hub.bytes_on_disk(cache, hub_id)
        shutil.rmtree(folder)
        shutil.rmtree(cache / ".locks" / folder.name, ignore_errors=True)
    except OSError as error:
        allowed = f"a download that can be deleted: {error.strerror or error}"
        raise RequestError(ErrorCode.NOT_ALLOWED, "model", entry.name, allowed) from error
    return before


def _checksums(folder: Path) -> dict[str, str]:
    """What the files of a snapshot should be, as the hub's client wrote it down: SHA-256, or Git's name for small ones."""
    path = folder.parents[1] / "trees" / f"{folder.name}.json"
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["files"]
        return {name: str(facts.get("lfs_sha256") or facts["blob_id"]) for name, facts in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _checksum_in_name(path: Path) -> str:
    """The cache names contents by their checksums, and links to them."""
    name = path.resolve().name
    return name if path.is_symlink() and (_SHA256.fullmatch(name) or _GIT.fullmatch(name)) else ""
