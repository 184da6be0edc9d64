"""The list of a JASCO model's chords: which number each has. It lies beside AudioCraft's code and in no checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.checkpoints.audiocraft.pickles import PickleReader
from engine.conditioning.jasco import ChordNumbers
from protocols.chords import NO_CHORD
from protocols.errors import ErrorCode, RequestError

CHORD_FILES = ("chord_to_index_mapping.pkl", "chord_to_index_mapping.json")
"""What the list is called: as AudioCraft's assets have it, or as JSON of names with numbers."""

_MOST_BYTES = 1 << 20


def read_chord_numbers(path: Path, chords: int) -> ChordNumbers:
    """Read a model's list: AudioCraft's pickle, in which nothing is executed, or JSON.

    Raises:
        RequestError: about ``chords``: MALFORMED for anything but names with numbers below ``chords``.
    """
    allowed = f"a list of chords: names, each with a number below {chords}"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = path.read_bytes()
        # Both of these read and refuse, and neither executes.
        found: Any = json.loads(content) if path.suffix == ".json" else PickleReader(content, allowed=_nothing).load()
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(ErrorCode.MALFORMED, "chords", str(path), f"{allowed} ({error})") from None
    if not isinstance(found, dict) or NO_CHORD not in found:
        raise RequestError(ErrorCode.MALFORMED, "chords", str(path), f"{allowed}, {NO_CHORD} among them")
    for name, number in found.items():
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not isinstance(name, str) or not whole or not 0 <= number < chords:
            raise RequestError(ErrorCode.MALFORMED, "chords", f"{path.name}: {name!s:.40}", allowed)
    return ChordNumbers(found)


def _nothing(name: str) -> bool:
    """No object of any class belongs into a list of chords."""
    return False
