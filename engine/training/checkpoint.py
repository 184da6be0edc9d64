"""Training state on disk: written whole or not at all, so that a training can be ended at any moment."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from engine.training.data.folders import write_whole
from protocols.errors import ErrorCode, RequestError

FORMAT = 1
"""Raised when what a checkpoint holds changes its meaning."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and texts; the file of before is replaced at once when the new one is on disk.

    Raises:
        OSError: as the operating system has it, a full disk for one; the file of before is untouched then.
    """
    # By way of the memory: when a file cannot be written, torch's own writer hides the reason behind an error of its own.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_whole(path, [buffer.getbuffer()])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises:
        RequestError: ``not_found``, ``malformed`` for a damaged file, ``version`` for one of another format.
    """
    try:
        # Checked by its own sums first: torch takes changed bytes for weights.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        state: Any = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RequestError(ErrorCode.NOT_FOUND, "checkpoint", str(path), "a folder with a training in it") from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise RequestError(ErrorCode.MALFORMED, "checkpoint", str(path), "a file that loads") from error
    if damaged:
        raise RequestError(ErrorCode.MALFORMED, "checkpoint", str(path), f"a file that loads: {damaged} is damaged")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RequestError(ErrorCode.VERSION, "checkpoint", str(path), f"format {FORMAT}")
    return state
