"""The exchange folder: paths, and what is cleaned and what never is. Times are set, not waited for."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from audio_files import publishing, regions
from audio_files.exchange import YOUNG_SECONDS, ExchangeFolder, note_use, title_of
from audio_files.publishing import move_whole, write_whole
from audio_files.regions import read_region
from protocols.errors import ErrorCode, RequestError

NOW = 2_000_000_000.0
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> ExchangeFolder:
    return ExchangeFolder(tmp_path / "state" / "exchange", 1000, DAY)


def handed(folder: ExchangeFolder, age: float, size: int = 100, tail: str = "") -> Path:
    """A file that was last written and read so many seconds ago."""
    path = folder.fresh()
    path = path.with_name(path.name + tail)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_paths_are_new_and_their_folder_is_there(folder: ExchangeFolder) -> None:
    paths = [folder.fresh("WAV"), folder.fresh(".wav"), folder.fresh("mid", "lead-line")]
    assert len(set(paths)) == 3
    assert folder.folder.is_dir()
    assert [path.suffix for path in paths] == [".wav", ".wav", ".mid"]
    assert all(path.parent == folder.folder and not path.exists() for path in paths)
    assert re.fullmatch(r"handed-\d{8}-\d{6}-[0-9a-f]{12}_lead-line\.mid", paths[2].name)


@pytest.mark.parametrize("suffix", ["", ".", "w/v", "../x", "wav\0", "häh", "waveformat", "a b"])
def test_a_suffix_that_is_none_is_refused(folder: ExchangeFolder, suffix: str) -> None:
    with pytest.raises(RequestError) as caught:
        folder.fresh(suffix)
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "suffix")


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RequestError) as caught:
        ExchangeFolder(tmp_path / "file" / "exchange", 1, 1).fresh()
    assert caught.value.code in (ErrorCode.NOT_FOUND, ErrorCode.INTERNAL)


def test_what_is_too_old_goes_and_what_hosts_put_beside_it(folder: ExchangeFolder) -> None:
    old = [handed(folder, DAY + 1), handed(folder, DAY + 1, tail=".part"), handed(folder, DAY + 1, tail=".asd")]
    kept = handed(folder, DAY - 1)
    assert sorted(folder.clean(now=NOW)) == sorted(old)
    assert list(folder.folder.iterdir()) == [kept]


def test_beyond_the_size_the_longest_unused_go_first_but_never_a_young_one(folder: ExchangeFolder) -> None:
    ages = (5000, 4000, 3000, YOUNG_SECONDS - 1, 10)
    files = [handed(folder, age, 400) for age in ages]
    assert folder.clean(now=NOW) == files[:3]
    assert sum(path.stat().st_size for path in folder.folder.iterdir()) == 800
    files += [handed(folder, 1, 800)]
    assert folder.clean(now=NOW) == []  # more than allowed, and all of it may still be written


def test_reading_keeps_a_file(folder: ExchangeFolder) -> None:
    read, unread = handed(folder, 5000, 600), handed(folder, 4000, 600)
    os.utime(read, (NOW - 2000, NOW - 5000))
    assert folder.clean(now=NOW) == [unread]


def test_reading_is_noted_where_the_system_does_not(folder: ExchangeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, foreign = folder.fresh(), folder.fresh().with_name("song.wav")
    for path in (sound, foreign):
        soundfile.write(path, [0.0] * 800, 8000)
        os.utime(path, (1000, 1000))
        note_use(path)
    assert (sound.stat().st_atime > 1000, sound.stat().st_mtime, foreign.stat().st_atime) == (True, 1000, 1000)
    noted: list[Path] = []
    monkeypatch.setattr(regions, "note_use", noted.append)
    read_region(sound, sample_rate=8000, channels=1, allowed_folders=[folder.folder])
    assert noted == [sound.resolve()]


def test_what_is_in_use_stays_and_counts_as_used(folder: ExchangeFolder) -> None:
    busy, idle = handed(folder, 5 * DAY, 900), handed(folder, 5000, 900)
    named = folder.folder / ".." / "exchange" / busy.name  # however it is spelt
    assert folder.clean([named, folder.folder / "gone.wav"], now=NOW) == [idle]
    assert folder.clean(now=NOW + DAY - 1) == []
    assert folder.clean(now=NOW + DAY + 1) == [busy]


def test_nothing_that_somebody_else_made_is_touched(folder: ExchangeFolder, tmp_path: Path) -> None:
    own = handed(folder, 9 * DAY)
    others = ["take_20261121-120000_0a1b2c3d.wav", "handed.wav", "handed-1-2-3.wav", "song.wav", own.name.upper()]
    for name in (*others, f"x{own.name}", f"{own.name}.a.b.c.d"):
        path = folder.folder / name
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    below = folder.folder / "queue" / own.name
    below.parent.mkdir()
    below.write_bytes(b"mine")
    os.utime(below, (0, 0))
    (folder.folder / own.name.replace("handed-2", "handed-1")).mkdir()
    outside = tmp_path / own.name
    outside.write_bytes(b"mine")
    os.utime(outside, (0, 0))
    if sys.platform != "win32":
        link = folder.fresh()
        link.symlink_to(outside)
        os.utime(link, (0, 0), follow_symlinks=False)
    before = sorted(folder.folder.iterdir())
    assert folder.clean(now=NOW) == [own]
    assert sorted(folder.folder.iterdir()) == [path for path in before if path != own]
    assert outside.read_bytes() == below.read_bytes() == b"mine"


def test_a_folder_that_is_not_there_is_clean(tmp_path: Path) -> None:
    assert ExchangeFolder(tmp_path / "none", 1, 1).clean() == []


def test_a_file_that_grows_while_the_folder_is_cleaned_stays(
    folder: ExchangeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = handed(folder, 2 * DAY)
    files = folder._files()
    os.utime(path, (NOW, NOW))
    monkeypatch.setattr(folder, "_files", lambda: files)
    assert folder.clean(now=NOW) == []
    assert path.exists()


def test_a_file_that_is_moved_appears_whole_also_from_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "take.wav", tmp_path / "music" / "out.wav"
    target.parent.mkdir()
    for attempt in (b"one disk", b"another disk"):
        source.write_bytes(attempt)
        move_whole(source, target)
        assert (target.read_bytes(), source.exists()) == (attempt, False)
        real = Path.replace

        def replace(self: Path, other: Path, real: Callable[..., Path] = real) -> Path:
            if self == source:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return real(self, other)

        monkeypatch.setattr(Path, "replace", replace)
    source.write_bytes(b"third")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RequestError, match="No space left"):
        move_whole(source, target)
    assert (source.read_bytes(), target.read_bytes()) == (b"third", b"another disk")
    assert list(target.parent.iterdir()) == [target]


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "about.json"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publishing, "sync_to_disk", full)
    with pytest.raises(RequestError, match="No space left"):
        write_whole(path, b"third")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_file_with_a_name_of_its_own_gives_it_on(folder: ExchangeFolder) -> None:
    assert title_of("/music/my loop.wav") == "my loop"
    assert title_of(str(folder.fresh("wav"))) == ""
