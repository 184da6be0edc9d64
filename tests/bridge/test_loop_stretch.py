"""Sound made longer and shorter at the same pitch."""

from __future__ import annotations

import numpy as np
import pytest

from daw_bridge.loops.stretch import HALF_S, SLACK_S, stretch

RATE = 48_000


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99, 1.02, 1.2, 2.0])
def test_tones_keep_their_pitch_level_and_smoothness(ratio: float) -> None:
    time = np.arange(3 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * time) + 0.2 * np.sin(2 * np.pi * 331 * time)).astype(np.float32)
    sound = np.stack([tone, -tone], axis=1)
    frames = round(len(tone) * ratio)
    heard = stretch(sound, frames, RATE)
    assert heard.shape == (frames, 2)
    assert np.allclose(heard[:100], sound[:100], atol=1e-6)
    spectrum = np.abs(np.fft.rfft(heard[:, 0] * np.hanning(frames)))
    assert np.argmax(spectrum) * RATE / frames == pytest.approx(220, abs=1)
    middle = heard[RATE // 10 : -RATE // 10, 0]
    assert np.sqrt(np.square(middle).mean()) == pytest.approx(np.sqrt(np.square(tone).mean()), rel=0.05)
    assert np.abs(np.diff(middle)).max() <= np.abs(np.diff(tone)).max() * 1.1


@pytest.mark.parametrize("ratio", [0.8, 1.02, 1.3])
def test_beats_stay_where_the_tempo_puts_them(ratio: float) -> None:
    chance = np.random.default_rng(2)
    sound = np.zeros((4 * RATE, 1), np.float32)
    for beat in range(8):
        hit = chance.normal(0, 0.3, 3000) * np.exp(-np.arange(3000) / 500)
        sound[beat * RATE // 2 : beat * RATE // 2 + 3000, 0] = hit
    heard = stretch(sound, round(len(sound) * ratio), RATE)[:, 0]
    for beat in range(8):
        line = round(beat * RATE / 2 * ratio)
        around = heard[max(0, line - 2000) : line + 2000]
        onset = max(0, line - 2000) + int(np.argmax(np.abs(around) > 0.1))
        assert abs(onset - line) <= (SLACK_S + HALF_S * abs(ratio - 1) + 0.001) * RATE


def test_silence_and_what_is_shorter_than_a_grain() -> None:
    assert not stretch(np.zeros((RATE, 2), np.float32), 2 * RATE, RATE).any()
    assert stretch(np.ones((100, 1), np.float32), 150, RATE).shape == (150, 1)
