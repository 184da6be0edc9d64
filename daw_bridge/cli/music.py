"""``daw-bridge play`` and its like: requests that make sound, and the end of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from daw_bridge.cli.failures import before_asking
from daw_bridge.cli.options import Asked, from_schema
from daw_bridge.cli.session import any_bridge, running_bridge
from protocols.bridge_messages import Play, PlayAgain, Playback, PlayContinue, PlayMidi, Stop
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import Finished

_FILES = ("path", "style_path", "drums")
"""Parameters of requests that name a file."""

Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start an engine and a bridge of its own, even when a bridge runs already.")
]


@from_schema(Play, without=("notes",))
def play(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Make a piece from words and play it as it appears."""
    _play(asked, flags, fresh)


@from_schema(PlayContinue, without=("notes",))
def continue_region(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Go on from the end of a region of an audio file."""
    _play(asked, flags, fresh)


@from_schema(PlayMidi)
def midi(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Play along a MIDI file: its lead line, tempo, key and length."""
    _play(asked, flags, fresh)


@from_schema(PlayAgain)
def again(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Make a take again from its sidecar: the same samples."""
    _play(asked, flags, fresh)


@from_schema(Play, without=("sound", "save", "format", "name", "level", "notes"))
def render(
    asked: Asked,
    flags: list[str],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; its suffix is its format.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
    fresh: Fresh = False,
) -> None:
    """Make a piece from words into a file, without sound."""
    from audio_files.publishing import move_whole, write_whole
    from audio_files.sidecars import AUDIO_BLOCK, encode_sidecar, read_sidecar

    out = out.expanduser().absolute()
    suffix = out.suffix.removeprefix(".").lower()
    formats = fields_of(Play)["format"]
    sidecar = out.with_suffix(".json")
    with before_asking():
        if suffix not in formats.choices:
            raise RequestError(ErrorCode.UNSUPPORTED, "out", str(out), f"a name that ends in {formats.allowed}")
        if not out.parent.is_dir() or out.is_dir():
            raise RequestError(ErrorCode.NOT_FOUND, "out", str(out), "a file in an existing folder")
        if (out.exists() or sidecar.exists()) and not force:
            raise RequestError(
                ErrorCode.NOT_ALLOWED, "out", str(out), "a new file; --force replaces it and its sidecar"
            )
    request = msgspec.structs.replace(asked.request, sound=False, save=True, format=suffix, name=out.stem[:80])
    given = asked.given | {"sound", "save", "format", "name"}
    take = _perform(Asked(request, given), flags, fresh)
    if take is None:
        raise typer.Exit(1)
    content = read_sidecar(take.with_suffix(".json"))
    audio = content.pop(AUDIO_BLOCK)
    move_whole(take, out)
    write_whole(sidecar, encode_sidecar(content, {**audio, "file": out.name}))
    take.with_suffix(".json").unlink()
    typer.echo(str(out))


@from_schema()
def stop(flags: list[str]) -> None:
    """Fade out and end everything that plays."""
    with running_bridge(flags) as client:
        client.call(Stop())


def _play(asked: Asked, flags: Sequence[str], fresh: bool) -> None:
    take = _perform(asked, flags, fresh)
    if take is not None:
        typer.echo(str(take))


def _perform(asked: Asked, flags: Sequence[str], fresh: bool) -> Path | None:
    """Carry out a request that makes sound; returns its take, None when it has none.

    Raises:
        typer.Exit: the stream ended otherwise than by itself or by Ctrl-C; what there is was printed.
    """
    from daw_bridge.cli.consoles import stderr_console
    from daw_bridge.cli.playing import follow, summarise, warn

    console = stderr_console()
    files = _files_of(asked.request)
    request: Playback | PlayAgain = msgspec.structs.replace(asked.request, **{name: str(files[name]) for name in files})
    with any_bridge(flags, fresh=fresh, readable=list(files.values()), note=console.print) as session:
        warn(session.report, request, console)
        finished = follow(session.client, request, asked.given, console)
    summarise(finished, request, console)
    if finished.reason not in ("done", "cancelled"):
        _say_path(finished)
        raise typer.Exit(1)
    return Path(finished.path) if finished.path else None


def _say_path(finished: Finished) -> None:
    if finished.path:
        typer.echo(finished.path)


def _files_of(request: Playback | PlayAgain) -> dict[str, Path]:
    """The files that a request names, by parameter, as absolute paths.

    The bridge runs in another folder, perhaps, and a missing file needs no engine to be noticed.
    """
    files = {}
    for name in _FILES:
        given = getattr(request, name, None)
        if given is None or (not given and name not in request.osc_positional):
            continue
        files[name] = Path(given).expanduser().absolute()
        with before_asking():
            if not files[name].is_file():
                raise RequestError(ErrorCode.NOT_FOUND, name, given, "an existing file")
    return files
