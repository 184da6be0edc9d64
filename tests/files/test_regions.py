"""Regions: exactly what was selected, mixed and resampled, and one clear refusal for everything else."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_files.channel_mixing import mix_gains
from audio_files.regions import Region, mix_and_resample, read_region
from protocols.errors import ErrorCode, RequestError

END = 128
"""Samples of the lower rate, at a resampled region's end, that depend on what is taken to come after it."""


def noise(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((frames, channels)) * 0.1).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 44_100, **options: Any) -> Path:
    soundfile.write(path, samples, rate, **({"subtype": "FLOAT"} | options))
    return path


def read(path: Path | str, **options: Any) -> Region:
    return read_region(path, **({"sample_rate": 44_100, "channels": 1, "allowed_folders": None} | options))


def refusal(code: ErrorCode, field: str, path: Path | str, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        read(path, **options)
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.text
    return caught.value.text


def test_region_in_samples_is_the_exact_slice(tmp_path: Path) -> None:
    samples = noise(200_000, 2)
    path = write(tmp_path / "a.wav", samples)
    region = read(path, start_samples=12_345, length_samples=150_001, channels=2)
    assert np.array_equal(region.audio, samples[12_345:162_346].T)
    assert region.audio.flags.c_contiguous
    assert (region.start_samples, region.length_samples, region.missing_samples) == (12_345, 150_001, 0)
    assert (region.source_rate, region.source_channels, region.path) == (44_100, 2, path.resolve())
    assert region.sha256 == hashlib.sha256(samples[12_345:162_346].tobytes()).hexdigest()
    assert region.seconds == Fraction(150_001, 44_100)


def test_region_in_seconds_rounds_to_the_nearest_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(44_100))
    region = read(path, start_seconds=0.1, length_seconds=0.25)
    assert (region.start_samples, region.length_samples) == (4410, 11_025)
    region = read(path, start_seconds=Fraction(3, 2) / 44_100, length_seconds=Fraction(1, 3))
    assert (region.start_samples, region.length_samples) == (2, 14_700)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("source_rate", "rate"), [(44_100, 32_000), (48_000, 44_100), (8_000, 48_000)])
def test_resampling_equals_soxr_in_one_shot(tmp_path: Path, source_rate: int, rate: int, channels: int) -> None:
    samples = noise(170_003, channels)
    path = write(tmp_path / "a.wav", samples, source_rate)
    region = read(path, start_samples=1000, sample_rate=rate, channels=channels)
    expected = soxr.resample(samples[1000:], source_rate, rate, quality="HQ")
    assert region.audio.shape == expected.T.shape
    edge = END * rate // min(source_rate, rate)
    np.testing.assert_allclose(region.audio[:, :-edge], expected.T[:, :-edge], atol=1e-6)
    assert abs(region.audio.shape[1] - 169_003 * rate / source_rate) <= 1


@pytest.mark.parametrize("source_rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_the_end_of_a_region_does_not_ring(source_rate: int) -> None:
    def tones(rate: int) -> np.ndarray:
        time = np.arange(rate) / rate
        return np.stack([0.5 * np.sin(2 * np.pi * pitch * time + phase) for pitch, phase in ((55, 1.2), (440, 1.9))])

    made = mix_and_resample(tones(source_rate), source_rate, sample_rate=32_000, channels=2)
    # At 8 kHz the last samples lie beyond the last one that is known.
    np.testing.assert_allclose(made[:, -200:], tones(32_000)[:, -200:], atol=0.04 if source_rate < 16_000 else 0.01)


@pytest.mark.parametrize(
    ("length", "rate", "samples"), [(1, 48_000, 1), (2, 44_100, 1), (1, 8_000, 4), (4, 192_000, 1)]
)
def test_a_region_of_a_few_samples_keeps_their_level(length: int, rate: int, samples: int) -> None:
    made = mix_and_resample(np.full((1, length), 0.5), rate, sample_rate=32_000, channels=1)
    assert made.shape == (1, samples)
    assert 0.1 < np.max(np.abs(made)) < 0.75


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_eleven_channels_of_any_sample_format(tmp_path: Path, subtype: str) -> None:
    samples = noise(19_200, 11)
    path = write(tmp_path / "a.wav", samples, 192_000, subtype=subtype)
    region = read(path, sample_rate=32_000)
    assert region.audio.shape == (1, 3200)
    expected = soxr.resample(samples.mean(axis=1), 192_000, 32_000, quality="HQ")
    np.testing.assert_allclose(region.audio[0, :-END], expected[:-END], atol=0.01)
    assert region.note == "the region's 11 channels are mixed to mono"


def test_a_region_says_what_became_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(44_100, 2))
    assert read(path, channels=2).note == ""
    assert read(path, length_seconds=1.5).note == "the file ends 0.5 s before the region does"


