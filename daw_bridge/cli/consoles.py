"""Where the command line writes for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console() -> Console:
    """People read the standard error stream here; the standard output is for programs."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True)
