"""One layer: the take that plays, repeated on the clock's lines, and the takes that it was and can be again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np

from daw_bridge.audio.output import Output
from daw_bridge.clock.timeline import Unit
from daw_bridge.loops.grid import NOWHERE, Grid, Place
from daw_bridge.loops.history import History
from daw_bridge.loops.take import CHANNELS, Samples, Take, join
from daw_bridge.loops.track import VOICE_FADE_S, Track

TOLERANCE_S = Fraction(1, 1000)
"""How far a bar inside a loop may be off its line before it is spliced there."""

_STEP_S = 0.02  # what is written at once, at least

Mark = Literal["stop", "mute", "unmute"]


class Listener(Protocol):
    """Who hears of a layer. All calls come on the loop's thread."""

    def tell(self, layer: Layer, state: str, place: Place, take: str = "", note: str = "") -> None:
        """Something becomes of it, where ``place`` says."""

    def began(self, layer: Layer, take: Take) -> None:
        """Another take begins."""


Fit = Callable[[Take], Take | None]


@dataclass
class _Change:
    take: Take
    beat: Fraction
    keeps_place: bool


@dataclass
class _Waiting:
    """To begin on a line; ``anchor`` is where its start would be, for one that goes on at its place."""

    take: Take
    beat: Fraction | None = None
    anchor: Fraction | None = None


