"""The writer's own thread: order is kept, a full queue says so, nothing waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from audio_files.background import BackgroundTakeWriter
from audio_files.takes import TakeWriter
from protocols.errors import ErrorCode, RequestError

RATE = 1000


class SlowDisk(TakeWriter):
    """Writes when it is let, and breaks when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "slow", sample_rate=RATE, channels=1, subtype="FLOAT")
        self.let = threading.Event()
        self.arrived = threading.Event()
        self.breakage: Exception | None = None

    def write(self, block: npt.NDArray[np.floating]) -> None:
        self.arrived.set()
        assert self.let.wait(timeout=20)
        if self.breakage is not None:
            raise self.breakage
        super().write(block)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SlowDisk]:
    slow = SlowDisk(tmp_path)
    yield slow
    slow.let.set()


def block(number: int, frames: int = 100) -> npt.NDArray[np.float32]:
    return np.full((frames, 1), number / 100, dtype=np.float32)


def test_blocks_arrive_in_order_and_whole(tmp_path: Path) -> None:
    with BackgroundTakeWriter(TakeWriter(tmp_path, "a", sample_rate=RATE, channels=1, subtype="FLOAT")) as take:
        reused = np.empty((100, 1), dtype=np.float32)
        for number in range(50):
            reused[:] = block(number)
            assert take.write(reused)
        done = take.finish({"kind": "test"}, timeout_seconds=20)
        assert take.finish({}, timeout_seconds=20) is done
        assert take.finish_later({}).result(timeout=20) is done
        assert take.abandon()
    heard, _ = soundfile.read(done.path, dtype="float32", always_2d=True)
    assert np.array_equal(heard, np.concatenate([block(number) for number in range(50)]))


def test_a_full_queue_says_so_at_once(disk: SlowDisk) -> None:
    with BackgroundTakeWriter(disk, max_queued_seconds=0.5) as take:
        assert take.write(block(0))
        assert disk.arrived.wait(timeout=20)
        taken = [take.write(block(number)) for number in range(1, 8)]
        assert taken == [True] * 4 + [False] * 3
        assert (take.refused_frames, take.queued_frames) == (300, 500)
        with pytest.raises(RequestError, match="too_large"):
            take.write(block(0, 501))
        disk.let.set()
        assert take.finish({}, timeout_seconds=20).frames == 500
        assert take.queued_frames == 0


def test_finish_waits_with_a_bound_and_can_be_asked_again(disk: SlowDisk) -> None:
    with BackgroundTakeWriter(disk) as take:
        take.write(block(0))
        with pytest.raises(RequestError) as caught:
            take.finish({"first": 1}, timeout_seconds=0.05)
        assert (caught.value.code, caught.value.field) == (ErrorCode.BUSY, "take")
        with pytest.raises(RequestError, match="not_allowed"):
            take.write(block(1))
        disk.let.set()
        assert take.finish({}, timeout_seconds=20).frames == 100


def test_a_bad_sidecar_leaves_the_take_open(tmp_path: Path) -> None:
    with BackgroundTakeWriter(TakeWriter(tmp_path, "a", sample_rate=RATE, channels=1)) as take:
        take.write(block(0))
        with pytest.raises(RequestError, match="sidecar"):
            take.finish({"audio": 1}, timeout_seconds=20)
        assert take.write(block(1))
        assert take.finish({}, timeout_seconds=20).frames == 200


@pytest.mark.parametrize("breakage", [RequestError(ErrorCode.TOO_LARGE, "folder", "takes", "room"), MemoryError()])
def test_a_broken_disk_reaches_the_caller(disk: SlowDisk, tmp_path: Path, breakage: Exception) -> None:
    disk.breakage = breakage
    with BackgroundTakeWriter(disk) as take:
        take.write(block(0))
        take.write(block(1))
        future = take.finish_later({})
        disk.let.set()
        with pytest.raises(RequestError) as caught:
            future.result(timeout=20)
        for action in (lambda: take.write(block(1)), lambda: take.finish({}, timeout_seconds=20)):
            with pytest.raises(RequestError) as again:
                action()
            assert again.value is caught.value
    assert list(tmp_path.iterdir()) == []


def test_a_bad_block_is_refused_where_it_is_given(tmp_path: Path) -> None:
    with BackgroundTakeWriter(TakeWriter(tmp_path, "a", sample_rate=RATE, channels=1)) as take:
        with pytest.raises(RequestError, match="NaN"):
            take.write(np.full((10, 1), np.nan, dtype=np.float32))
        assert take.write(block(0))
        assert take.finish({}, timeout_seconds=20).frames == 100


def test_abandon_drops_the_take(disk: SlowDisk, tmp_path: Path) -> None:
    take = BackgroundTakeWriter(disk)
    take.write(block(0))
    take.write(block(1))
    assert disk.arrived.wait(timeout=20)
    future = take.finish_later({})
    assert not take.abandon(timeout_seconds=0.05)
    disk.let.set()
    assert take.abandon(timeout_seconds=20)
    with pytest.raises(RequestError, match="not_allowed"):
        future.result(timeout=20)
    for action in (lambda: take.write(block(0)), lambda: take.finish({}, timeout_seconds=20)):
        with pytest.raises(RequestError, match="not_allowed"):
            action()
    assert list(tmp_path.iterdir()) == []


def test_a_queue_without_room_is_refused(tmp_path: Path) -> None:
    with (
        TakeWriter(tmp_path, "a", sample_rate=RATE, channels=1) as take,
        pytest.raises(RequestError, match="max_queued"),
    ):
        BackgroundTakeWriter(take, max_queued_seconds=0.0)
