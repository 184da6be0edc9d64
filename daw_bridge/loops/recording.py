"""Bars recorded for a layer: from one bar line of the clock to another, which plays on the very frame where it ends."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from daw_bridge.audio.bar_recorder import BarRecorder
from daw_bridge.audio.capture import Capture
from daw_bridge.audio.output import Output
from daw_bridge.loops.grid import NOWHERE, Grid
from daw_bridge.loops.take import CHANNELS, TAIL_S, Take
from protocols.errors import ErrorCode, RequestError

SETTLE_S = 0.03
"""How long before the end could be written as a loop the end is settled."""

SHORTEST_S = 0.6
"""A loop as short as its own latency could not be played while it is recorded."""


class Recording:
    """Bars of a bus, taken as they are heard. For one thread.

    Args:
        grid: the clock's lines in frames.
        listen: the bus of the present card; may raise RequestError.
        source: what the bus is called.
        name: of the take.
        beats: how many.
        first: the bar line at which it begins; None while the clock stands.

    Attributes:
        placed: for who plays it: whether it does.
        place: for who tells of it: where it began.
        take: once its end is settled: it can be played from `end` on, while the rest is recorded.
        error: why nothing comes of it.
    """

    def __init__(
        self, grid: Grid, listen: Callable[[], Capture], source: str, name: str, beats: int, first: Fraction | None
    ) -> None:
        self.source = source
        self.name = name
        self.beats = beats
        self.first = first
        self.take: Take | None = None
        self.placed = False
        self.place = NOWHERE
        self.error: RequestError | None = None
        self._grid = grid
        self._listen = listen
        self._recorder: BarRecorder | None = None
        self._output: Output | None = None

    @property
    def end(self) -> Fraction:
        """The line behind the last beat."""
        assert self.first is not None
        return self.first + self.beats

    @property
    def begun(self) -> bool:
        """Whether its first frame has been played."""
        return self._recorder is not None

    @property
    def done(self) -> bool:
        """Whether it is over: with all of it recorded, its tail too, or with an error."""
        return self.error is not None or (self._recorder is not None and self._recorder.done)

    @property
    def gaps(self) -> int:
        """How often the sound system lost some of it."""
        recorded = None if self._recorder is None else self._recorder.recorded
        return 0 if recorded is None else recorded.gaps

    def pump(self) -> None:
        """Take what has come; to be called every few milliseconds, before what plays is written."""
        if self.done or self._grid.output is None:
            return
        try:
            if self._recorder is None:
                self._begin()
            if self._recorder is not None:
                self._recorder.pump()
                self.error = self._recorder.error
                self._settle(self._recorder)
        except RequestError as error:
            self.error = error

    def rescued(self) -> Take | None:
        """What there is of a recording that has ended too early."""
        recorder = self._recorder
        if recorder is None or not recorder.taken:
            return None
        samples = recorder.buffer[: recorder.taken, :CHANNELS]
        assert self._output is not None
        return Take(self.name, samples, len(samples), self.beats, self._output.sample_rate)

    def _begin(self) -> None:
        grid = self._grid
        if self.first is None or (frame := grid.frame_of(self.first, grid.rendered)) is None:
            self.first = grid.next_line("bar") if grid.counts else None
            return
        if frame > grid.rendered:
            return
        capture = self._listen()
        last = frame + round(grid.loop_frames(self.beats))
        self._recorder = BarRecorder(capture, frame, last, round(TAIL_S * capture.sample_rate))
        self._output = grid.output

    def _settle(self, recorder: BarRecorder) -> None:
        """Follow the clock's tempo until the end comes near; then it can be played."""
        grid = self._grid
        if self.error is None and grid.output is not self._output:
            self.error = RequestError(
                ErrorCode.UNSUPPORTED, "recording", self.name, "a sound card that stays to its end"
            )
        if self.take is not None or self.error is not None:
            return
        last = grid.frame_of(self.end, recorder.first + 1)
        if last is not None:
            recorder.end_at(last)
        rate = grid.rate
        if recorder.last - grid.frontier > SETTLE_S * rate:
            return
        samples = recorder.buffer[:, :CHANNELS]
        length = recorder.last - recorder.first
        self.take = Take(self.name, samples, length, self.beats, rate, filled=lambda: recorder.taken)
