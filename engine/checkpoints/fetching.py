"""Downloads from the Hugging Face hub that go on where they were cut off, into the cache that all of the hub's clients share.

The hub's own client begins a file anew in the next process; weights have gigabytes, so large files are fetched here, piece after
piece into a file beside their place, compared with the checksum that the hub tells, and put where the client looks for them.
"""

from __future__ import annotations

import glob
import hashlib
import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from audio_files.locks import try_lock
from engine.checkpoints.hub import caches, choose_files, matching, repository_folder
from protocols.catalogue import ALIASES
from protocols.errors import ErrorCode, RequestError

log = structlog.get_logger()

Progress = Callable[[str, int, int], None]
"""Hears the file that is being fetched, and how many bytes of how many are here, of all files. What it raises ends the download."""

PART_SUFFIX = ".daw-bridge.incomplete"
"""Ends the name of a file that is being fetched; the name itself is its checksum."""

LOCK_FILE = ".daw-bridge.lock"
"""In a repository's folder of the cache; locked while something there is fetched or deleted."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20
_PARTIAL = 206
_WAITS_S = (0.2, 1.0, 3.0, 10.0)
"""How long a download waits before it takes up a broken connection again; anew after each that brought something."""
_LOG_EVERY = 0.1


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its name there, its size in bytes, and its SHA-256 where the hub keeps it beside Git, else empty."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository.

    Attributes:
        hub_id: ``owner/name``.
        commit: of the newest revision.
        licence: as the page of the repository says; empty where it does not.
        files: those that are needed.
    """

    hub_id: str
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Of all files that are needed, in bytes."""
        return sum(file.size for file in self.files)


def ask_hub(hub_id: str, patterns: Sequence[str] = ()) -> Listing:
    """What the hub has under a name, and which files of it are needed.

    Args:
        hub_id: ``owner/name``.
        patterns: of the files; empty for those of a model.

    Raises:
        RequestError: it is not there, not for everybody, holds no model, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    hub_id = ALIASES.get(hub_id, hub_id)
    if is_offline():
        raise offline_refusal(hub_id)
    try:
        info = HfApi().model_info(hub_id, files_metadata=True)
    except Exception as error:  # the hub's client lets through whatever its HTTP library, proxy or file system raises
        raise _refusal(hub_id, error) from error
    siblings = {file.rfilename: file for file in info.siblings or ()}
    names = matching(sorted(siblings), patterns) if patterns else choose_files(siblings)
    if not names:
        wanted = ", ".join(patterns) or "weights in transformers' or AudioCraft's layout"
        raise RequestError(ErrorCode.UNSUPPORTED, "model", hub_id, f"a repository with {wanted}")
    files = []
    for name in names:
        lfs: Any = siblings[name].lfs
        files.append(RemoteFile(name, siblings[name].size or 0, lfs.sha256 if lfs is not None else ""))
    return Listing(hub_id, info.sha or "", _licence(info), tuple(files))


def fetch(hub_id: str, patterns: Sequence[str] = (), *, progress: Progress | None = None) -> Path:
    """Download a repository's files, or what is new of them, and return their folder.

    A download that was cut off goes on where it was. Two processes do not fetch the same repository at once.

    Raises:
        RequestError: as `ask_hub`; ``busy`` while another process fetches it; ``too_large`` for the disk; ``malformed`` where what
            came is not what the hub has; ``not_found`` where the connection broke off.
    """
    listing = ask_hub(hub_id, patterns)
    return fetch_listing(listing, progress=progress)


