"""zeroconf: lets controllers find a process, in a thread of its own that can fail without harm."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zeroconf

_log = logging.getLogger(__name__)

_LATER_S = 0.5
"""What the thread loads takes the interpreter away from a process that is not ready yet."""
_RETRY_S = 30.0
_LOOK_S = 0.1
_LEAVE_S = 2.0
_MAX_LABEL = 63


class Beacon:
    """Announces services until it is closed. On loopback only where the process listens on loopback only.

    Args:
        name: by which people know the process; another one of this name on the network makes it a longer one.
        server: by which the network knows it: unique among all processes.
        host: address that the process listens on.
        services: a port for each type, such as ``_osc._udp``.
    """

    def __init__(self, name: str, server: str, host: str, services: Mapping[str, int]) -> None:
        self._name = name.encode()[:_MAX_LABEL].decode(errors="ignore")
        self._server = f"{server}.local."
        self._host = host
        self._services = dict(services)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zeroconf", daemon=True)

    def start(self) -> None:
        """Announce, half a second from now or as soon as the thread has loaded what it needs."""
        self._thread.start()

    def close(self) -> None:
        """Say goodbye, and return at once."""
        self._closed.set()

    def join(self) -> None:
        """Wait until that is done, for two seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        told = False
        self._closed.wait(_LATER_S)
        while not self._closed.is_set():
            try:
                self._announce()
            except Exception as error:  # no network, no multicast, a port that another takes for itself
                if not told:
                    _log.warning("controllers cannot find this process by themselves: %s", error)
                told = True
            self._closed.wait(_RETRY_S)

    def _announce(self) -> None:
        """Register everything and stay until it is time to leave."""
        import asyncio

        import zeroconf

        addresses = _addresses(self._host)
        interfaces: Any = zeroconf.InterfaceChoice.All if _is_any(self._host) else addresses
        responder = zeroconf.Zeroconf(interfaces=interfaces, ip_version=zeroconf.IPVersion.V4Only)

        async def register(kind: str, port: int) -> None:
            await (await responder.async_register_service(self._info(kind, port, addresses), allow_name_change=True))

        async def register_all() -> None:
            await asyncio.gather(*(register(kind, port) for kind, port in self._services.items()))

        try:
            assert responder.loop is not None
            # A name is asked for three times before it is taken: all at once, and not for longer than the process lives.
            registered = asyncio.run_coroutine_threadsafe(register_all(), responder.loop)
            while not self._closed.wait(_LOOK_S):
                if registered.done():
                    registered.result()
                    self._closed.wait()
            registered.cancel()
            responder.unregister_all_services()
        finally:
            responder.close()

    def _info(self, kind: str, port: int, addresses: list[str]) -> zeroconf.ServiceInfo:
        import zeroconf

        return zeroconf.ServiceInfo(
            f"{kind}.local.",
            f"{self._name}.{kind}.local.",
            port=port,
            parsed_addresses=addresses,
            properties={"txtvers": "1"},
            server=self._server,
        )


def _is_any(host: str) -> bool:
    return host in ("", "0.0.0.0")


def _addresses(host: str) -> list[str]:
    """The addresses at which the process is reached, those of the network before this machine's own."""
    import socket

    import psutil

    if not _is_any(host):
        return [socket.gethostbyname(host)]
    found = [
        item.address
        for all_of_one in psutil.net_if_addrs().values()
        for item in all_of_one
        if item.family == socket.AF_INET
    ]
    return [one for one in found if not ipaddress.ip_address(one).is_loopback] or ["127.0.0.1"]
