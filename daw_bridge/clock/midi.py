"""MIDI clock that comes in: 24 ticks a beat, start, stop, continue and song position, followed without their jitter."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import structlog

from daw_bridge.clock.tick_line import TickLine
from daw_bridge.clock.timeline import Timeline
from protocols.errors import RequestError
from protocols.messages import FASTEST_BPM, SLOWEST_BPM
from protocols.units import as_fraction

log = structlog.get_logger()

TICKS_PER_BEAT = 24
TICKS_PER_SIXTEENTH = 6
SONG_POSITION, TICK, START, CONTINUE, STOP = 0xF2, 0xF8, 0xFA, 0xFB, 0xFC

SILENCE_S = 0.5
"""Without ticks for so long, and for six of them, the sender is taken for stopped."""
REJOIN_S = 8.0
"""Ticks that come back within this time after they were lost go on where they would be by then."""

_SILENT_TICKS = 6
_REOPEN_S = Fraction(2)
_NEGLIGIBLE_S = 20e-6
_NANO = 10**9


class TransportInput(Protocol):
    """What the clock needs of `MidiInput`."""

    name: str
    error: RequestError | None

    def read_raw(self) -> list[tuple[int, bytes]]:
        """What came since the last call, in order, each with its moment (``time.perf_counter_ns``)."""

    def close(self) -> None:
        """Give the input back."""


class MidiClock:
    """Follows the MIDI clock of another machine. For the I/O loop's thread alone.

    The first tick after a start is beat 0, the first after a continue the song position. Every tick counts as exactly 1/24 beat, so
    that nothing drifts; where each tick lies in time says a `TickLine`. Ticks that come while the sender stands tell the tempo. An
    input that goes away is opened again when it is back.

    Args:
        now: seconds, never less than before.
        timeline: where it begins; its ``beats_per_bar`` must be the sender's, which does not tell it.
        open_input: opens the input; None for a clock that is only told, by `receive`.
        perf_ns: the clock of the input's stamps, ns.
    """

    source = "midi"
    led = False

    def __init__(
        self,
        now: Callable[[], Fraction],
        timeline: Timeline | None = None,
        open_input: Callable[[], TransportInput] | None = None,
        perf_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.timeline = timeline or Timeline()
        self._now = now
        self._open = open_input
        self._perf_ns = perf_ns
        self._input = open_input() if open_input is not None else None
        self._reopen_at: Fraction | None = None
        period = float(60 / self.timeline.at(now()).bpm / TICKS_PER_BEAT)
        self._line = TickLine(period, 60 / FASTEST_BPM / TICKS_PER_BEAT, 60 / SLOWEST_BPM / TICKS_PER_BEAT)
        self._playing = False  # the sender says so
        self._begun = False  # and its first tick has come
        self._silent = False
        self._next = 0  # song position of the tick that comes next
        self._last = 0.0  # when the latest tick came
        self._new = False  # ticks since the line was looked at

    @property
    def input(self) -> str:
        """The input that is open; empty while it is looked for."""
        return self._input.name if self._input is not None else ""

    def now(self) -> Fraction:
        return self._now()

    def pump(self) -> None:
        """Take in what came; to be called every few milliseconds."""
        if self._input is not None:
            self._read(self._input)
        now = self._now()
        if self._new:
            self._new = False
            self._line.settle()
            self._follow(now)
        quiet = float(now) - self._last
        if self._playing and self._begun and quiet > max(SILENCE_S, _SILENT_TICKS * self._line.period):
            self._begun, self._silent = False, True
            self.timeline.stop(now)
        if self._reopen_at is not None and now >= self._reopen_at and self._open is not None:
            self._input, self._reopen_at = self._open(), None

    def receive(self, message: bytes, moment: float) -> None:
        """Take one message that came at a moment of `now`, and not before the one before; what is no transport is left out."""
        match message[0] if message else None:
            case 0xF8:
                self._tick(max(moment, self._last))
            case 0xFA:
                self._locate(0)
                self._go()
            case 0xFB:
                self._go()
            case 0xFC:
                self._stand()
            case 0xF2 if len(message) == 3:
                self._locate((message[1] | message[2] << 7) * TICKS_PER_SIXTEENTH)

    def close(self) -> None:
        """Give the input back."""
        if self._input is not None:
            self._input.close()
        self._input = self._open = None

    def _read(self, source: TransportInput) -> None:
        came, perf, now = source.read_raw(), self._perf_ns(), self._now()
        for at, message in came:
            self.receive(message, float(now - Fraction(max(0, perf - at), _NANO)))
        if source.error is not None:
            log.warning("the MIDI clock's input is not there; it is looked for", reason=source.error.text)
            source.close()
            self._input, self._reopen_at = None, now + _REOPEN_S

    def _go(self) -> None:
        self._playing, self._begun, self._silent = True, False, False

    def _stand(self) -> None:
        """The sender stands where its next tick would have been."""
        self._playing = self._begun = self._silent = False
        now = self._now()
        self.timeline.stop(now)
        self.timeline.locate(Fraction(self._next, TICKS_PER_BEAT), now)

    def _locate(self, tick: int) -> None:
        self._next = tick
        if self._begun:
            self._begun = False  # the next tick is there
        else:
            now = self._now()
            self.timeline.stop(now)
            self.timeline.locate(Fraction(tick, TICKS_PER_BEAT), now)

    def _tick(self, moment: float) -> None:
        gap = moment - self._last
        lost = self._line.lost
        if gap > max(SILENCE_S, _SILENT_TICKS * self._line.period):
            if self._silent and gap < REJOIN_S:
                self._next += max(0, round(gap / self._line.period) - 1)
            elif self._silent:
                self._playing = self._silent = False
            self._line.forget()
        first = self._playing and not self._begun
        self._line.add(moment, may_jump=first)
        self._last, self._new = moment, True
        if self._playing:
            self._begun, self._silent = True, False
            self._next += 1 + self._line.lost - lost

    def _follow(self, now: Fraction) -> None:
        """Let the timeline lie where the ticks do."""
        line, piece = self._line, self.timeline.at(now)
        bpm = as_fraction(line.tempo(TICKS_PER_BEAT))
        if not (SLOWEST_BPM <= bpm <= FASTEST_BPM):
            bpm = piece.bpm
        if not self._begun:
            if bpm != piece.bpm:
                self.timeline.set_tempo(bpm, now)
            return
        ahead = (float(now) - line.moment) / line.period / TICKS_PER_BEAT
        beat = Fraction(self._next - 1, TICKS_PER_BEAT) + Fraction(round(ahead * _NANO), _NANO)
        error = float(beat - piece.beat_at(now)) * 60 / float(bpm)
        if piece.playing and bpm == piece.bpm and abs(error) < _NEGLIGIBLE_S:
            return
        self.timeline.set_tempo(bpm, now)
        self.timeline.locate(beat, now)
        if not piece.playing:
            self.timeline.start(now)
