"""A client of the file queue, as a host without sockets is one: it knows the folder, files and nothing else."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from tests.support.clients import OscPeer

_POLL_S = 0.005


class FileClient(OscPeer):
    """Speaks to a bridge through ``<exchange>/queue``; it waits and asks as `OscPeer` does."""

    def __init__(self, exchange: Path, name: str = "") -> None:
        self.folder = exchange / "queue"
        self.name = name or f"test{secrets.token_hex(6)}"
        self.heard: list[tuple[str, list[Any]]] = []
        self.sent = self.read = 0
        self._packets: list[bytes] = []

    def close(self) -> None:
        """Nothing is open."""

    def send(self, address: str, *arguments: Any) -> None:
        self.send_raw(build_msg(address, list(arguments)).dgram)

    def send_raw(self, *packets: bytes) -> None:
        """Write one file with these packets."""
        self.write(b"".join(len(packet).to_bytes(4, "big") + packet for packet in packets))

    def write(self, content: bytes) -> None:
        """Write one file of any bytes, and then give it its name."""
        self.sent += 1
        part = self.folder / "in" / f"{self.name}-{self.sent}.part"
        part.write_bytes(content)
        part.rename(part.with_suffix(".osc"))

    def fetch(self) -> bytes | None:
        """Read the next file of answers, and remove it; None when there is none yet."""
        path = self.folder / "out" / f"{self.name}-{self.read + 1}.osc"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        path.unlink()
        self.read += 1
        return content

    def receive(self, seconds: float) -> tuple[str, list[Any]] | None:
        deadline = time.monotonic() + seconds
        while not self._packets:
            content = self.fetch()
            if content is not None:
                self._packets = _packets(content)
            elif time.monotonic() > deadline:
                return None
            else:
                time.sleep(_POLL_S)
        message = OscMessage(self._packets.pop(0))
        heard = (message.address, list(message.params))
        self.heard.append(heard)
        return heard


def _packets(content: bytes) -> list[bytes]:
    packets = []
    while content:
        size = int.from_bytes(content[:4], "big")
        assert len(content) >= 4 + size, "a file of answers that is not whole"
        packets.append(content[4 : 4 + size])
        content = content[4 + size :]
    return packets
