"""Bring a stream from the engine's rate to the sound card's, chunk by chunk."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

PRE_ROLL = 4096
"""Source frames that a fresh `Resampler` must have seen before its output equals that of one that ran all along."""


class Resampler:
    """Streaming rate converter with memory: the chunks' boundaries leave no trace.

    The output of all calls together equals ``soxr.resample`` of the whole input (libsoxr, quality HQ), whatever the
    chunks' sizes. Its length is ``frames * output_rate / input_rate`` rounded to the nearest integer; libsoxr decides
    which way an exact half goes. With equal rates the input is passed through untouched, without a copy.

    Between rates the filter looks ahead, so sound comes out 12 to 28 ms (by the rates) after it went in; `flush` yields
    the rest.

    Threads: one at a time.

    Args:
        input_rate: Hz, above 0.
        output_rate: Hz, above 0.
        channels: at least 1.
    """

    def __init__(self, input_rate: int, output_rate: int, channels: int) -> None:
        self.channels = channels
        self._soxr: soxr.ResampleStream | None = None
        if input_rate != output_rate:
            self._soxr = soxr.ResampleStream(input_rate, output_rate, channels, dtype="float32", quality="HQ")

    def process(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take ``chunk`` [frames, channels]; return what is ready [frames', channels], possibly nothing."""
        if self._soxr is None or not len(chunk):
            return chunk
        out: NDArray[np.float32] = self._soxr.resample_chunk(np.ascontiguousarray(chunk))
        return out

    def flush(self) -> NDArray[np.float32]:
        """End the stream and return the rest [frames', channels]; call it once, and nothing after it."""
        rest: NDArray[np.float32] = np.zeros((0, self.channels), np.float32)
        if self._soxr is not None:
            rest = self._soxr.resample_chunk(rest, last=True)
        return rest
