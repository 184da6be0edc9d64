"""What the service does with codec jobs: taken on the I/O thread, worked on by another, beside what plays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
import torch

from audio_files.locations import locate_file
from engine.coding.loading import load_named, loadable_name
from engine.coding.shelf import KeptCodec, Shelf
from engine.coding.work import Work, failed
from engine.journal.log import Journal
from engine.models import LoadedModel, LoadedModels, check_name
from engine.worker import Worker
from protocols.codec_messages import (
    CancelCodec,
    CodecEnded,
    CodecJob,
    CodecList,
    CodecProgress,
    CodecQueued,
    CodecRequest,
    Codecs,
    CodecWork,
    Decode,
    Encode,
    ExportCodes,
    InspectCodes,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Event, Reply
from protocols.settings import Settings

log = structlog.get_logger()

MAX_JOBS = 32
"""Jobs that wait or are worked on, of all clients together."""
MAX_SENT = 128 * 2**20
"""Bytes that were sent along with jobs which wait."""
_PROGRESS_S = 0.25
_NICE = 10

Answer = Callable[[Reply | RequestError], None]


class JobOwner(Protocol):
    """Who asked for a job."""

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""

    def event(self, event: Event) -> None:
        """Hear of it."""


class _CancelledError(Exception):
    """A job is to end."""


@dataclass(eq=False)
class _Job:
    """One job. ``cancelled`` is set by the I/O thread and seen by the other."""

    number: int
    request: CodecJob
    payload: bytes
    owner: JobOwner
    model: LoadedModel | None
    own: KeptCodec | None
    cancelled: threading.Event = field(default_factory=threading.Event)
    told: float = float("-inf")


class CodecDesk:
    """Carries codec jobs out, one after the other. For the I/O loop's thread only.

    Args:
        models: the loaded model, whose codec costs nothing.
        settings: of both processes.
        call_soon: runs something on the I/O loop's thread.
        readers: a thread that reads files.
        journal: reads what was kept of a stream, and answers on the I/O loop's thread.
    """

    def __init__(
        self,
        models: LoadedModels,
        settings: Settings,
        call_soon: Callable[[Callable[[], None]], None],
        readers: Worker,
        journal: Callable[[str, Callable[[Journal | RequestError], None]], None],
    ) -> None:
        self._models = models
        self._call_soon = call_soon
        self._readers = readers
        self._journal = journal
        self._inspecting = 0
        self._jobs: dict[int, _Job] = {}
        self._last = 0
        engine, files = settings.engine, settings.files

        def check(name: str) -> None:
            check_name(name, engine, files)
            if Path(name).expanduser().is_file():
                locate_file(Path(name).expanduser(), files.allowed_folders, field="codec")

        self._shelf = Shelf(load_named(check), torch.device("cpu"), known=loadable_name)
        self._work = Work(self._shelf, files.allowed_folders, files.takes_folder)
        self._worker = Worker("codec")
        self._worker.start()
        self._worker.do(_be_nice, lambda done: None)

    @property
    def jobs(self) -> int:
        """Jobs that wait or are worked on."""
        return len(self._jobs)

    @property
    def weights_mb(self) -> float:
        """What the weights of codecs take that were loaded for jobs."""
        return round(self._shelf.weights_mb, 1)

    def handle(self, request: CodecRequest, owner: JobOwner, payload: bytes, answer: Answer) -> None:
        """Carry a request out. A job is answered when it is taken; its owner hears how it goes on.

        Raises:
            RequestError: BUSY; UNKNOWN_STREAM for a job that there is not.
        """
        match request:
            case Encode() | Decode():
                answer(self._take(request, owner, payload))
            case CancelCodec(job=number):
                self._cancel(number, owner)
                answer(Done())
            case Codecs():
                current = self._models.current
                own = () if current is None else (KeptCodec(current.bundle.name, current.bundle.codec).info,)
                answer(CodecList(items=[*own, *self._shelf.infos]))
            case InspectCodes(path=path):
                self._inspect(path, answer)
            case ExportCodes():
                self._export(request, answer)
            case _:
                raise RequestError(ErrorCode.UNSUPPORTED, "type", type(request).__name__)

    def client_lost(self, owner: JobOwner) -> None:
        """Nobody is left to hear of these jobs."""
        for job in self._jobs.values():
            if job.owner is owner:
                job.cancelled.set()

    def tick(self) -> None:
        """Called every few seconds: codecs that nobody needed for a while are given back."""
        if not self._jobs and self._shelf.infos:
            self._worker.do(self._shelf.drop_idle, lambda done: None)

    def close(self, seconds: float) -> None:
        """End all jobs; the thread is waited for at most this long."""
        for job in self._jobs.values():
            job.cancelled.set()
        self._worker.stop(seconds)

    def _inspect(self, path: str, answer: Answer) -> None:
        counted = self._counted(answer)
        self._readers.do(lambda: self._work.inspect(path), lambda result: self._call_soon(lambda: counted(result)))

    def _export(self, request: ExportCodes, answer: Answer) -> None:
        """Write what a journal has; only the model that made it knows what its codes mean."""
        model = self._models.ready
        counted = self._counted(answer)
        self._models.use(model)

        def done(result: Reply | RequestError) -> None:
            self._models.leave(model)
            counted(result)

        def read(journal: Journal | RequestError) -> None:
            if isinstance(journal, RequestError):
                done(journal)
                return
            self._readers.do(
                lambda: self._work.export(request, journal, model.bundle),
                lambda result: self._call_soon(lambda: done(result)),
            )

        self._journal(request.journal, read)

    def _counted(self, answer: Answer) -> Answer:
        """The answer of a request that only reads or writes a file; so many of them at once, and no more."""
        if self._inspecting >= MAX_JOBS:
            raise RequestError(ErrorCode.BUSY, "queue", self._inspecting, f"at most {MAX_JOBS} files at once")
        self._inspecting += 1

        def done(result: Reply | RequestError) -> None:
            self._inspecting -= 1
            answer(result)

        return done

    def _take(self, request: Encode | Decode, owner: JobOwner, payload: bytes) -> CodecQueued:
        self._refuse_too_many(len(payload))
        self._last += 1
        model = self._models.current
        own = None
        if model is not None:
            self._models.use(model)
            own = KeptCodec(model.bundle.name, model.bundle.codec)
        job = _Job(self._last, request, payload, owner, model, own)
        waiting = len(self._jobs)
        self._jobs[job.number] = job
        self._tell_progress(job, 0.0, 0.0)
        self._worker.do(lambda: self._do(job), lambda result: self._call_soon(lambda: self._over(job, result)))
        return CodecQueued(job=job.number, waiting=waiting)

    def _refuse_too_many(self, size: int) -> None:
        if len(self._jobs) >= MAX_JOBS:
            raise RequestError(ErrorCode.BUSY, "queue", len(self._jobs), f"at most {MAX_JOBS} codec jobs at once")
        held = sum(len(job.payload) for job in self._jobs.values())
        if held and held + size > MAX_SENT:
            raise RequestError(ErrorCode.BUSY, "payload", held, f"at most {MAX_SENT} bytes in jobs that wait")

    def _cancel(self, number: int, owner: JobOwner) -> None:
        if number and number not in self._jobs:
            known = ", ".join(map(str, self._jobs)) or "none is under way"
            raise RequestError(ErrorCode.NOT_FOUND, "job", number, known)
        for job in self._jobs.values():
            if job.number == number or (not number and job.owner is owner):
                job.cancelled.set()

    def _tell_progress(self, job: _Job, seconds: float, total: float) -> None:
        if not job.owner.gone and job.number in self._jobs:
            work: CodecWork = "encode" if isinstance(job.request, Encode) else "decode"
            path = str(getattr(job.request, "path", ""))
            job.owner.event(CodecProgress(job=job.number, work=work, path=path, seconds=seconds, total_seconds=total))

    def _over(self, job: _Job, result: CodecEnded | RequestError) -> None:
        self._jobs.pop(job.number, None)
        job.own, job.payload = None, b""
        if job.model is not None:
            self._models.leave(job.model)
        if isinstance(result, RequestError):
            result = failed(job.number, result)
        if not job.owner.gone:
            job.owner.event(result)

    # --- the codec's thread ---------------------------------------------------------------------------------------------

    def _do(self, job: _Job) -> CodecEnded:
        def tell(seconds: float, total: float) -> None:
            if job.cancelled.is_set():
                raise _CancelledError
            now = time.monotonic()
            if now - job.told > _PROGRESS_S:
                job.told = now
                self._call_soon(lambda: self._tell_progress(job, seconds, total))

        try:
            if job.cancelled.is_set():
                raise _CancelledError
            if isinstance(job.request, Encode):
                ended = self._work.encode(job.request, job.payload, tell, job.own)
            else:
                assert isinstance(job.request, Decode)
                ended = self._work.decode(job.request, job.payload, tell, job.own)
        except _CancelledError:
            return CodecEnded(job=job.number, reason="cancelled")
        return msgspec.structs.replace(ended, job=job.number)


def _be_nice() -> None:
    """Let the system prefer every other thread to this one, where a thread can be told so (Linux)."""
    if hasattr(os, "setpriority") and hasattr(os, "PRIO_PROCESS") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
