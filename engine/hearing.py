"""What a stream's model hears besides its own codes: words, a score, a melody; and how that goes on when something changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

from engine.changes import Change
from engine.conditioning.melody import MelodyCondition
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.score import ChangingScore
from engine.runtime.lm import Condition


@dataclass(frozen=True)
class Hearing:
    """All that one stream's model is told. Never changes; any thread.

    Attributes:
        words: as the LM hears them.
        score: what is known frame by frame. Every stream has one: bar lines matter where the model hears none of it, too.
        scored: whether the LM hears the score.
        melody: what a melody model hears before the codes.
    """

    words: Condition
    score: ChangingScore
    scored: bool
    melody: MelodyCondition | None = None

    @property
    def condition(self) -> Condition:
        """All of it in one."""
        words, prefix = self.words, self.words.prefix
        return dataclasses.replace(
            words,
            prefix=None if prefix is None else dataclasses.replace(prefix, melody=self.melody),
            score=self.score if self.scored else None,
        )

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
            score = change.directions.score_after(heard.score.latest, frame)
            heard = dataclasses.replace(heard, score=heard.score.changed(frame, score))
        if change.melody is not None:
            latest = heard.score.latest
            here = Fraction(frame)
            moment = here if latest.grid is None else latest.grid.next_bar(frame, latest.frame_rate)
            heard = heard.with_melody(change.line, moment, frame)
        return heard
