"""A command that turns into a process of ours: the terminal, the signals and the exit code are that process's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from daw_bridge.cli.failures import CannotStart


def become(module: str, arguments: Sequence[str] = (), *, flags: Sequence[str] = ()) -> NoReturn:
    """Turn into ``python -m module``; where a process cannot turn into another, wait for it and leave as it does.

    Args:
        module: one of ours.
        arguments: for it.
        flags: settings, for its ``--set``; they come first.

    Raises:
        CannotStart: the interpreter cannot be started.
    """
    from daw_bridge.audio.devices import child_environment
    from daw_bridge.supervisor import module_command

    command = [*module_command(module, flags), *arguments]
    if sys.platform == "win32":
        raise typer.Exit(subprocess.run(command, env=child_environment(), check=False).returncode)
    sys.stdout.flush()
    try:
        os.execve(command[0], command, child_environment())
    except OSError as error:
        raise CannotStart(f"{command[0]}: {error.strerror}") from None
