"""How OSC packets follow each other over TCP: a length before each (OSC 1.0), or SLIP around each (OSC 1.1).

The client's first byte tells which: a length starts with a zero, SLIP with its END byte or the packet itself.
"""

from __future__ import annotations

from pythonosc import slip

from protocols.errors import ErrorCode, RequestError
from protocols.osc.codec import MAX_PACKET

_END = slip.END


def framed(packet: bytes) -> bytes:
    """A packet with its length before it, as it stands in a stream or a file (OSC 1.0)."""
    return len(packet).to_bytes(4, "big") + packet


def packets_of(content: bytes) -> list[bytes]:
    """The packets of a file that holds nothing but whole ones, each with its length before it.

    Raises:
        RequestError: MALFORMED when the file ends within a packet, holds none, or one of no length; TOO_LARGE for a packet larger
            than `codec.MAX_PACKET`.
    """
    packets = []
    position = 0
    while position < len(content):
        size = int.from_bytes(content[position : position + 4], "big")
        if MAX_PACKET < size <= len(content) - position - 4:
            raise RequestError(ErrorCode.TOO_LARGE, "packet", f"{size} bytes", f"at most {MAX_PACKET} bytes")
        packet = content[position + 4 : position + 4 + size]
        if not size or len(packet) < size:
            break
        packets.append(packet)
        position += 4 + size
    if position < len(content) or not packets:
        allowed = "whole OSC packets, each after its length as a big-endian int32"
        raise RequestError(ErrorCode.MALFORMED, "file", f"{len(content)} bytes, readable to {position}", allowed)
    return packets


class Deframer:
    """Cuts one connection's bytes into packets and frames the answers in the client's own way. Bounded in memory."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._slip: bool | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived and return the packets that are whole.

        Raises:
            RequestError: a packet larger than `codec.MAX_PACKET`; the connection cannot be read any further.
        """
        self._buffer += data
        if self._slip is None and self._buffer:
            self._slip = self._buffer[0] != 0
        packets = self._cut_slip() if self._slip else self._cut_lengths()
        if len(self._buffer) > 2 * MAX_PACKET + 4:
            raise RequestError(ErrorCode.TOO_LARGE, "packet", f"over {len(self._buffer)} bytes", f"{MAX_PACKET} bytes")
        return packets

    def frame(self, packet: bytes) -> bytes:
        """Frame an answer as the client frames its packets (by length before it has sent any)."""
        return bytes(slip.encode(packet)) if self._slip else framed(packet)

    def _cut_lengths(self) -> list[bytes]:
        packets = []
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_PACKET:
                raise RequestError(ErrorCode.TOO_LARGE, "packet", f"{size} bytes", f"at most {MAX_PACKET} bytes")
            if len(self._buffer) < 4 + size:
                break
            packets.append(bytes(self._buffer[4 : 4 + size]))
            del self._buffer[: 4 + size]
        return packets

    def _cut_slip(self) -> list[bytes]:
        packets = []
        while (end := self._buffer.find(_END)) >= 0:
            if end:
                packets.append(self._unescape(bytes(self._buffer[:end])))
            del self._buffer[: end + 1]
        return packets

    @staticmethod
    def _unescape(escaped: bytes) -> bytes:
        try:
            return bytes(slip.decode(escaped))
        except slip.ProtocolError:
            raise RequestError(ErrorCode.MALFORMED, "packet", escaped[:16], "SLIP framing (RFC 1055)") from None
