"""Streams of the engine without its processes: prepared from a request, and run to see each frame's codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints import ModelBundle
from engine.preparation import Preparation, PreparedStream
from engine.stream import EngineStream, StreamChanged
from protocols.messages import StreamRequest
from protocols.settings import Settings


def prepare(bundle: ModelBundle, request: StreamRequest, payload: bytes = b"") -> PreparedStream:
    return Preparation(bundle).prepare(1, Admission(bundle, Settings()).plan(request, payload))


def play(bundle: ModelBundle, request: StreamRequest) -> EngineStream:
    return prepare(bundle, request).stream


def frames_of(stream: EngineStream, most: int = 10**6) -> Iterator[tuple[NDArray[np.int64], list[Change]]]:
    """Each frame's codes as it is made, with the changes that came before it."""
    codes: list[NDArray[np.int64]] = []
    advance = stream.sampler.advance

    def watched(*given: Any) -> torch.Tensor | None:
        made = advance(*given)
        if made is not None:
            codes.append(made[0].numpy())
        return made

    stream.sampler.advance = watched  # type: ignore[method-assign]
    changes: list[Change] = []
    while not stream.sampler.done and stream.frames < most:
        changes += [event.change for event in stream.advance() if isinstance(event, StreamChanged)]
        while codes:
            yield codes.pop(0), changes
            changes = []


def codes_of(stream: EngineStream, most: int = 10**6) -> NDArray[np.int64]:
    return np.concatenate([codes for codes, _ in frames_of(stream, most)], axis=1)
