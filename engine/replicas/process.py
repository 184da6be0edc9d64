"""The front's process: places the replicas, waits until they serve, and is to clients what one engine would be."""

from __future__ import annotations

import queue
import threading
import time

import structlog
import zmq

from engine.replicas.cluster import Cluster
from engine.replicas.member import Place
from engine.replicas.router import Router
from engine.transports.osc_front import EngineOsc
from engine.transports.zmq_front import ZmqFront
from protocols.errors import ErrorCode, RequestError
from protocols.loop import IoLoop
from protocols.settings import Settings

log = structlog.get_logger()


class ReplicatedEngine:
    """Everything that runs in the front, put together; the models run elsewhere. `run` serves on the caller's thread until `stop`.

    Made on the main thread, which is the one that has to run it. It is ready once every replica serves or has failed once; those
    that have failed are tried again for as long as it runs.

    Raises:
        RequestError: as `Cluster.start`; INTERNAL with the reason of the first where no replica could begin.
    """

    def __init__(self, settings: Settings) -> None:
        began = time.monotonic()
        self._loop = IoLoop()
        self._first: queue.SimpleQueue[tuple[int, Place | str]] = queue.SimpleQueue()
        self._cluster = Cluster(settings, up=self._up, down=self._down)
        self._router: Router | None = None
        self._stopping = threading.Event()
        try:
            self._cluster.start()
            found = self._await(self._cluster.count)
        except BaseException:
            self._cluster.stop()
            self._cluster.close()
            raise
        engine = settings.engine
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        router = self._router = Router(
            self._loop, self._context, self._cluster.count, quit=self.stop, restart=self._cluster.restart
        )
        for number, place in found.items():
            self._happened(number, place)
        self._loop.call_soon(self._take_waiting)
        try:
            self._zmq = ZmqFront(self._loop, self._context, router, engine.host, engine.port)
            self._osc = EngineOsc(self._loop, router, settings)
        except BaseException:
            self._cluster.stop()
            self._cluster.close()
            raise
        log.info(
            "engine ready",
            replicas=f"{len(router.team.ready)}/{self._cluster.count}",
            port=self._zmq.port,
            osc_port=self._osc.port,
            seconds=round(time.monotonic() - began, 2),
        )

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are served."""
        return {"port": self._zmq.port, **self._osc.ports}

    def run(self) -> None:
        """Serve until `stop`; then end the replicas, and close the sockets."""
        try:
            self._loop.run()
        finally:
            self._cluster.stop()
            self._loop.run_pending()
            assert self._router is not None
            self._router.close()
            self._osc.close()
            self._zmq.close()
            self._loop.close()
            self._context.term()
            self._cluster.close()
            log.info("engine stopped")

    def stop(self) -> None:
        """Leave `run` once the replicas have ended their streams and clients were told. Any thread, and signal handlers."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._loop.call_soon(lambda: threading.Thread(target=self._leave, name="leaving", daemon=True).start())

    def _leave(self) -> None:
        self._cluster.stop()
        self._loop.stop()

    # --- what happens to replicas -------------------------------------------------------------------------------------

    def _up(self, number: int, place: Place) -> None:
        self._tell(number, place)

    def _down(self, number: int, why: str) -> None:
        log.warning("a replica is over", replica=number, why=why)
        self._tell(number, why)

    def _tell(self, number: int, what: Place | str) -> None:
        self._first.put((number, what))
        if self._router is not None:
            self._loop.call_soon(self._take_waiting)

    def _take_waiting(self) -> None:
        while True:
            try:
                number, what = self._first.get_nowait()
            except queue.Empty:
                return
            self._happened(number, what)

    def _happened(self, number: int, what: Place | str) -> None:
        assert self._router is not None
        if isinstance(what, Place):
            self._router.team.up(number, what)
        else:
            self._router.team.down(number, what)

    def _await(self, count: int) -> dict[int, Place | str]:
        """What became of every replica at first, in the order in which it came; a later word replaces an earlier one."""
        found: dict[int, Place | str] = {}
        while len(found) < count:
            number, what = self._first.get()
            found[number] = what
        if not any(isinstance(what, Place) for what in found.values()):
            raise RequestError(ErrorCode.INTERNAL, "engine.replicas", count, str(found[min(found)]))
        return found
