"""A host's transport as a clock: ticks that a script or a patch sends, or Reaper's built-in control surface, without any script.

That surface's pattern file ``Default.ReaperOSC`` sends ``/play``, ``/stop``, ``/pause`` (1 or 0), ``/tempo/raw`` (beats per
minute), ``/time`` (seconds of the project) and ``/beat/str`` (``bar.beat.hundredths``, counted from 1), some thirty times a second
while it plays.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction

from daw_bridge.clock.host_ticks import Tick, TickTempo, as_beats
from daw_bridge.clock.timeline import Timeline
from protocols.messages import FASTEST_BPM, SLOWEST_BPM
from protocols.osc.codec import Argument
from protocols.units import as_fraction

READ = frozenset(["/play", "/stop", "/pause", "/tempo/raw", "/time", "/beat/str"])
ADDRESSES = READ | {"/record", "/tempo", "/tempo/str", "/time/str", "/samples", "/samples/str", "/frames/str"}
"""What a host's transport sends; what is not read says the same again."""

_WINDOW = 96  # packets that are averaged: about three seconds
_JUMP_BEATS = Fraction(1, 2)
_STRAY_S = 0.03
_STRAYS = 3  # so many in a row are a jump after all
_SILENCE_S = 3  # after which a surface is taken for gone
_HUNDREDTH = Fraction(1, 100)
_ONE_PACKET_S = Fraction(5, 1000)
_LARGEST = 1_000_000
_NANO = 10**9


