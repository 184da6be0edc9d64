"""The commands of ``daw-bridge``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from daw_bridge.cli.clock import clock
from daw_bridge.cli.codec import codec
from daw_bridge.cli.failures import CannotStart, before_asking
from daw_bridge.cli.files import download, upload
from daw_bridge.cli.models import models
from daw_bridge.cli.options import Asked, from_schema
from daw_bridge.cli.session import NoBridgeError, any_bridge, engine_address, read_settings, running_bridge
from protocols.bridge_messages import (
    BridgeLoad,
    BridgeStatus,
    BridgeUnload,
    Devices,
    Play,
    PlayAgain,
    Playback,
    PlayContinue,
    PlayMidi,
    Stop,
    Templates,
)
from protocols.catalogue import EVERYTHING
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build, fields_of
from protocols.messages import Finished, Loaded, Reply, Status
from protocols.settings import settings_path, template

if TYPE_CHECKING:
    from rich.console import Console

_FILES = ("path", "style_path", "drums")
"""Parameters of requests that name a file."""
_DEVICE = "engine.device="

app = typer.Typer(
    help="A real-time generative-music backend for DAWs: words, audio regions and MIDI clips in, streamed music out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start an engine and a bridge of its own, even when a bridge runs already.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


# --- The processes -------------------------------------------------------------------------------------------------


@app.command()
@from_schema()
def up(flags: list[str]) -> None:
    """Start engine and bridge; keep them running until Ctrl-C."""
    from daw_bridge.supervisor import Supervisor, bridge_program, engine_program

    settings = read_settings(flags)
    console = _console()
    supervisor = Supervisor(
        [engine_program(flags), bridge_program(settings, flags)],
        tell=lambda line: console.print(line, highlight=False, markup=False),
    )

    def leave(number: int, frame: FrameType | None) -> None:
        supervisor.request_stop()

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)
    with before_asking():
        ports = supervisor.start().get("bridge", {})
    if ports:
        console.print(
            f"Ready: hosts send OSC to port {ports['osc_port']}. Try in another terminal: daw-bridge play 'warm strings'",
            highlight=False,
        )
    supervisor.run()


@app.command()
@from_schema()
def engine(flags: list[str]) -> None:
    """Run the engine alone."""
    _become("engine", flags)


@app.command()
@from_schema()
def bridge(flags: list[str]) -> None:
    """Run the bridge alone; it looks for an engine."""
    _become("daw_bridge", flags)


# --- Music ---------------------------------------------------------------------------------------------------------


@app.command()
@from_schema(Play, without=("notes",))
def play(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Make a piece from words and play it as it appears."""
    _play(asked, flags, fresh)


