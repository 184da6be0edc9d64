"""What the bridge does for hosts: requests made ready, sent to the engine, played, written, and answered.

Runs on the I/O loop's thread. Files are read on a small pool beside it, sound is made by the player; neither holds the loop up.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import structlog

from audio_files.regions import read_region
from audio_files.sidecars import read_sidecar
from daw_bridge.again import remake
from daw_bridge.audio.devices import scan_devices
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.player import Player, PlayerEvent
from daw_bridge.bridge_stream import BridgeStream, linear_gain
from daw_bridge.engine_client import EngineClient
from daw_bridge.midi_clip import read_midi_clip
from daw_bridge.pace import Pace, lead_of
from protocols import PROTOCOL_VERSION
from protocols.bridge_messages import (
    BridgeReport,
    CardState,
    DeviceInfo,
    DeviceList,
    Devices,
    EngineState,
    Play,
    PlayAgain,
    Playback,
    PlayContinue,
    PlayMidi,
    PlayOpen,
    SetDefaults,
    SetDevice,
    SetLevel,
    Stop,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import (
    FASTEST_BPM,
    SLOWEST_BPM,
    Acknowledge,
    AudioHeader,
    Cancel,
    Continue,
    Done,
    Event,
    Finished,
    Generate,
    Models,
    Open,
    Opened,
    Ping,
    Progress,
    Quit,
    Reply,
    Request,
    Sampling,
    Status,
    StreamList,
    StreamRequest,
    Streams,
    Update,
    Version,
    VersionInfo,
    Welcome,
)
from protocols.osc.front import Asker, OscFront
from protocols.release import VERSION
from protocols.settings import Settings

log = structlog.get_logger()

MAX_STREAMS = 32
_FILE_READERS = 2
_MAX_READING = 8


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A request as the engine gets it, with its audio."""

    message: StreamRequest
    payload: bytes = b""
    limit: int | None = None


