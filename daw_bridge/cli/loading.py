"""``daw-bridge load`` and ``unload``: the model of the engine that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daw_bridge.cli.failures import before_asking
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import running_bridge
from protocols.bridge_messages import BridgeLoad, BridgeUnload
from protocols.catalogue import EVERYTHING
from protocols.fields import build, fields_of
from protocols.messages import Loaded

_DEVICE = "engine.device="


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


@from_schema()
def unload(flags: list[str]) -> None:
    """Give the model's memory back, when the last stream that plays on it is over."""
    with running_bridge(flags) as client:
        client.call(BridgeUnload(), timeout=None)
