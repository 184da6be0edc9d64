"""What the service keeps of each stream and tells about it: its owner, its listeners, its recipe; and the list of models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import torch

from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.checkpoints.catalogue import CATALOGUE
from engine.conditioning.words import Directions
from protocols.messages import AudioHeader, EndReason, Event, ModelInfo, ModelList, Recipe, StreamRequest
from protocols.osc.form import tag_of
from protocols.release import VERSION


class Client(Protocol):
    """Somebody who opens or hears streams, whatever the transport. None of these may block or raise."""

    @property
    def name(self) -> str:
        """What the client calls itself."""

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""

    def event(self, event: Event) -> None:
        """Tell the client something."""

    def audio(self, header: AudioHeader, samples: memoryview) -> bool:
        """Send the client a block; False when its connection took no more and the block is lost to it."""


@dataclass
class Listener:
    """How far one client has taken a stream that it does not own, or has lost a piece of it."""

    taken: int
    missed_from: int | None = None


@dataclass
class Entry:
    """One stream, from its request to its end, as the service sees it.

    Attributes:
        directions: what it plays.
        asked: directions that are on their way to it, in order.
        melody_characters: length of the melodies that it was asked to change to, which are all kept.
    """

    id: int
    request: StreamRequest
    owner: Client
    seed: int
    total_seconds: float
    directions: Directions
    asked: list[Directions] = field(default_factory=list)
    state: str = "preparing"
    note: str = ""
    prompt_codes: bytes = b""
    samples: int = 0
    prepared: bool = False
    ending: EndReason | None = None
    melody_characters: int = 0
    early_changes: list[Change] = field(default_factory=list)
    changes: list[dict[str, str | int | float | None]] = field(default_factory=list)
    listeners: dict[Client, Listener] = field(default_factory=dict)

    @property
    def latest(self) -> Directions:
        """What it will play once everything that was asked has reached it."""
        return self.asked[-1] if self.asked else self.directions

    def changed(self, change: Change) -> None:
        """A change has reached the stream."""
        self.changes.append(change.record())
        if change.directions is not None:
            self.directions = change.directions
            self.forget(change)

    def forget(self, change: Change) -> None:
        """A change is on its way no more."""
        if change.directions in self.asked:
            self.asked.remove(change.directions)


def recipe(entry: Entry, bundle: ModelBundle) -> Recipe:
    """Everything needed to make a stream again."""
    request = {"type": tag_of(type(entry.request)), **msgspec.structs.asdict(entry.request)}
    return Recipe(
        stream=entry.id,
        request={name: value for name, value in request.items() if name != "script"},
        seed=entry.seed,
        model=bundle.name,
        fingerprint=bundle.fingerprint,
        status=bundle.status,
        device=str(bundle.device),
        dtype=str(bundle.dtype).removeprefix("torch."),
        engine_version=VERSION,
        torch_version=str(torch.__version__),
        prompt_codes=entry.prompt_codes,
        codebooks=bundle.num_codebooks,
        changes=entry.changes,
    )


def list_models(loaded: ModelBundle) -> ModelList:
    """The catalogue, and the model that runs if it is not in it."""
    items = [
        ModelInfo(
            name=model.name,
            source=model.source,
            licence=model.licence,
            parameters=model.lm_parameters // 1_000_000,
            status=model.status,
            loaded=model.name == loaded.name,
            summary=model.about,
        )
        for model in CATALOGUE.values()
    ]
    if loaded.name not in CATALOGUE:
        items.append(
            ModelInfo(
                name=loaded.name,
                source=loaded.name,
                licence="",
                parameters=loaded.parameters // 1_000_000,
                status=loaded.status,
                loaded=True,
                summary="loaded by path or hub id",
            )
        )
    return ModelList(items=items)
