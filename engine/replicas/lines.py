"""All clients' lines to all replicas: made when one is needed, kept in touch with, closed when it was long of no use."""

from __future__ import annotations

import time

import zmq

from engine.replicas.combined import one_of
from engine.replicas.link import Link, LinkListener, replica_lost
from engine.replicas.member import Member
from engine.serving import Answer, Client
from protocols.errors import RequestError
from protocols.loop import IoLoop
from protocols.messages import Done, Reply, Request

_IDLE_S = 30.0


class Lines:
    """The lines of clients to replicas. For the loop's thread only.

    Args:
        loop: where they are served.
        context: ZeroMQ's.
        listener: who hears what comes.
    """

    def __init__(self, loop: IoLoop, context: zmq.Context[zmq.Socket[bytes]], listener: LinkListener) -> None:
        self._loop = loop
        self._context = context
        self._listener = listener
        self._links: dict[tuple[Client, Member], Link] = {}
        self._ends: dict[Link, tuple[Client, Member]] = {}

    def between(self, client: Client, member: Member) -> Link:
        """The line of a client to a replica.

        Raises:
            RequestError: ENGINE_LOST where the replica is not there.
        """
        link = self._links.get((client, member))
        if link is None or link.closed:
            if member.place is None:
                raise replica_lost(member.number)
            link = Link(
                self._loop,
                self._context,
                member.place.endpoint,
                replica=member.number,
                instance=member.place.welcome.instance,
                name=client.name,
                listener=self._listener,
            )
            self._links[client, member] = link
            self._ends[link] = client, member
        return link

    def ends(self, link: Link) -> tuple[Client, Member]:
        """Between whom a line is."""
        return self._ends[link]

    def of(self, client: Client) -> list[tuple[Link, Member]]:
        """The lines of a client."""
        return [(link, member) for link, (whose, member) in self._ends.items() if whose is client]

    def to(self, member: Member) -> list[Link]:
        """The lines to a replica."""
        return [link for link, (_, where) in self._ends.items() if where is member]

    def forget(self, link: Link) -> tuple[Client, Member]:
        """A line is over: between whom it was."""
        client, member = self._ends.pop(link)
        if self._links.get((client, member)) is link:
            del self._links[client, member]
        return client, member

    def let_go(self, link: Link) -> None:
        """End a line that is not needed any more."""
        self.forget(link)
        link.close()

    def tick(self) -> None:
        """Called a few times a second."""
        now = time.monotonic()
        for link in list(self._ends):
            if link in self._ends:  # one that is lost may take others with it
                link.tick(now)
        for link in list(self._ends):
            if (since := link.idle_since) is not None and now - since > _IDLE_S:
                self.let_go(link)

    def close(self) -> None:
        """End all of them."""
        for link in list(self._ends):
            self.let_go(link)


def ask_each(links: list[Link], request: Request, answer: Answer, payload: bytes = b"") -> None:
    """Ask the same over several lines: answered once all have, with the first error or else the first answer."""
    replies: list[Reply | RequestError] = []
    if not links:
        answer(Done())

    def take(reply: Reply | RequestError) -> None:
        replies.append(reply)
        if len(replies) == len(links):
            answer(one_of(replies))

    for link in links:
        link.request(request, take, payload)
