"""A recording from one frame of the card to another, taken as it happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import Capture
from protocols.errors import ErrorCode, RequestError

MAX_RECORDING_SECONDS = 120.0
"""The longest recording, its tail included."""

_SLICE_SECONDS = 1.0  # copied at one call, so that a recording that begins in the past holds nobody up


@dataclass(frozen=True)
class Recorded:
    """What a `BarRecorder` has taken.

    Args:
        samples: [frames + tail, channels].
        frames: of the bars themselves.
        sample_rate: Hz.
        first: frame of the output, as heard, that the recording begins with.
        gaps: how often the sound system missed a block meanwhile; with 0 every frame is where it was played.
    """

    samples: NDArray[np.float32]
    frames: int
    sample_rate: int
    first: int
    gaps: int

    @property
    def tail(self) -> int:
        """Frames behind the bars."""
        return len(self.samples) - self.frames


class BarRecorder:
    """Records a bus from frame ``first`` up to ``last`` and ``tail`` frames beyond, sample-exact.

    It may begin in the past, as far back as the bus is kept, and at any time to come. A recording belongs to one output: when the
    sound card changes before it is complete, it ends with an error, since the frames of another card are other moments.

    Threads: one.

    Args:
        capture: what to record, see `Player.listen`.
        first: frame of the output as it is heard.
        last: the frame behind the last one of the bars.
        tail: frames to take beyond ``last``, for what rings on or is cross-faded.

    Raises:
        RequestError: OUT_OF_RANGE for a recording that is empty or begins before what is kept, TOO_LONG beyond
        `MAX_RECORDING_SECONDS`.
    """

    def __init__(self, capture: Capture, first: int, last: int, tail: int = 0) -> None:
        length = last - first + tail
        if last <= first or tail < 0:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "frames", f"{first} to {last}, {tail} beyond", "a frame at least"
            )
        if capture.latest > capture.oldest > first:
            raise _lost(capture, first)
        self.first, self.last, self.tail = first, last, tail
        self.error: RequestError | None = None
        self._capture = capture
        self._samples = _room(capture, length)
        self._slice = round(_SLICE_SECONDS * capture.sample_rate)
        self._taken = 0
        self._gaps_before = capture.gaps
        self._gaps = 0

    @property
    def taken(self) -> int:
        """Frames recorded so far."""
        return self._taken

    @property
    def buffer(self) -> NDArray[np.float32]:
        """All of it, [frames + tail, channels], filled up to `taken`: for who plays it before it is complete."""
        return self._samples

    def end_at(self, last: int) -> None:
        """Let the bars end at another frame, which has not been recorded yet; the tail moves along. `buffer` is made anew.

        Raises:
            RequestError: as for a recording of that length.
        """
        if last == self.last or last - self.first + self.tail < self._taken:
            return
        samples = _room(self._capture, last - self.first + self.tail)
        samples[: self._taken] = self._samples[: self._taken]
        self.last, self._samples = last, samples

    @property
    def done(self) -> bool:
        """Whether it is over: complete, or ended by ``error``."""
        return self.error is not None or self._taken == len(self._samples)

    @property
    def recorded(self) -> Recorded | None:
        """What was recorded; None before it is complete."""
        if self._taken < len(self._samples):
            return None
        return Recorded(self._samples, self.last - self.first, self._capture.sample_rate, self.first, self._gaps)

    def pump(self) -> None:
        """Take what has been captured, a second at most; to be called many times within the time that a bus is kept."""
        if self.done:
            return
        alive = self._capture.alive  # before the frames are counted, so that the last ones are not missed
        position = self.first + self._taken
        frames = min(self._capture.latest - position, len(self._samples) - self._taken, self._slice)
        if frames <= 0:
            if not alive:
                self.error = RequestError(
                    ErrorCode.UNSUPPORTED, "recording", f"{self._taken} frames", "a sound card that stays to its end"
                )
            elif self._taken == 0 and position > self._capture.latest:
                self._gaps_before = self._capture.gaps  # nothing of it has been played yet
            return
        try:
            self._samples[self._taken : self._taken + frames] = self._capture.read(position, frames)
        except RequestError:
            self.error = _lost(self._capture, position)
            return
        self._taken += frames
        self._gaps = self._capture.gaps - self._gaps_before


def _room(capture: Capture, frames: int) -> NDArray[np.float32]:
    """Where a recording of so many frames goes; TOO_LONG beyond `MAX_RECORDING_SECONDS`."""
    if frames > MAX_RECORDING_SECONDS * capture.sample_rate:
        seconds = f"{frames / capture.sample_rate:.1f} s"
        raise RequestError(ErrorCode.TOO_LONG, "frames", seconds, f"at most {MAX_RECORDING_SECONDS:g} s")
    return np.zeros((frames, capture.channels), np.float32)


def _lost(capture: Capture, first: int) -> RequestError:
    kept = f"from {capture.oldest} on; {capture.capacity / capture.sample_rate:.0f} s are kept"
    return RequestError(ErrorCode.OUT_OF_RANGE, "frame", first, kept)
