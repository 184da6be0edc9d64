"""What a stream's model hears beside its own codes, words, score, melody and style, and how that goes on when something changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

from engine.changes import Change
from engine.conditioning.blending import Words
from engine.conditioning.melody import MelodyCondition
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.score import ChangingScore
from engine.conditioning.style import Style
from engine.conditioning.words import Directions
from engine.runtime.conditions import ChromaPrelude, Condition, Mix, Prelude, without_words


@dataclass(frozen=True)
class Hearing:
    """All that one stream's model is told. Never changes; any thread.

    Attributes:
        words: as the LM hears them, one text or several with their shares.
        score: what is known frame by frame. Every stream has one: bar lines matter where the model hears none of it, too.
        scored: whether the LM hears the score.
        directions: what the stream is asked to play, as far as it has come.
        melody: what a melody model hears before the codes.
        style: what a style model hears before the codes.
        style_detail: how many codebooks of it count.
        double_guidance: how much the words pull beside the style or the melody alone, β; 1 is plain guidance.
    """

    words: Words
    score: ChangingScore
    scored: bool
    directions: Directions
    melody: MelodyCondition | None = None
    style: Style | None = None
    style_detail: int = 1
    double_guidance: float = 1.0

    @property
    def condition(self) -> Condition | Mix:
        """All of it in one.

        Double guidance, ``null + guidance · (style + β · (both - style) - null)``, is a mix of both with the weight β and the style
        alone with what is left of 1 (Rouard et al., 2024, section 4.3); AudioCraft has it for melodies too.
        """
        parts = [(self._beside(condition), share) for condition, share in self.words]
        if (self.style is not None or self.melody is not None) and self.double_guidance != 1:
            alone = without_words(parts[0][0])
            parts = [(condition, share * self.double_guidance) for condition, share in parts]
            parts.append((alone, 1 - self.double_guidance))
        return parts[0][0] if len(parts) == 1 else Mix(tuple(parts))

    def _beside(self, words: Condition) -> Condition:
        prefix = words.prefix
        return dataclasses.replace(
            words,
            prefix=None if prefix is None else dataclasses.replace(prefix, prelude=self._prelude(prefix.prelude)),
            score=self.score if self.scored else None,
        )

    def _prelude(self, silent: Prelude) -> Prelude:
        if isinstance(silent, ChromaPrelude):
            return dataclasses.replace(silent, melody=self.melody)
        return silent if self.style is None else self.style.prelude(self.style_detail)

    def with_melody(self, line: LoopedLine | ChromaLine | None, moment: Fraction, frame: int = 0) -> Hearing:
        """With another melody, or none.

        Args:
            line: in the form that the model hears.
            moment: where a turn of it begins, in frames of the stream, exactly.
            frame: from which on it is heard.
        """
        if isinstance(line, ChromaLine):
            return dataclasses.replace(self, melody=line.beginning(moment))
        latest = dataclasses.replace(self.score.latest, melody=None if line is None else line.beginning(moment))
        return dataclasses.replace(self, score=self.score.changed(frame, latest), melody=None)

    def changed(self, change: Change, frame: int) -> Hearing:
        """What is heard from ``frame`` of the stream on.

        A new melody is heard at once, in step with the bars: a turn of it begins at the next bar line. Without bars it begins here.
        """
        heard = self
        if change.words is not None:
            heard = dataclasses.replace(heard, words=change.words)
        if change.directions is not None:
            heard = dataclasses.replace(heard, directions=change.directions)
            score = change.directions.score_after(heard.score.latest, frame)
            heard = dataclasses.replace(heard, score=heard.score.changed(frame, score))
        if change.melody is not None:
            latest = heard.score.latest
            here = Fraction(frame)
            moment = here if latest.grid is None else latest.grid.next_bar(frame, latest.frame_rate)
            heard = heard.with_melody(change.line, moment, frame)
        if change.style is not None:
            heard = dataclasses.replace(heard, style=change.heard_style)
        if change.style_detail is not None:
            heard = dataclasses.replace(heard, style_detail=change.style_detail)
        if change.double_guidance is not None:
            heard = dataclasses.replace(heard, double_guidance=change.double_guidance)
        return heard
