"""What changes in a stream while it runs: as it was asked for, as it is encoded, and as a take's sidecar keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.conditioning.blending import Words
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.style import Style
from engine.conditioning.words import Directions
from protocols.melody import AnyMelody, decode_melody
from protocols.messages import Update
from protocols.style import StyleCodes

_DIRECTIONS = ("prompt", "bpm", "key", "metre", "weights", "blend")
_HEARD = ("style_detail", "double_guidance")
_SAMPLING = ("temperature", "top_k", "top_p", "guidance")


@dataclass(frozen=True)
class Change:
    """A change of a running stream; what is None stays as it is.

    Attributes:
        frame: of new material, from which on it is meant.
        directions: all that the stream is asked to play from then on.
        melody: the melody from then on; empty takes it away.
        style: the style from then on; empty takes it away.
        style_detail: how many codebooks of it count.
        double_guidance: how much the words pull beside a style or a melody alone.
        morph: over how many beats prompts, guidance and temperature turn into these; 0 for at once.
        seed: that the choice of tokens starts from anew.
        words: the directions' prompts as the model hears them, once they are encoded.
        line: the melody in the form that the model hears, once it is worked out; where it begins depends on the frame.
        heard_style: the style in the form that the model hears, once it is worked out.
        update: what was asked for.
        before: the directions that ``directions`` are made from; where a stream plays others by then, they have to be made anew.
        planned: number among the changes that were asked for with the stream; 0 for one that came later.
        section: number of the section that begins with it; 0 for none.
    """

    frame: int = 0
    directions: Directions | None = None
    melody: AnyMelody | Literal[""] | None = None
    style: StyleCodes | Literal[""] | None = None
    style_detail: int | None = None
    double_guidance: float | None = None
    morph: float = 0.0
    seed: int | None = None
    words: Words | None = None
    line: LoopedLine | ChromaLine | None = None
    heard_style: Style | None = None
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
            RequestError: as `Directions`, `decode_melody` and `StyleCodes.decode`.
        """
        given = {name: getattr(update, name) for name in _DIRECTIONS}
        changes = any(value is not None for value in given.values())
        return cls(
            frame,
            before.changed(**given) if changes else None,
            decode_melody(update.melody) if update.melody else _empty(update.melody),
            StyleCodes.decode(update.style_codes) if update.style_codes else _empty(update.style_codes),
            morph=update.morph,
            seed=update.seed,
            **{name: getattr(update, name) for name in (*_HEARD, *_SAMPLING)},
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
    def is_heard(self) -> bool:
        """Whether what the model hears changes: words, a melody, a style."""
        given = (self.directions, self.melody, self.style, self.style_detail, self.double_guidance)
        return any(value is not None for value in given)

    @property
    def needs_encoding(self) -> bool:
        """Whether something of it has to be brought into the form that the model hears."""
        return self.directions is not None or self.melody is not None or self.style is not None

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
        if self.style is not None:
            record["style_codes"] = self.style.encode() if self.style else ""
        record |= {name: value for name in _HEARD if (value := getattr(self, name)) is not None}
        if self.morph:
            record["morph"] = self.morph
        if self.seed is not None:
            record["seed"] = self.seed
        if self.section:
            record["section"] = self.section
        return record | self.sampling


def _empty(text: str | None) -> Literal[""] | None:
    """What takes something away, where it was given."""
    return None if text is None else ""
