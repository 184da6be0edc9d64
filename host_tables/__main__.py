"""Writes the tables of every host's client from the schema: ``python -m host_tables [--check] [folder]``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from protocols.description import Description, describe

ROOT = Path(__file__).resolve().parents[1]
WRITERS: tuple[str, ...] = ("lua", "supercollider", "puredata", "max_patches", "python", "ardour", "touchosc")
"""Modules of this package; each has ``files(description)``: texts, or bytes, by their paths in the repository."""


def written() -> dict[str, bytes]:
    """Every generated file: its content by its path in the repository."""
    description = describe()
    found: dict[str, bytes] = {}
    for name in WRITERS:
        files: Callable[[Description], Mapping[str, str | bytes]] = importlib.import_module(f"host_tables.{name}").files
        for path, content in files(description).items():
            found[path] = content if isinstance(content, bytes) else content.encode()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` return 1 when one of them is stale."""
    parser = argparse.ArgumentParser(
        prog="python -m host_tables", description="Write the parameter tables of the hosts' clients."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="the repository; default: this one")
    options = parser.parse_args(arguments)
    stale = 0
    for name, content in written().items():
        path: Path = options.folder / name
        if path.is_file() and path.read_bytes() == content:
            continue
        stale += 1
        if options.check:
            sys.stderr.write(f"{name} is stale: run python -m host_tables\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            sys.stderr.write(f"{name}\n")
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
