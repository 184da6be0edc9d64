"""Chroma, key and melody of sounds whose notes are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluation.chroma import (
    KEY_RATE,
    MELODY_RATE,
    key_chroma,
    melody_agreement,
    melody_chroma,
    melody_cosine,
    share_in_key,
)

SAMPLE_RATE = 32_000
C_MAJOR = frozenset((0, 2, 4, 5, 7, 9, 11))
FSHARP_MAJOR = frozenset((pitch + 6) % 12 for pitch in C_MAJOR)


def tone(key: int, seconds: float, harmonics: int = 4) -> NDArray[np.float64]:
    """A note with harmonics that fall off, and soft ends."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = 440 * 2 ** ((key - 69) / 12)
    sound = sum(0.5**number * np.sin(2 * np.pi * hertz * (number + 1) * time) for number in range(harmonics))
    ends = np.minimum(1, np.minimum(time, seconds - time) / 0.01)
    return np.asarray(0.2 * sound * ends)


def chords(roots: Sequence[Sequence[int]], seconds: float = 1.0) -> NDArray[np.float32]:
    return np.concatenate([sum(tone(key, seconds) for key in keys) for keys in roots]).astype(np.float32)


def test_chords_of_a_key_are_in_it_and_not_in_a_far_one() -> None:
    played = key_chroma(chords([(60, 64, 67), (57, 60, 64), (65, 69, 72), (55, 59, 62)]), SAMPLE_RATE)
    assert share_in_key(played, C_MAJOR) > 0.97
    # C major and F sharp major have B and F in common, two notes of the seven.
    assert share_in_key(played, FSHARP_MAJOR) < 0.25


def test_chroma_tells_which_notes_sound_and_how_many_frames_there_are() -> None:
    played = key_chroma(chords([(61, 66)], 3.0), SAMPLE_RATE)
    assert played.shape == (int(3 * KEY_RATE), 12)
    assert set(played.sum(axis=0).argsort()[-2:].tolist()) == {1, 6}


def test_rumble_below_the_band_is_not_heard() -> None:
    rumble = chords([(30,)], 4.0) * 4
    quiet = chords([(60, 64, 67)], 4.0)
    heard = share_in_key(key_chroma(rumble - 4 * chords([(30,)], 4.0) + quiet, SAMPLE_RATE), C_MAJOR)
    low = np.sin(2 * np.pi * 46.2 * np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)  # F sharp 1
    assert share_in_key(key_chroma(quiet + low, SAMPLE_RATE), C_MAJOR) == pytest.approx(heard, abs=0.03)


def test_drums_hardly_move_the_share_in_key() -> None:
    quiet = chords([(60, 64, 67), (65, 69, 72)], 2.0)
    rng = np.random.default_rng(3)
    drums = np.zeros_like(quiet)
    for at in range(0, len(quiet) - 3200, 8000):
        drums[at : at + 3200] += (0.5 * rng.standard_normal(3200) * np.exp(-np.arange(3200) / 400)).astype(np.float32)
    assert share_in_key(key_chroma(quiet + drums, SAMPLE_RATE), C_MAJOR) > 0.9


def test_white_noise_is_in_key_by_chance_alone() -> None:
    noise = np.random.default_rng(4).standard_normal(10 * SAMPLE_RATE).astype(np.float32)
    assert share_in_key(key_chroma(noise, SAMPLE_RATE), C_MAJOR) == pytest.approx(7 / 12, abs=0.06)


def test_silence_is_in_no_key_and_agrees_with_no_melody() -> None:
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    assert np.isnan(share_in_key(key_chroma(silence, SAMPLE_RATE), C_MAJOR))
    melody = np.zeros(90, np.int64)
    assert melody_cosine(melody_chroma(silence, SAMPLE_RATE), melody) == 0.0
    assert melody_agreement(melody_chroma(silence, SAMPLE_RATE), melody) == 0.0


def test_a_melody_alone_is_followed_and_another_is_not() -> None:
    keys = [72, 74, 76, 77, 79, 81, 83, 84]
    sound = chords([(key,) for key in keys], 0.5)
    heard = melody_chroma(sound, SAMPLE_RATE)
    assert heard.shape == (int(4 * MELODY_RATE), 12)
    moments = (np.arange(len(heard)) / MELODY_RATE / 0.5).astype(np.int64)
    melody = np.array([key % 12 for key in keys])[moments]
    assert melody_cosine(heard, melody) > 0.9
    assert melody_agreement(heard, melody) > 0.9
    assert melody_cosine(heard, (melody + 1) % 12) < 0.2
    assert melody_agreement(heard, (melody + 1) % 12) < 0.1


def test_a_melody_over_chords_stands_out() -> None:
    keys = [76, 79, 77, 74]
    sound = chords([(key,) for key in keys]) + 0.4 * chords([(48, 52, 55), (48, 52, 55), (53, 57, 60), (55, 59, 62)])
    heard = melody_chroma(sound.astype(np.float32), SAMPLE_RATE)
    melody = np.array([key % 12 for key in keys])[(np.arange(len(heard)) / MELODY_RATE).astype(np.int64)]
    assert melody_cosine(heard, melody) > 0.8


def test_only_the_frames_in_which_the_melody_sounds_count() -> None:
    heard = np.zeros((4, 12))
    heard[:, 3] = 1.0
    assert melody_cosine(heard, np.array([3, 3, -1, -1])) == 1.0
    assert melody_cosine(heard, np.array([3, 4, -1, -1])) == 0.5
    assert melody_agreement(heard, np.array([3, 4, 5, -1])) == pytest.approx(1 / 3)
    assert np.isnan(melody_cosine(heard, np.full(4, -1)))
    assert np.isnan(melody_agreement(heard, np.full(4, -1)))


def test_two_equal_pitch_classes_give_the_cosine_of_45_degrees() -> None:
    heard = np.zeros((2, 12))
    heard[:, [3, 8]] = 2.0
    assert melody_cosine(heard, np.array([3, 8])) == pytest.approx(2**-0.5)
