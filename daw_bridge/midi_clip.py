"""A MIDI clip as input: its notes in exact musical time, and what can be said about it in words."""

from __future__ import annotations

import io
import math
import os
import re
import struct
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import mido

from audio_files.locations import locate_file
from daw_bridge.midi_controls import Control
from protocols.errors import ErrorCode, RequestError

MAX_NOTES = 50_000
MAX_CLIP_SECONDS = 3600.0
# mido turns every event into an object; this keeps a hostile file to a few seconds and some hundred megabytes.
MAX_FILE_BYTES = 2**20
DRUM_CHANNEL = 9
KEY_CONFIDENCE_TO_NAME = 0.7

_Span = tuple[int, int, int, int, int, int]  # start, pitch, channel, end, velocity, track

_MICROSECONDS = 1_000_000
_DEFAULT_TEMPO = 500_000
# A release or an end mark this little past a bar line belongs to the bar before.
_BAR_TOLERANCE_BEATS = Fraction(1, 32)
# mido reads a variable-length number of any length, in time that grows with its square.
_ENDLESS_NUMBER = re.compile(rb"[\x80-\xff]{4096}")

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
    """A MIDI clip, read whole.

    Attributes:
        path: the file, absolute and free of links.
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
    """

    path: Path
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


def read_midi_clip(
    path: str | os.PathLike[str],
    *,
    allowed_folders: Sequence[str | os.PathLike[str]] | None,
    max_notes: int = MAX_NOTES,
    max_seconds: float = MAX_CLIP_SECONDS,
) -> MidiClip:
    """Read a standard MIDI file of type 0 or 1 as one clip.

    Tracks are merged. A note-on with velocity 0 is a release. Of several notes of one pitch that overlap on one
    channel of a track, the oldest is released first; notes never released end with the clip. The sustain pedal
    prolongs no note here. A time signature that changes inside a bar starts a new bar. Data bytes over 127 count as 127.

    Args:
        path: the file, at most 1 MiB.
        allowed_folders: where it may lie; empty allows nothing, None everything (see ``locate_file``).
        max_notes: the most notes that are accepted.
        max_seconds: the longest clip that is accepted.

    Raises:
        RequestError: about ``path``: see ``locate_file``; NOT_MIDI; UNSUPPORTED (type 2, SMPTE time); MALFORMED (cut
            short, damaged, no ticks per beat, an impossible time signature); OUT_OF_RANGE (a tempo of 0); EMPTY (no
            notes); TOO_LARGE (bytes or notes); TOO_LONG.
    """
    location = locate_file(path, allowed_folders)
    refuse = _Refusal(location.name)
    ticks_per_beat, tracks = _parse(_read_bounded(location, refuse), refuse)
    events = _Events(refuse, max_notes)
    for track in tracks:
        events.add(track)
    events.close_hanging()
    if not events.spans:
        raise refuse(ErrorCode.EMPTY, "", "a clip with notes in it")
    tempo_map = TempoMap(ticks_per_beat, sorted(events.tempos, key=_first))
    content = max(events.end_tick, 1)
    if tempo_map.seconds_at(content) > Fraction(max_seconds):
        # The length itself may be more than a float can hold.
        raise refuse(ErrorCode.TOO_LONG, f"over {max_seconds:g} s", f"a clip of at most {max_seconds:g} s")
    signatures = _time_signatures(events.signatures, content)
    notes = tuple(_timed_notes(events.spans, tempo_map))
    bars, length_beats = _whole_bars(signatures, content, notes[-1].start_tick, ticks_per_beat)
    return MidiClip(
        path=location,
        ticks_per_beat=ticks_per_beat,
        notes=notes,
        controls=tuple(sorted(events.controls, key=lambda control: control.tick)),
        tempo_map=tempo_map,
        time_signatures=signatures,
        key_signature=min(events.keys, key=_first)[1] if events.keys else None,
        estimated_key=estimate_key(notes),
        content_ticks=content,
        bar_count=bars,
        length_beats=length_beats,
        length_seconds=tempo_map.seconds_at(length_beats * ticks_per_beat),
        drum_share=sum(note.channel == DRUM_CHANNEL for note in notes) / len(notes),
    )


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


