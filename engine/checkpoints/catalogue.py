"""The models that have a name, and what else a model may be called."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelStatus

POCKET = "pocket"
"""The name of our own model."""
PACKAGED = Path(__file__).resolve().parents[1] / POCKET
"""Where the pocket model is when it comes with the engine; see `engine.checkpoints.own_layout`."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class CatalogueEntry:
    """A model with a name.

    Attributes:
        name: what a user types.
        hub_id: ``owner/name`` on the Hugging Face hub; None for the pocket model.
        licence: of the weights.
        lm_parameters: size of the LM, rounded.
        channels: 1 or 2.
        status: as `ModelBundle.status`.
        about: one line for a list of choices.
        folder: of a model that comes with the engine; None: it is downloaded, or made where it is first needed.
    """

    name: str
    hub_id: str | None
    licence: str
    lm_parameters: int
    channels: int
    status: ModelStatus
    about: str
    folder: Path | None = None

    @property
    def source(self) -> str:
        """Where the weights come from, in words."""
        if self.hub_id is not None:
            return self.hub_id
        return "made on this machine" if self.folder is None else "comes with the engine"


def pocket_entry(folder: Path = PACKAGED) -> CatalogueEntry:
    """The pocket model as it is packaged in ``folder``; where there is none, the one with random weights that is made instead.

    A packaged model that is damaged has an entry too, which says less: what is wrong with it is told when it is loaded.
    """
    path = folder / "config.json"
    status: ModelStatus
    if not path.is_file():
        return CatalogueEntry(
            name=POCKET,
            hub_id=None,
            licence="MIT",
            lm_parameters=8_000_000,
            channels=1,
            status="untrained",
            about="random weights, for trying things out: small enough for any computer; needs no download",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        status = "trained" if config["daw_bridge"].get("status") == "trained" else "preview"
        parameters = _lm_parameters(config["decoder"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        status, parameters = "untrained", 0
    return CatalogueEntry(
        name=POCKET,
        hub_id=None,
        licence="MIT",
        lm_parameters=parameters,
        channels=1,
        status=status,
        about="our own model, for any computer: 32 kHz mono, words and score; needs no download",
        folder=folder,
    )


def _lm_parameters(decoder: dict[str, Any]) -> int:
    """The size of an LM of this shape, less its norms."""
    dim, tables = decoder["hidden_size"], decoder["num_codebooks"] * (2 * decoder["vocab_size"] + 1)
    return int(decoder["num_hidden_layers"] * (8 * dim + 2 * decoder["ffn_dim"]) * dim + tables * dim)


def _musicgen(size: str, lm_parameters: int, *, channels: int = 1) -> CatalogueEntry:
    heard = "text and melody" if "melody" in size else "text"
    return CatalogueEntry(
        name=f"musicgen-{size}",
        hub_id=f"facebook/musicgen-{size}",
        licence="CC-BY-NC-4.0",
        lm_parameters=lm_parameters,
        channels=channels,
        status="trained",
        about=f"MusicGen {size.replace('-', ' ')}, 32 kHz {'stereo' if channels == 2 else 'mono'}, {heard}",
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        pocket_entry(),
        _musicgen("small", 420_000_000),
        _musicgen("medium", 1_840_000_000),
        _musicgen("large", 3_260_000_000),
        _musicgen("stereo-small", 420_000_000, channels=2),
        _musicgen("stereo-medium", 1_840_000_000, channels=2),
        _musicgen("stereo-large", 3_260_000_000, channels=2),
        _musicgen("melody", 1_390_000_000),
        _musicgen("melody-large", 2_450_000_000),
        _musicgen("stereo-melody", 1_410_000_000, channels=2),
        _musicgen("stereo-melody-large", 2_490_000_000, channels=2),
    )
}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are: exactly one of a folder, a hub id, or neither for a pocket model that has to be made."""

    name: str
    folder: Path | None = None
    hub_id: str | None = None


def find_source(name: str) -> ModelSource:
    """Tell what a model's name means: an entry of the catalogue, a local folder, or ``owner/name`` on the hub.

    Raises:
        RequestError: none of these; the text lists the choices.
    """
    wanted = name.strip()
    if (entry := CATALOGUE.get(wanted)) is not None:
        return ModelSource(entry.name, folder=entry.folder, hub_id=entry.hub_id)
    folder = Path(wanted).expanduser()
    if wanted and folder.is_dir():
        return ModelSource(folder.resolve().name, folder=folder.resolve())
    if _HUB_ID.fullmatch(wanted):
        return ModelSource(wanted, hub_id=wanted)
    choices = f"{', '.join(CATALOGUE)}, a folder with a checkpoint, or owner/name on the hub"
    raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", name, choices)
