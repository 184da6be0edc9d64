"""Pads and controllers for the bridge's service: mapped, learned, listed, kept for the next run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import mido
import msgspec

from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.engine_client import EngineClient
from daw_bridge.midi_input import MidiInput
from daw_bridge.orders import Tap
from daw_bridge.stream_table import StreamTable
from daw_bridge.triggers.board import Board
from daw_bridge.triggers.console import Console
from daw_bridge.triggers.controller import USUAL, Controller
from daw_bridge.triggers.inputs import OpenInput, TriggerInputs
from daw_bridge.triggers.pad import Opening, Pad
from daw_bridge.triggers.sources import Key, Stroke, position_of, source_of_stroke, stroke_of
from protocols.bridge_messages import (
    ClearTriggers,
    ForgetTrigger,
    Learn,
    Learned,
    MapController,
    MapPad,
    OpenTriggerInput,
    Strike,
    TriggerInfo,
    TriggerInput,
    TriggerInputState,
    TriggerList,
    TriggerRequest,
    Triggers,
)
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import build
from protocols.messages import Done, Event, Reply, Request
from protocols.osc.front import Asker, Peer
from protocols.settings import Settings

MAX_PADS = 128
MAX_CONTROLLERS = 128

_ALL_SOUND_OFF, _ALL_NOTES_OFF = 120, 123
_OF_EARLIER_RUNS = Asker(Peer("none", "", 0), "", 0)
_SHOWN = 200


class TriggerHost(Protocol):
    """What pads and controllers need of the bridge."""

    clock: ClockDesk
    streams: StreamTable
    engine: EngineClient | None

    @property
    def defaults(self) -> dict[str, object]:
        """What requests use where they leave a parameter out."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; raises RequestError."""

    def play(
        self, request: Opening, asker: Asker, tap: Tap | None = None, held: bool = False, patient: bool = False
    ) -> None:
        """Open a stream; raises RequestError."""

    def cancel(self, stream: Any) -> None:
        """Fade a stream out and end it."""

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell a client, and whoever listens."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run something on the loop's thread. Any thread."""


class Loudness(Protocol):
    """What is needed of `Player`."""

    gain: float


class _Reach:
    """The bridge, as pads and controllers see it."""

    def __init__(self, host: TriggerHost, player: Loudness) -> None:
        self._host = host
        self._player = player
        self.handle = host.handle
        self.cancel = host.cancel
        self.publish = host.publish
        self.call_soon = host.call_soon

    @property
    def defaults(self) -> dict[str, object]:
        return self._host.defaults

    @property
    def model(self) -> str:
        engine = self._host.engine
        welcome = engine.welcome if engine is not None and engine.ready else None
        return welcome.fingerprint if welcome is not None and welcome.model else ""

    @property
    def open(self) -> list[BridgeStream]:
        return self._host.streams.open

    @property
    def played(self) -> list[BridgeStream]:
        return self._host.streams.played

    @property
    def master_gain(self) -> float:
        return self._player.gain

    @property
    def clock_bpm(self) -> float:
        return self._host.clock.state().bpm

    def play(self, request: Opening, asker: Asker, tap: Tap, held: bool) -> None:
        self._host.play(request, asker, tap, held, patient=held)

    def in_time(self, request: Opening) -> Opening:
        return self._host.clock.in_time(request)

    def spare(self, number: int) -> None:
        stream, output = self._host.streams.get(number), self._host.clock.stage.output
        if stream is not None and output is not None:
            stream.stop_at(output, 0)


