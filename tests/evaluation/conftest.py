"""A tiny model, and shards of held-out pieces whose sound is made here: nothing needs a synthesiser."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import ModelBundle, load_model
from engine.training.composer import Piece, compose
from engine.training.data.records import record_of
from engine.training.data.shards import AUDIO, to_pcm, write_shard
from tests.support.own_models import write_own_model

SAMPLE_RATE = 32_000
_SECONDS = 12
_PIECES = 5


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces with a melody, played by decaying sines over clicks on the beat."""
    folder = tmp_path_factory.mktemp("held_out")
    parts, records, offset = [], [], 0
    for seed in range(0, 10_000, 25):
        piece = compose(seed)
        if not piece.lead or piece.seconds < _SECONDS:
            continue
        samples = to_pcm(_play(piece))
        parts.append(samples)
        records.append(record_of(piece, offset, len(samples)))
        offset += len(samples)
        if len(parts) == _PIECES:
            break
    write_shard(folder, 0, AUDIO, Fraction(SAMPLE_RATE), parts, records)
    return folder


def _play(piece: Piece) -> np.ndarray:
    samples = np.zeros(_SECONDS * SAMPLE_RATE, np.float32)
    rng = np.random.default_rng(piece.seed)
    for note in piece.lead:
        at = round(float(piece.seconds_at(note.start)) * SAMPLE_RATE)
        length = min(round(float(piece.seconds_at(note.end - note.start)) * SAMPLE_RATE), len(samples) - at)
        if length > 0:
            time = np.arange(length) / SAMPLE_RATE
            wave = np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * time)
            samples[at : at + length] += (0.25 * wave * np.exp(-2 * time)).astype(np.float32)
    for beat in piece.beat_times:
        at = round(float(beat) * SAMPLE_RATE)
        if at + 800 < len(samples):
            samples[at : at + 800] += (0.2 * rng.standard_normal(800) * np.exp(-np.arange(800) / 150)).astype(
                np.float32
            )
    return samples
