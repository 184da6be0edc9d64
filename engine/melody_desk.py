"""What the service does when a melody shall be read from a recording: on a thread of its own, since it may take seconds."""

from __future__ import annotations

from collections.abc import Callable

from engine.models import LoadedModels
from engine.worker import Worker
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ReadMelody, Reply

_MAX_READS = 8

Answer = Callable[[Reply | RequestError], None]


class MelodyDesk:
    """Reads the melodies of regions, one after the other. For the I/O loop's thread only.

    Args:
        models: the one that is loaded says how it hears melodies.
        call_soon: runs something on the I/O loop's thread.
    """

    def __init__(self, models: LoadedModels, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._models = models
        self._call_soon = call_soon
        self._reads = 0
        self._worker = Worker("melodies")
        self._worker.start()

    def handle(self, request: ReadMelody, payload: bytes, answer: Answer) -> None:
        """Read a region; answered later, on this thread. No stream waits for it.

        Raises:
            RequestError: BUSY; NO_MODEL.
        """
        if self._reads >= _MAX_READS:
            raise RequestError(ErrorCode.BUSY, "queue", self._reads, f"at most {_MAX_READS} regions at once")
        model = self._models.ready

        def done(result: Reply | RequestError) -> None:
            self._reads -= 1
            self._models.leave(model)
            answer(result)

        self._reads += 1
        self._models.use(model)
        self._worker.do(
            lambda: model.admission.melody(request, payload), lambda result: self._call_soon(lambda: done(result))
        )

    def close(self) -> None:
        """Read no more; what is being read is not waited for."""
        self._worker.stop(0)
