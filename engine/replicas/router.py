"""The service of the front: what clients ask goes to the replica that it concerns, and what replicas say to whom it is for.

A stream stays with the replica that opened it: its changes, acknowledgements and listeners go there, and its sound is passed on
as it came. Where that replica dies the owner is told `engine_lost`, and may have another replica go on from the journal. Numbers of
streams and jobs are the front's own; each client has a line of its own to each replica that works for it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import psutil
import structlog
import zmq

from engine.replicas.attempts import Whereabouts, first_that_takes
from engine.replicas.combined import codecs_of, journals_of, one_of, status_of, streams_of
from engine.replicas.errands import Errands
from engine.replicas.lines import Lines, ask_each
from engine.replicas.link import Heard, Link
from engine.replicas.member import Member
from engine.replicas.team import TICK_S, Answers, Team
from engine.serving import NO_FACTS, Answer, Client
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX
from protocols.loop import IoLoop
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    CancelCodec,
    CodecEnded,
    CodecJob,
    CodecProgress,
    Codecs,
    Done,
    DownloadModel,
    DownloadProgress,
    Ended,
    EngineStatus,
    Event,
    ExportCodes,
    Forget,
    InspectCodes,
    Journals,
    Listen,
    Load,
    Missed,
    ModelChanged,
    Models,
    Opened,
    Ping,
    Quit,
    ReadMelody,
    ReplicaList,
    Replicas,
    Reply,
    Request,
    Resume,
    Status,
    StopDownload,
    StreamRequest,
    Streams,
    TransferRequest,
    Unlisten,
    Unload,
    Update,
    Version,
    VersionInfo,
    Welcome,
)
from protocols.osc.form import tag_of
from protocols.release import VERSION
from protocols.wire import MAX_MESSAGE

log = structlog.get_logger()

_MB = 2**20


@dataclass
class Route:
    """A stream: which replica makes it, and by which number of its own."""

    member: Member
    local: int


class Router:
    """What several engines do for the clients of one front. For the I/O loop's thread only.

    Args:
        loop: where the lines are served.
        context: ZeroMQ's.
        count: how many replicas there should be.
        quit: called once somebody asks the process to stop.
        restart: has the process of a replica ended, so that it is started again.

    Attributes:
        team: the replicas.
        clients: those that are connected over ZeroMQ.
        heralds: called with what everybody is told.
    """

    def __init__(
        self,
        loop: IoLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        count: int,
        *,
        quit: Callable[[], None],
        restart: Callable[[int], None],
    ) -> None:
        self.instance = 1 + secrets.randbelow(INT32_MAX)
        self.clients: set[Client] = set()
        self.heralds: list[Callable[[Event], None]] = []
        self.requests = self.errors = self.busy = 0
        self.team = Team(loop, context, count, tell=self._tell_all, gone=self._gone, restart=restart)
        self._quit = quit
        self._routes: dict[int, Route] = {}
        self._last_stream = 0
        self._nodes = Whereabouts()
        self._lines = Lines(loop, context, self)
        self._errands = Errands(self.team, self._lines, self._nodes)
        self._began = time.monotonic()
        self._process = psutil.Process(os.getpid())
        loop.call_every(TICK_S, self._lines.tick)

    # --- requests -----------------------------------------------------------------------------------------------------

    def handle(self, request: Request, client: Client, answer: Answer, payload: bytes = b"") -> None:
        """Carry out one request of a client; ``answer`` gets the reply or the error, exactly once, on this thread."""
        self.requests += 1

        def counted(reply: Reply | RequestError) -> None:
            if isinstance(reply, RequestError):
                self.errors += 1
                self.busy += reply.code is ErrorCode.BUSY
            answer(reply)

        try:
            if isinstance(request, StreamRequest | Resume):
                self._open(request, client, counted, payload)
            elif isinstance(request, Acknowledge | Update | Cancel | Listen | Unlisten):
                self._about_stream(request, client, counted, payload)
            elif isinstance(request, CodecJob):
                self._errands.code(request, client, counted, payload)
            elif isinstance(request, CancelCodec):
                self._errands.cancel(request, client, counted)
            elif isinstance(request, TransferRequest):
                self._errands.transfer(request, counted, payload)
            elif isinstance(request, Load | Unload):
                self.team.load(request, counted)
            else:
                self._about_all(request, client, counted, payload)
        except RequestError as error:
            counted(error)

    def count_broken(self) -> None:
        """Count a message that could not even be read."""
        self.requests += 1
        self.errors += 1

    def welcome(self) -> Welcome:
        """What the engine is, for a client that has just connected."""
        facts = self.team.facts or NO_FACTS
        return Welcome(
            protocol=PROTOCOL_VERSION,
            version=VERSION,
            instance=self.instance,
            max_message=MAX_MESSAGE,
            **msgspec.structs.asdict(facts),
        )

    def version(self) -> VersionInfo:
        """Release and protocol."""
        return VersionInfo(name="engine", version=VERSION, protocol=PROTOCOL_VERSION, instance=self.instance)

    def status(self) -> EngineStatus:
        """All replicas at a glance, as they told a quarter of a second ago."""
        return status_of(
            self.team.members,
            self.team.facts or NO_FACTS,
            loading=self.team.loading,
            clients=len(self.clients),
            requests=self.requests,
            errors=self.errors,
            busy=self.busy,
            memory_mb=self._process.memory_info().rss / _MB,
            uptime=round(time.monotonic() - self._began, 1),
        )

    def client_lost(self, client: Client) -> None:
        """Forget a client that is gone: it hears nothing more, and the streams and jobs it owns end."""
        self.clients.discard(client)
        for link, member in self._lines.of(client):
            for local, heard in link.known.streams.items():
                if heard.owned and self._routes.pop(heard.number, None) is not None:
                    member.streams -= 1
                    link.request(Cancel(stream=local), lambda reply: None)
            self._errands.leave(link)
            self._lines.let_go(link)

    def close(self) -> None:
        """Let go of all lines."""
        self._lines.close()
        self.team.close()

    # --- streams ------------------------------------------------------------------------------------------------------

    def _open(self, request: StreamRequest | Resume, client: Client, answer: Answer, payload: bytes) -> None:
        if isinstance(request, Resume):
            members = self._nodes.nearest(self.team.serving, request.journal)
        else:
            members = self._nodes.nearest(self.team.serving, getattr(request, "path", ""), request.style_path)

        def ask(member: Member, take: Answer) -> None:
            link = self._lines.between(client, member)
            member.streams += 1

            def opened(reply: Reply | RequestError) -> None:
                if isinstance(reply, Opened):
                    take(self._opened(reply, client, member, link))
                else:
                    member.streams -= 1
                    take(reply)

            link.request(request, opened, payload)

        first_that_takes(members, ask, answer, wanted=lambda: not client.gone)

    def _opened(self, reply: Opened, client: Client, member: Member, link: Link) -> Opened:
        self._last_stream += 1
        number = self._last_stream
        link.known.streams[reply.stream] = Heard(number, owned=True)
        self._routes[number] = Route(member, reply.stream)
        self._nodes.put(reply.journal, member.node)
        return msgspec.structs.replace(reply, stream=number)

    def _about_stream(
        self,
        request: Acknowledge | Update | Cancel | Listen | Unlisten,
        client: Client,
        answer: Answer,
        payload: bytes,
    ) -> None:
        if not request.stream:
            self._about_own_streams(request, client, answer, payload)
            return
        route = self._routes.get(request.stream)
        if route is None:
            known = ", ".join(map(str, self._routes)) or "none is open"
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", request.stream, known)
        link, local = self._lines.between(client, route.member), route.local
        streams = link.known.streams
        if isinstance(request, Listen):
            streams.setdefault(local, Heard(request.stream, owned=False))

        def done(reply: Reply | RequestError) -> None:
            heard = streams.get(local)
            no_more = isinstance(request, Unlisten) or (isinstance(request, Listen) and isinstance(reply, RequestError))
            if no_more and heard is not None and not heard.owned:
                del streams[local]
            if isinstance(reply, RequestError) and reply.code is ErrorCode.UNKNOWN_STREAM:
                reply = RequestError(reply.code, "stream", request.stream, "it is over already")
            answer(reply)

        link.request(msgspec.structs.replace(request, stream=local), done, payload)

    def _about_own_streams(self, request: Request, client: Client, answer: Answer, payload: bytes) -> None:
        mine = self._lines.of(client)
        links = [link for link, _ in mine if any(heard.owned for heard in link.known.streams.values())]
        ask_each(links, request, answer, payload)

    # --- requests about the whole -------------------------------------------------------------------------------------

    def _about_all(self, request: Request, client: Client, answer: Answer, payload: bytes) -> None:
        team = self.team
        match request:
            case Streams():
                numbers = {(route.member, route.local): number for number, route in self._routes.items()}
                team.ask_all(team.ready, request, lambda answers: answer(streams_of(answers, numbers)))
            case Status():
                team.ask_all(team.ready, request, lambda answers: self._answer_status(answers, answer))
            case Journals():
                team.ask_all(team.one_per_node(), request, lambda answers: answer(journals_of(answers.values())))
            case Codecs():
                team.ask_all(team.ready, request, lambda answers: answer(codecs_of(answers.values())))
            case DownloadModel() | StopDownload():
                team.ask_all(team.one_per_node(), request, lambda answers: answer(one_of(answers.values())))
            case Forget(journal=journal) | ExportCodes(journal=journal):
                self._errands.ask_any(self._nodes.nearest(team.one_per_node(), journal), request, answer)
            case ReadMelody(path=path) | InspectCodes(path=path):
                self._errands.ask_any(self._nodes.nearest(self.team.serving, path), request, answer, payload)
            case Models():
                self._errands.ask_any(self.team.serving, request, answer)
            case Replicas():
                answer(ReplicaList(items=[member.info() for member in team.members]))
            case Version():
                answer(self.version())
            case Ping():
                answer(Done())
            case Quit():
                answer(Done())
                self._quit()
            case _:
                raise RequestError(ErrorCode.UNSUPPORTED, "type", tag_of(type(request)))

    def _answer_status(self, answers: Answers, answer: Answer) -> None:
        for member, reply in answers.items():
            if isinstance(reply, EngineStatus) and member.ready:
                member.status = reply
        answer(self.status())

    # --- what replicas say --------------------------------------------------------------------------------------------

    def link_event(self, link: Link, event: Event) -> None:
        """Something happened to a stream or a job of a client."""
        if isinstance(event, ModelChanged | DownloadProgress):
            return  # what everybody is told is told by the team
        if isinstance(event, CodecProgress | CodecEnded):
            self._errands.told(event, link)
            return
        client, member = self._lines.ends(link)
        local = getattr(event, "stream", 0)
        heard = link.known.streams.get(local)
        if heard is None:
            return
        if isinstance(event, Ended):
            del link.known.streams[local]
            self._tell_missed(client, heard, event.samples)
            if heard.owned and self._routes.pop(heard.number, None) is not None:
                member.streams -= 1
        client.event(msgspec.structs.replace(event, stream=heard.number))

    def link_audio(self, link: Link, header: AudioHeader, samples: memoryview) -> None:
        """A block of a stream: passed on as it is, but for the stream's number."""
        heard = link.known.streams.get(header.stream)
        if heard is None:
            return
        client, _ = self._lines.ends(link)
        heard.samples, heard.rate = header.position + header.frames, header.sample_rate
        if client.audio(msgspec.structs.replace(header, stream=heard.number), samples):
            self._tell_missed(client, heard, header.position)
        elif heard.missed_from is None:
            heard.missed_from = header.position

    def link_lost(self, link: Link) -> None:
        """A client's line broke: its streams and jobs are lost to it."""
        client, member = self._lines.forget(link)
        why = f"replica {member.number} was lost"
        for heard in list(link.known.streams.values()):
            if heard.owned and self._routes.pop(heard.number, None) is not None:
                member.streams -= 1
            client.event(
                Ended(
                    stream=heard.number,
                    reason="engine_lost",
                    samples=heard.samples,
                    seconds=heard.samples / heard.rate,
                    text=why,
                )
            )
        link.known.streams.clear()
        self._errands.lost(link, client, why)

    @staticmethod
    def _tell_missed(client: Client, heard: Heard, end: int) -> None:
        if heard.missed_from is not None:
            client.event(Missed(stream=heard.number, start=heard.missed_from, end=end))
            heard.missed_from = None

    def _gone(self, member: Member) -> None:
        for link in self._lines.to(member):
            link.lose("the replica is gone")

    def _tell_all(self, event: Event) -> None:
        for client in list(self.clients):
            client.event(event)
        for tell in self.heralds:
            tell(event)
