"""Where the sockets end: what a transport asks of an engine, and what an engine asks of a client. One engine or several alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocols.errors import RequestError
from protocols.messages import AudioHeader, EngineStatus, Event, ModelChanged, Reply, Request, VersionInfo, Welcome

Answer = Callable[[Reply | RequestError], None]

NO_FACTS = ModelChanged(
    model="", fingerprint="", status="untrained", sample_rate=0, channels=0, frame_samples=0, melodies=False
)
"""What clients are told while there is no model."""


class Client(Protocol):
    """Somebody who opens or hears streams, whatever the transport. None of these may block or raise."""

    @property
    def name(self) -> str:
        """What the client calls itself."""

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""

    def event(self, event: Event) -> None:
        """Tell the client something."""

    def audio(self, header: AudioHeader, samples: memoryview) -> bool:
        """Send the client a block; False when its connection took no more and the block is lost to it."""


class Serving(Protocol):
    """An engine behind its transports: the service of one process, or the router before several. For the I/O loop's thread only."""

    clients: set[Client]
    heralds: list[Callable[[Event], None]]

    def handle(self, request: Request, client: Client, answer: Answer, payload: bytes = b"") -> None:
        """Carry out one request of a client; ``answer`` gets the reply or the error, exactly once, on this thread."""

    def count_broken(self) -> None:
        """Count a message that could not even be read."""

    def welcome(self) -> Welcome:
        """What the engine is, for a client that has just connected."""

    def version(self) -> VersionInfo:
        """Release and protocol."""

    def status(self) -> EngineStatus:
        """The engine at a glance."""

    def client_lost(self, client: Client) -> None:
        """Forget a client that is gone: it hears nothing more, and the streams it owns end."""
