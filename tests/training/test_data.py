"""Shards, samplers and encoding, on sound whose samples count themselves: no synthesiser is needed."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.training.composer import NO_PITCH, compose
from engine.training.data import Alignment, ClipSampler, CodeSampler, Progress, Split, encode_split
from engine.training.data.clips import SplitClips
from engine.training.data.folders import RECIPE_FILE, claim, sole_writer
from engine.training.data.records import INDEX_VERSION, PieceRecord, record_of
from engine.training.data.sampler import Clip, CropPlaces, step_generator
from engine.training.data.shards import AUDIO, from_pcm, shard_index, to_pcm, write_shard
from protocols.errors import ErrorCode, RequestError

RATE = 800
FRAME_RATE = 50
CARD = 300
WIDTH = 3


def write_counting(folder: Path, number: int, seeds: tuple[int, ...], rate: int = RATE) -> list[PieceRecord]:
    """A shard whose samples say where they are: the sample's number within its piece, and the seed added to it."""
    parts, records, offset = [], [], 0
    for seed in seeds:
        piece = compose(seed)
        length = round(piece.seconds * rate)
        parts.append((np.arange(length) % 30_000 + seed).astype(np.int16))
        records.append(record_of(piece, offset, length))
        offset += length
    write_shard(folder, number, AUDIO, Fraction(rate), parts, records)
    return records


class Counting:
    """An encoder of made-up codes: the frame's number in the first codebook, the first sample in the second, 7 in the third."""

    def __init__(self, on_piece: Callable[[int], object] = abs) -> None:
        self.pieces = 0
        self._on_piece = on_piece

    def encode(self, audio: NDArray[np.float32]) -> Any:
        self._on_piece(self.pieces)
        self.pieces += 1
        frames = round(len(audio) * FRAME_RATE / RATE)
        codes = np.full((WIDTH, frames), 7)
        codes[0] = np.arange(frames) % CARD
        codes[1] = int(to_pcm(audio[:1])[0]) % CARD
        return torch.from_numpy(codes)


class Fixed:
    """An encoder that gives what it was told to."""

    def __init__(self, codes: Callable[[int], Any]) -> None:
        self._codes = codes

    def encode(self, audio: NDArray[np.float32]) -> Any:
        return self._codes(round(len(audio) * FRAME_RATE / RATE))


def encode(source: Path, target: Path, encoder: Any, **more: Any) -> None:
    settings: dict[str, Any] = {"frame_rate": FRAME_RATE, "card": CARD, **more}
    encode_split(source, target, encoder, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".codes", ".index", ".pcm")}


