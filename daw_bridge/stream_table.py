"""The streams that a bridge has opened, by the numbers that clients and the engine know them by."""

from __future__ import annotations

from daw_bridge.bridge_stream import BridgeStream
from protocols.errors import ErrorCode, RequestError


class StreamTable:
    """Streams that are being opened or are open. For the loop's thread only.

    Clients know a stream by a number that stays the same for as long as it plays, whatever becomes of engines.
    """

    def __init__(self) -> None:
        self.opening: list[BridgeStream] = []
        self._open: dict[int, BridgeStream] = {}
        self._last = 0

    def next_number(self) -> int:
        """For a stream that an engine has taken."""
        self._last += 1
        return self._last

    def opened(self, stream: BridgeStream) -> None:
        """A stream has its number."""
        self._open[stream.number] = stream

    def remove(self, stream: BridgeStream) -> None:
        """A stream is over."""
        self._open = {number: other for number, other in self._open.items() if other is not stream}

    @property
    def open(self) -> list[BridgeStream]:
        """Those that have a number, oldest first."""
        return list(self._open.values())

    @property
    def played(self) -> list[BridgeStream]:
        """Those of `open` that somebody has asked to hear: what is meant by every stream."""
        return [stream for stream in self._open.values() if not stream.patient]

    @property
    def all(self) -> list[BridgeStream]:
        """Those that have a number, and those that are being opened."""
        return [*self._open.values(), *self.opening]

    def get(self, number: int) -> BridgeStream | None:
        """The stream of this number, if it is open."""
        return self._open.get(number)

    def find(self, number: int) -> BridgeStream:
        """The stream of this number.

        Raises:
            RequestError: UNKNOWN_STREAM.
        """
        stream = self._open.get(number)
        if stream is None:
            known = ", ".join(map(str, self._open)) or "none is open"
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", number, known)
        return stream

    def chosen(self, number: int) -> list[BridgeStream]:
        """The stream of this number, or with 0 all that somebody has asked to hear."""
        return [self.find(number)] if number else [stream for stream in self.all if not stream.patient]

    def at_engine(self, number: int) -> BridgeStream | None:
        """The stream that the engine knows by this number."""
        return next((stream for stream in self._open.values() if stream.engine_number == number and number), None)
