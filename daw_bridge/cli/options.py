"""Command-line parameters made from the protocol: names, ranges, units, defaults and meanings are written there only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from daw_bridge.cli.failures import before_asking
from protocols.fields import FieldSpec, build, fields_of
from protocols.messages import Request
from protocols.settings import SECTIONS

_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_SHORTCUTS = {"model": "engine", "device": "engine", "output": "bridge", "takes": "files"}
"""Settings that have an option of their own, and their sections."""

Command = Callable[..., None]


@dataclass(frozen=True)
class Asked:
    """The request that a command line makes, and which of its parameters the user typed."""

    request: Any
    given: frozenset[str]


def from_schema(message: type[Request] | None = None, *, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Give a command the parameters of a request and of the settings.

    The request's positional parameters become arguments, the others options. The command is called with ``asked`` (an `Asked`,
    where there is a request), with ``flags`` (the settings, as ``section.name=value``), and with its own parameters.

    Args:
        message: the request; None for a command that only takes settings.
        without: parameters that the command sets itself.
    """

    def decorate(command: Command) -> Command:
        specs = {name: spec for name, spec in fields_of(message).items() if name not in without} if message else {}
        positional = message.osc_positional if message else ()
        ours = [_argument(specs[name]) for name in positional]
        ours += [_option(spec) for spec in specs.values() if spec.osc and spec.name not in positional]
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            *ours,
            *(p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in ("asked", "flags")),
            *_settings_options(),
        ]

        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in list(values) if name in specs}
            given = {name: value for name, value in given.items() if value is not None}
            flags = [*values.pop("set_"), *_shortcut_flags(values)]
            if message is None:
                command(flags=flags, **values)
                return
            with before_asking():
                request = build(message, given)
            command(asked=Asked(request, frozenset(given)), flags=flags, **values)

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__ or (message.__doc__ if message else None)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def help_of(spec: FieldSpec, default: bool = True) -> str:
    """A parameter's meaning, range and default in one line."""
    facts = []
    if spec.kind in ("int", "float"):
        facts.append(spec.allowed.removeprefix("a whole number ").removeprefix("a number ").removeprefix("from "))
    if default and not spec.required and spec.default not in ("", None):
        facts.append(f"default {_shown(spec.default)}")
    return f"{spec.meaning} [{'; '.join(facts)}]" if facts else spec.meaning


def _shown(default: object) -> str:
    match default:
        case bool():
            return "yes" if default else "no"
        case int() | float():
            return f"{default:g}"
    return str(default)


def _argument(spec: FieldSpec) -> inspect.Parameter:
    info = typer.Argument(help=help_of(spec), metavar=spec.name.upper(), show_default=False)
    return _parameter(spec.name, Annotated[_TYPES[spec.kind], info], inspect.Parameter.empty)


def _option(spec: FieldSpec) -> inspect.Parameter:
    dashed = spec.name.replace("_", "-")
    name = f"--{dashed}/--no-{dashed}" if spec.kind == "bool" else f"--{dashed}"
    metavar = None if spec.kind == "bool" else "|".join(spec.choices) or spec.unit or spec.kind
    info = typer.Option(name, help=help_of(spec), metavar=metavar, show_default=False)
    return _parameter(spec.name, Annotated[_TYPES[spec.kind] | None, info], None)


def _settings_options() -> list[inspect.Parameter]:
    options = []
    for name, section in _SHORTCUTS.items():
        spec = fields_of(SECTIONS[section])[name]
        info = typer.Option(f"--{name}", help=help_of(spec, default=False), metavar=spec.kind, show_default=False)
        options.append(_parameter(name, Annotated[str | None, info], None))
    info = typer.Option(
        "--set",
        metavar="section.name=value",
        help="Any setting, see `daw-bridge settings`; may be given several times.",
        show_default=False,
    )
    return [*options, _parameter("set_", Annotated[list[str], info], [])]


def _shortcut_flags(values: dict[str, Any]) -> list[str]:
    given = {name: values.pop(name) for name in _SHORTCUTS}
    return [f"{_SHORTCUTS[name]}.{name}={value}" for name, value in given.items() if value is not None]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
