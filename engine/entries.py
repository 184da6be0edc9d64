"""What the service keeps of each stream and tells about it: its owner, its listeners, its recipe; and the list of models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import torch

from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.words import Directions
from engine.memory import MB, weights_of
from engine.serving import Client as Client
from engine.stream import AudioBlock
from protocols.messages import (
    AudioHeader,
    EndReason,
    Event,
    Missed,
    ModelInfo,
    Opened,
    Recipe,
    StreamRequest,
)
from protocols.osc.form import tag_of
from protocols.release import VERSION

if TYPE_CHECKING:
    from engine.models import LoadedModel


LISTENER_WINDOW_S = 10.0
"""How far a listener that is not the owner may lag behind before blocks are dropped for it."""


@dataclass
class Listener:
    """How far one client has taken a stream that it does not own, or has lost a piece of it."""

    taken: int
    missed_from: int | None = None


@dataclass
class Entry:
    """One stream, from its request to its end, as the service sees it.

    Attributes:
        model: that it began with, and keeps.
        directions: what it plays.
        asked: directions that are on their way to it, in order.
        journal: its name there; empty where none is kept.
        melody_characters: length of the melodies and styles that it was asked to change to, which are all kept.
        planned: changes that were asked for with it and have not reached it yet, in order.
    """

    id: int
    request: StreamRequest
    owner: Client
    model: LoadedModel
    seed: int
    total_seconds: float
    directions: Directions
    asked: list[Directions] = field(default_factory=list)
    state: str = "preparing"
    note: str = ""
    prompt_codes: bytes = b""
    seam_record: str = ""
    samples: int = 0
    prepared: bool = False
    ending: EndReason | None = None
    journal: str = ""
    melody_characters: int = 0
    early_changes: list[Change] = field(default_factory=list)
    planned: list[Change] = field(default_factory=list)
    changes: list[dict[str, str | int | float | None]] = field(default_factory=list)
    listeners: dict[Client, Listener] = field(default_factory=dict)

    @property
    def first_frame(self) -> int:
        """Of the stream, with which its sound begins."""
        return self.request.from_frame

    @property
    def seconds(self) -> float:
        """Audio made so far."""
        return self.samples / self.model.bundle.sample_rate

    def tell(self, event: Event) -> None:
        """Tell its owner and whoever listens."""
        self.owner.event(event)
        for client in self.listeners:
            client.event(event)

    def send(self, block: AudioBlock) -> None:
        """Send a block to its owner and whoever listens."""
        frames, channels = block.samples.shape
        header = AudioHeader(
            stream=self.id,
            sequence=block.sequence,
            position=block.position,
            frames=frames,
            channels=channels,
            sample_rate=self.model.bundle.sample_rate,
            last=block.last,
        )
        samples = block.samples.reshape(-1).data.cast("B")
        if not self.owner.audio(header, samples):
            self.owner.event(Missed(stream=self.id, start=block.position, end=block.position + frames))
        for client, listener in self.listeners.items():
            self._send_to_listener(client, listener, header, samples)
        self.samples = block.position + frames

    def _send_to_listener(self, client: Client, listener: Listener, header: AudioHeader, samples: memoryview) -> None:
        end = header.position + header.frames
        window = int(LISTENER_WINDOW_S * header.sample_rate)
        if end - listener.taken > window:
            listener.missed_from = header.position if listener.missed_from is None else listener.missed_from
            return
        if listener.missed_from is not None:
            client.event(Missed(stream=self.id, start=listener.missed_from, end=header.position))
            listener.missed_from = None
        if not client.audio(header, samples):
            listener.missed_from = header.position

    @property
    def latest(self) -> Directions:
        """What it will play once everything that was asked has reached it."""
        return self.asked[-1] if self.asked else self.directions

    def changed(self, change: Change) -> None:
        """A change has reached the stream."""
        self.changes.append(change.record())
        self.drop_plan(change)
        if change.directions is not None:
            self.directions = change.directions
            self.forget(change)

    def forget(self, change: Change) -> None:
        """A change is on its way no more."""
        if change.directions in self.asked:
            self.asked.remove(change.directions)

    def drop_plan(self, change: Change) -> None:
        """What was planned is over: it has reached the stream, or is asked for anew."""
        if change.planned:
            self.planned = [waiting for waiting in self.planned if waiting.planned != change.planned]

    def overtaken(self, change: Change) -> None:
        """The stream plays other directions by now than this change was made from; what was made from its own comes to nothing."""
        self.drop_plan(change)
        if change.directions in self.asked:
            del self.asked[self.asked.index(change.directions) :]


def opened(entry: Entry, waiting: int, journal: str) -> Opened:
    """What its owner is told when a stream is taken in."""
    bpm = float(entry.directions.tempo or 0)
    return Opened(stream=entry.id, seed=entry.seed, waiting=waiting, journal=journal, frame=entry.first_frame, bpm=bpm)


def recipe(entry: Entry) -> Recipe:
    """Everything needed to make a stream again."""
    bundle = entry.model.bundle
    request = {"type": tag_of(type(entry.request)), **msgspec.structs.asdict(entry.request)}
    return Recipe(
        stream=entry.id,
        request={
            name: value for name, value in request.items() if name not in ("script", "seam_record", "fingerprint")
        },
        seed=entry.seed,
        model=bundle.name,
        fingerprint=bundle.fingerprint,
        status=bundle.status,
        device=str(bundle.device),
        dtype=bundle.precision,
        engine_version=VERSION,
        torch_version=str(torch.__version__),
        prompt_codes=entry.prompt_codes,
        codebooks=bundle.num_codebooks,
        seam_record=entry.seam_record,
        changes=entry.changes,
    )


def heard_by(bundle: ModelBundle) -> list[str]:
    """What a model hears, in the words of the catalogue."""
    flow = bundle.flow
    kinds = {
        "score": bundle.score,
        "style": bundle.style is not None,
        "chords": flow is not None and flow.chords > 0,
        "drums": flow is not None and flow.drums,
        "melody": bundle.melody is not None or (flow is not None and flow.melody_bins > 0),
    }
    return ["text", *(name for name, heard in kinds.items() if heard)]


def models_in_memory(current: ModelBundle | None, others: Iterable[ModelBundle] = ()) -> list[ModelInfo]:
    """What is told of the models in memory, one row for each name.

    Args:
        current: what new streams are made by.
        others: what is in memory besides.
    """
    here = ([] if current is None else [current]) + list(others)
    weights = {bundle.name: 0 for bundle in here}
    for bundle in here:
        weights[bundle.name] += weights_of(bundle)
    return [
        ModelInfo(
            name=bundle.name,
            source=bundle.name,
            licence="",
            parameters=bundle.parameters // 1_000_000,
            status=bundle.status,
            loaded=bundle is current,
            summary="loaded by path or hub id",
            weights_mb=round(weights[bundle.name] / MB, 1),
            kind=bundle.kind,
            sample_rate=bundle.sample_rate,
            channels=bundle.channels,
            window=round(float(bundle.window_frames / bundle.frame_rate), 3),
            hears=", ".join(heard_by(bundle)),
            downloaded=True,
        )
        for bundle in {bundle.name: bundle for bundle in reversed(here)}.values()
    ]
