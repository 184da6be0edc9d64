"""ReaStream's packets: audio as Cockos' plug-in of that name sends and takes it over UDP.

The layout is Cockos' own text, http://www.1014.org/shiz/reastream.txt, as it is kept in the repository
WolfganP/reastream-wireshark on GitHub (``reastream-protocol.txt``, beside a dissector for it). All integers are little endian:

====== ===== =====================================================================
offset bytes content
====== ===== =====================================================================
0      4     ``MRSR``
4      4     size of the whole packet
8      32    identifier, padded with zeros; the last byte is always 0
40     1     channels, 1 to 64
41     4     sample rate, Hz
45     2     bytes of samples that follow, at most 1200
47     …     float32, one channel after the other
====== ===== =====================================================================

There is no number and no time in a packet: what is lost or overtaken on the way leaves no trace but the missing sound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from protocols.errors import ErrorCode, RequestError

DEFAULT_PORT = 58710
MAX_SAMPLE_BYTES = 1200
MAX_CHANNELS = 64
MAX_IDENTIFIER_BYTES = 31

_HEADER = struct.Struct("<4sI32sBIH")
_SAMPLE = 4


class PacketWriter:
    """Makes packets of one stream.

    Args:
        identifier: the name that a receiver picks the stream by, see `check_identifier`.
        sample_rate: Hz.
        channels: 1 to `MAX_CHANNELS`.
    """

    def __init__(self, identifier: str, sample_rate: int, channels: int) -> None:
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"{channels} channels; ReaStream takes 1 to {MAX_CHANNELS}")
        self.channels = channels
        self.frames = MAX_SAMPLE_BYTES // (_SAMPLE * channels)
        """Frames in a full packet."""
        self._identifier = check_identifier(identifier)
        self._rate = sample_rate

    def packets(self, block: NDArray[np.float32]) -> Iterator[bytes]:
        """The packets of ``block`` [frames, channels], in order; the last one may be shorter."""
        for start in range(0, len(block), self.frames):
            samples = block[start : start + self.frames].T.astype("<f4", order="C").tobytes()
            size = _HEADER.size + len(samples)
            header = _HEADER.pack(b"MRSR", size, self._identifier, self.channels, self._rate, len(samples))
            yield header + samples


def check_identifier(name: str) -> bytes:
    """An identifier's bytes.

    Raises:
        RequestError: TOO_LONG beyond `MAX_IDENTIFIER_BYTES` in UTF-8; MALFORMED where it is empty or not printable.
    """
    encoded = name.encode()
    if not name.strip() or not name.isprintable():
        raise RequestError(ErrorCode.MALFORMED, "name", name, "a name that can be typed into the plug-in")
    if len(encoded) > MAX_IDENTIFIER_BYTES:
        raise RequestError(ErrorCode.TOO_LONG, "name", name, f"at most {MAX_IDENTIFIER_BYTES} bytes")
    return encoded
