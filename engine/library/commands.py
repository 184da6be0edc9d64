"""The commands of ``daw-bridge models``, each from its arguments to its output."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.checkpoints import footprint, hub, licences, plugins
from engine.checkpoints.catalogue import CATALOGUE
from engine.checkpoints.fetching import (
    Listing,
    Progress,
    ask_hub,
    fetch_listing,
    is_offline,
    missing_bytes,
    offline_refusal,
)
from engine.library import shelf, upkeep
from protocols.catalogue import CODECS, DECODERS, EVERYTHING, LICENCE_TEXTS, NON_COMMERCIAL, PARTS
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelInfo


def run(asked: Namespace) -> int:
    """Run a command.

    Raises:
        RequestError: it is refused.
    """
    verbs: dict[str, Callable[[Namespace], int]] = {
        "list": _list,
        "show": _show,
        "download": _download,
        "verify": _verify,
        "remove": _remove,
        "disk": _disk,
        "path": _path,
    }
    return verbs[asked.verb](asked)


def _place(asked: Namespace) -> shelf.Place:
    return shelf.likely_place(asked.device, asked.dtype, asked.limit_mb)


# --- What there is -------------------------------------------------------------------------------------------------


def _list(asked: Namespace) -> int:
    entries = list(CATALOGUE.values())
    if asked.all:
        entries += [*CODECS.values(), *DECODERS.values(), *PARTS.values()]
    brought = [row for row in plugins.model_rows() if row.name not in CATALOGUE]
    _print_json([*shelf.rows(_place(asked), entries), *brought])
    return 0


def _show(asked: Namespace) -> int:
    if asked.name not in CATALOGUE and (brought := [row for row in plugins.model_rows() if row.name == asked.name]):
        return _show_brought(brought[0], asked.json)
    if (source := shelf.find_folder(asked.name)) is not None:
        return _show_folder(source, _place(asked), asked.json)
    entry, place = shelf.find_entry(asked.name), _place(asked)
    row = shelf.model_info(entry, place)
    folder = shelf.folder_of(entry)
    precision, runner = shelf.runs_in(footprint.of_entry(entry), place)
    if asked.json:
        more = {"needs": list(entry.needs), "path": str(folder or ""), "precision": precision, "runner": runner}
        _print_json(msgspec.structs.asdict(row) | more)
        return 0
    facts = {
        "name": entry.name,
        "what": entry.about,
        "from": entry.source,
        "licence": _licence_line(entry.licence),
        "weights": f"{entry.lm_parameters / 1e6:,.0f} million" if entry.lm_parameters else "not known here",
        "sound": f"{entry.sample_rate} Hz, {'stereo' if entry.channels == 2 else 'mono'}" if entry.sample_rate else "",
        "window": f"{entry.window:g} s" if entry.window else "",
        "hears": ", ".join(entry.hears),
        "needs": ", ".join(entry.needs),
        "layout": entry.layout,
        "download": _about(row.download_mb, 1e6) if entry.hub_id else "none",
        "on disk": _size(row.disk_mb) if row.disk_mb else "",
        "path": str(folder or ""),
        "memory": _memory_line(row.memory_mb, row.fits, place),
        "runs in": f"{precision}, runner {runner}" if precision else "",
    }
    for key, value in facts.items():
        if value:
            sys.stdout.write(f"{key:9} {value}\n")
    if not row.downloaded:
        sys.stdout.write(f"{'get it':9} daw-bridge models download {entry.name}\n")
    return 0


def _show_folder(folder: Path, place: shelf.Place, as_json: bool) -> int:
    """A checkpoint of one's own, of which is told what its files tell without being loaded.

    Raises:
        RequestError: no checkpoint is there.
    """
    from engine.checkpoints.audiocraft.package import is_audiocraft
    from engine.checkpoints.section import OwnSection, read_config

    layout = "AudioCraft" if is_audiocraft(folder) else ""
    if not layout:
        layout = "transformers" if OwnSection.read(read_config(folder)).codec is None else "own"
    needed = footprint.of_folder(folder)
    memory = 0.0 if needed is None else needed.bytes(place.device, place.precision) / shelf.MB
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / shelf.MB
    fits = memory * shelf.MB <= place.room
    if as_json:
        known = {
            "name": folder.name,
            "path": str(folder),
            "layout": layout,
            "memory_mb": round(memory, 1),
            "fits": fits,
        }
        _print_json(
            known | {"disk_mb": round(size, 1), "parameters": 0 if needed is None else needed.weights // 1_000_000}
        )
        return 0
    facts = {
        "name": folder.name,
        "what": "a checkpoint of your own",
        "layout": layout,
        "weights": "not told by its files" if needed is None else f"{needed.weights / 1e6:,.1f} million",
        "on disk": _size(size),
        "path": str(folder),
        "memory": _memory_line(memory, fits, place),
    }
    if needed is not None:
        facts["runs in"] = ", runner ".join(shelf.runs_in(needed, place))
    for key, value in facts.items():
        sys.stdout.write(f"{key:9} {value}\n")
    return 0


def _show_brought(row: ModelInfo, as_json: bool) -> int:
    """A model of another distribution, of which little is known before it is loaded."""
    if as_json:
        _print_json(msgspec.structs.asdict(row))
        return 0
    for key, value in {"name": row.name, "what": row.summary, "from": row.source, "licence": row.licence}.items():
        sys.stdout.write(f"{key:9} {value}\n" if value else "")
    return 0


def _disk(asked: Namespace) -> int:
    entries = [*EVERYTHING.values(), *(shelf.find_entry(name) for name in hub.others_on_disk())]
    found = [(entry, shelf.disk_bytes(entry)) for entry in entries]
    found = [(entry, size) for entry, size in found if size]
    if asked.json:
        _print_json([{"name": entry.name, "bytes": size} for entry, size in found])
        return 0
    table = [("name", "on disk", "")]
    table += [
        (entry.name, _gb(size), "" if shelf.folder_of(entry) is not None else "not complete") for entry, size in found
    ]
    _print_table(table)
    _note(f"in {', '.join(map(str, hub.caches()))}")
    return 0


def _path(asked: Namespace) -> int:
    entry = shelf.find_entry(asked.name)
    folder = shelf.folder_of(entry)
    if folder is None:
        if entry.hub_id is None:
            raise RequestError(
                ErrorCode.NOT_FOUND, "model", entry.name, "a model with files; this one is made when needed"
            )
        raise hub.not_downloaded(entry.hub_id)
    sys.stdout.write(f"{folder}\n")
    return 0


# --- Getting and keeping -------------------------------------------------------------------------------------------


def _download(asked: Namespace) -> int:
    entry = shelf.find_entry(asked.name)
    if entry.hub_id is None:
        _note(f"{entry.name} {entry.source}: there is nothing to download")
        return 0
    wanted = shelf.needs_of(entry)
    if is_offline():
        for each in wanted:
            if (there := shelf.folder_of(each)) is None:
                raise offline_refusal(each.hub_id or "")
            sys.stdout.write(f"{there}\n")
        return 0
    waiting = [(each.hub_id or "", each.patterns) for each in wanted]
    row = shelf.model_info(entry, _place(asked))
    if not row.fits:
        _note(f"note: {entry.name} needs about {_size(row.memory_mb)} of memory, which is more than is free now")
    done: list[str] = []
    while waiting:
        hub_id, patterns = waiting.pop(0)
        if hub_id in done:
            continue
        done.append(hub_id)
        listing = ask_hub(hub_id, patterns)
        _agree(listing, asked.accept_licence)
        with _shown(listing) as progress:
            folder = fetch_listing(listing, progress=progress)
        waiting += [(name, ()) for name in upkeep.pointed_to(folder)]
        sys.stdout.write(f"{folder}\n")
    return 0


def _agree(listing: Listing, accepts: bool) -> None:
    """See to it that the user agrees to a licence that asks for something.

    Raises:
        RequestError: ``not_allowed``: the user does not, or cannot be asked.
    """
    entry = next(iter(hub.entries_of(listing.hub_id)), None)
    # The page's own word counts; where it says nothing, the catalogue's.
    licence = licences.spelt(listing.licence) or (entry.licence if entry is not None else "")
    if licences.accepted(listing.hub_id, licence):
        return
    _note(f"{listing.hub_id}: {_gb(listing.size)}, licence: {_licence_line(licence)}")
    _note(f"its page: https://huggingface.co/{listing.hub_id}")
    if not accepts:
        if not sys.stdin.isatty():
            allowed = f"--accept-licence, once you have read it: {_licence_line(licence)}"
            raise RequestError(ErrorCode.NOT_ALLOWED, "licence", licence or "not known", allowed)
        sys.stderr.write("Do you accept it? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise RequestError(ErrorCode.NOT_ALLOWED, "licence", licence or "not known", "a licence that you accept")
    licences.accept(listing.hub_id, licence)


def _verify(asked: Namespace) -> int:
    entry = shelf.find_entry(asked.name)
    if entry.hub_id is None:
        raise RequestError(ErrorCode.UNSUPPORTED, "model", entry.name, "a model that was downloaded")
    checked = []
    for each in shelf.needs_of(entry):
        for file in upkeep.check_files(each, lambda name: None):
            checked.append(file)
            if not asked.json:
                sys.stdout.write(f"{file.verdict:8} {file.hub_id}/{file.name}\n")
    if asked.json:
        _print_json(
            [{"repository": f.hub_id, "file": f.name, "verdict": f.verdict, "path": str(f.path)} for f in checked]
        )
    bad = [file for file in checked if file.verdict in ("wrong", "missing")]
    if not bad:
        return 0
    if not asked.repair:
        _note(
            f"{len(bad)} of {len(checked)} files are not as the hub has them; daw-bridge models verify {entry.name} --repair"
        )
        return 1
    for file in bad:
        upkeep.discard(file.path)
    for each in shelf.needs_of(entry):
        listing = ask_hub(each.hub_id or "", each.patterns)
        with _shown(listing) as progress:
            fetch_listing(listing, progress=progress)
    return 0


def _remove(asked: Namespace) -> int:
    entry = shelf.find_entry(asked.name)
    size = shelf.disk_bytes(entry)
    if entry.hub_id is not None and size:
        if users := upkeep.needed_by(entry):
            _note(f"note: {', '.join(users)} need it")
        if not asked.yes:
            if not sys.stdin.isatty():
                raise RequestError(ErrorCode.NOT_ALLOWED, "remove", entry.name, f"--yes, to delete {_gb(size)}")
            sys.stderr.write(f"Delete {_gb(size)} of {entry.name}? [y/N] ")
            sys.stderr.flush()
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                return 1
    freed = upkeep.remove(entry)
    sys.stdout.write(f"{_gb(freed)} freed\n")
    for name in entry.needs:
        part = EVERYTHING[name]
        if shelf.disk_bytes(part) and not upkeep.needed_by(part):
            _note(
                f"{name} ({_gb(shelf.disk_bytes(part))}) stays; nothing else here needs it: daw-bridge models remove {name}"
            )
    return 0


# --- Output --------------------------------------------------------------------------------------------------------


@contextmanager
def _shown(listing: Listing) -> Iterator[Progress]:
    """A bar on the standard error stream where that is a terminal, else a line for each tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    left = missing_bytes(listing)
    if not left:
        yield lambda name, done, size: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        told = -1

        def tell(name: str, done: int, size: int) -> None:
            nonlocal told
            if size and (tenth := 10 * done // size) > told:
                told = tenth
                _note(f"{listing.hub_id}: {_gb(done)} of {_gb(size)}")

        yield tell
        return
    columns: Sequence[Any] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(listing.hub_id, total=listing.size, completed=listing.size - left)
        yield lambda name, done, size: bars.update(task, completed=done, total=size)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _print_json(content: object) -> None:
    sys.stdout.write(msgspec.json.encode(content).decode() + "\n")


def _note(line: str) -> None:
    """People read the standard error stream; the standard output is for programs."""
    sys.stderr.write(f"{line}\n")


def _licence_line(licence: str) -> str:
    if not licence:
        return "not known here; its page tells"
    text = f"{licence} ({LICENCE_TEXTS[licence]})" if licence in LICENCE_TEXTS else licence
    return f"{text}: not for commercial use" if licence == NON_COMMERCIAL else text


def _memory_line(memory_mb: float, fits: bool, place: shelf.Place) -> str:
    if not memory_mb:
        return "not known"
    verdict = "fits" if fits else "does not fit"
    return f"about {_size(memory_mb)} on {place.device}, where {_gb(place.room)} are free: {verdict}"


def _size(mb: float) -> str:
    return _gb(mb * (1 << 20))


def _about(mb: float, unit: float) -> str:
    return _gb(mb * unit) if mb else "?"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"
