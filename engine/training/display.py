"""How a long run is watched: bars on a terminal, lines of a log everywhere else."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LOG = logging.getLogger(__name__)

Advance = Callable[[float, str], None]
"""Says how much is done, and a few words about it."""


class Display:
    """Shows progress, and the lines of the log above it; one thread.

    Args:
        console: where to; the standard error stream by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True)

    def open_log(self) -> None:
        """Send the process's log here."""
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
        if self._console.is_terminal:
            handler = _Above(self._console)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        # It reports every request for a picture's font.
        logging.getLogger("matplotlib").setLevel(logging.WARNING)

    @contextmanager
    def bar(self, title: str, total: float, *, lines: bool = False) -> Iterator[Advance]:
        """Show one stage while it runs.

        Args:
            title: of the stage.
            total: what is done in the end.
            lines: whether each advance is a line of the log where there are no bars; for stages that log nothing themselves.
        """
        if not self._console.is_terminal:

            def say(done: float, words: str) -> None:
                if lines:
                    _LOG.info("%s: %g of %g  %s", title, done, total, words)

            yield say
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=total, words="")
            yield lambda done, words: progress.update(task, completed=done, words=words)


class _Above(logging.Handler):
    """Prints above the bars, which a plain stream would tear apart."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), markup=False, highlight=False)
