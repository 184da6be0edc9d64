"""Streams that are played with their journal in memory, and gone on with from any frame of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints import ModelBundle
from engine.journal.replay import Recording
from engine.preparation import Preparation
from engine.stream import AudioBlock, EngineStream, FramesMade, StreamChanged
from protocols.messages import RegionRequest, StreamRequest, Update
from protocols.settings import Settings


@dataclass
class Played:
    """What a stream has made.

    Attributes:
        first: the frame that its codes begin with.
        codes: ``[frames, codebooks]``.
        states: the generator's.
        sound: ``[samples, channels]``.
        changes: as a sidecar has them.
    """

    first: int
    codes: NDArray[np.uint16]
    states: tuple[tuple[int, bytes], ...]
    sound: NDArray[np.float32]
    changes: list[dict[str, Any]] = field(default_factory=list)
    prompt_codes: bytes = b""
    seam_record: str = ""
    steps: int = 0


def play(
    preparation: Preparation,
    admission: Admission,
    request: StreamRequest,
    frames: int,
    payload: bytes = b"",
    updates: Sequence[tuple[int, Update]] = (),
    recording: Recording | None = None,
) -> Played:
    """Run a stream up to so many frames of new material; the updates reach it once it has made theirs."""
    plan = replace(admission.plan(request, payload), recording=recording)
    prepared = preparation.prepare(1, plan)
    stream = prepared.stream
    stream.journaled = True
    asked = plan.directions
    waiting = list(updates)
    changes = [change.record() for change in prepared.passed]
    made: list[FramesMade] = []
    sound: list[NDArray[np.float32]] = []
    steps = 0
    while stream.frames < frames and not stream.sampler.done:
        while waiting and stream.frames >= waiting[0][0]:
            change = admission.change(waiting.pop(0)[1], asked)
            asked = change.directions or asked
            stream.add_change(preparation.condition(change))
        steps += 1
        for event in stream.advance():
            match event:
                case FramesMade():
                    made.append(event)
                case AudioBlock(samples=samples):
                    sound.append(samples)
                case StreamChanged(change=change):
                    changes.append(change.record())
                    asked = change.directions or asked
    states = tuple((part.first + len(part.codes), part.generator) for part in made if part.generator)
    codes = np.concatenate([part.codes for part in made])
    return Played(
        made[0].first,
        codes,
        states,
        np.concatenate(sound),
        changes,
        prepared.prompt_codes,
        prepared.seam_record,
        steps,
    )


def go_on(
    preparation: Preparation,
    admission: Admission,
    bundle: ModelBundle,
    request: StreamRequest,
    played: Played,
    first: int,
    frames: int,
    *,
    exact: bool = True,
) -> Played:
    """Go on from frame ``first`` of what was played, as if the engine had been killed there."""
    again = structs.replace(request, script=json.dumps(played.changes), from_frame=first)
    if isinstance(again, RegionRequest) and played.prompt_codes:
        again = structs.replace(
            again, codebooks=bundle.num_codebooks, sample_rate=0, path="", seam_record=played.seam_record
        )
    recording = Recording(played.codes[:first], tuple(state for state in played.states if state[0] <= first), exact)
    return play(preparation, admission, again, frames, played.prompt_codes, recording=recording)


def kit(bundle: ModelBundle) -> tuple[Preparation, Admission]:
    return Preparation(bundle), Admission(bundle, Settings())


__all__ = ["Change", "EngineStream", "Played", "go_on", "kit", "play"]
