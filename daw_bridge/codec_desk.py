"""Codec jobs for hosts: files of this machine, coded by the engine wherever that is, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from audio_files.coded_files import facts_of
from audio_files.locations import is_inside, locate_file
from daw_bridge.engine_client import EngineClient
from daw_bridge.exchange.codec_lines import EngineLine, is_away
from daw_bridge.stream_table import StreamTable
from protocols.codec_messages import (
    BridgeCancelCodec,
    BridgeCodecRequest,
    BridgeCodecs,
    BridgeDecode,
    BridgeEncode,
    BridgeExportCodes,
    BridgeInspectCodes,
    CodecProgress,
    Codecs,
    CodecWork,
    Decode,
    Encode,
    ExportCodes,
    Recoded,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import Done, Event, Reply
from protocols.osc.front import Asker, Peer
from protocols.settings import FileSettings

log = structlog.get_logger()
T = TypeVar("T")

MAX_JOBS = 16


class CodecHost(Protocol):
    """What codec jobs need of the bridge."""

    streams: StreamTable

    @property
    def call_soon(self) -> Callable[[Callable[[], None]], None]:
        """Runs something on the loop's thread, from any thread."""

    def ready_engine(self) -> EngineClient:
        """The engine; raises ENGINE_LOST."""

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""

    def publish(self, event: Event, asker: Asker | None = None) -> None:
        """Tell a client, and whoever listens."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


class _CancelledError(Exception):
    """A job is to end."""


@dataclass(eq=False)
class _Job:
    number: int
    request: Encode | Decode
    asker: Asker
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def peer(self) -> Peer:
        return self.asker.peer

    def refuse_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise _CancelledError


class CodecDesk:
    """Carries codec jobs out. For the loop's thread only.

    Args:
        endpoint: where the engine listens.
        files: where files may lie, and where those go that have no name.
        host: the bridge.
    """

    requests: Any = BridgeCodecRequest

    def __init__(self, endpoint: str, files: FileSettings, host: CodecHost) -> None:
        self._endpoint = endpoint
        self._files = files
        self._host = host
        self._jobs: dict[int, _Job] = {}
        self._last = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="codec")

    def handle(self, request: BridgeCodecRequest, asker: Asker) -> Reply | None:
        """Carry a request out; a job is answered when it is over.

        Raises:
            RequestError: ENGINE_LOST, BUSY, NOT_FOUND for a job that there is not; NOT_ALLOWED for what may not be written.
        """
        match request:
            case BridgeEncode() | BridgeDecode():
                self._take(request, asker)
                return None
            case BridgeCancelCodec(job=number):
                self._cancel(number, asker.peer)
                return Done()
            case BridgeCodecs():
                self._host.ready_engine().request(Codecs(), lambda reply: self._answer(asker, reply))
                return None
            case BridgeExportCodes():
                self._export(request, asker)
                return None
            case BridgeInspectCodes(path=path):
                allowed = self._files.allowed_folders
                told = lambda: facts_of(locate_file(path, allowed)).told  # noqa: E731
                self._host.in_background(told, asker, lambda found: found)
                return None
        raise RequestError(ErrorCode.UNSUPPORTED, "request", type(request).__name__)

    def _export(self, request: BridgeExportCodes, asker: Asker) -> None:
        journal = request.journal
        if request.stream:
            journal = self._host.streams.find(request.stream).journal
        if not journal:
            raise RequestError(ErrorCode.MISSING, "journal", "", "a stream that plays and is kept, or a journal")
        asked = ExportCodes(journal=journal, out=request.out, prompt=request.prompt, replace=request.replace)
        self._host.ready_engine().request(asked, lambda reply: self._answer(asker, reply))

    def pump(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """End all jobs."""
        for job in self._jobs.values():
            job.cancelled.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, request: BridgeEncode | BridgeDecode, asker: Asker) -> None:
        self._host.ready_engine()
        if len(self._jobs) >= MAX_JOBS:
            raise RequestError(ErrorCode.BUSY, "queue", len(self._jobs), f"at most {MAX_JOBS} codec jobs at once")
        kind = Encode if isinstance(request, BridgeEncode) else Decode
        values = {name: getattr(request, name) for name in fields_of(kind)}
        values |= {"path": str(Path(request.path).expanduser()), "out": self._out(request.out)}
        self._last += 1
        job = _Job(self._last, kind(**values), asker)
        self._jobs[job.number] = job
        self._progress(job, 0.0, 0.0)
        future = self._thread.submit(self._do, job)
        future.add_done_callback(lambda done: self._host.call_soon(lambda: self._over(job, done)))

    def _out(self, out: str) -> str:
        """Where a job's result goes, if the host says so: inside one of the allowed folders."""
        if not out:
            return ""
        try:
            path = Path(out).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            raise RequestError(ErrorCode.MALFORMED, "out", out, "a path of ordinary characters") from None
        folders = self._files.allowed_folders
        if not any(is_inside(path.parent, folder) for folder in folders):
            raise RequestError(ErrorCode.NOT_ALLOWED, "out", out, f"a file inside: {', '.join(map(str, folders))}")
        return str(path)

    def _cancel(self, number: int, peer: Peer) -> None:
        if number and number not in self._jobs:
            known = ", ".join(map(str, self._jobs)) or "none is under way"
            raise RequestError(ErrorCode.NOT_FOUND, "job", number, known)
        for job in self._jobs.values():
            if job.number == number or (not number and job.peer == peer):
                job.cancelled.set()

    def _progress(self, job: _Job, seconds: float, total: float) -> None:
        if job.number in self._jobs:
            work: CodecWork = "encode" if isinstance(job.request, Encode) else "decode"
            event = CodecProgress(
                job=job.number, work=work, path=job.request.path, seconds=seconds, total_seconds=total
            )
            self._host.publish(event, job.asker)

    def _over(self, job: _Job, future: Future[Recoded]) -> None:
        self._jobs.pop(job.number, None)
        if future.cancelled():  # the bridge is about to stop
            return
        error = future.exception()
        if isinstance(error, _CancelledError):
            nothing = Recoded(
                job=job.number,
                reason="cancelled",
                path="",
                codec="",
                seconds=0.0,
                frames=0,
                codebooks=0,
                kbps=0.0,
                size=0,
                realtime=0.0,
            )
            self._answer(job.asker, nothing)
        elif isinstance(error, RequestError):
            self._answer(job.asker, error)
        elif error is not None:
            log.error("a codec job failed", error=f"{type(error).__name__}: {error}")
            self._answer(job.asker, RequestError(ErrorCode.INTERNAL, "codec", f"{type(error).__name__}: {error}"))
        else:
            self._answer(job.asker, msgspec.structs.replace(future.result(), job=job.number))

    def _answer(self, asker: Asker, reply: Reply | RequestError) -> None:
        if isinstance(reply, RequestError):
            self._host.fail(asker, reply)
        else:
            self._host.done(asker, reply)

    # --- the jobs' thread ---------------------------------------------------------------------------------------------

    def _do(self, job: _Job) -> Recoded:
        """Carry a job out over a line of its own: it waits for the engine, which the loop must not."""
        job.refuse_cancelled()
        request, away = job.request, is_away(self._endpoint)
        located = locate_file(request.path, self._files.allowed_folders)
        request = msgspec.structs.replace(request, path=str(located))
        if away and not request.out:
            suffix = ".codes" if isinstance(request, Encode) else ".wav"
            request = msgspec.structs.replace(request, out=str(self._new_file(located, suffix)))

        def progress(seconds: float, total: float) -> None:
            self._host.call_soon(lambda: self._progress(job, seconds, total))

        line = EngineLine(self._endpoint, away=away, alive=job.refuse_cancelled)
        try:
            return line.do(request, progress)
        finally:
            line.close()

    def _new_file(self, read: Path, suffix: str) -> Path:
        """A name in the takes folder that is free."""
        folder = self._files.takes_folder
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{read.stem}{f'-{number}' if number else ''}{suffix}" for number in range(1_000_000))
        return next(folder / name for name in names if not (folder / name).exists())