class HostClock:
    """Follows a host's transport. For the I/O loop's thread alone.

    Between packets it goes on at the tempo of the host. Its phase is the mean over the last packets, a least-squares line with
    the slope that the host names, so that the jitter of the network is not heard. A jump and a new tempo count at once.
    ``/time`` is exact and ``/beat/str`` coarse: the hundredths narrow down, packet by packet, at which beat the project's
    seconds began.

    While `tick` is called, the control surface says the same again, and is not listened to.

    Args:
        now: seconds, never less than before.
        timeline: where it begins; its ``beats_per_bar`` must be the host's, which does not tell it.
    """

    source = "host"
    led = False

    def __init__(self, now: Callable[[], Fraction], timeline: Timeline | None = None) -> None:
        self.timeline = timeline or Timeline()
        self._now = now
        self._bpm = self.timeline.at(now()).bpm
        self._playing = False
        self._time: tuple[Fraction, Fraction] | None = None  # what was read, and when it came
        self._read: tuple[Fraction, Fraction] | None = None
        self._heard_from = now()
        self._low: Fraction | None = None
        self._high: Fraction | None = None
        self._strays = 0
        self._offsets: deque[float] = deque(maxlen=_WINDOW)
        self._ticks: TickTempo | None = None

    def now(self) -> Fraction:
        return self._now()

    def receive(self, address: str, arguments: Sequence[Argument]) -> None:
        """Take one message of the transport; what makes no sense is left out."""
        now, value = self._now(), arguments[0] if arguments else 1
        if self._ticks is not None and now - self._heard_from <= self._silence:
            return
        self._heard_from, self._ticks = now, None
        if address == "/beat/str" and isinstance(value, str):
            self._beat(value, now)
        elif isinstance(value, int | float) and abs(value) < _LARGEST:  # no NaN either
            self._number(address, as_fraction(float(value)), now)

    def tick(
        self,
        beat: float,
        *,
        bpm: float | None = None,
        beats_per_bar: int | None = None,
        playing: bool = True,
        at: Fraction | None = None,
    ) -> Fraction:
        """The host says where it is.

        Args:
            beat: beats since the start of bar 1.
            bpm: its tempo; None leaves that to the ticks.
            beats_per_bar: its metre; None for as it was.
            playing: False while it stands there.
            at: the moment that this is about, in seconds of the stage, which may lie ahead; None for now.

        Returns:
            How many seconds the host is ahead of where the clock was; 0 where the clock stood.
        """
        now = self._now()
        moment = now if at is None else at
        self._heard_from = max(now, moment)
        ticks = self._ticks = self._ticks or TickTempo(float(self._bpm))
        if beats_per_bar is not None and beats_per_bar != self.timeline.beats_per_bar:
            self.timeline.beats_per_bar = beats_per_bar
            self.timeline.changes += 1
        if bpm is not None:
            ticks.tempo(bpm)
        if not playing:
            self._take_tempo(ticks, now)
            self._stand(as_beats(beat), max(now, moment))
            return Fraction(0)
        from_here = max(now, self.timeline.latest.seconds)
        was = self.timeline.beat_at(from_here) if self._playing else None
        if not self._playing:
            ticks.forget()
        ticks.add(Tick(beat, float(moment), at is not None))
        self._take_tempo(ticks, from_here)
        if was is None:
            self._playing = True
            start = max(now, moment)
            self.timeline.locate(as_beats(ticks.beat_at(float(start))), start)
            self.timeline.start(start)
            return Fraction(0)
        heard = as_beats(beat + float(from_here - moment) * ticks.bpm / 60)
        self.timeline.locate(as_beats(ticks.beat_at(float(from_here))), from_here)
        return (heard - was) * 60 / self._bpm

    def _take_tempo(self, ticks: TickTempo, moment: Fraction) -> None:
        if (tempo := as_fraction(round(ticks.bpm, 6))) != self._bpm:
            self._bpm = tempo
            self.timeline.set_tempo(tempo, moment)

    def _stand(self, beat: Fraction, moment: Fraction) -> None:
        """The host stands, or will from a moment on."""
        if self._playing:
            self._playing = False
            self.timeline.stop(max(moment, self.timeline.latest.seconds))
        if self.timeline.latest.beat != beat:
            self.timeline.locate(beat, moment)

    @property
    def _silence(self) -> Fraction:
        """After which the host is taken for gone."""
        if self._ticks is None:
            return Fraction(_SILENCE_S)
        return as_fraction(round(self._ticks.silence(self.timeline.beats_per_bar), 3))

    def _number(self, address: str, value: Fraction, now: Fraction) -> None:
        if address == "/play":
            self._play(bool(value), now)
        elif address in ("/stop", "/pause") and value:
            self._play(False, now)
        elif address == "/tempo/raw" and SLOWEST_BPM <= value <= FASTEST_BPM and value != self._bpm:
            self._bpm = value
            self.timeline.set_tempo(value, now)
            self._forget()
        elif address == "/time":
            self._time = (value, now)
            self._narrow()
            if self._low is not None and self._high is not None:
                self._steer(self._time[0] * self._bpm / 60 + self._began(self._low, self._high), now)

    def pump(self) -> None:
        """A host that has gone silent while it played is taken for stopped."""
        if self._playing and self._now() - self._heard_from > self._silence:
            self._play(False, self._now())

    def close(self) -> None:
        """Nothing to do: a host is not told."""

    def _play(self, playing: bool, now: Fraction) -> None:
        if playing == self._playing:
            return
        self._playing = playing
        self._strays = 0
        self._offsets.clear()
        (self.timeline.start if playing else self.timeline.stop)(now)

    def _beat(self, text: str, now: Fraction) -> None:
        try:
            bar, beat, hundredths = (int(part) for part in text.split("."))
        except ValueError:
            return
        if max(abs(bar), abs(beat), abs(hundredths)) > _LARGEST:
            return
        read = (bar - 1) * self.timeline.beats_per_bar + beat - 1 + hundredths * _HUNDREDTH
        self._read = (read, now)
        if self._time is None or now - self._time[1] > 1:  # a surface that sends no seconds
            self._steer(read + _HUNDREDTH / 2, now)
        self._narrow()

    def _narrow(self) -> None:
        """Compare seconds and beats that came in one packet."""
        if self._time is None or self._read is None or abs(self._time[1] - self._read[1]) > _ONE_PACKET_S:
            return
        low = self._read[0] - self._time[0] * self._bpm / 60
        high = low + _HUNDREDTH
        if self._low is None or self._high is None or low >= self._high or high <= self._low:
            self._low, self._high = low, high
        else:
            self._low, self._high = max(low, self._low), min(high, self._high)

    def _began(self, low: Fraction, high: Fraction) -> Fraction:
        """At which beat the project's seconds begin. Where it may be beat 0 it is, as in every song of one tempo."""
        return Fraction(0) if low <= _HUNDREDTH and high >= -_HUNDREDTH else _rounded((low + high) / 2)

    def _steer(self, beat: Fraction, now: Fraction) -> None:
        """The host is at ``beat`` now, as far as the network's delay lets us know."""
        if not self._playing:
            if self.timeline.beat_at(now) != beat:
                self.timeline.locate(beat, now)
            return
        error = beat - self.timeline.beat_at(now)
        stray = abs(error) * 60 / self._bpm > _STRAY_S and bool(self._offsets)
        self._strays = self._strays + 1 if stray else 0
        if abs(error) > _JUMP_BEATS or self._strays >= _STRAYS or not self._offsets:
            self._strays = 0
            self._offsets.clear()
        elif stray:
            return
        self._offsets.append(float(beat - now * self._bpm / 60))
        mean = _rounded(Fraction(statistics.fmean(self._offsets)))
        self.timeline.locate(mean + now * self._bpm / 60, now)

    def _forget(self) -> None:
        """What was learnt holds for one tempo."""
        self._low = self._high = None
        self._strays = 0
        self._offsets.clear()


def _rounded(beats: Fraction) -> Fraction:
    """Short fractions, however long it goes on."""
    return Fraction(round(beats * _NANO), _NANO)
