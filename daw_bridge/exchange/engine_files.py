"""Files sent to an engine on another machine, and fetched from it: for programs that can wait, such as the command line.

Speaks ZeroMQ on the caller's thread. Where the line breaks in the middle, it is taken up again, and the transfer goes on where it
stopped.
"""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq

from audio_files.publishing import folder_error
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.exchange_messages import (
    MAX_CHUNK,
    BeginDownload,
    BeginUpload,
    Chunk,
    ChunkTaken,
    CloseTransfer,
    EndUpload,
    FetchChunk,
    SendChunk,
    TransferOpened,
    Uploaded,
)
from protocols.messages import Event, Fail, Hello, Reply, Request, Welcome
from protocols.wire import decode_answer, encode_request, error_of

Progress = Callable[[int, int], None]
"""Hears how many bytes are there, and of how many."""

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

_WINDOW = 4
"""Chunks under way at once, so that the way there and back costs no time."""
_ANSWER_S = 10.0
_LONG = 12
"""Where the engine reads a whole file before it answers it may take so many times as long."""
_HASH_BLOCK = 2**20
_RETRIES = 2


class EngineFiles:
    """A line to an engine for files. For one thread; used with ``with``.

    Args:
        endpoint: where the engine listens, as ``tcp://host:port``.
        patience: seconds to wait for an answer to a small request before the engine counts as lost.

    Raises:
        RequestError: ENGINE_LOST when nobody answers there, VERSION for an engine of another protocol, MALFORMED for an endpoint
            that is none.
    """

    def __init__(self, endpoint: str, patience: float = _ANSWER_S) -> None:
        self._endpoint = endpoint
        self._patience = patience
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] | None = None
        self._replies: dict[int, Any] = {}
        self._last_id = 0
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def upload(self, path: Path, progress: Progress = lambda done, size: None) -> str:
        """Send a file.

        Returns:
            Where it lies on the engine's machine.

        Raises:
            RequestError: what the engine refuses; NOT_FOUND for a file that cannot be read, or that changes while it is sent.
        """
        try:
            with path.open("rb") as file:
                size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RequestError(
                ErrorCode.NOT_FOUND, "path", str(path), f"a file that can be read; {error.strerror}"
            ) from None
        if not size:
            raise RequestError(ErrorCode.EMPTY, "path", str(path), "a file of at least one byte")

        def go_on() -> str:
            opened = self._ask(BeginUpload(name=path.name, size=size, sha256=digest), TransferOpened)
            try:
                self._send_from(path, opened, progress)
                return self._ask(EndUpload(transfer=opened.transfer), Uploaded).path
            except RequestError as error:
                if not _may_go_on(error):
                    self._give_up(opened.transfer)
                raise

        return self._persistently(go_on)

    def download(self, path: str, target: Path, progress: Progress = lambda done, size: None) -> None:
        """Fetch a file; ``target`` is replaced once it is there, whole and with the content that the engine said.

        Raises:
            RequestError: what the engine refuses; about ``folder`` when it cannot be written here; MALFORMED for other content.
        """
        part: Path | None = None

        def go_on() -> None:
            nonlocal part
            opened = self._ask(BeginDownload(path=path), TransferOpened)
            part = _part_of(target, opened)  # what an earlier run fetched of the same content is not fetched again
            self._fetch_into(part, opened, progress)
            self._give_up(opened.transfer)
            with part.open("rb+") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            if digest != opened.sha256:
                raise RequestError(ErrorCode.MALFORMED, "sha256", digest, f"{opened.sha256}, as the engine said")
            part.replace(target)

        try:
            self._persistently(go_on)
        except OSError as error:
            raise folder_error(error, target.parent) from error
        finally:
            if part is not None:
                with suppress(OSError):
                    part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- chunks -------------------------------------------------------------------------------------------------------

    def _send_from(self, path: Path, opened: TransferOpened, progress: Progress) -> None:
        position = opened.position
        progress(position, opened.size)
        try:
            with path.open("rb") as file:
                file.seek(position)

                def chunks() -> Iterator[tuple[Request, bytes]]:
                    at = position
                    while at < opened.size:
                        content = file.read(min(MAX_CHUNK, opened.size - at))
                        if not content:
                            raise OSError(0, "it has become shorter")
                        yield SendChunk(transfer=opened.transfer, position=at), content
                        at += len(content)

                for taken in self._stream(chunks(), ChunkTaken):
                    progress(taken.position, opened.size)
        except OSError as error:
            allowed = f"a file that stays as it is while it is sent; {error.strerror}"
            raise RequestError(ErrorCode.NOT_FOUND, "path", str(path), allowed) from None

    def _fetch_into(self, part: Path, opened: TransferOpened, progress: Progress) -> None:
        with part.open("ab") as file:
            position = file.tell()
            progress(position, opened.size)
            wanted = range(position, opened.size, MAX_CHUNK)
            requests = ((FetchChunk(transfer=opened.transfer, position=at), b"") for at in wanted)
            for chunk in self._stream(requests, Chunk):
                file.write(chunk.content)
                progress(chunk.position + len(chunk.content), opened.size)

    def _stream(self, requests: Iterator[tuple[Request, bytes]], reply: type[R]) -> Iterator[R]:
        """Send requests ahead of their answers, a few at a time, and give the answers in order."""
        under_way: list[int] = []
        for request, payload in requests:
            under_way.append(self._send(request, payload))
            if len(under_way) == _WINDOW:
                yield self._wait(under_way.pop(0), reply)
        for number in under_way:
            yield self._wait(number, reply)

    def _give_up(self, transfer: str) -> None:
        """Let the engine drop a transfer; it would do so by itself after a while."""
        with suppress(RequestError):
            self._ask(CloseTransfer(transfer=transfer), Reply)

    def _persistently(self, go_on: Callable[[], T]) -> T:
        """Do something over a line that may break; what the engine refuses is not tried again."""
        for _ in range(_RETRIES):
            try:
                return go_on()
            except RequestError as error:
                if not _may_go_on(error):
                    raise
                self._connect()
        return go_on()

    # --- the line -----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
        self._socket = self._context.socket(zmq.DEALER)
        self._replies.clear()
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            allowed = f"an address such as tcp://127.0.0.1:7770 ({error.strerror})"
            raise RequestError(ErrorCode.MALFORMED, "bridge.engine", self._endpoint, allowed) from None
        self._wait(self._send(Hello(protocol=PROTOCOL_VERSION, client="files")), Welcome)

    def _ask(self, request: Request, reply: type[R]) -> R:
        return self._wait(self._send(request), reply, _LONG)

    def _send(self, request: Request, payload: bytes = b"") -> int:
        assert self._socket is not None
        self._last_id += 1
        self._socket.send_multipart(encode_request(self._last_id, request, payload))
        return self._last_id

    def _listen(self, seconds: float) -> bool:
        """Take one message; False when none comes for so long."""
        assert self._socket is not None
        if not self._socket.poll(max(0, int(1000 * seconds))):
            return False
        key, content = decode_answer(self._socket.recv_multipart())
        if isinstance(key, int) and key:
            self._replies[key] = content
        elif isinstance(content, Event):
            self._heard(content)
        return True

    def _heard(self, event: Event) -> None:
        """What the engine says by itself, such as that it has another model: nothing here."""

    def _wait(self, number: int, reply: type[R], times: float = 1) -> R:
        assert self._socket is not None
        deadline = time.monotonic() + times * self._patience
        while number not in self._replies:
            if not self._listen(deadline - time.monotonic()):
                raise RequestError(ErrorCode.ENGINE_LOST, "engine", self._endpoint, "a running engine that answers")
        found = self._replies.pop(number)
        if isinstance(found, Fail):
            raise error_of(found)
        assert isinstance(found, reply)
        return found


def _may_go_on(error: RequestError) -> bool:
    """Whether it was the line, or an engine that has forgotten us meanwhile, and not what was asked for."""
    forgotten = error.code is ErrorCode.NOT_FOUND and error.field == "transfer"
    return forgotten or error.code in (ErrorCode.ENGINE_LOST, ErrorCode.HANDSHAKE)


def _part_of(target: Path, opened: TransferOpened) -> Path:
    """Where a download grows, named by its content; what lies there of other content for the same target is removed."""
    part = target.with_name(f".{target.name}.{opened.sha256[:16]}.part")
    for other in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 16}.part"):
        if other != part or other.is_symlink() or other.stat().st_size > opened.size:
            other.unlink()
    return part
