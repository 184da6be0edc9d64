"""Ctrl-C and the polite kind of kill, as a long run takes them: it saves its state and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Stopped(Exception):  # noqa: N818 -- it reads as the sentence that it is
    """A run was asked to end, and did; what it has done so far is on disk."""


class Stop:
    """Whether SIGINT or SIGTERM came; a context manager that listens, for the main thread.

    Attributes:
        number: of the first signal; 0 before one came.
    """

    def __init__(self) -> None:
        self.number = 0
        self._raises = False
        self._held: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._held[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._held.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Leave when a signal came.

        Raises:
            Stopped: one did.
        """
        if self.number:
            raise Stopped

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """In here a signal does not wait to be asked for: for work that is written whole or not at all.

        Raises:
            Stopped: a signal came.
        """
        self.check()
        self._raises = True
        try:
            yield
        except KeyboardInterrupt:
            raise Stopped from None
        finally:
            self._raises = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        if self._raises:
            self._raises = False
            raise KeyboardInterrupt
