"""What the service does with journals: streams kept as they go, requests about what was kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.admission import Admission
from engine.entries import Entry, recipe
from engine.journal.journals import Journals
from engine.journal.log import Header, Journal
from engine.journal.resuming import resumed_plan
from engine.memory import MB
from engine.preparation import PreparedStream, StreamPlan
from engine.stream import FramesMade
from protocols.errors import RequestError
from protocols.messages import Done, EndReason, Forget, JournalList, Reply, Resume
from protocols.messages import Journals as ListJournals
from protocols.settings import FileSettings


class JournalDesk:
    """The service's side of the journals. For the I/O loop's thread only.

    Args:
        files: where they are kept, and how much of them.
        call_soon: runs something on the I/O loop's thread.
    """

    def __init__(self, files: FileSettings, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._journals = Journals(files.journal_folder, files.journal_mb * MB)
        self._call_soon = call_soon

    @property
    def state(self) -> str:
        """How streams are kept, in words."""
        return self._journals.state

    def stop(self, seconds: float) -> None:
        """Write what waits."""
        self._journals.stop(seconds)

    def handle(self, request: ListJournals | Forget, answer: Callable[[Reply | RequestError], None]) -> None:
        """List or forget what is kept; answered later, on this thread."""

        def work() -> Reply:
            if isinstance(request, ListJournals):
                return JournalList(items=self._journals.items())
            self._journals.forget(request.journal)
            return Done()

        self._journals.do(work, lambda reply: self._call_soon(lambda: answer(reply)))

    def plan(self, request: Resume, admission: Admission, answer: Callable[[StreamPlan | RequestError], None]) -> None:
        """Plan a stream that goes on from its journal; see `resumed_plan`. Answered later, on this thread."""
        self._journals.do(
            lambda: resumed_plan(self._journals.read(request.journal), request, admission),
            lambda result: self._call_soon(lambda: answer(result)),
        )

    def read(self, journal: str, answer: Callable[[Journal | RequestError], None]) -> None:
        """What was kept of a stream, as far as it is whole; answered later, on this thread."""
        self._journals.do(lambda: self._journals.read(journal), lambda result: self._call_soon(lambda: answer(result)))

    def admitted(self, entry: Entry) -> str:
        """A stream was taken in: the name of its journal."""
        entry.journal = self._journals.new_id()
        return entry.journal

    def prepared(self, entry: Entry, result: PreparedStream, plan: StreamPlan) -> None:
        """A stream is about to start."""
        for change in result.passed:
            entry.changed(change)
        bundle = entry.model.bundle
        header = Header(
            recipe=recipe(entry),
            script=plan.request.script,
            began=time.time(),
            sample_rate=bundle.sample_rate,
            frame_samples=bundle.hop_length,
            first_frame=entry.first_frame,
        )
        result.stream.journaled = bool(entry.journal)
        self._journals.begin(entry.journal, header, plan.recording)

    def made(self, entry: Entry, made: FramesMade) -> None:
        """A stream has made frames."""
        self._journals.frames(entry.journal, made)

    def changed(self, entry: Entry) -> None:
        """The latest of a stream's changes took effect."""
        self._journals.change(entry.journal, entry.changes[-1])

    def ended(self, entry: Entry, reason: EndReason, text: str) -> None:
        """A stream is over."""
        self._journals.end(entry.journal, reason, text)
