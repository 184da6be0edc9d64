"""What the bridge does for hosts: requests made ready, sent to the engine, played, written, and answered.

Runs on the I/O loop's thread. Files are read on a small pool beside it, sound is made by the player; neither holds the loop up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import Output
from daw_bridge.audio.player import Player, PlayerEvent
from daw_bridge.audio.virtual import list_with_virtual
from daw_bridge.background import Background
from daw_bridge.bridge_stream import BridgeStream, linear_gain
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.tempo_desk import TempoDesk
from daw_bridge.codec_desk import CodecDesk
from daw_bridge.engine_client import EngineClient
from daw_bridge.exchange.desk import ExchangeDesk, files_of
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.forwarding import Forwarding
from daw_bridge.input_desk import InputDesk
from daw_bridge.live_desk import LiveDesk
from daw_bridge.loops.desk import LoopDesk
from daw_bridge.loops.kept import KeptLoops
from daw_bridge.notes_desk import NotesDesk
from daw_bridge.opening import Opening
from daw_bridge.orders import Insider, Order, Tap
from daw_bridge.overview import bridge_report, card_state, device_list
from daw_bridge.pace import Pace
from daw_bridge.past import PastDesk
from daw_bridge.performance.desk import PerformanceDesk
from daw_bridge.reastream.desk import ReaStreamDesk
from daw_bridge.scenes.keeps import Keeper, KeptClock, KeptDefaults
from daw_bridge.scenes.scene_desk import SceneDesk
from daw_bridge.scenes.set_desk import SetDesk
from daw_bridge.state_file import StateFile
from daw_bridge.steering.desk import SteeringDesk
from daw_bridge.stream_table import StreamTable
from daw_bridge.template_desk import TemplateDesk
from daw_bridge.triggers.desk import TriggerDesk
from protocols import PROTOCOL_VERSION
from protocols.bridge_messages import (
    BridgeUpdate,
    Devices,
    EngineState,
    Following,
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
    StopLoop,
    Weigh,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    Done,
    DownloadModel,
    DownloadProgress,
    Ended,
    Event,
    Finished,
    Forget,
    Journals,
    Load,
    ModelChanged,
    Models,
    Ping,
    Progress,
    Quit,
    Reply,
    Request,
    Sampling,
    Status,
    StopDownload,
    StreamList,
    Streams,
    Unload,
    Version,
    VersionInfo,
    Welcome,
)
from protocols.osc.front import Asker, OscFront
from protocols.release import VERSION
from protocols.scene_messages import SCENE_NOTES
from protocols.settings import Settings

log = structlog.get_logger()
T = TypeVar("T")

_LEAST_MARGIN_S = 0.05


class Desk(Protocol):
    """A part of the service: what it answers to, and what it does between requests. For the loop's thread only."""

    requests: Any
    """Base class of the requests that it carries out, or a union of them."""

    def handle(self, request: Any, asker: Asker) -> Reply | None:
        """Carry a request out; None means that it is answered later. May raise RequestError."""

    def pump(self) -> None:
        """Called every few milliseconds."""

    def close(self) -> None:
        """The bridge is about to stop."""


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
        self.streams = StreamTable()
        self._background = Background(call_soon)
        self._began = time.monotonic()
        self._last_first_sound_ms = 0.0
        self._underruns = 0
        self._engine_state = "connecting"
        self._pace = Pace(settings.bridge)
        self._notes = NotesDesk(settings, self)
        self._state = StateFile(settings.files.state_file)
        self.clock = ClockDesk(player.reading, self, settings.bridge.midi_input, self._state)
        self.templates = TemplateDesk(settings.files.templates_file, call_soon, self.done, self.fail)
        self.opening = Opening(self, self.streams, self._background, settings)
        self._forwarding = Forwarding(self, self.streams, settings.files)
        self._desks: list[Desk] = [self.clock, self._notes, self.templates, PastDesk(self), InputDesk(player, self)]
        self._loops = loops = LoopDesk(self, player, settings.files)
        self._desks.append(loops)
        self._desks.append(TempoDesk(lambda: self.clock.clock, lambda: self.streams.open, self.update))
        self._desks.append(SteeringDesk(self, settings.files))
        self.triggers = TriggerDesk(settings, player, self)
        self._desks.append(self.triggers)
        self.scenes = SceneDesk(self)
        keeper = Keeper(self._state)
        keeper.add(KeptDefaults(lambda: self.defaults, self._restore_defaults))
        keeper.add(self.scenes)
        keeper.add(self.triggers)
        keeper.add(KeptLoops(loops, settings.files, self._background))
        keeper.add(KeptClock(self.clock, self._state), itself=True)
        self._desks += [self.scenes, SetDesk(settings.files.sets_folder, keeper, self)]
        self._desks.append(PerformanceDesk(settings, player, self))
        self._desks.append(CodecDesk(settings.bridge.engine, settings.files, self))
        in_use = lambda: files_of(self.streams.all, loops.layers.values())  # noqa: E731
        self._desks.append(ExchangeDesk(settings.files, self, in_use))
        sent_to = settings.bridge.reastream_hosts
        self._desks.append(ReaStreamDesk(self.clock.stage, lambda: self.clock.clock, self, sent_to, self._state))
        self.live = LiveDesk(self, player)
        self._desks.append(self.live)

    @property
    def defaults(self) -> dict[str, object]:
        """What the next requests use where they leave a parameter out."""
        return msgspec.structs.asdict(self._defaults)

    # --- requests ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; one that opens a stream is answered when it is over."""
        for desk in self._desks:
            if isinstance(request, desk.requests):
                return desk.handle(request, asker)
        match request:
            case Play() | PlayContinue() | PlayMidi() | PlayOpen() | PlayAgain():
                self.play(request, asker)
                return None
            case BridgeUpdate():
                self.update(request, asker)
                return None
            case Weigh():
                self.update(request.update, asker)
                return None
            case Cancel(stream=number):
                for stream in self.streams.chosen(number):
                    self.cancel(stream)
            case Stop():
                if self.front is not None:
                    self.front.timed.drop()
                for stream in self.streams.all:
                    self.cancel(stream)
                self._loops.handle(StopLoop(layer=0, at="now"), asker)
            case SetLevel(stream=0, level=level):
                self._player.gain = linear_gain(level)
            case SetLevel(stream=number, level=level):
                self.streams.find(number).set_level(linear_gain(level))
            case SetDefaults():
                self._set_defaults(request)  # whoever listens is told by the front
            case Streams():
                return StreamList(items=[stream.info() for stream in self.streams.open])
            case Devices():
                listing = lambda found: device_list(found, self._player.status())  # noqa: E731
                self.in_background(list_with_virtual, asker, listing)
                return None
            case SetDevice(name=name):
                self.in_background(lambda: self._player.set_device(name or None), asker, lambda _: Done())
                return None
            case Models() | Load() | Unload() | DownloadModel() | StopDownload() | Journals() | Forget():
                self._forwarding.forward([request], asker)
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
            underruns=self._underruns + sum(stream.underruns for stream in self.streams.all),
            first_sound_ms=self._last_first_sound_ms,
            requests=front.received if front is not None else 0,
            errors=front.refused if front is not None else 0,
            uptime=round(time.monotonic() - self._began, 1),
            clock=self.clock.state(),
        )

    def close(self) -> None:
        """End every stream: sound fades out, takes are closed with what they have."""
        for desk in self._desks:
            desk.close()
        self._state.close()
        for stream in self.streams.all:
            self.cancel(stream)
            stream.engine_lost()
        self._background.close()

    @property
    def idle(self) -> bool:
        """Whether no stream is left."""
        return not self.streams.all

    def pump(self) -> None:
        """Called every few milliseconds: let every stream and every desk move on."""
        for stream in self.streams.all:
            stream.pump()
        self.opening.pump()
        for desk in self._desks:
            desk.pump()

    # --- what parts of the bridge ask of it -----------------------------------------------------------------------------

    def play(
        self,
        request: Playback | PlayAgain,
        asker: Asker,
        tap: Tap | None = None,
        held: bool = False,
        patient: bool = False,
    ) -> None:
        """Open a stream. ``asker`` is answered when it is over, or ``tap`` where there is one, also when nothing comes of it later.

        Args:
            request: what for; where it names no tempo it takes the clock's.
            asker: the client that it is for.
            tap: a part of the bridge that it is for.
            held: let it wait for `BridgeStream.release`, with its first sound ready.
            patient: see `Order`.

        Raises:
            RequestError: as `Opening.play`.
        """
        moment = self.clock.moment_of(asker, ahead=True)
        self.opening.play(Order(self.clock.in_time(request), asker, time.monotonic(), tap, held, patient, moment))

    def cancel(self, stream: BridgeStream) -> None:
        """Fade a stream out and end it."""
        stream.cancel()
        if stream.lost:
            stream.give_up()
        self.end(stream)

    def named_notes(self, request: Request, asker: Asker) -> FollowedClip | None:
        """The notes that a request names, if any."""
        name = (request.notes if isinstance(request, Following | BridgeUpdate) else "") or ""
        if name.startswith(SCENE_NOTES):
            return self.scenes.notes(name.removeprefix(SCENE_NOTES))
        return self._notes.clip(asker.peer, name)

    def read(self, work: Callable[[], T], asker: Asker, go: Callable[[T], None]) -> None:
        """Read a file beside the loop and go on with what came of it."""
        self._background.read(work, go, lambda error: self.fail(asker, error))

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""
        answer = lambda result: self.done(asker, reply(result))  # noqa: E731
        self._background.do(work, answer, lambda error: self.fail(asker, error))

    def refuse(self, order: Order, error: RequestError) -> None:
        """Nothing comes of an order."""
        if order.tap is not None:
            order.tap.over(error)
        else:
            self.fail(order.asker, error)

    @property
    def hold_bars(self) -> int:
        """How many of its last bars a stream plays again rather than be silent."""
        return self._settings.bridge.hold_bars

    def margin_seconds(self, lead_seconds: float) -> float:
        """Sound that a voice must have in store, or it runs dry."""
        card = self._player.status()
        return min(_LEAST_MARGIN_S + 2 * card.block_seconds, 0.4 * lead_seconds)

    def replaced(self, stream: int) -> None:
        """Another stream has taken its place."""
        left = self.streams.get(stream)
        if left is not None:
            self.cancel(left)

    def stop_at(self, stream: int, output: Output, frame: int) -> None:
        """Let a stream fade out from a frame of the card on; 0 for not after all."""
        left = self.streams.get(stream)
        if left is not None:
            left.stop_at(output, frame)

    def open_feeder(
        self, welcome: Welcome, lead_seconds: float, level_db: float, seconds: float, scheduled: bool
    ) -> Feeder:
        """A way to the sound card for a stream of ``seconds`` (0 without an end) that begins at once or when it is told."""
        bridge = self._settings.bridge
        others = sum(not stream.patient for stream in self.streams.open)
        prebuffer = self._pace.prebuffer(seconds, self._player.status().block_seconds, others)
        return self._player.open_voice(
            welcome.sample_rate,
            welcome.channels,
            lead_seconds=lead_seconds,
            prebuffer_seconds=min(prebuffer, 0.9 * lead_seconds if seconds else lead_seconds / 2),
            gain=linear_gain(level_db),
            fade_seconds=bridge.fade_ms / 1000,
            scheduled=scheduled,
        )

    def acknowledge(self, stream: BridgeStream, position: int) -> None:
        """Let the engine run on."""
        if self.engine is not None and stream.engine_number:
            self.engine.tell(Acknowledge(stream=stream.engine_number, position=position))

    def end(self, stream: BridgeStream) -> None:
        """Let the engine stop making a stream."""
        if self.engine is not None and stream.engine_number:
            self.engine.tell(Cancel(stream=stream.engine_number))

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell a client, and whoever listens."""
        if self.front is not None:
            self.front.publish(event, asker)

    def finished(self, stream: BridgeStream, answer: Finished | RequestError) -> None:
        """A stream is over: answer for it."""
        self.streams.remove(stream)
        if self.engine is not None and stream.patient and stream.journal:
            self.engine.tell(Forget(journal=stream.journal))  # nobody has heard it
        self._underruns += stream.underruns
        self._pace.ended(stream.engine_number, stream.underruns)
        self._last_first_sound_ms = stream.first_sound_ms or self._last_first_sound_ms
        if stream.tap is not None:
            stream.tap.over(answer)
        elif isinstance(answer, RequestError):
            self.fail(stream.asker, answer)
        else:
            self.done(stream.asker, answer)

    def tempo(self, stream: int | None) -> float:
        """The tempo of a stream, or with 0 of the first one, as far as fields told it; else the clock's."""
        chosen = self.streams.chosen(stream) if stream is not None else []
        return next((one.wording.facts.bpm for one in chosen), 0.0) or self.clock.state().bpm

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        """Change streams."""
        changed = lambda template: self._forwarding.change(request, asker, template)  # noqa: E731
        self.templates.find(request.template or "", changed, lambda error: self.fail(asker, error))

    # --- what the engine says (EngineListener) ------------------------------------------------------------------------

    def engine_ready(self, welcome: Welcome) -> None:
        """The engine answered."""
        self._engine_state = "ready"
        self.publish(EngineState(state="ready", model=welcome.model))
        self.opening.go_on()

    def engine_lost(self) -> None:
        """The engine is gone: streams hold on to what they have until another goes on with them."""
        self._engine_state = "lost"
        for stream in self.streams.open:
            stream.engine_lost()
        self.publish(EngineState(state="lost", model=""))

    def engine_event(self, event: Event) -> None:
        """Something happened to a stream."""
        match event:
            case Progress(realtime=realtime):
                self._pace.measured(realtime)
            case ModelChanged(model=model):
                self._pace = Pace(self._settings.bridge)
                self.publish(EngineState(state="ready", model=model))
            case DownloadProgress():
                self.publish(event)
        stream = self.streams.at_engine(getattr(event, "stream", 0))
        if stream is not None and isinstance(event, Ended) and event.reason == "engine_lost":
            # One of several replicas died: the others are there, and go on with it.
            stream.engine_lost()
            self.opening.go_on()
        elif stream is not None:
            stream.event(event)

    def engine_audio(self, header: AudioHeader, samples: memoryview) -> None:
        """A block arrived."""
        stream = self.streams.at_engine(header.stream)
        if stream is not None:
            if not stream.patient:
                self._pace.arrived(header, time.monotonic())
            stream.audio(header, samples)

    # --- what the player says ------------------------------------------------------------------------------------------

    def player_event(self, kind: PlayerEvent, details: dict[str, Any]) -> None:
        """The sound card came or went (any thread)."""
        log.info(str(kind), **details)
        self.call_soon(lambda: self.publish(card_state(kind, details)))

    # --- helpers --------------------------------------------------------------------------------------------------------

    def ready_engine(self) -> EngineClient:
        """The engine; ENGINE_LOST while there is none."""
        if self.engine is None or not self.engine.ready:
            endpoint = self._settings.bridge.engine
            raise RequestError(ErrorCode.ENGINE_LOST, "engine", endpoint, "a running engine; it is being looked for")
        return self.engine

    def _set_defaults(self, request: SetDefaults) -> None:
        changes = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        self._defaults = msgspec.structs.replace(self._defaults, **changes)

    def _restore_defaults(self, request: SetDefaults) -> None:
        self._set_defaults(request)
        if self.front is not None:
            self.front.tell_settings(fields_of(SetDefaults))

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""
        if isinstance(asker, Insider):
            asker.answered(reply)
        elif self.front is not None:
            self.front.done(asker, reply)

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""
        if isinstance(asker, Insider):
            asker.answered(error)
        elif self.front is not None:
            self.front.fail(asker, error)