class TriggerDesk:
    """Everything that is played on pads and controllers. For the loop's thread only.

    Args:
        settings: of both processes.
        player: the sound card.
        host: the bridge.
        open_input: opens an input by a part of its name, and calls back (from any thread) when something was played on it.
        now: seconds.

    Attributes:
        revision: another number after each change of what `state` tells.
    """

    requests = TriggerRequest
    section = "triggers"

    def __init__(
        self,
        settings: Settings,
        player: Loudness,
        host: TriggerHost,
        open_input: Callable[[str, Callable[[], None]], OpenInput] = lambda name, wake: MidiInput(name, wake=wake),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.revision = 0
        self._host = host
        self._midi_input = settings.bridge.midi_input
        self._learning = ""
        self._opened_by: dict[str, Asker] = {}
        reach = _Reach(host, player)
        self._board = Board(reach, settings.bridge.ready, now)
        self._console = Console(reach, self._board, now)
        self._inputs = TriggerInputs(self, lambda name: open_input(name, self._wake), now)

    def handle(self, request: TriggerRequest, asker: Asker) -> Reply | None:
        """Carry a request out; None means that it is answered later.

        Raises:
            RequestError: EMPTY without a name; NOT_FOUND; BUSY for too many; as `Pad`, `Controller` and `TriggerInputs`.
        """
        match request:
            case MapPad():
                self._map_pad(request, asker)
            case MapController():
                self._map_controller(request, asker)
            case Learn(name=name):
                self._learn(name, asker)
            case Strike(name=name, velocity=velocity):
                key: Key = (f"osc {asker.peer.host}:{asker.peer.port}", 0, "note", -1)
                self._board.strike(self._pad(name), Stroke(key, -1, velocity), self._board.now_ns())
            case OpenTriggerInput(open=True, name=name):
                self._open_input(name or self._midi_input, asker)
                return None
            case OpenTriggerInput(name=name):
                self._inputs.give_back(name)
                self._changed()
                return TriggerInput(name=name)
            case Triggers():
                return self._list()
            case ForgetTrigger(name=name):
                if name not in self._console.controllers:
                    self._pad(name)
                self._board.remove(name)
                self._console.controllers.pop(name, None)
                self._changed()
            case ClearTriggers():
                self._clear()
        return Done()

    def pump(self) -> None:
        """Called every few milliseconds."""
        self._inputs.pump()
        self._board.pump()
        self._console.pump()

    def close(self) -> None:
        """Let go of inputs; streams are ended by the bridge."""
        self._board.close()
        self._inputs.close()

    # --- what inputs say ------------------------------------------------------------------------------------------------

    def played(self, source: str, at: int, message: mido.Message) -> None:
        """A message came on an input."""
        if self._learning and self._take(source, message):
            return
        if message.type == "control_change" and message.control in (_ALL_SOUND_OFF, _ALL_NOTES_OFF):
            channel = message.channel + 1
            self._board.let_go_of(lambda key: key[:2] == (source, channel))
        for pad in list(self._board.pads.values()):
            stroke = pad.source.stroke(source, message)
            if stroke is not None:
                self._board.failing(pad, lambda pad=pad, stroke=stroke: self._board.strike(pad, stroke, at))  # type: ignore[misc]
        self._console.play(source, message)

    def input_open(self, source: str) -> None:
        """An input is open, for the first time or again."""
        self._changed()
        self._host.publish(TriggerInputState(name=source, state="open"), self._opened_by.get(source))

    def input_lost(self, source: str) -> None:
        """An input is gone: a key that was held on it will never be let go."""
        self._board.let_go_of(lambda key: key[0] == source)
        self._host.publish(TriggerInputState(name=source, state="lost"), self._opened_by.get(source))

    # --- the map --------------------------------------------------------------------------------------------------------

    def _map_pad(self, request: MapPad, asker: Asker) -> None:
        pad = Pad(request, asker)
        self._check_name(pad.name, self._console.controllers)
        if len(self._board.pads) >= MAX_PADS and pad.name not in self._board.pads:
            raise RequestError(ErrorCode.BUSY, "pads", len(self._board.pads), f"at most {MAX_PADS}")
        self._board.add(pad)
        self._learning = pad.name if pad.source.kind == "learn" else self._learning
        self._changed()

    def _map_controller(self, request: MapController, asker: Asker) -> None:
        if not request.name:
            request = msgspec.structs.replace(request, name=shorten(request.parameter, 80))
        controllers = self._console.controllers
        one = Controller(request, asker)
        self._check_name(one.name, self._board.pads)
        if len(controllers) >= MAX_CONTROLLERS and one.name not in controllers:
            raise RequestError(ErrorCode.BUSY, "controllers", len(controllers), f"at most {MAX_CONTROLLERS}")
        controllers[one.name] = one
        self._learning = one.name if one.source.kind == "learn" else self._learning
        self._changed()

    @staticmethod
    def _check_name(name: str, taken: dict[str, Any]) -> None:
        if not name.strip():
            raise RequestError(ErrorCode.EMPTY, "name", name, "a name")
        if name in taken:
            raise RequestError(ErrorCode.BUSY, "name", name, "a name that is not taken; forget the other one first")

    def _pad(self, name: str) -> Pad:
        pad = self._board.pads.get(name)
        if pad is None:
            known = ", ".join([*self._board.pads, *self._console.controllers]) or "a pad; there is none"
            raise RequestError(ErrorCode.NOT_FOUND, "name", name, known)
        return pad

    def _learn(self, name: str, asker: Asker) -> None:
        if name and name not in self._console.controllers and name not in self._board.pads:
            if name not in USUAL:
                self._pad(name)
            low, high = USUAL[name]
            self._map_controller(MapController(parameter=name, control="learn", low=low, high=high), asker)
        self._learning = name

    def _take(self, source: str, message: mido.Message) -> bool:
        """Take what was played for what learns; False where it cannot be taken."""
        pad, one = self._board.pads.get(self._learning), self._console.controllers.get(self._learning)
        stroke, moved = stroke_of(source, message), position_of(message)
        if pad is not None and stroke is not None and stroke.velocity:
            found = source_of_stroke(stroke, pad.request.input)
            request = msgspec.structs.replace(pad.request, note=found.text, channel=found.channel)
            self._board.add(Pad(request, pad.owner))
            owner = pad.owner
        elif one is not None and moved is not None:
            kind, number, _ = moved
            found_text = str(number) if kind == "cc" else kind
            changed = msgspec.structs.replace(one.request, control=found_text, channel=message.channel + 1)
            learned = Controller(changed, one.owner)
            found = learned.source
            self._console.controllers[one.name] = learned
            owner = one.owner
        else:
            return pad is None and one is None and self._forget_learning()
        self._host.publish(Learned(name=self._learning, source=found.text, channel=found.channel), owner)
        self._forget_learning()
        self._changed()
        return True

    def _forget_learning(self) -> bool:
        self._learning = ""
        return False

    def _list(self) -> TriggerList:
        rows = [
            TriggerInfo(
                name=pad.name,
                kind="pad",
                source=pad.source.text,
                channel=pad.request.channel,
                does=shorten(pad.action.text, _SHOWN),
                mode=pad.request.mode,
                state="learn" if pad.name == self._learning else pad.state,
            )
            for pad in self._board.pads.values()
        ]
        rows += [
            TriggerInfo(
                name=one.name,
                kind="controller",
                source=one.source.text,
                channel=one.request.channel,
                does=shorten(one.parameter, _SHOWN),
                mode=one.request.takeover,
                state="learn" if one.name == self._learning else "free" if one.sent is None else f"{one.sent:.6g}",
            )
            for one in self._console.controllers.values()
        ]
        rows += [
            TriggerInfo(name=name, kind="input", source=name, channel=0, does="", mode="", state=state)
            for name, state in ((name, "open" if is_open else "lost") for name, is_open in self._inputs.states)
        ]
        return TriggerList(items=rows)

    # --- inputs ---------------------------------------------------------------------------------------------------------

    def _open_input(self, name: str, asker: Asker) -> None:
        def answered(answer: str | RequestError) -> None:
            if isinstance(answer, RequestError):
                self._host.fail(asker, answer)
            else:
                self._opened_by[answer] = asker
                self._host.done(asker, TriggerInput(name=answer))

        self._inputs.open(name, answered)

    def _wake(self) -> None:
        """Something was played. Any thread."""
        self._host.call_soon(self._inputs.pump)

    # --- from run to run ------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self.revision += 1

    def state(self) -> dict[str, Any]:
        """The map, and the inputs."""
        return {
            "pads": [msgspec.structs.asdict(pad.request) for pad in self._board.pads.values()],
            "controllers": [msgspec.structs.asdict(one.request) for one in self._console.controllers.values()],
            "inputs": self._inputs.wanted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Have the map as it was; inputs that are missing are opened, others stay open.

        Raises:
            RequestError: what cannot be taken; the rest is.
        """
        self._clear()
        refused: list[RequestError] = []
        for kind, entry in _entries(state):
            try:
                match kind:
                    case "pads":
                        self._map_pad(build(MapPad, entry), _OF_EARLIER_RUNS)
                    case "controllers":
                        self._map_controller(build(MapController, entry), _OF_EARLIER_RUNS)
                    case _ if entry["name"] not in self._inputs.wanted:
                        self._inputs.open(entry["name"], None)
            except RequestError as error:
                refused.append(error)
        self._learning = ""
        if refused:
            raise refused[0]

    def _clear(self) -> None:
        for name in list(self._board.pads):
            self._board.remove(name)
        self._console.controllers.clear()
        self._changed()


def _entries(state: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was kept, as far as it has the form of what is kept."""
    for kind in ("pads", "controllers", "inputs"):
        rows = state.get(kind)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, str):
                row = {"name": row}
            if isinstance(row, dict):
                yield kind, row
