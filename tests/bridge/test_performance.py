"""A performance once more: what was heard at the card comes out of log and takes again, sample for sample."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from audio_files.loudness import Levelling, LoudnessMode
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import OfflineOutput
from daw_bridge.holdover import FADE_S, HeldBars, Holdover
from daw_bridge.performance.log import LogWriter, lines, make_room
from daw_bridge.performance.score import find_score, read_score
from daw_bridge.performance.sound import Stem, StemFile, add, difference, heard, reader, voice_sound, write_mix
from protocols.errors import ErrorCode, RequestError

RATE, CARD = 8_000, 12_000
FADE = 0.005


def noise(samples: int, seed: int = 1, channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


class Card:
    """A voice that takes everything."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.float32]] = []
        self.written = self.played = 0

    def write(self, chunk: NDArray[np.float32]) -> int:
        self.blocks.append(np.array(chunk))
        self.written += len(chunk)
        return len(chunk)

    def finish(self) -> None:
        pass

    @property
    def heard(self) -> NDArray[np.float32]:
        return np.concatenate(self.blocks)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bar", [Fraction(60 * 4, 111) * RATE, None])
def test_held_bars_are_played_once_more(seed: int, bar: Fraction | None) -> None:
    draw, card, holds = random.Random(seed), Card(), []
    line = Holdover(
        card, RATE, 1, bars=2, bar_seconds=lambda: None if bar is None else bar / RATE, margin=800, patience=1600
    )
    stream, made = noise(14 * RATE, seed), 0
    while made < len(stream):
        more = min(len(stream) - made, draw.choice((0, 0, 0, 400, 1600, 6000)))
        line.write(stream[made : made + more], card.played > 0)
        made += more
        for _ in range(draw.randrange(1, 60)):
            card.played = min(card.written, card.played + 160)
            line.pump(card.played, card.played > 0)
            if line.last is not None and line.last not in holds[-1:]:
                holds = [one for one in holds if one.voice != line.last.voice] + [line.last]
    line.finish()
    while line.holding:
        card.played = min(card.written, card.played + 160)
        line.pump(card.played, True)
        holds = [one for one in holds if line.last is None or one.voice != line.last.voice]
        holds += [line.last] if line.last is not None else []
    assert holds, "it was held at least once"

    def read(position: int, count: int) -> NDArray[np.float32]:
        return stream[position : position + count]

    again = np.concatenate(list(voice_sound(read, len(stream), holds, RATE)))
    assert np.array_equal(again, card.heard)
    first = draw.randrange(len(again))
    assert np.array_equal(np.concatenate(list(voice_sound(read, len(stream), holds, RATE, first))), again[first:])


def live(
    voice: NDArray[np.float32], start: int, gain: float, levels: list[tuple[int, float]], stop: int | None, frames: int
) -> NDArray[np.float32]:
    """What a card plays of a voice, block by block; ``levels`` at multiples of a block."""
    output, block = OfflineOutput(CARD, voice.shape[1], 256), 256
    feeder = Feeder(RATE, voice.shape[1], 1.0, 0.05, gain, FADE, scheduled=True)
    feeder.attach(output)
    feeder.schedule(output, start)
    if stop is not None:
        feeder.stop_at(output, stop)
    position, out = 0, []
    for frame in range(0, frames, block):
        for when, gain in levels:
            if when == frame:
                feeder.gain = gain
        if position < len(voice):
            position += feeder.write(voice[position:])
        if position == len(voice):
            feeder.finish()
        feeder.pump()
        out.append(output.advance(block))
    return np.concatenate(out)


