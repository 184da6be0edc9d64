"""Streams that begin on a beat or a bar line: which one, on which sample, and what is said when they cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import Output
from daw_bridge.clock.clocks import Clock
from daw_bridge.clock.stage import StageTime
from daw_bridge.clock.timeline import Position, Unit

FIRST_GUESS_S = Fraction(3, 10)
"""How long a stream takes to have sound ready, as long as none has been seen."""

GUARD_S = Fraction(3, 100)
"""A start is settled this long, and two blocks, before the card takes its sound."""

_RESERVE = Fraction(5, 4)  # of what streams needed lately
_FORGET = Fraction(4, 5)  # how much of a long wait still counts for the next stream


@dataclass(frozen=True)
class Start:
    """Where a stream begins.

    Args:
        position: bar and beat.
        frame: of the sound card, counted from its opening.
        seconds: from now until it is heard.
    """

    position: Position
    frame: int
    seconds: float


class Starting(Protocol):
    """A stream that waits for its beat."""

    @property
    def voice(self) -> Feeder | None:
        """Its way to the card; None once it plays no more."""

    def scheduled(self, start: Start) -> None:
        """It will begin there."""

    def begins(self, output: Output, frame: int) -> None:
        """Its voice was told to begin at a frame of an output; 0 for not yet."""

    def late(self, missed: Position) -> None:
        """It will not be ready at a beat that has not come yet; `scheduled` follows."""


@dataclass
class _Waiting:
    stream: Starting
    unit: Unit
    since: Fraction
    leads: bool  # the clock starts with it
    output: Output | None = None
    beat: Fraction | None = None
    told: Fraction | None = None
    ready: bool = False
    settled: int | None = None  # the frame, once it changes no more
    moment: Fraction | None = None  # that it was given, in place of a beat


class Starts:
    """Gives every waiting stream the next beat or bar line that it can keep. For the I/O loop's thread.

    Args:
        stage: the card's time.
        clock: the clock that counts now.
    """

    def __init__(self, stage: StageTime, clock: Callable[[], Clock]) -> None:
        self._stage = stage
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._needed = FIRST_GUESS_S

    def add(self, stream: Starting, unit: Unit) -> None:
        """Let a stream wait. A clock of our own that stands starts with it, at bar 1; another's clock is waited for."""
        clock = self._clock()
        now = clock.now()
        leads = clock.led and not clock.timeline.playing(now)
        if leads:
            self._begin_clock(now, self._needed)
        self._waiting.append(_Waiting(stream, unit, now, leads))
        self.pump()

    def add_at(self, stream: Starting, moment: Fraction) -> None:
        """Let a stream begin at a moment, in seconds of the stage, or as soon as it can where that is sooner than it is ready."""
        self._waiting.append(_Waiting(stream, "beat", self._clock().now(), False, moment=moment))
        self.pump()

    def pump(self) -> None:
        """To be called every few milliseconds."""
        now = self._clock().now()
        self._waiting = [waiting for waiting in self._waiting if self._keep(waiting, now)]

    def _keep(self, waiting: _Waiting, now: Fraction) -> bool:
        """Look after one stream; False once it has begun, or never will."""
        voice, output = waiting.stream.voice, self._stage.output
        if voice is None or voice.finished or voice.begun:
            return False
        if not waiting.ready and voice.ready:
            waiting.ready = True
            self._needed = max(self._needed * _FORGET, (now - waiting.since) * _RESERVE)
        if output is not waiting.output:
            waiting.output, waiting.told, waiting.settled = output, None, None
        if output is None:
            return waiting.moment is None or waiting.moment > now or self._give_up(waiting, voice)
        if waiting.settled is not None:
            if self._stage.rendered <= self._stage.seconds_at(waiting.settled):
                return True
            waiting.settled = None
        if waiting.moment is not None:
            if waiting.moment < (self._stage.rendered if waiting.ready else self._earliest(now)):
                return self._give_up(waiting, voice)
            waiting.beat = self._clock().timeline.beat_at(waiting.moment)
        moment = waiting.moment if waiting.moment is not None else self._moment(waiting, now)
        if moment is None or waiting.beat is None:
            voice.postpone()
            waiting.stream.begins(output, 0)
            return True
        frame = self._stage.frame_at(moment)
        voice.schedule(output, frame)
        waiting.stream.begins(output, frame)
        if moment < self._earliest(now):
            waiting.settled = frame
        if waiting.told is None or abs(waiting.told - moment) > GUARD_S:
            waiting.told = moment
            position = self._clock().timeline.position(waiting.beat)
            waiting.stream.scheduled(Start(position, frame, float(moment - now)))
        return True

    def _give_up(self, waiting: _Waiting, voice: Feeder) -> bool:
        """The moment that it was given has come too soon: it begins as soon as it can."""
        assert waiting.moment is not None
        timeline = self._clock().timeline
        waiting.stream.late(timeline.position(timeline.beat_at(waiting.moment)))
        voice.release()
        return False

    def _moment(self, waiting: _Waiting, now: Fraction) -> Fraction | None:
        """When a stream is to begin: as it was, or anew where that cannot be; None while the clock stands."""
        timeline, rendered, earliest = self._clock().timeline, self._stage.rendered, self._earliest(now)
        if waiting.beat is not None:
            moment = timeline.seconds_at(waiting.beat, rendered)
            if moment is not None and (waiting.ready or moment >= earliest):
                beat_s = 60 / timeline.at(rendered).bpm
                if waiting.told is None or moment - waiting.told < beat_s:
                    return moment  # else the transport has jumped back
            elif timeline.playing(rendered) and timeline.beat_at(earliest) >= waiting.beat:
                self._late(waiting, now)
        waiting.told = None
        wait = Fraction(0) if waiting.ready else max(Fraction(0), waiting.since + self._needed - now)
        waiting.beat = timeline.next_beat(waiting.unit, earliest + wait)
        return None if waiting.beat is None else timeline.seconds_at(waiting.beat, rendered)

    def _late(self, waiting: _Waiting, now: Fraction) -> None:
        timeline = self._clock().timeline
        assert waiting.beat is not None
        waiting.stream.late(timeline.position(waiting.beat))
        waiting.unit = "bar"
        if waiting.leads and not timeline.at(now).playing:
            self._begin_clock(now, FIRST_GUESS_S)

    def _begin_clock(self, now: Fraction, ahead: Fraction) -> None:
        timeline = self._clock().timeline
        timeline.stop(now)
        timeline.locate(0, now)
        timeline.start(self._earliest(now + ahead))

    def _earliest(self, moment: Fraction) -> Fraction:
        """The first moment that can still be settled for what is ready at ``moment``."""
        output = self._stage.output
        blocks = Fraction(2 * output.blocksize, output.sample_rate) if output is not None else Fraction(0)
        return moment + max(Fraction(0), self._stage.rendered - self._stage.now()) + blocks + GUARD_S