def test_audio_in_memory_goes_the_same_way_as_a_file(tmp_path: Path) -> None:
    samples = noise(100_000, 2)
    region = read(write(tmp_path / "a.wav", samples), sample_rate=32_000)
    assert np.array_equal(mix_and_resample(samples.T, 44_100, sample_rate=32_000, channels=1), region.audio)


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (np.zeros((1, 0), np.float32), ErrorCode.EMPTY),
        (np.zeros(8, np.float32), ErrorCode.BAD_TYPE),
        (np.zeros((1, 8), np.int16), ErrorCode.BAD_TYPE),
        (np.zeros((33, 8), np.float32), ErrorCode.UNSUPPORTED),
        (np.full((1, 8), np.nan), ErrorCode.MALFORMED),
        (np.full((1, 8), 1e300), ErrorCode.MALFORMED),
    ],
)
def test_bad_audio_in_memory_is_refused(audio: np.ndarray, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as caught:
        mix_and_resample(audio, 48_000, sample_rate=32_000, channels=1)
    assert (caught.value.code, caught.value.field) == (code, "audio")


@pytest.mark.parametrize("count", range(1, 33))
def test_mono_is_the_mean_and_stereo_never_gets_louder(tmp_path: Path, count: int) -> None:
    samples = noise(500, count)
    path = write(tmp_path / "a.wav", samples)
    np.testing.assert_allclose(read(path).audio[0], samples.mean(axis=1), atol=1e-7)
    gains = mix_gains(count, 2)
    np.testing.assert_allclose(gains.sum(axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(read(path, channels=2).audio, (samples @ gains).T, atol=1e-7)


def test_mono_to_stereo_is_the_same_signal_twice(tmp_path: Path) -> None:
    samples = noise(1000)
    assert np.array_equal(read(write(tmp_path / "a.wav", samples), channels=2).audio, np.repeat(samples.T, 2, axis=0))


def test_stereo_downmix_knows_where_a_surround_channel_stands(tmp_path: Path) -> None:
    centre, effects, left_back = mix_gains(6, 2)[[2, 3, 4]]
    assert centre[0] == centre[1] > 0
    assert not effects.any()
    assert left_back[0] > 0 == left_back[1]
    assert np.array_equal(mix_gains(6, 2)[[0, 2, 1, 4, 5, 3]], mix_gains(6, 2, vorbis_order=True))
    pairs = mix_gains(11, 2)
    assert (pairs[:10:2, 1] == 0).all()
    assert (pairs[1:10:2, 0] == 0).all()
    assert pairs[10].all()
    # The centre of an Ogg file is its second channel.
    tone = np.zeros((48_000, 6), dtype=np.float32)
    tone[:, 1] = 0.5 * np.sin(np.arange(48_000) * 0.05)
    path = write(tmp_path / "a.ogg", tone, 48_000, subtype="VORBIS")
    left, right = read(path, sample_rate=48_000, channels=2).audio
    np.testing.assert_allclose(left, right, atol=0.02)
    assert np.abs(left).max() > 0.05


def encodings() -> Iterator[tuple[str, str]]:
    for container in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(container):
            if container != "RAW":
                yield container, subtype


@pytest.mark.parametrize(("container", "subtype"), list(encodings()))
def test_every_encoding_gives_the_same_region_as_the_whole_file(tmp_path: Path, container: str, subtype: str) -> None:
    samples, path = noise(30_000), tmp_path / "sound.bin"
    for rate in (44_100, 22_050, 16_000, 8_000):
        try:
            with soundfile.SoundFile(path, "w", rate, 1, subtype, format=container) as file:
                file.write(samples)
            break
        except soundfile.SoundFileError:
            continue
    else:
        pytest.skip("libsndfile cannot write it")
    try:
        with soundfile.SoundFile(path) as file:
            whole = file.read(file.frames, dtype="float32", always_2d=True)
            found = file.samplerate
    except soundfile.SoundFileError:
        assert "decode" in refusal(ErrorCode.MALFORMED, "path", path)
        return
    region = read(path, start_samples=7001, length_samples=9000, sample_rate=found)
    # MP3 decoders are only promised to be exact to a rounding.
    np.testing.assert_allclose(region.audio[0], whole[7001:16_001, 0], atol=1e-6)


def test_seeking_in_vorbis_lands_on_the_sample_even_in_the_last_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", noise(44_100 * 40), subtype="VORBIS")
    whole, _ = soundfile.read(path, dtype="float32")
    for start in (0, 500_000, len(whole) - 15_000, len(whole) - 9000, len(whole) - 2000, len(whole) - 1):
        region = read(path, start_samples=start, length_samples=1500)
        assert np.array_equal(region.audio[0], whole[start : start + 1500]), start


def test_only_the_region_of_a_file_of_hours_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", noise(1000), 48_000, subtype="PCM_16")
    frames = 3 * 3600 * 48_000
    with path.open("r+b") as file:  # a sparse file: three hours of silence with hardly a block on the disk
        file.truncate(44 + frames * 2)
        file.seek(4)
        file.write((36 + frames * 2).to_bytes(4, "little"))
        file.seek(40)
        file.write((frames * 2).to_bytes(4, "little"))
        file.seek(44 + (frames - 4) * 2)
        file.write((16_384).to_bytes(2, "little") * 4)
    region = read(path, start_seconds=3 * 3600 - 1, length_seconds=1.0, sample_rate=48_000)
    assert region.audio.shape == (1, 48_000)
    assert region.audio[0, -4:].tolist() == [0.5] * 4
    text = refusal(ErrorCode.TOO_LONG, "length", path, max_seconds=30.0)
    assert "10800" in text
    assert "at most 30 s" in text


def test_a_region_past_the_end_is_shortened_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1000))
    region = read(path, start_samples=900, length_samples=250)
    assert (region.length_samples, region.missing_samples, region.audio.shape) == (100, 150, (1, 100))
    assert read(path, start_samples=900, length_seconds=1e6).length_samples == 100


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"start_seconds": -0.1}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_seconds": math.nan}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_seconds": math.inf}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_seconds": "1"}, ErrorCode.BAD_TYPE, "start"),
        ({"start_seconds": 1.0, "start_samples": 5}, ErrorCode.MALFORMED, "start"),
        ({"start_seconds": 1.0}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_samples": 44_100}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_samples": -1}, ErrorCode.OUT_OF_RANGE, "start"),
        ({"start_samples": 1.5}, ErrorCode.BAD_TYPE, "start"),
        ({"start_samples": True}, ErrorCode.BAD_TYPE, "start"),
        ({"length_seconds": -1.0}, ErrorCode.OUT_OF_RANGE, "length"),
        ({"length_seconds": math.nan}, ErrorCode.OUT_OF_RANGE, "length"),
        ({"length_seconds": 0.0}, ErrorCode.EMPTY, "length"),
        ({"length_seconds": 1e-6}, ErrorCode.EMPTY, "length"),
        ({"length_samples": 0}, ErrorCode.EMPTY, "length"),
        ({"length_samples": 1, "sample_rate": 1000}, ErrorCode.EMPTY, "length"),
        ({"length_seconds": 0.1, "length_samples": 5}, ErrorCode.MALFORMED, "length"),
        ({"max_seconds": 0.5}, ErrorCode.TOO_LONG, "length"),
        ({"length_seconds": 0.6, "max_seconds": 0.5}, ErrorCode.TOO_LONG, "length"),
        ({"channels": 3}, ErrorCode.OUT_OF_RANGE, "channels"),
        ({"sample_rate": 0}, ErrorCode.OUT_OF_RANGE, "sample_rate"),
        ({"max_seconds": math.nan}, ErrorCode.OUT_OF_RANGE, "max_seconds"),
    ],
)
def test_a_bad_place_is_refused(tmp_path: Path, options: dict[str, Any], code: ErrorCode, field: str) -> None:
    refusal(code, field, write(tmp_path / "a.wav", noise(44_100)), **options)


