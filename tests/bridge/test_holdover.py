"""Never silence: the last bars play again in time, without a click, and the stream goes on without a sample lost."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from daw_bridge.audio.crossfade import crossfade
from daw_bridge.holdover import FADE_S, History, Holdover

RATE = 8_000
BAR = Fraction(60 * 4, 111) * RATE  # of no whole number of samples
FADE = round(FADE_S * RATE)
MARGIN = RATE // 10
BLOCK = 160


class Card:
    """A voice that takes everything, and plays a block at a time."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.float32]] = []
        self.written = self.played = self.dry = 0
        self.finished = False

    def write(self, chunk: NDArray[np.float32]) -> int:
        self.blocks.append(np.array(chunk))
        self.written += len(chunk)
        return len(chunk)

    def finish(self) -> None:
        self.finished = True

    def play(self, samples: int) -> None:
        self.dry += max(0, self.played + samples - self.written) if not self.finished else 0
        self.played = min(self.written, self.played + samples)

    @property
    def heard(self) -> NDArray[np.float32]:
        return np.concatenate(self.blocks)[:, 0]

    @property
    def positions(self) -> NDArray[np.int64]:
        """Which samples of the stream were heard."""
        return np.round(np.concatenate(self.blocks)[:, 1].astype(np.float64) * 1e9).astype(np.int64)


class Stage:
    """A stream whose engine comes and goes."""

    def __init__(self, bars: int = 2, bar: Fraction | None = BAR) -> None:
        self.card = Card()
        self.told: list[bool] = []
        seconds = None if bar is None else bar / RATE
        self.line = Holdover(
            self.card, RATE, 2, bars=bars, bar_seconds=lambda: seconds, margin=MARGIN, patience=RATE // 5,
            told=self.told.append,
        )  # fmt: skip
        self.made = 0

    def make(self, samples: int) -> None:
        """The engine makes more: what each sample is tells where it is in bar and stream."""
        for start in range(self.made, self.made + samples, BLOCK):
            positions = np.arange(start, min(start + BLOCK, self.made + samples))
            # The second channel tells which sample it is, too softly to weigh in the fades.
            block = np.stack([sound(positions), (positions * 1e-9).astype(np.float32)], axis=1)
            self.line.write(block, self.card.played > 0)
        self.made += samples

    def run(self, samples: int) -> None:
        """Time passes."""
        for _ in range(samples // 80):
            self.card.play(80)
            self.line.pump(self.card.played, self.card.played > 0)


def sound(position: NDArray[np.int64]) -> NDArray[np.float32]:
    """A slow sweep in every bar, which jumps nowhere, beside something that tells bars apart."""
    bar = np.sin(np.pi * (position % float(BAR)) / float(BAR)) ** 2
    return (0.5 * bar + 0.2 * np.sin(position / 4000)).astype(np.float32)


def test_a_stream_in_time_passes_as_it_is() -> None:
    stage = Stage()
    for _ in range(200):
        stage.make(320)
        stage.run(320)
        if stage.made == 320:
            stage.make(4000)
    stage.line.finish()
    assert np.array_equal(stage.card.heard, sound(np.arange(stage.made)))
    assert (stage.told, stage.card.dry) == ([], 0)
    assert stage.card.finished


@pytest.mark.parametrize("seed", range(8))
def test_what_is_late_is_bridged_in_time(seed: int) -> None:
    chance = random.Random(seed)
    stage = Stage(bars=chance.choice([1, 2, 4]))
    stage.make(6000)
    stage.run(80)
    for _ in range(4):
        for _ in range(chance.randrange(60, 400)):
            stage.make(160)
            stage.run(160)
        stage.run(chance.randrange(1, 12) * int(BAR) // 3 // 80 * 80)  # the engine is gone
        stage.make(6000)
        stage.run(2 * int(BAR) // 80 * 80)
        stage.make(2 * int(BAR))
    stage.line.finish()
    stage.run(4 * stage.made)
    heard = stage.card.heard
    assert stage.card.dry == 0, "never silence"
    assert stage.told == [True, False] * (len(stage.told) // 2)
    assert stage.told
    added = len(heard) - stage.made
    assert abs(added / BAR - round(added / BAR)) * BAR <= len(stage.told) + 1, "longer by whole bars"
    assert np.max(np.abs(np.diff(heard))) < 0.02, "no click"
    # Whatever was inserted, the beat goes on: where in its bar each sample is follows from where it is heard.
    sweep = 0.5 * np.sin(np.pi * (np.arange(len(heard)) % float(BAR)) / float(BAR)) ** 2
    assert np.max(np.abs(heard - sweep)) < 0.23
    missing = np.setdiff1d(np.arange(stage.made), stage.card.positions)
    assert len(missing) <= FADE * len(stage.told), "nothing is lost but what was heard in fades"


def test_positions_of_the_stream_that_are_heard() -> None:
    stage = Stage(bars=1)
    stage.make(20_000)
    stage.run(80)
    stage.run(20_000 + int(1.5 * BAR) // 80 * 80)
    assert stage.line.holding
    assert stage.line.heard(100) == 100
    assert stage.line.heard(stage.card.played) == 20_000
    stage.make(30_000)
    stage.run(2 * int(BAR) // 80 * 80)
    assert not stage.line.holding
    written = np.concatenate(stage.card.blocks)
    again = stage.line.heard(stage.card.played)
    assert 20_000 < again <= 50_000
    assert written[stage.card.played, 0] == pytest.approx(sound(np.array([again]))[0], abs=1e-6)


def test_a_stream_younger_than_a_bar_repeats_beats() -> None:
    stage = Stage()
    stage.make(int(BAR) // 2 + 3 * FADE)
    stage.run(80)
    stage.run(3 * int(BAR) // 80 * 80)
    assert (stage.told, stage.card.dry) == ([True], 0)


def test_without_bars_or_sound_nothing_is_made_up() -> None:
    for stage in (Stage(bars=0), Stage()):
        stage.make(FADE)
        stage.run(80)
        stage.run(4000)
        assert stage.told == []
        assert np.array_equal(stage.card.heard, sound(np.arange(FADE)))


def test_no_tempo_needed() -> None:
    stage = Stage(bar=None)
    stage.make(5 * RATE)
    stage.run(80)
    stage.run(20 * RATE)
    assert (stage.told, stage.card.dry) == ([True], 0)
    stage.make(RATE)
    stage.line.finish()
    stage.run(4 * RATE)
    assert stage.card.finished
    assert np.array_equal(stage.card.heard[-RATE + FADE :], sound(np.arange(5 * RATE + FADE, 6 * RATE)))


def test_history_keeps_the_latest() -> None:
    history, chance = History(100, 2), random.Random(1)
    everything = np.arange(4000, dtype=np.float32).repeat(2).reshape(-1, 2)
    while history.end < len(everything):
        history.append(everything[history.end : history.end + chance.randrange(1, 260)])
        count = history.end - history.begin
        assert count >= min(history.end, 100)
        assert np.array_equal(history.read(history.begin, count), everything[history.begin : history.end])


def test_crossfades_keep_the_power() -> None:
    noise = np.random.default_rng(1).standard_normal((2, 200, 2, 2000)).astype(np.float32)
    leaving, entering = noise
    mixed = np.array([crossfade(a.T, b.T) for a, b in zip(leaving, entering, strict=True)])
    power = np.mean(mixed**2, axis=(0, 2))
    assert np.all(np.abs(power - 1) < 0.3)
    same = leaving[0].T
    assert np.allclose(crossfade(same, same), same, atol=1e-6)
    silence = np.zeros_like(same)
    assert np.allclose(crossfade(silence, silence), 0)
