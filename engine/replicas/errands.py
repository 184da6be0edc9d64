"""What replicas do beside streams: codec jobs, files that come and go, and questions that any of them can answer."""

from __future__ import annotations

import msgspec

from engine.replicas.attempts import Whereabouts, first_that_takes
from engine.replicas.lines import Lines, ask_each
from engine.replicas.link import Link
from engine.replicas.member import Member
from engine.replicas.team import Team
from engine.serving import Answer, Client
from protocols.errors import ErrorCode, RequestError
from protocols.messages import (
    BeginDownload,
    BeginUpload,
    CancelCodec,
    CodecEnded,
    CodecJob,
    CodecProgress,
    CodecQueued,
    CodesWritten,
    Reply,
    Request,
    TransferOpened,
    TransferRequest,
    Uploaded,
)


class Errands:
    """Jobs, transfers and single questions. For the loop's thread only.

    A transfer stays with the replica that began it. What was sent lies on that one's machine, so that what names it goes there.

    Args:
        team: the replicas.
        lines: of the clients.
        nodes: on which machine what lies.
    """

    def __init__(self, team: Team, lines: Lines, nodes: Whereabouts) -> None:
        self._team = team
        self._lines = lines
        self._nodes = nodes
        self._jobs: dict[int, tuple[Member, int]] = {}
        self._last_job = 0
        self._transfers: dict[str, Member] = {}

    def ask_any(self, members: list[Member], request: Request, answer: Answer, payload: bytes = b"") -> None:
        """Ask one of these replicas, the first that can; see `first_that_takes`."""

        def ask(member: Member, take: Answer) -> None:
            def told(reply: Reply | RequestError) -> None:
                if isinstance(reply, CodesWritten):
                    self._nodes.put(reply.path, member.node)
                take(reply)

            self._team.ask(member, request, told, payload)

        first_that_takes(members, ask, answer)

    def code(self, request: CodecJob, client: Client, answer: Answer, payload: bytes) -> None:
        """Begin a codec job where its file is, or else where there is the most to spare."""

        def ask(member: Member, take: Answer) -> None:
            link = self._lines.between(client, member)

            def queued(reply: Reply | RequestError) -> None:
                if isinstance(reply, CodecQueued):
                    self._last_job += 1
                    link.known.jobs[reply.job] = self._last_job
                    self._jobs[self._last_job] = member, reply.job
                    reply = msgspec.structs.replace(reply, job=self._last_job)
                take(reply)

            link.request(request, queued, payload)

        members = self._nodes.nearest(self._team.serving, getattr(request, "path", ""))
        first_that_takes(members, ask, answer, wanted=lambda: not client.gone)

    def cancel(self, request: CancelCodec, client: Client, answer: Answer) -> None:
        """End a job, or with 0 all of the client's.

        Raises:
            RequestError: NOT_FOUND.
        """
        if not request.job:
            mine = [link for link, _ in self._lines.of(client) if link.known.jobs]
            ask_each(mine, request, answer)
            return
        if request.job not in self._jobs:
            known = ", ".join(map(str, self._jobs)) or "none is under way"
            raise RequestError(ErrorCode.NOT_FOUND, "job", request.job, known)
        member, local = self._jobs[request.job]
        self._lines.between(client, member).request(CancelCodec(job=local), answer)

    def told(self, event: CodecProgress | CodecEnded, link: Link) -> None:
        """A replica tells of a job."""
        client, member = self._lines.ends(link)
        job = link.known.jobs.get(event.job)
        if job is None:
            return
        if isinstance(event, CodecEnded):
            del link.known.jobs[event.job]
            self._jobs.pop(job, None)
            self._nodes.put(event.path, member.node)
        client.event(msgspec.structs.replace(event, job=job))

    def leave(self, link: Link) -> None:
        """A client is gone: its jobs end."""
        for local, job in link.known.jobs.items():
            self._jobs.pop(job, None)
            link.request(CancelCodec(job=local), lambda reply: None)

    def lost(self, link: Link, client: Client, why: str) -> None:
        """A replica is gone, and the jobs on this line with it."""
        for job in link.known.jobs.values():
            self._jobs.pop(job, None)
            code, allowed = str(ErrorCode.ENGINE_LOST), "a replica that runs; ask again"
            client.event(CodecEnded(job=job, reason="failed", code=code, field="replica", allowed=allowed, text=why))
        link.known.jobs.clear()

    def transfer(self, request: TransferRequest, answer: Answer, payload: bytes) -> None:
        """Carry files to and from a replica's machine, the one that has what is named."""
        members = self._team.one_per_node()
        if isinstance(request, BeginUpload | BeginDownload):
            members = self._nodes.nearest(members, getattr(request, "path", ""))
        else:
            begun = self._transfers.get(getattr(request, "transfer", ""))
            members = [begun] if begun is not None else members[:1]

        def ask(member: Member, take: Answer) -> None:
            def told(reply: Reply | RequestError) -> None:
                if isinstance(reply, TransferOpened):
                    self._transfers[reply.transfer] = member
                    while len(self._transfers) > Whereabouts.MOST:
                        del self._transfers[next(iter(self._transfers))]
                elif isinstance(reply, Uploaded):
                    self._nodes.put(reply.path, member.node)
                take(reply)

            self._team.ask(member, request, told, payload)

        first_that_takes(members, ask, answer)
