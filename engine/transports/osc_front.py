"""The engine over OSC: for clients that have no bridge. Audio changes hands as a file, so each request ends in a take."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from msgspec import structs

from audio_files.recorder import TakeRecorder, record_take
from audio_files.takes import Take
from engine.serving import Serving
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.messages import (
    ENGINE_REQUESTS,
    Acknowledge,
    AudioHeader,
    CancelCodec,
    CodecEnded,
    CodecJob,
    Continue,
    Ended,
    EngineStatus,
    Event,
    Finished,
    Generate,
    Opened,
    Progress,
    Recipe,
    Reply,
    Request,
    Resume,
    Started,
    Status,
    StreamRequest,
    Updated,
    Version,
    recoded,
)
from protocols.osc.front import Asker, OscFront, Peer
from protocols.osc.parameters import StatusParameters
from protocols.osc.port import OscPort
from protocols.oscquery.query import StatusSource, serve_query
from protocols.oscquery.server import TRANSPORT as WEBSOCKET
from protocols.settings import Settings
from protocols.wire import sidecar_of

_PUMP_S = 0.02
_TOLD = (Progress, Updated)


class _TakeOwner:
    """The owner of a stream that was asked for over OSC: it writes the take and answers when the file is there."""

    gone = False

    def __init__(self, osc: EngineOsc, asker: Asker, request: StreamRequest | Resume) -> None:
        self.stream = 0
        self._osc = osc
        self._asker = asker
        self._request = request
        self._recorder: TakeRecorder | None = None
        self._recipe: Recipe | None = None
        self._ended: Ended | None = None
        self._acknowledged = 0
        self._note = ""

    @property
    def name(self) -> str:
        """Shown in lists."""
        return f"osc-{self._asker.peer.host}:{self._asker.peer.port}"

    def opened(self, reply: Reply | RequestError) -> None:
        """The service took the request, or did not."""
        if isinstance(reply, Opened):
            self.stream = reply.stream
            self._osc.own(self)
        elif isinstance(reply, RequestError):
            self._osc.front.fail(self._asker, reply)

    def event(self, event: Event) -> None:
        """Keep what the sidecar needs, pass on what the client wants to know."""
        match event:
            case Recipe():
                self._recipe = event
            case Ended():
                self._ended = event
                self._osc.front.publish(event, self._asker)
                self.pump()
            case Started(note=note):
                self._note = note
                self._osc.front.publish(event, self._asker)
            case _ if isinstance(event, _TOLD):
                self._osc.front.publish(event, self._asker)

    def audio(self, header: AudioHeader, samples: memoryview) -> bool:
        """Write a block."""
        block = np.frombuffer(samples, np.float32).reshape(header.frames, header.channels)
        try:
            if self._recorder is None:
                name = getattr(self._request, "prompt", "") or "engine"
                self._recorder = record_take(
                    self._osc.takes_folder, name, sample_rate=header.sample_rate, channels=header.channels
                )
            self._recorder.push(block)
        except RequestError as error:
            self._fail(error)
            return True
        self.pump()
        return True

    def pump(self) -> None:
        """Hand blocks to the disk, acknowledge them, and close the take once the stream is over."""
        if self._recorder is not None:
            try:
                self._recorder.pump()
            except RequestError as error:
                self._fail(error)
                return
            if self._recorder.position > self._acknowledged and self._ended is None:
                self._acknowledged = self._recorder.position
                self._osc.acknowledge(self, self._acknowledged)
        if self._ended is not None and (self._recorder is None or self._recorder.idle):
            self._finish(self._ended)

    def _finish(self, ended: Ended) -> None:
        self._osc.forget(self)
        if self._recorder is None or self._recipe is None or not ended.samples:
            self.abandon()
            self._answer(ended, "")
            return
        future = self._recorder.finish(sidecar_of(self._recipe, ended))
        future.add_done_callback(lambda done: self._osc.call_soon(lambda: self._closed(ended, done)))

    def _closed(self, ended: Ended, future: Future[Take]) -> None:
        error = future.exception()
        if error is None:
            self._answer(ended, str(future.result().path))
        elif isinstance(error, RequestError):
            self._osc.front.fail(self._asker, error)
        else:
            self._osc.front.fail(self._asker, RequestError(ErrorCode.INTERNAL, "take", str(error)))

    def _answer(self, ended: Ended, path: str) -> None:
        if ended.reason == "failed":
            self._osc.front.fail(self._asker, RequestError(ErrorCode.INTERNAL, "stream", ended.text))
            return
        seed = self._recipe.seed if self._recipe is not None else self._request.seed or 0
        self._osc.front.done(
            self._asker,
            Finished(
                stream=ended.stream,
                reason=ended.reason,
                seconds=ended.seconds,
                seed=seed,
                path=path,
                underruns=0,
                first_sound_ms=0.0,
                note=self._note,
            ),
        )

    def _fail(self, error: RequestError) -> None:
        """The disk failed: the stream ends, and the client is told why."""
        self._osc.forget(self)
        self.abandon()
        self._osc.front.fail(self._asker, error)
        self._osc.lose(self)

    def abandon(self) -> None:
        """Drop what was recorded."""
        if self._recorder is not None:
            self._recorder.abandon()
            self._recorder = None


class _Visitor:
    """An OSC client that asks about streams without owning one."""

    name = "osc"
    gone = False

    def event(self, event: Event) -> None:
        """Nothing is sent to a visitor: it hears events by ``/notify``."""

    def audio(self, header: AudioHeader, samples: memoryview) -> bool:
        """OSC carries no audio."""
        return True


class _JobOwner(_Visitor):
    """The owner of a codec job that was asked for over OSC: it answers when the job is over."""

    def __init__(self, osc: EngineOsc, asker: Asker) -> None:
        self._osc = osc
        self._asker = asker

    def taken(self, reply: Reply | RequestError) -> None:
        """The job was taken, or was not."""
        if isinstance(reply, RequestError):
            self._osc.over(self, self._asker, reply)

    def event(self, event: Event) -> None:
        """Pass on how far it is, and answer at its end."""
        if isinstance(event, CodecEnded):
            self._osc.over(self, self._asker, recoded(event))
        else:
            self._osc.front.publish(event, self._asker)


class EngineOsc:
    """The engine's OSC server. For the I/O loop's thread only.

    Args:
        loop: where the sockets are served.
        service: what carries requests out.
        settings: of both processes.
    """

    def __init__(self, loop: IoLoop, service: Serving, settings: Settings) -> None:
        self.takes_folder = settings.files.takes_folder
        self.call_soon: Callable[[Callable[[], None]], None] = loop.call_soon
        self._service = service
        self._visitor = _Visitor()
        self._owners: dict[int, _TakeOwner] = {}
        self._jobs: set[_JobOwner] = set()
        self._port = OscPort(loop, settings.engine.host, settings.engine.osc_port)
        self.port = self._port.port
        self.front = OscFront("engine", ENGINE_REQUESTS, self, self._send, later=loop.call_later)
        status = StatusParameters("engine", EngineStatus, service.status)
        self.front.parameters.append(status)
        self._port.serve(self.front)
        self._query = serve_query(settings.engine, loop, self.front, self.port, (StatusSource(status),))
        service.heralds.append(self.front.publish)
        loop.call_every(_PUMP_S, self._pump)

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; one that opens a stream is answered when its take is written."""
        if isinstance(request, Generate | Continue | Resume):
            owner = _TakeOwner(self, asker, request)
            self._service.handle(structs.replace(request, background=True), owner, owner.opened)
            return None
        if isinstance(request, CodecJob):
            job = _JobOwner(self, asker)
            self._jobs.add(job)
            self._service.handle(request, job, job.taken)
            return None
        if isinstance(request, CancelCodec) and not request.job:  # every job that was asked for over OSC
            for job in self._jobs:
                self._service.handle(request, job, lambda reply: None)
        if getattr(request, "stream", None) == 0:  # every stream that was opened over OSC
            for owner in list(self._owners.values()):
                self._service.handle(request, owner, lambda reply: None)
        self._service.handle(request, self._visitor, lambda reply: self._answer(asker, reply))
        return None

    def report(self, request: Status | Version) -> Reply:
        """Answer ``/status`` or ``/version``."""
        return self._service.status() if isinstance(request, Status) else self._service.version()

    def acknowledge(self, owner: _TakeOwner, position: int) -> None:
        """Let a stream run on."""
        self._service.handle(Acknowledge(stream=owner.stream, position=position), owner, lambda reply: None)

    def own(self, owner: _TakeOwner) -> None:
        """A stream was opened."""
        self._owners[owner.stream] = owner

    def forget(self, owner: _TakeOwner) -> None:
        """A stream is over."""
        self._owners.pop(owner.stream, None)

    def over(self, job: _JobOwner, asker: Asker, answer: Reply | RequestError) -> None:
        """A codec job is over."""
        self._jobs.discard(job)
        self._answer(asker, answer)

    def lose(self, owner: _TakeOwner) -> None:
        """A take cannot be written: end its stream."""
        self._service.client_lost(owner)

    def close(self) -> None:
        """Close the sockets; takes that are not finished are dropped."""
        for owner in list(self._owners.values()):
            owner.abandon()
        if self._query is not None:
            self._query.close()
        self._port.close()

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are served."""
        query = {"oscquery_port": self._query.port} if self._query is not None else {}
        return {"osc_port": self.port, **query}

    def _send(self, peer: Peer, packet: bytes) -> None:
        """Put a packet on its way to whoever it is for. Never blocks, never raises."""
        if peer.transport != WEBSOCKET:
            self._port.send(peer, packet)
        elif self._query is not None:
            self._query.send(peer, packet)

    def _answer(self, asker: Asker, reply: Reply | RequestError) -> None:
        if isinstance(reply, RequestError):
            self.front.fail(asker, reply)
        else:
            self.front.done(asker, reply)

    def _pump(self) -> None:
        for owner in list(self._owners.values()):
            owner.pump()
