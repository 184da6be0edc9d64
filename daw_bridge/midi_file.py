"""Standard MIDI files, read as clips; each fault of a file has its name."""

from __future__ import annotations

import io
import os
import re
import struct
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import mido

from audio_files.locations import locate_file
from daw_bridge.midi_clip import MidiClip, Note, TempoMap, TimeSignature
from daw_bridge.midi_controls import Control
from protocols.errors import ErrorCode, RequestError

MAX_NOTES = 50_000
MAX_CLIP_SECONDS = 3600.0
# mido turns every event into an object; this keeps a hostile file to a few seconds and some hundred megabytes.
MAX_FILE_BYTES = 2**20

_Span = tuple[int, int, int, int, int, int]  # start, pitch, channel, end, velocity, track

# mido reads a variable-length number of any length, in time that grows with its square.
_ENDLESS_NUMBER = re.compile(rb"[\x80-\xff]{4096}")


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
    return _clip(location.name, ticks_per_beat, tracks, refuse, max_notes, max_seconds)


def clip_of_tracks(name: str, ticks_per_beat: int, tracks: Iterable[mido.MidiTrack]) -> MidiClip:
    """Tracks as they stand in a file, as one clip.

    Raises:
        RequestError: as `read_midi_clip`.
    """
    return _clip(name, ticks_per_beat, tracks, _Refusal(name), MAX_NOTES, MAX_CLIP_SECONDS)


def _clip(
    name: str,
    ticks_per_beat: int,
    tracks: Iterable[mido.MidiTrack],
    refuse: _Refusal,
    max_notes: int,
    max_seconds: float,
) -> MidiClip:
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
    return MidiClip.of_notes(
        name,
        tuple(_timed_notes(events.spans, tempo_map)),
        tempo_map,
        controls=events.controls,
        channel_messages=events.channel_messages,
        time_signatures=signatures,
        key_signature=min(events.keys, key=_first)[1] if events.keys else None,
        content_ticks=content,
    )


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
        self.channel_messages: list[tuple[int, bytes]] = []
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
                case "program_change" | "aftertouch" | "polytouch":
                    self.channel_messages.append((tick, message.bin()))
                case "control_change" | "pitchwheel":
                    self.channel_messages.append((tick, message.bin()))
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


def _first(event: tuple[int, ...] | tuple[int, str]) -> int:
    return int(event[0])
