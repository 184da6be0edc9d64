"""``python -m engine``: the engine process. ``daw-bridge engine`` and ``daw-bridge up`` start it this way."""

from __future__ import annotations

import sys

from engine.cores import wait_quietly
from protocols.lifetime import Served, serve
from protocols.settings import Settings


def _make(settings: Settings) -> Served:
    wait_quietly()
    if settings.engine.replicas != 1:
        from engine.replicas.process import ReplicatedEngine

        return ReplicatedEngine(settings)
    from engine.process import EngineProcess  # torch is loaded here: wrong settings are told before that

    return EngineProcess(settings)


if __name__ == "__main__":
    sys.exit(serve("engine", "Serve a model over ZeroMQ and OSC.", _make))
