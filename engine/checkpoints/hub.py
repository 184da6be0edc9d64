"""Models of the Hugging Face hub on this disk: which of their files are needed, and where they lie once they are downloaded.

Loading looks here first, and asks the network only for what is not there. Downloads of others count: what AudioCraft, transformers
or `hf download` have fetched is found in the same cache, and in the one that ``AUDIOCRAFT_CACHE_DIR`` names. No torch here.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.checkpoints import licences
from protocols.catalogue import ALIASES, EVERYTHING, CatalogueEntry
from protocols.errors import ErrorCode, RequestError

TRANSFORMERS_FILES = ("*.json", "spiece.model", "model*.safetensors", "codec/model.safetensors")
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin", "checkpoint.th")

_INDEX = "*.index.json"
_WEIGHTS = (".safetensors", ".bin", ".th", ".pt", ".pth")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_OTHER_NAMES = {moved: old for old, moved in ALIASES.items()}


def choose_files(names: Iterable[str]) -> list[str]:
    """Which files of a repository, or of a folder, make a model that can be loaded; none where it holds no such model.

    Transformers' layout comes before AudioCraft's where both are there, and safetensors before pickles.
    """
    names = sorted(names)
    if "config.json" in names:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):
            if any("/" not in name and fnmatch.fnmatch(name, weights) for name in names):
                return matching(names, (*TRANSFORMERS_FILES, weights))
    if any(name in names for name in AUDIOCRAFT_FILES):
        return matching(names, AUDIOCRAFT_FILES)
    return []


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that any of the patterns fits, as the hub's client reads them: ``*`` goes on beyond slashes."""
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def entries_of(hub_id: str) -> list[CatalogueEntry]:
    """What the catalogue says of a repository; several entries may come out of one, and none may know it."""
    hub_id = ALIASES.get(hub_id, hub_id)
    return [entry for entry in EVERYTHING.values() if entry.hub_id == hub_id]


def located(hub_id: str, patterns: Sequence[str] = ()) -> Path | None:
    """The folder of a repository of which all that is needed is on this disk; None where it is not.

    Args:
        hub_id: ``owner/name``, or a name that the hub has moved, such as ``t5-base``.
        patterns: of the files that are needed; empty for those of a model, see `choose_files`.
    """
    for cache in caches():
        for name in names_of(hub_id):
            if (folder := _snapshot(cache, name)) is not None and _is_whole(folder, patterns):
                return folder
    return None


def latest_snapshot(hub_id: str) -> Path | None:
    """The folder of what was downloaded of a repository, whole or not; None where nothing was."""
    folders = (_snapshot(cache, name) for cache in caches() for name in names_of(hub_id))
    return next((folder for folder in folders if folder is not None), None)


def names_of(hub_id: str) -> list[str]:
    """Under which names a repository may lie in a cache, this one first: the hub has moved some."""
    others = {ALIASES.get(hub_id, hub_id), _OTHER_NAMES.get(hub_id, hub_id)} - {hub_id}
    return [hub_id, *sorted(others)]


def caches() -> list[Path]:
    """The folders in which downloads are looked for; new ones go into the first."""
    from huggingface_hub import constants

    folders = [Path(constants.HF_HUB_CACHE).expanduser()]
    if other := os.environ.get("AUDIOCRAFT_CACHE_DIR"):
        folders.append(Path(other).expanduser())
    return folders


def others_on_disk() -> list[str]:
    """The repositories on this disk that are not in the catalogue and hold a model that can be loaded."""
    found = set()
    for cache in caches():
        for folder in cache.glob("models--*--*"):
            hub_id = folder.name.removeprefix("models--").replace("--", "/", 1)
            snapshot = _snapshot(cache, hub_id)
            if snapshot is not None and not entries_of(hub_id) and choose_files(files_in(snapshot)):
                found.add(hub_id)
    return sorted(found)


def is_hub_id(name: str) -> bool:
    """Whether a text is written like ``owner/name``."""
    return _HUB_ID.fullmatch(name) is not None


