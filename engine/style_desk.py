"""What the service does when streams shall change to the style of a recording: it is read beside everything else first."""

from __future__ import annotations

from collections.abc import Callable

from engine.change_desk import ChangeDesk
from engine.entries import Entry
from engine.models import LoadedModel, LoadedModels
from engine.worker import Worker
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Reply, Update

_MAX_READS = 8

Answer = Callable[[Reply | RequestError], None]


class StyleDesk:
    """Reads styles for streams that run, one after the other. For the I/O loop's thread only.

    Args:
        models: that the streams run on.
        changes: takes the changes once their styles are read.
        call_soon: runs something on the I/O loop's thread.
    """

    def __init__(
        self, models: LoadedModels, changes: ChangeDesk, call_soon: Callable[[Callable[[], None]], None]
    ) -> None:
        self._models = models
        self._changes = changes
        self._call_soon = call_soon
        self._reads = 0
        self._worker = Worker("styles")
        self._worker.start()

    def change(self, request: Update, payload: bytes, chosen: Callable[[], list[Entry]], answer: Answer) -> None:
        """Change streams to a style; answered later, on this thread, once it is read. No stream waits for it.

        Args:
            request: brings a style; see `engine.style_intake.brings_style`.
            payload: its samples, where it names no file.
            chosen: the streams that are meant; asked again when the style is read, since some may be over by then.
            answer: gets the reply.

        Raises:
            RequestError: BUSY; as ``chosen``.
        """
        if self._reads >= _MAX_READS:
            raise RequestError(ErrorCode.BUSY, "queue", self._reads, f"at most {_MAX_READS} styles at once")
        models = {entry.model for entry in chosen()}

        def done(result: dict[LoadedModel, Update] | RequestError) -> None:
            self._reads -= 1
            reply: Reply | RequestError = Done()
            try:
                if isinstance(result, RequestError):
                    raise result
                for entry in chosen():
                    if entry.model in result:
                        self._changes.update(entry, result[entry.model])
            except RequestError as error:
                reply = error
            for model in models:
                self._models.leave(model)
            answer(reply)

        self._reads += 1
        for model in models:
            self._models.use(model)
        self._worker.do(
            lambda: {model: model.admission.styled(request, payload) for model in models},
            lambda result: self._call_soon(lambda: done(result)),
        )

    def close(self) -> None:
        """Read no more; what is being read is not waited for."""
        self._worker.stop(0)
