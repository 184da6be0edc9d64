"""Takes as the card and the clock need them now: at the card's rate and the clock's tempo, made beside the loop's thread."""

from __future__ import annotations

import numpy as np
import structlog

from daw_bridge.background import Background
from daw_bridge.loops.grid import Grid
from daw_bridge.loops.stretch import stretch
from daw_bridge.loops.take import Take
from protocols.errors import RequestError

log = structlog.get_logger()

CLOSE_ENOUGH = 0.003
"""A tempo that is off by no more is made up for on the bar lines alone."""

MOST = 2.0
"""The most that a take is stretched, or shortened, by."""

_KEPT_S = 480  # of what was made; what is needed again is made again


class Fitting:
    """For the loop's thread only.

    Args:
        grid: the card's rate and the clock's tempo.
        background: where sound is resampled and stretched.
    """

    def __init__(self, grid: Grid, background: Background) -> None:
        self._grid = grid
        self._background = background
        self._fitted: dict[int, Take] = {}
        self._under_way: set[int] = set()

    def fit(self, take: Take) -> Take | None:
        """The best there is of a take for now, while a better one is made; None where none has the card's rate yet."""
        rate = self._grid.rate
        if not rate:
            return None
        wanted = self._grid.loop_frames(take.beats)
        known = [one for one in (take, self._fitted.get(take.number)) if one is not None and one.rate == rate]
        best = min(known, key=lambda one: abs(one.length - wanted), default=None)
        off = abs(best.length / wanted - 1) if best is not None else 1.0
        reachable = 1 / MOST <= wanted / rate / take.seconds <= MOST
        if off > CLOSE_ENOUGH and take.complete and (reachable or best is None):
            self._make(take, rate, round(wanted) if reachable else 0)
        return best

    def _make(self, take: Take, rate: int, length: int) -> None:
        if take.number in self._under_way:
            return
        self._under_way.add(take.number)

        def settle(fitted: Take) -> None:
            self._under_way.discard(take.number)
            self._fitted.pop(take.number, None)
            self._fitted[take.number] = fitted
            while len(self._fitted) > 1 and sum(one.seconds for one in self._fitted.values()) > _KEPT_S:
                self._fitted.pop(next(iter(self._fitted)))

        def failed(error: RequestError) -> None:
            self._under_way.discard(take.number)
            log.warning("a loop cannot be fitted", take=take.name, error=error.text)

        self._background.do(lambda: fitted_take(take, rate, length), settle, failed)


def fitted_take(take: Take, rate: int, length: int) -> Take:
    """A take at another rate and of another length in samples, at the same pitch (any thread); 0 leaves it the length it has."""
    resampled = take.at_rate(rate)
    if not length or abs(length / resampled.length - 1) <= CLOSE_ENOUGH:
        return resampled
    samples = np.asarray(resampled.samples, np.float32)
    longer = stretch(samples, round(len(samples) * length / resampled.length), rate)
    fitted = resampled.of(longer, min(length, len(longer)), rate)
    fitted.file = None  # what is on disk has another tempo
    return fitted
