"""Tables for people: checks, lists, the self-test's measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import msgspec
import typer

from daw_bridge.cli.doctor import Check

if TYPE_CHECKING:
    from rich.console import Console

    from daw_bridge.cli.selftest import SelfTest

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def print_checks(checks: Sequence[Check]) -> None:
    """One line for each check, and below it what mends it."""
    console = _console()
    for check in checks:
        console.print(f"[{_COLOURS[check.state]}]{check.state:4}[/]  [bold]{check.name}[/]  ", end="", highlight=False)
        console.print(check.detail, markup=False, highlight=False)
        if check.fix:
            console.print(f"      → {check.fix}", markup=False, highlight=False)


def print_selftest(result: SelfTest) -> None:
    """What each take is like, and what was wrong."""
    console = _console()
    for take in result.takes:
        console.print(f"\n[bold]{take.request}[/]  {take.path}", highlight=False)
        console.print(take.measured, markup=False, highlight=False)
        console.print(
            f"wanted {take.wanted_seconds:.2f} s; first sound after {take.first_sound_ms:.0f} ms; {take.underruns} underruns; "
            f"seed {take.seed}; model {take.model}, {take.status}",
            highlight=False,
        )
        console.print(f"sidecar {take.sidecar}", highlight=False)
    for fault in result.faults:
        console.print(f"[{_COLOURS['fail']}]fail[/]  ", end="")
        console.print(fault, markup=False, highlight=False)
    if not result.folder:
        console.print("the files are deleted; --keep keeps them")
    if not result.faults:
        console.print(f"\n[{_COLOURS['ok']}]ok[/]    both requests gave whole takes")


def print_rows(items: Sequence[object]) -> None:
    """A list of messages or records as a table, one column for each field; never folded, so that lines can be searched."""
    if not items:
        return
    names = _names(items[0])
    rows = [[name.replace("_", " ") for name in names]]
    rows += [[_shown(getattr(item, name)) for name in names] for item in items]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        typer.echo(line)


def _names(item: object) -> list[str]:
    if isinstance(item, msgspec.Struct):
        return list(item.__struct_fields__)
    assert is_dataclass(item)
    return [field.name for field in fields(item)]


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:g}"
    return str(value)


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True)
