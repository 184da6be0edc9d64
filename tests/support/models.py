"""The model that tests with real processes run: small, quick to load, loud from the first sample, the same on every machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def untrained_pocket() -> Path:
    """The untrained pocket model in the user's cache, whatever the engine comes with. Its folder's name is the model's."""
    from engine.checkpoints.pocket import pocket_folder

    return pocket_folder()
