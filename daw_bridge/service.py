"""What the bridge does for hosts: requests made ready, sent to the engine, played, written, and answered.

Runs on the I/O loop's thread. Files are read on a small pool beside it, sound is made by the player; neither holds the loop up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import structlog

from daw_bridge.asking import Prepared, prepare, takes_a_while
from daw_bridge.audio.devices import scan_devices
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.player import Player, PlayerEvent
from daw_bridge.bridge_stream import BridgeStream, linear_gain
from daw_bridge.changing import changes_of
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.engine_client import EngineClient
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.notes_desk import NotesDesk
from daw_bridge.overview import bridge_report, device_list
from daw_bridge.pace import Pace
from daw_bridge.template_desk import TemplateDesk
from daw_bridge.wording import Template
from protocols import PROTOCOL_VERSION
from protocols.bridge_messages import (
    BridgeUpdate,
    CardState,
    ClockRequest,
    Devices,
    EngineState,
    Following,
    ForgetTemplate,
    KeepTemplate,
    NotesRequest,
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
    TemplateList,
    Templates,
    Weigh,
)
from protocols.errors import ErrorCode, RequestError, no_model
from protocols.fields import fields_of
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    Done,
    Event,
    Finished,
    Load,
    ModelChanged,
    Models,
    Opened,
    Ping,
    Progress,
    Quit,
    Reply,
    Request,
    Sampling,
    Status,
    StreamList,
    Streams,
    Unload,
    Version,
    VersionInfo,
    Welcome,
)
from protocols.osc.front import Asker, OscFront
from protocols.release import VERSION
from protocols.settings import Settings

log = structlog.get_logger()
T = TypeVar("T")

MAX_STREAMS = 32
_FILE_READERS = 2
_MAX_READING = 8


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
        self._notes = NotesDesk(settings, self)
        self.clock = ClockDesk(player.reading, self.publish)
        self._templates = TemplateDesk(settings.files.templates_file, call_soon, self.fail)

    @property
    def defaults(self) -> dict[str, object]:
        """What the next requests use where they leave a parameter out."""
        return msgspec.structs.asdict(self._defaults)

    # --- requests ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; one that opens a stream is answered when it is over."""
        received = time.monotonic()
        if isinstance(request, NotesRequest):
            return self._notes.handle(request, asker)
        match request:
            case Play() | PlayContinue() | PlayMidi() | PlayOpen() | PlayAgain():
                self._play(self.clock.in_time(request), asker, received)
                return None
            case BridgeUpdate():
                name = request.template or ""
                self._templates.find(name, asker, lambda template: self._change(request, asker, template))
                return None
            case Weigh():
                self._change(request.update, asker, None)
                return None
            case Cancel(stream=number):
                for stream in self._chosen(number):
                    self._cancel(stream)
            case Stop():
                for stream in self._all():
                    self._cancel(stream)
            case ClockRequest():
                return self.clock.handle(request)
            case SetLevel(stream=0, level=level):
                self._player.gain = linear_gain(level)
            case SetLevel(stream=number, level=level):
                self._stream(number).set_level(linear_gain(level))
            case Templates():
                listed = lambda rows: self.done(asker, TemplateList(items=rows))  # noqa: E731
                self._templates.ask(lambda file: file.rows(), asker, listed)
                return None
            case KeepTemplate(name=name, text=text):
                self._templates.ask(lambda file: file.keep(name, text), asker, lambda _: self.done(asker, Done()))
                return None
            case ForgetTemplate(name=name):
                self._templates.ask(lambda file: file.forget(name), asker, lambda _: self.done(asker, Done()))
                return None
            case SetDefaults():
                changes = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
                self._defaults = msgspec.structs.replace(self._defaults, **changes)
            case Streams():
                return StreamList(items=[stream.info() for stream in self._streams.values()])
            case Devices():
                listing = lambda found: device_list(found, self._player.status().name)  # noqa: E731
                self.in_background(scan_devices, asker, listing)
                return None
            case SetDevice(name=name):
                self.in_background(lambda: self._player.set_device(name or None), asker, lambda _: Done())
                return None
            case Models() | Load() | Unload():
                self._forward([request], asker)
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
        front = self.front
        return bridge_report(
            welcome,
            self._player.status(),
            engine=self._engine_state,
            underruns=self._underruns + sum(stream.underruns for stream in self._all()),
            first_sound_ms=self._last_first_sound_ms,
            requests=front.received if front is not None else 0,
            errors=front.refused if front is not None else 0,
            uptime=round(time.monotonic() - self._began, 1),
            clock=self.clock.state(),
        )

    def close(self) -> None:
        """End every stream: sound fades out, takes are closed with what they have."""
        self._notes.close()
        for stream in self._all():
            self._cancel(stream)
            stream.engine_lost()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._templates.close()

    @property
    def idle(self) -> bool:
        """Whether no stream is left."""
        return not self._streams and not self._opening

    def pump(self) -> None:
        """Called every few milliseconds: let every stream and every recording move on."""
        self.clock.pump()
        for stream in self._all():
            stream.pump()
        self._notes.pump()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _play(self, request: Playback | PlayAgain, asker: Asker, received: float) -> None:
        welcome = self.ready_engine().welcome
        assert welcome is not None
        if not welcome.model:
            raise no_model()
        if len(self._streams) + len(self._opening) + self._reading + self._templates.waiting >= MAX_STREAMS:
            raise RequestError(ErrorCode.BUSY, "streams", MAX_STREAMS, f"at most {MAX_STREAMS} at once")

        def go(prepared: Prepared) -> None:
            self._open(request, prepared, asker, welcome, received)

        notes = self._named_notes(request, asker)

        def worded(template: Template | None) -> None:
            if takes_a_while(request, welcome, notes):
                self.read(lambda: prepare(request, welcome, self._settings.files, notes, template), asker, go)
            else:
                go(prepare(request, welcome, self._settings.files, notes, template))

        self._templates.find(getattr(request, "template", ""), asker, worded)

    def _named_notes(self, request: Request, asker: Asker) -> FollowedClip | None:
        name = request.notes if isinstance(request, Following | BridgeUpdate) else ""
        return self._notes.clip(asker.peer, name or "")

    def read(self, work: Callable[[], T], asker: Asker, go: Callable[[T], None]) -> None:
        """Read a file on the readers' pool and go on with what came of it."""
        if self._reading >= _MAX_READING:
            raise RequestError(ErrorCode.BUSY, "path", self._reading, f"at most {_MAX_READING} files being read")
        self._reading += 1
        future = self._readers.submit(work)
        future.add_done_callback(lambda done: self.call_soon(lambda: self._have_read(done, asker, go)))

    def _have_read(self, done: Future[T], asker: Asker, go: Callable[[T], None]) -> None:
        self._reading -= 1
        error = done.exception()
        if error is None:
            self._guard(asker, lambda: go(done.result()))
        elif isinstance(error, RequestError):
            self.fail(asker, error)
        else:
            self.fail(asker, RequestError(ErrorCode.INTERNAL, "path", f"{type(error).__name__}: {error}"))

    def _guard(self, asker: Asker, work: Callable[[], None]) -> None:
        """Go on with a request whose sender waits for an answer."""
        try:
            work()
        except RequestError as error:
            self.fail(asker, error)

    def _open(
        self, request: Playback | PlayAgain, prepared: Prepared, asker: Asker, welcome: Welcome, received: float
    ) -> None:
        engine = self.ready_engine()
        # What was read and worked out is for this one model; should the engine have another by then, it refuses.
        message = msgspec.structs.replace(prepared.message, fingerprint=welcome.fingerprint)
        takes = self._settings.files.takes_folder
        stream = BridgeStream(self, request, prepared, asker, welcome, takes, received)
        self._opening.append(stream)

        def answered(reply: Reply | RequestError) -> None:
            self._opening.remove(stream)
            if isinstance(reply, Opened):
                self._streams[reply.stream] = stream
                stream.opened(reply)
                if stream.cancelled:
                    engine.tell(Cancel(stream=reply.stream))
            elif isinstance(reply, RequestError) and reply.field == "fingerprint" and not stream.cancelled:
                stream.withdraw()
                self._guard(asker, lambda: self._play(request, asker, received))
            else:
                stream.refused(reply if isinstance(reply, RequestError) else RequestError(ErrorCode.MALFORMED, "reply"))

        try:
            engine.request(message, answered, prepared.payload)
        except RequestError as error:
            answered(error)

    # --- what streams and notes ask of the bridge (StreamHost, NotesHost) -------------------------------------------------

    def open_feeder(
        self, welcome: Welcome, lead_seconds: float, level_db: float, seconds: float, scheduled: bool
    ) -> Feeder:
        """A way to the sound card for a stream of ``seconds`` (0 without an end) that begins at once or when it is told."""
        bridge = self._settings.bridge
        prebuffer = max(bridge.prebuffer_ms / 1000, self._pace.prebuffer(seconds))
        return self._player.open_voice(
            welcome.sample_rate,
            welcome.channels,
            lead_seconds=lead_seconds,
            prebuffer_seconds=min(prebuffer, 0.9 * lead_seconds if seconds else lead_seconds / 2),
            gain=linear_gain(level_db),
            fade_seconds=bridge.fade_ms / 1000,
            scheduled=scheduled,
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
            self.fail(stream.asker, answer)
        else:
            self.done(stream.asker, answer)

    def tempo(self, stream: int | None) -> float:
        """The tempo of a stream, or with 0 of the first one, as far as fields told it; else the clock's."""
        chosen = self._chosen(stream) if stream is not None else []
        return next((one.wording.facts.bpm for one in chosen), 0.0) or self.clock.state().bpm

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        """Change streams."""
        self.handle(request, asker)

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
        match event:
            case Progress(realtime=realtime):
                self._pace.measured(realtime)
            case ModelChanged(model=model):
                self._pace = Pace()
                self.publish(EngineState(state="ready", model=model))
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

    def ready_engine(self) -> EngineClient:
        """The engine; ENGINE_LOST while there is none."""
        if self.engine is None or not self.engine.ready:
            endpoint = self._settings.bridge.engine
            raise RequestError(ErrorCode.ENGINE_LOST, "engine", endpoint, "a running engine; it is being looked for")
        return self.engine

    def _change(self, request: BridgeUpdate, asker: Asker, template: Template | None) -> None:
        """Change streams, and have them as they were where the engine refuses."""
        before = {stream: stream.wording for stream in self._chosen(request.stream)}
        updates, after = changes_of(request, list(before), self._named_notes(request, asker), template)

        def refused() -> None:
            for stream, wording in before.items():
                stream.wording = wording

        self._forward(updates, asker, refused)
        for stream, wording in after.items():  # at once: what is asked next counts on it
            stream.wording = wording

    def _forward(self, requests: Sequence[Request], asker: Asker, refused: Callable[[], None] = lambda: None) -> None:
        """Let the engine answer. Of several requests the last reply is told, or a refusal, once all are answered."""
        replies: list[Reply | RequestError] = []

        def answered(reply: Reply | RequestError) -> None:
            replies.append(reply)
            if len(replies) < len(requests):
                return
            error = next((reply for reply in replies if isinstance(reply, RequestError)), None)
            if error is not None:
                refused()
                self.fail(asker, error)
            elif not isinstance(reply, RequestError):
                self.done(asker, reply)

        for request in requests:
            self.ready_engine().request(request, answered)

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow on the readers' pool and answer with what ``reply`` makes of it."""

        def done(error: BaseException | None, result: Any) -> None:
            if isinstance(error, RequestError):
                self.fail(asker, error)
            elif error is not None:
                self.fail(asker, RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}"))
            else:
                self.done(asker, reply(result))

        future = self._readers.submit(work)
        future.add_done_callback(
            lambda future: self.call_soon(
                lambda: done(future.exception(), None if future.exception() else future.result())
            )
        )

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""
        if self.front is not None:
            self.front.done(asker, reply)

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""
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
