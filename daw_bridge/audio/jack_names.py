"""What the bridge is called on a JACK server (or PipeWire, which speaks JACK), and where its outputs are led."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from dataclasses import dataclass

from protocols.errors import ErrorCode, RequestError

CLIENT_NAME = "daw-bridge"
SCAN_NAME = "daw-bridge-scan"
"""What a look at the devices is called, so that it never takes the name of a card that is opened meanwhile."""

UNCONNECTED = "none"

_kept: list[bytes] = []  # PortAudio keeps the pointer, not the text


@dataclass(frozen=True)
class JackChoice:
    """How a card is seen on a JACK server.

    Args:
        name: of the client; the server adds a number where it is taken.
        connect: regular expressions of input ports with commas between them, each of which gets the outputs in their order; empty
            for the ports of the device that is chosen, `UNCONNECTED` for none.

    Raises:
        RequestError: MALFORMED for a name that JACK does not take, or what is no regular expression.
    """

    name: str = CLIENT_NAME
    connect: str = ""

    def __post_init__(self) -> None:
        if ":" in self.name or not self.name.strip():
            raise RequestError(ErrorCode.MALFORMED, "bridge.jack_name", self.name, "a name without a colon")
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                allowed = f"regular expressions with commas between them: {error}"
                raise RequestError(ErrorCode.MALFORMED, "bridge.jack_connect", pattern, allowed) from None

    @property
    def patterns(self) -> list[str]:
        """The regular expressions; none where the outputs are left as PortAudio or nobody connects them."""
        if self.connect.strip().lower() == UNCONNECTED:
            return []
        return [pattern.strip() for pattern in self.connect.split(",") if pattern.strip()]


def name_client(name: str) -> None:
    """Let PortAudio introduce itself to JACK by this name; before it is initialised. Harmless where it knows no JACK."""
    library = _portaudio()
    if library is not None and hasattr(library, "PaJack_SetClientName"):
        _kept.append(name.encode())
        library.PaJack_SetClientName(_kept[-1])


def client_name() -> str:
    """The name that the JACK server has given to this process's PortAudio; empty without JACK."""
    library = _portaudio()
    if library is None or not hasattr(library, "PaJack_GetClientName"):
        return ""
    given = ctypes.c_char_p()  # the few bytes are never freed: once in a process
    if library.PaJack_GetClientName(ctypes.byref(given)) != 0 or given.value is None:
        return ""
    return given.value.decode(errors="replace")


def _portaudio() -> ctypes.CDLL | None:
    """The very library that sounddevice loads; None where it brings its own, which is without JACK."""
    found = ctypes.util.find_library("portaudio")
    try:
        return ctypes.CDLL(found) if found else None
    except OSError:
        return None
