"""A tiny MAGNeT in AudioCraft's layout, of random weights that are the same everywhere: figures were recorded with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tests.support.audiocraft_checkpoints import Kind, write_audiocraft_checkpoint

TEXT = "a happy rock song with guitar"
SETTINGS: dict[str, Any] = {
    "solver": "magnet",
    "lm_model": "transformer_lm_magnet",
    "masking.span_len": 3,
    "codebooks_pattern": {"modeling": "parallel", "parallel": {"empty_initial": -1}},
    "transformer_lm.causal": False,
    "transformer_lm.subcodes_context": 5,
    "transformer_lm.compression_model_framerate": 50,
    "transformer_lm.segment_duration": 0,
    "transformer_lm.span_len": -1,
}


def write_magnet_checkpoint(folder: Path, *, kind: Kind = "musicgen", seconds: float = 1, **settings: Any) -> Path:
    """Write it, of music or as "audiogen" of sounds.

    Args:
        folder: is made.
        kind: "musicgen" or "audiogen".
        seconds: of a segment.
        settings: as `write_audiocraft_checkpoint` takes them, with ``__`` for a dot.
    """
    own = copy.deepcopy(SETTINGS) | {name.replace("__", "."): value for name, value in settings.items()}
    return write_audiocraft_checkpoint(folder, kind, seconds=seconds, seed=3, settings=own)
