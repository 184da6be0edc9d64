"""Data sets of composed music: made once, streamed by trainers without work per sample."""

from __future__ import annotations

from engine.training.data.build import HELD_OUT, TRAIN, Progress, build_dataset
from engine.training.data.records import PieceRecord
from engine.training.data.sampler import CHROMA_RATE, Alignment, Clip, ClipBatch, ClipSampler, CodeBatch, CodeSampler
from engine.training.data.shards import Split
from engine.training.data.tokens import Encoder, encode_split

__all__ = [
    "CHROMA_RATE",
    "HELD_OUT",
    "TRAIN",
    "Alignment",
    "Clip",
    "ClipBatch",
    "ClipSampler",
    "CodeBatch",
    "CodeSampler",
    "Encoder",
    "PieceRecord",
    "Progress",
    "Split",
    "build_dataset",
    "encode_split",
]
