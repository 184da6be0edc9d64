"""Streams opened: a request made ready, sent to the engine, and gone on with by the next engine where that one dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from daw_bridge.asking import Prepared, prepare, takes_a_while
from daw_bridge.background import Background
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.engine_client import EngineClient
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.orders import Order, StreamHost
from daw_bridge.stream_table import StreamTable
from daw_bridge.template_desk import TemplateDesk
from daw_bridge.wording import Template
from protocols.bridge_messages import PastRequest
from protocols.errors import ErrorCode, RequestError, no_model
from protocols.messages import Cancel, Forget, Opened, Reply, Request, Welcome
from protocols.osc.front import Asker
from protocols.settings import Settings

log = structlog.get_logger()

MAX_STREAMS = 32
_AGAIN_S = 0.5
"""Between two attempts to have a stream gone on with that its engine has lost, or has no room for."""
UNHEARD_S = 120.0
"""How long a stream that is not heard waits for another engine. One whose last bars play waits until it is ended."""


class OpeningHost(StreamHost, Protocol):
    """What opening a stream needs of the bridge."""

    templates: TemplateDesk

    def ready_engine(self) -> EngineClient:
        """The engine; raises ENGINE_LOST."""

    def named_notes(self, request: Request, asker: Asker) -> FollowedClip | None:
        """The notes that a request names, if any; raises NOT_FOUND."""

    def refuse(self, order: Order, error: RequestError) -> None:
        """Nothing comes of an order."""


class _Asked:
    """An answer that may come before it is known what to do with it: where nothing can be sent, it comes at once."""

    def __init__(self) -> None:
        self._reply: Reply | RequestError | None = None
        self._then: Callable[[Reply | RequestError], object] | None = None

    def answered(self, reply: Reply | RequestError) -> None:
        """The answer is there."""
        self._reply = reply
        if self._then is not None:
            self._then(reply)

    def then(self, call: Callable[[Reply | RequestError], object]) -> None:
        """Do this with it: now, or when it comes."""
        self._then = call
        if self._reply is not None:
            call(self._reply)


class Opening:
    """Opens streams. For the loop's thread only.

    Args:
        host: the bridge.
        streams: where they are kept.
        background: what reads files.
        settings: of the bridge.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        host: OpeningHost,
        streams: StreamTable,
        background: Background,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._unheard: dict[BridgeStream, float] = {}
        self._asked: set[BridgeStream] = set()
        self._next_try = 0.0
        self._host = host
        self._streams = streams
        self._background = background
        self._settings = settings

    def play(self, order: Order) -> None:
        """Open what is ordered; what fails later is told to whoever ordered it.

        Raises:
            RequestError: ENGINE_LOST, NO_MODEL, BUSY, and as `prepare` where no file is read.
        """
        request, welcome = order.request, self._welcome()
        if isinstance(request, PastRequest):
            raise RequestError(
                ErrorCode.UNSUPPORTED, "request", type(request).__name__, "a request that was made ready"
            )
        if request.replaces:
            self._streams.find(request.replaces)
        waiting = self._background.reading + self._host.templates.waiting
        if len(self._streams.all) + waiting >= MAX_STREAMS:
            raise RequestError(ErrorCode.BUSY, "streams", MAX_STREAMS, f"at most {MAX_STREAMS} at once")
        notes = self._host.named_notes(request, order.asker)
        files = self._settings.files

        def worded(template: Template | None) -> None:
            if takes_a_while(request, welcome, notes):
                self._background.read(
                    lambda: prepare(request, welcome, files, notes, template),
                    lambda prepared: self.open(order, prepared),
                    lambda error: self._host.refuse(order, error),
                )
            else:
                self.open(order, prepare(request, welcome, files, notes, template))

        refused = lambda error: self._host.refuse(order, error)  # noqa: E731
        self._host.templates.find(getattr(request, "template", ""), worded, refused)

    def open(self, order: Order, prepared: Prepared) -> None:
        """Let the engine make what was made ready.

        Raises:
            RequestError: ENGINE_LOST, NO_MODEL; BUSY where there is no voice left.
        """
        engine, welcome, message = self._host.ready_engine(), self._welcome(), prepared.message
        if "fingerprint" in message.__struct_fields__:
            # What was read and worked out is for this one model; should the engine have another by then, it refuses.
            message = msgspec.structs.replace(message, fingerprint=welcome.fingerprint, patient=order.patient)
        asked = _Asked()
        # The engine works on it while its voice and its take are made here.
        engine.request(message, asked.answered, prepared.payload)
        try:
            stream = BridgeStream(self._host, order, prepared, welcome, self._settings.files.takes_folder)
        except Exception:
            asked.then(lambda reply: self._unwanted(engine, reply))
            raise
        self._streams.opening.append(stream)

        def answered(reply: Reply | RequestError) -> None:
            self._streams.opening.remove(stream)
            if isinstance(reply, Opened):
                stream.opened(reply, self._streams.next_number())
                self._streams.opened(stream)
                if stream.cancelled:
                    engine.tell(Cancel(stream=reply.stream))
            elif isinstance(reply, RequestError) and reply.field == "fingerprint" and not stream.cancelled:
                stream.withdraw()
                self._again(order)
            else:
                stream.refused(reply if isinstance(reply, RequestError) else RequestError(ErrorCode.MALFORMED, "reply"))

        asked.then(answered)

    @staticmethod
    def _unwanted(engine: EngineClient, reply: Reply | RequestError) -> None:
        if isinstance(reply, Opened):
            engine.tell(Cancel(stream=reply.stream))

    def go_on(self) -> None:
        """An engine is there: let it go on with the streams that the last one, or a replica of it, has left."""
        self._next_try = self._clock() + _AGAIN_S
        for stream in self._streams.open:
            if stream.lost and stream.journal and stream not in self._asked:
                self._go_on(stream)

    def pump(self) -> None:
        """Called every few milliseconds: ask again for what nobody goes on with yet, end what has waited too long unheard."""
        now = self._clock()
        if now >= self._next_try:
            with suppress(RequestError):  # there is no engine: it will be told when there is
                self.go_on()
        waiting = [stream for stream in self._streams.open if stream.lost and not stream.holding]
        self._unheard = {stream: self._unheard.get(stream, now) for stream in waiting}
        for stream, since in list(self._unheard.items()):
            if now - since > UNHEARD_S:
                stream.give_up(f"no engine for {UNHEARD_S:g} s")

    def _go_on(self, stream: BridgeStream) -> None:
        engine, left, wanted = self._host.ready_engine(), stream.journal, stream.go_on_request()

        def answered(reply: Reply | RequestError, at_its_end: bool = False) -> None:
            self._asked.discard(stream)
            if isinstance(reply, Opened):
                stream.gone_on(reply)
                engine.tell(Forget(journal=left))  # the new one holds all that it held
                if stream.cancelled:
                    engine.tell(Cancel(stream=reply.stream))
            elif isinstance(reply, RequestError) and reply.code in (ErrorCode.ENGINE_LOST, ErrorCode.BUSY):
                pass  # there will be another, or room
            elif isinstance(reply, RequestError) and reply.code is ErrorCode.OUT_OF_RANGE and not at_its_end:
                # It had sent more than it had written down: that is made again.
                end = msgspec.structs.replace(wanted, frame=-1)
                self._asked.add(stream)
                engine.request(end, lambda last: answered(last, at_its_end=True))
            else:
                why = reply.text if isinstance(reply, RequestError) else "an answer that makes no sense"
                log.warning("a stream cannot go on", stream=stream.number, error=why)
                stream.give_up(why)

        self._asked.add(stream)
        engine.request(wanted, answered)

    def _again(self, order: Order) -> None:
        try:
            self.play(order)
        except RequestError as error:
            self._host.refuse(order, error)

    def _welcome(self) -> Welcome:
        welcome = self._host.ready_engine().welcome
        assert welcome is not None
        if not welcome.model:
            raise no_model()
        return welcome
