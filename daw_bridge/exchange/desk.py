"""The exchange folder for the bridge's service: paths for hosts, and cleaning beside the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from audio_files.exchange import ExchangeFolder
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.loops.layer import Layer
from protocols.exchange_messages import Exchange, ExchangePath
from protocols.messages import Reply
from protocols.osc.front import Asker
from protocols.settings import FileSettings

log = structlog.get_logger()
T = TypeVar("T")

CLEAN_S = 600.0
_ANSWER_S = 5.0
_MB = 10**6


class ExchangeHost(Protocol):
    """What the exchange needs of the bridge."""

    @property
    def call_soon(self) -> Callable[[Callable[[], None]], None]:
        """Runs something on the loop's thread, from any thread."""

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


class ExchangeDesk:
    """Hands out paths, and cleans at start and every ten minutes. For the loop's thread only.

    Args:
        files: where the folder is, and its bounds.
        host: the bridge.
        in_use: the files that somebody works with; called on the loop's thread.
    """

    requests: Any = Exchange

    def __init__(self, files: FileSettings, host: ExchangeHost, in_use: Callable[[], Iterable[Path]]) -> None:
        self._folder = ExchangeFolder(files.exchange_folder, files.exchange_mb * _MB, files.exchange_hours * 3600)
        self._host = host
        self._in_use = in_use
        self._closing = threading.Event()
        threading.Thread(target=self._clean_on, name="exchange-cleaner", daemon=True).start()

    def handle(self, request: Exchange, asker: Asker) -> None:
        """Answer with a new path, as soon as its folder is there."""
        path = lambda: ExchangePath(path=str(self._folder.fresh(request.suffix)))  # noqa: E731
        self._host.in_background(path, asker, lambda found: found)

    def pump(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Clean no more."""
        self._closing.set()

    # --- the cleaner's thread -------------------------------------------------------------------------------------------

    def _clean_on(self) -> None:
        while True:
            files = self._ask_in_use()
            if files is not None and (removed := self._folder.clean(files)):
                log.info("exchange folder cleaned", folder=str(self._folder.folder), files=len(removed))
            if self._closing.wait(CLEAN_S):
                return

    def _ask_in_use(self) -> list[Path] | None:
        """What is in use, as the loop says; None when it does not answer: then nothing is removed."""
        found: Future[list[Path]] = Future()
        self._host.call_soon(lambda: found.set_result(list(self._in_use())))
        while not self._closing.is_set():
            try:
                return found.result(_ANSWER_S)
            except TimeoutError:
                continue  # the bridge is still starting
        return None


def files_of(streams: Iterable[BridgeStream], layers: Iterable[Layer]) -> list[Path]:
    """The files that streams were asked to go on from, and those that loops play."""
    named = [str(getattr(stream.request, "path", "") or "") for stream in streams]
    takes = [layer.take for layer in layers]
    loops = [take.file.path for take in takes if take is not None and take.file is not None]
    return [*(Path(path) for path in named if path), *loops]
