"""Takes: what is written is what is read, files appear whole or not at all, and none replaces another."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyloudnorm
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from audio_files import takes
from audio_files.publishing import clean_leftovers, folder_error, publish
from audio_files.sidecars import read_sidecar
from audio_files.takes import Take, TakeWriter, slug
from protocols.errors import ErrorCode, RequestError

RATE = 32_000
REPOSITORY = Path(__file__).parents[2]


def noise(frames: int, channels: int = 2, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((frames, channels)) * level).astype(np.float32)


def writer(folder: Path, hint: str = "warm pads", **options: Any) -> TakeWriter:
    settings: dict[str, Any] = {"sample_rate": RATE, "channels": 2, "subtype": "FLOAT"} | options
    return TakeWriter(folder, hint, **settings)


def make(folder: Path, samples: np.ndarray, sidecar: object = None, **options: Any) -> Take:
    with writer(folder, channels=samples.shape[1], **options) as take:
        for start in range(0, len(samples), 4999):
            take.write(samples[start : start + 4999])
        return take.finish({} if sidecar is None else sidecar)


def refusal(code: ErrorCode, field: str, action: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        action()
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.text
    return caught.value.text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_take_and_sidecar(tmp_path: Path) -> None:
    samples = noise(70_001)
    take = make(tmp_path, samples, {"prompt": "Warm pads!", "seed": 7})
    assert names(tmp_path) == sorted([take.path.name, take.sidecar_path.name])
    assert re.fullmatch(r"warm-pads_\d{8}-\d{6}_[0-9a-f]{8}\.wav", take.path.name)
    heard, rate = soundfile.read(take.path, dtype="float32")
    assert rate == RATE
    assert np.array_equal(heard, samples)
    assert take.seconds * RATE == take.frames == 70_001
    content = read_sidecar(take.sidecar_path)
    assert content == json.loads(take.sidecar_path.read_text())
    assert list(content) == ["prompt", "seed", "audio"]
    audio = content["audio"]
    assert audio["sha256"] == take.sha256 == hashlib.sha256(take.path.read_bytes()).hexdigest()
    assert audio | {"loudness": None, "sha256": None} == {
        "file": take.path.name,
        "format": "wav",
        "subtype": "FLOAT",
        "sample_rate": RATE,
        "channels": 2,
        "frames": 70_001,
        "seconds": 70_001 / RATE,
        "sha256": None,
        "dither": False,
        "over_full_scale": 0,
        "loudness": None,
    }
    assert audio["loudness"]["gain_db"] == 0.0
    assert audio["loudness"]["peak_dbfs"] == pytest.approx(20 * np.log10(np.abs(samples).max()))


@settings(max_examples=40, deadline=None)
@given(
    samples=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 300), st.integers(1, 3)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    cut=st.integers(0, 300),
)
def test_float_takes_hold_every_bit(samples: np.ndarray, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder, writer(Path(folder), channels=samples.shape[1]) as take:
        take.write(samples[:cut])
        take.write(samples[cut:])
        path = take.finish({}).path
        heard, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert heard.tobytes() == samples.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    steps=arrays.arrays(np.int16, st.tuples(st.integers(1, 200), st.just(2))),
    kind=st.sampled_from([("wav", "PCM_16"), ("wav", "PCM_24"), ("flac", "PCM_16"), ("flac", "PCM_24")]),
)
def test_pcm_takes_keep_samples_on_its_steps(steps: np.ndarray, kind: tuple[str, str]) -> None:
    samples = (steps / 32_768).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        take = make(Path(folder), samples, format=kind[0], subtype=kind[1])
        heard, _ = soundfile.read(take.path, dtype="float32", always_2d=True)
        assert (soundfile.info(take.path).subtype, take.path.suffix) == (kind[1], f".{kind[0]}")
    assert np.array_equal(heard, samples)


@pytest.mark.parametrize(
    ("format", "subtype", "bits"), [("wav", "PCM_16", 16), ("wav", "PCM_24", 24), ("flac", "PCM_16", 16)]
)
def test_pcm_rounds_to_the_nearest_step_and_clips_only_what_is_over(
    tmp_path: Path, format: str, subtype: str, bits: int
) -> None:
    step = 2.0 ** (1 - bits)
    wanted = np.array([[-0.7, -1], [-0.4, 0], [0.4, 0], [0.6, 1]]) * [step, step]
    over = np.array([[1.5, 1 - step], [-3.0, -1.0]])
    take = make(tmp_path, np.concatenate([wanted, over])[:, :1].astype(np.float32), format=format, subtype=subtype)
    heard, _ = soundfile.read(take.path, always_2d=True)
    assert heard[:, 0].tolist() == [*wanted[:, 1], *over[:, 1]]
    assert take.over_full_scale == 2
    assert read_sidecar(take.sidecar_path)["audio"]["over_full_scale"] == 2


def test_dither_is_asked_for_unbiased_and_the_same_every_time(tmp_path: Path) -> None:
    samples = np.full((RATE, 1), 0.25 / 32_768, dtype=np.float32)
    plain = make(tmp_path, samples, subtype="PCM_16")
    first, second = (make(tmp_path, samples, subtype="PCM_16", dither=True) for _ in range(2))
    assert not soundfile.read(plain.path, dtype="int16")[0].any()
    dithered = soundfile.read(first.path, dtype="int16")[0]
    assert set(dithered) == {-1, 0, 1}
    assert dithered.mean() == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(dithered, soundfile.read(second.path, dtype="int16")[0])


def test_loudness_reaches_its_target(tmp_path: Path) -> None:
    samples = noise(RATE * 3, level=0.02)
    take = make(tmp_path, samples, loudness="lufs", subtype="PCM_24")
    heard, _ = soundfile.read(take.path)
    before = pyloudnorm.Meter(RATE).integrated_loudness(samples.astype(np.float64))
    assert take.levelling.integrated_lufs == pytest.approx(before, abs=1e-6)
    assert pyloudnorm.Meter(RATE).integrated_loudness(heard) == pytest.approx(-14.0, abs=0.01)
    assert take.levelling.gain_db == pytest.approx(-14.0 - before, abs=1e-6)
    assert not take.levelling.limited_by_peak
    assert np.allclose(heard, samples * take.levelling.gain, atol=1e-6)
    report = read_sidecar(take.sidecar_path)["audio"]["loudness"]
    assert report["mode"] == "lufs"
    assert report["integrated_lufs"] == pytest.approx(before, abs=1e-6)
    assert len(names(tmp_path)) == 2


def test_a_peak_holds_the_gain_back_instead_of_being_clipped(tmp_path: Path) -> None:
    samples = noise(RATE * 2, level=0.01)
    samples[5000] = 0.7
    take = make(tmp_path, samples, loudness="lufs")
    heard, _ = soundfile.read(take.path, dtype="float32")
    assert take.levelling.limited_by_peak
    assert np.abs(heard).max() == pytest.approx(10 ** (-1 / 20), rel=1e-6)
    np.testing.assert_allclose(heard, samples * np.float32(take.levelling.gain))


def test_levels_over_full_scale_survive_until_the_gain_is_known(tmp_path: Path) -> None:
    samples = noise(RATE, level=1.5)
    take = make(tmp_path, samples, loudness="peak", subtype="PCM_24")
    heard, _ = soundfile.read(take.path)
    assert take.over_full_scale == 0
    assert np.abs(heard).max() == pytest.approx(10 ** (-1 / 20), abs=1e-6)
    np.testing.assert_allclose(heard, samples * take.levelling.gain, atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "level", "mode", "reason"),
    [
        (RATE, 1e-3, "lufs", "quieter"),
        (RATE, 1e-3, "peak", "quieter"),
        (RATE, 0.0, "lufs", "quieter"),
        (5000, 0.1, "lufs", "0.4 s"),
    ],
)
def test_near_silence_and_blips_are_left_alone(
    tmp_path: Path, frames: int, level: float, mode: str, reason: str
) -> None:
    samples = noise(frames, level=level)
    take = make(tmp_path, samples, loudness=mode)
    assert np.array_equal(soundfile.read(take.path, dtype="float32")[0], samples)
    assert reason in take.levelling.skipped
    report = read_sidecar(take.sidecar_path)["audio"]["loudness"]
    assert (report["gain_db"], report["skipped"]) == (0.0, take.levelling.skipped)
    assert (report["peak_dbfs"] is None) == (level == 0.0)


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"format": "mp3"}, ErrorCode.UNSUPPORTED, "format"),
        ({"format": "flac", "subtype": "FLOAT"}, ErrorCode.UNSUPPORTED, "subtype"),
        ({"subtype": "PCM_8"}, ErrorCode.UNSUPPORTED, "subtype"),
        ({"loudness": "louder"}, ErrorCode.OUT_OF_RANGE, "loudness"),
        ({"sample_rate": 0}, ErrorCode.OUT_OF_RANGE, "sample_rate"),
        ({"sample_rate": 700_000, "format": "flac", "subtype": "PCM_16"}, ErrorCode.OUT_OF_RANGE, "sample_rate"),
        ({"sample_rate": 4000, "loudness": "lufs"}, ErrorCode.OUT_OF_RANGE, "sample_rate"),
        ({"channels": 0}, ErrorCode.OUT_OF_RANGE, "channels"),
        ({"channels": 9, "format": "flac", "subtype": "PCM_16"}, ErrorCode.OUT_OF_RANGE, "channels"),
        ({"channels": 6, "loudness": "lufs"}, ErrorCode.OUT_OF_RANGE, "channels"),
    ],
)
def test_bad_parameters_are_refused_before_a_file_is_made(
    tmp_path: Path, options: dict[str, Any], code: ErrorCode, field: str
) -> None:
    refusal(code, field, lambda: writer(tmp_path, **options))
    assert names(tmp_path) == []


@pytest.mark.parametrize(("format", "rate"), [("flac", 655_350), ("flac", 1000), ("wav", 768_000), ("flac", 44_101)])
def test_the_edges_of_the_sample_rates_can_be_written(tmp_path: Path, format: str, rate: int) -> None:
    assert (
        soundfile.info(make(tmp_path, noise(99), format=format, sample_rate=rate, subtype="PCM_16").path).samplerate
        == rate
    )


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (np.zeros((5, 3), np.float32), ErrorCode.BAD_TYPE),
        (np.zeros(5, np.float32), ErrorCode.BAD_TYPE),
        (np.zeros((5, 2), np.int16), ErrorCode.BAD_TYPE),
        ([[0.0, 0.0]], ErrorCode.BAD_TYPE),
        (np.full((5, 2), np.nan, np.float32), ErrorCode.MALFORMED),
        (np.full((5, 2), 1e300), ErrorCode.MALFORMED),
    ],
)
def test_a_bad_block_is_refused_and_the_take_goes_on(tmp_path: Path, block: Any, code: ErrorCode) -> None:
    with writer(tmp_path) as take:
        take.write(noise(100))
        refusal(code, "audio", lambda: take.write(block))
        take.write(noise(100, seed=1))
        assert take.finish({}).frames == 200


def test_a_wav_file_never_outgrows_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takes, "_MAX_WAV_BYTES", 8000)
    with writer(tmp_path) as take:
        take.write(noise(1000))
        assert "finish" not in refusal(ErrorCode.TOO_LONG, "audio", lambda: take.write(noise(1)))
        assert take.finish({}).frames == 1000


class Recipe(msgspec.Struct):
    prompt: str
    seed: int


def test_sidecars_take_structs_and_numbers_of_numpy(tmp_path: Path) -> None:
    take = make(tmp_path, noise(10), Recipe("dusty drums", 2**53))
    assert read_sidecar(take.sidecar_path)["seed"] == 2**53
    kept = {"peak": np.float32(0.5), "codes": np.arange(3), "source": Path("a.wav"), "level": float("-inf"), "n": None}
    content = read_sidecar(make(tmp_path, noise(10), kept).sidecar_path)
    del content["audio"]
    assert content == {"peak": 0.5, "codes": [0, 1, 2], "source": "a.wav", "level": None, "n": None}


def test_a_bad_sidecar_costs_nothing_but_another_call(tmp_path: Path) -> None:
    with writer(tmp_path) as take:
        refusal(ErrorCode.EMPTY, "audio", lambda: take.finish({}))
        take.write(noise(100))
        endless: dict[str, Any] = {}
        endless["self"] = endless
        for sidecar in ([1], 5, "text", {"lock": threading.Lock()}, {(1, 2): 3}, endless):
            refusal(ErrorCode.BAD_TYPE, "sidecar", partial(take.finish, sidecar))
        refusal(ErrorCode.MALFORMED, "sidecar", lambda: take.finish({"audio": 1}))
        refusal(ErrorCode.TOO_LARGE, "sidecar", lambda: take.finish({"text": "x" * 2**24}))
        take.write(noise(100))
        assert take.finish({}).frames == 200


def test_reading_a_bad_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "take.json"
    refusal(ErrorCode.NOT_FOUND, "path", lambda: read_sidecar(path))
    refusal(ErrorCode.BAD_TYPE, "path", lambda: read_sidecar(tmp_path))
    evil = ['{"audio": {"file": "../../a.wav"}}', '{"audio": {"file": "C:a.wav"}}', '{"audio": {"file": ".."}}']
    for text in ("", "{", "[" * 100_000, "[]", "{}", '{"audio": 3}', '{"audio": {"file": ""}}', *evil):
        path.write_text(text)
        refusal(ErrorCode.MALFORMED, "path", lambda: read_sidecar(path))
    path.write_bytes(b'"\xff\xfe"')
    refusal(ErrorCode.MALFORMED, "path", lambda: read_sidecar(path))
    refusal(ErrorCode.NOT_ALLOWED, "path", lambda: read_sidecar(path, allowed_folders=[]))
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    refusal(ErrorCode.TOO_LARGE, "path", lambda: read_sidecar(path))


def test_with_leaves_nothing_of_a_take_that_is_not_finished(tmp_path: Path) -> None:
    for loudness in ("none", "lufs"):
        with writer(tmp_path, loudness=loudness) as take:
            take.write(noise(100))
            assert len(names(tmp_path)) == 1
        assert names(tmp_path) == []
        refusal(ErrorCode.NOT_ALLOWED, "take", partial(take.write, noise(1)))
        refusal(ErrorCode.NOT_ALLOWED, "take", partial(take.finish, {}))


def test_abandoning_a_finished_take_keeps_it(tmp_path: Path) -> None:
    with writer(tmp_path) as take:
        take.write(noise(100))
        done = take.finish({})
        take.abandon()
    assert done.path.exists()
    assert done.sidecar_path.exists()


def test_eight_threads_finish_at_once_under_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{number:08x}" for number in range(8)]
    tries = threading.local()

    def same_ids_for_everybody(_: int) -> str:
        if not hasattr(tries, "ids"):
            tries.ids = iter(ids)
        return str(next(tries.ids))

    monkeypatch.setattr("secrets.token_hex", same_ids_for_everybody)
    monkeypatch.setattr("time.strftime", lambda _: "20250131-120000")
    gate = threading.Barrier(8)
    done: list[tuple[int, Take]] = []

    def run(number: int) -> None:
        with writer(tmp_path) as take:
            take.write(noise(3000, seed=number))
            gate.wait(timeout=20)
            done.append((number, take.finish({"number": number})))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len({take.path for _, take in done}) == len({take.sidecar_path for _, take in done}) == 8
    assert len(names(tmp_path)) == 16
    for number, take in done:
        assert np.array_equal(soundfile.read(take.path, dtype="float32")[0], noise(3000, seed=number))
        content = read_sidecar(take.sidecar_path)
        assert (content["number"], content["audio"]["file"]) == (number, take.path.name)


def test_a_sidecar_whose_name_is_taken_moves_the_whole_take_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["00000000", "11111111"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(ids))
    monkeypatch.setattr("time.strftime", lambda _: "20250131-120000")
    other = tmp_path / "warm-pads_20250131-120000_00000000.json"
    other.write_text("mine")
    take = make(tmp_path, noise(100))
    assert other.read_text() == "mine"
    assert names(tmp_path) == sorted([other.name, take.path.name, take.sidecar_path.name])
    assert take.path.stem.endswith("11111111")


@pytest.fixture(params=["links", "claims"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Publishing with hard links, and as on a file system that has none."""
    if request.param == "claims":

        def no_links(source: object, target: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr("os.link", no_links)
    return str(request.param)


@pytest.mark.usefixtures("file_system")
def test_publishing_never_replaces_a_file(tmp_path: Path) -> None:
    final, first, second = tmp_path / "a.wav", tmp_path / "1", tmp_path / "2"
    first.write_text("first")
    second.write_text("second")
    publish(first, final)
    with pytest.raises(FileExistsError):
        publish(second, final)
    assert (final.read_text(), second.read_text()) == ("first", "second")
    assert names(tmp_path) == ["2", "a.wav"]


@pytest.mark.usefixtures("file_system")
def test_of_many_that_publish_one_name_one_wins(tmp_path: Path) -> None:
    gate, won = threading.Barrier(8), []

    def run(number: int) -> None:
        temporary = tmp_path / f"{number}"
        temporary.write_text(str(number))
        gate.wait(timeout=20)
        try:
            publish(temporary, tmp_path / "final")
        except FileExistsError:
            return
        won.append(str(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert won == [(tmp_path / "final").read_text()]
    assert len(names(tmp_path)) == 8


@pytest.mark.usefixtures("file_system")
def test_takes_on_either_file_system(tmp_path: Path) -> None:
    take = make(tmp_path, noise(1000), loudness="peak")
    assert names(tmp_path) == sorted([take.path.name, take.sidecar_path.name])


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    prelude = "import os, sys, numpy as np\nfrom pathlib import Path\nfrom audio_files import takes\n"
    opening = "w = takes.TakeWriter(Path(sys.argv[1]), 'x', sample_rate=32000, channels=1, subtype='FLOAT')\n"
    command = [sys.executable, "-c", prelude + opening + code, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


KILL = "lambda *_: os.kill(os.getpid(), 9)"


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("code", "finals"),
    [
        ("w.write(np.zeros((90000, 1), np.float32)); os.kill(os.getpid(), 9)", 0),
        (f"takes.publish = {KILL}; w.write(np.zeros((90000, 1), np.float32)); w.finish({{}})", 0),
        # Killed between the two names: the audio is whole, and no sidecar speaks of it yet.
        (
            "real = takes.publish\ndef once(a, b):\n    real(a, b)\n    os.kill(os.getpid(), 9)\n"
            "takes.publish = once; w.write(np.zeros((90000, 1), np.float32)); w.finish({})",
            1,
        ),
    ],
)
def test_a_killed_process_leaves_no_half_file_under_a_final_name(tmp_path: Path, code: str, finals: int) -> None:
    assert run_python(code, tmp_path).returncode == -signal.SIGKILL
    found = [path for path in tmp_path.iterdir() if not path.name.startswith(".take-")]
    assert [path.suffix for path in found] == [".wav"] * finals
    assert all(soundfile.info(path).frames == 90_000 for path in found)
    leftovers = [path for path in tmp_path.iterdir() if path not in found]
    assert leftovers
    assert clean_leftovers(tmp_path) == []
    for path in leftovers:
        os.utime(path, (time.time() - 90_000,) * 2)
    assert sorted(clean_leftovers(tmp_path)) == sorted(leftovers)
    assert [tmp_path / name for name in names(tmp_path)] == found


def test_cleaning_takes_nothing_that_is_not_a_leftover(tmp_path: Path) -> None:
    others = [".take-1.part", "take.wav", ".take-" + "0" * 32 + ".wav", ".take-" + "g" * 32 + ".part", "x.part"]
    for name in (*others, ".take-" + "0" * 32 + ".part", ".take-" + "1" * 32 + ".claim"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    assert len(clean_leftovers(tmp_path)) == 2
    assert names(tmp_path) == sorted(others)
    refusal(ErrorCode.NOT_FOUND, "folder", lambda: clean_leftovers(tmp_path / "missing"))


@pytest.mark.skipif(os.name == "nt", reason="resource limits")
@pytest.mark.parametrize("loudness", ["none", "peak"])
def test_a_disk_that_takes_no_more_names_its_folder(tmp_path: Path, loudness: str) -> None:
    code = (
        "import resource\nfrom protocols.errors import RequestError\nw.abandon()\n"
        f"w = takes.TakeWriter(Path(sys.argv[1]), 'x', sample_rate=32000, channels=1, loudness='{loudness}')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200000, resource.RLIM_INFINITY))\n"
        "noise = np.random.default_rng(0).random((30000, 1), np.float32)\n"
        "try:\n    for _ in range(20): w.write(noise)\n    w.finish({})\n"
        "except RequestError as error: print(error.field, error.value, sep='|')\n"
        "try: w.finish({})\nexcept RequestError as error: print(error.field)\n"
        "w.abandon(); print(os.listdir(sys.argv[1]))\n"
    )
    result = run_python(code, tmp_path)
    assert result.stdout.splitlines() == [f"folder|{tmp_path}"[:87], "folder", "[]"], result.stderr


def test_a_failed_finish_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for loudness in ("none", "lufs"):
        with writer(tmp_path, loudness=loudness) as take:
            take.write(noise(RATE))
            with monkeypatch.context() as patch:
                patch.setattr(takes, "sync_to_disk", full)
                text = refusal(ErrorCode.TOO_LARGE, "folder", partial(take.finish, {}))
                assert "room" in text
            done = take.finish({})
        assert names(tmp_path) == sorted([done.path.name, done.sidecar_path.name])
        done.path.unlink()
        done.sidecar_path.unlink()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.TOO_LARGE),
        (errno.EDQUOT, ErrorCode.TOO_LARGE),
        (errno.EROFS, ErrorCode.NOT_ALLOWED),
        (errno.EIO, ErrorCode.INTERNAL),
    ],
)
def test_what_a_disk_says(number: int, code: ErrorCode) -> None:
    error = folder_error(OSError(number, os.strerror(number)), Path("takes"))
    assert (error.code, error.field, error.value) == (code, "folder", "takes")


def test_a_folder_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    refusal(ErrorCode.NOT_FOUND, "folder", lambda: writer(tmp_path / "missing"))
    (tmp_path / "file").touch()
    refusal(ErrorCode.NOT_FOUND, "folder", lambda: writer(tmp_path / "file"))
    assert names(tmp_path) == ["file"]


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no permissions of this kind")
def test_a_folder_without_permission_is_named(closed_folder: Path) -> None:
    root = os.geteuid() == 0
    if root:  # root may write everywhere
        os.seteuid(65_534)
    try:
        text = refusal(ErrorCode.NOT_ALLOWED, "folder", lambda: writer(closed_folder))
    finally:
        if root:
            os.seteuid(0)
    assert str(closed_folder) in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Warm, dusty pads!", "warm-dusty-pads"),
        ("Café del Mar", "cafe-del-mar"),
        ("../../etc/passwd", "etc-passwd"),
        ("暖かいパッド", "take"),
        ("", "take"),
        ("con", "con"),
        ("a" * 100, "a" * 40),
        ("ab " * 100, ("ab-" * 14)[:40].strip("-")),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected
