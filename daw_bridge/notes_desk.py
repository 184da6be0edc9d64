"""Everything that hosts ask about notes, for the bridge's service: sent, read from files and recordings, played live."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from daw_bridge.asking import read_clip
from daw_bridge.engine_client import EngineClient
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.heard_recordings import HeardRecordings
from daw_bridge.live_notes import LiveHost, LiveNotes
from daw_bridge.midi_input import scan_inputs
from daw_bridge.note_lists import NoteLists
from protocols.bridge_messages import (
    AddNotes,
    AudioNotes,
    BeginNotes,
    FileNotes,
    ForgetNotes,
    MidiInputs,
    NotesRequest,
    RecordNotes,
    StopNotes,
)
from protocols.messages import Done, Reply
from protocols.osc.front import Asker
from protocols.settings import Settings

T = TypeVar("T")


class NotesHost(LiveHost, Protocol):
    """What notes need of the bridge."""

    def ready_engine(self) -> EngineClient:
        """The engine; raises ENGINE_LOST."""

    def read(self, work: Callable[[], T], asker: Asker, go: Callable[[T], None]) -> None:
        """Read a file beside the loop and go on with what came of it; raises BUSY."""

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


class NotesDesk:
    """The notes of every client. For the loop's thread only.

    Args:
        settings: of the bridge.
        host: the bridge.
    """

    requests = NotesRequest

    def __init__(self, settings: Settings, host: NotesHost) -> None:
        self._files = settings.files
        self._host = host
        self._lists = NoteLists()
        self._regions = HeardRecordings(settings.files, self._lists, host.read, host.done, host.fail)
        self._live = LiveNotes(self._lists, settings.bridge.midi_input, host)

    def handle(self, request: NotesRequest, asker: Asker) -> Reply | None:
        """Carry a request out; None means that it is answered later.

        Raises:
            RequestError: as `NoteLists`, `HeardRecordings` and `LiveNotes`.
        """
        match request:
            case BeginNotes():
                return self._lists.begin(asker.peer, request)
            case AddNotes():
                return self._lists.add(asker.peer, request)
            case FileNotes(name=name):
                self._host.read(
                    lambda: read_clip(request, self._files),
                    asker,
                    lambda clip: self._host.done(asker, self._lists.keep(asker.peer, name, clip)),
                )
                return None
            case AudioNotes():
                self._regions.hear(request, asker, self._host.ready_engine())
                return None
            case RecordNotes():
                self._live.record(request, asker)
                return None
            case StopNotes(name=name):
                self._live.stop(name, asker)
            case ForgetNotes(name=name):
                self._lists.forget(asker.peer, name)
            case MidiInputs():
                self._host.in_background(scan_inputs, asker, self._live.listed)
                return None
        return Done()

    def clip(self, client: Hashable, name: str) -> FollowedClip | None:
        """The notes of this name; None without a name.

        Raises:
            RequestError: as `NoteLists.clip`.
        """
        return self._lists.clip(client, name) if name else None

    def pump(self) -> None:
        """Called every few milliseconds: take in what is played."""
        self._live.pump()

    def close(self) -> None:
        """End the recordings."""
        self._live.close()
