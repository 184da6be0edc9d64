"""How much memory is free for a model, on each device; and the refusal of one that needs more, which names what would fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.checkpoints import footprint
from engine.checkpoints.footprint import Footprint
from protocols.catalogue import MODELS, CatalogueEntry
from protocols.errors import ErrorCode, RequestError

GB = 1e9
_MB = 1 << 20
_HALF = {"cpu": "bfloat16"}
_UNLIMITED = 1 << 60
_MOST_NAMED = 3


@dataclass(frozen=True)
class Room:
    """Free memory of a device, in bytes, and what sets the bound, in words."""

    bytes: int
    bound: str


def main_memory(limit_mb: int = 0, *, root: Path = Path("/")) -> Room:
    """What this process may still take of the machine's memory, or of its container's.

    Args:
        limit_mb: a bound for the whole process, in MB; 0 for none.
        root: where the system tells of itself.
    """
    rooms = [Room(psutil.virtual_memory().available, "free on this machine")]
    if sys.platform.startswith("linux") and (left := container_room(root)) is not None:
        rooms.append(Room(left, "free in this container"))
    if limit_mb:
        rooms.append(Room(max(0, limit_mb * _MB - psutil.Process(os.getpid()).memory_info().rss), _left_of(limit_mb)))
    return min(rooms, key=lambda room: room.bytes)


def device_memory(device: str, limit_mb: int = 0) -> Room:
    """What is free on a device, which is ``cpu``, ``mps`` or ``cuda:N``; the limit is of what this process holds there."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return main_memory(limit_mb)
    import torch

    if kind == "cuda":
        number = int(index or 0)
        free, _ = torch.cuda.mem_get_info(number)
        held, used = torch.cuda.memory_reserved(number), torch.cuda.memory_allocated(number)
        rooms = [Room(free + held - used, f"free on {torch.cuda.get_device_name(number)}")]
    else:
        # The GPU's memory is the machine's, of which it takes a part at most.
        used = torch.mps.current_allocated_memory()
        rooms = [Room(torch.mps.recommended_max_memory() - used, "free for the GPU"), main_memory()]
    if limit_mb:
        rooms.append(Room(max(0, limit_mb * _MB - used), _left_of(limit_mb)))
    return min(rooms, key=lambda room: room.bytes)


def _left_of(limit_mb: int) -> str:
    return f"left of engine.memory_limit_mb = {limit_mb}"


def container_room(root: Path = Path("/")) -> int | None:
    """What is left of the memory that control groups leave this process, in bytes; None where none of them sets a bound.

    Pages of files that can be dropped count as free, as the kernel would drop them first.
    """
    left = [room for room in _group_rooms(root) if room is not None]
    return min(left) if left else None


def _group_rooms(root: Path) -> Iterable[int | None]:
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the group's path may be that of the host, and its folder the mount itself; every parent binds too.
        folder = mount / group.strip("/")
        while True:
            yield _group_room(folder, *names)
            if folder == mount or mount not in folder.parents:
                break
            folder = folder.parent


def _group_room(folder: Path, limit: str, usage: str, droppable: str) -> int | None:
    try:
        bound = (folder / limit).read_text("utf-8").strip()
        if bound == "max" or int(bound) >= _UNLIMITED:
            return None
        used = int((folder / usage).read_text("utf-8"))
        stat = [line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines()]
        free = sum(int(facts[1]) for facts in stat if facts[:1] == [droppable] and len(facts) == 2)
        return max(0, int(bound) - used + free)
    except (OSError, ValueError):
        return None


def check_room(name: str, needed: Footprint | None, device: str, precision: str, limit_mb: int = 0) -> None:
    """Refuse a model for which there is not enough memory, before anything of it is loaded.

    Args:
        name: of the model, as the user wrote it.
        needed: its footprint; None passes, since nothing is known.
        device: where it is to run.
        precision: of its weights, by name or ``auto``.
        limit_mb: as in `device_memory`.

    Raises:
        RequestError: ``no_memory``; says what is needed, what there is, and what would fit.
    """
    if needed is None:
        return
    room = device_memory(device, limit_mb)
    wanted = needed.bytes(device, precision)
    if wanted <= room.bytes:
        return
    fitting = what_fits(name, needed, device, precision, room.bytes, limit_mb)
    advice = (
        f"; what fits: {'; '.join(fitting)}"
        if fitting
        else "; close other programs, or unload the model that is loaded"
    )
    needs = f"{wanted / GB:.1f} GB in {needed.precision(device, precision)} on {device}"
    allowed = f"{needs}; {room.bytes / GB:.1f} GB are {room.bound}{advice}"
    raise RequestError(ErrorCode.NO_MEMORY, "model", name, allowed)


def what_fits(name: str, needed: Footprint, device: str, precision: str, room: int, limit_mb: int = 0) -> list[str]:
    """What would fit in place of a model: the same in half precision, on another device, or smaller ones, the largest first."""
    found = []
    kind = device.partition(":")[0]
    for other in (_HALF.get(kind, "float16"), "int8"):
        if (size := needed.bytes(device, other)) <= room and size < needed.bytes(device, precision):
            found.append(f"dtype = {other} ({size / GB:.1f} GB)")
            break
    for elsewhere, free in _other_devices(device, limit_mb):
        if (size := needed.bytes(elsewhere, "auto")) <= free:
            found.append(f"device = {elsewhere} ({size / GB:.1f} GB)")
    asked = MODELS.get(name.strip())
    smaller = [
        (entry.name, footprint.of_entry(entry))
        for entry in MODELS.values()
        if entry.name != name.strip() and entry.shape is not None and _serves(entry, asked)
    ]
    sizes = [(size, other) for other, each in smaller if each and (size := each.bytes(device, precision)) <= room]
    ours = [(size, other) for size, other in sizes if size < needed.bytes(device, precision)]
    found += [f"{other} ({size / GB:.1f} GB)" for size, other in sorted(ours, reverse=True)[:_MOST_NAMED]]
    if not ours and kind == "cpu":
        found.append("pocket")
    return found


def _serves(entry: CatalogueEntry, asked: CatalogueEntry | None) -> bool:
    """Whether a model does what another one was asked for: of its kind, from what it hears."""
    if asked is None:
        return entry.kind == "music" and entry.hears == ("text",) and entry.channels == 1
    alike = entry.kind == asked.kind and entry.channels == asked.channels
    return alike and entry.layout == asked.layout and set(entry.hears) <= set(asked.hears)


def _other_devices(device: str, limit_mb: int) -> Iterable[tuple[str, int]]:
    from engine.checkpoints.devices import available_devices

    for other in available_devices():
        if other != device and other != "cpu":
            yield other, device_memory(other, limit_mb).bytes
    if not device.startswith("cpu"):
        yield "cpu", device_memory("cpu", limit_mb).bytes
