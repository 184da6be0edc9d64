"""The OSCQuery server: HTTP and WebSocket at one port, in a thread of its own, from snapshots that the loop makes.

The loop never waits for it. Clients are few and bounded, and one that does not read is dropped. What a page in somebody's
browser might send is refused: it comes under a foreign name (DNS rebinding) or with a foreign origin.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from protocols.osc.front import Peer
from protocols.oscquery.inbox import Inbox, listen
from protocols.oscquery.snapshot import Answer, Snapshot, Structure

if TYPE_CHECKING:
    import asyncio

    from protocols.oscquery.client import Client

_log = logging.getLogger(__name__)
_quiet = logging.getLogger(f"{__name__}.connections")  # says nothing: anybody could fill a log with broken requests
_quiet.setLevel(logging.CRITICAL + 1)

TRANSPORT = "ws"
MAX_CLIENTS = 16
MAX_CONNECTIONS = 64
"""WebSockets, and with them HTTP requests that are being answered."""
MAX_MESSAGE = 65536
MAX_UNHANDLED = 16
"""Packets of one client that wait for the loop; it is not read further until they are handled."""
MAX_KEPT = 64
_OPEN_S, _CLOSE_S, _PING_S = 3.0, 2.0, 20.0
_STOP_S = 2.0


class QueryServer:
    """Answers controllers. `publish`, `send` and `close` are for the loop's thread.

    Args:
        host: address to listen on.
        port: TCP port; 0 lets the system choose, and so does one that is taken.
        inbox: takes the packets that clients send.
        names: by which this machine may be called in a URL, beside its addresses.
        prepare: called on the server's thread before anything is served; a snapshot must be published after it.

    Raises:
        OSError: nothing can listen there.
    """

    def __init__(
        self, host: str, port: int, inbox: Inbox, names: frozenset[str], prepare: Callable[[], None] = lambda: None
    ) -> None:
        self._socket = listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.host_info: Mapping[str, Any] = {}
        self._inbox = inbox
        self._names = names
        self._prepare = prepare
        self._snapshot = self._seen = Snapshot()
        self._kept: dict[str, Answer] = {}
        self._clients: dict[Peer, Client] = {}
        self._connections = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._filled: asyncio.Event | None = None
        self._woken = False
        self._thread = threading.Thread(target=self._run, name="oscquery", daemon=True)

    def start(self) -> None:
        """Serve, as soon as the thread has loaded what it needs; whoever comes earlier waits that long."""
        self._thread.start()

    def publish(self, snapshot: Snapshot) -> None:
        """Let clients see another moment."""
        self._snapshot = snapshot
        if not self._woken:
            self._woken = True
            self._call(self._spread)

    def send(self, peer: Peer, packet: bytes) -> None:
        """Put an OSC packet on its way to a client; one that does not read is dropped."""
        client = self._clients.get(peer)
        if client is not None:
            client.offer(packet)

    def close(self) -> None:
        """Let every client go."""

        def stop() -> None:
            for event in (self._stopped, self._filled):
                if event is not None:
                    event.set()

        self._call(stop)
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self._socket.close()

    # --- the server's thread ----------------------------------------------------------------------------------------------

    def _call(self, call: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has stopped
                self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        import asyncio

        try:
            self._prepare()
            asyncio.run(self._serve())
        except Exception:
            _log.exception("OSCQuery is not served any more")

    async def _serve(self) -> None:
        import asyncio

        from websockets.asyncio.server import ServerConnection, serve

        server = self

        class Connection(ServerConnection):
            """Counts the connections, and takes no more than there may be."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                server._connections += 1
                super().connection_made(transport)
                if server._connections > MAX_CONNECTIONS:
                    self.transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                server._connections -= 1
                super().connection_lost(exc)

        self._stopped, self._filled = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._spread()
        await self._filled.wait()
        async with serve(
            self._attend,
            sock=self._socket,
            process_request=self._respond,
            create_connection=Connection,
            server_header=None,
            compression=None,
            logger=_quiet,
            max_size=MAX_MESSAGE,
            max_queue=MAX_UNHANDLED,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
        ):
            await self._stopped.wait()

    def _spread(self) -> None:
        """Take up the latest snapshot and tell clients what it changes."""
        self._woken = False
        before, self._seen = self._seen, self._snapshot
        now = self._seen
        if now is before:
            return
        if self._filled is not None:
            self._filled.set()
        self._kept.clear()
        notices = _notices(before.structure, now) if now.structure is not before.structure else []
        changed = {path for path, value in now.values.items() if before.values.get(path) != value}
        for client in self._clients.values():
            client.publish(now, changed, notices)

    def _respond(self, connection: Any, request: Any) -> Any:
        """Answer HTTP; None where the client wants a WebSocket."""
        refusal = self._refusal(request)
        upgrade = "websocket" in ",".join(request.headers.get_all("Upgrade")).lower()
        if refusal is None and upgrade:
            if len(self._clients) < MAX_CLIENTS:
                return None
            refusal = HTTPStatus.SERVICE_UNAVAILABLE
        if refusal is not None:
            return _response(Answer(refusal), with_body=False)
        answer = self._kept.get(request.path)
        if answer is None:
            answer = self._seen.answer(request.path, self.host_info)
            if len(self._kept) < MAX_KEPT:
                self._kept[request.path] = answer
        return _response(answer, with_body=request.method == "GET")

    def _refusal(self, request: Any) -> HTTPStatus | None:
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(hosts) != 1:
            return HTTPStatus.BAD_REQUEST
        if not self._is_ours(hosts[0]) or not all(self._is_own_page(origin, hosts[0]) for origin in origins):
            return HTTPStatus.FORBIDDEN
        return None if request.method in ("GET", "HEAD") else HTTPStatus.METHOD_NOT_ALLOWED

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine: a foreign name that points here is a trick. An address cannot be one."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return host.rpartition(":")[0].lower() in self._names or host.lower() in self._names
        return True

    def _is_own_page(self, origin: str, host: str) -> bool:
        """Whether a page that asks is one of this machine's. A foreign one in a sandboxed frame calls its origin ``null``."""
        try:
            parts = urlsplit(origin)
            return parts.netloc == host or (parts.hostname or "") in ("localhost", "127.0.0.1", "::1")
        except ValueError:
            return False

    async def _attend(self, socket: Any) -> None:
        """Serve one WebSocket until it is closed."""
        import asyncio

        from websockets.exceptions import ConnectionClosed

        from protocols.oscquery.client import Client

        host, port = socket.remote_address[:2]
        client = Client(socket, Peer(TRANSPORT, host, port))
        room = asyncio.Semaphore(MAX_UNHANDLED)
        self._clients[client.peer] = client
        writer = asyncio.create_task(client.write())
        try:
            async for message in socket:
                if isinstance(message, str):
                    client.command(message, self._seen)
                    continue
                client.said(message)
                await room.acquire()
                self._inbox.put(client.peer, message, lambda: self._call(room.release))
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer
            self._clients.pop(client.peer, None)
            self._inbox.gone(client.peer)


