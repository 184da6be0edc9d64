"""``daw-bridge models``: which models there are, which of them are on this disk, and how to get and be rid of them.

What is done to files is done by a process of the engine's side, whose files they are; see `engine.library`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from daw_bridge.cli.becoming import become
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import NoBridgeError, read_settings, running_bridge
from protocols.bridge_messages import BridgeModels
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelInfo, ModelList

models = typer.Typer(
    help="List the models, get, check and remove them.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str,
    typer.Argument(
        help="A name of the list, or owner/name on the Hugging Face hub.", metavar="NAME", show_default=False
    ),
]

Everything = Annotated[bool, typer.Option("--all", help="Also codecs, decoders, and the parts that models need.")]

_MODULE = "engine.library"
_CONVERTER = "engine.checkpoints.convert"
_PRECISION = "engine.precision"
_COLUMNS = ("name", "makes", "hears", "licence", "here", "download", "memory", "")
_MIB, _MILLION = 1 << 20, 1_000_000


@models.callback()
@from_schema()
def overview(context: typer.Context, flags: list[str], as_json: AsJson = False, everything: Everything = False) -> None:
    """List the models, get, check and remove them."""
    if context.invoked_subcommand is None:
        _list(flags, as_json, everything=everything)


@models.command("list")
@from_schema()
def list_models(flags: list[str], as_json: AsJson = False, everything: Everything = False) -> None:
    """List what there is: what it makes and hears, its licence, whether it is here, and whether it fits into memory."""
    _list(flags, as_json, everything=everything)


@models.command()
@from_schema()
def show(flags: list[str], name: Name, as_json: AsJson = False) -> None:
    """Show all that is known of a model."""
    _run(flags, "show", name, *(["--json"] if as_json else []))


@models.command()
@from_schema()
def download(
    flags: list[str],
    name: Name,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept its licence without being asked; it is remembered.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only say whether all of it is here, without the network.")
    ] = False,
) -> None:
    """Download a model and all it needs, or what is new of it; goes on where an earlier download was cut off."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _run(flags, "download", name, *(["--accept-licence"] if accept_licence else []))


@models.command()
@from_schema()
def verify(
    flags: list[str],
    name: Name,
    as_json: AsJson = False,
    repair: Annotated[bool, typer.Option("--repair", help="Download again what is damaged or missing.")] = False,
) -> None:
    """Compare a model's files with the hub's checksums, and say which are wrong; exit code 1 when one is."""
    _run(flags, "verify", name, *(["--json"] if as_json else []), *(["--repair"] if repair else []))


@models.command()
@from_schema()
def remove(
    flags: list[str], name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a downloaded model from this disk; what other models need too stays."""
    _refuse_while_loaded(flags, name)
    _run(flags, "remove", name, *(["--yes"] if yes else []))


@models.command()
@from_schema()
def disk(flags: list[str], as_json: AsJson = False) -> None:
    """Show what models take on this disk, downloads that were cut off among them."""
    _run(flags, "disk", *(["--json"] if as_json else []))


@models.command()
@from_schema()
def path(flags: list[str], name: Name) -> None:
    """Print the folder in which a model lies."""
    _run(flags, "path", name)


@models.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder in AudioCraft's layout, a name of the list, or owner/name on the hub.", show_default=False
        ),
    ],
    target: Annotated[str, typer.Argument(help="The folder to make.", show_default=False)],
    dtype: Annotated[
        str, typer.Option(help="How the language model is stored: auto (as it is), float32, float16 or bfloat16.")
    ] = "auto",
    text_encoder: Annotated[
        str, typer.Option(help="The T5 that it was trained with, a folder or a hub id, where it names another.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the target.")] = False,
) -> None:
    """Write a checkpoint of AudioCraft's in transformers' layout; loading one needs no conversion."""
    options = ["--dtype", dtype, "--text-encoder", text_encoder, *(["--overwrite"] if overwrite else [])]
    become(_CONVERTER, [source, target, *options])


@models.command()
def precision(
    name: Annotated[str, typer.Argument(help="A name of the list, a folder, or owner/name.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    only: Annotated[
        list[str] | None, typer.Option("--precision", help="One beside float32; again for more. All, if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what half floats and weights of 8 and 4 bits cost: error against float32, memory and time on this machine."""
    options = ["--device", device, *(["--json"] if as_json else [])]
    for one in only or []:
        options += ["--precision", one]
    become(_PRECISION, [name, *options])


def _list(flags: Sequence[str], as_json: bool, *, everything: bool) -> None:
    """Print the models: as the engine that runs says, which may be on another machine, or as this disk says."""
    items = None if everything else _asked(flags)
    if items is None:
        items = _from_disk(flags, everything)
    if as_json:
        typer.echo(msgspec.json.encode(items).decode())
        return
    rows = [_COLUMNS, *(_row(item) for item in items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _asked(flags: Sequence[str]) -> list[ModelInfo] | None:
    """The list of the engine behind the bridge that runs; None where none does."""
    try:
        with running_bridge(flags) as client:
            reply = client.call(BridgeModels())
    except RequestError:
        return None
    assert isinstance(reply, ModelList)
    return reply.items


def _from_disk(flags: Sequence[str], everything: bool) -> list[ModelInfo]:
    from daw_bridge.audio.devices import child_environment
    from daw_bridge.supervisor import module_command

    command = [*module_command(_MODULE, ()), *_arguments(flags, "list", *(["--all"] if everything else []))]
    done = subprocess.run(command, env=child_environment(), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
    return msgspec.json.decode(done.stdout, type=list[ModelInfo])


def _row(item: ModelInfo) -> tuple[str, ...]:
    here = _size(item.disk_mb * _MIB) if item.disk_mb else "yes" if item.downloaded else ""
    return (
        item.name,
        item.kind,
        item.hears,
        item.licence or "see its page",
        "loaded" if item.loaded else here if item.downloaded else "begun" if item.disk_mb else "",
        "" if "/" not in item.source else _size(item.download_mb * _MILLION) or "?",
        _size(item.memory_mb * _MIB) or "?",
        "" if item.fits else "does not fit now",
    )


def _size(number: float) -> str:
    return "" if not number else f"{number / 1e9:.1f} GB" if number >= 5e7 else f"{number / 1e6:.0f} MB"


def _refuse_while_loaded(flags: Sequence[str], name: str) -> None:
    """Raise where the engine that runs on this machine has the model in memory: it may read its files again."""
    try:
        with running_bridge(flags) as client:
            reply = client.call(BridgeModels())
    except NoBridgeError:
        return
    assert isinstance(reply, ModelList)
    for item in reply.items:
        if name in (item.name, item.source) and (item.loaded or item.weights_mb):
            allowed = "a model that is not in memory; unload it first: daw-bridge unload"
            raise RequestError(ErrorCode.BUSY, "model", name, allowed)


def _arguments(flags: Sequence[str], verb: str, *rest: str) -> list[str]:
    engine = read_settings(flags).engine
    place = ["--device", engine.device, "--dtype", engine.dtype, "--limit-mb", str(engine.memory_limit_mb)]
    return [verb, *place, *rest]


def _run(flags: Sequence[str], *arguments: str) -> None:
    """Turn into the process that does it, so that the terminal, the signals and the exit code are its own."""
    become(_MODULE, _arguments(flags, *arguments))
