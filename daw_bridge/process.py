"""The bridge process: OSC for the host on one side, the engine on the other, the sound card below."""

from __future__ import annotations

import time

import structlog
import zmq

from daw_bridge.audio.devices import InputChoice
from daw_bridge.audio.player import Player, PlayerSettings
from daw_bridge.audio.recovery import NO_CARD
from daw_bridge.engine_client import EngineClient
from daw_bridge.service import BridgeService
from protocols.bridge_messages import BRIDGE_REQUESTS, SetDefaults
from protocols.loop import IoLoop
from protocols.osc.front import OscFront
from protocols.osc.port import OscPort
from protocols.settings import Settings

log = structlog.get_logger()

_PUMP_S = 0.01
_CLOSE_S = 5.0


class BridgeProcess:
    """Everything that runs in the bridge, put together. `run` serves on the caller's thread until `stop`.

    Raises:
        RequestError: the OSC port is taken, or the sound card that was named cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        began = time.monotonic()
        bridge = settings.bridge
        self._loop = IoLoop()
        self._stopping = False
        self._port = OscPort(self._loop, bridge.host, bridge.osc_port)
        self._player = Player(
            PlayerSettings(
                latency=bridge.latency,
                blocksize=bridge.block,
                source=InputChoice(bridge.input, bridge.input_channels),
                input_offset=bridge.input_offset_ms / 1000,
            ),
            on_event=lambda kind, details: self._service.player_event(kind, details),
        )
        self._service = BridgeService(settings, self._player, self._loop.call_soon, self.stop)
        self._front = OscFront(
            "bridge",
            BRIDGE_REQUESTS,
            self._service,
            self._port.send,
            settings=SetDefaults,
            current=lambda: self._service.defaults,
        )
        self._service.front = self._front
        self._front.overhear = self._service.clock.overhear
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._engine = EngineClient(self._loop, self._context, bridge.engine, "bridge", self._service)
        self._service.engine = self._engine
        self._player.start(NO_CARD if bridge.output == "none" else bridge.output or None)
        self._port.serve(self._front)
        self._loop.call_every(_PUMP_S, self._service.pump)
        log.info("bridge ready", osc_port=self._port.port, seconds=round(time.monotonic() - began, 2))

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are served."""
        return {"osc_port": self._port.port}

    def run(self) -> None:
        """Serve until `stop`; then fade out, close the takes and leave."""
        try:
            self._loop.run()
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Leave `run`, once streams have faded out and takes are closed. Any thread, and signal handlers."""
        self._loop.call_soon(self._begin_stop)

    def _begin_stop(self) -> None:
        if self._stopping:
            self._loop.stop()  # asked twice: at once
            return
        self._stopping = True
        self._service.close()
        deadline = time.monotonic() + _CLOSE_S

        def leave_when_idle() -> None:
            if self._service.idle or time.monotonic() > deadline:
                self._loop.stop()

        self._loop.call_every(_PUMP_S, leave_when_idle)

    def _shut_down(self) -> None:
        self._player.close()
        self._engine.close()
        self._port.close()
        self._loop.close()
        self._context.term()
        log.info("bridge stopped")
