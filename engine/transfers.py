"""Files that come and go in chunks: uploads into a folder, downloads out of others; bounded, checked, dropped when they lie idle.

Everything here reads and writes files. For one thread, which is not the one that serves the sockets.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from audio_files.exchange import MAX_SUFFIX, YOUNG_SECONDS, ExchangeFolder
from audio_files.locations import locate_file
from audio_files.publishing import folder_error, publish
from audio_files.takes import slug
from protocols.errors import ErrorCode, RequestError
from protocols.exchange_messages import MAX_CHUNK, Chunk, ChunkTaken, TransferOpened, Uploaded

MAX_TRANSFERS = 16
IDLE_SECONDS = 60.0
"""A transfer that nobody goes on with for this long is dropped."""

_SPARE_BYTES = 64 * 2**20
_HASH_BLOCK = 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(r"\.upload-[0-9a-f]{32}\.part")


@dataclass(eq=False)
class _Transfer:
    """One that is open. An upload has its temporary path and grows; a download is read at any position."""

    id: str
    name: str
    size: int
    sha256: str
    path: Path
    file: BinaryIO
    used: float
    upload: bool
    position: int = 0


class Transfers:
    """The transfers that are open. For one thread.

    Args:
        folder: where uploads come to lie.
        served: folders whose files may be fetched.
        max_bytes: of all open uploads together.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: ExchangeFolder,
        served: Sequence[Path],
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._served = served
        self._max_bytes = max_bytes
        self._clock = clock
        self._open: dict[str, _Transfer] = {}

    @property
    def paths(self) -> list[Path]:
        """The files that are being fetched."""
        return [transfer.path for transfer in self._open.values() if not transfer.upload]

    # --- uploads ------------------------------------------------------------------------------------------------------

    def begin_upload(self, name: str, size: int, sha256: str) -> TransferOpened:
        """Begin an upload, or go on with the open one of the same name, size and content.

        Raises:
            RequestError: MALFORMED for a digest that is none, OUT_OF_RANGE for a name without a suffix, TOO_LARGE for a file
                that is larger than what is kept or than the disk has room for, BUSY for one transfer too many.
        """
        if not _DIGEST.fullmatch(sha256):
            raise RequestError(ErrorCode.MALFORMED, "sha256", sha256, "64 hexadecimal digits, in small letters")
        for transfer in self._open.values():
            if transfer.upload and (transfer.name, transfer.size, transfer.sha256) == (name, size, sha256):
                return self._opened(transfer)
        self._fresh(name)  # refuses a name that is none, and makes the folder
        coming = sum(transfer.size for transfer in self._open.values() if transfer.upload)
        if size + coming > self._max_bytes:
            allowed = f"at most {self._max_bytes - coming} bytes (files.exchange_mb)"
            raise RequestError(ErrorCode.TOO_LARGE, "size", size, allowed)
        self._refuse_too_many()
        folder = self._folder.folder
        try:
            free = shutil.disk_usage(folder).free
            if size + _SPARE_BYTES > free:
                raise RequestError(
                    ErrorCode.TOO_LARGE, "size", size, f"a file for which the disk has room; {free} bytes are free"
                )
            temporary = folder / f".upload-{secrets.token_hex(16)}.part"
            file = temporary.open("x+b", buffering=0)
        except OSError as error:
            raise folder_error(error, folder) from error
        return self._opened(self._add(_Transfer("", name, size, sha256, temporary, file, 0.0, True)))

    def take_chunk(self, number: str, position: int, content: bytes) -> ChunkTaken:
        """Write the next bytes of an upload. Bytes that are there already are taken for granted.

        Raises:
            RequestError: OUT_OF_RANGE for a gap, TOO_LARGE for too many bytes, EMPTY for none; about ``folder`` when the disk
                refuses, with which the upload is over.
        """
        transfer = self._find(number, upload=True)
        if not content:
            raise RequestError(ErrorCode.EMPTY, "payload", "0 bytes", "the bytes of the chunk as a third frame")
        if len(content) > MAX_CHUNK:
            raise RequestError(ErrorCode.TOO_LARGE, "payload", f"{len(content)} bytes", f"at most {MAX_CHUNK} bytes")
        if position + len(content) > transfer.size:
            raise RequestError(ErrorCode.TOO_LARGE, "position", position, f"chunks within {transfer.size} bytes")
        if position > transfer.position:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "position", position, f"{transfer.position}: that comes next")
        rest = content[transfer.position - position :]
        if rest:
            self._write(transfer, rest)
        return ChunkTaken(position=transfer.position)

    def end_upload(self, number: str) -> Uploaded:
        """Check an upload and give it its path.

        Raises:
            RequestError: MISSING when bytes are missing, after which it can go on; MALFORMED when its content is another than
                was said, and about ``folder`` when the disk refuses: with these it is over.
        """
        transfer = self._find(number, upload=True)
        if transfer.position < transfer.size:
            raise RequestError(ErrorCode.MISSING, "position", transfer.position, f"all {transfer.size} bytes")
        try:
            found = _digest(transfer.file)
            if found != transfer.sha256:
                raise RequestError(
                    ErrorCode.MALFORMED, "sha256", found, f"{transfer.sha256}, as was said at the beginning"
                )
            os.fsync(transfer.file.fileno())
            transfer.file.close()
            final = self._fresh(transfer.name)
            publish(transfer.path, final)
        except OSError as error:
            raise folder_error(error, self._folder.folder) from error
        finally:
            self.close_transfer(number)
        return Uploaded(path=str(final), size=transfer.size)

    # --- downloads ----------------------------------------------------------------------------------------------------

    def begin_download(self, path: str) -> TransferOpened:
        """Begin to serve a file.

        Raises:
            RequestError: as `locate_file`; EMPTY for a file of no bytes, BUSY for one transfer too many.
        """
        location = locate_file(path, self._served)
        self._refuse_too_many()
        try:
            file = location.open("rb", buffering=0)
        except OSError:
            raise RequestError(ErrorCode.NOT_FOUND, "path", path, "a file that can be read") from None
        try:
            size, digest = os.fstat(file.fileno()).st_size, _digest(file)
        except OSError as error:
            file.close()
            raise RequestError(ErrorCode.INTERNAL, "path", path, f"a file that can be read; {error.strerror}") from None
        if not size:
            file.close()
            raise RequestError(ErrorCode.EMPTY, "path", path, "a file of at least one byte")
        return self._opened(self._add(_Transfer("", location.name, size, digest, location, file, 0.0, False)))

    def read_chunk(self, number: str, position: int, length: int) -> Chunk:
        """Bytes of a download.

        Raises:
            RequestError: OUT_OF_RANGE behind its end; NOT_FOUND when the file has become shorter, with which the download is over.
        """
        transfer = self._find(number, upload=False)
        if position >= transfer.size:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "position", position, f"0 to {transfer.size - 1}")
        wanted = min(length, MAX_CHUNK, transfer.size - position)
        try:
            transfer.file.seek(position)
            content = transfer.file.read(wanted)
        except OSError:
            content = b""
        if len(content) < wanted:
            self.close_transfer(number)
            raise RequestError(
                ErrorCode.NOT_FOUND, "path", transfer.name, "a file that stays as it is while it is fetched"
            )
        return Chunk(position=position, content=content)

    # --- both ---------------------------------------------------------------------------------------------------------

    def close_transfer(self, number: str) -> None:
        """End a transfer; of an upload that was not ended nothing stays. Nothing happens to one that is over."""
        transfer = self._open.pop(number, None)
        if transfer is not None:
            with suppress(OSError):
                transfer.file.close()
            if transfer.upload:
                with suppress(OSError):
                    transfer.path.unlink(missing_ok=True)

    def drop_idle(self) -> None:
        """End those that nobody goes on with."""
        oldest = self._clock() - IDLE_SECONDS
        for transfer in list(self._open.values()):
            if transfer.used < oldest:
                self.close_transfer(transfer.id)

    def clean(self) -> None:
        """Remove uploads by age and size, and what a crashed run left of unfinished ones."""
        self._folder.clean(self.paths)
        oldest = time.time() - YOUNG_SECONDS
        mine = {transfer.path for transfer in self._open.values()}
        with suppress(OSError):
            for path in list(self._folder.folder.iterdir()):
                with suppress(OSError):
                    if _LEFTOVER.fullmatch(path.name) and path not in mine and path.lstat().st_mtime < oldest:
                        path.unlink()

    def close(self) -> None:
        """End all of them."""
        for number in list(self._open):
            self.close_transfer(number)

    def _fresh(self, name: str) -> Path:
        """A path for an upload: of its name only the suffix and what any system can spell stay, never a folder."""
        plain = PureWindowsPath(name)  # knows both kinds of slashes
        if not re.fullmatch(rf"\.[A-Za-z0-9]{{1,{MAX_SUFFIX}}}", plain.suffix):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "name", name, "a file name with a suffix, such as loop.wav")
        return self._folder.fresh(plain.suffix, slug(plain.stem))

    def _add(self, transfer: _Transfer) -> _Transfer:
        transfer.id = secrets.token_hex(16)
        self._open[transfer.id] = transfer
        return transfer

    def _opened(self, transfer: _Transfer) -> TransferOpened:
        transfer.used = self._clock()
        return TransferOpened(
            transfer=transfer.id,
            position=transfer.position,
            size=transfer.size,
            sha256=transfer.sha256,
            path="" if transfer.upload else str(transfer.path),
        )

    def _find(self, number: str, *, upload: bool) -> _Transfer:
        transfer = self._open.get(number)
        if transfer is None or transfer.upload is not upload:
            kind = "upload" if upload else "download"
            raise RequestError(ErrorCode.NOT_FOUND, "transfer", number, f"an open {kind}; begin it again")
        transfer.used = self._clock()
        return transfer

    def _refuse_too_many(self) -> None:
        if len(self._open) >= MAX_TRANSFERS:
            raise RequestError(
                ErrorCode.BUSY, "transfer", len(self._open), f"at most {MAX_TRANSFERS} transfers at once"
            )

    def _write(self, transfer: _Transfer, content: bytes) -> None:
        rest = memoryview(content)
        try:
            transfer.file.seek(transfer.position)
            while rest:
                written = transfer.file.write(rest)
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                rest = rest[written:]
        except OSError as error:
            self.close_transfer(transfer.id)
            raise folder_error(error, self._folder.folder) from error
        transfer.position += len(content)


def _digest(file: BinaryIO) -> str:
    """SHA-256 of a whole open file."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_HASH_BLOCK):
        digest.update(block)
    return digest.hexdigest()
