"""``daw-bridge train``: the training, which is a process of the engine's side; everything that it takes, it explains itself."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from daw_bridge.cli.failures import CannotStart

MODULE = "engine.training"
PACKAGES = {"matplotlib": "matplotlib", "fluidsynth": "pyfluidsynth"}
"""What the extra ``train`` brings: module and package."""

_ASKING = frozenset(("-h", "--help", "recipe"))


def train(context: typer.Context) -> None:
    """Make a model of your own; see `train --help`."""
    become_training(context.args)


def missing_packages(is_there: Callable[[str], object] = importlib.util.find_spec) -> list[str]:
    """The packages of the extra ``train`` that are not installed."""
    return [package for module, package in PACKAGES.items() if not is_there(module)]


def check_packages(arguments: Sequence[str], missing: Sequence[str]) -> None:
    """Refuse to begin what cannot be ended; help is given in any case.

    Raises:
        CannotStart: with the line that installs what is missing.
    """
    if missing and arguments and not _ASKING.intersection(arguments):
        line = f"{sys.executable} -m pip install 'daw-bridge[train]'"
        raise CannotStart(f"training needs {' and '.join(missing)}, not installed here; to install: {line}")


def become_training(arguments: Sequence[str]) -> NoReturn:
    """Turn into the training, so that the terminal, the signals and the exit code are its own.

    Where a process cannot turn into another, it waits for it, and leaves Ctrl-C, which reaches both, to it.

    Raises:
        CannotStart: packages that training needs are not installed.
    """
    from daw_bridge.audio.devices import child_environment
    from daw_bridge.supervisor import module_command

    check_packages(arguments, missing_packages())
    command = [*module_command(MODULE, ()), *(arguments or ["--help"])]
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(subprocess.run(command, env=child_environment(), check=False).returncode)
    os.execve(command[0], command, child_environment())
