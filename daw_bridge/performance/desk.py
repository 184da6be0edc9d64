"""Performances for the bridge's service: written down as they happen, listed, and made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from audio_files.locations import is_inside
from daw_bridge.audio.player import Player
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.performance.log import SUFFIX
from daw_bridge.performance.rendering import Render, RenderHost, new_folder
from daw_bridge.performance.score import Score, find_score, read_score
from daw_bridge.performance.watch import Watch
from daw_bridge.stream_table import StreamTable
from protocols.bridge_messages import (
    BeginPerformance,
    PerformanceInfo,
    PerformanceList,
    PerformanceRequest,
    Performances,
    RenderPerformance,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Reply
from protocols.osc.front import Asker
from protocols.settings import Settings

_MOST_LISTED = 200


class PerformanceHost(RenderHost, Protocol):
    """What performances need of the bridge."""

    clock: ClockDesk
    streams: StreamTable

    def read(self, work: Callable[[], Score], asker: Asker, go: Callable[[Score], None]) -> None:
        """Read a file beside the loop and go on with what came of it; raises BUSY."""


class PerformanceDesk:
    """Watches what is heard, and makes it again. For the loop's thread only.

    Args:
        settings: of the bridge.
        player: the sound card.
        host: the bridge.
    """

    requests = PerformanceRequest

    def __init__(self, settings: Settings, player: Player, host: PerformanceHost) -> None:
        self._files = settings.files
        self._host = host
        self._rendering = False
        self._watch = Watch(
            settings.files.performances_folder,
            lambda: host.streams.open,
            player.reading,
            lambda: player.gain,
            host.clock,
            settings.bridge.fade_ms / 1000,
        )

    def handle(self, request: PerformanceRequest, asker: Asker) -> Reply | None:
        """Carry a request out; None means that it is answered later.

        Raises:
            RequestError: UNSUPPORTED where nothing is written down; EMPTY without a name; BUSY while another is made again;
                NOT_ALLOWED for a folder outside the allowed ones.
        """
        folder = self._files.performances_folder
        if folder is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "files.state", "none", "a bridge that keeps its state on disk")
        match request:
            case Performances():
                self._watch.note()
                synced, live = self._watch.synced(), self._watch.path
                self._host.in_background(lambda: _list(folder, live, synced), asker, lambda reply: reply)
                return None
            case BeginPerformance(name=name):
                if not name.strip():
                    raise RequestError(ErrorCode.EMPTY, "name", name, "a name of your choice")
                self._watch.begin(name)
            case RenderPerformance():
                self._render(request, folder, asker)
                return None
        return Done()

    def pump(self) -> None:
        """Called every few milliseconds: look at what is heard."""
        self._watch.pump()

    def close(self) -> None:
        """The log is closed when the last stream is over."""
        self._watch.close_with_last()

    def _render(self, request: RenderPerformance, folder: Path, asker: Asker) -> None:
        if self._rendering:
            raise RequestError(ErrorCode.BUSY, "name", request.name, "one performance at a time")
        parent = Path(request.folder).expanduser() if request.folder else self._files.takes_folder / "performances"
        if request.folder and not any(is_inside(parent.resolve(), one) for one in self._files.allowed_folders):
            allowed = ", ".join(str(one) for one in self._files.allowed_folders)
            raise RequestError(ErrorCode.NOT_ALLOWED, "folder", request.folder, f"a folder inside: {allowed}")
        self._watch.note()
        synced = self._watch.synced()

        def find() -> Score:
            synced()
            return find_score(folder, request.name)

        def go(score: Score) -> None:
            if not score.heard:
                raise RequestError(ErrorCode.EMPTY, "name", request.name, "a performance in which something was heard")
            render = Render(score, new_folder(parent, score.name), asker, self._host, self._rendered)
            self._rendering = True
            render.begin()

        self._host.read(find, asker, go)

    def _rendered(self) -> None:
        self._rendering = False


def _list(folder: Path, live: Path | None, synced: Callable[[], object]) -> PerformanceList:
    synced()
    items: list[PerformanceInfo] = []
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True)[:_MOST_LISTED]:
        items.append(read_score(path).info(path == live))
    return PerformanceList(items=items)
