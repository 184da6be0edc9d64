"""Which codecs jobs may have: by a name of the catalogue, a folder, a hub id, and which of these a file alone may ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.catalogue import CODECS, MODELS, POCKET
from protocols.errors import RequestError

if TYPE_CHECKING:
    import torch

    from engine.runtime.audio_codec import AudioCodec

Check = Callable[[str], None]
"""Refuses a folder that whoever asks may not name. Raises RequestError."""


def load_named(check: Check) -> Callable[[str, torch.device, int], AudioCodec]:
    """What loads a codec in single precision by its name, for so many channels; 0 for its own, or those of the model it is of."""

    def load(name: str, device: torch.device, channels: int = 0) -> AudioCodec:
        import torch

        from engine.checkpoints.codecs import load_codec

        try:
            check(name)
            model = MODELS.get(name)
            wanted = channels or (model.channels if model is not None else 0)
            return load_codec(name, channels=wanted, device=device, dtype=torch.float32)
        except RequestError as error:
            field = "codec" if error.field == "model" else error.field
            raise RequestError(error.code, field, error.value, error.allowed) from None

    return load


def loadable_name(name: str) -> str:
    """What loads the codec that a file of codes names: one of the catalogue. Nothing else is fetched because a file says so."""
    return name if name in CODECS or name in MODELS or name == POCKET else ""


def title_of(name: str) -> str:
    """What a codec is called in files: its name in the catalogue, if it has one; of a folder or file its own name only."""
    known = next((entry.name for entry in CODECS.values() if entry.hub_id == name), "")
    if known:
        return known
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return path.resolve().name
        return path.stem if path.is_file() else name
    except (OSError, RuntimeError, ValueError):
        return name
