"""A MIDI clip: its notes in exact musical time, and what can be said about it in words. `daw_bridge.midi_file` reads one."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from daw_bridge.midi_controls import Control

DRUM_CHANNEL = 9
KEY_CONFIDENCE_TO_NAME = 0.7

_MICROSECONDS = 1_000_000
_DEFAULT_TEMPO = 500_000
# A release or an end mark this little past a bar line belongs to the bar before.
_BAR_TOLERANCE_BEATS = Fraction(1, 32)

# Probe-tone ratings of Krumhansl and Kessler (1982), as used for key finding in Krumhansl,
# Cognitive Foundations of Musical Pitch (1990), chapter 4.
_MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_MAJOR_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")


@dataclass(frozen=True, slots=True)
class Note:
    """One note. Times are exact; a beat is a quarter note.

    Attributes:
        start_tick: onset, in ticks of the clip.
        end_tick: release; equal to the onset for a hit without length.
        start_beats: onset in beats.
        end_beats: release in beats.
        start_seconds: onset in seconds, by the tempo map.
        end_seconds: release in seconds.
        pitch: 0 to 127, 60 is middle C.
        velocity: 1 to 127.
        channel: 0 to 15; 9 is drums in General MIDI.
        track: of the file, 0 is the first.
    """

    start_tick: int
    end_tick: int
    start_beats: Fraction
    end_beats: Fraction
    start_seconds: Fraction
    end_seconds: Fraction
    pitch: int
    velocity: int
    channel: int
    track: int = 0


@dataclass(frozen=True, slots=True)
class TempoChange:
    """A tempo from a tick on; ``seconds`` is when that tick sounds."""

    tick: int
    seconds: Fraction
    microseconds_per_beat: int

    @property
    def bpm(self) -> Fraction:
        """Quarter notes per minute."""
        return Fraction(60 * _MICROSECONDS, self.microseconds_per_beat)


@dataclass(frozen=True, slots=True)
class TimeSignature:
    """A time signature from a tick on; its bars are counted from there."""

    tick: int
    numerator: int
    denominator: int

    @property
    def bar_beats(self) -> Fraction:
        """Quarter notes in a bar."""
        return Fraction(4 * self.numerator, self.denominator)

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


class TempoMap:
    """Exact seconds for every tick of a clip.

    Args:
        ticks_per_beat: ticks in a quarter note.
        tempos: pairs of tick and microseconds per beat in rising order of ticks; of several at one tick the last
            counts. Before the first one the tempo is 120 bpm, as the MIDI file standard says.
    """

    def __init__(self, ticks_per_beat: int, tempos: Iterable[tuple[int, int]]) -> None:
        self.ticks_per_beat = ticks_per_beat
        elapsed = 0  # in microseconds times ticks_per_beat, so that the sum stays an integer
        by_tick = {0: _DEFAULT_TEMPO} | dict(tempos)
        changes: list[TempoChange] = []
        for tick, tempo in by_tick.items():
            if changes:
                last = changes[-1]
                elapsed += (tick - last.tick) * last.microseconds_per_beat
            changes.append(TempoChange(tick, Fraction(elapsed, ticks_per_beat * _MICROSECONDS), tempo))
        self.changes = tuple(changes)
        self._ticks = [change.tick for change in changes]

    def seconds_at(self, tick: int | Fraction) -> Fraction:
        """When a tick sounds, in seconds from the start of the clip."""
        change = self.changes[max(0, bisect_right(self._ticks, tick) - 1)]
        ahead = (tick - change.tick) * change.microseconds_per_beat
        return change.seconds + Fraction(ahead, self.ticks_per_beat * _MICROSECONDS)

    def __repr__(self) -> str:
        return f"TempoMap({self.ticks_per_beat}, {[(c.tick, c.microseconds_per_beat) for c in self.changes]})"


@dataclass(frozen=True, slots=True)
class KeyEstimate:
    """A key found from the notes.

    Attributes:
        tonic: pitch class, 0 is C.
        mode: "major" or "minor".
        confidence: correlation of the clip's pitch classes with the key's profile, 0 to 1; a clear melody has over 0.8.
    """

    tonic: int
    mode: Literal["major", "minor"]
    confidence: float

    @property
    def name(self) -> str:
        """Such as "A minor"."""
        return f"{(_MAJOR_NAMES if self.mode == 'major' else _MINOR_NAMES)[self.tonic]} {self.mode}"


@dataclass(frozen=True, slots=True)
class MidiClip:
    """A MIDI clip, whole.

    Attributes:
        name: what errors call it: the file's name, for one that was read.
        ticks_per_beat: ticks in a quarter note.
        notes: in order of onset, then pitch.
        controls: wheel and pedal, in order; see `daw_bridge.midi_controls`.
        tempo_map: exact seconds for ticks.
        time_signatures: in order; the first is at tick 0 (4/4 where the file says nothing).
        key_signature: the first one written in the file, such as "A minor"; None when there is none.
        estimated_key: from the pitches (see ``estimate_key``); None when nothing but drums plays.
        content_ticks: the end of the last note or of the longest track, whichever is later.
        bar_count: whole bars that hold the content.
        length_beats: length of those bars in beats.
        length_seconds: length of those bars in seconds, by the tempo map.
        drum_share: share of the notes on the drum channel, 0 to 1.
        channel_messages: what else a synthesiser is told (instruments, controllers, wheels), as ticks and MIDI bytes, in order.
    """

    name: str
    ticks_per_beat: int
    notes: tuple[Note, ...] = field(repr=False)
    controls: tuple[Control, ...] = field(repr=False)
    tempo_map: TempoMap
    time_signatures: tuple[TimeSignature, ...]
    key_signature: str | None
    estimated_key: KeyEstimate | None
    content_ticks: int
    bar_count: int
    length_beats: Fraction
    length_seconds: Fraction
    drum_share: float
    channel_messages: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)

    @classmethod
    def of_notes(
        cls,
        name: str,
        notes: Sequence[Note],
        tempo_map: TempoMap,
        *,
        controls: Sequence[Control] = (),
        channel_messages: Sequence[tuple[int, bytes]] = (),
        time_signatures: Sequence[TimeSignature] = (TimeSignature(0, 4, 4),),
        key_signature: str | None = None,
        content_ticks: int,
    ) -> MidiClip:
        """A clip of these notes (one at least, in order of onset), with everything that follows from them."""
        ticks_per_beat = tempo_map.ticks_per_beat
        bars, length_beats = _whole_bars(time_signatures, content_ticks, notes[-1].start_tick, ticks_per_beat)
        return cls(
            name=name,
            ticks_per_beat=ticks_per_beat,
            notes=tuple(notes),
            controls=tuple(sorted(controls, key=lambda control: control.tick)),
            tempo_map=tempo_map,
            time_signatures=tuple(time_signatures),
            key_signature=key_signature,
            estimated_key=estimate_key(notes),
            content_ticks=content_ticks,
            bar_count=bars,
            length_beats=length_beats,
            length_seconds=tempo_map.seconds_at(length_beats * ticks_per_beat),
            drum_share=sum(note.channel == DRUM_CHANNEL for note in notes) / len(notes),
            channel_messages=tuple(sorted(channel_messages, key=lambda message: message[0])),
        )

    def lasting(self, beats: Fraction) -> MidiClip:
        """The clip with another length than its whole bars."""
        return replace(self, length_beats=beats, length_seconds=self.tempo_map.seconds_at(beats * self.ticks_per_beat))

    @property
    def mean_bpm(self) -> Fraction:
        """Quarter notes per minute over the whole length."""
        return 60 * self.length_beats / self.length_seconds

    @property
    def beat_bpm(self) -> Fraction:
        """Beats per minute as musicians count them: in 6/8 and its kin the dotted quarter is the beat. By the first signature."""
        sign = self.time_signatures[0]
        compound = sign.denominator == 8 and sign.numerator > 3 and sign.numerator % 3 == 0
        return self.mean_bpm * Fraction(2, 3) if compound else self.mean_bpm

    @property
    def key(self) -> str:
        """The key as written, else as estimated when that is clear, such as "A minor"; empty when it is not known."""
        if self.key_signature is not None:
            return self.key_signature
        estimate = self.estimated_key
        return estimate.name if estimate is not None and estimate.confidence >= KEY_CONFIDENCE_TO_NAME else ""

    def describe(self) -> str:
        """The clip in words for a prompt or a log, such as "120 bpm, 4/4, A minor (estimated)"."""
        words = [self._tempo_words(), " then ".join(dict.fromkeys(str(sign) for sign in self.time_signatures[:4]))]
        if self.key:
            words.append(self.key if self.key_signature is not None else f"{self.key} (estimated)")
        if self.drum_share > 0.0:
            words.append("drums" if self.drum_share == 1.0 else "with drums")
        return ", ".join(words)

    def _tempo_words(self) -> str:
        end = self.length_beats * self.ticks_per_beat
        heard = [change.bpm for change in self.tempo_map.changes if change.tick < end]
        mean = f"{_short(self.mean_bpm)} bpm"
        low, high = _short(min(heard)), _short(max(heard))
        return mean if low == high else f"about {mean} ({low} to {high})"


def estimate_key(notes: Iterable[Note]) -> KeyEstimate | None:
    """The key whose probe-tone profile fits the notes best, weighed by how long each pitch class sounds.

    The method is Krumhansl and Schmuckler's (Krumhansl 1990). Drums are left out.

    Returns:
        None when no pitched note is there or every pitch class sounds equally long.
    """
    sounding = [0.0] * 12
    for note in notes:
        if note.channel != DRUM_CHANNEL:
            sounding[note.pitch % 12] += max(1, note.end_tick - note.start_tick)
    if math.isclose(min(sounding), max(sounding)):
        return None
    estimates = []
    for tonic in range(12):
        rotated = sounding[tonic:] + sounding[:tonic]
        estimates.append(KeyEstimate(tonic, "major", max(0.0, _correlation(rotated, _MAJOR_PROFILE))))
        estimates.append(KeyEstimate(tonic, "minor", max(0.0, _correlation(rotated, _MINOR_PROFILE))))
    return max(estimates, key=lambda estimate: estimate.confidence)


def _whole_bars(
    signatures: Sequence[TimeSignature], content: int, last_onset: int, ticks_per_beat: int
) -> tuple[int, Fraction]:
    """How many bars hold the content, and their length in beats."""
    bars = 0
    for sign, following in pairwise(signatures):
        bars += math.ceil(Fraction(following.tick - sign.tick, ticks_per_beat) / sign.bar_beats)
    sign = signatures[-1]
    beats = Fraction(content - sign.tick, ticks_per_beat)
    whole, overhang = divmod(beats, sign.bar_beats)
    line = sign.tick + whole * sign.bar_beats * ticks_per_beat
    if overhang > _BAR_TOLERANCE_BEATS or whole == 0 or (overhang and last_onset >= line):
        whole += 1
    return bars + whole, Fraction(sign.tick, ticks_per_beat) + whole * sign.bar_beats


def _correlation(values: Sequence[float], profile: Sequence[float]) -> float:
    mean_value, mean_profile = sum(values) / len(values), sum(profile) / len(profile)
    value_parts = [value - mean_value for value in values]
    profile_parts = [weight - mean_profile for weight in profile]
    product = sum(a * b for a, b in zip(value_parts, profile_parts, strict=True))
    return product / math.sqrt(sum(a * a for a in value_parts) * sum(b * b for b in profile_parts))


def _short(bpm: Fraction) -> str:
    return f"{float(bpm):.1f}".removesuffix(".0")