def test_what_is_not_audio_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not a sound at all, but quite a long text " * 20)
    refusal(ErrorCode.NOT_AUDIO, "path", text)
    (tmp_path / "header.wav").write_bytes(write(tmp_path / "a.wav", noise(1000)).read_bytes()[:20])
    refusal(ErrorCode.NOT_AUDIO, "path", tmp_path / "header.wav")
    (tmp_path / "zero.wav").touch()
    refusal(ErrorCode.EMPTY, "path", tmp_path / "zero.wav")
    refusal(ErrorCode.EMPTY, "path", write(tmp_path / "silent.wav", noise(0)))
    (tmp_path / "a.RAW").write_bytes(bytes(1000))
    refusal(ErrorCode.UNSUPPORTED, "path", tmp_path / "a.RAW")
    refusal(ErrorCode.UNSUPPORTED, "path", write(tmp_path / "wide.wav", noise(100, 33)))
    refusal(ErrorCode.UNSUPPORTED, "path", write(tmp_path / "slow.wav", noise(100), 500))


@pytest.mark.parametrize(("suffix", "options"), [(".flac", {"subtype": "PCM_16"}), (".mp3", {"subtype": None})])
def test_sound_cut_short_is_refused(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    path = write(tmp_path / f"a{suffix}", noise(200_000), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(ErrorCode.MALFORMED, "path", path)


def test_samples_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    samples = noise(100_000, 2)
    samples[[10, 20, 99_999], [0, 1, 1]] = np.nan, np.inf, -np.inf
    path = write(tmp_path / "a.wav", samples)
    assert "3 NaN or infinite samples" in refusal(ErrorCode.MALFORMED, "path", path, sample_rate=32_000)
    assert read(path, start_samples=21, length_samples=1000).length_samples == 1000


def test_a_path_that_leads_to_no_file_is_refused(tmp_path: Path) -> None:
    refusal(ErrorCode.NOT_FOUND, "path", tmp_path / "missing.wav")
    refusal(ErrorCode.NOT_FOUND, "path", tmp_path / ("long" * 100))
    refusal(ErrorCode.BAD_TYPE, "path", tmp_path)
    refusal(ErrorCode.MISSING, "path", "")
    refusal(ErrorCode.MALFORMED, "path", "a\0b.wav")
    for value in (7, b"a.wav"):
        refusal(ErrorCode.BAD_TYPE, "path", value)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_without_waiting_on_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refusal(ErrorCode.BAD_TYPE, "path", tmp_path / "pipe.wav")


def test_only_allowed_folders_are_read(tmp_path: Path) -> None:
    project, secret, lookalike = (tmp_path / name for name in ("project", "secret", "project-old"))
    for folder in (project / "media", secret, lookalike):
        folder.mkdir(parents=True)
        write(folder / "a.wav", noise(100))
    allowed = [project, tmp_path / "not there"]
    assert read(project / "media" / "a.wav", allowed_folders=allowed).length_samples == 100
    assert read(project / "media" / ".." / "media" / "a.wav", allowed_folders=[str(project)]).length_samples == 100
    for path in (secret / "a.wav", lookalike / "a.wav", project / ".." / "secret" / "a.wav", secret / "missing.wav"):
        assert str(project) in refusal(ErrorCode.NOT_ALLOWED, "path", path, allowed_folders=allowed)
    assert "allowed: no file" in refusal(ErrorCode.NOT_ALLOWED, "path", project / "media/a.wav", allowed_folders=[])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_followed_before_the_folder_is_judged(tmp_path: Path) -> None:
    project, secret = tmp_path / "project", tmp_path / "secret"
    project.mkdir()
    secret.mkdir()
    write(secret / "a.wav", noise(100))
    (project / "link.wav").symlink_to(secret / "a.wav")
    (project / "folder").symlink_to(secret)
    (project / "loop.wav").symlink_to(project / "loop.wav")
    (tmp_path / "shortcut").symlink_to(secret)
    refusal(ErrorCode.NOT_ALLOWED, "path", project / "link.wav", allowed_folders=[project])
    refusal(ErrorCode.NOT_ALLOWED, "path", project / "folder" / "a.wav", allowed_folders=[project])
    refusal(ErrorCode.NOT_FOUND, "path", project / "loop.wav", allowed_folders=[project])
    assert read(project / "link.wav", allowed_folders=[tmp_path / "shortcut"]).path == (secret / "a.wav").resolve()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no permissions of this kind")
def test_a_file_without_permission_is_refused(open_folder: Path) -> None:
    path = write(open_folder / "a.wav", noise(100))
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything
        os.seteuid(65_534)
    try:
        text = refusal(ErrorCode.NOT_ALLOWED, "path", path, allowed_folders=[open_folder])
    finally:
        if root:
            os.seteuid(0)
    assert "permission" in text


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 2999), length=st.integers(1, 5000), rate=st.sampled_from([44_100, 32_000, 48_000]))
def test_any_region_is_the_slice_resampled(start: int, length: int, rate: int) -> None:
    samples = noise(3000, 2, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.wav", samples)
        wanted = samples[start : start + length]
        expected = wanted if rate == 44_100 else soxr.resample(wanted, 44_100, rate, quality="HQ")
        if len(expected) == 0:
            refusal(ErrorCode.EMPTY, "length", path, start_samples=start, length_samples=length, sample_rate=rate)
            return
        region = read(path, start_samples=start, length_samples=length, sample_rate=rate, channels=2)
    kept = len(expected) if rate == 44_100 else max(0, len(expected) - 2 * END)
    assert region.audio.shape == expected.T.shape
    np.testing.assert_allclose(region.audio[:, :kept], expected.T[:, :kept], atol=1e-6)
    assert region.length_samples + region.missing_samples == length
