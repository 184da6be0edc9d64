"""What a stream has to do with the rest of the bridge: who orders it, who hears it in the host's place, what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import Output
from daw_bridge.clock.desk import ClockDesk
from protocols.bridge_messages import PastRequest, PlayAgain, Playback
from protocols.errors import RequestError
from protocols.messages import Event, Finished, Reply, Welcome
from protocols.osc.front import Asker

if TYPE_CHECKING:
    from daw_bridge.bridge_stream import BridgeStream


class Tap(Protocol):
    """A part of the bridge that a stream is made for. All calls come on the loop's thread."""

    def opened(self, stream: BridgeStream) -> None:
        """The engine has taken it; it has its number."""

    def audio(self, block: NDArray[np.float32]) -> None:
        """What comes next of it: ``[samples, channels]``, at the model's rate; not to be kept without a copy."""

    def over(self, answer: Finished | RequestError) -> None:
        """It has come to its end, or never began. Nothing follows."""


@dataclass(frozen=True)
class Order:
    """A stream that is wanted.

    Attributes:
        request: what for.
        asker: the client that it is for.
        received: ``time.monotonic()`` of the request, in seconds.
        tap: hears it in place of that client, which hears of events only.
        held: it waits for `BridgeStream.release`, with its first sound ready, whatever ``at`` says.
        patient: nobody may ever want to hear it: until it is released, the engine makes what others need first.
        moment: at which it is to begin, in seconds of the stage; None for as soon as it can, or as ``at`` says.
    """

    request: Playback | PlayAgain | PastRequest
    asker: Asker
    received: float
    tap: Tap | None = None
    held: bool = False
    patient: bool = False
    moment: Fraction | None = None


@dataclass(frozen=True)
class Insider(Asker):
    """A part of the bridge that asks in a client's place, and is answered in its place.

    Attributes:
        answered: hears the answer.
    """

    answered: Callable[[Reply | RequestError], None]


class StreamHost(Protocol):
    """What a stream needs of the bridge."""

    clock: ClockDesk

    @property
    def hold_bars(self) -> int:
        """How many of its last bars a stream plays again rather than be silent."""

    def margin_seconds(self, lead_seconds: float) -> float:
        """Sound that a voice must have in store, or it runs dry."""

    def replaced(self, stream: int) -> None:
        """Another stream has taken its place."""

    def stop_at(self, stream: int, output: Output, frame: int) -> None:
        """Let a stream fade out from a frame of the card on; 0 for not after all."""

    def open_feeder(
        self, welcome: Welcome, lead_seconds: float, level_db: float, seconds: float, scheduled: bool
    ) -> Feeder:
        """A way to the sound card for a stream of ``seconds`` (0 without an end) that begins at once or when it is told."""

    def acknowledge(self, stream: BridgeStream, position: int) -> None:
        """Let the engine run on."""

    def end(self, stream: BridgeStream) -> None:
        """Let the engine stop making it."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell the client, and whoever listens."""

    def finished(self, stream: BridgeStream, answer: Finished | RequestError) -> None:
        """The stream is over, its file closed, its last sample played."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run something on the loop's thread. Any thread."""
