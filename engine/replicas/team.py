"""All replicas together: who is there, which model they have, and that they come to have the same one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog
import zmq

from engine.replicas.link import Link
from engine.replicas.member import Member, Place, by_load, facts_of
from engine.serving import NO_FACTS, Answer
from protocols.errors import ErrorCode, RequestError, no_model
from protocols.loop import IoLoop
from protocols.messages import (
    AudioHeader,
    DownloadProgress,
    EngineStatus,
    Event,
    Load,
    Loaded,
    ModelChanged,
    Reply,
    Request,
    Status,
    Unload,
    Welcome,
)

log = structlog.get_logger()

TICK_S = 0.25
_HUNG_S = 20.0
"""A replica that is not heard of for this long, though its process is there, is started again."""

Answers = dict[Member, Reply | RequestError]


class Team:
    """The replicas, their lines to the front, and their model. For the loop's thread only.

    New streams are made by replicas that have the model which clients were told of. Loading another asks all; those that cannot
    load it keep what they had and get no new streams. One that was started again is brought to the model that the others have.

    Args:
        loop: where the lines are served.
        context: ZeroMQ's.
        count: how many replicas there should be.
        tell: tells every client something.
        gone: hears of a replica that is lost, before it is looked for again.
        restart: has the process of a replica that hangs ended, so that it is started again.

    Attributes:
        facts: the model that new streams are made by, as clients were told.
    """

    def __init__(
        self,
        loop: IoLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        count: int,
        *,
        tell: Callable[[Event], None],
        gone: Callable[[Member], None],
        restart: Callable[[int], None],
    ) -> None:
        self.members = [Member(number) for number in range(1, count + 1)]
        self.facts: ModelChanged | None = None
        self._loop = loop
        self._context = context
        self._tell = tell
        self._gone = gone
        self._restart = restart
        self._wanted: Load | Unload | None = None
        self._changing = ""
        self._controls: dict[Link, Member] = {}
        self._trying: dict[Member, Link] = {}
        loop.call_every(TICK_S, self._tick)

    # --- who is there -------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> list[Member]:
        """Those that answer."""
        return [member for member in self.members if member.ready]

    @property
    def serving(self) -> list[Member]:
        """Those that make new streams, the one with the most to spare first."""
        facts = self.facts
        return by_load(
            member
            for member in self.ready
            if facts is not None and member.facts is not None and _same(member.facts, facts)
        )

    @property
    def loading(self) -> str:
        """The model that is being loaded; empty for none."""
        return self._changing

    def one_per_node(self) -> list[Member]:
        """Of each machine one that answers: they share its files."""
        found: dict[str, Member] = {}
        for member in self.ready:
            found.setdefault(member.node, member)
        return list(found.values())

    def up(self, number: int, place: Place) -> None:
        """A replica serves."""
        member = self.members[number - 1]
        self._leave(member)
        member.place, member.facts, member.status = place, facts_of(place.welcome), None
        member.declined = member.loading = False
        member.lost_since = None
        member.starts += 1
        member.control = self._line(member)
        log.info("replica ready", replica=number, node=place.node, pid=place.pid, model=place.welcome.model)
        self._settle()

    def down(self, number: int, why: str) -> None:
        """The process of a replica is over, or did not get so far as to serve."""
        member = self.members[number - 1]
        member.fault = why
        member.place = None
        self._lose(member)

    def close(self) -> None:
        """Let go of all lines."""
        for link in [*self._controls, *self._trying.values()]:
            link.close()

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, member: Member, request: Request, answer: Answer, payload: bytes = b"") -> None:
        """Ask a replica something that has nothing to do with a client."""
        if member.control is None:
            answer(RequestError(ErrorCode.ENGINE_LOST, "replica", member.number, "a replica that runs"))
        else:
            member.control.request(request, answer, payload)

    def ask_all(self, members: Iterable[Member], request: Request, done: Callable[[Answers], None]) -> None:
        """Ask several replicas the same; ``done`` gets what each answered once all have, or are lost."""
        members = list(members)
        answers: Answers = {}
        if not members:
            done(answers)

        def taking(member: Member) -> Answer:
            def take(reply: Reply | RequestError) -> None:
                answers[member] = reply
                if len(answers) == len(members):
                    done({each: answers[each] for each in members})

            return take

        for member in members:
            self.ask(member, request, taking(member))

    # --- models -------------------------------------------------------------------------------------------------------

    def load(self, request: Load | Unload, answer: Answer) -> None:
        """Have every replica load another model, or let go of the one it has; answered when all have, or could not.

        Raises:
            RequestError: BUSY while another is being loaded; NO_MODEL where there is none to let go of.
        """
        wanted = request.model if isinstance(request, Load) else ""
        if self._changing:
            raise RequestError(ErrorCode.BUSY, "model", wanted, f"one at a time; {self._changing} is being loaded")
        if isinstance(request, Unload) and (self.facts is None or not self.facts.model):
            raise no_model()
        asked = self.ready
        if not asked:
            raise RequestError(ErrorCode.ENGINE_LOST, "replicas", 0, "a replica that runs")
        self._changing = wanted or "none"
        for member in asked:
            member.loading = True

        def done(answers: Answers) -> None:
            self._changing = ""
            refused = {each: reply for each, reply in answers.items() if isinstance(reply, RequestError)}
            changed = [each for each in answers if each not in refused and each.facts is not None]
            for member in asked:
                member.loading = False
            if not changed:
                self._settle()
                answer(next(iter(refused.values())))
                return
            for member, error in refused.items():
                member.declined, member.fault = True, error.text
                log.warning("a replica keeps its model", replica=member.number, error=error.text)
            if isinstance(request, Unload):  # told here: an answer may come before the word to all clients
                for member in changed:
                    member.facts = NO_FACTS
            self._wanted, self.facts = request, changed[0].facts
            self._tell(self.facts or NO_FACTS)
            self._settle()
            loaded = [reply for reply in answers.values() if isinstance(reply, Loaded)]
            answer(_together(loaded) if loaded else answers[changed[0]])

        self.ask_all(asked, request, done)

    def _settle(self) -> None:
        """See that new streams have somewhere to go, and that all have the model that was asked for last."""
        ready = self.ready
        if self._changing or not ready:
            return
        facts = self.facts
        if facts is None or not any(member.facts is not None and _same(member.facts, facts) for member in ready):
            # Nobody has it any more. It may be what they died of, so it is not asked for again.
            self.facts, self._wanted = ready[0].facts, None
            if facts is not None and self.facts is not None:
                self._tell(self.facts)
        for member in ready:
            alike = self.facts is not None and member.facts is not None and _same(member.facts, self.facts)
            if not alike and self._wanted is not None and not member.declined and not member.loading:
                self._bring(member, self._wanted)

    def _bring(self, member: Member, request: Load | Unload) -> None:
        member.loading = True

        def done(reply: Reply | RequestError) -> None:
            member.loading = False
            if isinstance(reply, RequestError) and reply.code is not ErrorCode.ENGINE_LOST:
                member.declined, member.fault = True, reply.text
                log.warning("a replica does not get the others' model", replica=member.number, error=reply.text)

        self.ask(member, request, done)

    # --- lines --------------------------------------------------------------------------------------------------------

    def link_event(self, link: Link, event: Event) -> None:
        """What a replica tells everybody."""
        member = self._controls.get(link)
        if member is None:
            return
        if isinstance(event, ModelChanged):
            member.facts = event
            self._settle()
        elif isinstance(event, DownloadProgress):
            self._tell(event)

    def link_audio(self, link: Link, header: AudioHeader, samples: memoryview) -> None:
        """The front itself owns no stream."""

    def link_lost(self, link: Link) -> None:
        """A replica is not heard of any more; whether its process is over is for others to say."""
        member = self._controls.pop(link, None)
        if member is not None:
            self._lose(member)
        self._trying = {each: line for each, line in self._trying.items() if line is not link}

    def _line(self, member: Member) -> Link:
        place = member.place
        assert place is not None
        link = Link(
            self._loop,
            self._context,
            place.endpoint,
            replica=member.number,
            instance=place.welcome.instance,
            name="front",
            listener=self,
        )
        self._controls[link] = member
        return link

    def _lose(self, member: Member) -> None:
        was_there = member.control is not None
        self._leave(member)
        member.status, member.loading = None, False
        if was_there:
            member.lost_since = time.monotonic()
            log.warning("replica lost", replica=member.number, why=member.fault)
            self._gone(member)
            self._settle()

    def _leave(self, member: Member) -> None:
        lines = [link for link, whose in self._controls.items() if whose is member]
        if (trying := self._trying.pop(member, None)) is not None:
            lines.append(trying)
        member.control = None
        for link in lines:
            self._controls.pop(link, None)
            link.close()

    def _tick(self) -> None:
        now = time.monotonic()
        for link in [*self._controls, *self._trying.values()]:
            link.tick(now)
        for member in self.members:
            if member.control is not None:
                self.ask(member, Status(), lambda reply, member=member: self._told(member, reply))  # type: ignore[misc]
            elif member.place is not None:
                self._look_for(member, now)

    def _look_for(self, member: Member, now: float) -> None:
        """Its process should be there: greet it again, and if that does not help, have it ended."""
        if member.lost_since is not None and now - member.lost_since > _HUNG_S:
            log.warning("a replica hangs and is started again", replica=member.number)
            member.place, member.fault = None, f"not heard of for {_HUNG_S:g} s"
            self._leave(member)
            self._restart(member.number)
        elif member not in self._trying:
            link = self._line(member)
            self._controls.pop(link)
            link.welcomed = lambda welcome: self._found(member, link, welcome)
            self._trying[member] = link

    def _found(self, member: Member, link: Link, welcome: Welcome) -> None:
        self._trying.pop(member, None)
        self._controls[link] = member
        member.control, member.facts, member.lost_since = link, facts_of(welcome), None
        log.info("replica found again", replica=member.number)
        self._settle()

    def _told(self, member: Member, reply: Reply | RequestError) -> None:
        if isinstance(reply, EngineStatus):
            member.status = reply


def _same(one: ModelChanged, other: ModelChanged) -> bool:
    return (one.model, one.fingerprint) == (other.model, other.fingerprint)


def _together(loaded: list[Loaded]) -> Loaded:
    """One answer for all that have loaded a model: how long the slowest took, what the weights take in all."""
    return Loaded(
        model=loaded[0].model,
        seconds=max(each.seconds for each in loaded),
        weights_mb=round(sum(each.weights_mb for each in loaded), 1),
    )
