"""The takes that a layer was and can be again."""

from __future__ import annotations

from daw_bridge.loops.take import Take
from protocols.errors import ErrorCode, RequestError

MAX_TAKES = 16
"""Takes of a layer that are kept to be undone and redone."""

MAX_SECONDS = 480
"""Of all these takes together."""


class History:
    """Takes in the order in which they came, and which of them is the present one. For one thread.

    Args:
        layer: number of the layer, for what is refused.
    """

    def __init__(self, layer: int) -> None:
        self.takes: list[Take] = []
        self.index = -1
        self._layer = layer

    @property
    def take(self) -> Take | None:
        """The present one."""
        return self.takes[self.index] if self.takes else None

    def present(self) -> Take:
        """The present one.

        Raises:
            RequestError: EMPTY without one.
        """
        if self.take is None:
            allowed = "a layer with a loop: /bridge/loop/play or record"
            raise RequestError(ErrorCode.EMPTY, "layer", self._layer, allowed)
        return self.take

    def keep(self, take: Take) -> None:
        """Make a take the present one: what was undone before it is forgotten, and so is what is older than is kept."""
        self.takes = [*self.takes[: self.index + 1], take][-MAX_TAKES:]
        while len(self.takes) > 1 and sum(one.seconds for one in self.takes) > MAX_SECONDS:
            self.takes.pop(0)
        self.index = len(self.takes) - 1

    def step(self, by: int) -> Take:
        """Go to the take before (-1) or after (1).

        Raises:
            RequestError: EMPTY where there is none.
        """
        index = self.index + by
        if not self.takes or not 0 <= index < len(self.takes):
            allowed = f"a layer with a take {'before' if by < 0 else 'after'}"
            raise RequestError(ErrorCode.EMPTY, "layer", self._layer, allowed)
        self.index = index
        return self.takes[index]

    def forget(self, take: Take) -> None:
        """Leave a take out, as if it had never been."""
        self.takes = [one for one in self.takes if one is not take]
        self.index = min(self.index, len(self.takes) - 1)

    def clear(self) -> None:
        """Leave all of them out."""
        self.takes, self.index = [], -1
