"""Which licences of models the user has accepted, remembered in the user's data folder."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import platformdirs

from protocols.catalogue import PERMISSIVE
from protocols.errors import ErrorCode, RequestError
from protocols.settings import APP

_SPELLINGS = {name.lower(): name for name in PERMISSIVE} | {"cc-by-nc-4.0": "CC-BY-NC-4.0"}


def licences_path() -> Path:
    """The file that remembers."""
    return Path(platformdirs.user_data_path(APP, appauthor=False)) / "licences.json"


def spelt(licence: str) -> str:
    """A licence as the catalogue writes it; the hub writes it in small letters."""
    return _SPELLINGS.get(licence.strip().lower(), licence.strip())


def accepted(hub_id: str, licence: str) -> bool:
    """Whether a repository may be used: its licence asks for nothing, or was accepted, for this repository or for another.

    Args:
        hub_id: ``owner/name``.
        licence: empty where it is not known: then only an acceptance for this very repository counts.
    """
    licence = spelt(licence)
    if licence in PERMISSIVE:
        return True
    known = _read()
    return hub_id in known["models"] or (bool(licence) and licence in known["licences"])


def accept(hub_id: str, licence: str) -> None:
    """Remember that the user has accepted the licence of a repository.

    Raises:
        RequestError: ``not_allowed``: it cannot be written down.
    """
    known, licence = _read(), spelt(licence)
    now = time.strftime("%Y-%m-%d", time.gmtime())
    known["models"][hub_id] = {"licence": licence, "accepted": now}
    if licence:
        known["licences"].setdefault(licence, now)
    path = licences_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=2)
        Path(name).replace(path)
    except OSError as error:
        allowed = f"a folder that can be written: {error.strerror}"
        raise RequestError(ErrorCode.NOT_ALLOWED, "licence", str(path), allowed) from error


def _read() -> dict[str, dict[str, Any]]:
    """What is remembered; nothing where the file is missing or damaged: then the user is asked once more."""
    try:
        content = json.loads(licences_path().read_text("utf-8"))
    except (OSError, ValueError):
        content = {}
    parts = {key: content.get(key) if isinstance(content, dict) else None for key in ("models", "licences")}
    return {key: part if isinstance(part, dict) else {} for key, part in parts.items()}
