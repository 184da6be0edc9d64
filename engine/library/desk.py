"""What the service does with models on its disk: listed, and downloaded, on a thread of its own beside all that plays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from engine.checkpoints import hub, licences, plugins
from engine.checkpoints.devices import pick_device, pick_precision
from engine.checkpoints.fetching import ask_hub, fetch_listing
from engine.entries import models_in_memory
from engine.library import shelf, upkeep
from engine.models import LoadedModels
from engine.worker import Worker
from protocols.catalogue import LICENCE_TEXTS
from protocols.errors import ErrorCode, RequestError
from protocols.messages import (
    Done,
    DownloadModel,
    DownloadProgress,
    Event,
    ModelDownloaded,
    ModelList,
    Models,
    Reply,
    StopDownload,
)
from protocols.settings import EngineSettings

_TELL_EVERY_S = 0.25

Answer = Callable[[Reply | RequestError], None]


class LibraryDesk:
    """The service's side of models on disk. For the I/O loop's thread only.

    Args:
        models: those in memory.
        settings: of the engine.
        call_soon: runs something on the I/O loop's thread.
        tell: tells every client of progress.
    """

    def __init__(
        self,
        models: LoadedModels,
        settings: EngineSettings,
        call_soon: Callable[[Callable[[], None]], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._models = models
        self._settings = settings
        self._call_soon = call_soon
        self._tell = tell
        self._lister = Worker("model list")
        self._fetcher = Worker("model download")
        self._lister.start()
        self._fetcher.start()
        self._fetching = ""
        self._stopping = threading.Event()

    def handle(self, request: Models | DownloadModel | StopDownload, answer: Answer) -> None:
        """Carry out a request; answered later, on this thread.

        Raises:
            RequestError: BUSY while something is being downloaded; UNKNOWN_MODEL.
        """
        match request:
            case Models():
                self._list(answer)
            case DownloadModel():
                self._download(request, answer)
            case StopDownload():
                self._stopping.set()
                answer(Done())

    def close(self, seconds: float) -> None:
        """End a download that is under way; what has come is kept. The threads leave by themselves."""
        self._stopping.set()
        self._lister.stop(0)
        self._fetcher.stop(seconds)

    def _list(self, answer: Answer) -> None:
        current, settings = self._models.current, self._settings
        bundle = None if current is None else current.bundle
        others = [model.bundle for model in self._models if model is not current]
        # Nothing that the job holds is a model: it would be freed here, late.
        decoders = {model.bundle.name: " ".join(model.decoders.names) for model in self._models}
        memory = [replace(row, decoders=decoders.get(row.name, "")) for row in models_in_memory(bundle, others)]
        place = None if bundle is None else (str(bundle.device), bundle.precision)

        def work() -> Reply:
            device, precision = place or _place_of(settings)
            known = shelf.rows(shelf.place_of(device, precision, settings.memory_limit_mb))
            names = {row.name for row in known}
            brought = [row for row in plugins.model_rows() if row.name not in names]
            return ModelList(items=shelf.with_loaded([*known, *brought], memory))

        self._lister.do(work, lambda reply: self._call_soon(lambda: answer(reply)))

    def _download(self, request: DownloadModel, answer: Answer) -> None:
        if self._fetching:
            allowed = f"one at a time; {self._fetching} is being downloaded"
            raise RequestError(ErrorCode.BUSY, "model", request.model, allowed)
        entry = shelf.find_entry(request.model)
        if entry.hub_id is None:
            answer(ModelDownloaded(model=entry.name, path=str(entry.folder or ""), mb=0.0, seconds=0.0))
            return
        self._fetching = entry.name
        self._stopping.clear()
        began = time.monotonic()

        def work() -> Reply:
            waiting = [(each.hub_id or "", each.patterns) for each in shelf.needs_of(entry)]
            folders, size = {}, 0
            while waiting:
                hub_id, patterns = waiting.pop(0)
                if hub_id in folders:
                    continue
                listing = ask_hub(hub_id, patterns)
                _agree(hub_id, listing.licence, request.accept_licence)
                folders[hub_id] = fetch_listing(listing, progress=self._progress(entry.name, hub_id))
                size += listing.size
                waiting += [(name, ()) for name in upkeep.pointed_to(folders[hub_id])]
            first = folders[entry.hub_id or ""]
            seconds = round(time.monotonic() - began, 2)
            return ModelDownloaded(model=entry.name, path=str(first), mb=round(size / (1 << 20), 1), seconds=seconds)

        def over(reply: Reply | RequestError) -> None:
            self._fetching = ""
            answer(reply)

        self._fetcher.do(work, lambda reply: self._call_soon(lambda: over(reply)))

    def _progress(self, model: str, hub_id: str) -> Callable[[str, int, int], None]:
        """Tells clients, and stops when that was asked for; on the downloading thread."""
        told = 0.0

        def progress(file: str, done: int, total: int) -> None:
            nonlocal told
            if self._stopping.is_set():
                allowed = "a download that nobody stops; what has come is kept, and the same request goes on from there"
                raise RequestError(ErrorCode.NOT_ALLOWED, "model", model, allowed)
            now = time.monotonic()
            if done < total and now - told < _TELL_EVERY_S:
                return
            told = now
            mb, of_mb = round(done / (1 << 20), 1), round(total / (1 << 20), 1)
            event = DownloadProgress(model=model, repository=hub_id, file=file, mb=mb, of_mb=of_mb)
            self._call_soon(lambda: self._tell(event))

        return progress


def _place_of(settings: EngineSettings) -> tuple[str, str]:
    """Device and precision of a model that would be loaded under these settings."""
    device = pick_device(settings.device)
    return str(device), pick_precision(settings.dtype, device).asked


def _agree(hub_id: str, said: str, accepts: bool) -> None:
    """See to it that the licence asks for nothing, or was accepted before, or is now."""
    entry = next(iter(hub.entries_of(hub_id)), None)
    licence = licences.spelt(said) or (entry.licence if entry is not None else "")
    if licences.accepted(hub_id, licence):
        return
    if not accepts:
        page = LICENCE_TEXTS.get(licence, f"https://huggingface.co/{hub_id}")
        raise RequestError(
            ErrorCode.NOT_ALLOWED, "accept_licence", licence or "not known", f"1, once you have read it: {page}"
        )
    licences.accept(hub_id, licence)
