"""A take written on a thread of its own, so that whoever makes the sound never waits on a disk."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from audio_files.takes import Samples, Take, TakeWriter
from protocols.errors import ErrorCode, RequestError


class BackgroundTakeWriter:
    """Owns a ``TakeWriter``, one thread, and a queue of at most ``max_queued_seconds`` of audio.

    Every method may be called from any thread; blocks are stored in the order in which ``write`` took them. ``write``
    copies the block and takes a lock that is held for moments only, never during disk work: right for the thread that
    makes the sound, wrong for an audio callback, which must not lock at all.

    Used with ``with``, a take that is not finished is abandoned.

    Args:
        writer: an open writer; from now on it is this object's alone.
        max_queued_seconds: audio that may wait for the disk.
    """

    def __init__(self, writer: TakeWriter, *, max_queued_seconds: float = 10.0) -> None:
        self._writer = writer
        self._max_queued = int(max_queued_seconds * writer.sample_rate)
        if self._max_queued < 1:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "max_queued_seconds", max_queued_seconds, "over 0 s")
        self._changed = threading.Condition()
        self._queue: deque[Samples] = deque()
        self._queued = 0
        self._refused = 0
        self._fault: RequestError | None = None
        self._finishing: tuple[object, Future[Take]] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="take-writer", daemon=True)
        self._thread.start()

    @property
    def refused_frames(self) -> int:
        """Frames that ``write`` did not take because the queue was full."""
        return self._refused

    @property
    def queued_frames(self) -> int:
        """Frames that wait for the disk."""
        return self._queued

    def write(self, block: npt.NDArray[np.floating]) -> bool:
        """Queue a block ``[frames, channels]`` without waiting.

        Returns:
            False when the queue is full: the block was not taken, and the caller tries again later or counts it lost.

        Raises:
            RequestError: see ``TakeWriter.checked``; TOO_LARGE when the block is longer than the whole queue; the
                disk's error when the thread met one; NOT_ALLOWED after ``finish`` or ``abandon``.
        """
        samples = self._writer.checked(block)
        if np.may_share_memory(samples, block):
            samples = samples.copy()
        if len(samples) > self._max_queued:
            raise RequestError(
                ErrorCode.TOO_LARGE, "audio", f"{len(samples)} frames", f"at most {self._max_queued} frames at once"
            )
        with self._changed:
            if self._fault is not None:
                raise self._fault
            if self._closing or self._finishing is not None:
                raise RequestError(ErrorCode.NOT_ALLOWED, "take", allowed="a take that is not finished or abandoned")
            if self._queued + len(samples) > self._max_queued:
                self._refused += len(samples)
                return False
            self._queue.append(samples)
            self._queued += len(samples)
            self._changed.notify_all()
        return True

    def finish_later(self, sidecar: object) -> Future[Take]:
        """Write what is queued, then finish the take (see ``TakeWriter.finish``), without waiting.

        Returns:
            The take to come, or its error; where that leaves the take open, finishing may be asked for again. While
            one is under way, and after success, the same future is returned.

        Raises:
            RequestError: the disk's error when a write failed; NOT_ALLOWED after ``abandon``.
        """
        with self._changed:
            if self._fault is not None:
                raise self._fault
            if self._finishing is None:
                if self._closing:
                    raise RequestError(ErrorCode.NOT_ALLOWED, "take", allowed="a take that is not abandoned")
                self._finishing = (sidecar, Future())
                self._changed.notify_all()
            return self._finishing[1]

    def finish(self, sidecar: object, *, timeout_seconds: float = 60.0) -> Take:
        """Write what is queued, then finish the take, and wait for it.

        Raises:
            RequestError: what ``finish_later`` raises or its future brings; BUSY when it takes longer than
                ``timeout_seconds``. The thread goes on then, and calling again waits again, for the sidecar given
                first. After success it returns the same take again.
        """
        future = self.finish_later(sidecar)
        try:
            take = future.result(timeout_seconds)
        except FutureTimeoutError as error:
            waited = f"{timeout_seconds:g} s"
            raise RequestError(ErrorCode.BUSY, "take", waited, "longer; the take is still being written") from error
        self._thread.join(timeout_seconds)
        return take

    def abandon(self, *, timeout_seconds: float = 10.0) -> bool:
        """Drop what is queued and the take, unless it is finished.

        Returns:
            Whether the thread has ended within ``timeout_seconds``; it ends by itself once the disk lets it.
        """
        with self._changed:
            self._closing = True
            self._queue.clear()
            self._queued = 0
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            self._writer.abandon()

    def _step(self) -> bool:
        """Do one thing; False when nothing is left to do for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue or self._finishing)
            if self._closing:
                self._give_up()
                return False
            block = self._queue.popleft() if self._queue else None
        if block is not None:
            self._store(block)
            return True
        return not self._complete()

    def _store(self, block: Samples) -> None:
        fault = None
        try:
            self._writer.write(block)
        except RequestError as error:
            fault = error
        except Exception as error:  # it would end this thread unseen
            fault = RequestError(ErrorCode.INTERNAL, "take", error, "a take that can be written")
        with self._changed:
            self._queued = max(0, self._queued - len(block))
            if fault is not None:
                self._fault = fault
                self._queue.clear()
                self._queued = 0
                if self._finishing is not None:
                    self._finishing[1].set_exception(fault)
                    self._finishing = None

    def _complete(self) -> bool:
        """Finish the take; False when it failed and may be tried again."""
        assert self._finishing is not None
        sidecar, future = self._finishing
        try:
            take = self._writer.finish(sidecar)
        except Exception as error:
            with self._changed:
                self._finishing = None
            future.set_exception(error)
            return False
        with self._changed:
            self._closing = True
        future.set_result(take)
        return True

    def _give_up(self) -> None:
        if self._finishing is not None:
            error = RequestError(ErrorCode.NOT_ALLOWED, "take", allowed="a take that was not abandoned")
            self._finishing[1].set_exception(error)
            self._finishing = None
