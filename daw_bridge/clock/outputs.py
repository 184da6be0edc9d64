"""The MIDI outputs that get a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import structlog

from daw_bridge.clock.clocks import Clock
from daw_bridge.clock.sender import ClockOutput, ClockSender
from protocols.errors import ErrorCode, RequestError

log = structlog.get_logger()

MAX_OUTPUTS = 8
"""Each has a process of its own."""

_REOPEN_S = Fraction(2)


class SentOutput(ClockOutput, Protocol):
    """What is needed of `MidiOutput`."""

    error: RequestError | None

    def pump(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class _Open:
    output: SentOutput
    sender: ClockSender


class ClockOutputs:
    """Sends the clock to any number of outputs; one that goes away is opened again when it is back. For the I/O loop's thread.

    Args:
        open_output: opens an output by its name.
        perf_ns: the clock of the outputs' moments, ns.
    """

    def __init__(
        self, open_output: Callable[[str], SentOutput], perf_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._perf_ns = perf_ns
        self._open_output = open_output
        self._open: dict[str, _Open | None] = {}
        self._reopen_at = Fraction(0)

    @property
    def names(self) -> list[str]:
        """Of the outputs, also of those that are looked for."""
        return list(self._open)

    def add(self, name: str) -> None:
        """Send to an output too.

        Raises:
            RequestError: BUSY.
        """
        if name in self._open:
            return
        if len(self._open) >= MAX_OUTPUTS:
            raise RequestError(ErrorCode.BUSY, "port", len(self._open), f"at most {MAX_OUTPUTS} outputs")
        self._open[name] = self._opened(name)

    def remove(self, wanted: str) -> None:
        """Send no longer to the output with this in its name, capitals aside; its receivers are stopped.

        Raises:
            RequestError: NOT_FOUND about ``port``.
        """
        found = next((name for name in self._open if wanted.strip().lower() in name.lower()), None)
        if found is None:
            known = ", ".join(self._open) or "an output that gets a clock; none does"
            raise RequestError(ErrorCode.NOT_FOUND, "port", wanted, known)
        left = self._open.pop(found)
        if left is not None:
            left.output.close()

    def pump(self, clock: Clock) -> None:
        """To be called every few milliseconds."""
        if not self._open:
            return
        for name, one in self._open.items():
            if one is None:
                continue
            one.output.pump()
            if one.output.error is not None:
                log.warning("a MIDI output is not there; it is looked for", name=name, reason=one.output.error.text)
                one.output.close()
                self._open[name], self._reopen_at = None, clock.now() + _REOPEN_S
            else:
                one.sender.pump(clock)
        if None in self._open.values() and clock.now() >= self._reopen_at:
            self._open = {name: one or self._opened(name) for name, one in self._open.items()}

    def close(self) -> None:
        """Stop the receivers and give the outputs back."""
        for one in self._open.values():
            if one is not None:
                one.output.close()
        self._open = {}

    def _opened(self, name: str) -> _Open:
        output = self._open_output(name)
        return _Open(output, ClockSender(output, self._perf_ns))