def fetch_listing(listing: Listing, *, progress: Progress | None = None) -> Path:
    """As `fetch`, of files that the hub was asked about before."""
    from huggingface_hub import snapshot_download

    hub_id = listing.hub_id
    cache = caches()[0]
    blobs = repository_folder(cache, hub_id) / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    with (blobs.parent / LOCK_FILE).open("wb") as lock:
        if not try_lock(lock):
            raise RequestError(ErrorCode.BUSY, "model", hub_id, "it is being downloaded by another process")
        try:
            _check_space(listing, blobs)
            _fetch_large(listing, blobs, progress)
            # The rest is small; and what is here already the client only links.
            names = [glob.escape(file.name) for file in listing.files]
            with _no_bars():
                folder = Path(snapshot_download(hub_id, allow_patterns=names))
        except RequestError:
            raise
        except Exception as error:  # as in `ask_hub`
            raise _refusal(hub_id, error) from error
    if progress is not None:
        progress("", listing.size, listing.size)
    return folder


def log_progress(hub_id: str) -> Progress:
    """Progress as lines of the log, one for each tenth."""
    told = -_LOG_EVERY

    def tell(name: str, done: int, total: int) -> None:
        nonlocal told
        share = done / total if total else 1.0
        if share - told >= _LOG_EVERY or (done == total and told < 1):
            told = share
            log.info("downloading", model=hub_id, file=name, mb=round(done / 1e6), of_mb=round(total / 1e6))

    return tell


def missing_bytes(listing: Listing) -> int:
    """How much of it is still to be fetched; what was begun counts as here."""
    return sum(file.size - _here(file, _blobs(listing.hub_id)) for file in listing.files)


def _blobs(hub_id: str) -> Path:
    return repository_folder(caches()[0], hub_id) / "blobs"


def _here(file: RemoteFile, blobs: Path) -> int:
    if not file.sha256:
        return 0
    for path in (blobs / file.sha256, blobs / f"{file.sha256}{PART_SUFFIX}"):
        if path.is_file():
            return min(path.stat().st_size, file.size)
    return 0


def _check_space(listing: Listing, blobs: Path) -> None:
    needed = sum(file.size - _here(file, blobs) for file in listing.files)
    free = shutil.disk_usage(blobs).free
    if needed > free:
        allowed = f"{needed / 1e9:.1f} GB free on the disk of {blobs.parent.parent}; {free / 1e9:.1f} GB are"
        raise RequestError(ErrorCode.TOO_LARGE, "model", listing.hub_id, allowed)


def _fetch_large(listing: Listing, blobs: Path, progress: Progress | None) -> None:
    total = listing.size
    done = sum(_here(file, blobs) for file in listing.files if (blobs / file.sha256).is_file() and file.sha256)
    for file in listing.files:
        # A checksum becomes the name of a file here: so it must be one.
        if not _SHA256.fullmatch(file.sha256) or (blobs / file.sha256).is_file():
            continue

        def tell(here: int, name: str = file.name, before: int = done) -> None:
            if progress is not None:
                progress(name, before + here, total)

        _fetch_one(listing, file, blobs, tell)
        done += file.size


def _fetch_one(listing: Listing, file: RemoteFile, blobs: Path, tell: Callable[[int], None]) -> None:
    part = blobs / f"{file.sha256}{PART_SUFFIX}"
    part.touch()
    with part.open("r+b") as target:
        here = target.seek(0, io.SEEK_END)
        tell(here)
        waits = list(_WAITS_S)
        while here != file.size:
            before = here
            try:
                here = _receive(listing, file, target, here, tell)
            except _broken_connections() as error:
                here = target.seek(0, io.SEEK_END)
                if here > before:
                    waits = list(_WAITS_S)
                if not waits:
                    raise
                log.warning(
                    "a download broke off and is taken up again",
                    file=file.name,
                    at_mb=round(here / 1e6),
                    error=str(error),
                )
                time.sleep(waits.pop(0))
    if sha256_of(part) != file.sha256:
        part.unlink()
        allowed = f"{file.name} as the hub has it; what came differs from its checksum and was deleted, so try again"
        raise RequestError(ErrorCode.MALFORMED, "model", listing.hub_id, allowed)
    part.replace(blobs / file.sha256)


