"""Settings as dataclasses, each field with its default and its meaning; command lines are made from them."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import field, fields
from typing import Any

TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
"""What a setting can be, by the name that its annotation has."""


def option(default: Any, text: str) -> Any:
    """A field of a settings class."""
    return field(default=default, metadata={"help": text})


def add_options(
    parser: argparse._ActionsContainer, kind: type[Any], *, without: Collection[str] = (), defaults: bool = True
) -> None:
    """One option per setting; those that are not given are absent from the result.

    Args:
        parser: a parser, or a group of one.
        kind: the settings class.
        without: settings that have no option.
        defaults: whether the help says what a setting is when it is not given.
    """
    for one in fields(kind):
        if one.name in without:
            continue
        name, text = "--" + one.name.replace("_", "-"), one.metadata["help"].replace("%", "%%")
        if defaults:
            text += f" (default: {one.default})"
        if one.type == "bool":
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            read = TYPES[str(one.type)]
            parser.add_argument(name, type=read, default=argparse.SUPPRESS, metavar=read.__name__, help=text)


def given_options(arguments: argparse.Namespace, kind: type[Any], *, without: Collection[str] = ()) -> dict[str, Any]:
    """The settings that were given on the command line, by name."""
    names = [one.name for one in fields(kind) if one.name not in without]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
