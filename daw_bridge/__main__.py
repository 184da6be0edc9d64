"""``python -m daw_bridge``: the bridge process. ``daw-bridge bridge`` and ``daw-bridge up`` start it this way."""

from __future__ import annotations

import sys

from protocols.lifetime import Served, serve
from protocols.settings import Settings


def _make(settings: Settings) -> Served:
    from daw_bridge.process import BridgeProcess

    return BridgeProcess(settings)


if __name__ == "__main__":
    sys.exit(serve("bridge", "Connect a host to the engine by OSC.", _make))