def _receive(listing: Listing, file: RemoteFile, target: BinaryIO, here: int, tell: Callable[[int], None]) -> int:
    """Receive a file from byte ``here`` on into the end of ``target``; returns how long that is then."""
    import huggingface_hub.utils
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT

    utils: Any = huggingface_hub.utils
    url = hf_hub_url(listing.hub_id, file.name, revision=listing.commit)
    # Asked for each time: large files lie elsewhere, at an address that is good for some minutes, where no token may go.
    place = get_hf_file_metadata(url).location
    headers = utils.build_hf_headers() if place.split("/")[:3] == url.split("/")[:3] else {}
    headers["Accept-Encoding"] = "identity"  # what was compressed on the way could not be taken up again in the middle
    if 0 < here < file.size:
        headers["Range"] = f"bytes={here}-"
    session = utils.get_session()
    with session.stream(
        "GET", place, headers=headers, timeout=HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
    ) as answer:
        utils.hf_raise_for_status(answer)
        if answer.status_code != _PARTIAL or here > file.size:
            here = target.seek(0)
            target.truncate(0)
        for piece in answer.iter_raw():
            target.write(piece)
            here += len(piece)
            if here > file.size:
                raise RequestError(
                    ErrorCode.MALFORMED, "model", listing.hub_id, f"{file.name} of {file.size} bytes, not more"
                )
            tell(here)
    if here < file.size:
        raise ConnectionError(f"{file.name} ended after {here} of {file.size} bytes")
    return here


def _broken_connections() -> tuple[type[Exception], ...]:
    """What a connection that breaks off raises; the hub's client has its own HTTP library."""
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    library = sys.modules[type(utils.get_session()).__module__.split(".")[0]]
    return (ConnectionError, library.TransportError)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_hash_of(path: Path) -> str:
    """The name that Git has for a file's content: a SHA-1 over its length and itself."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _no_bars() -> Iterator[None]:
    """None of the hub's own progress bars: whoever wants to know hears it from us."""
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    if utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _licence(info: Any) -> str:
    card = getattr(info, "card_data", None)
    said = getattr(card, "license", None) if card is not None else None
    if not isinstance(said, str):
        tags = [tag for tag in info.tags or () if tag.startswith("license:")]
        said = tags[0].removeprefix("license:") if tags else ""
    return said


def is_offline() -> bool:
    """Whether the user has told the hub's clients to stay off the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def offline_refusal(hub_id: str) -> RequestError:
    """The refusal of a download while the network is not to be used."""
    allowed = "a model that is on this disk: HF_HUB_OFFLINE is set, so nothing is downloaded"
    return RequestError(ErrorCode.NOT_DOWNLOADED, "model", hub_id, allowed)


def _refusal(hub_id: str, error: Exception) -> RequestError:
    """What a failure of the hub's client means to whoever asked."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    page = f"https://huggingface.co/{hub_id}"
    if isinstance(error, GatedRepoError):
        advice = f"accept the licence at {page} and log in with: hf auth login"
        return RequestError(ErrorCode.NOT_ALLOWED, "model", hub_id, advice)
    if isinstance(error, RepositoryNotFoundError):
        # The hub does not tell strangers whether a repository is private or does not exist.
        advice = "a model that is on the hub; for a private one, log in with: hf auth login"
        return RequestError(ErrorCode.UNKNOWN_MODEL, "model", hub_id, advice)
    if isinstance(error, HfHubHTTPError) and status in (401, 403):
        return RequestError(ErrorCode.NOT_ALLOWED, "model", hub_id, f"access to {page}; log in with: hf auth login")
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    advice = "a connection to the hub; what has come is kept, and the same command goes on from there. Without one: "
    advice += f"`hf download {hub_id}` on a machine that has one, and the folder's path here ({reason})"
    return RequestError(ErrorCode.NOT_FOUND, "model", hub_id, advice)
