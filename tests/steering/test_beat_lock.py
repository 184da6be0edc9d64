"""The beat lock: what is late is brought in time, what has no beat is left alone, and every sample can be traced back."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sounds import RATE, Sound, blocks, clicks, random_blocks

from daw_bridge.steering.beats import BeatTracker, Grid
from daw_bridge.steering.lock import FASTEST, BeatLock
from daw_bridge.steering.onsets import onset_reader
from daw_bridge.steering.splices import Splicer

GRID = Grid(Fraction(120), 0, RATE)


def locked(sound: Sound, grid: Grid | None = GRID, rate: int = RATE) -> tuple[Sound, BeatLock]:
    lock = BeatLock(rate, sound.shape[1], grid)
    made = [lock.process(block) for block in blocks(sound, 640)]
    return np.concatenate([*made, lock.finish()]), lock


def onsets(sound: Sound, rate: int = RATE) -> np.ndarray:
    """Where bursts begin, in seconds: far apart, and the first sample beyond a tenth of full scale."""
    loud = np.flatnonzero(np.abs(sound[:, 0]) > 0.1)
    return loud[np.append(True, np.diff(loud) > rate // 5)] / rate


def errors_ms(sound: Sound, bpm: float = 120.0, rate: int = RATE) -> np.ndarray:
    found = onsets(sound, rate)
    period = 60 / bpm
    return 1000 * (found - np.round(found / period) * period)


@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000, 44_100, 48_000])
def test_the_beats_of_clicks_are_found_to_a_millisecond_or_two(rate: int) -> None:
    sound = clicks(15, 119.7, late_ms=25, rate=rate)
    reader, tracker = onset_reader(rate), BeatTracker(rate)
    for end in range(reader.window, len(sound) + 1, reader.hop):
        tracker.hear(reader.read(sound[end - reader.window : end], 0.05), end + reader.centres)
    beats = tracker.measure(Grid(Fraction(120), 0, rate))
    assert beats is not None
    assert beats.confidence > 0.9
    late = (beats.late + beats.drift * beats.age) / rate
    assert late == pytest.approx(0.025 + 15 * (120 / 119.7 - 1), abs=0.003)
    assert beats.drift == pytest.approx(120 / 119.7 - 1, abs=0.0004)


@pytest.mark.parametrize(
    ("bpm", "late_ms"), [(120.0, 22.0), (120.0, -35.0), (119.4, 0.0), (120.6, 10.0), (119.7, -15.0)]
)
def test_what_is_off_the_grid_is_brought_onto_it(bpm: float, late_ms: float) -> None:
    sound = clicks(60, bpm, late_ms=late_ms)
    before = np.abs(errors_ms(sound))[1:].max()
    heard, lock = locked(sound)
    after = errors_ms(heard)
    settled = after[onsets(heard) > 30]
    assert before > 20
    assert np.abs(settled).max() < 5
    assert abs(lock.state.error_ms) < 5
    assert lock.state.confidence > 0.9
    assert lock.state.tempo_percent == pytest.approx(100 * (bpm / 120 - 1), abs=0.05)


def test_off_beats_are_not_taken_for_beats() -> None:
    sound = clicks(40, 120)
    shift = RATE // 4
    sound[shift:] += 1.5 * sound[:-shift]
    heard, lock = locked(sound)
    assert np.array_equal(heard, sound)
    assert lock.state.confidence > 0.5


def test_half_a_beat_off_is_never_corrected() -> None:
    sound = clicks(40, 120, late_ms=250)
    heard, lock = locked(sound)
    assert np.array_equal(heard, sound)
    assert lock.state.splices == 0


def test_what_is_in_time_goes_through_untouched() -> None:
    for late_ms in (0.0, 2.5, -2.0):
        sound = clicks(30, 120, late_ms=late_ms)
        assert np.array_equal(locked(sound)[0], sound)


@pytest.mark.parametrize("kind", ["noise", "drone", "silence", "swells"])
def test_what_has_no_beat_is_left_alone(kind: str) -> None:
    random = np.random.default_rng(2)
    places = np.arange(40 * RATE) / RATE
    sounds = {
        "noise": random.normal(0, 0.1, len(places)),
        "drone": 0.2 * np.sin(2 * np.pi * 110 * places) + 0.1 * np.sin(2 * np.pi * 165.3 * places),
        "silence": np.zeros(len(places)),
        "swells": 0.2 * np.sin(2 * np.pi * 220 * places) * np.sin(2 * np.pi * 0.17 * places) ** 2,
    }
    sound = sounds[kind].astype(np.float32)[:, None]
    heard, lock = locked(sound)
    assert np.array_equal(heard, sound)
    assert lock.state.splices == 0
    assert lock.state.confidence < 0.5


def test_without_a_grid_everything_goes_through() -> None:
    sound = clicks(20, 117, late_ms=40)
    heard, lock = locked(sound, None)
    assert np.array_equal(heard, sound)
    assert lock.held == 0


def test_the_tempo_is_never_changed_by_more_than_it_may_be() -> None:
    heard, lock = locked(clicks(60, 118.5))
    longest = Splicer(RATE).longest
    assert abs(lock.state.corrected_ms) / 1000 * RATE <= float(FASTEST) * 60 * RATE + longest
    assert len(heard) + round(lock.state.corrected_ms * RATE / 1000) == 60 * RATE


def test_every_sample_outside_of_fades_is_the_stream_s_own_at_the_position_that_is_told() -> None:
    for bpm in (119.5, 120.5):
        sound = clicks(40, bpm, noise=0.01)
        heard, lock = locked(sound)
        assert lock.state.splices > 10
        assert lock.source_position(len(heard)) == len(sound)
        sources = np.array([lock.source_position(place) for place in range(len(heard))])
        same = heard[:, 0] == sound[np.minimum(sources, len(sound) - 1), 0]
        assert (~same).sum() <= lock.state.splices * Splicer(RATE).fade
        jumps = np.flatnonzero(np.diff(sources) != 1)
        assert len(jumps) == lock.state.splices
        assert np.abs(np.diff(sources) - 1).sum() >= abs(lock.state.corrected_ms) * RATE / 1000 - 1


def test_splices_do_not_jump() -> None:
    places = np.arange(60 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 196 * places) + 0.2 * np.sin(2 * np.pi * 98 * places)
    sound = (clicks(60, 119.6)[:, 0] + tone).astype(np.float32)[:, None]
    heard, lock = locked(sound)
    assert lock.state.splices > 10
    assert np.abs(np.diff(heard[:, 0])).max() <= np.abs(np.diff(sound[:, 0])).max() * 1.05


def test_blocks_make_no_difference() -> None:
    sound = np.repeat(clicks(40, 119.5, late_ms=15, noise=0.01), 2, axis=1)
    sound[:, 1] *= 0.5
    whole = locked(sound)[0]
    for seed, most in ((0, 60), (1, 2000), (2, 30_000)):
        lock = BeatLock(RATE, 2, GRID)
        made = [lock.process(block) for block in random_blocks(sound, seed, most)]
        assert np.array_equal(np.concatenate([*made, lock.finish()]), whole)
        assert lock.state.splices > 10


def test_hardly_anything_is_held_back() -> None:
    lock = BeatLock(RATE, 1, GRID)
    held = 0
    for block in blocks(clicks(40, 119.5), 160):
        lock.process(block)
        held = max(held, lock.held)
    assert lock.state.splices
    assert held <= 0.08 * RATE


def test_what_is_no_number_is_silence() -> None:
    sound = clicks(30, 120, late_ms=20)
    sound[RATE * 8] = np.nan
    heard, lock = locked(sound)
    assert np.isfinite(heard).all()
    assert abs(lock.state.error_ms) < 5


def test_a_new_grid_begins_where_the_stream_is() -> None:
    sound = np.concatenate((clicks(20, 120, late_ms=20), clicks(40, 100)))
    lock = BeatLock(RATE, 1, GRID)
    heard = [lock.process(block) for block in blocks(sound[: 20 * RATE], 640)]
    out = sum(map(len, heard))
    lock.set_grid(Grid(Fraction(100), out, RATE))
    heard += [lock.process(block) for block in blocks(sound[20 * RATE :], 640)]
    second = np.concatenate(heard)[out:]
    assert np.abs(errors_ms(second, 100)[5:-1]).max() < 5
    assert lock.state.confidence > 0.9
