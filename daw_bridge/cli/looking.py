"""``daw-bridge status`` and its like: what there is, and how it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from daw_bridge.cli.consoles import stderr_console
from daw_bridge.cli.failures import CannotStart
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import NoBridgeError, engine_address, read_settings, running_bridge
from protocols.bridge_messages import BridgeStatus, Devices, Templates
from protocols.errors import RequestError
from protocols.fields import fields_of
from protocols.messages import ReplicaList, Replicas, Reply, Status
from protocols.settings import settings_path, template

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
        stderr_console().print("There is no sound card but the virtual one. What is missing: daw-bridge doctor")
    _print_rows(items, as_json)


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
        stderr_console().print(f"Yours are kept in {path}", highlight=False, markup=False)


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
            if getattr(reports["engine"], "replicas", ""):
                reports["replicas"] = client.call(Replicas())
    if as_json:
        typer.echo(msgspec.json.encode(reports).decode())
        return
    for name, report in reports.items():
        typer.echo(name)
        if isinstance(report, ReplicaList):
            _print_rows(report.items, as_json=False)
            continue
        for spec in fields_of(type(report)).values():
            value = getattr(report, spec.name)
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            typer.echo(f"  {spec.name:18} {shown} {spec.unit}".rstrip())


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
    result = run_selftest(flags, keep=keep, note=stderr_console().print) if selftest else None
    if as_json:
        typer.echo(msgspec.json.encode({"checks": checks, "selftest": result}).decode())
    elif result is not None:
        print_selftest(result)
    if any(check.state == "fail" for check in checks) or (result is not None and result.faults):
        raise typer.Exit(1)


def _print_rows(items: Sequence[object], as_json: bool) -> None:
    from daw_bridge.cli.report import print_rows

    if as_json:
        typer.echo(msgspec.json.encode(items).decode())
    else:
        print_rows(items)
