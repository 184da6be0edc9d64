"""Sounds with known loudness, colour and beats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE = 16_000

Sound = NDArray[np.float32]


def music(seconds: float, *, level: float = 0.1, seed: int = 0, rate: int = RATE) -> Sound:
    """Chords and beats over a soft noise: with attacks, with bass, and about as loud all the time; ``[samples, 1]``."""
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    places = np.arange(count) / rate
    since_beat = places % 0.5
    sound = sum(np.sin(2 * np.pi * hz * places) for hz in (110, 220, 277.2, 329.6)) * np.exp(-3 * since_beat)
    noise = lfilter([1], [1, -0.7], random.normal(size=count))
    sound = sound + noise * (0.05 + np.exp(-30 * since_beat))
    return (level * sound / np.sqrt(np.mean(sound**2))).astype(np.float32)[:, None]


def clicks(seconds: float, bpm: float, *, late_ms: float = 0.0, rate: int = RATE, noise: float = 0.002) -> Sound:
    """Short bursts on every beat over a soft noise, ``[samples, 1]``; the first one so late."""
    random = np.random.default_rng(1)
    sound = random.normal(size=round(seconds * rate)) * noise
    burst = 0.5 * np.exp(-np.arange(rate // 20) / (rate / 125)) * random.normal(size=rate // 20)
    for beat in range(round(seconds * bpm / 60) + 1):
        place = round((60 * beat / bpm + late_ms / 1000) * rate)
        if 0 <= place < len(sound) - len(burst):
            sound[place : place + len(burst)] += burst
    return sound.astype(np.float32)[:, None]


def blocks(sound: Sound, size: int) -> Iterator[Sound]:
    """Cut evenly."""
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


def random_blocks(sound: Sound, seed: int, most: int) -> Iterator[Sound]:
    """Cut anywhere, now and then to nothing."""
    random = np.random.default_rng(seed)
    start = 0
    while start < len(sound):
        size = int(random.integers(0, most))
        yield sound[start : start + size]
        start += size
