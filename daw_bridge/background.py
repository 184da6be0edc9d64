"""Slow work beside the loop: files read, devices scanned; a bounded number at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from protocols.errors import ErrorCode, RequestError

T = TypeVar("T")

_THREADS = 2
_MAX_READING = 8


class Background:
    """Two threads that read files and wait for devices. For the loop's thread only.

    Args:
        call_soon: runs something on the loop's thread, from any thread.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self.reading = 0
        self._call_soon = call_soon
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")

    def read(self, work: Callable[[], T], go: Callable[[T], None], fail: Callable[[RequestError], None]) -> None:
        """Read a file and go on with what came of it; ``fail`` gets what ``work`` or ``go`` raise.

        Raises:
            RequestError: BUSY.
        """
        if self.reading >= _MAX_READING:
            raise RequestError(ErrorCode.BUSY, "path", self.reading, f"at most {_MAX_READING} files being read")
        self.reading += 1

        def settle(done: Future[T]) -> None:
            self.reading -= 1
            _settle(done, go, fail, "path")

        self._start(work, settle)

    def do(self, work: Callable[[], T], go: Callable[[T], None], fail: Callable[[RequestError], None]) -> None:
        """Do something slow and go on with what came of it; ``fail`` as in `read`."""
        self._start(work, lambda done: _settle(done, go, fail, "request"))

    def _start(self, work: Callable[[], T], settle: Callable[[Future[T]], None]) -> None:
        future = self._threads.submit(work)
        future.add_done_callback(lambda done: self._call_soon(lambda: settle(done)))

    def close(self) -> None:
        """Do what is being done to its end and nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _settle(done: Future[T], go: Callable[[T], None], fail: Callable[[RequestError], None], about: str) -> None:
    if done.cancelled():  # the bridge is about to stop
        return
    error = done.exception()
    if error is None:
        try:
            go(done.result())
        except RequestError as refusal:
            fail(refusal)
    elif isinstance(error, RequestError):
        fail(error)
    else:
        fail(RequestError(ErrorCode.INTERNAL, about, f"{type(error).__name__}: {error}"))
