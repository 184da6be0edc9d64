"""Melodies as chroma: what a window hears of one that is written or recorded, and which are refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.conditioning import melody as melody_module
from engine.conditioning.melody import (
    MAX_FRAMES,
    SILENCE,
    AudioMelody,
    MelodyCondition,
    MelodyFacts,
    chroma,
    melody_from_audio,
)
from protocols.errors import ErrorCode, RequestError

FACTS = MelodyFacts(
    sample_rate=32_000, frame_rate=Fraction(50), window_frames=100, frames=24, fft_size=2048, hop_length=512
)
"""Small windows, so that the tests are quick: 2 s of codes, 24 frames of chroma of 16 ms."""


def sound_of(*pitches: int, seconds: float = 0.25, rate: int = FACTS.sample_rate) -> Tensor:
    """Sines, one after the other; 0 is the C below middle A."""
    time = torch.arange(int(seconds * rate)) / rate
    return torch.cat([torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 9) / 12) * time) for pitch in pitches])


def refused(code: ErrorCode, sound: Any, facts: MelodyFacts = FACTS) -> RequestError:
    with pytest.raises(RequestError) as error:
        melody_from_audio(sound, facts, total_frames=50)
    assert error.value.code == code
    return error.value


# --- recorded


@pytest.mark.parametrize("pitch", range(12))
def test_every_pitch_class_is_its_bin(pitch: int) -> None:
    facts = MelodyFacts(32_000, Fraction(50), 1500, 235)
    for octave in (-1, 0, 1, 2):
        strengths = chroma(sound_of(pitch + 12 * octave, seconds=1), facts)
        assert (strengths.argmax(dim=1) == pitch).all()
        assert (strengths.max(dim=1).values == 1).all()


def test_chroma_of_a_long_sound_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    whole = chroma(sound, FACTS)
    assert whole.shape == (1 + len(sound) // FACTS.hop_length, 12)
    for pieces in (1, 7, 390, 391):
        monkeypatch.setattr(melody_module, "_FRAMES_AT_ONCE", pieces)
        torch.testing.assert_close(chroma(sound, FACTS), whole, rtol=1e-5, atol=1e-6)


@given(
    length=st.integers(1, 90_000),
    frame=st.integers(-10_000, 1 << 40),
    origin=st.integers(0, 500),
    seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_a_window_hears_what_a_looping_player_would_play(length: int, frame: int, origin: int, seed: int) -> None:
    sound = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    first = (frame - origin) * FACTS.sample_rate // FACTS.frame_rate
    played = sound[(torch.arange(FACTS.window_samples) + first % length) % length]
    expected = chroma(played, FACTS).argmax(dim=1)[: FACTS.frames]
    melody = AudioMelody(sound, FACTS, origin=origin)
    assert torch.equal(melody.window(frame), expected)
    assert melody.window(frame) is melody.window(frame)


def test_a_recording_in_a_stream_that_fits_the_window_is_read_once_and_repeated() -> None:
    sound = sound_of(0, 4, 7)
    melody = melody_from_audio(sound, FACTS, total_frames=100)
    assert isinstance(melody, MelodyCondition)
    names = chroma(sound, FACTS).argmax(dim=1)
    repeated = names.repeat(2)[: FACTS.frames]
    assert torch.equal(melody.window(0), repeated)
    assert isinstance(melody_from_audio(sound, FACTS, total_frames=101), AudioMelody)
    assert isinstance(melody_from_audio(sound, FACTS, total_frames=None), AudioMelody)


@pytest.mark.parametrize("total_frames", [100, None])
def test_a_recording_begins_where_new_material_does(total_frames: int | None) -> None:
    """After an audio prompt of 50 frames, a second, the window's chroma has the melody's beginning a second later."""
    sound = sound_of(*range(12), seconds=0.5)
    facts = MelodyFacts(FACTS.sample_rate, FACTS.frame_rate, 100, 125, FACTS.fft_size, FACTS.hop_length)
    heard = melody_from_audio(sound, facts, total_frames=total_frames, origin=50).window(0)
    names = heard[[15, 45, 75, 105]]  # frames of 16 ms, in the middle of every half second
    assert names.tolist() == [10, 11, 0, 1]


def test_a_melody_longer_than_the_stream_is_cut() -> None:
    sound = sound_of(*range(12), seconds=0.5)
    melody = melody_from_audio(sound, FACTS, total_frames=10)
    assert torch.equal(melody.window(0), chroma(sound, FACTS).argmax(dim=1)[: FACTS.frames])


def test_channels_are_averaged() -> None:
    left, right = sound_of(0), sound_of(7)
    many = torch.stack([left, right] + [torch.zeros_like(left)] * 9)
    mean = melody_from_audio((left + right) / 11, FACTS, total_frames=50)
    assert torch.equal(melody_from_audio(many, FACTS, total_frames=50).window(0), mean.window(0))
    assert torch.equal(melody_from_audio(many.numpy(), FACTS, total_frames=50).window(0), mean.window(0))


@pytest.mark.parametrize("total_frames", [50, None])
@pytest.mark.parametrize("sound", [torch.zeros(1), torch.zeros(100_000), torch.tensor([0.5])], ids=str)
def test_silence_and_one_sample_are_heard_as_something(sound: Tensor, total_frames: int | None) -> None:
    bins = melody_from_audio(sound, FACTS, total_frames=total_frames).window(0)
    assert bins.shape == (FACTS.frames,)
    if not sound.any():
        assert (bins == FACTS.null_bin).all()


def test_sound_that_is_none_is_refused() -> None:
    assert refused(ErrorCode.EMPTY, torch.zeros(0)).field == "melody"
    assert refused(ErrorCode.EMPTY, torch.zeros(2, 0)).field == "melody"
    for wrong in (float("nan"), float("inf")):
        assert "finite" in refused(ErrorCode.MALFORMED, torch.tensor([0.0, wrong])).text
    assert "[1, 2, 3]" in refused(ErrorCode.MALFORMED, torch.zeros(1, 2, 3)).text


# --- written


def test_a_written_melody_takes_the_pitch_of_every_moment() -> None:
    # 100 pitches per second against 62.5 frames of chroma: frame k stands for pitch 1.6 k.
    pitches = np.arange(50) % 12
    melody = MelodyCondition(pitches, FACTS, rate=Fraction(100))
    assert melody.window(0).tolist() == [int(1.6 * k + 1e-9) % 50 % 12 for k in range(FACTS.frames)]
    assert melody.window(25).tolist() == melody.window(0).tolist()  # half a second later it begins again
    assert (
        MelodyCondition(pitches, FACTS, rate=Fraction(100), origin=7).window(32).tolist() == melody.window(0).tolist()
    )


def test_a_loop_never_drifts() -> None:
    """Three notes a beat at 97 beats per minute: no whole number of any frames."""
    rate = Fraction(97 * 3, 60)
    melody = MelodyCondition([0, 4, 7], FACTS, rate=rate)
    beats_later = 97 * 50 * 60  # 50 hours, in beats; whole minutes are whole frames of codes
    frames = int(beats_later / Fraction(97, 60) * FACTS.frame_rate)
    assert torch.equal(melody.window(frames), melody.window(0))


def test_rests_are_the_null_bin() -> None:
    melody = MelodyCondition([SILENCE, 5], FACTS)
    assert melody.window(0).tolist() == [FACTS.null_bin, 5] * (FACTS.frames // 2)


@pytest.mark.parametrize(
    ("pitches", "code"),
    [
        ([], ErrorCode.EMPTY),
        ([12], ErrorCode.OUT_OF_RANGE),
        ([-2], ErrorCode.OUT_OF_RANGE),
        ([0.5], ErrorCode.BAD_TYPE),
        ([[0, 1]], ErrorCode.BAD_TYPE),
        ([True], ErrorCode.BAD_TYPE),
        (["c"], ErrorCode.BAD_TYPE),
        (np.zeros(MAX_FRAMES + 1, dtype=np.int64), ErrorCode.TOO_LONG),
    ],
    ids=str,
)
def test_what_is_no_melody_is_refused(pitches: Any, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as error:
        MelodyCondition(pitches, FACTS)
    assert (error.value.code, error.value.field) == (code, "melody")


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError) as error:
        MelodyCondition([0], FACTS, rate=Fraction(0))
    assert (error.value.code, error.value.field) == (ErrorCode.OUT_OF_RANGE, "melody_rate")


def test_what_is_handed_in_may_change_afterwards() -> None:
    pitches = np.array([1, 2, 3])
    melody = MelodyCondition(pitches, FACTS)
    before = melody.window(0).tolist()
    pitches[:] = 0
    assert melody.window(0).tolist() == before
