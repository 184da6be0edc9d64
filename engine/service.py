"""What the engine does for its clients: requests checked and admitted, streams owned, listened to, changed and ended.

Runs on the I/O loop's thread, between the transports and the scheduler. Each stream has one owner, whose acknowledgements set its
pace: it never runs more than its ``lead`` ahead of them, so nothing piles up and nothing is lost. Anybody else may
listen; a listener that falls behind loses blocks, is told which, and holds nobody up.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable

import psutil
import structlog
import torch
from msgspec.structs import asdict

from engine.change_desk import ChangeDesk
from engine.coding.desk import CodecDesk
from engine.entries import Client, Entry, Listener, opened, recipe
from engine.exchange import ExchangeDesk
from engine.journal.desk import JournalDesk
from engine.library.desk import LibraryDesk
from engine.melody_desk import MelodyDesk
from engine.memory import MB, gpu_memory
from engine.models import LoadedModel, LoadedModels
from engine.preparation import PreparedStream, StreamPlan
from engine.scheduler import End, Pass, Scheduler, Start, Take
from engine.stream import (
    AudioBlock,
    EngineEvent,
    FramesMade,
    StreamChanged,
    StreamEnded,
    StreamOvertaken,
    StreamProgress,
    StreamStarted,
)
from engine.style_desk import StyleDesk
from engine.style_intake import brings_style
from engine.worker import Worker
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import INT32_MAX
from protocols.messages import (
    Acknowledge,
    Cancel,
    CodecRequest,
    Done,
    DownloadModel,
    Ended,
    EndReason,
    EngineStatus,
    Event,
    Forget,
    Journals,
    Listen,
    Load,
    Missed,
    Models,
    Opened,
    Ping,
    Progress,
    Quit,
    ReadMelody,
    RegionRequest,
    ReplicaList,
    Replicas,
    Reply,
    Request,
    Resume,
    Started,
    Status,
    StopDownload,
    StreamInfo,
    StreamList,
    StreamRequest,
    Streams,
    TransferRequest,
    Unlisten,
    Unload,
    Update,
    Updated,
    Version,
    VersionInfo,
    Welcome,
)
from protocols.osc.form import tag_of
from protocols.release import VERSION
from protocols.settings import Settings
from protocols.wire import MAX_MESSAGE

log = structlog.get_logger()

_STOP_S = 0.2

Answer = Callable[[Reply | RequestError], None]


class Service:
    """The engine behind its transports. For the I/O loop's thread only, but for `take_event`, which says so.

    Args:
        model: to begin with.
        settings: of both processes; the engine's section and the files' are used.
        scheduler: the model's thread.
        preparation: the thread beside it.
        call_soon: runs something on the I/O loop's thread.
        quit: called once somebody asks the process to stop.
        load_threads: CPU threads that loading another model may use.

    Attributes:
        exchange: files that come and go.
        codecs: sound to codes and back, beside what plays.
        heralds: called with what everybody is told, not only the clients that are connected over ZeroMQ.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: Settings,
        scheduler: Scheduler,
        preparation: Worker,
        call_soon: Callable[[Callable[[], None]], None],
        quit: Callable[[], None],
        *,
        load_threads: int = 1,
    ) -> None:
        self.instance = 1 + secrets.randbelow(INT32_MAX)
        self.requests = 0
        self.errors = 0
        self.busy = 0
        self.clients: set[Client] = set()
        self.heralds: list[Callable[[Event], None]] = []
        self._settings = settings
        self._scheduler = scheduler
        self._preparation = preparation
        self._call_soon = call_soon
        self._quit = quit
        self._models = LoadedModels(
            model, settings, call_soon, self._when_forgotten, self._tell_all, threads=load_threads
        )
        self._entries: dict[int, Entry] = {}
        self._last_id = 0
        self._files = Worker("files")
        self._files.start()
        self._reading = 0
        self._melodies = MelodyDesk(self._models, call_soon)
        self._library = LibraryDesk(self._models, settings.engine, call_soon, self._tell_all)
        self.exchange = ExchangeDesk(settings.files, call_soon)
        self._journals = JournalDesk(settings.files, call_soon)
        self.codecs = CodecDesk(self._models, settings, call_soon, self._files, self._journals.read)
        self._changes = ChangeDesk(preparation, scheduler, call_soon)
        self._styles = StyleDesk(self._models, self._changes, call_soon)
        self._began = time.monotonic()
        self._process = psutil.Process(os.getpid())

    # --- requests ---------------------------------------------------------------------------------------------------

    def handle(self, request: Request, client: Client, answer: Answer, payload: bytes = b"") -> None:
        """Carry out one request of a client.

        ``answer`` gets the reply or the error, exactly once: at once, or later on this thread when a file has to be read first.
        """
        self.requests += 1

        def counted(reply: Reply | RequestError) -> None:
            if isinstance(reply, RequestError):
                self.errors += 1
                self.busy += reply.code is ErrorCode.BUSY
            answer(reply)

        try:
            if isinstance(request, StreamRequest):
                self._open(request, client, payload, counted)
            elif isinstance(request, Load):
                self._models.load(request, counted)
            elif isinstance(request, Unload):
                self._models.unload(counted)
            elif isinstance(request, Update) and brings_style(request):
                self._styles.change(request, payload, lambda: self._chosen(request.stream, client), counted)
            elif isinstance(request, Models | DownloadModel | StopDownload):
                self._library.handle(request, counted)
            elif isinstance(request, ReadMelody):
                self._melodies.handle(request, payload, counted)
            elif isinstance(request, TransferRequest):
                self.exchange.handle(request, payload, counted)
            elif isinstance(request, CodecRequest):
                self.codecs.handle(request, client, payload, counted)
            elif isinstance(request, Resume):
                self._resume(request, client, counted)
            elif isinstance(request, Journals | Forget):
                self._journals.handle(request, counted)
            else:
                counted(self._handle(request, client))
        except RequestError as error:
            counted(error)

    def _handle(self, request: Request, client: Client) -> Reply:
        match request:
            case Acknowledge(stream=number, position=position):
                self._acknowledge(self._entry(number), client, position)
            case Update():
                for entry in self._chosen(request.stream, client):
                    self._changes.update(entry, request)
            case Cancel():
                for entry in self._chosen(request.stream, client):
                    self._end(entry, "cancelled")
            case Listen(stream=number):
                entry = self._entry(number)
                if client is not entry.owner:
                    entry.listeners[client] = Listener(taken=entry.samples)
            case Unlisten(stream=number):
                self._entry(number).listeners.pop(client, None)
            case Streams():
                return StreamList(items=[self._info(entry) for entry in self._entries.values()])
            case Status():
                return self.status()
            case Replicas():
                return ReplicaList(items=[])
            case Version():
                return self.version()
            case Quit():
                self._quit()
            case Ping():
                pass
            case _:
                raise RequestError(ErrorCode.UNSUPPORTED, "type", tag_of(type(request)))
        return Done()

    def count_broken(self) -> None:
        """Count a message that could not even be read."""
        self.requests += 1
        self.errors += 1

    def welcome(self) -> Welcome:
        """What the engine is, for a client that has just connected."""
        return Welcome(
            protocol=PROTOCOL_VERSION,
            version=VERSION,
            instance=self.instance,
            max_message=MAX_MESSAGE,
            **asdict(self._models.facts),
        )

    def version(self) -> VersionInfo:
        """Release and protocol."""
        return VersionInfo(name="engine", version=VERSION, protocol=PROTOCOL_VERSION, instance=self.instance)

    def status(self) -> EngineStatus:
        """The engine at a glance."""
        current, stats, facts = self._models.current, self._scheduler.stats, self._models.facts
        gpu, gpu_reserved = gpu_memory()
        kept = [model.preparation for model in self._models]
        waiting = sum(entry.state in ("preparing", "waiting") for entry in self._entries.values())
        return EngineStatus(
            state="empty" if current is None else "ready",
            model=facts.model,
            loading=self._models.loading,
            status=facts.status,
            device="" if current is None else str(current.bundle.device),
            dtype=facts.dtype,
            runner=facts.runner,
            threads=torch.get_num_threads(),
            sample_rate=facts.sample_rate,
            channels=facts.channels,
            streams_running=stats.running,
            streams_waiting=waiting,
            clients=len(self.clients),
            frames=stats.frames,
            realtime=round(stats.realtime, 2),
            late_frames=stats.late_frames,
            shared=round(stats.shared, 2),
            requests=self.requests,
            errors=self.errors,
            busy=self.busy,
            memory_mb=round(self._process.memory_info().rss / MB, 1),
            weights_mb=self._models.weights_mb,
            gpu_mb=round(gpu / MB, 1),
            gpu_reserved_mb=round(gpu_reserved / MB, 1),
            cached_texts=sum(preparation.kept_texts for preparation in kept),
            cached_melodies=sum(preparation.kept_melodies for preparation in kept),
            cached_mb=round(sum(preparation.kept_bytes for preparation in kept) / MB, 1),
            uptime=round(time.monotonic() - self._began, 1),
            journal=self._journals.state,
            codec_jobs=self.codecs.jobs,
            codec_mb=self.codecs.weights_mb,
        )

    def close(self) -> bool:
        """Let go of the threads of files and models; False when a model is still being loaded."""
        self._melodies.close()
        self._library.close(_STOP_S)
        self.codecs.close(_STOP_S)
        self._styles.close()
        self.exchange.close(_STOP_S)
        self._journals.stop(_STOP_S)
        self._files.stop(0)
        return self._models.stop(_STOP_S)

    def client_lost(self, client: Client) -> None:
        """Forget a client that is gone: it hears nothing more, and the streams it owns end."""
        self.clients.discard(client)
        self.codecs.client_lost(client)
        for entry in list(self._entries.values()):
            entry.listeners.pop(client, None)
            if entry.owner is client:
                self._end(entry, "owner_lost")

    # --- streams ----------------------------------------------------------------------------------------------------

    def _refuse_too_many(self) -> None:
        limit = self._settings.engine
        if len(self._entries) + self._reading >= limit.max_running + limit.max_waiting:
            allowed = f"at most {limit.max_running + limit.max_waiting} streams at once"
            raise RequestError(ErrorCode.BUSY, "queue", len(self._entries) + self._reading, allowed)

    def _resume(self, request: Resume, client: Client, answer: Answer) -> None:
        self._refuse_too_many()
        model = self._models.ready
        self._journals.plan(request, model.admission, self._planned(model, client, answer))

    def _open(self, request: StreamRequest, client: Client, payload: bytes, answer: Answer) -> None:
        self._refuse_too_many()
        model = self._models.ready
        reads_files = brings_style(request) or (isinstance(request, RegionRequest) and request.path)
        if not reads_files and model.decoders.is_ready(request.decoder):
            answer(self._admit(model.admission.plan(request, payload), model, client))
            return
        planned = self._planned(model, client, answer)
        self._files.do(
            lambda: model.admission.plan(request, payload), lambda result: self._call_soon(lambda: planned(result))
        )

    def _planned(
        self, model: LoadedModel, client: Client, answer: Answer
    ) -> Callable[[StreamPlan | RequestError], None]:
        """What admits a stream once its plan is there; it is for this model, whatever is loaded meanwhile."""

        def planned(result: StreamPlan | RequestError) -> None:
            self._reading -= 1
            if isinstance(result, RequestError):
                answer(result)
            elif not client.gone:
                answer(self._admit(result, model, client))
            self._models.leave(model)

        self._reading += 1
        self._models.use(model)
        return planned

    def _admit(self, plan: StreamPlan, model: LoadedModel, client: Client) -> Opened:
        self._last_id += 1
        passed = float(plan.request.from_frame / model.bundle.frame_rate)
        seconds = 0.0 if plan.duration is None else plan.duration - passed
        entry = Entry(self._last_id, plan.request, client, model, plan.seed, seconds, plan.directions)
        entry.planned = list(plan.script)
        before = sum(other.state != "running" for other in self._entries.values())
        self._entries[entry.id] = entry
        self._models.use(model)
        self._preparation.do(
            lambda: model.preparation.prepare(entry.id, plan),
            lambda result: self._call_soon(lambda: self._prepared(entry, result, plan)),
        )
        return opened(entry, before, self._journals.admitted(entry))

    def _prepared(self, entry: Entry, result: PreparedStream | RequestError, plan: StreamPlan) -> None:
        entry.prepared = True
        if entry.ending is not None:
            self._ended(entry, entry.ending, "")
        elif isinstance(result, RequestError):
            self._ended(entry, "failed", result.text)
        else:
            entry.state, entry.note = "waiting", result.note
            entry.prompt_codes, entry.seam_record = result.prompt_codes, result.seam_record
            self._journals.prepared(entry, result, plan)
            for change in entry.early_changes:
                result.stream.add_change(change)
            self._scheduler.post(Start(result.stream))

    def _end(self, entry: Entry, reason: EndReason) -> None:
        if entry.prepared:
            self._scheduler.post(End(entry.id, reason))
        else:
            entry.ending = entry.ending or reason

    def _acknowledge(self, entry: Entry, client: Client, position: int) -> None:
        if client is entry.owner:
            self._scheduler.post(Take(entry.id, position))
        elif (listener := entry.listeners.get(client)) is not None:
            listener.taken = max(listener.taken, min(position, entry.samples))

    def _entry(self, number: int) -> Entry:
        entry = self._entries.get(number)
        if entry is None:
            known = ", ".join(map(str, self._entries)) or "none is open"
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", number, known)
        return entry

    def _chosen(self, number: int, client: Client) -> list[Entry]:
        """The stream with this number, or for 0 all of the client's own."""
        if number:
            return [self._entry(number)]
        return [entry for entry in self._entries.values() if entry.owner is client]

    def _info(self, entry: Entry) -> StreamInfo:
        return StreamInfo(
            stream=entry.id,
            kind=tag_of(type(entry.request)),
            state=entry.state,
            prompt=shorten(entry.request.prompt, 200),
            seed=entry.seed,
            seconds=entry.seconds,
            total_seconds=entry.total_seconds,
            client=entry.owner.name,
        )

    # --- what the model's thread says ---------------------------------------------------------------------------------

    def take_event(self, event: EngineEvent) -> None:
        """Take an event from the model's thread (any thread; never blocks)."""
        self._call_soon(lambda: self._on_event(event))

    def _on_event(self, event: EngineEvent) -> None:
        entry = self._entries.get(event.stream)
        if entry is None:
            return
        bundle = entry.model.bundle
        rate = bundle.sample_rate
        match event:
            case AudioBlock():
                entry.send(event)
            case FramesMade():
                self._journals.made(entry, event)
            case StreamStarted():
                entry.state = "running"
                entry.tell(
                    Started(
                        stream=entry.id,
                        seed=entry.seed,
                        model=bundle.name,
                        sample_rate=rate,
                        channels=bundle.channels,
                        seconds=entry.total_seconds,
                        note=entry.note,
                    ),
                )
            case StreamProgress(samples=samples, realtime=realtime):
                entry.tell(
                    Progress(
                        stream=entry.id,
                        seconds=samples / rate,
                        total_seconds=entry.total_seconds,
                        realtime=round(realtime, 2),
                    ),
                )
            case StreamChanged(change=change):
                self._changes.changed(entry, change)
                self._journals.changed(entry)
                seconds = (change.frame - entry.first_frame) * bundle.hop_length / rate
                if seconds >= 0:
                    told = Updated(stream=entry.id, frame=change.frame, seconds=seconds, section=change.section)
                    entry.tell(told)
            case StreamOvertaken(change=change):
                self._changes.overtaken(entry, change)
            case StreamEnded(reason=reason, text=text):
                self._ended(entry, reason, text)

    def _ended(self, entry: Entry, reason: EndReason, text: str) -> None:
        if self._entries.pop(entry.id, None) is None:
            return
        for client, listener in entry.listeners.items():
            if listener.missed_from is not None:
                client.event(Missed(stream=entry.id, start=listener.missed_from, end=entry.samples))
        self._journals.ended(entry, reason, text)
        if entry.prepared and reason != "failed":
            entry.owner.event(recipe(entry))
        entry.tell(Ended(stream=entry.id, reason=reason, samples=entry.samples, seconds=entry.seconds, text=text))
        self._models.leave(entry.model)

    # --- models -------------------------------------------------------------------------------------------------------

    def _tell_all(self, event: Event) -> None:
        for client in self.clients:
            client.event(event)
        for tell in self.heralds:
            tell(event)

    def _when_forgotten(self, call: Callable[[], None]) -> None:
        """Call back, on any thread, once neither the preparation's thread nor the model's holds a stream that is over."""
        self._preparation.do(lambda: None, lambda done: self._scheduler.post(Pass(call)))
