"""A stream cut into hops of one length, whatever blocks it comes in: what is decided at a hop's end never depends on the blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def finite(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The block itself, or one with silence where it is no number: a filter would remember that for ever."""
    if np.isfinite(block).all():
        return block
    return np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)


class Hops:
    """Keeps the latest ``window`` samples, and says where hops end. For one thread.

    Args:
        hop: samples from one decision to the next.
        window: samples that are kept, at least a hop. Before the first sample there is silence.
        channels: at least 1.
    """

    def __init__(self, hop: int, window: int, channels: int) -> None:
        if not 0 < hop <= window:
            raise ValueError(f"hop {hop}, window {window}")
        self.hop = hop
        self.position = 0
        self._kept: NDArray[np.float32] = np.zeros((window, channels), np.float32)
        self._arriving: NDArray[np.float32] = np.zeros((hop, channels), np.float32)

    @property
    def within(self) -> int:
        """Samples of the hop that has begun."""
        return self.position % self.hop

    @property
    def window(self) -> NDArray[np.float32]:
        """The latest samples up to the end of the last whole hop, ``[window, channels]``; a view, valid until the next one ends."""
        return self._kept

    def pieces(self, block: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], int, bool]]:
        """Cut a block ``[samples, channels]`` where hops end.

        Yields:
            a piece, how far into its hop it begins, and whether its last sample is the hop's last; then `window` ends with it.
        """
        start = 0
        while start < len(block):
            within = self.within
            piece = block[start : start + self.hop - within]
            self._arriving[within : within + len(piece)] = piece
            self.position += len(piece)
            start += len(piece)
            whole = self.within == 0
            if whole:
                self._kept[: -self.hop] = self._kept[self.hop :]
                self._kept[-self.hop :] = self._arriving
            yield piece, within, whole
