"""What the bridge's answer to a request that has made a take leads to: its fifth value is the path of the sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

_PATH = 4


def sidecar(answer: list[Any]) -> dict[str, Any]:
    """The take's sidecar."""
    content: dict[str, Any] = json.loads(Path(answer[_PATH]).with_suffix(".json").read_text())
    return content


def sound(answer: list[Any]) -> NDArray[np.float32]:
    """The take's samples."""
    audio: NDArray[np.float32] = soundfile.read(answer[_PATH], dtype="float32")[0]
    return audio
