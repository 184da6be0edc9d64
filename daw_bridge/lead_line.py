"""The lead line of a MIDI clip: of all that plays, the one melody that a model is to hear.

Keys lead, and the pedal fills gaps: as long as a key is down, a note that only the pedal holds does not lead; when none is, the
note that led last goes on until the pedal lets it go. The wheel moves a note's pitch once it has bent it by more than half a
semitone. What plays on channel 10 is drums and never leads; programs are not looked at, so that no part counts as drums because of
its sound. Bars in which nothing plays stay empty.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise

from daw_bridge.midi_clip import DRUM_CHANNEL, MidiClip, Note
from daw_bridge.midi_controls import ChannelControls
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MAX_NOTES, MelodyLine

RULES = "auto, highest, loudest, channel:1 to channel:16"
"""How a line can be chosen, in words."""

MOSTLY_ONE_VOICE = 0.8
"""From this share of its sounding time with a single key down, a part counts as a melody whose notes overlap only in passing."""

_CHANNELS = 16
_COMFORTABLE_PITCH, _PITCH_WIDTH = 74.0, 14.0
_PITCHES_OF_A_MELODY = 5
_SHORTEST_OF_A_BEAT = 16  # a sixty-fourth note

_Leads = Callable[[Note], tuple[int, ...]]
_Segment = tuple[Note, int, int]  # from tick to tick


def lead_line(clip: MidiClip, rule: str = "auto") -> MelodyLine:
    """The melody of a clip, one note at a time, over the clip's whole bars.

    ``highest`` takes the highest key that is down, ``loudest`` the one that was struck hardest (of equals, the newest).
    ``channel:3`` takes the part on that channel, counted from 1 as musicians do. ``auto`` takes the part, one track's notes on
    one channel, that is most like a melody (`Part.melodiousness`). A part that plays mostly one note at a time is followed from
    note to note, a new one taking over from the old where they overlap; of others, the highest key that is down leads (the
    "skyline" of Uitdenbogerd and Zobel, 1999).

    A note shorter than a sixty-fourth is heard as one, or until the next one begins; of notes that begin together, the one that
    the rule prefers stays.

    Args:
        clip: as `daw_bridge.midi_file` reads it.
        rule: one of `RULES`.

    Raises:
        RequestError: about ``lead``: OUT_OF_RANGE (no such rule, a channel on which nothing plays), UNSUPPORTED (the drums'
            channel); about ``path``: EMPTY when only drums play; about ``melody``: see `MelodyLine`.
    """
    channel = _parse(rule)
    end = math.ceil(clip.length_beats * clip.ticks_per_beat)
    # A hit without length on the last bar line is the beginning of a bar that the clip does not have.
    pitched = [note for note in clip.notes if note.channel != DRUM_CHANNEL and note.start_tick < end]
    if not pitched:
        drums = any(note.channel == DRUM_CHANNEL for note in clip.notes)
        found = f"{clip.name}: {'only drums' if drums else 'nothing before its end'}"
        raise RequestError(ErrorCode.EMPTY, "path", found, "a clip with notes outside channel 10")
    if rule == "highest":
        chosen, leads = pitched, _highest
    elif rule == "loudest":
        chosen, leads = pitched, _loudest
    else:
        chosen = _of_channel(pitched, channel) if channel is not None else best_part(pitched, clip.ticks_per_beat)
        leads = _newest if Part.of_notes(chosen, clip.ticks_per_beat).monophony >= MOSTLY_ONE_VOICE else _highest
    controls = ChannelControls(clip.controls)
    segments = _audible(_follow(chosen, leads, controls, end), clip.ticks_per_beat, end)
    notes = islice(_sounding(segments, controls, clip), MAX_NOTES + 1)  # one too many is as bad as all of them
    return MelodyLine.of_seconds(notes, clip.length_seconds)


@dataclass(frozen=True, slots=True)
class Part:
    """What one player's notes are like.

    Attributes:
        monophony: share of the sounding time in which a single key is down, 0 to 1.
        mean_pitch: weighed by how long the notes are.
        activity: in how many of the beats from the first note to the last one begins, 0 to 1.
        pitches: how many different ones.
    """

    monophony: float
    mean_pitch: float
    activity: float
    pitches: int

    @classmethod
    def of_notes(cls, notes: Sequence[Note], ticks_per_beat: int) -> Part:
        """Count; ``notes`` are in order of onset, one at least."""
        steps = [(note.start_tick, 1) for note in notes] + [
            (max(note.end_tick, note.start_tick + 1), -1) for note in notes
        ]
        steps.sort()
        down, before, single, sounding = 0, 0, 0, 0
        for tick, step in steps:
            if down:
                sounding += tick - before
                single += tick - before if down == 1 else 0
            down, before = down + step, tick
        lengths = [max(1, note.end_tick - note.start_tick) for note in notes]
        beats = {note.start_tick // ticks_per_beat for note in notes}
        return cls(
            monophony=single / sounding,
            mean_pitch=sum(note.pitch * length for note, length in zip(notes, lengths, strict=True)) / sum(lengths),
            activity=len(beats) / (max(beats) - min(beats) + 1),
            pitches=len({note.pitch for note in notes}),
        )

    @property
    def melodiousness(self) -> float:
        """How much it is like a melody, 0 to 1: one note at a time, in the register in which tunes are sung and played (around
        D5), with something going on and more than a few different pitches. After the features by which Rizo et al. (2006) tell
        melody tracks from others; the weights are ours.
        """
        register = math.exp(-0.5 * ((self.mean_pitch - _COMFORTABLE_PITCH) / _PITCH_WIDTH) ** 2)
        variety = min(1.0, self.pitches / _PITCHES_OF_A_MELODY)
        return self.monophony * register * math.sqrt(self.activity * variety)


def best_part(notes: Sequence[Note], ticks_per_beat: int) -> list[Note]:
    """The notes of the track and channel that is most like a melody; of equals, the higher one."""
    parts: defaultdict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in notes:
        parts[note.track, note.channel].append(note)

    def rank(part: list[Note]) -> tuple[float, float]:
        counted = Part.of_notes(part, ticks_per_beat)
        return counted.melodiousness, counted.mean_pitch

    return max(parts.values(), key=rank)


def check_rule(rule: str) -> None:
    """Refuse what is no rule.

    Raises:
        RequestError: about ``lead``: OUT_OF_RANGE, UNSUPPORTED (the drums' channel).
    """
    _parse(rule)


def _parse(rule: str) -> int | None:
    """The channel that a rule names, from 0."""
    if rule in ("auto", "highest", "loudest"):
        return None
    name, _, number = rule.partition(":") if isinstance(rule, str) else ("", "", "")
    if name != "channel" or not (number.isascii() and number.isdecimal() and len(number) <= 2):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "lead", rule, RULES)
    channel = int(number) - 1
    if not 0 <= channel < _CHANNELS:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "lead", rule, RULES)
    if channel == DRUM_CHANNEL:
        raise RequestError(ErrorCode.UNSUPPORTED, "lead", rule, "another channel: 10 is drums, which have no melody")
    return channel


def _of_channel(notes: Sequence[Note], channel: int) -> list[Note]:
    chosen = [note for note in notes if note.channel == channel]
    if not chosen:
        playing = ", ".join(f"channel:{number + 1}" for number in sorted({note.channel for note in notes}))
        raise RequestError(ErrorCode.OUT_OF_RANGE, "lead", f"channel:{channel + 1}", playing)
    return chosen


def _highest(note: Note) -> tuple[int, ...]:
    return note.pitch, note.start_tick


def _loudest(note: Note) -> tuple[int, ...]:
    return note.velocity, note.start_tick, note.pitch


def _newest(note: Note) -> tuple[int, ...]:
    return note.start_tick, note.pitch


def _follow(notes: Sequence[Note], leads: _Leads, controls: ChannelControls, end: int) -> list[_Segment]:
    """Who leads when, tick by tick up to ``end``; ``notes`` in order of onset."""
    released = [min(max(note.end_tick, note.start_tick + 1), end) for note in notes]
    faded = [_faded(note, release, controls, end) for note, release in zip(notes, released, strict=True)]
    moments = sorted({*(note.start_tick for note in notes), *released, *faded})
    down: list[tuple[tuple[int, ...], int]] = []
    segments: list[_Segment] = []
    following, leader = 0, -1
    for begins, stops in pairwise(moments):
        while following < len(notes) and notes[following].start_tick <= begins:
            order = tuple(-rank for rank in leads(notes[following]))
            heapq.heappush(down, (order, following))
            following += 1
        while down and released[down[0][1]] <= begins:
            heapq.heappop(down)
        if down:
            leader = down[0][1]
        elif leader < 0 or faded[leader] <= begins:
            leader = -1
            continue
        note = notes[leader]
        if segments and segments[-1][0] is note and segments[-1][2] == begins:
            begins = segments.pop()[1]
        segments.append((note, begins, stops))
    return segments


def _faded(note: Note, release: int, controls: ChannelControls, end: int) -> int:
    up = controls.pedal_up(note.channel, release)
    return end if up is None else min(up, end)


def _audible(segments: list[_Segment], ticks_per_beat: int, end: int) -> list[_Segment]:
    """With notes that are too short prolonged, as far as there is room before the next one."""
    shortest = Fraction(ticks_per_beat, _SHORTEST_OF_A_BEAT)
    nexts = [*(start for _, start, _ in segments[1:]), end]
    return [
        (note, start, max(stop, min(start + math.ceil(shortest), following)))
        for (note, start, stop), following in zip(segments, nexts, strict=True)
    ]


def _sounding(
    segments: list[_Segment], controls: ChannelControls, clip: MidiClip
) -> Iterator[tuple[Fraction, Fraction, int]]:
    """Start and end in seconds and the pitch that the wheel makes of it; a note that is bent further becomes another one."""
    for note, start, stop in segments:
        shifts = controls.shifts(note.channel, start, stop)
        for (tick, shift), following in zip(shifts, [*(tick for tick, _ in shifts[1:]), stop], strict=True):
            begins, ends = clip.tempo_map.seconds_at(tick), clip.tempo_map.seconds_at(following)
            yield begins, min(ends, clip.length_seconds), min(max(note.pitch + shift, 0), 127)