@pytest.mark.parametrize("stop", [None, 9_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stem_is_what_the_card_played(stop: int | None, channels: int, tmp_path: Path) -> None:
    voice = noise(RATE, 3, channels)
    levels = [(4096, 0.25), (8192, 1.0)]
    played = live(voice, 1000, 0.7, levels, stop, 256 * 70)
    blocks = iter(np.array_split(voice, 7))
    stem = Stem(blocks, RATE, channels, 1000, 0.7, levels, stop, FADE)
    again = np.concatenate(list(heard(stem, CARD)))
    length = min(len(again), len(played) - 1000)
    assert np.abs(again[:length] - played[1000 : 1000 + length]).max() < 1e-6
    assert not played[1000 + length :].any()

    stem = Stem(iter(np.array_split(voice, 3)), RATE, channels, 1000, 0.7, levels, stop, FADE)
    file = StemFile(tmp_path / "stem.wav", [stem], CARD, 400)
    frames = write_mix(tmp_path / "mix.wav", [file], CARD, 2, [(0, 0.5), (6000, 0.1)], 400)
    on_disk, rate = soundfile.read(tmp_path / "stem.wav", dtype="float32", always_2d=True)
    assert rate == CARD
    assert not on_disk[:600].any(), "silent until it begins"
    assert np.abs(on_disk[600 : 600 + length] - played[1000 : 1000 + length]).max() < 3e-7
    mix, _ = soundfile.read(tmp_path / "mix.wav", dtype="float32")
    assert len(mix) == frames == len(on_disk)
    assert np.abs(mix[:5600, -1] - 0.5 * on_disk[:5600, -1]).max() < 3e-7
    assert np.abs(mix[7000:, 0] - 0.1 * on_disk[7000:, 0]).max() < 3e-7


def test_what_was_heard_before_the_performance_is_left_out(tmp_path: Path) -> None:
    voice = noise(RATE)
    whole = np.concatenate(list(heard(Stem(iter([voice]), RATE, 1, 1000, 1.0, [], None, FADE), CARD)))
    stem = Stem(iter([voice]), RATE, 1, 1000, 1.0, [], None, FADE)
    write_mix(tmp_path / "mix.wav", [StemFile(tmp_path / "stem.wav", [stem], CARD, 3456)], CARD, 1, [], 3456)
    found, _ = soundfile.read(tmp_path / "stem.wav", dtype="float32", always_2d=True)
    assert np.abs(found - whole[2456:]).max() < 3e-7


def test_voices_are_folded_as_the_card_folds_them() -> None:
    for channels, width in ((1, 2), (2, 2), (3, 2), (2, 1)):
        output = OfflineOutput(RATE, width, 64)
        feeder = Feeder(RATE, channels, 1.0, 0.0, 1.0, 0.0005)
        feeder.attach(output)
        sound = noise(2000, 5, channels) * 0.2
        feeder.write(sound)
        played = output.advance(1024)
        mix = np.zeros((1024, width), np.float32)
        add(sound[:1024], mix)
        assert np.abs(played[64:] - mix[64:]).max() < 1e-6


def test_takes_are_compared_bit_for_bit(tmp_path: Path) -> None:
    sound = noise(300_000)
    for name, content in (("a", sound), ("b", sound), ("c", sound + np.float32(2**-22)), ("d", sound[:-1])):
        soundfile.write(tmp_path / f"{name}.wav", content, RATE, "PCM_24")
    assert difference(tmp_path / "a.wav", tmp_path / "b.wav") == (True, 0.0)
    equal, most = difference(tmp_path / "a.wav", tmp_path / "c.wav")
    assert not equal
    assert 0 < most < 2**-21
    assert difference(tmp_path / "a.wav", tmp_path / "d.wav")[0] is False
    read, length, close = reader(
        tmp_path / "a.wav", Levelling(LoudnessMode.LUFS, None, 0.0, 0.0, gain_db=20 * math.log10(0.5))
    )
    assert length == len(sound)
    assert np.abs(read(1000, 10) - 2 * sound[1000:1010]).max() < 1e-6
    assert len(read(length - 3, 10)) == 3
    close()


# --- The log -------------------------------------------------------------------------------------------------------

STREAM = {
    "e": "stream", "s": 1, "words": "drone", "rate": RATE, "channels": 1, "frame_samples": 160, "began_at": 0,
    "fade": FADE, "gain": 1.0, "journal": "a", "format": "wav", "loudness": "none",
}  # fmt: skip
CARDS = [
    {"e": "card", "c": 1, "name": "one", "rate": CARD, "channels": 2, "origin": (1, 2)},
    {"e": "card", "c": 2, "name": "two", "rate": 2 * CARD, "channels": 8, "origin": (5, 2)},
]


def written(path: Path, *content: dict[str, object], end: bool = True) -> Path:
    writer = LogWriter(path)
    for line in content:
        writer.write(dict(line))
    if end:
        writer.close()
    else:
        assert writer.synced().wait(5)
    return path


def test_a_log_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    path = written(
        tmp_path / "one.performance", {"e": "begin", "name": "night", "zero": None}, *CARDS, STREAM, end=False
    )
    assert [line["e"] for line in lines(path)] == ["begin", "card", "card", "stream"], "there before it is closed"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert len(list(lines(path))) == whole[:cut].count(b"\n")
    path.write_bytes(whole.replace(b"drone", b"dr0ne"))
    assert [line["e"] for line in lines(path)] == ["begin", "card", "card"], "a line with a flipped bit ends it"
    path.write_bytes(b"\xff" * 100 + b"\n")
    assert list(lines(path)) == []
    assert list(lines(tmp_path / "none")) == []


def test_a_score_counts_in_frames_of_its_first_card(tmp_path: Path) -> None:
    held = HeldBars(voice=900, position=840, end=1000, length=Fraction(700, 3), bar=Fraction(350, 3))
    told = {
        "e": "held", "s": 1, "voice": held.voice, "position": held.position, "end": held.end, "length": (700, 3),
        "bar": (350, 3),
    }  # fmt: skip
    path = written(
        tmp_path / "20260101-000000-aa.performance",
        {"e": "begin", "name": "night", "zero": (1, 500)},
        *CARDS,
        STREAM,
        {"e": "place", "s": 1, "c": 1, "start": 488, "origin": (0, 1)},
        {"e": "place", "s": 1, "c": 1, "start": 1000, "origin": (0, 1)},
        {**told, "back": None},
        {**told, "back": 2000},
        {"e": "level", "s": 0, "c": 1, "frame": 1200, "gain": 0.5},
        {"e": "level", "s": 1, "c": 1, "frame": 1300, "gain": 0.25},
        {"e": "at", "s": 1, "c": 1, "frames": 12_000, "samples": 9000},
        {"e": "journal", "s": 1, "journal": "b"},
        {"e": "place", "s": 1, "c": 2, "start": 2000, "origin": (16_000, 2)},
        {"e": "later", "s": 1},
        {"e": "over", "s": 9, "c": 2, "frames": 1, "samples": 1, "path": "", "stopped": True},
        {"e": "over", "s": 1, "c": 2, "frames": 24_000, "samples": 16_000, "path": "take.wav", "stopped": False},
    )
    score = read_score(path)
    (stream,) = score.heard
    assert (score.name, score.state, score.rate, score.channels) == ("night", "over", CARD, 2)
    assert [(place.card, place.start, place.origin, place.frames) for place in stream.places] == [
        (1, 1000, 0, 12_000),
        (2, 2000, 8000, 24_000),
    ]
    assert [one.back for one in stream.held] == [2000]
    assert (stream.about["journal"], stream.about["path"], stream.stopped, stream.over) == (
        "b",
        "take.wav",
        False,
        True,
    )
    assert score.frame(2, 0) == 2 * CARD, "two seconds after the first"
    assert score.began == 1000
    assert score.frames == 2 * CARD + 13_000 - 1000
    assert find_score(tmp_path, "night").id == find_score(tmp_path, score.id).id == "20260101-000000-aa"
    with pytest.raises(RequestError) as refused:
        find_score(tmp_path, "day")
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert score.info(live=False).seconds == round(score.frames / CARD, 3)


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"2026010{number}.performance").write_bytes(bytes(1000))
    (tmp_path / "other").write_bytes(bytes(9000))
    make_room(tmp_path, 3500)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"2026010{number}.performance" for number in (3, 4, 5)),
        "other",
    ]


def test_a_disk_that_refuses_holds_nobody_up(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "missing" / "one.performance")
    for number in range(100):
        writer.write({"e": "at", "s": number})
    assert writer.synced().wait(5)
    writer.close()


def test_the_fade_is_that_of_the_holdover() -> None:
    assert round(FADE_S * 32_000) == 640
