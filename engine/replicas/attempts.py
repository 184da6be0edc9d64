"""Where a request goes first, and where next: to the machine that has what it names, and on from replicas that cannot take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.replicas.member import Member
from engine.serving import Answer
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Reply

_NEXT = (ErrorCode.BUSY, ErrorCode.ENGINE_LOST, ErrorCode.NOT_FOUND)


class Whereabouts:
    """On which machine lies what has a name: journals, and files that replicas have taken in or written; the latest only."""

    MOST = 4096

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}

    def put(self, name: str, node: str) -> None:
        """It lies on this machine."""
        if name:
            self._nodes.pop(name, None)
            self._nodes[name] = node
            while len(self._nodes) > self.MOST:
                del self._nodes[next(iter(self._nodes))]

    def nearest(self, members: Sequence[Member], *names: str) -> list[Member]:
        """The same replicas, those first that are on the machine of what is named; else in the order given."""
        nodes = {self._nodes[name] for name in names if name in self._nodes}
        return sorted(members, key=lambda member: member.node not in nodes) if nodes else list(members)


def first_that_takes(
    members: Sequence[Member],
    ask: Callable[[Member, Answer], None],
    answer: Answer,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Ask one replica after the other until one takes it, and answer what that one says.

    A full or lost replica is followed by the next one, and a machine where something is not found by the next machine. Where none
    takes it, the answer is ``busy`` if any was full, or else what the last one said.

    Args:
        members: in the order in which they are asked.
        ask: asks one of them; what it answers goes to what is given with it.
        answer: gets the reply or the error, exactly once.
        wanted: whether anybody still waits for it.

    Raises:
        RequestError: ENGINE_LOST where there is none to ask.
    """
    if not members:
        raise RequestError(ErrorCode.ENGINE_LOST, "replicas", 0, "a replica that runs; they are being started again")
    full: list[RequestError] = []

    def go_on(rest: Sequence[Member]) -> None:
        member, *others = rest

        def taken(reply: Reply | RequestError) -> None:
            if isinstance(reply, RequestError) and reply.code in _NEXT:
                if reply.code is ErrorCode.BUSY:
                    full.append(reply)
                elsewhere = [
                    other
                    for other in others
                    if other.ready and (reply.code is not ErrorCode.NOT_FOUND or other.node != member.node)
                ]
                if elsewhere and wanted():
                    go_on(elsewhere)
                    return
                reply = full[0] if full else reply
            answer(reply)

        try:
            ask(member, taken)
        except RequestError as error:
            taken(error)

    go_on(members)
