"""A thread that does slow things one after the other, beside the model's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

import structlog
import torch

from protocols.errors import ErrorCode, RequestError

log = structlog.get_logger()
T = TypeVar("T")


class Worker:
    """One thread that does jobs in order. How many wait is bounded by whoever asks.

    Threads: `do`, `start` and `stop` from any thread; work is done and answers are called on this thread.

    Args:
        name: of the thread.
        threads: CPU threads that its work may use beside the model's own.
    """

    def __init__(self, name: str, *, threads: int = 1) -> None:
        self._name = name
        self._threads = threads
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: a download or a checkpoint of gigabytes under way keeps no process from leaving.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Leave after the jobs that wait, and wait for that at most ``seconds``; False when that was not enough."""
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def do(self, work: Callable[[], T], answer: Callable[[T | RequestError], None]) -> None:
        """Do a job and hand what came of it, or the error, to ``answer``, which must neither block nor raise."""
        self._jobs.put(lambda: answer(self._guarded(work)))

    def _guarded(self, work: Callable[[], T]) -> T | RequestError:
        try:
            return work()
        except RequestError as error:
            # Not the error itself: its traceback holds whatever the job had in its hands, such as half a model.
            return RequestError(error.code, error.field, error.value, error.allowed)
        except Exception as error:
            log.exception("a job failed", thread=self._name)
            return RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while self._next():
            pass

    def _next(self) -> bool:
        """Do one job. Nothing of it is left when this returns: a job may hold the last streams of a model."""
        job = self._jobs.get()
        if job is not None:
            job()
        return job is not None
