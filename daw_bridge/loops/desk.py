"""Loops for the bridge's service: requests about layers carried out, what becomes of them told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from daw_bridge.audio.capture import Bus, Capture
from daw_bridge.audio.feeder import Feeder
from daw_bridge.background import Background
from daw_bridge.bridge_stream import linear_gain
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.loops.continuing import Continuing, too_long
from daw_bridge.loops.fitting import MOST, Fitting
from daw_bridge.loops.grid import NOWHERE, Grid, Place
from daw_bridge.loops.intake import read_loop, write_take
from daw_bridge.loops.layer import Layer
from daw_bridge.loops.making import MakingHost
from daw_bridge.loops.recording import SHORTEST_S, Recording
from daw_bridge.loops.stream_bars import StreamBars
from daw_bridge.loops.take import CHANNELS, TAIL_S, Take, TakeFile
from daw_bridge.loops.track import Track
from daw_bridge.stream_table import StreamTable
from protocols.errors import ErrorCode, RequestError
from protocols.loop_messages import (
    MAX_LOOP_SECONDS,
    AgainLoop,
    ChooseLoop,
    ClearLoop,
    ContinueLoop,
    FeedLoop,
    LevelLoop,
    LoopChange,
    LoopInfo,
    LoopList,
    LoopMaking,
    LoopPlaced,
    LoopRequest,
    Loops,
    MuteLoop,
    PlayLoop,
    RecordLoop,
    RedoLoop,
    StopLoop,
    UndoLoop,
    VaryLoop,
)
from protocols.messages import Done, Event, Reply
from protocols.osc.front import Asker
from protocols.settings import FileSettings

log = structlog.get_logger()

_DEFAULT_RATE = 48_000
_VOICE_LEAD_S = 1.0
_VOICE_PREBUFFER_S = 0.02


class Sounds(Protocol):
    """The sound card, as far as loops need it: `Player`."""

    def open_voice(
        self,
        sample_rate: int,
        channels: int = 1,
        lead_seconds: float = 2.0,
        prebuffer_seconds: float = 0.05,
        *,
        scheduled: bool = False,
    ) -> Feeder:
        """Open a voice; may raise RequestError BUSY."""

    def listen(self, bus: Bus) -> Capture:
        """What the card plays or hears; may raise RequestError."""


class LoopHost(MakingHost, Protocol):
    """What loops need of the bridge."""

    clock: ClockDesk
    streams: StreamTable

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run something on the loop's thread. Any thread."""

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell a client, and whoever listens."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


