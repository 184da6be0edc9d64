"""What the service does with changes of streams: checked, encoded beside the model's thread, and sent to the stream in order.

A change is made from all that its stream is asked to play by then. A section that begins in between, or a change that reaches the
stream before a section does, makes that untrue: then the other one is made anew, ahead of its time where that can be foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import structlog

from engine.changes import Change
from engine.entries import Entry
from engine.scheduler import Alter, Scheduler
from engine.worker import Worker
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MAX_TEXT
from protocols.messages import Update

log = structlog.get_logger()

_MAX_CHANGES = 10_000
_MAX_MELODIES = 4 * MAX_TEXT
"""Characters. All of them are kept in the take's sidecar, and sent back when it is made again."""
_AHEAD = 2
"""So many of the sections to come are made anew at once; those after them when these have begun."""


class ChangeDesk:
    """Changes on their way to streams. For the I/O loop's thread only.

    Args:
        preparation: encodes them.
        scheduler: the model's thread.
        call_soon: runs something on the I/O loop's thread.
    """

    def __init__(
        self, preparation: Worker, scheduler: Scheduler, call_soon: Callable[[Callable[[], None]], None]
    ) -> None:
        self._preparation = preparation
        self._scheduler = scheduler
        self._call_soon = call_soon

    def update(self, entry: Entry, request: Update) -> None:
        """Change a stream as somebody asks.

        Raises:
            RequestError: as `Admission.change`; TOO_LONG for more changes, melodies or styles than one stream takes.
        """
        if len(entry.changes) >= _MAX_CHANGES:
            raise RequestError(ErrorCode.TOO_LONG, "stream", entry.id, f"at most {_MAX_CHANGES} changes of one stream")
        characters = len(request.melody or "") + len(request.style_codes or "")
        if characters and entry.melody_characters + characters > _MAX_MELODIES:
            allowed = f"melodies and styles of at most {_MAX_MELODIES} characters in one stream's changes"
            field = "melody" if request.melody else "style_codes"
            raise RequestError(ErrorCode.TOO_LONG, field, f"{characters} characters more", allowed)
        change = entry.model.admission.change(request, entry.latest)
        entry.melody_characters += characters
        self._ask(entry, change)

    def changed(self, entry: Entry, change: Change) -> None:
        """A change has reached the stream."""
        entry.changed(change)
        if change.directions is not None and entry.planned:
            self._send(entry, self._made_anew(entry))

    def overtaken(self, entry: Entry, change: Change) -> None:
        """A change has come too late to be true: it is asked for anew."""
        entry.overtaken(change)
        self._ask(entry, replace(change.after(entry.latest), planned=0))

    def _ask(self, entry: Entry, change: Change) -> None:
        if change.directions is not None:
            entry.asked.append(change.directions)
            self._send(entry, [change, *self._made_anew(entry)])
        else:
            self._send(entry, [change])

    def _made_anew(self, entry: Entry) -> list[Change]:
        """The next sections, where they are not made from what the stream will be asked to play by then."""
        before, anew = entry.latest, []
        for index, planned in islice(enumerate(entry.planned), _AHEAD):
            if (after := planned.after(before)) is not planned:
                entry.planned[index] = after
                anew.append(after)
            before = after.directions or before
        return anew

    def _send(self, entry: Entry, changes: Sequence[Change]) -> None:
        """Encode what is to be encoded, and let the stream have all of it at once, in order."""
        if not any(change.needs_encoding for change in changes):
            self._alter(entry, changes)
            return

        def encoded(result: list[Change] | RequestError) -> None:
            if isinstance(result, RequestError):
                for change in changes:
                    entry.forget(change)
                log.warning("change not encoded", stream=entry.id, error=result.text)
            else:
                self._alter(entry, result)

        self._preparation.do(
            lambda: [entry.model.preparation.condition(change) for change in changes],
            lambda result: self._call_soon(lambda: encoded(result)),
        )

    def _alter(self, entry: Entry, changes: Sequence[Change]) -> None:
        for change in changes:
            if entry.prepared:
                self._scheduler.post(Alter(entry.id, change))
            else:
                entry.early_changes.append(change)
