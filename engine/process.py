"""The engine process: load the model once, serve until told to stop, leave in order."""

from __future__ import annotations

import gc
import os
import sys
import time

import structlog
import torch
import zmq

from engine.cores import loading_threads, model_cores, model_threads, pin, pinned
from engine.exchange import TICK_S
from engine.models import LoadedModel
from engine.scheduler import Scheduler, Stop
from engine.service import Service
from engine.stream import EngineEvent
from engine.transports.osc_front import EngineOsc
from engine.transports.zmq_front import ZmqFront
from engine.worker import Worker
from protocols.loop import IoLoop
from protocols.messages import Welcome
from protocols.settings import Settings

log = structlog.get_logger()

_STOP_S = 5.0


class EngineProcess:
    """Everything that runs in the engine, put together. `run` serves on the caller's thread until `stop`.

    Args:
        settings: of both processes.
        alone: it speaks OSC beside ZeroMQ; a replica leaves that to the front.
    """

    def __init__(self, settings: Settings, *, alone: bool = True) -> None:
        began = time.monotonic()
        self._settings = settings
        threads = model_threads(settings.engine.threads)
        torch.set_num_threads(threads)
        # A thread that waits for the interpreter asks for it back this often: the default of 5 ms is a quarter of a frame.
        sys.setswitchinterval(0.0005)
        engine = settings.engine
        cores = model_cores(threads) if engine.pin else ()
        # What loading starts are the threads that the model runs on; the sockets' stay free to go where there is room.
        with pinned(cores) as kept:
            model = LoadedModel.load(engine.model, engine.device, engine.dtype, settings)
        if engine.pin and not kept:
            log.warning(
                "threads move about", reason="no single thread is pinned here, or there are fewer cores than threads"
            )

        def prepare_thread() -> None:
            torch.set_num_threads(threads)
            pin(cores)

        name, device, told = model.bundle.name, str(model.bundle.device), model.told
        self._loop = IoLoop()
        self._scheduler = Scheduler(
            self._take_event,
            max_running=settings.engine.max_running,
            prepare_thread=prepare_thread,
            collect=gc.collect,
        )
        self._preparation = Worker("preparation")
        self._service = Service(
            model,
            settings,
            self._scheduler,
            self._preparation,
            self._loop.call_soon,
            self.stop,
            load_threads=loading_threads(threads),
        )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._zmq = ZmqFront(self._loop, self._context, self._service, settings.engine.host, settings.engine.port)
        self._osc = EngineOsc(self._loop, self._service, settings) if alone else None
        self._loop.call_every(TICK_S, self._service.exchange.tick)
        self._loop.call_every(TICK_S, self._service.codecs.tick)
        log.info(
            "engine ready",
            model=name,
            device=device,
            **told,
            threads=threads,
            **({"cores": " ".join(map(str, cores))} if kept else {}),
            port=self._zmq.port,
            osc_port=self._osc.port if self._osc is not None else 0,
            seconds=round(time.monotonic() - began, 2),
        )

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are served."""
        return {"port": self._zmq.port, **(self._osc.ports if self._osc is not None else {})}

    @property
    def welcome(self) -> Welcome:
        """What a client would be told that connects now; before `run`."""
        return self._service.welcome()

    def run(self) -> None:
        """Serve until `stop`; then end the streams and close the sockets."""
        # Everything that lives as long as the process is taken out of the collector's sight; what the frame loop makes is
        # freed by counting references, and cycles are collected when the scheduler says: the younger objects between two
        # frames, in well under a millisecond, the older ones when there is nothing to do. A model is no cycle: it is freed
        # by counting, frozen or not.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._preparation.start()
        self._scheduler.start()
        try:
            self._loop.run()
        finally:
            at_rest = self._shut_down()
        if not at_rest:
            # A model is being loaded, which nothing can interrupt. The interpreter cannot be taken down around that.
            sys.stderr.flush()
            os._exit(0)

    def stop(self) -> None:
        """Leave `run`. Any thread, and signal handlers."""
        self._loop.stop()

    def _take_event(self, event: EngineEvent) -> None:
        self._service.take_event(event)

    def _shut_down(self) -> bool:
        """Close everything; False when the loading of a model goes on all the same."""
        self._scheduler.post(Stop())
        self._preparation.stop(_STOP_S)
        if not self._scheduler.join(_STOP_S):
            log.warning("the model's thread did not stop in time")
        self._loop.run_pending()
        at_rest = self._service.close()
        if self._osc is not None:
            self._osc.close()
        self._zmq.close()
        self._loop.close()
        self._context.term()
        gc.enable()
        log.info("engine stopped")
        return at_rest