class Layer:
    """A layer of loops. For the loop's thread only.

    Each bar and each repetition begins on the frame of its line by the clock, whatever came before; so nothing adds up. Where the
    tempo has moved, the sound is spliced there, at constant power.

    Args:
        number: from 1.
        grid: the clock's lines in frames.
        track: its voice.
        listener: who hears of it.
        fit: the take as the card and the clock need it now, or the best there is so far; None where it cannot be played yet.
    """

    def __init__(self, number: int, grid: Grid, track: Track, listener: Listener, fit: Fit) -> None:
        self.number = number
        self.track = track
        self.level_db = 0.0
        self.muted = False
        self.recording = False
        self.late = 0
        self.underruns = 0
        self.history = History(number)
        self.variations: dict[str, Take] = {}
        self.promised: Fraction | None = None
        """The loop end at which another take was promised."""
        self._grid = grid
        self._listener = listener
        self._fit = fit
        self._playing: Take | None = None
        self._original: Take | None = None  # of which `_playing` is the form that fits
        self._waiting: _Waiting | None = None
        self._position = 0
        self._anchor = Fraction(0)
        self._line = Fraction(0)
        self._change: _Change | None = None
        self._marks: list[tuple[Fraction, Mark]] = []

    @property
    def take(self) -> Take | None:
        """What it plays, will play next, or played last."""
        return self.history.take

    @property
    def sounding(self) -> Take | None:
        """What it plays now, if it does."""
        return self._playing

    @property
    def state(self) -> str:
        """In a word."""
        if self.recording:
            return "recording"
        if self._playing is not None:
            return "playing"
        return "waiting" if self._waiting is not None else "stopped"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell of it."""
        return not self.history.takes and not self.recording

    # --- what plays ---------------------------------------------------------------------------------------------------

    def keep(self, take: Take) -> None:
        """Make a take the present one, without playing it."""
        self.history.keep(take)

    def begin(self, take: Take, beat: Fraction | None = None) -> Place:
        """Keep a take and play it from its start, from a bar line on; the next one where none is named."""
        self.keep(take)
        self._go_on()
        if self._present is not None:
            line = self._next_bar() if beat is None else beat
            self._change = _Change(take, line, keeps_place=False)
            return self._grid.place(line)
        return self._wait(take, beat)

    def follow(self, take: Take, at: Literal["bar", "loop"]) -> Place:
        """Keep a take and play it: on the next bar line at the place where the loop is, or where the loop ends."""
        self.keep(take)
        return self._change_to(take, at)

    def follow_as_promised(self, take: Take) -> Place:
        """Keep a take and play it at the loop end that was promised, though it is ready sooner; or at the next one."""
        place = self.follow(take, "loop")
        if self._change is not None and self.promised is not None and self.promised > self._change.beat:
            self._change.beat = self.promised
            place = self._grid.place(self.promised)
        return place

    def step(self, by: int, at: Literal["bar", "loop"]) -> Place:
        """Play the take before (-1) or after (1).

        Raises:
            RequestError: EMPTY where there is none.
        """
        return self._change_to(self.history.step(by), at)

    def again(self) -> Place:
        """Play the present take from the next bar line on.

        Raises:
            RequestError: EMPTY without one.
        """
        take = self.history.present()
        self._go_on()
        if self._present is not None:
            return self._change_to(take, "bar")
        return self._wait(take, None)

    def stop(self, at: str) -> Place:
        """Play no more from a line on, or at once."""
        self._waiting = None
        if self._playing is None or at == "now":
            self._silence()
            return self._now()
        return self._mark(_unit(at), "stop")

    def mute(self, mute: bool, at: str) -> Place:
        """Let it play on unheard, or heard again, from a line on or at once."""
        self.muted = mute
        if self._playing is None or at == "now":
            self.track.hush() if mute else self.track.unhush()
            return self._now()
        if not mute:
            self.track.unhush_later()
        return self._mark(_unit(at), "mute" if mute else "unmute")

    def clear(self) -> None:
        """Stop and forget everything."""
        self._waiting = None
        self._silence()
        self.history.clear()
        self.variations = {}

    def forget(self, take: Take) -> None:
        """A take that turned out to be none: the one before plays in its place, if there is one."""
        current = self.take
        self.history.forget(take)
        if current is take:
            plays = self._playing is not None or self._waiting is not None
            self._waiting = None
            self._silence()
            if plays and self.take is not None:
                self._wait(self.take, None)

    def next_end(self, wait: Fraction = Fraction(0)) -> Fraction | None:
        """The first loop end that comes ``wait`` beats from now or later; None while it does not play."""
        present = self._present
        if present is None:
            return None
        beats = present.beats
        turns = -((self._anchor - max(self._line, self._line_now() + wait)) // beats)
        return self._anchor + turns * beats

    # --- in time ------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Write what is due; to be called every few milliseconds."""
        output = self._grid.output
        if self._playing is not None:
            rendered = self._grid.rendered if output is not None else 0
            self.track.pump(rendered)
            if self.track.lost(output, rendered):
                self._place_anew(output is not None)
            else:
                self._write_on()
        if self._waiting is not None and self._playing is None and output is not None:
            self._begin_when_due(self._waiting)

    def _wait(self, take: Take, beat: Fraction | None) -> Place:
        if beat is None and self._grid.output is not None and self._grid.counts:
            beat = self._grid.next_line("bar")
        self._waiting = _Waiting(take, beat)
        return self._grid.place(beat)

    def _change_to(self, take: Take, at: Literal["bar", "loop"]) -> Place:
        if self._present is None:
            return self._grid.place(self._waiting.beat) if self._waiting is not None and self._retake(take) else NOWHERE
        line = self._next_bar()
        if at == "loop":
            line = self.next_end() or line
        self._change = _Change(take, line, keeps_place=at == "bar")
        return self._grid.place(line)

    @property
    def _present(self) -> Take | None:
        """What plays, or will again in a moment, in its place."""
        if self._waiting is not None and self._waiting.anchor is not None:
            return self._waiting.take
        return self._playing

    def _go_on(self) -> None:
        """It was told to play: it does not stop on the line where it would have."""
        self._marks = [(line, mark) for line, mark in self._marks if mark != "stop"]

    def _retake(self, take: Take) -> bool:
        assert self._waiting is not None
        self._waiting.take = take
        return True

    def _next_bar(self) -> Fraction:
        bar = self._grid.beats_per_bar
        return -(-self._line // bar) * Fraction(bar)

    def _line_now(self) -> Fraction:
        line = self._grid.next_line("beat", self.track.frame)
        return self._line if line is None else line

    def _mark(self, unit: Unit, mark: Mark) -> Place:
        beat = self._grid.next_line(unit, self.track.frame)
        if beat is None:  # the clock stands, and the layer is about to
            return NOWHERE
        self._marks = sorted([*((line, kind) for line, kind in self._marks if kind != mark), (beat, mark)])
        self._line = min(self._line, beat)
        return self._grid.place(beat)

    def _now(self) -> Place:
        return NOWHERE if self._grid.output is None else self._grid.place_of(self._grid.rendered)

    def _silence(self) -> None:
        self.track.drop()
        self._playing = self._change = self.promised = None
        self._settle_marks()

    def _settle_marks(self) -> bool:
        """What was to come on a line counts at once, since the layer does not get there; True where it was to stop."""
        marks, self._marks = self._marks, []
        for _, mark in marks:
            if mark != "stop":
                self.track.turn(mark == "unmute")
        return any(mark == "stop" for _, mark in marks)

    def _leave(self) -> Take | None:
        """Play no more for now; what is to play when it goes on, None where it was to stop."""
        wanted = self._change.take if self._change is not None else self._original
        self._playing = self._change = self.promised = None
        return None if self._settle_marks() else wanted

    def _place_anew(self, has_card: bool) -> None:
        """What was written is not heard in its place: go on on the next beat, as if nothing had happened."""
        self.track.drop()
        self.underruns += has_card
        change, promised, take = self._change, self.promised, self._original
        if self._leave() is not None and take is not None:  # what was to follow still does
            self._change, self.promised = change, promised
            self._waiting = _Waiting(take, None, self._anchor)
            self._line = self._grid.next_line("beat") or self._line

    def _begin_when_due(self, waiting: _Waiting) -> None:
        grid = self._grid
        frame = None if waiting.beat is None else grid.frame_of(waiting.beat, grid.frontier)
        lost = frame is not None and frame < grid.rendered + (grid.frontier - grid.rendered) // 4
        far = frame is not None and frame - grid.frontier > 2 * grid.loop_frames(grid.beats_per_bar)
        if frame is None or lost or (far and not self.recording):
            if lost and waiting.beat is not None:
                self.late += 1
                self._listener.tell(self, "late", grid.place(waiting.beat), waiting.take.name)
            waiting.beat = grid.next_line("bar" if waiting.anchor is None else "beat")
            if waiting.beat is None:
                return
            state = "waiting" if waiting.anchor is None else "moved"
            self._listener.tell(self, state, grid.place(waiting.beat), waiting.take.name)
            return
        fitted = self._fit(waiting.take)
        if frame > grid.frontier or fitted is None or grid.output is None:
            return
        assert waiting.beat is not None
        self._waiting = None
        self._playing, self._original = fitted, waiting.take
        self._anchor = waiting.beat if waiting.anchor is None else waiting.anchor
        self._position = fitted.place((waiting.beat - self._anchor) % fitted.beats)
        self._line = self._line_after(waiting.beat, fitted)
        self._enter(grid.output, frame, fitted)
        self._listener.tell(self, "playing", grid.place(waiting.beat), fitted.name)
        if waiting.anchor is None:
            self._listener.began(self, waiting.take)
        self._write_on()

    def _enter(self, output: Output, frame: int, take: Take) -> None:
        """Begin out of silence; the fade that every voice begins with is over by then, so that an attack is heard whole."""
        quiet: Samples = np.zeros((round(VOICE_FADE_S * output.sample_rate), CHANNELS), np.float32)
        self.track.begin(output, frame - len(quiet))
        self.track.write(quiet)
        entering = take.read(self._position, take.fade)
        self.track.write(join(np.zeros_like(entering), entering, take.rate))
        self._position += take.fade

    def _write_on(self) -> None:
        grid, track = self._grid, self.track
        until = grid.frontier
        if until - track.frame < _STEP_S * grid.rate:
            return
        while self._playing is not None and track.frame < until:
            at = grid.frame_of(self._line, track.frame)
            if at is None or at - track.frame > 2 * grid.loop_frames(grid.beats_per_bar):
                if not self._find_line():
                    self._stand(self._playing)
                    return
                continue
            count = min(min(until, at) - track.frame, self._playing.filled - self._position)
            if count > 0:
                track.write(self._playing.read(self._position, count))
                self._position += count
            elif track.frame >= at:
                self._cross(self._playing, at)
            else:
                return

    def _find_line(self) -> bool:
        """After a jump of the clock: the loop begins anew on the next bar line. False where none comes."""
        line = self._grid.next_line("bar", self.track.frame)
        if line is None or self._grid.frame_of(line, self.track.frame) is None:
            return False
        self._anchor = self._line = line
        if self._change is not None:
            self._change.beat = line
        self.promised = None if self.promised is None else line
        self._marks = [(line, mark) for _, mark in self._marks]
        return True

    def _stand(self, take: Take) -> None:
        """The clock stands: fade out, and begin again when it goes on."""
        self.track.end(take.read(self._position, take.fade))
        wanted = self._leave()
        self._waiting = None if wanted is None else _Waiting(wanted)
        self._listener.tell(self, "stopped" if wanted is None else "waiting", NOWHERE, take.name)

    def _cross(self, old: Take, at: int) -> None:
        """Go over a line of the clock, which is at a frame that has just been written up to."""
        line, place = self._line, self._grid.place_of(at)
        if self._pass_marks(line, place):
            self.track.end(old.after(self._position, old.fade))
            self._playing = self._change = self.promised = None
            self._settle_marks()
            return
        late = self.track.frame - at
        change = self._change if self._change is not None and self._change.beat <= line else None
        wanted = change.take if change is not None else self._original or old
        new = self._fit(wanted)
        if new is None or new.filled < late + new.fade:
            new, change = old, None
        anchor = line if change is not None and not change.keeps_place else self._anchor
        within = (line - anchor) % new.beats
        if within == 0 and change is None:
            self._tell_if_late(line, place)
        entry = new.place(within) + late
        moved = new is not old or within == 0 or abs(self._position - entry) > TOLERANCE_S * new.rate
        bar = within == 0 or line % self._grid.beats_per_bar == 0
        if change is None and not (bar and moved):
            new = old
        else:
            fade = min(old.fade, new.fade)
            self.track.write(join(old.after(self._position, fade, new), new.read(entry, fade), new.rate))
            self._position = entry + fade
        self._playing, self._anchor = new, anchor
        self._line = self._line_after(line, new)
        if change is not None:
            self._original = wanted
            self._change = self.promised = None
            self._listener.tell(self, "changed", place, new.name)
            self._listener.began(self, wanted)

    def _line_after(self, line: Fraction, take: Take) -> Fraction:
        bar = self._grid.beats_per_bar
        end = line + take.beats - (line - self._anchor) % take.beats
        lines = [(line // bar + 1) * Fraction(bar), end, *(beat for beat, _ in self._marks)]
        return min(lines)

    def _pass_marks(self, line: Fraction, place: Place) -> bool:
        """Do what is due on a line; True where the layer stops there."""
        due = [mark for beat, mark in self._marks if beat <= line]
        self._marks = [(beat, mark) for beat, mark in self._marks if beat > line]
        for mark in due:
            if mark != "stop":
                self.track.turn(mark == "unmute")
                self._listener.tell(self, "heard" if mark == "unmute" else "muted", place)
        if "stop" in due:
            self._listener.tell(self, "stopped", place)
        return "stop" in due

    def _tell_if_late(self, line: Fraction, place: Place) -> None:
        if self.promised is not None and self.promised <= line:
            self.late += 1
            self._listener.tell(self, "late", place, self.take.name if self.take is not None else "")


def _unit(at: str) -> Unit:
    return "beat" if at == "beat" else "bar"
