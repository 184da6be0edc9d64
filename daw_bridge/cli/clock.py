"""``daw-bridge clock``: the clock of the bridge that runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from daw_bridge.cli.options import Asked, from_schema
from daw_bridge.cli.session import running_bridge
from protocols.bridge_messages import LocateClock, MidiInputs, MidiOutputs, SendClock, SetClock, StartClock, StopClock
from protocols.fields import fields_of

clock = typer.Typer(
    help="Show and set the clock of the bridge that runs, and let others follow it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SCAN_S = 30.0


@clock.command()
@from_schema()
def show(flags: list[str], as_json: AsJson = False) -> None:
    """Show who counts, tempo and position."""
    _ask(Asked(SetClock(), frozenset()), flags, as_json)


@clock.command("set")
@from_schema(SetClock)
def set_clock(asked: Asked, flags: list[str], as_json: AsJson = False) -> None:
    """Set who counts, tempo and metre; what is left out stays as it is."""
    _ask(asked, flags, as_json)


@clock.command()
@from_schema(StartClock)
def start(asked: Asked, flags: list[str], as_json: AsJson = False) -> None:
    """Let the clock go on from where it stands."""
    _ask(asked, flags, as_json)


@clock.command()
@from_schema(StopClock)
def stop(asked: Asked, flags: list[str], as_json: AsJson = False) -> None:
    """Let the clock stand still."""
    _ask(asked, flags, as_json)


@clock.command()
@from_schema(LocateClock)
def locate(asked: Asked, flags: list[str], as_json: AsJson = False) -> None:
    """Move the clock to a beat."""
    _ask(asked, flags, as_json)


@clock.command()
@from_schema(SendClock)
def send(asked: Asked, flags: list[str], as_json: AsJson = False) -> None:
    """Send MIDI clock to an output; with --no-on, no longer."""
    _ask(asked, flags, as_json)


@clock.command()
@from_schema()
def ports(flags: list[str], as_json: AsJson = False) -> None:
    """List the MIDI inputs and outputs that a clock can come from and go to."""
    with running_bridge(flags) as client:
        inputs = getattr(client.call(MidiInputs(), timeout=_SCAN_S), "items", [])
        outputs = getattr(client.call(MidiOutputs(), timeout=_SCAN_S), "items", [])
    if as_json:
        typer.echo(msgspec.json.encode({"inputs": inputs, "outputs": outputs}).decode())
        return
    for kind, rows in (("input", inputs), ("output", outputs)):
        for row in rows:
            typer.echo(f"{kind:8} {row.name}  {row.api}{'  open' if row.open else ''}")


def _ask(asked: Asked, flags: list[str], as_json: bool) -> None:
    """Ask, and print how the clock is then."""
    with running_bridge(flags) as client:
        state = client.call(asked.request, given=asked.given, timeout=_SCAN_S)
    if as_json:
        typer.echo(msgspec.json.encode(state).decode())
        return
    for spec in fields_of(type(state)).values():
        value = getattr(state, spec.name)
        shown = (
            ("yes" if value else "no")
            if isinstance(value, bool)
            else f"{value:g}"
            if isinstance(value, float)
            else value
        )
        typer.echo(f"{spec.name:16} {shown} {spec.unit}".rstrip())
