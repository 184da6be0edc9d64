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
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import structlog
import torch

from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.entries import Client, Entry, Listener, list_models, recipe
from engine.preparation import Preparation, PreparedStream, StreamPlan
from engine.scheduler import Alter, End, Scheduler, Start, Take
from engine.stream import (
    AudioBlock,
    EngineEvent,
    StreamChanged,
    StreamEnded,
    StreamProgress,
    StreamStarted,
)
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import INT32_MAX
from protocols.melody import MAX_TEXT
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    Done,
    Ended,
    EndReason,
    EngineStatus,
    Event,
    Listen,
    Missed,
    Models,
    Opened,
    Ping,
    Progress,
    Quit,
    RegionRequest,
    Reply,
    Request,
    Started,
    Status,
    StreamInfo,
    StreamList,
    StreamRequest,
    Streams,
    Unlisten,
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

LISTENER_WINDOW_S = 10.0
"""How far a listener that is not the owner may lag behind before blocks are dropped for it."""
_MAX_CHANGES = 10_000
_MAX_MELODIES = 4 * MAX_TEXT
"""Characters. All of them are kept in the take's sidecar, and sent back when it is made again."""

Answer = Callable[[Reply | RequestError], None]


class Service:
    """The engine behind its transports. For the I/O loop's thread only, but for `take_event`, which says so.

    Args:
        bundle: the model.
        settings: of both processes; the engine's section and the files' are used.
        scheduler: the model's thread.
        preparation: the thread beside it.
        call_soon: runs something on the I/O loop's thread.
        quit: called once somebody asks the process to stop.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        settings: Settings,
        scheduler: Scheduler,
        preparation: Preparation,
        call_soon: Callable[[Callable[[], None]], None],
        quit: Callable[[], None],
    ) -> None:
        self.instance = 1 + secrets.randbelow(INT32_MAX)
        self.requests = 0
        self.errors = 0
        self.busy = 0
        self.clients: set[Client] = set()
        self._bundle = bundle
        self._settings = settings
        self._scheduler = scheduler
        self._preparation = preparation
        self._call_soon = call_soon
        self._quit = quit
        self._admission = Admission(bundle, settings)
        self._entries: dict[int, Entry] = {}
        self._last_id = 0
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")
        self._reading = 0
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
                    self._update(entry, request)
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
            case Models():
                return list_models(self._bundle)
            case Status():
                return self.status()
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
            model=self._bundle.name,
            fingerprint=self._bundle.fingerprint,
            status=self._bundle.status,
            sample_rate=self._bundle.sample_rate,
            channels=self._bundle.channels,
            frame_samples=self._bundle.hop_length,
            max_message=MAX_MESSAGE,
        )

    def version(self) -> VersionInfo:
        """Release and protocol."""
        return VersionInfo(name="engine", version=VERSION, protocol=PROTOCOL_VERSION, instance=self.instance)

    def status(self) -> EngineStatus:
        """The engine at a glance."""
        bundle, stats = self._bundle, self._scheduler.stats
        waiting = sum(entry.state in ("preparing", "waiting") for entry in self._entries.values())
        return EngineStatus(
            state="ready",
            model=bundle.name,
            status=bundle.status,
            device=str(bundle.device),
            dtype=str(bundle.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            sample_rate=bundle.sample_rate,
            channels=bundle.channels,
            streams_running=stats.running,
            streams_waiting=waiting,
            clients=len(self.clients),
            frames=stats.frames,
            realtime=round(stats.realtime, 2),
            requests=self.requests,
            errors=self.errors,
            busy=self.busy,
            memory_mb=round(self._process.memory_info().rss / 2**20, 1),
            uptime=round(time.monotonic() - self._began, 1),
        )

    def close(self) -> None:
        """Let go of the files' thread."""
        self._files.shutdown(wait=False, cancel_futures=True)

    def client_lost(self, client: Client) -> None:
        """Forget a client that is gone: it hears nothing more, and the streams it owns end."""
        self.clients.discard(client)
        for entry in list(self._entries.values()):
            entry.listeners.pop(client, None)
            if entry.owner is client:
                self._end(entry, "owner_lost")

    # --- streams ----------------------------------------------------------------------------------------------------

    def _open(self, request: StreamRequest, client: Client, payload: bytes, answer: Answer) -> None:
        limit = self._settings.engine
        if len(self._entries) + self._reading >= limit.max_running + limit.max_waiting:
            allowed = f"at most {limit.max_running + limit.max_waiting} streams at once"
            raise RequestError(ErrorCode.BUSY, "queue", len(self._entries) + self._reading, allowed)
        if not (isinstance(request, RegionRequest) and request.path):
            answer(self._admit(self._admission.plan(request, payload), client))
            return

        def admitted(done: Future[StreamPlan]) -> None:
            self._reading -= 1
            error = done.exception()
            if isinstance(error, RequestError):
                answer(error)
            elif error is not None:
                answer(RequestError(ErrorCode.INTERNAL, "path", f"{type(error).__name__}: {error}"))
            elif not client.gone:
                answer(self._admit(done.result(), client))

        self._reading += 1
        future = self._files.submit(self._admission.plan, request, payload)
        future.add_done_callback(lambda done: self._call_soon(lambda: admitted(done)))

    def _admit(self, plan: StreamPlan, client: Client) -> Opened:
        self._last_id += 1
        entry = Entry(self._last_id, plan.request, client, plan.seed, plan.duration or 0.0, plan.directions)
        before = sum(other.state != "running" for other in self._entries.values())
        self._entries[entry.id] = entry
        self._preparation.submit(entry.id, plan, lambda result: self._call_soon(lambda: self._prepared(entry, result)))
        return Opened(stream=entry.id, seed=entry.seed, waiting=before)

    def _prepared(self, entry: Entry, result: PreparedStream | RequestError) -> None:
        entry.prepared = True
        if entry.ending is not None:
            self._ended(entry, entry.ending, "")
        elif isinstance(result, RequestError):
            self._ended(entry, "failed", result.text)
        else:
            entry.state, entry.note, entry.prompt_codes = "waiting", result.note, result.prompt_codes
            for change in entry.early_changes:
                result.stream.add_change(change)
            self._scheduler.post(Start(result.stream))

    def _update(self, entry: Entry, request: Update) -> None:
        if len(entry.changes) >= _MAX_CHANGES:
            raise RequestError(ErrorCode.TOO_LONG, "stream", entry.id, f"at most {_MAX_CHANGES} changes of one stream")
        if request.melody and entry.melody_characters + len(request.melody) > _MAX_MELODIES:
            allowed = f"melodies of at most {_MAX_MELODIES} characters in one stream's changes"
            raise RequestError(ErrorCode.TOO_LONG, "melody", f"{len(request.melody)} characters more", allowed)
        change = self._admission.change(request, entry.latest)
        entry.melody_characters += len(request.melody or "")
        if change.directions is None and change.melody is None:
            self._alter(entry, change)
            return

        def encoded(result: Change | RequestError) -> None:
            if isinstance(result, RequestError):
                entry.forget(change)
                log.warning("change not encoded", stream=entry.id, error=result.text)
            else:
                self._alter(entry, result)

        if change.directions is not None:
            entry.asked.append(change.directions)
        self._preparation.encode(change, lambda result: self._call_soon(lambda: encoded(result)))

    def _alter(self, entry: Entry, change: Change) -> None:
        if entry.prepared:
            self._scheduler.post(Alter(entry.id, change))
        else:
            entry.early_changes.append(change)

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
            seconds=entry.samples / self._bundle.sample_rate,
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
        rate = self._bundle.sample_rate
        match event:
            case AudioBlock():
                self._send_audio(entry, event)
            case StreamStarted():
                entry.state = "running"
                self._tell(
                    entry,
                    Started(
                        stream=entry.id,
                        seed=entry.seed,
                        model=self._bundle.name,
                        sample_rate=rate,
                        channels=self._bundle.channels,
                        seconds=entry.total_seconds,
                        note=entry.note,
                    ),
                )
            case StreamProgress(samples=samples, realtime=realtime):
                self._tell(
                    entry,
                    Progress(
                        stream=entry.id,
                        seconds=samples / rate,
                        total_seconds=entry.total_seconds,
                        realtime=round(realtime, 2),
                    ),
                )
            case StreamChanged(change=change):
                entry.changed(change)
                seconds = change.frame * self._bundle.hop_length / rate
                self._tell(entry, Updated(stream=entry.id, frame=change.frame, seconds=seconds))
            case StreamEnded(reason=reason, text=text):
                self._ended(entry, reason, text)

    def _send_audio(self, entry: Entry, block: AudioBlock) -> None:
        frames, channels = block.samples.shape
        header = AudioHeader(
            stream=entry.id,
            sequence=block.sequence,
            position=block.position,
            frames=frames,
            channels=channels,
            sample_rate=self._bundle.sample_rate,
            last=block.last,
        )
        samples = block.samples.reshape(-1).data.cast("B")
        if not entry.owner.audio(header, samples):
            entry.owner.event(Missed(stream=entry.id, start=block.position, end=block.position + frames))
        for client, listener in entry.listeners.items():
            self._send_to_listener(entry, client, listener, header, samples)
        entry.samples = block.position + frames

    def _send_to_listener(
        self, entry: Entry, client: Client, listener: Listener, header: AudioHeader, samples: memoryview
    ) -> None:
        end = header.position + header.frames
        window = int(LISTENER_WINDOW_S * header.sample_rate)
        if end - listener.taken > window:
            listener.missed_from = header.position if listener.missed_from is None else listener.missed_from
            return
        if listener.missed_from is not None:
            client.event(Missed(stream=entry.id, start=listener.missed_from, end=header.position))
            listener.missed_from = None
        if not client.audio(header, samples):
            listener.missed_from = header.position

    def _ended(self, entry: Entry, reason: EndReason, text: str) -> None:
        if self._entries.pop(entry.id, None) is None:
            return
        for client, listener in entry.listeners.items():
            if listener.missed_from is not None:
                client.event(Missed(stream=entry.id, start=listener.missed_from, end=entry.samples))
        if entry.prepared and reason != "failed":
            entry.owner.event(recipe(entry, self._bundle))
        seconds = entry.samples / self._bundle.sample_rate
        self._tell(entry, Ended(stream=entry.id, reason=reason, samples=entry.samples, seconds=seconds, text=text))

    def _tell(self, entry: Entry, event: Event) -> None:
        entry.owner.event(event)
        for client in entry.listeners:
            client.event(event)
