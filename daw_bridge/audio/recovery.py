"""When an output counts as dead, and what to try next: the decisions of the player's watchdog, without its threads."""

from __future__ import annotations

from dataclasses import dataclass

from daw_bridge.audio.devices import DeviceChoice
from daw_bridge.audio.output import Output

NO_CARD = "none"
"""The device choice that means: no sound card, only a clock (`PacedOutput`)."""

_STALLED_BLOCKS = 4


@dataclass(frozen=True)
class RecoveryPolicy:
    """How long to wait, all in seconds.

    Args:
        stall: an output that has not called back for this long (or four blocks, if longer) is dead.
        patience: how long to stand still for a lost device to come back before another is taken.
        retry: pause before the second attempt to open a device; it doubles with each attempt.
        retry_limit: the longest pause between attempts.
    """

    stall: float = 1.0
    patience: float = 5.0
    retry: float = 0.2
    retry_limit: float = 30.0


class Liveness:
    """Watches one output's callbacks.

    Threads: one.

    Args:
        output: open.
        policy: see there.
        now: seconds, monotonic; so for `verdict`.
    """

    def __init__(self, output: Output, policy: RecoveryPolicy, now: float) -> None:
        self._output = output
        self._limit = max(policy.stall, _STALLED_BLOCKS * output.blocksize / output.sample_rate)
        self._callbacks = -1
        self._since = now

    def verdict(self, now: float) -> str:
        """Why the output is dead, in words; empty while it lives."""
        callbacks = self._output.meters.callbacks
        if callbacks != self._callbacks:
            self._callbacks, self._since = callbacks, now
        if not self._output.active:
            return "the sound system ended the stream"
        if now - self._since > self._limit:
            return f"no callback for {now - self._since:.1f} s"
        return ""


class Search:
    """The search for the device that the user wants, from the moment it was missed.

    Threads: one.

    Args:
        wanted: the device.
        policy: see there.
        now: seconds, monotonic; so for the methods.
    """

    def __init__(self, wanted: DeviceChoice, policy: RecoveryPolicy, now: float) -> None:
        self._wanted = wanted
        self._policy = policy
        self._patience_ends = now + policy.patience
        self._next = now
        self._pause = policy.retry

    def due(self, now: float) -> bool:
        """Whether it is time for another attempt."""
        return now >= self._next

    def candidates(self, now: float, playing: bool) -> list[DeviceChoice]:
        """What to try, best first; ``playing`` says that some other output already keeps the streams going."""
        found = [self._wanted]
        if not playing and now >= self._patience_ends:
            found += [None, NO_CARD] if self._wanted is not None else [NO_CARD]
        return found

    def missed(self, now: float, playing: bool) -> None:
        """The attempt did not bring the wanted device: wait longer before the next one."""
        self._next = now + self._pause
        self._pause = min(2 * self._pause, self._policy.retry_limit)
        if not playing and now < self._patience_ends:
            self._next = min(self._next, self._patience_ends)
