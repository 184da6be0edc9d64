"""One's own recordings as a data set: any rate and number of channels, what is said about them, and what cannot be read."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.training.data import HELD_OUT, TRAIN, Alignment, ClipSampler, Split
from engine.training.lm.batches import score_of_clip
from engine.training.recordings import PIECE_SECONDS, Notes, import_recordings, read_notes, split_recordings
from engine.training.rendering import LEVEL_DBFS, PEAK
from protocols.errors import ErrorCode, RequestError

RATE = 8000


def write(path: Path, seconds: float, rate: int = 8000, channels: int = 1, level: float = 0.1, **facts: Any) -> Path:
    """A sine of 440 Hz, each channel at the level of its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([tone * (index + 1) for index in range(channels)], axis=1), rate)
    if facts:
        path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def refused(code: ErrorCode, call: Callable[[], Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    assert caught.value.code is code
    return caught.value


def pieces_of(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Record and sound of each piece of both splits, by its first caption."""
    found = {}
    for part in (HELD_OUT, TRAIN):
        split = Split(folder / part)
        for index, record in enumerate(split.records):
            found[record.captions[0]] = (record, split.audio(index))
    return found


def test_any_rate_and_channels_become_one_form(tmp_path: Path) -> None:
    source, folder = tmp_path / "songs", tmp_path / "data"
    write(source / "01 - slow_sine.wav", 5, rate=44_100, channels=2)
    write(source / "deep" / "loud-one.flac", 4.5, rate=11_025, channels=6, level=0.15)
    write(source / "quiet.OGG", 4, rate=48_000, level=0.003)
    write(source / "odd.wav", 3.3, rate=37_123)
    (source / "notes.md").write_text("no audio")
    import_recordings(source, folder, workers=2, sample_rate=RATE)
    found = pieces_of(folder)
    lengths = {"slow sine": 5, "loud one": 4.5, "quiet": 4, "odd": 3.3}
    assert found.keys() == lengths.keys()
    for caption, (record, audio) in found.items():
        assert abs(len(audio) - lengths[caption] * RATE) <= 2, caption
        assert abs(20 * np.log10(np.sqrt(np.mean(np.square(audio)))) - LEVEL_DBFS) < 0.2, caption
        assert np.abs(np.fft.rfft(audio[: 2 * RATE])).argmax() == 2 * 440, caption
        assert (record.bpm, record.metre_name, record.mode, record.lead, record.chords) == (0, "", "", (), ())


def test_peaks_are_kept_within_full_scale(tmp_path: Path) -> None:
    clicks = np.zeros(40_000)
    clicks[::4000] = 0.9
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", clicks, RATE)
    import_recordings(tmp_path, tmp_path / "data", sample_rate=RATE)
    for _, audio in pieces_of(tmp_path / "data").values():
        assert np.abs(audio).max() == pytest.approx(PEAK, abs=0.01)


def test_broken_and_useless_files_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "songs"
    good = [write(source / f"good {index}.wav", 3) for index in range(2)]
    (source / "text.wav").write_text("this is no audio")
    (source / "empty.flac").touch()
    (source / "cut.flac").write_bytes(write(tmp_path / "whole.flac", 20, level=0.5).read_bytes()[:600])
    write(source / "short.wav", 0.5)
    write(source / "silent.wav", 4, level=0)
    soundfile.write(source / "nan.wav", np.full(30_000, np.nan), RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        import_recordings(source, tmp_path / "data", sample_rate=RATE)
    assert set(pieces_of(tmp_path / "data")) == {path.stem for path in good}
    for name in ("text.wav", "empty.flac", "short.wav", "silent.wav", "nan.wav"):
        assert any(name in line for line in caplog.messages), name
    refused(ErrorCode.NOT_FOUND, lambda: import_recordings(tmp_path / "none", tmp_path / "x"))
    (tmp_path / "nothing").mkdir()
    refused(ErrorCode.EMPTY, lambda: import_recordings(tmp_path / "nothing", tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_sidecars_tell_what_is_known(tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", 3)
    assert read_notes(song) == Notes(("song",))
    song.with_suffix(".txt").write_text("slow jazz, brushed drums\n\n  a trio \n")
    assert read_notes(song).captions == ("slow jazz, brushed drums", "a trio")
    facts = {"caption": "Funk", "bpm": 92.5, "key": "B flat minor", "metre": "3/4", "first_bar": 0.25, "tags": ["live"]}
    song.with_suffix(".json").write_text(json.dumps(facts))
    notes = read_notes(song)
    assert notes.captions == ("Funk, B flat minor, 92.5 bpm",)
    assert (notes.bpm, notes.metre, notes.first_bar) == (Fraction(185, 2), "3/4", Fraction(1, 4))
    assert (notes.tonic, notes.mode, notes.tags) == (10, "minor", ("live",))
    song.with_suffix(".json").write_text(
        json.dumps({"captions": ["in F# dorian at 100 bpm"], "bpm": 100, "key": "F# dorian"})
    )
    assert read_notes(song).captions == ("in F# dorian at 100 bpm",)
    assert read_notes(song).tonic == 6


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{", "audio"),
        ("[]", "content"),
        ('{"bpm": "fast"}', "bpm"),
        ('{"bpm": 5}', "bpm"),
        ('{"bpm": true}', "bpm"),
        ('{"metre": "4/4"}', "metre"),
        ('{"metre": "7/8", "bpm": 90}', "metre"),
        ('{"key": "H major"}', "key"),
        ('{"key": 3}', "key"),
        ('{"captions": [1]}', "captions"),
        ('{"tags": "jazz"}', "tags"),
        ('{"first_bar": -1}', "first_bar"),
        ('{"first_bar": 1e999}', "first_bar"),
    ],
)
def test_sidecars_that_cannot_be_understood_are_refused_before_anything_is_done(
    tmp_path: Path, content: str, field: str
) -> None:
    write(tmp_path / "a.wav", 3)
    write(tmp_path / "b.wav", 3).with_suffix(".json").write_text(content)
    error = refused(ErrorCode.MALFORMED, lambda: import_recordings(tmp_path, tmp_path / "data", sample_rate=RATE))
    assert error.field.endswith(field)
    assert not (tmp_path / "data").exists()


def test_long_recordings_are_cut_into_even_pieces(tmp_path: Path) -> None:
    write(tmp_path / "long.wav", 200)
    write(tmp_path / "other.wav", 5)
    import_recordings(tmp_path, tmp_path / "data", sample_rate=RATE)
    records = [record for part in (TRAIN, HELD_OUT) for record in Split(tmp_path / "data" / part).records]
    lengths = sorted(record.length / RATE for record in records)
    assert lengths == pytest.approx([5, 200 / 3, 200 / 3, 200 / 3], abs=1e-3)
    assert len({record.seed for record in records}) == 4


def test_pieces_of_known_bars_begin_with_one(tmp_path: Path) -> None:
    """Clicks on the first beat of each bar: every piece, and every crop that is aligned with bars, begins with one."""
    bar, first, seconds = 2.4, 3.9, 150
    clicks = np.full(seconds * RATE, 1e-4)
    times = np.arange(first % bar, seconds - 0.01, bar)
    for time in times:
        clicks[round(time * RATE) : round(time * RATE) + 40] = 0.5
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", clicks, RATE)
        (tmp_path / f"{name}.json").write_text(json.dumps({"bpm": 100, "metre": "4/4", "first_bar": first}))
    import_recordings(tmp_path, tmp_path / "data", sample_rate=RATE)
    split = Split(tmp_path / "data" / TRAIN)
    assert len(split.records) == 3
    for index, record in enumerate(split.records):
        assert (record.bpm, record.metre_name, record.bars) == (100, "4/4", -(-record.length // round(bar * RATE)))
        assert record.length <= (PIECE_SECONDS + bar) * RATE
        assert np.abs(split.audio(index, 0, 20)).min() > 0.1
    batch = ClipSampler(split, 2 * RATE, 8, seed=1, alignment=Alignment.BAR).batch(0)
    assert (np.abs(batch.audio[:, 4:30]).min(axis=1) > 0.1).all()
    score = score_of_clip(batch.clips[0], 100)
    assert score.grid is not None
    assert float(score.grid.origin) == pytest.approx(0, abs=0.01)


def test_crops_of_unknown_bars_begin_anywhere_and_tell_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", 6, key="A minor")
    import_recordings(tmp_path, tmp_path / "data", sample_rate=RATE)
    split = Split(tmp_path / "data" / TRAIN)
    clips = ClipSampler(split, RATE, 16, seed=1, alignment=Alignment.BAR).batch(0).clips
    assert len({clip.start for clip in clips}) > 10
    score = score_of_clip(clips[0], 50)
    assert (score.grid, score.melody, score.chords) == (None, None, None)
    assert score.scale == frozenset((9, 11, 0, 2, 4, 5, 7))


def test_held_out_recordings_stay_held_out(tmp_path: Path) -> None:
    files = [(tmp_path / f"{index}.wav", 10.0) for index in range(200)]
    splits = split_recordings(tmp_path, files)
    held = {part.name for part in splits[HELD_OUT]}
    assert 2 <= len(held) <= 30
    assert len(held) + len(splits[TRAIN]) == 200
    fewer = split_recordings(tmp_path, files[:150])
    assert {part.name for part in fewer[HELD_OUT]} == {name for name in held if int(name[:-4]) < 150}
    two = split_recordings(tmp_path, files[:2])
    assert [len(two[part]) for part in (HELD_OUT, TRAIN)] == [1, 1]
    (alone,) = split_recordings(tmp_path, [(tmp_path / "a.wav", 100.0)])[HELD_OUT]
    assert (alone.first, alone.last) == (70.0, 100.0)
    refused(ErrorCode.EMPTY, lambda: split_recordings(tmp_path, [(tmp_path / "a.wav", 3.0)]))


def test_a_stopped_import_goes_on_and_other_recordings_are_refused(tmp_path: Path) -> None:
    source, folder = tmp_path / "songs", tmp_path / "data"
    for index in range(3):
        write(source / f"{index}.wav", 3)
    import_recordings(source, folder, sample_rate=RATE)
    (index,) = (folder / TRAIN).glob("*.index")
    before, kept = index.read_bytes(), (folder / HELD_OUT / "00000.index").stat().st_mtime_ns
    index.unlink()
    seen: list[int] = []
    import_recordings(source, folder, sample_rate=RATE, progress=lambda done: seen.append(done.shards))
    assert index.read_bytes() == before
    assert seen == [2]
    assert (folder / HELD_OUT / "00000.index").stat().st_mtime_ns == kept
    (source / "0.txt").write_text("something else")
    refused(ErrorCode.NOT_ALLOWED, lambda: import_recordings(source, folder, sample_rate=RATE))
