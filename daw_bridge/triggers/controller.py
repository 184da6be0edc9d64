"""One controller: where it stands, when it takes a parameter over, and what it sets that to."""

from __future__ import annotations

import math

from daw_bridge.triggers.actions import VALUE, Action
from daw_bridge.triggers.sources import Source, control_source
from protocols.bridge_messages import BridgeUpdate, MapController, SetClock, SetLevel
from protocols.errors import ErrorCode, RequestError
from protocols.fields import FieldSpec, fields_of
from protocols.osc.front import Asker

MAX_WEIGHTS = 8
EVERY_S = 0.04
"""A parameter is set at most 25 times a second."""

STREAM_PARAMETERS = ("guidance", "temperature", "top_k", "top_p", "double_guidance", "bpm")
CROSSFADE, LEVEL, MASTER, CLOCK = "crossfade", "level", "master", "clock"
_WEIGHTS = tuple(f"weight{index}" for index in range(1, MAX_WEIGHTS + 1))
USUAL: dict[str, tuple[float, float]] = {
    "guidance": (1.0, 8.0),
    "temperature": (0.5, 1.5),
    "top_k": (1.0, 500.0),
    "top_p": (0.0, 1.0),
    "double_guidance": (0.0, 8.0),
    "bpm": (60.0, 180.0),
    LEVEL: (-60.0, 6.0),
    MASTER: (-60.0, 6.0),
    CLOCK: (60.0, 180.0),
    CROSSFADE: (0.0, 1.0),
    **dict.fromkeys(_WEIGHTS, (0.0, 1.0)),
}
"""The parameters that a controller can set by name, with the range that it has without a mapping."""

_NEAR = 1.5 / 127  # of the way: a controller this close has arrived
_SAME = 1e-6


class Controller:
    """What one controller is. For the loop's thread only.

    Args:
        request: what it was mapped by.
        owner: the client that mapped it.

    Raises:
        RequestError: as `control_source` and `Action`; UNKNOWN_PARAMETER; OUT_OF_RANGE about ``low`` or ``high``.

    Attributes:
        sent: the value that was set last; None before.
        failed: that was refused, and told.
    """

    def __init__(self, request: MapController, owner: Asker) -> None:
        self.request = request
        self.owner = owner
        self.source: Source = control_source(request.control, request.channel, request.input)
        self.action: Action | None = None
        self.sent: float | None = None
        self.failed = False
        self._position: float | None = None
        self._caught = False
        self._pending: float | None = None
        self._due = 0.0
        if request.parameter.startswith("/"):
            self.action = Action(request.parameter, field="parameter")
            if not self.action.takes_value:
                raise RequestError(ErrorCode.MISSING, "parameter", request.parameter, f"a request with {VALUE} in it")
            for end in (request.low, request.high):
                self.action.request({}, end)
        elif request.parameter not in USUAL:
            allowed = f"{', '.join(USUAL)}, or a request with {VALUE} in it"
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, "parameter", request.parameter, allowed)
        else:
            _check_range(request)

    @property
    def name(self) -> str:
        """By which clients know it."""
        return self.request.name

    @property
    def parameter(self) -> str:
        """What it sets."""
        return self.request.parameter

    @property
    def known(self) -> bool:
        """Whether what it sets has a value that can be known, to be picked up."""
        return self.request.takeover == "pickup" and self.action is None and self.source.kind != "program"

    def moved(self, position: float, value_now: float | None) -> None:
        """It was moved.

        Args:
            position: where to, from 0 to 1.
            value_now: what the parameter is set to; None where nobody knows.
        """
        before, self._position = self._position, position
        if self.known and value_now is not None:
            if self._caught and self.sent is not None and not self._is_same(value_now, self.sent):
                self._caught = False  # somebody else has set it
            if not self._caught and not self._passes(before, position, self._position_of(value_now)):
                return
        self._caught = True
        self._pending = self._value(position)

    def due(self, now: float) -> float | None:
        """The value that is to be set now; None for nothing yet."""
        if self._pending is None or now < self._due:
            return None
        value, self._pending = self._pending, None
        self._due = now + EVERY_S
        if self.sent is not None and value == self.sent:
            return None
        self.sent = value
        return value

    def _value(self, position: float) -> float:
        low, high = self.request.low, self.request.high
        value = low + (high - low) * position**self.request.curve
        return float(round(value)) if self.parameter == "top_k" else round(value, 6)

    def _position_of(self, value: float) -> float:
        low, high = self.request.low, self.request.high
        share = (value - low) / (high - low) if high != low else 0.0
        return float(min(max(share, 0.0), 1.0) ** (1 / self.request.curve))

    def _is_same(self, first: float, second: float) -> bool:
        return math.isclose(first, second, rel_tol=_SAME, abs_tol=_SAME)

    @staticmethod
    def _passes(before: float | None, position: float, wanted: float) -> bool:
        if abs(position - wanted) <= _NEAR:
            return True
        return before is not None and (before - wanted) * (position - wanted) <= 0


def _check_range(request: MapController) -> None:
    """What no request would take is refused when it is mapped, and not on stage."""
    spec = _spec(request.parameter)
    for name, value in (("low", request.low), ("high", request.high)):
        low, high = (0.0, 1.0) if spec is None else (spec.minimum, spec.maximum)
        if (low is not None and value < low) or (high is not None and value > high):
            allowed = "a number from 0 to 1" if spec is None else spec.allowed
            raise RequestError(ErrorCode.OUT_OF_RANGE, name, value, allowed)


def _spec(parameter: str) -> FieldSpec | None:
    """The parameter of a request that it ends up in; None for weights."""
    if parameter in STREAM_PARAMETERS:
        return fields_of(BridgeUpdate)[parameter]
    if parameter in (LEVEL, MASTER):
        return fields_of(SetLevel)["level"]
    return fields_of(SetClock)["bpm"] if parameter == CLOCK else None
