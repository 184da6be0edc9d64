"""Requests that the engine answers: handed on under the numbers that it knows, changes of streams among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from daw_bridge.changing import changes_of
from daw_bridge.engine_client import EngineClient
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.stream_table import StreamTable
from daw_bridge.style_sound import sent_along, style_sound
from daw_bridge.wording import Template
from protocols.bridge_messages import BridgeUpdate
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Reply, Request, Update, Welcome
from protocols.osc.front import Asker
from protocols.settings import FileSettings

T = TypeVar("T")
Sent = tuple[Request, bytes]
"""A request and its payload."""


class ForwardingHost(Protocol):
    """What handing on needs of the bridge."""

    def ready_engine(self) -> EngineClient:
        """The engine; raises ENGINE_LOST."""

    def named_notes(self, request: Request, asker: Asker) -> FollowedClip | None:
        """The notes that a request names, if any; raises NOT_FOUND."""

    def read(self, work: Callable[[], T], asker: Asker, go: Callable[[T], None]) -> None:
        """Read files beside the loop and go on with what came of them."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


class Forwarding:
    """Lets the engine answer clients. For the loop's thread only.

    Args:
        host: the bridge.
        streams: that it has opened.
        files: where files may lie.
    """

    def __init__(self, host: ForwardingHost, streams: StreamTable, files: FileSettings) -> None:
        self._host = host
        self._streams = streams
        self._files = files

    def change(self, request: BridgeUpdate, asker: Asker, template: Template | None) -> None:
        """Change streams, and have them as they were where the engine refuses."""
        before = {stream: stream.wording for stream in self._streams.chosen(request.stream)}
        all_meant = bool(request.stream) or len(before) == len(self._streams.all)
        updates, after = changes_of(request, list(before), self._host.named_notes(request, asker), template, all_meant)

        def refused() -> None:
            for stream, wording in before.items():
                stream.wording = wording

        if any(update.style_path for update in updates):
            self._forward_styled(updates, asker, refused)
        else:
            self.forward(updates, asker, refused)
        for stream, wording in after.items():  # at once: what is asked next counts on it
            stream.wording = wording

    def _forward_styled(self, updates: Sequence[Update], asker: Asker, refused: Callable[[], None]) -> None:
        """Let the engine answer once the styles that the updates name are read."""
        welcome = self._host.ready_engine().welcome
        assert welcome is not None

        def read() -> list[Sent] | RequestError:
            try:
                return [_with_style(update, welcome, self._files) for update in updates]
            except RequestError as error:
                return error

        def go(sent: list[Sent] | RequestError) -> None:
            if isinstance(sent, RequestError):
                refused()
                self._host.fail(asker, sent)
            else:
                self._send(sent, asker, refused)

        self._host.read(read, asker, go)

    def forward(self, requests: Sequence[Request], asker: Asker, refused: Callable[[], None] = lambda: None) -> None:
        """Let the engine answer. Of several requests the last reply is told, or a refusal, once all are answered."""
        self._send([(request, b"") for request in requests], asker, refused)

    def _send(self, requests: Sequence[Sent], asker: Asker, refused: Callable[[], None]) -> None:
        replies: list[Reply | RequestError] = []

        def answered(reply: Reply | RequestError) -> None:
            replies.append(reply)
            if len(replies) < len(requests):
                return
            error = next((reply for reply in replies if isinstance(reply, RequestError)), None)
            if error is not None:
                refused()
                self._host.fail(asker, error)
            elif not isinstance(reply, RequestError):
                self._host.done(asker, reply)

        if not requests:
            self._host.done(asker, Done())
        engine = self._host.ready_engine()
        for request, payload in [(self._as_engine_knows(request), payload) for request, payload in requests]:
            engine.request(request, answered, payload)

    def _as_engine_knows(self, request: Request) -> Request:
        """A request about a stream, which the engine knows by another number."""
        number = getattr(request, "stream", 0)
        if not number:
            return request
        stream = self._streams.find(number)
        if not stream.engine_number:
            raise RequestError(ErrorCode.BUSY, "stream", number, "a stream that the engine has taken up again")
        return msgspec.structs.replace(request, stream=stream.engine_number)


def _with_style(update: Update, welcome: Welcome, files: FileSettings) -> Sent:
    samples = style_sound(update, welcome, files)
    return (msgspec.structs.replace(update, **sent_along(samples)) if samples else update), samples
