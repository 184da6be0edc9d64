"""The bridge process: OSC for the host on one side, the engine on the other, the sound card below."""

from __future__ import annotations

import time

import structlog
import zmq

from daw_bridge.audio.devices import InputChoice
from daw_bridge.audio.jack_names import JackChoice
from daw_bridge.audio.player import Player, PlayerSettings
from daw_bridge.audio.recovery import NO_CARD
from daw_bridge.engine_client import EngineClient
from daw_bridge.exchange.post import TRANSPORT as FILE
from daw_bridge.exchange.queue import FileQueue
from daw_bridge.service import BridgeService
from protocols.bridge_messages import BRIDGE_REQUESTS, BridgeReport, BridgeStatus, SetDefaults
from protocols.loop import IoLoop
from protocols.osc.front import OscFront, Peer
from protocols.osc.parameters import StatusParameters
from protocols.osc.port import OscPort
from protocols.oscquery.query import StatusSource, serve_query
from protocols.oscquery.server import TRANSPORT as WEBSOCKET
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
        self._queue = FileQueue(settings.files.exchange_folder / "queue", self._loop.call_soon)
        self._player = Player(
            PlayerSettings(
                sample_rate=bridge.rate or None,
                latency=bridge.latency,
                blocksize=bridge.block,
                source=InputChoice(bridge.input, bridge.input_channels),
                input_offset=bridge.input_offset_ms / 1000,
                jack=JackChoice(bridge.jack_name, bridge.jack_connect),
            ),
            on_event=lambda kind, details: self._service.player_event(kind, details),
        )
        self._service = BridgeService(settings, self._player, self._loop.call_soon, self.stop)
        self._front = OscFront(
            "bridge",
            BRIDGE_REQUESTS,
            self._service,
            self._send,
            settings=SetDefaults,
            current=lambda: self._service.defaults,
            later=self._loop.call_later,
        )
        self._service.front = self._front
        status = StatusParameters("bridge", BridgeReport, lambda: self._service.report(BridgeStatus()))
        self._front.parameters += [status, self._service.live]
        self._front.overhear = self._service.clock.overhear
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._engine = EngineClient(self._loop, self._context, bridge.engine, "bridge", self._service)
        self._service.engine = self._engine
        self._player.start(NO_CARD if bridge.output == "none" else bridge.output or None)
        self._port.serve(self._front)
        self._queue.serve(self._front)
        self._loop.call_every(_PUMP_S, self._service.pump)
        sources = (StatusSource(status), self._service.live)
        self._query = serve_query(bridge, self._loop, self._front, self._port.port, sources)
        log.info("bridge ready", osc_port=self._port.port, seconds=round(time.monotonic() - began, 2))

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are served."""
        query = {"oscquery_port": self._query.port} if self._query is not None else {}
        return {"osc_port": self._port.port, **query}

    def run(self) -> None:
        """Serve until `stop`; then fade out, close the takes and leave."""
        try:
            self._loop.run()
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Leave `run`, once streams have faded out and takes are closed. Any thread, and signal handlers."""
        self._loop.call_soon(self._begin_stop)

    def _send(self, peer: Peer, packet: bytes) -> None:
        """Put a packet on its way to whoever it is for. Never blocks, never raises."""
        if peer.transport == FILE:
            self._queue.send(peer, packet)
        elif peer.transport == WEBSOCKET:
            if self._query is not None:
                self._query.send(peer, packet)
        else:
            self._port.send(peer, packet)

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
        self._queue.close()
        if self._query is not None:
            self._query.close()
        self._port.close()
        self._loop.close()
        self._context.term()
        log.info("bridge stopped")
