"""What runs inside a replica: a whole engine in a process that Ray has placed, spoken to over ZeroMQ by the front alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.cores import model_threads, wait_quietly
from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import Settings


class Replica:
    """The body of a Ray actor. `serve` has a thread of its own, beside which the others are called.

    Args:
        settings: as plain values; the engine's device and sockets are decided here.
        front: address of the front's machine.
        sharing: replicas on this machine, which share its cores.
        gpu: whether Ray has given it a GPU of its own.
    """

    def __init__(self, settings: Mapping[str, Any], *, front: str, sharing: int, gpu: bool) -> None:
        self._settings = msgspec.convert(settings, Settings)
        self._front = front
        self._sharing = sharing
        self._gpu = gpu
        self._engine: Any = None

    def load(self) -> dict[str, Any]:
        """Load the model and open the socket: a `Place` as plain values, or ``{"error": …}`` with the parts of a `RequestError`.

        Whatever else goes wrong is raised, and comes to the front as Ray tells it.
        """
        wait_quietly()  # before torch is loaded
        import ray

        from engine.process import EngineProcess

        node = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        configure_logs(self._settings.log, "replica")
        # On the front's own machine nobody else can reach it; from another machine the front must.
        host = "127.0.0.1" if node == self._front else node
        try:
            self._engine = EngineProcess(own_settings(self._settings, host, self._sharing, gpu=self._gpu), alone=False)
        except RequestError as error:
            return {"error": [str(error.code), error.field, error.value, error.allowed]}
        return {
            "endpoint": f"tcp://{host}:{self._engine.ports['port']}",
            "node": node,
            "pid": os.getpid(),
            "welcome": msgspec.to_builtins(self._engine.welcome),
        }

    def serve(self) -> None:
        """Serve until `stop`."""
        self._engine.run()

    def stop(self) -> None:
        """Have `serve` end its streams and return."""
        if self._engine is not None:
            self._engine.stop()


def own_settings(settings: Settings, host: str, sharing: int, *, gpu: bool) -> Settings:
    """The settings of one replica: its part of the cores, its own GPU, and a port that the system chooses.

    Args:
        settings: of the front.
        host: address to listen on.
        sharing: replicas on this machine.
        gpu: whether one GPU is all that it sees.
    """
    engine = settings.engine
    own = msgspec.structs.replace(
        engine,
        device="cuda" if gpu else "cpu" if engine.device == "auto" else engine.device,
        threads=engine.threads or max(1, model_threads(0) // max(1, sharing)),
        host=host,
        port=0,
        replicas=1,
        ray="",
    )
    return msgspec.structs.replace(settings, engine=own)