@app.command("continue")
@from_schema(PlayContinue, without=("notes",))
def continue_region(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Go on from the end of a region of an audio file."""
    _play(asked, flags, fresh)


@app.command()
@from_schema(PlayMidi)
def midi(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Play along a MIDI file: its lead line, tempo, key and length."""
    _play(asked, flags, fresh)


@app.command()
@from_schema(PlayAgain)
def again(asked: Asked, flags: list[str], fresh: Fresh = False) -> None:
    """Make a take again from its sidecar: the same samples."""
    _play(asked, flags, fresh)


@app.command()
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


@app.command()
@from_schema()
def stop(flags: list[str]) -> None:
    """Fade out and end everything that plays."""
    with running_bridge(flags) as client:
        client.call(Stop())


app.add_typer(clock, name="clock")
app.command()(upload)
app.command()(download)


# --- What there is -------------------------------------------------------------------------------------------------


app.add_typer(models, name="models")
app.add_typer(codec, name="codec")


@app.command()
@from_schema()
def load(
    flags: list[str],
    name: Annotated[str, typer.Argument(help=f"{fields_of(BridgeLoad)['model'].meaning}")],
    dtype: Annotated[str, typer.Option("--dtype", help=f"{fields_of(BridgeLoad)['dtype'].meaning}")] = "",
    decoder: Annotated[str, typer.Option("--decoder", help=f"{fields_of(BridgeLoad)['decoder'].meaning}")] = "",
) -> None:
    """Load another model into the engine that runs; what plays goes on."""
    here = Path(name).expanduser()
    if (
        name not in EVERYTHING and here.exists() and not here.is_absolute()
    ):  # the engine runs in another folder, perhaps
        name = str(here.absolute())
    device = next((flag.removeprefix(_DEVICE) for flag in reversed(flags) if flag.startswith(_DEVICE)), "")
    with before_asking():
        request = build(BridgeLoad, {"model": name, "device": device, "dtype": dtype, "decoder": decoder})
    with running_bridge(flags) as client:
        loaded = client.call(request, timeout=None)
    assert isinstance(loaded, Loaded)
    typer.echo(f"{loaded.model} in {loaded.seconds:.1f} s, {loaded.weights_mb:.0f} MB")


@app.command()
@from_schema()
def unload(flags: list[str]) -> None:
    """Give the model's memory back, when the last stream that plays on it is over."""
    with running_bridge(flags) as client:
        client.call(BridgeUnload(), timeout=None)


@app.command()
@from_schema()
def devices(flags: list[str], as_json: AsJson = False) -> None:
    """List the sound cards."""
    try:
        with running_bridge(flags) as client:
            items: Sequence[object] = getattr(client.call(Devices(), timeout=30.0), "items", ())
    except RequestError:
        from daw_bridge.audio.virtual import list_with_virtual

        items = list_with_virtual()
    if len(items) == 1 and not as_json:
        _console().print("There is no sound card but the virtual one. What is missing: daw-bridge doctor")
    _print_rows(items, as_json)


@app.command()
@from_schema()
def templates(flags: list[str], as_json: AsJson = False) -> None:
    """List the prompt templates, and where yours are kept."""
    from daw_bridge.templates import TemplateFile

    path = read_settings(flags).files.templates_file
    try:
        with running_bridge(flags) as client:
            items: Sequence[object] = getattr(client.call(Templates()), "items", ())
    except NoBridgeError:
        items = TemplateFile(path).rows()
    _print_rows(items, as_json)
    if not as_json:
        _console().print(f"Yours are kept in {path}", highlight=False, markup=False)


@app.command()
@from_schema()
def status(flags: list[str], as_json: AsJson = False) -> None:
    """Show how the running bridge and its engine are."""
    from daw_bridge.osc_client import OscClient, probe

    with running_bridge(flags) as client:
        reports: dict[str, Reply] = {"bridge": client.call(BridgeStatus())}
    port, host = engine_address(read_settings(flags))
    if port and probe(port, host, root="engine") is not None:
        with OscClient(port, host) as client:
            reports["engine"] = client.call(Status())
    if as_json:
        typer.echo(msgspec.json.encode(reports).decode())
        return
    for name, report in reports.items():
        typer.echo(name)
        for spec in fields_of(type(report)).values():
            value = getattr(report, spec.name)
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            typer.echo(f"  {spec.name:18} {shown} {spec.unit}".rstrip())


@app.command()
@from_schema()
def settings(
    flags: list[str],
    write: Annotated[bool, typer.Option("--write", help="Write the documented file, if there is none.")] = False,
) -> None:
    """Show the settings that apply, and their file."""
    path = settings_path()
    if write:
        if path.exists():
            raise CannotStart(f"{path} exists; edit it, or delete it first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template(), "utf-8")
        except OSError as error:
            raise CannotStart(f"{path}: {error.strerror}") from None
        typer.echo(str(path))
        return
    current = read_settings(flags)
    typer.echo(f"# {path}{'' if path.exists() else ' (there is none; --write makes it)'}")
    for section in current.__struct_fields__:
        typer.echo(f"[{section}]")
        values: msgspec.Struct = getattr(current, section)
        for spec in fields_of(type(values)).values():
            typer.echo(f"{spec.name} = {msgspec.json.encode(getattr(values, spec.name)).decode()}  # {spec.meaning}")


@app.command()
@from_schema()
def doctor(
    flags: list[str],
    as_json: AsJson = False,
    selftest: Annotated[
        bool,
        typer.Option("--selftest", help="Also send a MIDI file and an audio region through and measure the takes."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the self-test's files.")] = False,
) -> None:
    """Check what playing needs, and say what mends it."""
    from daw_bridge.cli.doctor import run_checks
    from daw_bridge.cli.report import print_checks, print_selftest
    from daw_bridge.cli.selftest import run_selftest

    checks = run_checks(flags)
    if not as_json:
        print_checks(checks)
    result = run_selftest(flags, keep=keep, note=_console().print) if selftest else None
    if as_json:
        typer.echo(msgspec.json.encode({"checks": checks, "selftest": result}).decode())
    elif result is not None:
        print_selftest(result)
    if any(check.state == "fail" for check in checks) or (result is not None and result.faults):
        raise typer.Exit(1)


# --- Models of one's own -------------------------------------------------------------------------------------------


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def train(context: typer.Context) -> None:
    """Make a model of your own; see `train --help`."""
    from daw_bridge.cli.train import become_training

    become_training(context.args)


# --- Shared --------------------------------------------------------------------------------------------------------


def _play(asked: Asked, flags: Sequence[str], fresh: bool) -> None:
    take = _perform(asked, flags, fresh)
    if take is not None:
        typer.echo(str(take))


def _perform(asked: Asked, flags: Sequence[str], fresh: bool) -> Path | None:
    """Carry out a request that makes sound; returns its take, None when it has none.

    Raises:
        typer.Exit: the stream ended otherwise than by itself or by Ctrl-C; what there is was printed.
    """
    from daw_bridge.cli.playing import follow, summarise, warn

    console = _console()
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


def _become(module: str, flags: Sequence[str]) -> None:
    """Turn into a process of ours, so that its signals and its exit code are this command's."""
    from daw_bridge.audio.devices import child_environment
    from daw_bridge.supervisor import module_command

    read_settings(flags)
    command = module_command(module, flags)
    if sys.platform == "win32":
        raise typer.Exit(subprocess.run(command, env=child_environment(), check=False).returncode)
    os.execve(command[0], command, child_environment())


def _print_rows(items: Sequence[object], as_json: bool) -> None:
    from daw_bridge.cli.report import print_rows

    if as_json:
        typer.echo(msgspec.json.encode(items).decode())
    else:
        print_rows(items)


def _console() -> Console:
    """People read the standard error stream here; the standard output is for programs."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True)
