"""What turns into something else bit by bit while a stream goes on, a step with each frame: prompts, guidance, temperature.

Where it is depends on the number of the frame alone: the same changes at the same frames make the same stream again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Generic, TypeVar

from engine.changes import Change
from engine.conditioning.blending import Words, between, heaviest
from engine.conditioning.score import Score
from engine.hearing import Hearing
from engine.runtime.sampling import SamplingSettings

_GLIDING = ("guidance", "temperature")
_UNKNOWN_BPM = 120

T = TypeVar("T")


@dataclass(frozen=True)
class Glide(Generic[T]):
    """A way from one value to another.

    Attributes:
        first: frame that takes the first step.
        frames: how many steps there are; the last one arrives.
        before: where it begins.
        after: where it ends.
    """

    first: int
    frames: int
    before: T
    after: T

    def progress(self, frame: int) -> float:
        """How much of the way is behind in this frame, up to 1."""
        return min(1.0, (frame - self.first + 1) / self.frames)


@dataclass
class Morphs:
    """Everything of one stream that is on its way. For the model's thread only."""

    _words: Glide[Words] | None = None
    _double: Glide[float] | None = None
    _numbers: dict[str, Glide[float]] = field(default_factory=dict)

    def begin(self, change: Change, frame: int, before: Hearing, settings: SamplingSettings, score: Score) -> None:
        """Take in a change that reaches the stream at this frame.

        What it asks for at once replaces what was on its way there. Where it leaves the prompts as they were asked for (but for the
        tempo or the key in them), a morph of prompts goes on, and ends in the new words.

        Args:
            change: with its words encoded.
            frame: of new material.
            before: what the stream heard up to now.
            settings: how tokens were drawn up to now.
            score: from now on; its tempo counts the beats.
        """
        frames = frames_of(change.morph, score)
        if change.words is not None and change.directions is not None:
            running = self._words
            if frames:
                self._words = Glide(frame, frames, heaviest(before.words), change.words)
            elif running is not None and change.directions.same_prompts(before.directions):
                self._words = dataclasses.replace(running, after=change.words)
            else:
                self._words = None
        if change.double_guidance is not None:
            there = change.double_guidance
            self._double = Glide(frame, frames, before.double_guidance, there) if frames else None
        for name in _GLIDING:
            if (value := getattr(change, name)) is None:
                continue
            self._numbers.pop(name, None)
            if frames:
                self._numbers[name] = Glide(frame, frames, getattr(settings, name), value)

    def turned(self, frame: int, hearing: Hearing, settings: SamplingSettings) -> tuple[Hearing, SamplingSettings]:
        """What is heard in this frame, and how its tokens are drawn: as before, or a step further."""
        return self.hearing(frame, hearing), self.settings(frame, settings)

    def changed(
        self, change: Change, frame: int, next_frame: int, hearing: Hearing, settings: SamplingSettings
    ) -> tuple[Hearing, SamplingSettings]:
        """The same once a change reaches the stream at this frame; its seed is the sampler's affair.

        Args:
            change: with its words encoded.
            frame: of new material.
            next_frame: the first of the stream of which nothing is sampled yet.
            hearing: up to now.
            settings: up to now.
        """
        after = hearing
        if change.is_heard:
            after = hearing.changed(change, next_frame)
        then = dataclasses.replace(settings, **change.sampling) if change.sampling else settings
        self.begin(change, frame, hearing, settings, after.score.latest)
        return after, then

    def hearing(self, frame: int, hearing: Hearing) -> Hearing:
        """What is heard in this frame: as it was, or a step further."""
        if self._double is not None:
            hearing = dataclasses.replace(hearing, double_guidance=_value(self._double, frame))
            if self._double.progress(frame) >= 1:
                self._double = None
        glide = self._words
        if glide is None:
            return hearing
        progress = glide.progress(frame)
        if progress >= 1:
            self._words = None
        words = between(glide.before, glide.after, progress, hearing.directions.blend)
        return dataclasses.replace(hearing, words=words)

    def settings(self, frame: int, settings: SamplingSettings) -> SamplingSettings:
        """How tokens are drawn in this frame: as before, or a step further."""
        if not self._numbers:
            return settings
        values: dict[str, Any] = {}
        for name, glide in list(self._numbers.items()):
            values[name] = _value(glide, frame)
            if glide.progress(frame) >= 1:
                del self._numbers[name]
        return dataclasses.replace(settings, **values)


def _value(glide: Glide[float], frame: int) -> float:
    progress = glide.progress(frame)
    return glide.after if progress >= 1 else glide.before + progress * (glide.after - glide.before)


def frames_of(beats: float, score: Score) -> int:
    """How many frames a morph over so many beats has; 0 for none, at least one for any other."""
    if not beats:
        return 0
    bpm = Fraction(_UNKNOWN_BPM) if score.grid is None else score.grid.bpm
    return max(1, round(Fraction(beats) * 60 / bpm * score.frame_rate))
