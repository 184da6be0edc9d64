"""``daw-bridge upload`` and ``daw-bridge download``: files for an engine on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daw_bridge.cli.failures import before_asking
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import read_settings
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from daw_bridge.exchange.engine_files import EngineFiles, Progress


@from_schema()
def upload(
    flags: list[str],
    file: Annotated[Path, typer.Argument(help="The file to send.", show_default=False)],
) -> None:
    """Send a file to the engine of `bridge.engine`; prints the path under which requests name it there."""
    file = file.expanduser().absolute()
    with before_asking():
        if not file.is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "file", str(file), "an existing file")
    with _engine(flags) as engine, _shown(file.name) as progress:
        path = engine.upload(file, progress)
    typer.echo(path)


@from_schema()
def download(
    flags: list[str],
    path: Annotated[
        str, typer.Argument(help="The file on the engine's machine: a take, or something in its exchange folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
) -> None:
    """Fetch a file from the engine of `bridge.engine`."""
    out = out.expanduser().absolute()
    with before_asking():
        if not out.parent.is_dir() or out.is_dir():
            raise RequestError(ErrorCode.NOT_FOUND, "out", str(out), "a file in an existing folder")
        if out.exists() and not force:
            raise RequestError(ErrorCode.NOT_ALLOWED, "out", str(out), "a new file; --force replaces it")
    with _engine(flags) as engine, _shown(out.name) as progress:
        engine.download(path, out, progress)
    typer.echo(str(out))


def _engine(flags: list[str]) -> EngineFiles:
    from daw_bridge.exchange.engine_files import EngineFiles

    return EngineFiles(read_settings(flags).bridge.engine)


@contextmanager
def _shown(name: str) -> Iterator[Progress]:
    """A bar on the standard error stream, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, size: bars.update(task, completed=done, total=size)
