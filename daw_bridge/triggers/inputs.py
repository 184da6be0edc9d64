"""The MIDI inputs that pads and controllers are played on: opened, lost, and taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import mido

from protocols.errors import ErrorCode, RequestError

MAX_INPUTS = 8
"""Each has a process of its own."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 10.0


class OpenInput(Protocol):
    """What is needed of `MidiInput`."""

    name: str
    error: RequestError | None

    def read(self) -> list[tuple[int, mido.Message]]: ...
    def close(self) -> None: ...


class InputsHost(Protocol):
    """Who hears of inputs."""

    def played(self, source: str, at: int, message: mido.Message) -> None:
        """A message came on an input, at a moment of ``time.perf_counter_ns``."""

    def input_open(self, source: str) -> None:
        """An input is open, for the first time or again."""

    def input_lost(self, source: str) -> None:
        """An input is gone; what is held on it is let go."""


@dataclass(eq=False)
class _Wanted:
    wanted: str
    input: OpenInput | None
    answer: Callable[[str | RequestError], None] | None
    name: str = ""
    is_open: bool = False
    wait: float = _FIRST_WAIT_S
    retry: float = field(default=0.0)


class TriggerInputs:
    """Every input that is wanted. For the loop's thread only.

    Args:
        host: hears what is played.
        open_input: opens an input by a part of its name; see `MidiInput`.
        now: seconds.
    """

    def __init__(
        self, host: InputsHost, open_input: Callable[[str], OpenInput], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._open = open_input
        self._now = now
        self._inputs: list[_Wanted] = []

    @property
    def wanted(self) -> list[str]:
        """Their names: as the system spells them where they have been open, else as they were asked for."""
        return [one.name or one.wanted for one in self._inputs]

    @property
    def states(self) -> list[tuple[str, bool]]:
        """Their names, and whether they are open."""
        return [(one.name or one.wanted, one.is_open) for one in self._inputs]

    def open(self, name: str, answer: Callable[[str | RequestError], None] | None) -> None:
        """Open an input; ``answer`` hears its name, or why it cannot be. Without one it is looked for until it is there.

        Raises:
            RequestError: BUSY.
        """
        if len(self._inputs) >= MAX_INPUTS:
            raise RequestError(ErrorCode.BUSY, "inputs", len(self._inputs), f"at most {MAX_INPUTS} at once")
        self._inputs.append(_Wanted(name, self._open(name), answer))

    def give_back(self, name: str) -> None:
        """Close the inputs with this in their name.

        Raises:
            RequestError: NOT_FOUND.
        """
        meant = [one for one in self._inputs if name.lower() in (one.name or one.wanted).lower()]
        if name and not meant:
            known = ", ".join(self.wanted) or "an input that is open; there is none"
            raise RequestError(ErrorCode.NOT_FOUND, "name", name, known)
        for one in meant:
            self._leave(one, RequestError(ErrorCode.NOT_FOUND, "name", name, "an input that was not given back"))

    def pump(self) -> None:
        """Called every few milliseconds, and when something was played."""
        for one in list(self._inputs):
            if one.input is None:
                if self._now() >= one.retry:
                    one.input = self._open(one.name or one.wanted)
                continue
            played = one.input.read()
            if one.input.name and not one.is_open:
                self._opened(one, one.input.name)
            for at, message in played if one.is_open else ():
                self._host.played(one.name, at, message)
            if one in self._inputs and one.input is not None and one.input.error is not None:
                self._lost(one, one.input, one.input.error)

    def close(self) -> None:
        """Give all of them back; they are still wanted, by the next run."""
        for one in self._inputs:
            if one.input is not None:
                one.input.close()
            one.input, one.is_open, one.retry = None, False, math.inf

    def _opened(self, one: _Wanted, name: str) -> None:
        one.wait = _FIRST_WAIT_S
        answer, one.answer = one.answer, None
        if any(other.name == name for other in self._inputs if other is not one):
            if one.input is not None:
                one.input.close()
            self._inputs.remove(one)  # it is open already
        else:
            one.name, one.is_open = name, True
            self._host.input_open(name)
        if answer is not None:
            answer(name)

    def _lost(self, one: _Wanted, source: OpenInput, error: RequestError) -> None:
        was_open, one.is_open = one.is_open, False
        source.close()
        one.input = None
        if one.answer is not None:
            self._leave(one, error)
            return
        one.retry = self._now() + one.wait
        one.wait = min(2 * one.wait, _LONGEST_WAIT_S)
        if was_open:
            self._host.input_lost(one.name)

    def _leave(self, one: _Wanted, error: RequestError) -> None:
        self._inputs.remove(one)
        if one.input is not None:
            one.input.close()
        answer, one.answer = one.answer, None
        if answer is not None:
            answer(error)
        elif one.is_open:
            self._host.input_lost(one.name)
