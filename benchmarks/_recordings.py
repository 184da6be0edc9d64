"""How well the melody of a recording is read, and how long that takes, from pieces whose melody is known."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._figures import summarise, table
from engine.conditioning.melody import MelodyFacts
from engine.conditioning.melody_line import LoopedLine
from engine.conditioning.melody_reading import read_melody
from engine.training.composer import Piece
from engine.training.rendering import Rendered
from protocols.errors import RequestError
from protocols.melody import AnyMelody, ChromaRow
from protocols.messages import SeparationName

SECONDS = 16
"""Of each piece: eight bars or so."""

_RATE = Fraction(50)


def measure_recordings(played: Iterable[tuple[Piece, Rendered]], facts: MelodyFacts) -> dict[str, Any]:
    """Read the beginnings of pieces, whole and of the lead alone.

    Returns:
        For each separation that is installed: the share of the frames with a lead that agree with it, as notes at 50 Hz
        and as chroma, and the milliseconds from samples to notes.
    """
    pieces = [(piece, {"mix": rendered.mix, "lead": rendered.lead}) for piece, rendered in played]
    result: dict[str, Any] = {}
    for separation in get_args(SeparationName):
        shares: dict[str, list[float]] = {}
        spent = []
        try:
            for piece, sounds in pieces:
                for name, sound in sounds.items():
                    heard = torch.from_numpy(np.ascontiguousarray(sound[: SECONDS * facts.sample_rate]))
                    began = time.perf_counter()
                    notes = read_melody(heard, facts.sample_rate, None, separation).melody
                    spent.append(1000 * (time.perf_counter() - began))
                    chroma = read_melody(heard, facts.sample_rate, facts, separation).melody
                    shares.setdefault(f"{name}_notes", []).append(_agreement(piece, notes))
                    shares.setdefault(f"{name}_chroma", []).append(_agreement(piece, chroma))
        except RequestError:  # not installed
            continue
        means = {name: round(float(np.nanmean(values)), 4) for name, values in shares.items()}
        result[separation] = {**means, "region_to_melody": summarise(spent)}
    return result


def describe_recordings(result: dict[str, Any]) -> str:
    """Such a result in words."""
    columns = ("mix_notes", "lead_notes", "mix_chroma", "lead_chroma")
    rows = [
        [name, *(f"{one[column]:.1%}" for column in columns), one["region_to_melody"]["p50_ms"]]
        for name, one in result.items()
    ]
    header = [
        "melody of a recording",
        "notes, mix",
        "notes, lead",
        "chroma, mix",
        "chroma, lead",
        f"ms for {SECONDS} s",
    ]
    return table(header, rows)


def _agreement(piece: Piece, melody: AnyMelody) -> float:
    if isinstance(melody, ChromaRow):
        pitches: NDArray[np.int64] = np.array(melody.pitches)
        true = piece.chroma(melody.frame_rate, len(pitches))
    else:
        pitches, _ = LoopedLine.of_melody(melody, _RATE).at(0, int(melody.seconds * _RATE))
        true = piece.chroma(_RATE, len(pitches))
    sounds = true >= 0
    return float((pitches == true)[sounds].mean()) if sounds.any() else float("nan")