class LoopDesk:
    """Layers of loops. For the loop's thread only.

    Args:
        host: the bridge.
        sounds: the sound card.
        files: where files may lie, and the folder for takes.

    Attributes:
        layers: those that were asked for, by number.
    """

    requests: Any = LoopRequest | LoopMaking | Loops

    def __init__(self, host: LoopHost, sounds: Sounds, files: FileSettings) -> None:
        self._host = host
        self._sounds = sounds
        self._files = files
        self._background = Background(host.call_soon)
        self._grid = Grid(host.clock.stage, lambda: host.clock.clock)
        self._fitting = Fitting(self._grid, self._background)
        self._continuing = Continuing(host, self._grid, self._background, self.tell, self._at_tempo)
        self.layers: dict[int, Layer] = {}
        self._recordings: dict[int, Recording | StreamBars] = {}
        self._askers: dict[int, Asker] = {}
        self._count = 0

    def handle(self, request: Any, asker: Asker) -> Reply | None:
        """Carry a request out.

        Raises:
            RequestError: EMPTY for a layer that holds nothing, OUT_OF_RANGE for a length, BUSY while it is recorded; as
                `Player.listen`.
        """
        if isinstance(request, Loops):
            return LoopList(items=[self._info(layer) for _, layer in sorted(self.layers.items()) if not layer.empty])
        if isinstance(request, StopLoop) and not request.layer:
            return [self._stop(layer, request.at) for layer in self.layers.values()][-1] if self.layers else Done()
        layer = self.layer(request.layer)
        self._askers[layer.number] = asker
        match request:
            case RecordLoop():
                return self._placed(layer, self._record(layer, request))
            case PlayLoop():
                self._read(layer, request, asker)
                return None
            case ContinueLoop():
                return self._placed(layer, self._continuing.go_on(layer, request, asker))
            case VaryLoop():
                self._continuing.vary(layer, request, asker)
            case FeedLoop(feed=feed):
                self._continuing.feed(layer, feed)
            case ChooseLoop(letter=letter, at=at):
                chosen = layer.variations.get(letter)
                if chosen is None:
                    known = ", ".join(sorted(layer.variations)) or "none is ready: /bridge/loop/variations"
                    raise RequestError(ErrorCode.NOT_FOUND, "letter", letter, known)
                return self._placed(layer, layer.follow(chosen, at))
            case UndoLoop(at=at):
                return self._placed(layer, layer.step(-1, at))
            case RedoLoop(at=at):
                return self._placed(layer, layer.step(1, at))
            case LevelLoop(level=level):
                layer.level_db = level
                layer.track.set_level(linear_gain(level))
            case MuteLoop(mute=mute, at=at):
                return self._placed(layer, layer.mute(mute, at))
            case StopLoop(at=at):
                return self._stop(layer, at)
            case AgainLoop():
                layer.history.present()
                self._grid.start()
                return self._placed(layer, layer.again())
            case ClearLoop():
                self._leave(layer)
                layer.clear()
                self.tell(layer, "cleared", NOWHERE)
        return Done()

    def pump(self) -> None:
        """Called every few milliseconds: record, make and play."""
        self._host.clock.stage.update()
        for number, recording in list(self._recordings.items()):
            self._go_on_recording(self.layers[number], recording)
        layers = list(self.layers.values())
        self._continuing.pump(layers)
        for layer in layers:
            try:
                layer.pump()
            except RequestError as error:  # no voice left
                layer.stop("now")
                self.tell(layer, "failed", NOWHERE, note=error.text)

    def close(self) -> None:
        """Fade everything out; what is being recorded is written as far as it has come."""
        for layer in self.layers.values():
            self._leave(layer)
            layer.stop("now")
        self._background.close()

    # --- what layers tell ---------------------------------------------------------------------------------------------

    def tell(self, layer: Layer, state: str, place: Place, take: str = "", note: str = "") -> None:
        """Tell the client and whoever listens what becomes of a layer."""
        event = LoopChange(
            layer=layer.number,
            state=state,
            bar=place.bar,
            beat=place.beat,
            sample=place.frame,
            seconds=place.seconds,
            take=take,
            note=note,
        )
        self._host.publish(event, self._askers.get(layer.number))

    def began(self, layer: Layer, take: Take) -> None:
        """Another take of a layer begins."""
        self._continuing.began(layer, take)

    # --- recording and reading ----------------------------------------------------------------------------------------

    def _record(self, layer: Layer, request: RecordLoop) -> Place:
        if layer.number in self._recordings:
            raise RequestError(
                ErrorCode.BUSY, "layer", layer.number, "a layer that is not recorded yet: /bridge/loop/stop"
            )
        beats = request.bars * self._grid.beats_per_bar
        self._check_length(beats)
        self._count += 1
        name = f"layer {layer.number} {request.source} {self._count}"
        recording: Recording | StreamBars
        if request.source == "stream":
            stream = self._host.streams.find(request.stream)
            recording = StreamBars(self._grid, stream, name, beats)
        else:
            listen = partial(self._sounds.listen, Bus(request.source))
            listen()
            starts = self._grid.start()
            first = self._grid.next_line("bar", self._grid.rendered) if starts else None
            recording = Recording(self._grid, listen, request.source, name, beats, first)
            layer.recording = True
        self._recordings[layer.number] = recording
        place = self._grid.place(recording.first)
        self.tell(layer, "waiting", place, name)
        return place

    def _go_on_recording(self, layer: Layer, recording: Recording | StreamBars) -> None:
        begun = recording.begun
        recording.pump()
        if recording.begun and not begun:
            recording.place = self._grid.place(recording.first)
            self.tell(layer, "recording", recording.place, recording.name)
        if recording.take is not None and not recording.placed:
            recording.placed, layer.recording = True, False
            layer.begin(recording.take, recording.end)
        if recording.done:
            self._end_recording(layer, recording)

    def _end_recording(self, layer: Layer, recording: Recording | StreamBars) -> None:
        """Write what was recorded, whole or as far as it has come."""
        self._recordings.pop(layer.number, None)
        layer.recording = False
        take = recording.take if recording.error is None and recording.done else recording.rescued()
        if recording.error is not None:
            if recording.take is not None and recording.placed:
                layer.forget(recording.take)
            self.tell(layer, "failed", NOWHERE, recording.name, recording.error.text)
        if take is None:
            return
        place = recording.place
        made: dict[str, object] = {
            "layer": layer.number,
            "source": recording.source,
            "bpm": float(self._grid.bpm),
            "began": {"bar": place.bar, "beat": place.beat, "sample": place.frame},
            "gaps": recording.gaps,
        }

        def written(file: TakeFile) -> None:
            take.file = file
            self.tell(layer, "saved", NOWHERE, take.name, str(file.path))

        failed: Callable[[RequestError], None] = lambda error: self.tell(  # noqa: E731
            layer, "failed", NOWHERE, take.name, error.text
        )
        self._background.do(lambda: write_take(take, Path(self._files.takes_folder), made), written, failed)

    def _at_tempo(self, take: Take) -> Take:
        """A take as it plays now; one that was stretched is written down for the engine to go on from."""
        fitted = self._fitting.fit(take)
        if fitted is None or fitted.file is not None or take.file is None:
            return take

        def written(file: TakeFile) -> None:
            fitted.file = file

        def failed(error: RequestError) -> None:
            log.warning("a stretched loop cannot be written", take=take.name, error=error.text)
            fitted.file = take.file

        made: dict[str, object] = {"bpm": float(self._grid.bpm), "stretched": str(take.file.path)}
        self._background.do(lambda: write_take(fitted, Path(self._files.takes_folder), made), written, failed)
        return fitted

    def _read(self, layer: Layer, request: PlayLoop, asker: Asker) -> None:
        """Read a region and play it; answered then."""
        grid, files = self._grid, self._files
        rate, beats_per_bar, bpm = grid.rate or _DEFAULT_RATE, grid.beats_per_bar, grid.bpm

        def read() -> Take:
            return read_loop(
                files,
                request.path,
                request.start,
                request.length,
                request.bars,
                rate=rate,
                beats_per_bar=beats_per_bar,
                bpm=bpm,
            )

        def play(take: Take) -> None:
            self._check_length(take.beats)
            pace = float(take.beats * 60 / self._grid.bpm) / take.seconds
            if not 1 / MOST <= pace <= MOST:
                allowed = f"a tempo at which {take.seconds:.4g} s are not stretched by more than {MOST:g}: `bars`, or the clock"
                raise RequestError(ErrorCode.OUT_OF_RANGE, "bars", request.bars, allowed)
            self._grid.start()
            self._host.done(asker, self._placed(layer, layer.begin(take)))

        self._background.read(read, play, lambda error: self._host.fail(asker, error))

    def _check_length(self, beats: int) -> None:
        seconds = float(beats * 60 / self._grid.bpm)
        if not SHORTEST_S <= seconds <= MAX_LOOP_SECONDS - TAIL_S:
            raise too_long("bars", seconds)

    def _stop(self, layer: Layer, at: str) -> LoopPlaced:
        self._leave(layer)
        return self._placed(layer, layer.stop(at))

    # --- helpers ------------------------------------------------------------------------------------------------------

    def layer(self, number: int) -> Layer:
        """The layer of a number; it begins empty."""
        if number not in self.layers:
            self.layers[number] = Layer(number, self._grid, Track(self._open_voice), self, self._fitting.fit)
        return self.layers[number]

    def _open_voice(self, rate: int) -> Feeder:
        return self._sounds.open_voice(rate, CHANNELS, _VOICE_LEAD_S, _VOICE_PREBUFFER_S, scheduled=True)

    def _leave(self, layer: Layer) -> None:
        """Record and make no more for a layer."""
        self._continuing.cancel(layer)
        recording = self._recordings.get(layer.number)
        if (
            recording is not None and not recording.placed
        ):  # else what rings on is recorded too, and it is over in a moment
            self._end_recording(layer, recording)

    def _placed(self, layer: Layer, place: Place) -> LoopPlaced:
        return LoopPlaced(layer=layer.number, bar=place.bar, beat=place.beat, sample=place.frame, seconds=place.seconds)

    def _info(self, layer: Layer) -> LoopInfo:
        take = layer.take
        return LoopInfo(
            layer=layer.number,
            state=layer.state,
            bars=0.0 if take is None else take.beats / self._grid.beats_per_bar,
            level=layer.level_db,
            muted=layer.muted,
            feeding=self._continuing.feeds(layer),
            making=self._continuing.under_way(layer),
            late=layer.late,
            underruns=layer.underruns,
            take="" if take is None else take.name,
            path="" if take is None or take.file is None else str(take.file.path),
            index=layer.history.index + 1,
            takes=len(layer.history.takes),
            variations="".join(sorted(layer.variations)),
        )