def refused(code: ErrorCode, field: str, call: Callable[[], Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    assert (caught.value.code, caught.value.field) == (code, field)
    return caught.value


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    write_counting(folder, 0, (1, 2, 3))
    write_counting(folder, 1, (4, 6))
    write_counting(folder, 2, (7,))
    return folder


@pytest.fixture(scope="module")
def codes(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    encode(audio, folder, Counting())
    return folder


def test_a_split_is_what_was_written(audio: Path) -> None:
    split = Split(audio)
    assert (split.kind, split.rate, split.width, split.card) == (AUDIO, RATE, 1, 0)
    assert (split.shards, split.numbers) == (3, [0, 1, 2])
    assert [record.seed for record in split.records] == [1, 2, 3, 4, 6, 7]
    assert [list(split.pieces_of(shard)) for shard in range(3)] == [[0, 1, 2], [3, 4], [5]]
    for number, record in enumerate(split.records):
        piece = compose(record.seed)
        assert record == record_of(piece, record.offset, round(piece.seconds * RATE))
        assert (record.bpm, record.metre, record.key) == (piece.bpm, piece.metre, piece.key)
        notes = [
            (Fraction(note.start, 960), Fraction(note.end, 960), note.pitch, note.velocity) for note in record.lead
        ]
        assert notes == [(note.start, note.end, note.pitch, note.velocity) for note in piece.lead]
        spans = [(Fraction(chord.start, 960), Fraction(chord.end, 960), chord.name) for chord in record.chords]
        assert spans == [(chord.start, chord.end, chord.name) for chord in piece.chords]
        assert record.instruments == {track.role: track.instrument for track in piece.tracks}
        expected = (np.arange(record.length) % 30_000 + record.seed).astype(np.int16)
        assert np.array_equal(split.read(number, 0, record.length), expected)
        assert np.array_equal(split.audio(number, 5, 3), from_pcm(expected[5:8]))
    assert split.seconds == pytest.approx(float(sum(compose(seed).seconds for seed in (1, 2, 3, 4, 6, 7))), abs=0.01)


@pytest.mark.parametrize(("start", "length"), [(-1, 4), (0, -1), (0, 10_000_000), (10_000_000, 0)])
def test_reading_beyond_a_piece_raises(audio: Path, start: int, length: int) -> None:
    with pytest.raises(IndexError):
        Split(audio).read(0, start, length)


def test_pcm_is_rounded_and_clipped() -> None:
    samples = np.array([0, 1, -1, 2, -2, 0.5, 1 / 32_767], dtype=np.float32)
    assert to_pcm(samples).tolist() == [0, 32_767, -32_767, 32_767, -32_767, 16_384, 1]
    every = np.arange(-32_767, 32_768, dtype=np.int16)
    assert np.array_equal(to_pcm(from_pcm(every)), every)


def test_the_first_shards_stay_the_first(tmp_path: Path) -> None:
    """Workers finish shards in any order; a training that asked for two hears the same two later."""
    refused(ErrorCode.NOT_FOUND, "data", lambda: Split(tmp_path / "none"))
    refused(ErrorCode.EMPTY, "data", lambda: Split(tmp_path))
    write_counting(tmp_path, 0, (1,))
    write_counting(tmp_path, 2, (3,))
    assert Split(tmp_path).numbers == [0, 2]
    assert Split(tmp_path, 1).numbers == [0]
    refused(ErrorCode.EMPTY, "data", lambda: Split(tmp_path, 2))
    before = Split(tmp_path)
    write_counting(tmp_path, 1, (2,))
    assert [record.seed for record in before.records] == [1, 3]
    assert [record.seed for record in Split(tmp_path, 2).records] == [1, 2]
    assert len({before.fingerprint, Split(tmp_path).fingerprint, Split(tmp_path, 2).fingerprint}) == 3
    assert Split(tmp_path).fingerprint == Split(tmp_path, 3).fingerprint
    refused(ErrorCode.OUT_OF_RANGE, "shards", lambda: Split(tmp_path, 0))


def test_a_shard_without_an_index_is_not_there_yet(tmp_path: Path) -> None:
    write_counting(tmp_path, 0, (1,))
    write_counting(tmp_path, 1, (2,))
    shard_index(tmp_path, 1).unlink()
    (tmp_path / ".00002.index-0123.part").write_bytes(b"half")
    (tmp_path / "notes.index").write_bytes(b"not a number")
    assert Split(tmp_path).numbers == [0]


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    write_counting(tmp_path, 0, (1,))
    index, data = shard_index(tmp_path, 0), tmp_path / "00000.pcm"
    whole = data.read_bytes()
    for damaged in (whole[:-2], whole + b"\0\0", b""):
        data.write_bytes(damaged)
        refused(ErrorCode.MALFORMED, "data", lambda: Split(tmp_path))
    data.unlink()
    refused(ErrorCode.MALFORMED, "data", lambda: Split(tmp_path))
    data.write_bytes(whole)
    Split(tmp_path)
    good = index.read_bytes()
    for damaged in (b"", b"\xc1", good[:-3], msgspec.msgpack.encode({"version": INDEX_VERSION, "kind": 3})):
        index.write_bytes(damaged)
        refused(ErrorCode.MALFORMED, "data", lambda: Split(tmp_path))
    index.write_bytes(msgspec.msgpack.encode({"version": INDEX_VERSION + 1, "sound": "other"}))
    refused(ErrorCode.VERSION, "data", lambda: Split(tmp_path))
    index.write_bytes(good)
    write_counting(tmp_path, 1, (2,), rate=RATE // 2)
    refused(ErrorCode.MALFORMED, "data", lambda: Split(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: write_counting(tmp_path / "file" / "train", 0, (1,)))
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: write_counting(tmp_path / "file", 0, (1,)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a process's files")
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        refused(ErrorCode.TOO_LARGE, "folder", lambda: write_counting(tmp_path, 0, (1,)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    write_counting(tmp_path, 0, (1,))
    assert Split(tmp_path).shards == 1


def test_one_run_writes_at_a_time_and_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    left = (folder / ".recipe.json-01.part", folder / "train" / ".00000.pcm-02.part")
    for path in left:
        path.write_bytes(b"half")
    (folder / "train" / "my.part").touch()
    with sole_writer(folder):
        assert not any(path.exists() for path in left)
        assert (folder / "train" / "my.part").exists()
        left[1].write_bytes(b"of the run that is under way")

        def second() -> None:
            with sole_writer(folder):
                pytest.fail("two runs write")

        refused(ErrorCode.BUSY, "folder", second)
        assert left[1].exists()
    with sole_writer(folder):
        pass


def test_a_folder_keeps_its_recipe(tmp_path: Path) -> None:
    claim(tmp_path, {"seed0": 1}, "the same seed")
    claim(tmp_path, {"seed0": 1}, "the same seed")
    error = refused(ErrorCode.NOT_ALLOWED, "folder", lambda: claim(tmp_path, {"seed0": 2}, "the same seed"))
    assert error.allowed == "the same seed"
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECIPE_FILE]


def test_equal_steps_give_equal_batches(audio: Path, codes: Path) -> None:
    for make in (
        lambda seed: ClipSampler(Split(audio), 2000, 4, seed),
        lambda seed: CodeSampler(Split(codes), 120, 4, seed),
    ):
        one, other, different = make(5), make(5), make(6)
        seen = set()
        for step in (3, 0, 3):  # in any order: there is no state
            mine, theirs = one.batch(step), other.batch(step)
            assert mine.clips == theirs.clips
            for field in ("audio", "codes"):
                assert np.array_equal(getattr(mine, field, 0), getattr(theirs, field, 0))
            assert different.batch(step).clips != mine.clips
            seen.add(tuple((clip.record.seed, clip.start) for clip in mine.clips))
        assert len(seen) == 2


def test_threads_may_share_a_sampler(audio: Path) -> None:
    sampler = ClipSampler(Split(audio), 1000, 2, 0)
    expected = [sampler.batch(step).audio for step in range(8)]
    found: dict[int, NDArray[np.float32]] = {}
    threads = [
        threading.Thread(target=lambda at=step: found.update({at: sampler.batch(at).audio})) for step in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step, batch in enumerate(expected):
        assert np.array_equal(found[step], batch)


@pytest.mark.parametrize(("alignment", "per_bar"), [(Alignment.BAR, True), (Alignment.BEAT, False)])
def test_crops_begin_on_bars_or_beats_to_the_sample_and_frame(
    audio: Path, codes: Path, alignment: Alignment, per_bar: bool
) -> None:
    clips = ClipSampler(Split(audio), 2000, 16, 1, alignment)
    frames = CodeSampler(Split(codes), 120, 16, 1, alignment)
    off_bar = 0
    for step in range(6):
        sound, tokens = clips.batch(step), frames.batch(step)
        assert sound.audio.shape == (16, 2000)
        assert sound.audio.dtype == np.float32
        assert (tokens.codes.shape, tokens.codes.dtype) == ((16, WIDTH, 120), np.int64)
        for rate, clip in [(RATE, clip) for clip in sound.clips] + [(FRAME_RATE, clip) for clip in tokens.clips]:
            stride = clip.record.metre.beats if per_bar else 1
            unit = stride * 60 / clip.record.bpm
            assert abs(clip.start - round(clip.start / unit) * unit) <= Fraction(1, 2 * rate)
            off_bar += round(clip.start / unit) % clip.record.metre.beats != 0
        for row, clip in zip(to_pcm(sound.audio.reshape(-1)).reshape(16, 2000), sound.clips, strict=True):
            first = int(clip.start * RATE)
            assert row.tolist() == [(first + i) % 30_000 + clip.record.seed for i in range(2000)]
        for row, clip in zip(tokens.codes, tokens.clips, strict=True):
            first = int(clip.start * FRAME_RATE)
            assert row[0].tolist() == [(first + i) % CARD for i in range(120)]
            assert set(row[1]) == {clip.record.seed}
    assert per_bar or off_bar > 0


def test_captions_are_the_pieces_own_and_all_are_used(audio: Path) -> None:
    sampler = ClipSampler(Split(audio), 100, 32, 0)
    used: dict[int, set[str]] = {}
    for step in range(12):
        batch = sampler.batch(step)
        assert batch.captions == [clip.caption for clip in batch.clips]
        for clip in batch.clips:
            used.setdefault(clip.record.seed, set()).add(clip.caption)
    assert used == {seed: set(compose(seed).captions) for seed in (1, 2, 3, 4, 6, 7)}


def test_every_place_is_drawn_equally_often(audio: Path) -> None:
    split = Split(audio)
    longest = max(record.length for record in split.records)
    length = longest - 9
    places = CropPlaces(split, length, Alignment.ANY)
    open_places = [(n, s) for n, r in enumerate(split.records) for s in range(max(0, r.length - length + 1))]
    assert len(places) == len(open_places)
    count = Counter(places.draw(6000, step_generator(0, 0)))
    assert set(count) == set(open_places)
    assert max(count.values()) < 1.3 * 6000 / len(open_places)


def test_pieces_that_are_too_short_are_left_out(audio: Path) -> None:
    split = Split(audio)
    lengths = sorted(record.length for record in split.records)
    length = lengths[-2] + 1
    for alignment in Alignment:
        drawn = {piece for piece, _ in CropPlaces(split, length, alignment).draw(50, step_generator(1, 1))}
        assert [split.records[piece].length for piece in drawn] == [lengths[-1]]
        for wrong in (0, -1, lengths[-1] + 1):
            refused(ErrorCode.OUT_OF_RANGE, "length", lambda: CropPlaces(split, wrong, alignment))  # noqa: B023
    whole = ClipSampler(split, lengths[-1], 2, 0).batch(0)
    assert whole.audio.shape == (2, lengths[-1])
    assert {clip.start for clip in whole.clips} == {0}


def test_a_sampler_wants_its_own_kind(audio: Path, codes: Path) -> None:
    refused(ErrorCode.UNSUPPORTED, "data", lambda: ClipSampler(Split(codes), 10, 1, 0))
    refused(ErrorCode.UNSUPPORTED, "data", lambda: CodeSampler(Split(audio), 10, 1, 0))


def test_chroma_is_that_of_the_crop(codes: Path) -> None:
    batch = CodeSampler(Split(codes), 150, 12, 3).batch(0)
    chroma = batch.chroma()
    assert chroma.shape == (12, 24)  # three seconds at 7.8125 frames a second
    assert np.array_equal(
        batch.chroma(Fraction(FRAME_RATE), 150), np.stack([c.chroma(Fraction(50)) for c in batch.clips])
    )
    assert (chroma != NO_PITCH).any()
    for clip, row in zip(batch.clips, batch.chroma(Fraction(FRAME_RATE), 150), strict=True):
        whole = compose(clip.record.seed).chroma(FRAME_RATE)
        first = int(clip.start * FRAME_RATE)
        assert clip.start * FRAME_RATE == first
        assert row.tolist() == whole[first : first + 150].tolist() + [NO_PITCH] * (
            150 - len(whole[first : first + 150])
        )


def test_beat_positions_count_from_the_bar(codes: Path) -> None:
    for clip in CodeSampler(Split(codes), 150, 12, 4, Alignment.BEAT).batch(0).clips:
        beats = clip.record.metre.beats
        positions = clip.beat_positions(FRAME_RATE, 150)
        exact = [float((clip.start + Fraction(i, FRAME_RATE)) * clip.record.bpm / 60 % beats) for i in range(150)]
        distance = np.abs(positions - exact)
        assert np.minimum(distance, beats - distance).max() < 1e-4
        assert positions.min() >= 0
        assert positions.max() < beats
        assert len(np.unique(np.floor(positions))) == beats


def test_beat_and_bar_times_of_a_crop(codes: Path) -> None:
    for clip in CodeSampler(Split(codes), 150, 12, 5).batch(0).clips:
        beats, bars = clip.beat_times, clip.bar_times
        assert beats[0] == bars[0] == pytest.approx(0, abs=0.5 / FRAME_RATE)
        assert np.allclose(np.diff(beats)[1:], 60 / clip.bpm)
        assert set(bars) <= set(beats)
        assert beats.max() < clip.seconds
        last = clip.record.bars * clip.record.metre.beats
        assert float(clip.start) + beats.max() <= float(clip.record.seconds_at(last - 1)) + 1e-9


def test_no_beat_falls_after_the_last_bar() -> None:
    record = record_of(compose(1), 0, 0)
    seconds = record.seconds_at(record.bars * record.metre.beats)
    clip = Clip(
        record, "", seconds - 2, Fraction(2) + Fraction(1, 100)
    )  # as long as rounding to whole frames may make it
    last = float(clip.start) + clip.beat_times.max()
    assert last == pytest.approx(float(seconds - record.seconds_at(1)))


def test_codec_training_draws_with_its_own_generator(audio: Path) -> None:
    clips = SplitClips(Split(audio))
    first, second = (clips.crops(3, 500, torch.Generator().manual_seed(9)) for _ in range(2))
    assert (first.shape, first.dtype) == ((3, 500), torch.float32)
    assert torch.equal(first, second)
    assert not torch.equal(first, clips.crops(3, 500, torch.Generator().manual_seed(10)))
    refused(ErrorCode.OUT_OF_RANGE, "length", lambda: clips.crops(1, 10_000_000, torch.Generator()))


def test_codes_keep_what_is_known_about_the_pieces(audio: Path, codes: Path) -> None:
    sound, tokens = Split(audio), Split(codes)
    assert (tokens.kind, tokens.rate, tokens.width, tokens.card) == ("codes", FRAME_RATE, WIDTH, CARD)
    for number, (before, after) in enumerate(zip(sound.records, tokens.records, strict=True)):
        assert after == msgspec.structs.replace(before, offset=after.offset, length=after.length)
        assert after.length == round(before.length * FRAME_RATE / RATE)
        held = tokens.codes(number)
        assert (held.dtype, held.shape) == (np.uint16, (WIDTH, after.length))
        assert held[0].tolist() == [frame % CARD for frame in range(after.length)]
        assert set(held[1]) == {before.seed}


def test_a_stopped_encoding_goes_on(audio: Path, codes: Path, tmp_path: Path) -> None:
    def stop_in_the_second_shard(count: int) -> None:
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(audio, tmp_path, Counting(stop_in_the_second_shard))
    assert Split(tmp_path).numbers == [0]
    encoder, seen = Counting(), list[Progress]()
    encode(audio, tmp_path, encoder, progress=seen.append)
    assert encoder.pieces == 3
    assert contents(tmp_path) == contents(codes)
    assert [(one.shards, one.total) for one in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].hours == pytest.approx(Split(audio).seconds / 3600, rel=1e-3)
    idle = Counting()
    encode(audio, tmp_path, idle)
    assert idle.pieces == 0


def test_shards_that_are_finished_meanwhile_wait_for_the_next_run(tmp_path: Path) -> None:
    source, target = tmp_path / "audio", tmp_path / "codes"
    write_counting(source, 0, (1,))
    write_counting(source, 2, (3,))
    encode(source, target, Counting(lambda count: write_counting(source, 1, (2,))))
    assert Split(target).numbers == [0, 2]
    assert [int(Split(target).codes(piece)[1, 0]) for piece in range(2)] == [1, 3]
    encode(source, target, Counting())
    assert [record.seed for record in Split(target).records] == [1, 2, 3]
    assert [int(Split(target).codes(piece)[1, 0]) for piece in range(3)] == [1, 2, 3]


def test_codes_of_another_kind_are_not_added_to(audio: Path, tmp_path: Path) -> None:
    encode(audio, tmp_path, Counting(), encoder_name="a")
    encode(audio, tmp_path, Counting(), encoder_name="a")
    for other in (
        {"encoder_name": "b"},
        {},
        {"encoder_name": "a", "card": 999},
        {"encoder_name": "a", "frame_rate": 25},
    ):
        refused(ErrorCode.NOT_ALLOWED, "folder", lambda: encode(audio, tmp_path, Counting(), **other))  # noqa: B023
    elsewhere = tmp_path / "other pieces"
    write_counting(elsewhere, 0, (11, 12, 13))
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: encode(elsewhere, tmp_path, Counting(), encoder_name="a"))


@pytest.mark.parametrize(
    "codes_of",
    [
        lambda frames: np.zeros((WIDTH, frames + 2), dtype=int),
        lambda frames: np.zeros((WIDTH, frames - 2), dtype=int),
        lambda frames: np.zeros(frames, dtype=int),
        lambda frames: np.full((WIDTH, frames), CARD),
        lambda frames: np.full((WIDTH, frames), -1),
        lambda frames: np.zeros((WIDTH, frames), dtype=np.float32),
        lambda frames: np.zeros((frames % 7 + 1, frames), dtype=int),
    ],
    ids=["more frames", "fewer frames", "one row", "above the card", "below 0", "floats", "codebooks that change"],
)
def test_what_is_no_code_is_refused(audio: Path, tmp_path: Path, codes_of: Callable[[int], Any]) -> None:
    refused(ErrorCode.MALFORMED, "codes", lambda: encode(audio, tmp_path, Fixed(codes_of)))
    assert contents(tmp_path) == {}


def test_one_frame_more_or_less_is_rounding(audio: Path, tmp_path: Path) -> None:
    for more in (-1, 1):
        encode(
            audio, tmp_path / str(more), Fixed(lambda frames, more=more: np.zeros((WIDTH, frames + more), dtype=int))
        )
        assert Split(tmp_path / str(more)).shards == 3


def test_encoding_refuses_what_cannot_be(audio: Path, codes: Path, tmp_path: Path) -> None:
    refused(ErrorCode.UNSUPPORTED, "data", lambda: encode(codes, tmp_path, Counting()))
    refused(ErrorCode.NOT_FOUND, "data", lambda: encode(tmp_path / "none", tmp_path, Counting()))
    for name, values in (("card", (0, 65_537)), ("frame_rate", (0, Fraction(-1, 2)))):
        for value in values:
            refused(ErrorCode.OUT_OF_RANGE, name, lambda: encode(audio, tmp_path, Counting(), **{name: value}))  # noqa: B023
    (tmp_path / "file").touch()
    refused(ErrorCode.NOT_ALLOWED, "folder", lambda: encode(audio, tmp_path / "file" / "codes", Counting()))


def test_several_workers_encode_to_the_same_codes(audio: Path, codes: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    encode(audio, tmp_path, Counting(), workers=2, progress=seen.append)
    assert contents(tmp_path) == contents(codes)
    assert [one.shards for one in seen] == [1, 2, 3]
    assert seen[-1].hours == pytest.approx(Split(audio).seconds / 3600, rel=1e-3)
    refused(ErrorCode.MALFORMED, "codes", lambda: encode(audio, tmp_path / "other", Fixed(abs), workers=2))
    refused(ErrorCode.OUT_OF_RANGE, "workers", lambda: encode(audio, tmp_path, Counting(), workers=0))
