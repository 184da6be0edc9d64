"""Layers gone on with by the engine: once, again and again, or in several ways to choose from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from daw_bridge.background import Background
from daw_bridge.clock.clocks import told_metre
from daw_bridge.loops.grid import NOWHERE, Grid, Place
from daw_bridge.loops.layer import Layer
from daw_bridge.loops.making import Making, MakingHost
from daw_bridge.loops.recording import SHORTEST_S
from daw_bridge.loops.take import TAIL_S, Take
from protocols.errors import ErrorCode, RequestError
from protocols.loop_messages import MAX_LOOP_SECONDS, ContinueLoop, LoopMaking, VaryLoop
from protocols.osc.front import Asker

LETTERS = "ABCDEFGH"

FIRST_GUESS = Fraction(3, 5)
"""How long the engine needs for a second of sound, as long as it has not been seen."""

RETRY_S = 2.0
"""After this a layer that feeds on itself asks again, where the engine could not."""

_RESERVE = Fraction(5, 4)  # of what it needed lately
_FORGET = Fraction(1, 2)
_LEAST_S = Fraction(1, 2)

Tell = Callable[[Layer, str, Place, str, str], None]


@dataclass
class _Feeding:
    request: ContinueLoop
    asker: Asker
    on: bool
    again_at: float = 0.0


class Continuing:
    """What is being made for the layers. For the loop's thread only.

    Args:
        host: the bridge.
        grid: the clock's lines.
        background: where sound is resampled.
        tell: tells what becomes of a layer: state, place, take and a note.
        at_tempo: a take as it plays, which is on disk or on its way there: what the engine is to hear has the clock's tempo.
    """

    def __init__(
        self, host: MakingHost, grid: Grid, background: Background, tell: Tell, at_tempo: Callable[[Take], Take]
    ) -> None:
        self._host = host
        self._grid = grid
        self._background = background
        self._tell = tell
        self._at_tempo = at_tempo
        self._next: dict[int, Making] = {}
        self._variations: dict[int, Making] = {}
        self._feeding: dict[int, _Feeding] = {}
        self._needed = FIRST_GUESS
        self._count = 0

    def under_way(self, layer: Layer) -> int:
        """How many takes are being made for a layer."""
        makings = (self._next.get(layer.number), self._variations.get(layer.number))
        return sum(making.under_way for making in makings if making is not None)

    def feeds(self, layer: Layer) -> bool:
        """Whether a layer goes on feeding on itself."""
        feeding = self._feeding.get(layer.number)
        return feeding is not None and feeding.on

    def go_on(self, layer: Layer, request: ContinueLoop, asker: Asker) -> Place:
        """Make what comes after a layer's loop; the loop end is told at which it is expected.

        Raises:
            RequestError: EMPTY for a layer without a loop; OUT_OF_RANGE for a length or a tempo that cannot be made.
        """
        place = self._make_next(layer, layer.history.present(), request, asker, self._needed)
        self._feeding[layer.number] = _Feeding(request, asker, request.feed)
        return place

    def feed(self, layer: Layer, on: bool) -> None:
        """Let a layer go on feeding on itself, or no longer.

        Raises:
            RequestError: EMPTY where it has never been gone on with.
        """
        feeding = self._feeding.get(layer.number)
        if feeding is not None:
            feeding.on = on
        elif on:
            allowed = "a layer that was gone on with: /bridge/loop/continue"
            raise RequestError(ErrorCode.EMPTY, "layer", layer.number, allowed)

    def vary(self, layer: Layer, request: VaryLoop, asker: Asker) -> None:
        """Make variations of what comes after a layer's loop.

        Raises:
            RequestError: as `go_on`.
        """
        source = layer.history.present()
        self._count += 1
        letters = LETTERS[: request.count]
        names = [f"{letter} layer {layer.number} take {self._count}" for letter in letters]

        def made(index: int, take: Take) -> None:
            layer.variations[letters[index]] = take
            self._tell(layer, "ready", NOWHERE, take.name, "")

        making = self._making(source, request, names, asker, made, lambda error: self._failed(layer, error))
        self._replace(self._variations, layer, making)
        layer.variations = {}
        self._tell(layer, "making", NOWHERE, source.name, f"{request.count} variations")

    def began(self, layer: Layer, take: Take) -> None:
        """Another take begins: one that feeds on itself goes on from there."""
        feeding = self._feeding.get(layer.number)
        making = self._next.get(layer.number)
        if feeding is None or not feeding.on or (making is not None and making.source.number == take.number):
            return
        self._try_again(layer, take, feeding)

    def cancel(self, layer: Layer) -> None:
        """Nothing more is wanted for a layer."""
        for makings in (self._next, self._variations):
            if (making := makings.pop(layer.number, None)) is not None:
                making.cancel()
        self._feeding.pop(layer.number, None)
        layer.promised = None

    def pump(self, layers: list[Layer]) -> None:
        """To be called every few milliseconds."""
        for makings in (self._next, self._variations):
            for number, making in list(makings.items()):
                making.pump()
                if not making.under_way:
                    makings.pop(number, None)
        now = time.monotonic()
        for layer in layers:
            feeding = self._feeding.get(layer.number)
            if feeding is None or not feeding.on or layer.number in self._next or now < feeding.again_at:
                continue
            take = layer.take
            if layer.sounding is not None and take is not None and layer.sounding.number == take.number:
                self._try_again(layer, take, feeding)

    def _try_again(self, layer: Layer, take: Take, feeding: _Feeding) -> None:
        feeding.again_at = time.monotonic() + RETRY_S
        try:
            # It is wanted at the end of the first turn, whether the engine is so fast or not.
            self._make_next(layer, take, feeding.request, feeding.asker, Fraction(0))
        except RequestError as error:
            self._failed(layer, error)

    def _make_next(self, layer: Layer, source: Take, request: ContinueLoop, asker: Asker, needed: Fraction) -> Place:
        self._count += 1

        def made(_: int, take: Take) -> None:
            took = Fraction(time.monotonic() - making.began).limit_denominator(1000)
            self._needed = max(self._needed * _FORGET, took / making.seconds * _RESERVE)
            place = layer.follow_as_promised(take)
            self._tell(layer, "waiting", place, take.name, "")

        name = f"layer {layer.number} take {self._count}"
        making = self._making(source, request, [name], asker, made, lambda error: self._failed(layer, error))
        self._replace(self._next, layer, making)
        layer.promised = layer.next_end(max(_LEAST_S, making.seconds * needed) * self._grid.bpm / 60)
        place = self._grid.place(layer.promised)
        self._tell(layer, "making", place, source.name, "")
        return place

    def _making(
        self,
        source: Take,
        request: LoopMaking,
        names: list[str],
        asker: Asker,
        made: Callable[[int, Take], None],
        failed: Callable[[RequestError], None],
    ) -> Making:
        grid = self._grid
        beats = request.bars * grid.beats_per_bar or source.beats
        seconds = beats * 60 / grid.bpm
        if not SHORTEST_S <= seconds <= MAX_LOOP_SECONDS - TAIL_S:
            raise too_long("bars", float(seconds))
        making = Making(
            self._host,
            self._background,
            self._at_tempo(source),
            request,
            beats=beats,
            bpm=grid.bpm,
            rate=grid.rate,
            names=names,
            asker=asker,
            made=made,
            failed=failed,
            metre=told_metre(grid.beats_per_bar),
        )
        making.pump()
        return making

    def _replace(self, makings: dict[int, Making], layer: Layer, making: Making) -> None:
        """The new one counts; what was on its way is not wanted any more."""
        before = makings.get(layer.number)
        if before is not None:
            before.cancel()
        makings[layer.number] = making

    def _failed(self, layer: Layer, error: RequestError) -> None:
        layer.promised = None
        self._tell(layer, "failed", NOWHERE, "", error.text)


def too_long(field: str, seconds: float) -> RequestError:
    """The refusal of a loop of so many seconds."""
    return RequestError(
        ErrorCode.OUT_OF_RANGE, field, f"{seconds:.4g} s", f"loops of {SHORTEST_S:g} to {MAX_LOOP_SECONDS - TAIL_S:g} s"
    )
