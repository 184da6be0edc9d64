"""The take of a stream: written as it comes, closed with its sidecar when the stream is over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import structlog
from msgspec import structs
from numpy.typing import NDArray

from audio_files.recorder import TakeRecorder
from audio_files.takes import Take
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Recipe, Request

log = structlog.get_logger()


class StreamTake:
    """A recorder whose disk may fail: then the sound goes on, and the answer tells. For the loop's thread only.

    Args:
        recorder: what writes.
        call_soon: runs something on the loop's thread, from any thread.
        saved: hears of the take once it is on disk, whole.
    """

    def __init__(
        self,
        recorder: TakeRecorder,
        call_soon: Callable[[Callable[[], None]], None],
        saved: Callable[[Take], None],
    ) -> None:
        self.path = ""
        self.fault: RequestError | None = None
        self._recorder: TakeRecorder | None = recorder
        self._call_soon = call_soon
        self._saved = saved
        self._closing: Future[Take] | None = None

    @property
    def position(self) -> int | None:
        """Samples that are safe on their way to the disk; None where nothing is written any more."""
        return self._recorder.position if self._recorder is not None else None

    @property
    def done(self) -> bool:
        """Whether all of it is on disk, or never will be."""
        return self._recorder is None or bool(self.path) or self.fault is not None

    def push(self, block: NDArray[np.float32]) -> None:
        """Add what comes next: ``[samples, channels]``."""
        self._guard(lambda recorder: recorder.push(block))

    def pump(self) -> None:
        """Move on what waits."""
        if self._closing is None:
            self._guard(lambda recorder: recorder.pump())

    def close(self, sidecar: Callable[[], dict[str, object]], empty: bool) -> None:
        """The stream is over: finish the file once all of it is there, or drop it where it is ``empty``.

        To be called again until `done`.
        """
        recorder = self._recorder
        if recorder is None or self._closing is not None or not recorder.idle:
            return
        if empty:
            self.abandon()
            return
        self._closing = recorder.finish(sidecar())
        self._closing.add_done_callback(lambda take: self._call_soon(lambda: self._closed(take)))

    def abandon(self) -> None:
        """Nothing came of it."""
        if self._recorder is not None:
            self._recorder.abandon()
            self._recorder = None

    def _closed(self, future: Future[Take]) -> None:
        error = future.exception()
        if error is None:
            self.path = str(future.result().path)
            self._saved(future.result())
        else:
            self.fault = (
                error if isinstance(error, RequestError) else RequestError(ErrorCode.INTERNAL, "take", str(error))
            )

    def _guard(self, work: Callable[[TakeRecorder], None]) -> None:
        if self._recorder is None:
            return
        try:
            work(self._recorder)
        except RequestError as error:
            log.warning("take lost", error=error.text)
            self.fault = error
            self.abandon()


def recipe_from(recipe: Recipe, frame: int | None) -> Recipe:
    """The recipe of the engine that ended a stream, from the frame on with which that began, however many engines have made it."""
    return recipe if frame is None else structs.replace(recipe, request={**recipe.request, "from_frame": frame})


def asked_of(request: Request) -> dict[str, object]:
    """A host's request as sidecars hold it."""
    return {**structs.asdict(request), "type": str(type(request).__struct_config__.tag)}
