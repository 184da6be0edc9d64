"""All controllers, and how what they set reaches streams, the clock and the sound."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import mido

from daw_bridge.audio.feeder import Feeder
from daw_bridge.orders import Insider
from daw_bridge.triggers.board import Board
from daw_bridge.triggers.controller import CROSSFADE, LEVEL, STREAM_PARAMETERS, Controller
from daw_bridge.triggers.pad import Pad
from daw_bridge.wording import Wording
from protocols.bridge_messages import BridgeUpdate, SetClock, SetLevel, TriggerFailed
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build
from protocols.messages import PROMPT_SEPARATOR, Event, Reply, Request
from protocols.osc.front import Asker

_WEIGHTS = "weights"
_SILENCE_DB = -120.0


class OpenStream(Protocol):
    """What a controller needs of `BridgeStream`."""

    number: int
    wording: Wording

    @property
    def voice(self) -> Feeder | None: ...


class ConsoleHost(Protocol):
    """What controllers need of the bridge."""

    @property
    def defaults(self) -> dict[str, object]:
        """What requests use where they leave a parameter out."""

    @property
    def open(self) -> Sequence[OpenStream]:
        """The streams that have a number, oldest first; of pads also those that are kept ready."""

    @property
    def played(self) -> Sequence[OpenStream]:
        """Those of them that somebody has asked to hear."""

    @property
    def master_gain(self) -> float:
        """Linear gain of everything."""

    @property
    def clock_bpm(self) -> float:
        """Tempo of the clock."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; raises RequestError."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell a client, and whoever listens."""


class Console:
    """Moves controllers. For the loop's thread only.

    Args:
        host: the bridge.
        board: the pads whose streams controllers may mean.
        now: seconds.
    """

    def __init__(self, host: ConsoleHost, board: Board, now: Callable[[], float] = time.monotonic) -> None:
        self.controllers: dict[str, Controller] = {}
        self._host = host
        self._board = board
        self._now = now

    def play(self, source: str, message: mido.Message) -> None:
        """A message came on an input."""
        for one in self.controllers.values():
            position = one.source.position(source, message)
            if position is not None:
                try:
                    one.moved(position, self._value_now(one) if one.known else None)
                except RequestError as error:
                    self._answered(one, error)
        self.pump()

    def pump(self) -> None:
        """Called every few milliseconds, and after each message: set what is due."""
        now = self._now()
        for one in self.controllers.values():
            value = one.due(now)
            if value is not None:
                try:
                    self._set(one, value)
                except RequestError as error:
                    self._answered(one, error)

    def _set(self, one: Controller, value: float) -> None:
        """Ask for what a controller sets."""
        pad = self._pad(one)
        if pad is not None and one.parameter == LEVEL:
            self._board.set_fader(pad, value)
            one.failed = False
            return
        if pad is not None and one.parameter in STREAM_PARAMETERS:
            pad.shapes[one.parameter] = _number(one.parameter, value)
        for path, request in self._asked(one, pad, value):
            asker = Insider(one.owner.peer, path, 0, lambda answer: self._answered(one, answer))
            reply = self._host.handle(request, asker)
            if reply is not None:
                self._answered(one, reply)

    def _asked(self, one: Controller, pad: Pad | None, value: float) -> list[tuple[str, Request]]:
        """What a controller asks for, each with its address."""
        if one.action is not None:
            return [(one.action.path, one.action.request(self._host.defaults, value))]
        meant = self._meant(one, pad)
        match one.parameter:
            case "master":
                return [("/bridge/level", SetLevel(stream=0, level=value))]
            case "clock":
                return [("/bridge/clock", SetClock(bpm=value))]
            case "level":
                return [("/bridge/level", SetLevel(stream=stream.number, level=value)) for stream in meant]
            case name if name in STREAM_PARAMETERS:
                all_at_once = pad is None and not one.request.stream and bool(meant)
                numbers = [0] if all_at_once else [stream.number for stream in meant]
                changed = {name: _number(name, value)}
                return [("/bridge/update", build(BridgeUpdate, {"stream": number, **changed})) for number in numbers]
        changes = [(stream.number, self._weights(stream, one.parameter, value)) for stream in meant]
        if pad is not None:
            pad.shapes.update((_WEIGHTS, weights) for _, weights in changes if weights)
        return [
            ("/bridge/update", BridgeUpdate(stream=number, weights=weights)) for number, weights in changes if weights
        ]

    def _weights(self, stream: OpenStream, name: str, value: float) -> str:
        """The weights of a stream's prompts with one of them set; empty where it has too few prompts."""
        numbers = self._weights_now(stream)
        if name == CROSSFADE and len(numbers) >= 2:
            numbers[:2] = [1 - value, value]
        elif name != CROSSFADE and int(name.removeprefix("weight")) <= len(numbers) > 1:
            numbers[int(name.removeprefix("weight")) - 1] = value
        else:
            return ""
        # Weights of nothing at all are none.
        return " ".join(f"{number:.6g}" for number in numbers) if any(numbers) else ""

    def _weights_now(self, stream: OpenStream) -> list[float]:
        told = str(dict(stream.wording.asked.values).get(_WEIGHTS) or "").replace(",", " ").split()
        count = len(stream.wording.words.split(PROMPT_SEPARATOR))
        try:
            numbers = [float(word) for word in told]
        except ValueError:
            numbers = []
        return numbers if len(numbers) == count else [1 / count] * count

    def _value_now(self, one: Controller) -> float | None:
        """What the parameter of a controller is set to; of several streams, that of the latest. None where nobody knows."""
        pad = self._pad(one)
        match one.parameter:
            case "master":
                return _decibels(self._host.master_gain)
            case "clock":
                return self._host.clock_bpm
            case "level" if pad is not None:
                return pad.fader_db
            case name if pad is not None and name in STREAM_PARAMETERS and name in pad.shapes:
                return float(pad.shapes[name])
        stream = next(reversed(self._meant(one, pad)), None)
        return None if stream is None else self._value_of(stream, one.parameter)

    def _value_of(self, stream: OpenStream, parameter: str) -> float | None:
        match parameter:
            case "level":
                return None if stream.voice is None else _decibels(stream.voice.gain)
            case "bpm":
                return stream.wording.facts.bpm or None
            case name if name in STREAM_PARAMETERS:
                value = dict(stream.wording.asked.values).get(name)
                return None if value is None else float(value)
        numbers = self._weights_now(stream)
        if parameter == CROSSFADE:
            return _share_of_second(numbers)
        index = int(parameter.removeprefix("weight")) - 1
        return numbers[index] if index < len(numbers) else None

    def _meant(self, one: Controller, pad: Pad | None) -> list[OpenStream]:
        """The streams that a controller means."""
        if pad is None:
            return [stream for stream in self._host.played if one.request.stream in (0, stream.number)]
        mine = {sound.number for sound in (*pad.ready, *pad.sounds) if not sound.leaving}
        return [stream for stream in self._host.open if stream.number in mine]

    def _pad(self, one: Controller) -> Pad | None:
        if not one.request.pad:
            return None
        pad = self._board.pads.get(one.request.pad)
        if pad is None:
            known = ", ".join(self._board.pads) or "a pad; there is none"
            raise RequestError(ErrorCode.NOT_FOUND, "pad", one.request.pad, known)
        return pad

    def _answered(self, one: Controller, answer: Reply | RequestError) -> None:
        """Tell the first refusal of a row: a knob sends 25 a second."""
        refused = isinstance(answer, RequestError)
        if isinstance(answer, RequestError) and not one.failed:
            self._host.publish(TriggerFailed(name=one.name, code=str(answer.code), text=answer.text), one.owner)
        one.failed = refused


def _number(parameter: str, value: float) -> int | float:
    return int(value) if parameter == "top_k" else value


def _share_of_second(weights: list[float]) -> float | None:
    """Where between the first two prompts a stream is, from 0 to 1; None where it is at none of both."""
    both = weights[0] + weights[1] if len(weights) >= 2 else 0.0
    return weights[1] / both if both else None


def _decibels(gain: float) -> float:
    return max(_SILENCE_DB, 20 * math.log10(gain)) if gain > 0 else _SILENCE_DB
