"""What changes in a stream while it runs: as it was asked for, as it is encoded, and as a take's sidecar keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.conditioning.blending import Words
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.words import Directions
from protocols.melody import AnyMelody, decode_melody
from protocols.messages import Update

_DIRECTIONS = ("prompt", "bpm", "key", "metre", "weights", "blend")
_SAMPLING = ("temperature", "top_k", "top_p", "guidance")


@dataclass(frozen=True)
class Change:
    """A change of a running stream; what is None stays as it is.

    Attributes:
        frame: of new material, from which on it is meant.
        directions: all that the stream is asked to play from then on.
        melody: the melody from then on; empty takes it away.
        morph: over how many beats prompts, guidance and temperature turn into these; 0 for at once.
        seed: that the choice of tokens starts from anew.
        words: the directions' prompts as the model hears them, once they are encoded.
        line: the melody in the form that the model hears, once it is worked out; where it begins depends on the frame.
        update: what was asked for.
        before: the directions that ``directions`` are made from; where a stream plays others by then, they have to be made anew.
        planned: number among the changes that were asked for with the stream; 0 for one that came later.
        section: number of the section that begins with it; 0 for none.
    """

    frame: int = 0
    directions: Directions | None = None
    melody: AnyMelody | Literal[""] | None = None
    morph: float = 0.0
    seed: int | None = None
    words: Words | None = None
    line: LoopedLine | ChromaLine | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    update: Update | None = None
    before: Directions | None = None
    planned: int = 0
    section: int = 0

    @classmethod
    def of(cls, update: Update, before: Directions, frame: int = 0, planned: int = 0, section: int = 0) -> Change:
        """What a request changes in a stream that is asked to play ``before``.

        Raises:
            RequestError: as `Directions`, and as `decode_melody`.
        """
        given = {name: getattr(update, name) for name in _DIRECTIONS}
        changes = any(value is not None for value in given.values())
        return cls(
            frame,
            before.changed(**given) if changes else None,
            decode_melody(update.melody) if update.melody else "" if update.melody is not None else None,
            update.morph,
            update.seed,
            **{name: getattr(update, name) for name in _SAMPLING},
            update=update,
            before=before if changes else None,
            planned=planned,
            section=section,
        )

    def after(self, before: Directions) -> Change:
        """The same for a stream that is asked to play ``before`` by then; its words are to be encoded again."""
        if self.update is None or self.before in (None, before):
            return self
        return Change.of(self.update, before, self.frame, self.planned, self.section)

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling settings that change, by name."""
        values = {name: getattr(self, name) for name in _SAMPLING}
        return {name: value for name, value in values.items() if value is not None}

    def record(self) -> dict[str, str | int | float | None]:
        """The change as a sidecar keeps it: an `Update` with its frame."""
        record: dict[str, str | int | float | None] = {"frame": self.frame}
        if self.directions is not None:
            record |= {name: getattr(self.directions, name) for name in _DIRECTIONS}
        if self.melody is not None:
            record["melody"] = self.melody.encode() if self.melody else ""
        if self.morph:
            record["morph"] = self.morph
        if self.seed is not None:
            record["seed"] = self.seed
        if self.section:
            record["section"] = self.section
        return record | self.sampling
