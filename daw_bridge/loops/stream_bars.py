"""The last bars of a stream that plays, taken as a loop after they were heard."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

import numpy as np

from daw_bridge.holdover import History
from daw_bridge.loops.grid import NOWHERE, Grid
from daw_bridge.loops.take import TAIL_S, Take
from protocols.errors import ErrorCode, RequestError

_READINGS = 6
_OFF_S = 0.001


class Source(Protocol):
    """A stream: `BridgeStream`, as far as it matters here."""

    number: int

    @property
    def played(self) -> int:
        """Its sample that is about to be heard."""

    @property
    def rates(self) -> tuple[int, int]:
        """Of its sound, in Hz, and how many samples a codec frame has."""

    @property
    def history(self) -> History | None:
        """The latest part of it; None where it is not played."""


class StreamBars:
    """Takes the bars up to the last bar line that was heard. For one thread; attributes as those of `Recording`.

    Which sample of the stream sounds at which frame of the card is told by two counters of the audio callback, one of which is
    moved a moment before the other: of several readings the least difference counts.
    """

    def __init__(self, grid: Grid, stream: Source, name: str, beats: int) -> None:
        if not grid.counts or grid.output is None:
            raise RequestError(ErrorCode.NOT_ALLOWED, "source", "stream", "a clock that plays: /bridge/clock/start")
        self.name = name
        self.beats = beats
        self.source = "stream"
        self.begun = self.placed = False
        self.place = NOWHERE
        self.first: Fraction | None = None
        self.end: Fraction | None = None
        self.take: Take | None = None
        self.error: RequestError | None = None
        self.gaps = 0
        self._grid = grid
        self._output = grid.output
        self._stream = stream
        self._readings: list[Fraction] = []
        self._pace = Fraction(stream.rates[0], grid.rate)

    @property
    def done(self) -> bool:
        """Whether the bars are there, or will not be."""
        return self.take is not None or self.error is not None

    def pump(self) -> None:
        """To be called every few milliseconds."""
        if self.done:
            return
        if self._grid.output is not self._output:
            self.error = RequestError(ErrorCode.UNSUPPORTED, "recording", self.name, "a sound card that stays")
            return
        self._readings.append(self._stream.played - self._output.meters.frames * self._pace)
        if len(self._readings) < _READINGS:
            return
        try:
            self.take = self._taken(min(self._readings))
        except RequestError as error:
            self.error = error

    def rescued(self) -> None:
        """Nothing has been taken before all is."""

    def _taken(self, origin: Fraction) -> Take:
        grid, (rate, _) = self._grid, self._stream.rates
        history = self._stream.history
        bar = grid.beats_per_bar
        following = grid.next_line("bar", grid.rendered)
        ending = None
        if following is not None:
            ending = grid.frame_of(following - bar, grid.rendered - round(grid.loop_frames(bar)))
        if following is None or ending is None or history is None:
            allowed = "a stream that is played, and a clock that has counted a bar"
            raise RequestError(ErrorCode.NOT_ALLOWED, "stream", self._stream.number, allowed)
        length = round(self.beats * 60 / grid.bpm * rate)
        start = round(origin + ending * self._pace) - length
        if -_OFF_S * rate <= start < 0:  # the stream began on that line, to the nearest sample of each rate
            start = 0
        if start < history.begin or start + length > history.end:
            most = int((start + length - history.begin) / rate * grid.bpm / 60 / bar)
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "bars", self.beats // bar, f"at most {most} of this stream at this moment"
            )
        self.place = grid.place_of(ending)
        count = min(length + round(TAIL_S * rate), history.end - start)
        return Take(self.name, np.array(history.read(start, count)), length, self.beats, rate)