def bytes_on_disk(cache: Path, hub_id: str, patterns: Sequence[str] | None = None) -> int:
    """What a cache keeps of a repository, in bytes; with ``patterns``, of the files that these fit, in all revisions."""
    repository = repository_folder(cache, hub_id)
    if patterns is None:
        kept = (path for path in repository.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in kept)
    files = {}
    for snapshot in (repository / "snapshots").glob("*"):
        for name in matching(files_in(snapshot), patterns):
            path = (snapshot / name).resolve()
            files[path] = path.stat().st_size
    return sum(files.values())


def repository_folder(cache: Path, hub_id: str) -> Path:
    """Where a cache keeps a repository."""
    return cache / ("models--" + hub_id.replace("/", "--"))


def obtain(hub_id: str, patterns: Sequence[str] = ()) -> Path:
    """The folder of a repository whose files loading needs: from this disk, or downloaded where that was agreed to before.

    Raises:
        RequestError: ``not_downloaded`` where its licence was not accepted, with the command that downloads it; or as `fetch`.
    """
    if (folder := located(hub_id, patterns)) is not None:
        return folder
    from engine.checkpoints.fetching import fetch, log_progress

    if not may_fetch(hub_id):
        raise not_downloaded(hub_id, patterns)
    return fetch(hub_id, patterns, progress=log_progress(hub_id))


def may_fetch(hub_id: str) -> bool:
    """Whether a repository may be downloaded without asking: its licence is permissive, or was accepted before."""
    entries = entries_of(hub_id)
    return licences.accepted(hub_id, entries[0].licence if entries else "")


def not_downloaded(hub_id: str, patterns: Sequence[str] = ()) -> RequestError:
    """The refusal of a model that is not on this disk; says what downloads it, how large it is and under which licence."""
    known = entries_of(hub_id)
    entry = next((entry for entry in known if set(patterns) & set(entry.patterns)), known[0] if known else None)
    name = entry.name if entry is not None and entry.kind != "part" else hub_id
    facts = [f"about {entry.download_mb / 1000:.1f} GB"] if entry is not None and entry.download_mb else []
    facts += [entry.licence] if entry is not None and entry.licence else ["the hub tells its licence"]
    allowed = f"a model that is on this disk; to download it ({', '.join(facts)}): daw-bridge models download {name}"
    return RequestError(ErrorCode.NOT_DOWNLOADED, "model", name, allowed)


def _snapshot(cache: Path, hub_id: str) -> Path | None:
    """The folder of the revision that was downloaded last, whole or not."""
    repository = repository_folder(cache, hub_id)
    try:
        commit = (repository / "refs" / "main").read_text("utf-8").strip()
        folder = repository / "snapshots" / commit
        return folder if commit and "/" not in commit and folder.is_dir() else None
    except (OSError, ValueError):
        return None


def files_in(folder: Path) -> list[str]:
    """The files of a snapshot that are really there: a link may point to what was deleted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_whole(folder: Path, patterns: Sequence[str]) -> bool:
    there, listed = files_in(folder), _listed(folder)
    if listed is not None:
        # What the repository has was written down with the download: nothing of what is needed may be missing.
        choices = (
            [matching(listed, patterns)] if patterns else [choose_files(listed), matching(listed, AUDIOCRAFT_FILES)]
        )
        return any(choice and set(choice) <= set(there) for choice in choices)
    found = matching(there, patterns) if patterns else choose_files(there)
    return any(Path(name).suffix in _WEIGHTS for name in found) and not _missing_shards(folder, there)


def _listed(folder: Path) -> list[str] | None:
    """Which files the repository has, as the hub's client wrote it down; None where it did not."""
    path = folder.parents[1] / "trees" / f"{folder.name}.json"
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return sorted(files) if isinstance(files, dict) else None


def _missing_shards(folder: Path, there: Sequence[str]) -> bool:
    """Whether an index names files of weights that are not there."""
    for name in matching(there, (_INDEX,)):
        if Path(name).name.startswith("pytorch_model") and matching(there, ("model*.safetensors",)):
            continue
        try:
            shards = json.loads((folder / name).read_text("utf-8"))["weight_map"].values()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return True
        parent = Path(name).parent
        if any((parent / str(shard)).as_posix() not in there for shard in set(shards)):
            return True
    return False