class BridgeService:
    """The bridge behind its OSC port. For the I/O loop's thread only.

    Args:
        settings: of both processes.
        player: the sound card.
        call_soon: runs something on the loop's thread, from any thread.
        quit: called once somebody asks the process to stop.
    """

    def __init__(
        self,
        settings: Settings,
        player: Player,
        call_soon: Callable[[Callable[[], None]], None],
        quit: Callable[[], None],
    ) -> None:
        self.call_soon = call_soon
        self.engine: EngineClient | None = None
        self.front: OscFront | None = None
        self._settings = settings
        self._player = player
        self._quit = quit
        sampling = fields_of(Sampling)
        self._defaults = SetDefaults(**{name: sampling[name].default for name in fields_of(SetDefaults)})
        self._streams: dict[int, BridgeStream] = {}
        self._opening: list[BridgeStream] = []
        self._readers = ThreadPoolExecutor(_FILE_READERS, thread_name_prefix="files")
        self._reading = 0
        self._began = time.monotonic()
        self._last_first_sound_ms = 0.0
        self._underruns = 0
        self._engine_state = "connecting"
        self._pace = Pace()

    @property
    def defaults(self) -> dict[str, object]:
        """What the next requests use where they leave a parameter out."""
        return msgspec.structs.asdict(self._defaults)

    # --- requests ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; one that opens a stream is answered when it is over."""
        received = time.monotonic()
        match request:
            case Play() | PlayContinue() | PlayMidi() | PlayOpen() | PlayAgain():
                self._play(request, asker, received)
                return None
            case Update():
                self._forward(request, asker)
                return None
            case Cancel(stream=number):
                for stream in self._chosen(number):
                    self._cancel(stream)
            case Stop():
                for stream in self._all():
                    self._cancel(stream)
            case SetLevel(stream=0, level=level):
                self._player.gain = linear_gain(level)
            case SetLevel(stream=number, level=level):
                self._stream(number).set_level(linear_gain(level))
            case SetDefaults():
                changes = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
                self._defaults = msgspec.structs.replace(self._defaults, **changes)
            case Streams():
                return StreamList(items=[stream.info() for stream in self._streams.values()])
            case Devices():
                self._in_background(scan_devices, asker, self._device_list)
                return None
            case SetDevice(name=name):
                self._in_background(lambda: self._player.set_device(name or None), asker, lambda _: Done())
                return None
            case Models():
                self._forward(Models(), asker)
                return None
            case Quit():
                self._quit()
            case Ping():
                pass
            case _:
                raise RequestError(ErrorCode.UNSUPPORTED, "address", asker.address)
        return Done()

    def report(self, request: Status | Version) -> Reply:
        """Answer ``/status`` or ``/version``."""
        welcome = self.engine.welcome if self.engine is not None else None
        if isinstance(request, Version):
            instance = welcome.instance if welcome is not None else 0
            return VersionInfo(name="bridge", version=VERSION, protocol=PROTOCOL_VERSION, instance=instance)
        player = self._player.status()
        front = self.front
        return BridgeReport(
            state=player.state,
            engine=self._engine_state,
            model=welcome.model if welcome is not None else "",
            status=welcome.status if welcome is not None else "untrained",
            device=player.name,
            sample_rate=player.sample_rate,
            block=player.blocksize,
            latency_ms=round(player.latency * 1000, 2),
            voices=player.voices,
            underruns=self._underruns + sum(stream.underruns for stream in self._all()),
            device_underflows=player.underflows,
            devices_lost=player.lost,
            callback_ms=round(player.max_render_seconds * 1000, 3),
            first_sound_ms=self._last_first_sound_ms,
            requests=front.received if front is not None else 0,
            errors=front.refused if front is not None else 0,
            uptime=round(time.monotonic() - self._began, 1),
        )

    def close(self) -> None:
        """End every stream: sound fades out, takes are closed with what they have."""
        for stream in self._all():
            self._cancel(stream)
            stream.engine_lost()
        self._readers.shutdown(wait=False, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether no stream is left."""
        return not self._streams and not self._opening

    def pump(self) -> None:
        """Called every few milliseconds: let every stream move on."""
        for stream in self._all():
            stream.pump()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _play(self, request: Playback | PlayAgain, asker: Asker, received: float) -> None:
        welcome = self._ready_engine().welcome
        assert welcome is not None
        if len(self._streams) + len(self._opening) + self._reading >= MAX_STREAMS:
            raise RequestError(ErrorCode.BUSY, "streams", MAX_STREAMS, f"at most {MAX_STREAMS} at once")

        def go(prepared: _Prepared) -> None:
            self._open(request, prepared, asker, welcome, received)

        if isinstance(request, Play):
            go(_Prepared(Generate(duration=request.duration, lead=lead_of(request.duration), **self._common(request))))
        elif isinstance(request, PlayOpen) and not request.path:
            go(_Prepared(Open(lead=max(0.1, request.latency), **self._common(request))))
        else:
            if self._reading >= _MAX_READING:
                raise RequestError(ErrorCode.BUSY, "path", self._reading, f"at most {_MAX_READING} files being read")
            self._reading += 1
            future = self._readers.submit(self._read, request, welcome)
            future.add_done_callback(
                lambda done: self.call_soon(lambda: self._have_read(done.exception() or done.result(), asker, go))
            )

    def _read(self, request: Playback | PlayAgain, welcome: Welcome) -> _Prepared:
        """Read what a request names on disk (on the readers' pool)."""
        if isinstance(request, PlayAgain):
            made = remake(read_sidecar(request.path, allowed_folders=self._settings.files.allowed_folders), welcome)
            return _Prepared(made.message, made.payload, made.samples)
        common = self._common(request)
        if isinstance(request, PlayMidi):
            longest = fields_of(Generate)["duration"].maximum or 0.0
            clip = read_midi_clip(
                request.path, allowed_folders=self._settings.files.allowed_folders, max_seconds=longest
            )
            words = ", ".join(part for part in (request.prompt, clip.describe()) if part)
            tempo = round(float(clip.beat_bpm), 3)
            seconds = float(clip.length_seconds)
            common |= {
                "prompt": words,
                "bpm": request.bpm or (tempo if SLOWEST_BPM <= tempo <= FASTEST_BPM else 0.0),
                "key": request.key or clip.key,
            }
            return _Prepared(Generate(duration=seconds, lead=lead_of(seconds), **common))
        assert isinstance(request, PlayContinue | PlayOpen)
        region = read_region(
            request.path,
            start_seconds=request.start,
            length_seconds=request.length or None,
            sample_rate=welcome.sample_rate,
            channels=welcome.channels,
            allowed_folders=self._settings.files.allowed_folders,
            max_seconds=self._settings.files.max_region_s,
        )
        payload = region.audio.T.astype("<f4").tobytes()
        audio: dict[str, Any] = {"sample_rate": welcome.sample_rate, "channels": welcome.channels}
        if isinstance(request, PlayOpen):
            return _Prepared(Open(lead=max(0.1, request.latency), **audio, **common), payload)
        return _Prepared(
            Continue(duration=request.duration, lead=lead_of(request.duration), **audio, **common), payload
        )

    def _have_read(self, result: _Prepared | BaseException, asker: Asker, go: Callable[[_Prepared], None]) -> None:
        self._reading -= 1
        try:
            if isinstance(result, RequestError):
                raise result
            if isinstance(result, BaseException):
                raise RequestError(ErrorCode.INTERNAL, "path", f"{type(result).__name__}: {result}")
            go(result)
        except RequestError as error:
            self._fail(asker, error)

    def _open(
        self, request: Playback | PlayAgain, prepared: _Prepared, asker: Asker, welcome: Welcome, received: float
    ) -> None:
        engine = self._ready_engine()
        takes = self._settings.files.takes_folder
        stream = BridgeStream(self, request, prepared.message, asker, welcome, takes, received, prepared.limit)
        self._opening.append(stream)

        def answered(reply: Reply | RequestError) -> None:
            self._opening.remove(stream)
            if isinstance(reply, Opened):
                self._streams[reply.stream] = stream
                stream.opened(reply)
                if stream.cancelled:
                    engine.tell(Cancel(stream=reply.stream))
            else:
                stream.refused(reply if isinstance(reply, RequestError) else RequestError(ErrorCode.MALFORMED, "reply"))

        try:
            engine.request(prepared.message, answered, prepared.payload)
        except RequestError as error:
            answered(error)

    def _common(self, request: Playback) -> dict[str, Any]:
        return {name: getattr(request, name) for name in fields_of(Sampling)}

    # --- what streams ask of the bridge (StreamHost) ------------------------------------------------------------------

    def open_feeder(self, welcome: Welcome, lead_seconds: float, level_db: float, seconds: float) -> Feeder:
        """A way to the sound card for a stream of ``seconds`` (0 without an end)."""
        bridge = self._settings.bridge
        prebuffer = max(bridge.prebuffer_ms / 1000, self._pace.prebuffer(seconds))
        return self._player.open_voice(
            welcome.sample_rate,
            welcome.channels,
            lead_seconds=lead_seconds,
            prebuffer_seconds=min(prebuffer, 0.9 * lead_seconds if seconds else lead_seconds / 2),
            gain=linear_gain(level_db),
            fade_seconds=bridge.fade_ms / 1000,
        )

    def acknowledge(self, stream: int, position: int) -> None:
        """Let the engine run on."""
        if self.engine is not None:
            self.engine.tell(Acknowledge(stream=stream, position=position))

    def end(self, stream: int) -> None:
        """Let the engine stop making a stream."""
        if self.engine is not None:
            self.engine.tell(Cancel(stream=stream))

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell a client, and whoever listens."""
        if self.front is not None:
            self.front.publish(event, asker)

    def finished(self, stream: BridgeStream, answer: Finished | RequestError) -> None:
        """A stream is over: answer for it."""
        self._streams = {number: other for number, other in self._streams.items() if other is not stream}
        self._underruns += stream.underruns
        self._last_first_sound_ms = stream.first_sound_ms or self._last_first_sound_ms
        if isinstance(answer, RequestError):
            self._fail(stream.asker, answer)
        elif self.front is not None:
            self.front.done(stream.asker, answer)

    # --- what the engine says (EngineListener) ------------------------------------------------------------------------

    def engine_ready(self, welcome: Welcome) -> None:
        """The engine answered."""
        self._engine_state = "ready"
        self.publish(EngineState(state="ready", model=welcome.model))

    def engine_lost(self) -> None:
        """The engine is gone, and with it every stream: what is buffered plays out, takes are closed."""
        self._engine_state = "lost"
        for stream in list(self._streams.values()):
            stream.engine_lost()
        self.publish(EngineState(state="lost", model=""))

    def engine_event(self, event: Event) -> None:
        """Something happened to a stream."""
        if isinstance(event, Progress):
            self._pace.measured(event.realtime)
        stream = self._streams.get(getattr(event, "stream", 0))
        if stream is not None:
            stream.event(event)

    def engine_audio(self, header: AudioHeader, samples: memoryview) -> None:
        """A block arrived."""
        stream = self._streams.get(header.stream)
        if stream is not None:
            stream.audio(header, samples)

    # --- what the player says ------------------------------------------------------------------------------------------

    def player_event(self, kind: PlayerEvent, details: dict[str, Any]) -> None:
        """The sound card came or went (any thread)."""
        log.info(str(kind), **details)
        state = "opened" if kind is PlayerEvent.DEVICE_OPENED else "lost"
        event = CardState(state=state, name=str(details["name"]), sample_rate=int(details.get("sample_rate", 0)))
        self.call_soon(lambda: self.publish(event))

    # --- helpers --------------------------------------------------------------------------------------------------------

    def _ready_engine(self) -> EngineClient:
        if self.engine is None or not self.engine.ready:
            endpoint = self._settings.bridge.engine
            raise RequestError(ErrorCode.ENGINE_LOST, "engine", endpoint, "a running engine; it is being looked for")
        return self.engine

    def _forward(self, request: Request, asker: Asker) -> None:
        """Let the engine answer."""
        engine = self._ready_engine()
        if isinstance(request, Update):
            if request.stream:
                self._stream(request.stream)
            request = Update(**msgspec.structs.asdict(request))

        def answered(reply: Reply | RequestError) -> None:
            if isinstance(reply, RequestError):
                self._fail(asker, reply)
            elif self.front is not None:
                self.front.done(asker, reply)

        engine.request(request, answered)

    def _in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow on the readers' pool and answer with what ``reply`` makes of it."""

        def done(error: BaseException | None, result: Any) -> None:
            if isinstance(error, RequestError):
                self._fail(asker, error)
            elif error is not None:
                self._fail(asker, RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}"))
            elif self.front is not None:
                self.front.done(asker, reply(result))

        future = self._readers.submit(work)
        future.add_done_callback(
            lambda future: self.call_soon(
                lambda: done(future.exception(), None if future.exception() else future.result())
            )
        )

    def _device_list(self, devices: list[Any]) -> DeviceList:
        chosen = self._player.status().name
        return DeviceList(
            items=[
                DeviceInfo(
                    index=device.index,
                    name=device.name,
                    host_api=device.host_api,
                    channels=device.channels,
                    sample_rate=device.sample_rate,
                    default=device.default,
                    chosen=device.name == chosen,
                )
                for device in devices
            ]
        )

    def _fail(self, asker: Asker, error: RequestError) -> None:
        if self.front is not None:
            self.front.fail(asker, error)

    def _all(self) -> list[BridgeStream]:
        return [*self._streams.values(), *self._opening]

    def _stream(self, number: int) -> BridgeStream:
        stream = self._streams.get(number)
        if stream is None:
            known = ", ".join(map(str, self._streams)) or "none is open"
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", number, known)
        return stream

    def _chosen(self, number: int) -> list[BridgeStream]:
        return [self._stream(number)] if number else self._all()

    def _cancel(self, stream: BridgeStream) -> None:
        stream.cancel()
        if stream.number:
            self.end(stream.number)
