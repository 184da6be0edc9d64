"""Addresses beside the requests that hold one value each: asked for without an argument, set with one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from protocols.errors import ErrorCode, RequestError
from protocols.fields import FieldSpec, fields_of
from protocols.messages import Reply
from protocols.osc.codec import Argument
from protocols.osc.form import sendable
from protocols.osc.front import Asker


class Parameters(Protocol):
    """Some addresses of a process, each with a value. For the loop's thread only."""

    def owns(self, path: str) -> bool:
        """Whether an address is one of these, or would be if what it names existed."""

    def take(self, path: str, arguments: Sequence[Argument], asker: Asker) -> Argument | None:
        """Set a value, or with no arguments return it. May raise RequestError."""

    def told(self) -> Mapping[str, Argument]:
        """The values that listeners are kept told of, by address: a new one is told all."""


class StatusParameters:
    """Each value of a process's status at an address of its own, to be read: ``/bridge/status/state``.

    Args:
        root: ``engine`` or ``bridge``.
        kind: class of the status.
        report: makes it; asked at most every ``every`` seconds.
        every: seconds that an answer is good for.
    """

    def __init__(self, root: str, kind: type[Reply], report: Callable[[], Reply], every: float = 0.25) -> None:
        self._start = f"/{root}/status/"
        self._kind = kind
        self._report = report
        self._every = every
        self._values: dict[str, Argument] = {}
        self._asked = -every

    @property
    def specs(self) -> dict[str, FieldSpec]:
        """What there is to be read, by address."""
        return {self._start + name: spec for name, spec in fields_of(self._kind).items() if spec.osc}

    def values(self) -> Mapping[str, Argument]:
        """All of it, by address."""
        now = time.monotonic()
        if now - self._asked >= self._every:
            report = self._report()
            self._values = {path: sendable(getattr(report, spec.name)) for path, spec in self.specs.items()}
            self._asked = now
        return self._values

    def owns(self, path: str) -> bool:
        """Whether it is below the status."""
        return path.startswith(self._start)

    def take(self, path: str, arguments: Sequence[Argument], asker: Asker) -> Argument:
        """Return a value.

        Raises:
            RequestError: UNKNOWN_PARAMETER; UNSUPPORTED for a value to set.
        """
        values = self.values()
        name = path.removeprefix(self._start)
        if path not in values:
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, name, None, ", ".join(fields_of(self._kind)))
        if arguments:
            raise RequestError(ErrorCode.UNSUPPORTED, name, arguments[0], "no value: it can only be read")
        return values[path]

    def told(self) -> Mapping[str, Argument]:
        """Nothing: it changes all the time."""
        return {}
