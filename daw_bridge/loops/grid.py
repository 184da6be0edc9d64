"""The clock's beats in frames of the sound card, as loops need them: what can still be written, and which line comes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from daw_bridge.audio.output import Output
from daw_bridge.clock.clocks import Clock
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.timeline import Timeline, Unit

LEAD_S = Fraction(1, 4)
"""How far ahead of the card loops are written, besides two blocks of it."""

_SPARE_S = Fraction(1, 20)  # what begins is settled this much earlier still


@dataclass(frozen=True)
class Place:
    """Where something is heard.

    Args:
        bar: of the clock, from 1; 0 while the clock stands.
        beat: in it, from 1.
        frame: of the sound card.
        seconds: from now on.
    """

    bar: int
    beat: int
    frame: int
    seconds: float


NOWHERE = Place(0, 0, 0, 0.0)


class Grid:
    """For the loop's thread only.

    Args:
        stage: the card's time.
        clock: the clock that counts now.
    """

    def __init__(self, stage: StageTime, clock: Callable[[], Clock]) -> None:
        self._stage = stage
        self._clock = clock

    @property
    def output(self) -> Output | None:
        """The card; None while there is none."""
        return self._stage.output

    @property
    def rate(self) -> int:
        """Of the card, Hz; 0 while there is none."""
        return self._stage.sample_rate

    @property
    def beats_per_bar(self) -> int:
        """Of the clock."""
        return self._timeline.beats_per_bar

    @property
    def bpm(self) -> Fraction:
        """Tempo of the clock now."""
        return self._timeline.at(self._clock().now()).bpm

    @property
    def rendered(self) -> int:
        """Frame up to which the card has taken its sound."""
        return self._stage.frame_at(self._stage.rendered)

    @property
    def frontier(self) -> int:
        """Frame up to which loops are written now."""
        output = self._stage.output
        assert output is not None
        return self.rendered + 2 * output.blocksize + int(LEAD_S * output.sample_rate)

    @property
    def counts(self) -> bool:
        """Whether beats pass, or will at a moment that is known."""
        return self._timeline.playing(self._clock().now())

    def next_line(self, unit: Unit, frame: int | None = None) -> Fraction | None:
        """The first beat or bar line from a frame on, or that can still be written; None while the clock stands."""
        return self._timeline.next_beat(unit, self._earliest if frame is None else self._stage.seconds_at(frame))

    def frame_of(self, beat: Fraction, near: int) -> int | None:
        """The frame at which a beat is heard, not long before frame ``near``; None where that does not come as things stand."""
        moment = self._timeline.seconds_at(beat, self._stage.seconds_at(near) - 2)
        return None if moment is None else self._stage.frame_at(moment)

    def place(self, beat: Fraction | None) -> Place:
        """Where a beat that is to come is heard."""
        now = self._clock().now()
        moment = None if beat is None else self._timeline.seconds_at(beat, min(now, self._stage.rendered) - 2)
        if beat is None or moment is None:
            return NOWHERE
        position = self._timeline.position(beat)
        return Place(position.bar, position.beat, self._stage.frame_at(moment), float(moment - now))

    def place_of(self, frame: int) -> Place:
        """The same for a frame of the card."""
        moment = self._stage.seconds_at(frame)
        position = self._timeline.position(self._timeline.beat_at(moment))
        return Place(position.bar, position.beat, frame, float(moment - self._clock().now()))

    def loop_frames(self, beats: int) -> Fraction:
        """Length of so many beats at the tempo of now, in frames of the card."""
        return beats * 60 / self.bpm * self.rate

    def start(self) -> bool:
        """Let a clock of our own that stands count, bar 1 first, as soon as a loop can begin there; False where none counts."""
        if self.counts:
            return True
        clock = self._clock()
        if not clock.led:
            return False
        now = clock.now()
        clock.timeline.stop(now)
        clock.timeline.locate(0, now)
        clock.timeline.start(self._earliest)
        return True

    @property
    def _earliest(self) -> Fraction:
        """The first moment at which something can still begin."""
        now = self._clock().now()
        output = self._stage.output
        if output is None:
            return now + LEAD_S + _SPARE_S
        return max(now, self._stage.seconds_at(self.frontier)) + _SPARE_S

    @property
    def _timeline(self) -> Timeline:
        return self._clock().timeline
