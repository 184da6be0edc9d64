"""What the service does with files that come and go over the network: asked for on the I/O thread, read and written on another."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from audio_files.exchange import UPLOADS, ExchangeFolder
from engine.memory import MB
from engine.transfers import Transfers
from engine.worker import Worker
from protocols.errors import ErrorCode, RequestError
from protocols.messages import (
    BeginDownload,
    BeginUpload,
    Done,
    EndUpload,
    FetchChunk,
    Reply,
    SendChunk,
    TransferRequest,
)
from protocols.settings import FileSettings

log = structlog.get_logger()

TICK_S = 5.0
_CLEAN_S = 600.0
_MAX_QUEUED = 64
"""Requests that wait for the disk; with a chunk in each of them that many MiB of memory."""

Answer = Callable[[Reply | RequestError], None]


class ExchangeDesk:
    """The service's side of transfers. For the I/O loop's thread only.

    Args:
        files: where uploads go, how much of them is kept, and which folders are served.
        call_soon: runs something on the I/O loop's thread.
    """

    def __init__(self, files: FileSettings, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon
        folder, room = files.exchange_folder, files.exchange_mb * MB
        uploads = ExchangeFolder(folder / UPLOADS, room, files.exchange_hours * 3600)
        self._transfers = Transfers(uploads, [files.takes_folder, folder], room)
        self._queued = 0
        self._cleaned = float("-inf")
        self._worker = Worker("exchange")
        self._worker.start()
        self.tick()

    def handle(self, request: TransferRequest, payload: bytes, answer: Answer) -> None:
        """Carry a request out; answered later, on this thread.

        Raises:
            RequestError: BUSY.
        """
        if self._queued >= _MAX_QUEUED:
            raise RequestError(ErrorCode.BUSY, "queue", self._queued, f"at most {_MAX_QUEUED} chunks under way")

        def done(reply: Reply | RequestError) -> None:
            self._queued -= 1
            answer(reply)

        self._queued += 1
        self._worker.do(lambda: self._work(request, payload), lambda reply: self._call_soon(lambda: done(reply)))

    def tick(self) -> None:
        """Called every few seconds: what lies idle is dropped, and now and then the folder is cleaned."""
        clean = time.monotonic() - self._cleaned > _CLEAN_S
        if clean:
            self._cleaned = time.monotonic()

        def work() -> None:
            self._transfers.drop_idle()
            if clean:
                self._transfers.clean()

        self._worker.do(work, lambda result: None)

    def close(self, seconds: float) -> None:
        """Drop what is under way; the thread is waited for at most this long."""
        self._worker.do(self._transfers.close, lambda result: None)
        self._worker.stop(seconds)

    def _work(self, request: TransferRequest, payload: bytes) -> Reply:
        transfers = self._transfers
        match request:
            case BeginUpload(name=name, size=size, sha256=sha256):
                return transfers.begin_upload(name, size, sha256)
            case SendChunk(transfer=number, position=position):
                return transfers.take_chunk(number, position, payload)
            case EndUpload(transfer=number):
                return transfers.end_upload(number)
            case BeginDownload(path=path):
                return transfers.begin_download(path)
            case FetchChunk(transfer=number, position=position, length=length):
                return transfers.read_chunk(number, position, length)
        transfers.close_transfer(getattr(request, "transfer", ""))
        return Done()
