"""Files in chunks, without sockets: what is refused, what is gone on with, and that nothing is left behind."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audio_files.exchange import YOUNG_SECONDS, ExchangeFolder
from engine import transfers as transfers_module
from engine.transfers import IDLE_SECONDS, MAX_TRANSFERS, Transfers
from protocols.errors import ErrorCode, RequestError
from protocols.exchange_messages import MAX_CHUNK

CONTENT = os.urandom(2 * MAX_CHUNK + 12345)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Room:
    """Transfers with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.takes = folder / "takes"
        self.takes.mkdir()
        self.folder = folder / "exchange"
        self.uploads = self.folder / "uploads"
        keeper = ExchangeFolder(self.uploads, 10**7, 3600)
        self.transfers = Transfers(keeper, [self.takes, self.folder], 10**7, lambda: self.now)

    def begin(self, name: str = "loop.wav", size: int = len(CONTENT), sha256: str = DIGEST) -> Any:
        return self.transfers.begin_upload(name, size, sha256)

    def send(self, transfer: str, position: int = 0, until: int = len(CONTENT)) -> None:
        while position < until:
            content = CONTENT[position : min(until, position + MAX_CHUNK)]
            position = self.transfers.take_chunk(transfer, position, content).position

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.uploads.iterdir())


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def refused(code: ErrorCode, field: str, call: Callable[..., object], *arguments: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call(*arguments)
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.text
    return caught.value


def test_an_upload_lies_under_its_path_when_it_is_whole(room: Room) -> None:
    opened = room.begin("../My Löop (1).WAV")
    room.send(opened.transfer)
    assert room.left[0].startswith(".upload-")
    done = room.transfers.end_upload(opened.transfer)
    path = Path(done.path)
    assert (path.parent, done.size) == (room.uploads, len(CONTENT))
    assert path.name.endswith("_my-loop-1.wav")
    assert path.read_bytes() == CONTENT
    assert room.left == [path.name]


def test_an_upload_goes_on_where_it_stopped(room: Room) -> None:
    first = room.begin()
    room.send(first.transfer, until=MAX_CHUNK)
    again = room.begin()
    assert (again.transfer, again.position) == (first.transfer, MAX_CHUNK)
    refused(ErrorCode.OUT_OF_RANGE, "position", room.transfers.take_chunk, again.transfer, MAX_CHUNK + 1, b"x")
    room.transfers.take_chunk(again.transfer, 0, CONTENT[:MAX_CHUNK])  # sent twice: taken once
    room.send(again.transfer, MAX_CHUNK - 7)
    assert Path(room.transfers.end_upload(again.transfer).path).read_bytes() == CONTENT


def test_another_content_than_was_said_is_dropped(room: Room) -> None:
    opened = room.begin(sha256="0" * 64)
    room.send(opened.transfer)
    assert DIGEST in refused(ErrorCode.MALFORMED, "sha256", room.transfers.end_upload, opened.transfer).text
    assert room.left == []
    refused(ErrorCode.NOT_FOUND, "transfer", room.transfers.take_chunk, opened.transfer, 0, b"x")


def test_an_upload_that_is_not_whole_cannot_be_ended_yet(room: Room) -> None:
    opened = room.begin()
    room.send(opened.transfer, until=MAX_CHUNK)
    refused(ErrorCode.MISSING, "position", room.transfers.end_upload, opened.transfer)
    room.send(opened.transfer, MAX_CHUNK)
    assert room.transfers.end_upload(opened.transfer).size == len(CONTENT)


@pytest.mark.parametrize("name", ["", "loop", "..", ".wav", "a.toolongsuffix", "a.w/v", "a.ä"])
def test_a_name_without_a_suffix_is_refused(room: Room, name: str) -> None:
    refused(ErrorCode.OUT_OF_RANGE, "name", room.begin, name)


def test_no_name_leads_out_of_the_folder(room: Room) -> None:
    for name in (
        "../../etc/x.wav",
        "/etc/cron.d/x.wav",
        "C:\\Windows\\x.wav",
        "a/../../x.wav",
        "\\\\server\\share\\x.wav",
    ):
        opened = room.begin(name)
        room.send(opened.transfer)
        assert Path(room.transfers.end_upload(opened.transfer).path).parent == room.uploads


def test_sizes_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(ErrorCode.TOO_LARGE, "size", room.begin, "a.wav", 10**7 + 1)
    room.begin("a.wav", 6 * 10**6)
    refused(ErrorCode.TOO_LARGE, "size", room.begin, "b.wav", 6 * 10**6)  # together with what is coming
    opened = room.begin("c.wav", 100)
    refused(ErrorCode.TOO_LARGE, "position", room.transfers.take_chunk, opened.transfer, 0, bytes(101))
    refused(ErrorCode.TOO_LARGE, "payload", room.transfers.take_chunk, opened.transfer, 0, bytes(MAX_CHUNK + 1))
    refused(ErrorCode.EMPTY, "payload", room.transfers.take_chunk, opened.transfer, 0, b"")
    refused(ErrorCode.MALFORMED, "sha256", room.begin, "d.wav", 1, "no digest")
    free = type("usage", (), {"free": 1000})
    monkeypatch.setattr(transfers_module.shutil, "disk_usage", lambda folder: free)
    refused(ErrorCode.TOO_LARGE, "size", room.begin, "e.wav", 500)


def test_a_disk_that_runs_full_ends_the_upload_and_leaves_nothing(room: Room) -> None:
    opened = room.begin()
    room.send(opened.transfer, until=MAX_CHUNK)
    transfer = room.transfers._open[opened.transfer]
    real = transfer.file

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    transfer.file = Full()  # type: ignore[assignment]
    error = refused(ErrorCode.TOO_LARGE, "folder", room.transfers.take_chunk, opened.transfer, MAX_CHUNK, b"x")
    assert "No space left" in error.text
    assert room.left == []


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_an_upload_whose_file_vanishes_is_one_clear_error(room: Room) -> None:
    opened = room.begin()
    room.send(opened.transfer)
    next(room.uploads.iterdir()).unlink()
    refused(ErrorCode.NOT_FOUND, "folder", room.transfers.end_upload, opened.transfer)
    assert room.left == []


def test_transfers_are_bounded_in_number_and_dropped_when_they_lie_idle(room: Room) -> None:
    for number in range(MAX_TRANSFERS):
        room.begin(f"loop{number}.wav", 100)
    refused(ErrorCode.BUSY, "transfer", room.begin, "more.wav", 100)
    room.now += IDLE_SECONDS - 1
    kept = room.begin("loop3.wav", 100)
    room.now += 2
    room.transfers.drop_idle()
    assert len(room.left) == 1
    room.transfers.take_chunk(kept.transfer, 0, CONTENT[:10])
    room.transfers.close_transfer(kept.transfer)
    assert room.left == []
    room.transfers.close_transfer(kept.transfer)  # twice is no harm


def test_a_download_is_read_from_any_position(room: Room) -> None:
    path = room.takes / "take.wav"
    path.write_bytes(CONTENT)
    opened = room.transfers.begin_download(str(path))
    assert (opened.size, opened.sha256, opened.path) == (len(CONTENT), DIGEST, str(path.resolve()))
    assert room.transfers.paths == [path.resolve()]
    assert room.transfers.read_chunk(opened.transfer, 5, 7).content == CONTENT[5:12]
    tail = room.transfers.read_chunk(opened.transfer, len(CONTENT) - 3, MAX_CHUNK)
    assert tail.content == CONTENT[-3:]
    refused(ErrorCode.OUT_OF_RANGE, "position", room.transfers.read_chunk, opened.transfer, len(CONTENT), 1)
    room.transfers.close_transfer(opened.transfer)
    assert path.exists()
    refused(ErrorCode.NOT_FOUND, "transfer", room.transfers.read_chunk, opened.transfer, 0, 1)


def test_only_takes_and_exchange_are_served(room: Room, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"x")
    for path in (secret, room.takes / ".." / "secret.wav", "/etc/passwd"):
        refused(ErrorCode.NOT_ALLOWED, "path", room.transfers.begin_download, str(path))
    refused(ErrorCode.NOT_FOUND, "path", room.transfers.begin_download, str(room.takes / "none.wav"))
    refused(ErrorCode.BAD_TYPE, "path", room.transfers.begin_download, str(room.takes))
    (room.takes / "empty.wav").write_bytes(b"")
    refused(ErrorCode.EMPTY, "path", room.transfers.begin_download, str(room.takes / "empty.wav"))
    if os.name != "nt":
        (room.takes / "link.wav").symlink_to(secret)
        refused(ErrorCode.NOT_ALLOWED, "path", room.transfers.begin_download, str(room.takes / "link.wav"))


def test_a_file_that_is_cut_short_while_it_is_fetched_is_one_clear_error(room: Room) -> None:
    path = room.takes / "take.wav"
    path.write_bytes(CONTENT)
    opened = room.transfers.begin_download(str(path))
    with path.open("r+b") as file:
        file.truncate(10)
    refused(ErrorCode.NOT_FOUND, "path", room.transfers.read_chunk, opened.transfer, 100, 100)
    refused(ErrorCode.NOT_FOUND, "transfer", room.transfers.read_chunk, opened.transfer, 0, 1)


def test_an_upload_is_no_download(room: Room) -> None:
    opened = room.begin()
    refused(ErrorCode.NOT_FOUND, "transfer", room.transfers.read_chunk, opened.transfer, 0, 1)


def test_cleaning_takes_leftovers_of_a_crash_but_nothing_that_is_under_way(room: Room) -> None:
    opened = room.begin()
    mine = next(room.uploads.iterdir())
    leftover = room.uploads / f".upload-{'0' * 32}.part"
    foreign = room.uploads / "notes.part"
    for path in (leftover, foreign):
        path.write_bytes(b"x")
    for path in (mine, leftover, foreign):
        old = path.stat().st_mtime - YOUNG_SECONDS - 10
        os.utime(path, (old, old))
    room.transfers.clean()
    assert room.left == sorted([mine.name, foreign.name])
    room.send(opened.transfer)
    room.transfers.close()
    assert room.left == [foreign.name]
