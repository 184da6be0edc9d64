"""A stream's way into a take: blocks as they arrive, never waiting on the disk, never more than the stream's own lead."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_files.background import BackgroundTakeWriter
from audio_files.publishing import folder_error
from audio_files.takes import Take, TakeWriter


def record_take(
    folder: Path,
    name_hint: str,
    *,
    sample_rate: int,
    channels: int,
    format: str = "wav",
    loudness: str = "none",
) -> TakeRecorder:
    """Begin a take in ``folder``, which is made if it is missing; the rest is as for `TakeWriter`.

    Raises:
        RequestError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(error, folder) from error
    writer = TakeWriter(folder, name_hint, sample_rate=sample_rate, channels=channels, format=format, loudness=loudness)
    return TakeRecorder(writer)


class TakeRecorder:
    """Takes blocks, hands them to a writer's thread as its queue has room, and says how far it has come.

    What waits here is bounded by whoever sends: flow control lets it send no further than its lead beyond `position`. One thread
    at a time.
    """

    def __init__(self, writer: TakeWriter) -> None:
        self._background = BackgroundTakeWriter(writer)
        self._waiting: deque[npt.NDArray[np.float32]] = deque()
        self._position = 0

    @property
    def position(self) -> int:
        """Samples that were taken over by the writer: what may be acknowledged."""
        return self._position

    def push(self, block: npt.NDArray[np.float32]) -> None:
        """Take a block ``[frames, channels]``.

        Raises:
            RequestError: the disk's error; the take cannot be finished any more.
        """
        self._waiting.append(block)
        self.pump()

    def pump(self) -> None:
        """Hand over what waits, as far as the writer's queue has room.

        Raises:
            RequestError: as `push`.
        """
        while self._waiting and self._background.write(self._waiting[0]):
            self._position += len(self._waiting.popleft())

    @property
    def idle(self) -> bool:
        """Whether everything pushed was handed over: the time to finish."""
        return not self._waiting

    def finish(self, sidecar: object) -> Future[Take]:
        """Close the take with its sidecar, on the writer's thread."""
        return self._background.finish_later(sidecar)

    def abandon(self) -> None:
        """Drop the take and its temporary file."""
        self._waiting.clear()
        self._background.abandon(timeout_seconds=0.0)