def _notices(before: Structure, now: Snapshot) -> list[str]:
    """What is told of addresses that came and went: each highest one, and the address below which that happened.

    What came is described in the same message, as libossia wants it; others ask for it.
    """
    came, went = _highest(now.structure, before), _highest(before, now.structure)
    above = dict.fromkeys(path.rpartition("/")[0] or "/" for path in (*went, *came))
    told: list[dict[str, Any]] = [{"COMMAND": "PATH_REMOVED", "DATA": path} for path in went]
    told += [{"COMMAND": "PATH_ADDED", "DATA": path, **now.tree(path)} for path in came]
    told += [{"COMMAND": "PATH_CHANGED", "DATA": path} for path in above if path in now.structure.nodes]
    return [msgspec.json.encode(message).decode() for message in told]


def _highest(here: Structure, there: Structure) -> list[str]:
    """Nodes of one structure that another has not, without those below them."""
    return [
        path
        for path in here.nodes
        if path not in there.nodes and (path == "/" or (path.rpartition("/")[0] or "/") in there.nodes)
    ]


def _response(answer: Answer, with_body: bool) -> Any:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = Headers({"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
    if answer.status is not HTTPStatus.NO_CONTENT:
        headers["Content-Type"] = "application/json; charset=utf-8"
        headers["Content-Length"] = str(len(answer.body))
    return Response(answer.status.value, answer.status.phrase, headers, answer.body if with_body else b"")
