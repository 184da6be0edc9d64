"""The models that have a name, and what else a model may be called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from protocols.errors import ErrorCode, RequestError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class CatalogueEntry:
    """A model with a name.

    Attributes:
        name: what a user types.
        hub_id: ``owner/name`` on the Hugging Face hub; None for the model that comes with the engine.
        licence: of the weights.
        lm_parameters: size of the LM, rounded.
        channels: 1 or 2.
        trained: whether it makes music; False for random weights.
        about: one line for a list of choices.
    """

    name: str
    hub_id: str | None
    licence: str
    lm_parameters: int
    channels: int
    trained: bool
    about: str


def _musicgen(size: str, lm_parameters: int, *, channels: int = 1) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"musicgen-{size}",
        hub_id=f"facebook/musicgen-{size}",
        licence="CC-BY-NC-4.0",
        lm_parameters=lm_parameters,
        channels=channels,
        trained=True,
        about=f"MusicGen {size.replace('-', ' ')}, 32 kHz {'stereo' if channels == 2 else 'mono'}, text",
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="pocket",
            hub_id=None,
            licence="MIT",
            lm_parameters=8_000_000,
            channels=1,
            trained=False,
            about="small enough for any computer; needs no download",
        ),
        _musicgen("small", 420_000_000),
        _musicgen("medium", 1_840_000_000),
        _musicgen("large", 3_260_000_000),
        _musicgen("stereo-small", 420_000_000, channels=2),
        _musicgen("stereo-medium", 1_840_000_000, channels=2),
        _musicgen("stereo-large", 3_260_000_000, channels=2),
    )
}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are: exactly one of a folder, a hub id, or neither for the model that comes with the engine."""

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
        return ModelSource(entry.name, hub_id=entry.hub_id)
    folder = Path(wanted).expanduser()
    if wanted and folder.is_dir():
        return ModelSource(folder.resolve().name, folder=folder.resolve())
    if _HUB_ID.fullmatch(wanted):
        return ModelSource(wanted, hub_id=wanted)
    choices = f"{', '.join(CATALOGUE)}, a folder with a checkpoint, or owner/name on the hub"
    raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", name, choices)
