"""Notes that are played live become clips: the first note begins the loop, a length or a stop ends it.

What is played is written down exactly as it comes; nothing is quantised. It is read as a track of a MIDI file is: the same events
give the same clip, played or in a file. Only at the end of a loop a player's hands are forgiven: what is struck just before the
line and held over it is meant for the line, and where turn follows turn, a key that is let go just after it belongs to the turn
before.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import mido

from daw_bridge.midi_clip import MidiClip
from daw_bridge.midi_controls import Controller
from daw_bridge.midi_file import clip_of_tracks
from protocols.errors import ErrorCode, RequestError
from protocols.units import as_fraction

MAX_NOTES = 8192
"""Of one turn."""
MAX_EVENTS = 65_536
"""Notes, releases, wheels and controllers of one turn."""
MAX_SECONDS = 600
"""Longest turn; also how long the first note is waited for."""
BAR_BEATS = 4
TOLERANCE_BEATS = Fraction(1, 8)
"""How far from the line a hand may be."""

_TICKS_PER_BEAT = 20_160  # every division up to a tenth is whole
_GRACE_NS = 30_000_000  # what was played before the line may be on its way for as long
_NANOSECONDS = 1_000_000_000
_MAX_SETTINGS = 4096
_PARAMETERS = frozenset(
    (Controller.DATA, Controller.DATA_FINE, Controller.NRPN, Controller.NRPN_FINE, Controller.RPN, Controller.RPN_FINE)
)


@dataclass(frozen=True)
class Phrase:
    """One turn, whole.

    Attributes:
        clip: exactly one loop long.
        note: why it ends where it does, where that is not plain.
    """

    clip: MidiClip
    note: str = ""


@dataclass(eq=False)
class _Key:
    """A key that went down.

    Attributes:
        at: when, in ns.
        released: when it was let go; None as long as it is down.
        held_over: it was struck in the turn before.
    """

    at: int
    released: int | None = None
    held_over: bool = False


@dataclass(eq=False)
class _Turn:
    """What was played in one turn: moments in ns, messages, and the keys that notes and releases are about."""

    start: int
    settings: list[mido.Message]
    events: list[tuple[int, mido.Message, _Key | None]] = field(default_factory=list)
    struck: int = 0

    def drop(self, keys: set[_Key]) -> None:
        """Forget keys, their notes and their releases."""
        self.events = [event for event in self.events if event[2] not in keys]
        self.struck -= sum(not key.held_over for key in keys)


class PlayedNotes:
    """A recording of what is played on one input, turn by turn. Moments are ns of one clock that never goes back.

    Args:
        name: of the clips.
        bpm: tempo that is played at.
        length: of the loop in beats; 0 leaves it to `stop`.
        turns: how many are recorded, each in place of the one before; 0 for as many as are played until `stop`.
        began: when the recording was begun.

    Raises:
        RequestError: OUT_OF_RANGE about ``length`` (under a beat, over `MAX_SECONDS`); MISSING about it where it is 0 and there
            is to be more than one turn.
    """

    def __init__(self, name: str, bpm: float, length: float = 0.0, turns: int = 1, began: int = 0) -> None:
        self._name = name
        self._tempo = round(60_000_000 / bpm)  # microseconds per beat
        self._ns_per_beat = self._tempo * 1000
        self._length = Fraction(round(as_fraction(length) * _TICKS_PER_BEAT), _TICKS_PER_BEAT)
        most = Fraction(MAX_SECONDS * _NANOSECONDS, self._ns_per_beat)
        if length and not 1 <= self._length <= most:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "length", length, f"0, or 1 to {int(most)} beats at this tempo")
        if turns != 1 and not length:
            raise RequestError(
                ErrorCode.MISSING, "length", length, "the length of a turn, in beats, where there are several"
            )
        self._turns = turns
        self._began = began
        self._first = 0
        self._done = 0
        self._turn: _Turn | None = None
        self._settings: dict[object, mido.Message] = {}
        self._down: dict[tuple[int, int], deque[tuple[mido.Message, _Key]]] = {}
        self._latest = began
        self._phrases: list[Phrase] = []
        self.over = False

    @property
    def playing(self) -> bool:
        """Whether the first note has been played."""
        return self._turn is not None

    @property
    def notes(self) -> int:
        """Notes struck in the present turn."""
        return self._turn.struck if self._turn is not None else 0

    def beats(self, now: int) -> float:
        """How far the present turn is, in beats."""
        if self._turn is None:
            return 0.0
        beats = max(0.0, (now - self._turn.start) / self._ns_per_beat)
        return min(beats, float(self._length)) if self._length else beats

    def take(self, events: Iterable[tuple[int, mido.Message]], now: int) -> list[Phrase]:
        """Write down what was played, in order, and return the turns that are whole by then.

        A turn in which no key was struck leaves things as they are; none is returned for it. ``over`` says when the last one was.

        Args:
            events: messages with their moments.
            now: the present moment.
        """
        for at, message in events:
            if self.over:
                break
            self._latest = at = max(at, self._latest)
            self._pass_lines(at if _strikes(message) else at - 1)  # a release on the line belongs to the turn that ends
            self._write(at, message)
        if not self.over:
            self._pass_lines(now - _GRACE_NS)
            start = self._turn.start if self._turn is not None else self._began
            if not self.over and now - start > MAX_SECONDS * _NANOSECONDS:
                self._finish(now, f"it ended after {MAX_SECONDS} s, the longest", whole=True)
        phrases, self._phrases = self._phrases, []
        return phrases

    def stop(self, now: int, note: str = "") -> list[Phrase]:
        """End the recording; the turns that are whole by then, as `take`.

        Without a length the loop ends at the bar line that is nearest. With one, a first turn ends there, and a later one counts
        where less than a beat of it is missing.
        """
        if not self.over:
            self._pass_lines(now - _GRACE_NS)
            self._finish(now, note)
        phrases, self._phrases = self._phrases, []
        return phrases

    # --- turns --------------------------------------------------------------------------------------------------------

    def _line(self) -> int:
        """Where the present turn ends."""
        return self._first + round((self._done + 1) * self._length * self._ns_per_beat)

    def _pass_lines(self, now: int) -> None:
        """Close every turn whose line has been reached."""
        while self._length and self._turn is not None and not self.over and now >= self._line():
            self._close(self._turn, self._line())

    def _close(self, turn: _Turn, line: int) -> None:
        early, held = self._over_the_line(turn, line)
        turn.drop(early)
        self._keep(turn, line, self._length)
        self._done += 1
        if self._turns and self._done >= self._turns:
            self.over = True
            return
        following = _Turn(line, list(self._settings.values()))
        for keys in self._down.values():
            for index, (message, key) in enumerate(keys):
                carried = _Key(line, held_over=key in held)
                keys[index] = message, carried
                following.events.append((line, message, carried))
                following.struck += not carried.held_over
        self._turn = following

    def _finish(self, now: int, note: str, whole: bool = False) -> None:
        """End in the middle of a turn: without a length at the nearest bar line, or the next one, for a ``whole`` last bar."""
        self.over = True
        turn = self._turn
        if turn is None:
            return
        played = Fraction(max(0, now - turn.start), self._ns_per_beat)
        beats = self._length or BAR_BEATS * max(1, (math.ceil if whole else _nearest)(played / BAR_BEATS))
        if self._done and beats - played >= 1:
            return
        line = turn.start + round(beats * self._ns_per_beat)
        early, _ = self._over_the_line(turn, line)
        turn.drop(early)
        self._keep(turn, line, beats, note)

    def _over_the_line(self, turn: _Turn, line: int) -> tuple[set[_Key], set[_Key]]:
        """The keys that are down at the line: those that were struck for it, and those that are held over it."""
        early: set[_Key] = set()
        held: set[_Key] = set()
        for at, message, key in turn.events:
            if (
                key is None
                or not _strikes(message)
                or at >= line
                or (key.released is not None and key.released <= line)
            ):
                continue
            meant = not key.held_over and at >= line - TOLERANCE_BEATS * self._ns_per_beat
            (early if meant else held).add(key)
        return early, held

    def _keep(self, turn: _Turn, line: int, beats: Fraction | int, note: str = "") -> None:
        """Read a turn up to its line as a track."""
        begun = [(at, message) for at, message, _ in turn.events if at < line]
        if not turn.struck:
            return
        track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=self._tempo)])
        track += [message.copy(time=0) for message in turn.settings]
        tick = 0
        for at, message in begun:
            here = _nearest(Fraction((at - turn.start) * _TICKS_PER_BEAT, self._ns_per_beat))
            track.append(message.copy(time=here - tick))
            tick = here
        end = round(beats * _TICKS_PER_BEAT)
        track.append(mido.MetaMessage("end_of_track", time=max(0, end - tick)))
        clip = clip_of_tracks(self._name, _TICKS_PER_BEAT, [track])
        self._phrases.append(Phrase(clip.lasting(Fraction(beats)), note))

    # --- events -------------------------------------------------------------------------------------------------------

    def _write(self, at: int, message: mido.Message) -> None:
        if message.type in ("note_on", "note_off"):
            self._write_key(at, message)
        else:
            self._set(message)
            if self._turn is not None:
                self._turn.events.append((at, message, None))
        if self._turn is not None and not self.over:
            if self._turn.struck >= MAX_NOTES:
                self._finish(at, f"it ended at {MAX_NOTES} notes, the most", whole=True)
            elif len(self._turn.events) >= MAX_EVENTS:
                self._finish(at, f"it ended at {MAX_EVENTS} MIDI messages, the most", whole=True)

    def _write_key(self, at: int, message: mido.Message) -> None:
        place = message.channel, message.note
        if _strikes(message):
            if self._turn is None:
                self._first = at
                self._turn = _Turn(at, list(self._settings.values()))
            key = _Key(at)
            self._down.setdefault(place, deque()).append((message, key))
            self._turn.events.append((at, message, key))
            self._turn.struck += 1
        elif self._turn is not None and (keys := self._down.get(place)):
            _, key = keys.popleft()
            if key.held_over and at < key.at + TOLERANCE_BEATS * self._ns_per_beat:
                self._turn.drop({key})
                return
            key.released = at
            self._turn.events.append((at, message, key))

    def _set(self, message: mido.Message) -> None:
        """Remember how wheels and controllers stand, for the turn that begins next."""
        key: object = (message.type, message.channel, getattr(message, "control", getattr(message, "note", None)))
        if message.type == "control_change" and message.control in _PARAMETERS:
            key = object()  # they mean something in their order only
        self._settings.pop(key, None)
        self._settings[key] = message
        if len(self._settings) > _MAX_SETTINGS:
            del self._settings[next(iter(self._settings))]


def _strikes(message: mido.Message) -> bool:
    return bool(message.type == "note_on" and message.velocity > 0)


def _nearest(value: Fraction) -> int:
    """The nearest whole number; halves are rounded up."""
    return (value + Fraction(1, 2)).__floor__()
