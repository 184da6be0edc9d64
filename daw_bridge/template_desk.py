"""Prompt templates for the bridge's service: files are read and written beside the loop, and answers come in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from daw_bridge.templates import TemplateFile
from daw_bridge.wording import Template
from protocols.errors import ErrorCode, RequestError
from protocols.osc.front import Asker

T = TypeVar("T")

MAX_WAITING = 32


class TemplateDesk:
    """One thread that looks after the templates' file, so that what was kept is there for the request that follows.

    For the loop's thread only.

    Args:
        path: the file.
        call_soon: runs something on the loop's thread, from any thread.
        fail: answers a request that failed.
    """

    def __init__(
        self,
        path: Path,
        call_soon: Callable[[Callable[[], None]], None],
        fail: Callable[[Asker, RequestError], None],
    ) -> None:
        self.waiting = 0
        self._file = TemplateFile(path)
        self._call_soon = call_soon
        self._fail = fail
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="templates")

    def find(self, name: str, asker: Asker, go: Callable[[Template | None], None]) -> None:
        """Go on with the template of this name, or at once without one where the name is empty and nobody waits.

        Raises:
            RequestError: BUSY, or what ``go`` raises.
        """
        if name or self.waiting:
            self.ask(lambda file: file.find(name) if name else None, asker, go)
        else:
            go(None)

    def ask(self, work: Callable[[TemplateFile], T], asker: Asker, go: Callable[[T], None]) -> None:
        """Do something with the file and go on with what came of it; what is asked first goes on first.

        Raises:
            RequestError: BUSY.
        """
        if self.waiting >= MAX_WAITING:
            raise RequestError(ErrorCode.BUSY, "templates", self.waiting, f"at most {MAX_WAITING} requests that wait")
        self.waiting += 1
        future = self._thread.submit(lambda: work(self._file))
        future.add_done_callback(lambda done: self._call_soon(lambda: self._done(done, asker, go)))

    def close(self) -> None:
        """Do what is being done to its end and nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, done: Future[T], asker: Asker, go: Callable[[T], None]) -> None:
        self.waiting -= 1
        try:
            if done.cancelled():
                raise RequestError(ErrorCode.BUSY, "templates", None, "a bridge that is not about to stop")
            error = done.exception()
            if isinstance(error, RequestError):
                raise error
            if error is not None:
                raise RequestError(ErrorCode.INTERNAL, "templates", f"{type(error).__name__}: {error}")
            go(done.result())
        except RequestError as error:
            self._fail(asker, error)
