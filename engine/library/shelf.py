"""What the catalogue says of each model, and what this disk and this machine say to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec.structs import replace

from engine.checkpoints import footprint, headroom, hub
from engine.checkpoints.catalogue import CATALOGUE, find_source
from engine.checkpoints.footprint import Footprint
from protocols.catalogue import EVERYTHING, CatalogueEntry
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelInfo

MB = 1 << 20
_FEW_BITS = ("int8", "int4")


@dataclass(frozen=True)
class Place:
    """Where models would run.

    Attributes:
        device: ``cpu``, ``mps`` or ``cuda:N``.
        precision: that they would have, by name, or ``auto``.
        room: free bytes there.
    """

    device: str
    precision: str
    room: int


def place_of(device: str, precision: str, limit_mb: int = 0) -> Place:
    """Where models run whose device is known, and how much is free there."""
    return Place(device, precision, headroom.device_memory(device, limit_mb).bytes)


def likely_place(device: str, dtype: str, limit_mb: int = 0) -> Place:
    """Where models would run under these settings; torch is asked, and loaded, only where there may be a GPU.

    Raises:
        RequestError: no such device or precision.
    """
    if device in ("auto", "cpu") and dtype in ("auto", "float32") and not _may_have_gpu():
        return place_of("cpu", dtype, limit_mb)
    from engine.checkpoints.devices import pick_device, pick_precision

    chosen = pick_device(device)
    return place_of(str(chosen), pick_precision(dtype, chosen).asked, limit_mb)


def find_entry(name: str) -> CatalogueEntry:
    """An entry of the catalogue, or one for a repository of the hub that is not in it, of which nothing else is known.

    Raises:
        RequestError: ``unknown_model``.
    """
    wanted = name.strip()
    if (entry := CATALOGUE.get(wanted) or EVERYTHING.get(wanted)) is not None:
        return entry
    if (known := next(iter(hub.entries_of(wanted)), None)) is not None:
        return known
    if hub.is_hub_id(wanted):
        return CatalogueEntry(
            name=wanted,
            hub_id=wanted,
            licence="",
            lm_parameters=0,
            channels=0,
            status="trained",
            about="a model of the hub that is not in the catalogue",
            sample_rate=0,
            window=0.0,
            hears=(),
        )
    choices = f"{', '.join(EVERYTHING)}, or owner/name on the hub"
    raise RequestError(ErrorCode.UNKNOWN_MODEL, "model", name, choices)


def find_folder(name: str) -> Path | None:
    """The folder of a checkpoint of one's own; None for a name of the catalogue or the hub."""
    try:
        source = find_source(name)
    except RequestError:
        return None
    return source.folder if name.strip() not in CATALOGUE else None


def needs_of(entry: CatalogueEntry) -> list[CatalogueEntry]:
    """What has to be downloaded for a model: itself, and what it needs, and what that needs; each repository's share once."""
    found: list[CatalogueEntry] = []
    waiting = [entry]
    while waiting:
        if (each := waiting.pop(0)) not in found:
            found.append(each)
            waiting += [EVERYTHING[name] for name in each.needs]
    return [each for each in found if each.hub_id is not None]


def folder_of(entry: CatalogueEntry) -> Path | None:
    """Where a model's files lie; None where they are not on this disk, or are made where they are first needed."""
    return entry.folder if entry.hub_id is None else hub.located(entry.hub_id, entry.patterns)


def disk_bytes(entry: CatalogueEntry) -> int:
    """What a model's own files take on this disk, with what was begun to be downloaded."""
    if entry.hub_id is None:
        return sum(path.stat().st_size for path in entry.folder.rglob("*") if path.is_file()) if entry.folder else 0
    names = None if not entry.patterns else entry.patterns
    return sum(hub.bytes_on_disk(cache, entry.hub_id, names) for cache in hub.caches())


def model_info(entry: CatalogueEntry, place: Place) -> ModelInfo:
    """The row of a list of models."""
    needed = footprint.of_entry(entry)
    memory = 0 if needed is None else needed.bytes(place.device, place.precision)
    here = entry.hub_id is None or all(folder_of(each) is not None for each in needs_of(entry))
    return ModelInfo(
        name=entry.name,
        source=entry.source,
        licence=entry.licence,
        parameters=entry.lm_parameters // 1_000_000,
        status=entry.status,
        loaded=False,
        summary=entry.about,
        kind=entry.kind,
        sample_rate=entry.sample_rate,
        channels=entry.channels,
        window=entry.window,
        hears=", ".join(entry.hears),
        downloaded=here,
        disk_mb=round(disk_bytes(entry) / MB, 1),
        download_mb=float(entry.download_mb),
        memory_mb=round(memory / MB, 1),
        fits=memory <= place.room,
    )


def runs_in(needed: Footprint | None, place: Place) -> tuple[str, str]:
    """Precision and runner that a model would most likely have there, by name; empty where nothing is known of it.

    Its layers may turn out to be of a kind that no runner knows: loading it tells.
    """
    if needed is None:
        return "", ""
    precision = needed.precision(place.device, place.precision)
    if not needed.cache:
        return precision, "plain"
    if place.device.startswith("cuda"):
        return precision, "graphs"
    return precision, "onnx" if place.device == "cpu" and precision in _FEW_BITS else "plain"


def rows(place: Place, entries: Iterable[CatalogueEntry] = CATALOGUE.values()) -> list[ModelInfo]:
    """A list of models."""
    return [model_info(entry, place) for entry in entries]


def with_loaded(known: Iterable[ModelInfo], loaded: Iterable[ModelInfo]) -> list[ModelInfo]:
    """A list of models with what is known of those in memory; such as are not in the list come last."""
    here = {row.name: row for row in loaded}
    rows = []
    for row in known:
        if (its := here.pop(row.name, None)) is not None:
            told = {"loaded": its.loaded, "weights_mb": its.weights_mb, "decoders": its.decoders}
            row = replace(row, **told, downloaded=True, fits=True)
        rows.append(row)
    return [*rows, *here.values()]


def _may_have_gpu() -> bool:
    """Whether this build of torch could use a GPU: told by its release, since to load it takes seconds."""
    import platform

    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