class _Refusal:
    """Makes the errors of one file, each naming it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, code: ErrorCode, found: str, allowed: str) -> RequestError:
        return RequestError(code, "path", f"{self._name}: {found}" if found else self._name, allowed)


class _Events:
    """Collects, track by track, what a clip is made of. Ticks count from the start of the file."""

    def __init__(self, refuse: _Refusal, max_notes: int) -> None:
        self.spans: list[_Span] = []
        self.controls: list[Control] = []
        self.tempos: list[tuple[int, int]] = []
        self.signatures: list[tuple[int, int, int]] = []
        self.keys: list[tuple[int, str]] = []
        self._refuse = refuse
        self._max_notes = max_notes
        self._ends: list[int] = []
        self._hanging: list[tuple[int, int, int, int, int]] = []  # start, pitch, channel, velocity, track
        self._started = 0

    @property
    def end_tick(self) -> int:
        return max(self._ends, default=0)

    def add(self, track: mido.MidiTrack) -> None:
        sounding: defaultdict[tuple[int, int], deque[tuple[int, int]]] = defaultdict(deque)
        tick = 0
        for message in track:
            tick += message.time
            match message.type:
                case "note_on" if message.velocity > 0:
                    self._count_note()
                    sounding[message.channel, message.note].append((tick, message.velocity))
                case "note_on" | "note_off":
                    if started := sounding[message.channel, message.note]:
                        start, velocity = started.popleft()
                        self.spans.append((start, message.note, message.channel, tick, velocity, len(self._ends)))
                case "control_change" | "pitchwheel":
                    if (control := Control.of_message(tick, message)) is not None:
                        self.controls.append(control)
                case "set_tempo":
                    self._add_tempo(tick, message.tempo)
                case "time_signature":
                    self._add_signature(tick, message.numerator, message.denominator)
                case "key_signature":
                    mode = "minor" if message.key.endswith("m") else "major"
                    self.keys.append((tick, f"{message.key.removesuffix('m')} {mode}"))
                case "end_of_track":
                    break
        for (channel, pitch), started in sounding.items():
            self._hanging.extend((start, pitch, channel, velocity, len(self._ends)) for start, velocity in started)
        self._ends.append(tick)

    def close_hanging(self) -> None:
        """End the notes that were never released, once the end of the longest track is known."""
        for start, pitch, channel, velocity, track in self._hanging:
            self.spans.append((start, pitch, channel, self.end_tick, velocity, track))
        self._hanging.clear()

    def _count_note(self) -> None:
        self._started += 1
        if self._started > self._max_notes:
            raise self._refuse(ErrorCode.TOO_LARGE, "more notes", f"at most {self._max_notes} notes")

    def _add_tempo(self, tick: int, tempo: int) -> None:
        if tempo <= 0:
            raise self._refuse(ErrorCode.OUT_OF_RANGE, f"tempo of 0 µs per beat at tick {tick}", "a tempo over 0")
        self.tempos.append((tick, tempo))

    def _add_signature(self, tick: int, numerator: int, denominator: int) -> None:
        if numerator < 1 or denominator > 64:
            found = f"time signature {numerator}/{denominator} at tick {tick}"
            raise self._refuse(ErrorCode.MALFORMED, found, "1/1 to 255/64")
        self.signatures.append((tick, numerator, denominator))


def _read_bounded(location: Path, refuse: _Refusal) -> bytes:
    with location.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise refuse(ErrorCode.TOO_LARGE, f"over {MAX_FILE_BYTES} bytes", f"a clip of at most {MAX_FILE_BYTES} bytes")
    return data


def _parse(data: bytes, refuse: _Refusal) -> tuple[int, list[mido.MidiTrack]]:
    """Ticks per beat and tracks of a file whose frame of chunks is checked first, so that each fault has its name."""
    if not data.startswith(b"MThd"):
        raise refuse(ErrorCode.NOT_MIDI, "", "a standard MIDI file")
    if len(data) < 14:
        raise refuse(ErrorCode.MALFORMED, "its header is cut short", "a whole MIDI file")
    header_size, kind, declared, division = struct.unpack(">IHHH", data[4:14])
    if header_size < 6:
        raise refuse(ErrorCode.MALFORMED, f"a header of {header_size} bytes", "a header of 6 bytes")
    if kind not in (0, 1):
        raise refuse(ErrorCode.UNSUPPORTED, f"MIDI file type {kind}", "type 0 or 1, whose tracks play together")
    if division & 0x8000:
        raise refuse(ErrorCode.UNSUPPORTED, "SMPTE time division", "ticks per beat")
    if division == 0:
        raise refuse(ErrorCode.MALFORMED, "0 ticks per beat", "1 to 32767 ticks per beat")
    chunks = list(_track_chunks(data, 8 + header_size, declared, refuse))
    if len(chunks) < declared:
        raise refuse(ErrorCode.MALFORMED, f"cut short, {len(chunks)} of {declared} tracks", "a whole MIDI file")
    rebuilt = struct.pack(">4sIHHH", b"MThd", 6, kind, len(chunks), division) + b"".join(chunks)
    try:
        return division, mido.MidiFile(file=io.BytesIO(rebuilt), clip=True).tracks
    except Exception as error:  # mido meets damaged events with exceptions of any kind
        reason = str(error) or type(error).__name__
        raise refuse(ErrorCode.MALFORMED, f"a damaged track ({reason})", "a whole MIDI file") from error


def _track_chunks(data: bytes, position: int, declared: int, refuse: _Refusal) -> Iterator[bytes]:
    """The file's first ``declared`` track chunks, each with its header; chunks of other kinds are passed over."""
    found = 0
    while found < declared and position + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, position)
        end = position + 8 + size
        if end > len(data):
            missing = f"cut short, {end - len(data)} bytes of track {found + 1} are missing"
            raise refuse(ErrorCode.MALFORMED, missing, "a whole MIDI file")
        if name == b"MTrk":
            chunk = data[position:end]
            if _ENDLESS_NUMBER.search(chunk):
                raise refuse(ErrorCode.MALFORMED, f"damaged numbers in track {found + 1}", "a whole MIDI file")
            found += 1
            yield chunk
        position = end


def _timed_notes(spans: list[_Span], tempo_map: TempoMap) -> Iterator[Note]:
    per_beat = tempo_map.ticks_per_beat
    for start, pitch, channel, end, velocity, track in sorted(spans):
        yield Note(
            start_tick=start,
            end_tick=end,
            start_beats=Fraction(start, per_beat),
            end_beats=Fraction(end, per_beat),
            start_seconds=tempo_map.seconds_at(start),
            end_seconds=tempo_map.seconds_at(end),
            pitch=pitch,
            velocity=velocity,
            channel=channel,
            track=track,
        )


def _time_signatures(found: list[tuple[int, int, int]], content: int) -> tuple[TimeSignature, ...]:
    by_tick = {0: (4, 4)}
    for tick, numerator, denominator in sorted(found, key=_first):
        if tick < content:
            by_tick[tick] = (numerator, denominator)
    return tuple(TimeSignature(tick, *meter) for tick, meter in by_tick.items())


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


def _first(event: tuple[int, ...] | tuple[int, str]) -> int:
    return int(event[0])
