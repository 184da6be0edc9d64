"""Prompt templates for the bridge's service: files are read and written beside the loop, and answers come in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from daw_bridge.templates import TemplateFile
from daw_bridge.wording import Template
from protocols.bridge_messages import ForgetTemplate, KeepTemplate, TemplateList, TemplateRequest, Templates
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Reply
from protocols.osc.front import Asker

T = TypeVar("T")

MAX_WAITING = 32


class TemplateDesk:
    """One thread that looks after the templates' file, so that what was kept is there for the request that follows.

    For the loop's thread only.

    Args:
        path: the file.
        call_soon: runs something on the loop's thread, from any thread.
        done: answers a request.
        fail: answers a request that failed.
    """

    requests = TemplateRequest

    def __init__(
        self,
        path: Path,
        call_soon: Callable[[Callable[[], None]], None],
        done: Callable[[Asker, Reply], None],
        fail: Callable[[Asker, RequestError], None],
    ) -> None:
        self.waiting = 0
        self._file = TemplateFile(path)
        self._call_soon = call_soon
        self._answer = done
        self._fail = fail
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="templates")

    def handle(self, request: TemplateRequest, asker: Asker) -> None:
        """Carry a request out; it is answered when that is done.

        Raises:
            RequestError: BUSY.
        """
        fail = lambda error: self._fail(asker, error)  # noqa: E731
        match request:
            case Templates():
                rows = lambda rows: self._answer(asker, TemplateList(items=rows))  # noqa: E731
                self._ask(lambda file: file.rows(), rows, fail)
            case KeepTemplate(name=name, text=text):
                self._ask(lambda file: file.keep(name, text), lambda _: self._answer(asker, Done()), fail)
            case ForgetTemplate(name=name):
                self._ask(lambda file: file.forget(name), lambda _: self._answer(asker, Done()), fail)

    def find(self, name: str, go: Callable[[Template | None], None], fail: Callable[[RequestError], None]) -> None:
        """Go on with the template of this name, or at once without one where the name is empty and nobody waits.

        Raises:
            RequestError: BUSY, or what ``go`` raises where it is called at once; else ``fail`` gets it.
        """
        if name or self.waiting:
            self._ask(lambda file: file.find(name) if name else None, go, fail)
        else:
            go(None)

    def _ask(
        self, work: Callable[[TemplateFile], T], go: Callable[[T], None], fail: Callable[[RequestError], None]
    ) -> None:
        """Do something with the file and go on with what came of it; what is asked first goes on first."""
        if self.waiting >= MAX_WAITING:
            raise RequestError(ErrorCode.BUSY, "templates", self.waiting, f"at most {MAX_WAITING} requests that wait")
        self.waiting += 1
        future = self._thread.submit(lambda: work(self._file))
        future.add_done_callback(lambda done: self._call_soon(lambda: self._done(done, go, fail)))

    def pump(self) -> None:
        """Nothing to do: answers come by themselves."""

    def close(self) -> None:
        """Do what is being done to its end and nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, done: Future[T], go: Callable[[T], None], fail: Callable[[RequestError], None]) -> None:
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
            fail(error)
