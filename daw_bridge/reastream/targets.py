"""Where ReaStream may be sent to: this machine, and what the settings name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from protocols.errors import ErrorCode, RequestError

ANY = "*"
_SETTING = "bridge.reastream_hosts"
_LOCAL = "localhost"


def resolve(host: str, allowed: Sequence[str]) -> str:
    """The IPv4 address of a host that may be sent to. Asks the system for names, which may take seconds.

    Args:
        host: a name or an address.
        allowed: names and addresses beside this machine's own; `ANY` for all, broadcast addresses included.

    Raises:
        RequestError: NOT_ALLOWED, or NOT_FOUND for a name that has no address.
    """
    wanted = host.strip()
    listed = ANY in allowed or wanted.lower() in (name.strip().lower() for name in allowed)
    if not listed and (needs_lookup(wanted) or not _is_here(wanted)):
        raise _refused(host)  # the network is not asked for what may not be sent to
    try:
        found = socket.getaddrinfo(wanted, None, socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise RequestError(ErrorCode.NOT_FOUND, "host", host, "a name or an IPv4 address that is known here") from None
    return str(found[0][4][0])


def needs_lookup(host: str) -> bool:
    """Whether the system must be asked for the address, which may take seconds."""
    wanted = host.strip().lower()
    return wanted != _LOCAL and _address(wanted) is None


def _is_here(host: str) -> bool:
    address = _address(host)
    return host.lower() == _LOCAL or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def _refused(host: str) -> RequestError:
    return RequestError(ErrorCode.NOT_ALLOWED, "host", host, f"this machine, or a host that {_SETTING} names")
