"""Leads the outputs of a JACK client to the ports that the user wants, also to those that come later. A process of its own.

A JACK client whose server dies can hang or end its process, so this one is neither the bridge nor the card. First line in:
``{"client", "patterns"}``; nothing out. It ends when its input does.

PortAudio connects a stream to the ports of the device that was chosen. Those connections are taken away first; then each pattern's
ports get the outputs in order, once for each port that appears: what the user disconnects by hand stays disconnected.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import re
import sys
import threading
from typing import Any

POLL_S = 0.25
"""How often new ports are looked for."""

_NO_START_SERVER = 1
_INPUT, _OUTPUT = 1, 2
_AUDIO = b"32 bit float mono audio"


class JackLibrary:
    """As much of libjack as patching needs.

    Raises:
        OSError: there is no libjack, or no server that takes a client.
    """

    def __init__(self, name: str) -> None:
        library = ctypes.CDLL(ctypes.util.find_library("jack") or "libjack.so.0")
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        library.jack_client_open.restype = pointer
        library.jack_client_open.argtypes = [text, ctypes.c_int, pointer]
        library.jack_get_ports.restype = ctypes.POINTER(text)
        library.jack_get_ports.argtypes = [pointer, text, text, ctypes.c_ulong]
        library.jack_port_by_name.restype = pointer
        library.jack_port_by_name.argtypes = [pointer, text]
        library.jack_port_get_all_connections.restype = ctypes.POINTER(text)
        library.jack_port_get_all_connections.argtypes = [pointer, pointer]
        library.jack_connect.argtypes = library.jack_disconnect.argtypes = [pointer, text, text]
        library.jack_free.argtypes = [pointer]
        self._library = library
        self._client = library.jack_client_open(name.encode(), _NO_START_SERVER, None)
        if not self._client:
            raise OSError("no JACK server takes a client")

    def outputs(self, client: str) -> list[str]:
        """A client's audio outputs, in order."""
        return self._ports(f"^{re.escape(client)}:", _OUTPUT)

    def inputs(self, pattern: str) -> list[str]:
        """The audio inputs whose full names a regular expression fits, in order."""
        return self._ports(pattern, _INPUT)

    def connections(self, port: str) -> list[str]:
        """The ports that one is connected to."""
        found = self._library.jack_port_by_name(self._client, port.encode())
        return self._names(self._library.jack_port_get_all_connections(self._client, found)) if found else []

    def connect(self, source: str, target: str) -> None:
        """Connect two ports; one that has gone meanwhile is left."""
        self._library.jack_connect(self._client, source.encode(), target.encode())

    def disconnect(self, source: str, target: str) -> None:
        """Take a connection away."""
        self._library.jack_disconnect(self._client, source.encode(), target.encode())

    def _ports(self, pattern: str, flags: int) -> list[str]:
        return self._names(self._library.jack_get_ports(self._client, pattern.encode(), _AUDIO, flags))

    def _names(self, found: Any) -> list[str]:
        """The texts of a list that ends with a null, which is freed."""
        names: list[str] = []
        while found and found[len(names)]:
            names.append(found[len(names)].decode(errors="replace"))
        if found:
            self._library.jack_free(found)
        return names


class Patch:
    """What is connected to what.

    Args:
        jack: the server.
        client: whose outputs are led.
        patterns: see `JackChoice.connect`.
    """

    def __init__(self, jack: JackLibrary, client: str, patterns: list[str]) -> None:
        self._jack = jack
        self._client = client
        self._patterns = patterns
        self._made: set[tuple[str, str]] = set()

    def clear(self) -> None:
        """Take away every connection that the outputs have."""
        for source in self._jack.outputs(self._client):
            for target in self._jack.connections(source):
                self._jack.disconnect(source, target)

    def update(self) -> None:
        """Connect what has appeared; forget what has gone, so that it is connected when it comes back."""
        outputs = self._jack.outputs(self._client)
        wanted = {pair for pattern in self._patterns for pair in zip(outputs, self._jack.inputs(pattern), strict=False)}
        for source, target in sorted(wanted - self._made):
            self._jack.connect(source, target)
        self._made = wanted


def _main() -> None:
    wanted = json.loads(sys.stdin.buffer.readline())
    try:
        jack = JackLibrary(f"{wanted['client']}-patch")
    except OSError:
        return
    patch = Patch(jack, wanted["client"], wanted["patterns"])
    patch.clear()
    if not wanted["patterns"]:
        os._exit(0)
    over = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    while not over.wait(POLL_S):
        patch.update()
    os._exit(0)  # a server that has died would hold us here


if __name__ == "__main__":
    _main()
