"""The layers as the bridge remembers them: by the files of their takes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import structlog

from daw_bridge.bridge_stream import linear_gain
from daw_bridge.loops.intake import read_loop
from daw_bridge.loops.layer import Layer
from daw_bridge.loops.take import Take
from protocols.errors import ErrorCode, RequestError
from protocols.loop_messages import MAX_LAYERS, MAX_LOOP_SECONDS
from protocols.settings import FileSettings

log = structlog.get_logger()
T = TypeVar("T")

_RATE = 48_000
_MOST_BEATS = 8192


class KeptLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a layer: its present take's file, and how loud it is."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    start: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    length: Annotated[float, msgspec.Meta(gt=0, le=MAX_LOOP_SECONDS)]
    beats: Annotated[int, msgspec.Meta(ge=1, le=_MOST_BEATS)]
    level: Annotated[float, msgspec.Meta(ge=-120, le=12)] = 0.0
    muted: bool = False


class Layers(Protocol):
    """What is needed of `LoopDesk`."""

    layers: dict[int, Layer]
    """Those that were asked for, by number."""

    def layer(self, number: int) -> Layer:
        """The layer of a number."""


class Reader(Protocol):
    """What is needed of `Background`."""

    def read(self, work: Callable[[], T], go: Callable[[T], None], fail: Callable[[RequestError], None]) -> None:
        """Read a file and go on with what came of it; raises BUSY."""


class KeptLoops:
    """The layers' takes, by their files, for the next run and for sets (`Keeps`). For the loop's thread only.

    A layer that is restored holds its take and stands still until `/bridge/loop/again`; one that holds this file already goes on.

    Args:
        desk: of the loops.
        files: where they may lie.
        reader: reads them.
    """

    section = "loops"

    def __init__(self, desk: Layers, files: FileSettings, reader: Reader) -> None:
        self._desk = desk
        self._files = files
        self._reader = reader
        self._coming: dict[int, KeptLayer] = {}

    @property
    def revision(self) -> object:
        return tuple(self._layers().items())

    def state(self) -> dict[str, Any]:
        return {str(number): msgspec.to_builtins(kept) for number, kept in self._layers().items()}

    def restore(self, state: dict[str, Any]) -> None:
        refused: RequestError | None = None
        wanted: dict[int, KeptLayer] = {}
        for name, value in state.items():
            try:
                kept = msgspec.convert(value, KeptLayer)
                if not 1 <= int(name) <= MAX_LAYERS:
                    raise ValueError(f"1 to {MAX_LAYERS}")
                wanted[int(name)] = kept
            except ValueError as error:
                refused = RequestError(ErrorCode.MALFORMED, f"layer {name}", str(error), "a layer of loops")
        here = self._layers()
        for number, layer in self._desk.layers.items():
            if number not in wanted:
                layer.clear()
        for number, kept in wanted.items():
            there = here.get(number)
            if there is not None and (there.path, there.start, there.beats) == (kept.path, kept.start, kept.beats):
                self._set(self._desk.layer(number), kept)
                continue
            try:
                self._read(number, kept)
            except RequestError as error:
                refused = error
        if refused is not None:
            raise refused

    def _layers(self) -> dict[int, KeptLayer]:
        """Those whose take is on disk, and those that are being read."""
        kept = dict(self._coming)
        for number, layer in self._desk.layers.items():
            take = layer.take
            if number not in kept and take is not None and take.file is not None:
                kept[number] = KeptLayer(
                    path=str(take.file.path),
                    start=take.file.start,
                    length=take.file.length,
                    beats=take.beats,
                    level=layer.level_db,
                    muted=layer.muted,
                )
        return dict(sorted(kept.items()))

    def _read(self, number: int, kept: KeptLayer) -> None:
        def go(take: Take) -> None:
            if self._coming.get(number) is kept:
                del self._coming[number]
                layer = self._desk.layer(number)
                layer.stop("now")
                layer.keep(take)
                self._set(layer, kept)

        def fail(error: RequestError) -> None:
            if self._coming.get(number) is kept:
                del self._coming[number]
            log.warning("a loop is not as it was", layer=number, path=Path(kept.path).name, reason=error.text)

        # So many bars of one beat: its length in beats is known, whatever the clock's metre is now.
        read = partial(read_loop, self._files, kept.path, kept.start, kept.length, kept.beats)
        self._coming[number] = kept
        try:
            self._reader.read(lambda: read(rate=_RATE, beats_per_bar=1, bpm=Fraction(120)), go, fail)
        except RequestError:
            del self._coming[number]
            raise

    def _set(self, layer: Layer, kept: KeptLayer) -> None:
        layer.level_db = kept.level
        layer.track.set_level(linear_gain(kept.level))
        if layer.muted != kept.muted:
            layer.mute(kept.muted, "now")
