"""Deadlines of blocks that no sound card asks for."""

from __future__ import annotations

GIVE_UP_S = 0.25
"""Time that is made up for by rendering faster; what is lost beyond it (a suspended laptop) is lost."""

_NANO = 10**9


class Pacer:
    """When each block is due, by the monotonic clock in whole nanoseconds, so that nothing adds up over hours.

    Threads: one.

    Args:
        sample_rate: Hz.
        blocksize: frames in one block.
        now: ``time.monotonic_ns()``; so for the methods.
    """

    def __init__(self, sample_rate: int, blocksize: int, now: int) -> None:
        self._rate = sample_rate
        self._block = blocksize
        self._start = now
        self._blocks = 0

    @property
    def due(self) -> int:
        """When the next block is due, nanoseconds."""
        return self._start + self._blocks * self._block * _NANO // self._rate

    def rendered(self) -> None:
        """The next block is done."""
        self._blocks += 1

    def caught_up(self, now: int) -> bool:
        """Whether the deadlines stand; False where too much time is lost, and they count on from now."""
        if now - self.due <= GIVE_UP_S * _NANO:
            return True
        self._start, self._blocks = now, 0
        return False
