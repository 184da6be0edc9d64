"""The models that have a name, and what else a model may be called. Their facts are in `protocols.catalogue`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints import hub
from engine.checkpoints.plugins import MODELS as MODEL_PLUGINS
from engine.checkpoints.plugins import Plugin, find_model, installed
from protocols.catalogue import EVERYTHING, MODELS, POCKET, POCKET_MADE, CatalogueEntry
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelStatus

__all__ = ["CATALOGUE", "PACKAGED", "POCKET", "CatalogueEntry", "ModelSource", "find_source", "pocket_entry"]

PACKAGED = Path(__file__).resolve().parents[1] / POCKET
"""Where the pocket model is when it comes with the engine; see `engine.checkpoints.own_layout`."""


def pocket_entry(folder: Path = PACKAGED) -> CatalogueEntry:
    """The pocket model as it is packaged in ``folder``; where there is none, the one with random weights that is made instead.

    A packaged model that is damaged has an entry too, which says less: what is wrong with it is told when it is loaded.
    """
    path = folder / "config.json"
    status: ModelStatus
    if not path.is_file():
        return POCKET_MADE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        status = "trained" if config["daw_bridge"].get("status") == "trained" else "preview"
        parameters = _lm_parameters(config["decoder"])
        window = float(config["daw_bridge"].get("window_seconds", POCKET_MADE.window))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        status, parameters, window = "untrained", 0, POCKET_MADE.window
    return CatalogueEntry(
        name=POCKET,
        hub_id=None,
        licence="MIT",
        lm_parameters=parameters,
        channels=1,
        status=status,
        about="our own model, for any computer: 32 kHz mono, words and score; needs no download",
        folder=folder,
        layout="daw-bridge",
        window=window,
        hears=("text", "score"),
    )


def _lm_parameters(decoder: dict[str, Any]) -> int:
    """The size of an LM of this shape, less its norms."""
    dim, tables = decoder["hidden_size"], decoder["num_codebooks"] * (2 * decoder["vocab_size"] + 1)
    return int(decoder["num_hidden_layers"] * (8 * dim + 2 * decoder["ffn_dim"]) * dim + tables * dim)


CATALOGUE: dict[str, CatalogueEntry] = {**MODELS, POCKET: pocket_entry()}
"""What can be loaded by name, to make music or sounds."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: one of a folder, a hub id, a plug-in, or none of them for a pocket model that has to be made."""

    name: str
    folder: Path | None = None
    hub_id: str | None = None
    plugin: Plugin | None = None


def find_source(name: str) -> ModelSource:
    """Tell what a model's name means: an entry of the catalogue, a model of another distribution (options may follow its name), a
    local folder, or ``owner/name`` on the hub.

    Raises:
        RequestError: none of these; the text lists the choices.
    """
    wanted = name.strip()
    if (entry := CATALOGUE.get(wanted)) is not None:
        return ModelSource(entry.name, folder=entry.folder, hub_id=entry.hub_id)
    if (plugin := find_model(wanted)) is not None:
        return ModelSource(plugin.name, plugin=plugin)
    folder = Path(wanted).expanduser()
    if folder.name in hub.AUDIOCRAFT_FILES and folder.is_file():  # a training leaves a file rather than a folder
        folder = folder.parent
    if wanted and folder.is_dir():
        return ModelSource(folder.resolve().name, folder=folder.resolve())
    if hub.is_hub_id(wanted):
        return ModelSource(wanted, hub_id=wanted)
    if (other := EVERYTHING.get(wanted)) is not None:
        allowed = f"what makes music or sounds, unlike this, which is a {other.kind}: {', '.join(CATALOGUE)}"
        raise RequestError(ErrorCode.UNSUPPORTED, "model", name, allowed)
    if folder.is_file():
        raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", name, "a folder with a checkpoint, rather than a file")
    choices = (
        f"{', '.join((*CATALOGUE, *installed(MODEL_PLUGINS)))}, a folder with a checkpoint, or owner/name on the hub"
    )
    raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", name, choices)
