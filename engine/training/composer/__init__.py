"""Music that composes itself: whole pieces from seeds, with everything about them known exactly."""

from __future__ import annotations

from engine.training.composer.catalogue import STYLES
from engine.training.composer.compose import MAX_SEED, REVISION, compose
from engine.training.composer.piece import (
    METRES,
    NO_PITCH,
    TICKS_PER_BEAT,
    Chord,
    Metre,
    Note,
    Piece,
    Section,
    Track,
    chroma_of_notes,
)

__all__ = [
    "MAX_SEED",
    "METRES",
    "NO_PITCH",
    "REVISION",
    "STYLES",
    "TICKS_PER_BEAT",
    "Chord",
    "Metre",
    "Note",
    "Piece",
    "Section",
    "Track",
    "chroma_of_notes",
    "compose",
]
