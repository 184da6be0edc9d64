"""A process that can be found and explored: snapshots of its address space, a server that shows them, a beacon that tells where."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from protocols.fields import fields_of
from protocols.loop import IoLoop
from protocols.osc.codec import Argument
from protocols.osc.front import OscFront, Peer
from protocols.osc.parameters import StatusParameters
from protocols.oscquery import nodes
from protocols.oscquery.beacon import Beacon
from protocols.oscquery.inbox import Inbox
from protocols.oscquery.nodes import ATTRIBUTES, READ, WRITE, Node
from protocols.oscquery.server import QueryServer
from protocols.oscquery.snapshot import Snapshot, Structure
from protocols.settings import BridgeSettings, EngineSettings

_log = logging.getLogger(__name__)

_LOOK_S = 0.05
_COMMANDS = ("LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED")


class Source(Protocol):
    """A part of the address space whose values can be read. For the loop's thread only."""

    def nodes(self) -> Mapping[str, Node]:
        """Its addresses; another object once there are others."""

    def values(self) -> Mapping[str, Argument]:
        """What they hold."""


class OscQuery:
    """OSCQuery for one process. For the loop's thread only.

    Args:
        settings: of the process.
        loop: the process's.
        front: its OSC side.
        osc_port: where that listens.
        sources: its addresses that can be read.

    Raises:
        OSError: nothing can listen at that address.
    """

    def __init__(
        self,
        settings: EngineSettings | BridgeSettings,
        loop: IoLoop,
        front: OscFront,
        osc_port: int,
        sources: Sequence[Source],
    ) -> None:
        import socket

        machine = socket.gethostname().partition(".")[0] or "localhost"
        self._sources = [SettingsSource(front), *sources]
        self._front = front
        self._requests: Mapping[str, Node] | None = None
        self._known: list[Mapping[str, Node]] = []
        self._snapshot = Snapshot()
        self._inbox = Inbox(loop, lambda peer, packet: front.receive(packet, peer), front.forget)
        names = frozenset({"localhost", machine.lower(), f"{machine.lower()}.local", socket.gethostname().lower()})
        try:
            self._server = QueryServer(settings.host, settings.oscquery_port, self._inbox, names, self._prepare)
        except OSError:
            self._inbox.close()
            raise
        self.port = self._server.port
        if settings.oscquery_port not in (0, self.port):
            _log.warning("port %s is taken: OSCQuery is served at %s", settings.oscquery_port, self.port)
        # Ports are unique on a machine, and machines on a network.
        name = f"daw-bridge {front.root} {self.port} on {machine}"
        self._server.host_info = host_info(name, osc_port, self.port)
        services = {"_oscjson._tcp": self.port, "_osc._udp": osc_port}
        server = f"daw-bridge-{machine}-{os.getpid()}-{self.port}"
        self._beacon = Beacon(name, server, settings.host, services) if settings.zeroconf else None
        loop.call_every(_LOOK_S, self._look)

    def start(self) -> None:
        """Serve and announce; both are done by threads, a moment later."""
        self._server.start()
        if self._beacon is not None:
            self._beacon.start()

    def send(self, peer: Peer, packet: bytes) -> None:
        """Put a packet on its way to a client; never blocks and never raises."""
        self._server.send(peer, packet)

    def close(self) -> None:
        """Say goodbye and let every client go."""
        if self._beacon is not None:
            self._beacon.close()
        self._server.close()
        self._inbox.close()
        if self._beacon is not None:
            self._beacon.join()

    def _prepare(self) -> None:
        """Describe all requests, on the server's thread: the process need not wait for that."""
        self._requests = {path: nodes.request(address) for path, address in self._front.addresses.items()}

    def _look(self) -> None:
        """Show what is now, if it is other than what is shown."""
        if self._requests is None:
            return
        known = [source.nodes() for source in self._sources]
        values: dict[str, Argument] = {}
        for source in self._sources:
            values |= source.values()
        same = len(known) == len(self._known) and all(a is b for a, b in zip(known, self._known, strict=True))
        if same and values == self._snapshot.values:
            return
        structure = self._snapshot.structure if same else _structure(self._requests, known)
        self._known = known
        self._snapshot = Snapshot(structure, values)
        self._server.publish(self._snapshot)


class SettingsSource:
    """The settings of a front, ``/bridge/param/<name>``.

    Args:
        front: which may have none.
    """

    def __init__(self, front: OscFront) -> None:
        self._front = front
        self._start = f"/{front.root}/param/"
        specs = fields_of(front.settings) if front.settings is not None else {}
        self._nodes = {
            f"{self._start}{name}": nodes.parameter(f"{self._start}{name}", spec, READ | WRITE, "setting")
            for name, spec in specs.items()
        }

    def nodes(self) -> Mapping[str, Node]:
        """One for each."""
        return self._nodes

    def values(self) -> Mapping[str, Argument]:
        """As they are set."""
        return {self._start + name: value for name, value in self._front.current_settings().items()}


class StatusSource:
    """The status of a process, ``/bridge/status/<name>``.

    Args:
        status: its values.
    """

    def __init__(self, status: StatusParameters) -> None:
        self._nodes = {path: nodes.parameter(path, spec, READ, "status") for path, spec in status.specs.items()}
        self._status = status

    def nodes(self) -> Mapping[str, Node]:
        """One for each value."""
        return self._nodes

    def values(self) -> Mapping[str, Argument]:
        """As they were a moment ago at most."""
        return self._status.values()


def _structure(requests: Mapping[str, Node], known: Sequence[Mapping[str, Node]]) -> Structure:
    all_nodes = {"/": nodes.container("/", "daw-bridge"), **requests}
    for some in known:
        all_nodes |= some
    return Structure(all_nodes)


def serve_query(
    settings: EngineSettings | BridgeSettings, loop: IoLoop, front: OscFront, osc_port: int, sources: Sequence[Source]
) -> OscQuery | None:
    """Serve OSCQuery from now on, as `OscQuery` says; None where it is turned off or cannot be served, which does no harm."""
    if not settings.oscquery:
        return None
    try:
        query = OscQuery(settings, loop, front, osc_port, sources)
    except OSError as error:
        _log.warning("OSCQuery is not served: %s", error)
        return None
    query.start()
    return query


def host_info(name: str, osc_port: int, port: int) -> Mapping[str, object]:
    """What is answered to ``?HOST_INFO``."""
    required = ("FULL_PATH", "CONTENTS", "TYPE")
    extensions = {name: True for name in (*ATTRIBUTES, *_COMMANDS) if name not in required}
    return {
        "NAME": name,
        "EXTENSIONS": extensions,
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "WS_PORT": port,
    }
