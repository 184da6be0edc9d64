"""Leads the outputs of a JACK client to the ports that the user wants, also to those that come later. A process of its own.

A JACK client whose server dies can hang or end its process, so this one is neither the bridge nor the card. First line in:
``{"client", "patterns"}``; nothing out. It ends when its input does.

PortAudio connects a stream to the ports of the device that was chosen. Those connections are taken away first; then each pattern's
ports get the outputs in order, once for each port that appears: what the user disconnects by hand stays disconnected.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading

import jack  # needs the library, which is there where PortAudio has become a client of the server

POLL_S = 0.25
"""How often new ports are looked for."""


class Patch:
    """What is connected to what.

    Args:
        server: by a client of its own.
        client: whose outputs are led.
        patterns: see `JackChoice.connect`.
    """

    def __init__(self, server: jack.Client, client: str, patterns: list[str]) -> None:
        self._server = server
        self._client = client
        self._patterns = patterns
        self._made: set[tuple[str, str]] = set()

    def clear(self) -> None:
        """Take away every connection that the outputs have."""
        for source in self._outputs():
            for target in self._server.get_all_connections(source):
                with contextlib.suppress(jack.JackError):  # gone meanwhile
                    self._server.disconnect(source, target)

    def update(self) -> None:
        """Connect what has appeared; forget what has gone, so that it is connected when it comes back."""
        outputs = [port.name for port in self._outputs()]
        wanted = {
            (source, port.name)
            for pattern in self._patterns
            for source, port in zip(
                outputs, self._server.get_ports(pattern, is_audio=True, is_input=True), strict=False
            )
        }
        for source, target in sorted(wanted - self._made):
            with contextlib.suppress(jack.JackError):  # connected already, or gone meanwhile
                self._server.connect(source, target)
        self._made = wanted

    def _outputs(self) -> list[jack.Port]:
        """The client's audio outputs, in order."""
        return list(self._server.get_ports(f"^{re.escape(self._client)}:", is_audio=True, is_output=True))


def _main() -> None:
    wanted = json.loads(sys.stdin.buffer.readline())
    try:
        server = jack.Client(f"{wanted['client']}-patch", no_start_server=True)
    except jack.JackOpenError:  # no server that takes a client
        return
    patch = Patch(server, wanted["client"], wanted["patterns"])
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
