"""A host as tests play it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.clients import OscPeer
from tests.support.processes import Process, wait_until


@contextmanager
def host_of(bridge: Process) -> Iterator[OscPeer]:
    """A host beside a bridge that has found its engine."""

    def ready() -> bool:
        peer.heard.clear()
        peer.send("/status")
        return "ready" in peer.wait("/status.reply")

    with OscPeer(bridge.ports["osc_port"]) as peer:
        wait_until(ready)
        yield peer
