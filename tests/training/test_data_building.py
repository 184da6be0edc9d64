"""Building data sets: the same shards however often it was stopped. What is rendered needs FluidSynth and its soundfont."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine.training.composer import REVISION, compose
from engine.training.data import HELD_OUT, TRAIN, Progress, Split, build, build_dataset
from engine.training.data.build import HELD_OUT_EVERY, is_held_out, shard_seeds, shards_for
from engine.training.data.folders import RECIPE_FILE, sole_writer
from engine.training.data.records import record_of
from engine.training.data.shards import to_pcm
from engine.training.rendering import MAX_WORKERS, Renderer
from protocols.errors import ErrorCode, RequestError

ROOT = Path(__file__).resolve().parents[2]
RATE = 8000
PIECES = 2
SHARD_HOURS = PIECES * 29 / 3600

RUN = f"""
import sys
from engine.training.data import build

build._PIECES = {PIECES}

if __name__ == "__main__":
    build.build_dataset(
        sys.argv[1],
        3 * {SHARD_HOURS},
        held_out_hours={SHARD_HOURS},
        workers=2,
        sample_rate={RATE},
        progress=lambda done: print(done.shards, flush=True),
    )
"""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_PIECES", PIECES)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    try:
        return Renderer(sample_rate=RATE)
    except RequestError as error:
        pytest.skip(str(error))


def refused(code: ErrorCode, field: str, call: Callable[[], Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    assert (caught.value.code, caught.value.field) == (code, field)
    return caught.value


def test_held_out_seeds_are_never_trained_on() -> None:
    for seed0 in (0, 1, 24, 1_000_000_007):
        train = [seed for number in range(6) for seed in shard_seeds(TRAIN, number, seed0)]
        held_out = [seed for number in range(3) for seed in shard_seeds(HELD_OUT, number, seed0)]
        assert len(train) == len(set(train)) == 6 * 64
        assert len(held_out) == len(set(held_out)) == 3 * 64
        assert all(seed % HELD_OUT_EVERY == 0 for seed in held_out)
        assert not any(is_held_out(seed) for seed in train)
        assert min(train + held_out) >= seed0
        assert train == sorted(train)
    # Whatever the first seed is: what one data set holds out, no other trains on.
    assert not {*shard_seeds(HELD_OUT, 0, 0)} & {*shard_seeds(TRAIN, 0, 7)}


def test_a_shards_seeds_do_not_depend_on_how_many_there_are() -> None:
    assert shard_seeds(TRAIN, 2, 5) == [s for n in range(4) for s in shard_seeds(TRAIN, n, 5)][128:192]
    assert shards_for(0) == 0
    assert shards_for(1e-6) == 1
    assert shards_for(100) == 191


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hours", -1), ("hours", float("nan")), ("hours", float("inf")), ("hours", 1e9), ("held_out_hours", -0.1),
        ("workers", 0), ("workers", MAX_WORKERS + 1), ("seed0", -1), ("seed0", 1 << 63),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(tmp_path: Path, field: str, value: float) -> None:
    folder = tmp_path / "data"
    settings: dict[str, Any] = {"hours": 1, field: value}
    refused(ErrorCode.OUT_OF_RANGE, field, lambda: build_dataset(folder, **settings))
    assert not folder.exists()


def test_a_missing_or_wrong_soundfont_is_named(renderer: Renderer, tmp_path: Path, small_shards: None) -> None:
    missing = tmp_path / "none.sf2"
    refused(ErrorCode.NOT_FOUND, "soundfont", lambda: build_dataset(tmp_path / "data", 1, soundfont=missing))
    wrong = tmp_path / "wrong.sf2"
    wrong.write_bytes(b"no samples")
    folder = tmp_path / "data"
    call = lambda: build_dataset(folder, SHARD_HOURS, held_out_hours=0, soundfont=wrong)  # noqa: E731
    refused(ErrorCode.MALFORMED, "soundfont", call)
    assert not list(folder.glob("*/*"))


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    font = tmp_path / "any.sf2"
    font.write_bytes(b"a font")
    (tmp_path / "file").touch()
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: build_dataset(tmp_path / "file" / "data", 0, soundfont=font))
    taken = tmp_path / "taken"
    build_dataset(taken, 0, held_out_hours=0, seed0=1, soundfont=font)
    error = refused(ErrorCode.NOT_ALLOWED, "folder", lambda: build_dataset(taken, 0, seed0=2, soundfont=font))
    assert "soundfont" in error.allowed
    with sole_writer(taken):
        refused(ErrorCode.BUSY, "folder", lambda: build_dataset(taken, 0, seed0=1, soundfont=font))


def test_a_recipe_tells_fonts_apart_by_their_content(tmp_path: Path) -> None:
    one, same, other = tmp_path / "one.sf2", tmp_path / "same.sf2", tmp_path / "other.sf2"
    for path, content in ((one, b"a"), (same, b"a"), (other, b"b")):
        path.write_bytes(content)
    build_dataset(tmp_path / "data", 0, held_out_hours=0, soundfont=one)
    build_dataset(tmp_path / "data", 0, held_out_hours=0, soundfont=same)
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: build_dataset(tmp_path / "data", 0, soundfont=other))
    assert f'"composer": {REVISION}' in (tmp_path / "data" / RECIPE_FILE).read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_build_goes_on_where_it_was(renderer: Renderer, tmp_path: Path, small_shards: None) -> None:
    (tmp_path / "make_data.py").write_text(RUN)
    folder = tmp_path / "data"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "make_data", str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"  # a shard is finished, another is being made
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "workers outlive the process they work for"

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.index")}
    assert 1 <= len(before) < 4
    (folder / TRAIN).mkdir(exist_ok=True)
    (folder / TRAIN / ".00001.pcm-0123456789abcdef.part").write_bytes(b"half of a shard")
    seen: list[Progress] = []
    build_dataset(
        folder, 3 * SHARD_HOURS, held_out_hours=SHARD_HOURS, workers=1, sample_rate=RATE, progress=seen.append
    )
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert [(one.shards, one.total) for one in seen] == [(count, 4) for count in range(len(before) + 1, 5)]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    shards = [f"{HELD_OUT}/00000", *(f"{TRAIN}/0000{number}" for number in range(3))]
    assert names == {RECIPE_FILE, ".lock", *(f"{shard}{kind}" for shard in shards for kind in (".pcm", ".index"))}

    seconds = 0.0
    for name, seeds in ((HELD_OUT, (0, 25)), (TRAIN, range(1, 7))):
        split = Split(folder / name)
        seconds += split.seconds
        assert [record.seed for record in split.records] == list(seeds)
        for number, record in enumerate(split.records):
            piece = compose(record.seed)
            assert record == record_of(piece, record.offset, record.length)
            assert np.array_equal(split.read(number, 0, record.length), to_pcm(renderer.render(piece).mix))
    assert seen[-1].hours == pytest.approx(seconds / 3600)
    build_dataset(folder, SHARD_HOURS, held_out_hours=0, sample_rate=RATE, progress=lambda done: pytest.fail(str(done)))
