"""``daw-bridge bench``: how fast this machine makes music, measured by a process of the engine's side."""

from __future__ import annotations

from typing import Annotated

import typer

from daw_bridge.cli.becoming import become
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import read_settings


@from_schema()
def bench(
    flags: list[str],
    shape: Annotated[
        str,
        typer.Option(
            "--model-shape",
            help="Random weights of musicgen-small, -medium or -large instead of a model: no download.",
            metavar="name",
            show_default=False,
        ),
    ] = "",
    threads: Annotated[
        int, typer.Option("--threads", help="CPU threads of the model; 0 for the setting's.", min=0, max=256)
    ] = 0,
    seconds: Annotated[float, typer.Option(help="How long each setting is measured.", min=0.2, max=60)] = 1.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast this machine makes music: N × real time, and what would be faster."""
    own = [*flags, *([f"engine.threads={threads}"] if threads else [])]
    read_settings(own)
    options = [
        "--seconds",
        str(seconds),
        *(["--model-shape", shape] if shape else []),
        *(["--json"] if as_json else []),
    ]
    become("engine.bench", options, flags=own)
