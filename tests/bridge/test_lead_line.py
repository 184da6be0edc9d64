"""The lead line of a clip: known tunes come out as they are, and whatever the clip, the line is one note at a time."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daw_bridge.lead_line import Part, best_part, lead_line
from daw_bridge.midi_clip import MidiClip
from daw_bridge.midi_file import MAX_NOTES, read_midi_clip
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine

PER_BEAT = 480
BEAT = Fraction(1, 2)
"""Seconds, at 120 bpm."""
DRUMS = 9
# (absolute tick, message)
Event = tuple[int, mido.Message | mido.MetaMessage]


def played(start: float, end: float, pitch: int, channel: int = 0, velocity: int = 80) -> list[Event]:
    """A note from beat to beat."""
    on = mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)
    off = mido.Message("note_off", note=pitch, channel=channel)
    return [(round(start * PER_BEAT), on), (round(end * PER_BEAT), off)]


def control(beat: float, number: int, value: int, channel: int = 0) -> Event:
    return round(beat * PER_BEAT), mido.Message("control_change", control=number, value=value, channel=channel)


def pedal(beat: float, down: bool, channel: int = 0) -> Event:
    return control(beat, 64, 127 if down else 0, channel)


def wheel(beat: float, position: float, channel: int = 0) -> Event:
    """From -1, all the way down, to 1, all the way up."""
    pitch = min(round(position * 8192), 8191)
    return round(beat * PER_BEAT), mido.Message("pitchwheel", pitch=pitch, channel=channel)


def bend_range(beat: float, semitones: int, cents: int = 0, channel: int = 0) -> list[Event]:
    values = ((101, 0), (100, 0), (6, semitones), (38, cents), (101, 127), (100, 127))
    return [control(beat, number, value, channel) for number, value in values]


def tempo(beat: float, bpm: float) -> Event:
    return round(beat * PER_BEAT), mido.MetaMessage("set_tempo", tempo=round(60_000_000 / bpm))


def encode(*tracks: list[Event], per_beat: int = PER_BEAT) -> bytes:
    file = mido.MidiFile(type=1, ticks_per_beat=per_beat)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def read(folder: Path, content: bytes) -> MidiClip:
    path = folder / "clip.mid"
    path.write_bytes(content)
    return read_midi_clip(path, allowed_folders=[folder])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def heard(line: MelodyLine, beat: Fraction = BEAT) -> list[tuple[Any, Any, int]]:
    """Start and end in beats, and pitch."""
    return [(note.start / (line.rate * beat), note.end / (line.rate * beat), note.pitch) for note in line.notes]


def line_of(folder: Path, *tracks: list[Event], rule: str = "auto") -> list[tuple[Any, Any, int]]:
    return heard(lead_line(read(folder, encode(*tracks)), rule))


def refusal(code: ErrorCode, field: str, clip: MidiClip, rule: str = "auto") -> RequestError:
    with pytest.raises(RequestError) as caught:
        lead_line(clip, rule)
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.text
    assert caught.value.allowed
    return caught.value


TUNE = [*played(0, 1, 60), *played(1, 2, 64), *played(2.5, 4, 67)]


@pytest.mark.parametrize("rule", ["auto", "highest", "loudest", "channel:1"])
def test_a_tune_is_its_own_lead(folder: Path, rule: str) -> None:
    assert line_of(folder, TUNE, rule=rule) == [(0, 1, 60), (1, 2, 64), (2.5, 4, 67)]


def test_the_line_is_as_long_as_the_clips_bars_and_empty_bars_stay(folder: Path) -> None:
    clip = read(folder, encode([*played(5, 6, 60), (12 * PER_BEAT, mido.MetaMessage("end_of_track"))]))
    line = lead_line(clip)
    assert (line.seconds, heard(line)) == (12 * BEAT, [(5, 6, 60)])


def test_the_rules_differ_where_notes_sound_together(folder: Path) -> None:
    high, low = played(0, 4, 72, 0, 60), [*played(0, 1, 48, 1, 50), *played(1, 2, 50, 1, 100), *played(2, 4, 52, 1, 40)]
    assert line_of(folder, high, low, rule="highest") == [(0, 4, 72)]
    assert line_of(folder, high, low, rule="loudest") == [(0, 1, 72), (1, 2, 50), (2, 4, 72)]
    assert line_of(folder, high, low, rule="channel:2") == [(0, 1, 48), (1, 2, 50), (2, 4, 52)]


def test_overlapping_notes_of_a_tune_are_legato_and_of_chords_the_highest_leads(folder: Path) -> None:
    legato = [*played(0, 1.1, 67), *played(1, 2.1, 64), *played(2, 3, 65)]
    assert line_of(folder, legato) == [(0, 1, 67), (1, 2, 64), (2, 3, 65)]
    assert line_of(folder, legato, rule="highest") == [(0, Fraction(11, 10), 67), (Fraction(11, 10), 2, 64), (2, 3, 65)]
    chords = [event for pitch in (60, 64, 67) for event in played(0, 2, pitch)] + [*played(1, 3, 62), *played(2, 4, 65)]
    assert line_of(folder, chords) == [(0, 2, 67), (2, 4, 65)]


def test_the_same_note_struck_again_is_two_notes(folder: Path) -> None:
    assert line_of(folder, [*played(0, 1, 60), *played(1, 2, 60)]) == [(0, 1, 60), (1, 2, 60)]


def test_auto_finds_the_tune_among_bass_chords_and_drums(folder: Path) -> None:
    tune = [event for beat in range(16) for event in played(beat, beat + 0.9, (72, 74, 76, 79, 77, 74)[beat % 6])]
    bass = [event for beat in range(16) for event in played(beat, beat + 0.9, (36, 38, 43, 40, 41)[beat % 5], 1, 110)]
    pad = [event for bar in range(4) for pitch in (79, 84, 88) for event in played(4 * bar, 4 * bar + 4, pitch, 2)]
    kit = [event for beat in range(16) for event in played(beat, beat + 0.1, 42, DRUMS, 127)]
    expected = [pitch for _, _, pitch in line_of(folder, tune)]
    for order in ((tune, bass, pad, kit), (kit, pad, bass, tune)):
        assert [pitch for _, _, pitch in line_of(folder, *order)] == expected
        merged = [event for track in order for event in track]
        assert [pitch for _, _, pitch in line_of(folder, merged)] == expected


def test_tracks_on_one_channel_are_parts_of_their_own(folder: Path) -> None:
    bass = [event for beat in range(8) for event in played(beat, beat + 1, 36 + beat)]
    tune = [event for beat in range(8) for event in played(beat, beat + 1, 72 + beat)]
    clip = read(folder, encode(bass, tune))
    assert {note.track for note in best_part(clip.notes, PER_BEAT)} == {1}


def test_parts_are_counted() -> None:
    assert Part(1.0, 74.0, 1.0, 5).melodiousness == 1.0
    for worse in (Part(0.5, 74.0, 1.0, 5), Part(1.0, 36.0, 1.0, 5), Part(1.0, 74.0, 0.3, 5), Part(1.0, 74.0, 1.0, 1)):
        assert worse.melodiousness < 0.7


def test_programs_make_no_drums_of_a_part(folder: Path) -> None:
    change = (0, mido.Message("program_change", program=115, channel=0))
    assert line_of(folder, [change, *TUNE]) == line_of(folder, TUNE)


def test_drums_never_lead(folder: Path) -> None:
    kit = [event for beat in range(4) for event in played(beat, beat + 1, 100, DRUMS, 127)]
    for rule in ("auto", "highest", "loudest"):
        assert line_of(folder, TUNE, kit, rule=rule) == line_of(folder, TUNE)


def test_the_pedal_holds_until_it_goes_up_or_a_key_goes_down(folder: Path) -> None:
    assert line_of(folder, [pedal(0, True), *played(0, 1, 60), pedal(3, False)]) == [(0, 3, 60)]
    assert line_of(folder, [pedal(0, True), *played(0, 1, 60), *played(2, 4, 64)]) == [(0, 2, 60), (2, 4, 64)]
    down_late = [
        *played(0, 1, 60),
        pedal(1.5, True),
        *played(2, 3, 64),
        (4 * PER_BEAT, mido.MetaMessage("end_of_track")),
    ]
    assert line_of(folder, down_late) == [(0, 1, 60), (2, 4, 64)]
    never_up = [pedal(0, True), *played(0, 1, 60), (8 * PER_BEAT, mido.MetaMessage("end_of_track"))]
    assert line_of(folder, never_up) == [(0, 8, 60)]
    other_channel = [pedal(0, True, 3), *played(0, 1, 60)]
    assert line_of(folder, other_channel) == [(0, 1, 60)]
    reset = [pedal(0, True), *played(0, 1, 60), control(2, 121, 0)]
    assert line_of(folder, reset) == [(0, 2, 60)]


def test_a_falling_tune_on_the_pedal_does_not_stick_to_its_highest_note(folder: Path) -> None:
    tune = [pedal(0, True), *played(0, 0.5, 72), *played(1, 1.5, 69), *played(2, 2.5, 65), pedal(4, False)]
    for rule in ("auto", "highest"):
        assert line_of(folder, tune, rule=rule) == [(0, 1, 72), (1, 2, 69), (2, 4, 65)]


def test_the_wheel_moves_the_pitch_when_it_passes_half_a_semitone(folder: Path) -> None:
    long = played(0, 4, 60)
    assert line_of(folder, [*long, wheel(1, 0.25)]) == [(0, 4, 60)], "exactly half"
    assert line_of(folder, [*long, wheel(1, 0.26)]) == [(0, 1, 60), (1, 4, 61)]
    assert line_of(folder, [*long, wheel(1, 1)]) == [(0, 1, 60), (1, 4, 62)]
    assert line_of(folder, [*long, wheel(1, -1), wheel(2, 0)]) == [(0, 1, 60), (1, 2, 58), (2, 4, 60)]
    assert line_of(folder, [*long, wheel(1, 1, 5)]) == [(0, 4, 60)], "another channel's"
    slide = [wheel(1 + step / 16, step / 16) for step in range(17)]
    assert [pitch for _, _, pitch in line_of(folder, [*long, *slide])] == [60, 61, 62]


def test_the_wheels_range_is_the_registered_parameter(folder: Path) -> None:
    long = played(0, 4, 60)
    assert line_of(folder, [*bend_range(0, 12), *long, wheel(1, 1)]) == [(0, 1, 60), (1, 4, 72)]
    assert line_of(folder, [*bend_range(0, 0, 40), *long, wheel(1, 1)]) == [(0, 4, 60)]
    assert line_of(folder, [*bend_range(0, 0, 60), *long, wheel(1, -1)]) == [(0, 1, 60), (1, 4, 59)]
    unselected = [*bend_range(0, 2), control(0, 6, 24), *long, wheel(1, 1)]
    assert line_of(folder, unselected) == [(0, 1, 60), (1, 4, 62)]
    other_kind = [control(0, 101, 0), control(0, 100, 0), control(0, 99, 0), control(0, 98, 0), control(0, 6, 24)]
    assert line_of(folder, [*other_kind, *long, wheel(1, 1)]) == [(0, 1, 60), (1, 4, 62)]


def test_bent_notes_stay_on_the_keyboard(folder: Path) -> None:
    assert line_of(folder, [*bend_range(0, 24), wheel(0, 1), *played(0, 1, 120)]) == [(0, 1, 127)]


def test_hits_without_length_are_heard(folder: Path) -> None:
    hits = [*played(0, 0, 60), *played(1, 1, 64), *played(1 + 1 / 32, 2, 65)]
    assert line_of(folder, hits, rule="channel:1") == [
        (0, Fraction(1, 16), 60),
        (1, 1 + Fraction(1, 32), 64),
        (1 + Fraction(1, 32), 2, 65),
    ]


def test_a_hit_on_the_last_bar_line_is_not_in_the_clip(folder: Path) -> None:
    assert line_of(folder, [*played(0, 1, 60), *played(4, 4, 64)]) == [(0, 1, 60)]
    error = refusal(ErrorCode.EMPTY, "path", read(folder, encode(played(4, 4, 64))))
    assert error.value == "clip.mid: nothing before its end"


def test_times_follow_the_tempo_map(folder: Path) -> None:
    line = lead_line(read(folder, encode([tempo(0, 120), *TUNE, tempo(2, 60)])))
    spans = [(Fraction(note.start, line.rate), Fraction(note.end, line.rate)) for note in line.notes]
    assert spans == [(0, Fraction(1, 2)), (Fraction(1, 2), 1), (Fraction(3, 2), 3)]
    assert line.seconds == 3


def test_every_tempo_is_kept_exactly(folder: Path) -> None:
    clip = read(folder, encode([tempo(0, 97), tempo(1.37, 131.3), tempo(3, 71.9), *TUNE]))
    line = lead_line(clip)
    assert line.seconds == clip.length_seconds
    starts = {Fraction(note.start, line.rate) for note in line.notes}
    assert starts == {note.start_seconds for note in clip.notes}


@pytest.mark.parametrize(
    "rule", ["", "lowest", "channel", "channel:", "channel:0", "channel:17", "channel:-1", "channel:x"]
)
def test_unknown_rules_are_refused(folder: Path, rule: str) -> None:
    assert "auto" in refusal(ErrorCode.OUT_OF_RANGE, "lead", read(folder, encode(TUNE)), rule).allowed


def test_a_channel_that_is_silent_or_drums_is_refused(folder: Path) -> None:
    clip = read(folder, encode(TUNE, played(0, 1, 50, 4), played(0, 1, 42, DRUMS)))
    assert refusal(ErrorCode.OUT_OF_RANGE, "lead", clip, "channel:2").allowed == "channel:1, channel:5"
    refusal(ErrorCode.UNSUPPORTED, "lead", clip, "channel:10")


@pytest.mark.parametrize("rule", ["auto", "highest", "loudest", "channel:1"])
def test_a_clip_of_drums_is_refused(folder: Path, rule: str) -> None:
    error = refusal(ErrorCode.EMPTY, "path", read(folder, encode(played(0, 1, 36, DRUMS))), rule)
    assert error.value == "clip.mid: only drums"


def test_bad_files_are_refused_before_there_is_a_line(folder: Path) -> None:
    whole = encode(TUNE)
    million = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, PER_BEAT, b"MTrk", 4_000_004)
    million += b"\x00\x90\x3c\x40" + b"\x01\x3c\x40" * 1_333_332 + b"\x00\xff\x2f\x00"
    many = b"\x00\x90\x3c\x40" + b"\x01\x3c\x40" * MAX_NOTES + b"\x00\xff\x2f\x00"
    within = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, PER_BEAT, b"MTrk", len(many)) + many
    no_tempo = encode([(0, mido.MetaMessage("set_tempo", tempo=0)), *TUNE])
    cases = {
        whole[:-9]: ErrorCode.MALFORMED,
        encode([]): ErrorCode.EMPTY,
        million: ErrorCode.TOO_LARGE,
        within: ErrorCode.TOO_LARGE,
        no_tempo: ErrorCode.OUT_OF_RANGE,
    }
    for content, code in cases.items():
        with pytest.raises(RequestError) as caught:
            read(folder, content)
        assert (caught.value.code, caught.value.field) == (code, "path")


def test_a_clip_too_short_for_a_loop_is_refused(folder: Path) -> None:
    hasty = encode([(0, mido.MetaMessage("set_tempo", tempo=1)), *TUNE])
    refusal(ErrorCode.OUT_OF_RANGE, "melody", read(folder, hasty))


def test_more_bends_than_a_line_holds_are_refused(folder: Path) -> None:
    shaken = [wheel(step / 8, step % 2) for step in range(20_000)]
    clip = read(folder, encode([tempo(0, 960), *played(0, 2500, 60), *shaken]))
    refusal(ErrorCode.TOO_LONG, "melody", clip)


notes = st.tuples(
    st.integers(0, 16 * PER_BEAT),
    st.integers(0, 2 * PER_BEAT),
    st.integers(0, 127),
    st.integers(0, 15),
    st.integers(1, 127),
)
moves = st.tuples(
    st.integers(0, 16 * PER_BEAT),
    st.integers(0, 15),
    st.sampled_from((6, 38, 64, 100, 101, 121, 128)),
    st.integers(0, 127),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(notes, min_size=1, max_size=25),
    st.lists(moves, max_size=12),
    st.lists(st.tuples(st.integers(0, 16 * PER_BEAT), st.integers(200_000, 900_000)), max_size=3),
    st.sampled_from(("auto", "highest", "loudest")),
    st.integers(1, 3),
)
def test_any_clip_gives_one_note_at_a_time(
    folder: Path,
    played_notes: list[tuple[int, int, int, int, int]],
    moved: list[tuple[int, int, int, int]],
    tempos: list[tuple[int, int]],
    rule: str,
    tracks: int,
) -> None:
    events: list[list[Event]] = [[] for _ in range(tracks)]
    for number, (start, length, pitch, channel, velocity) in enumerate(played_notes):
        events[number % tracks] += played(start / PER_BEAT, (start + length) / PER_BEAT, pitch, channel, velocity)
    for tick, channel, number, value in moved:
        events[0].append(
            wheel(tick / PER_BEAT, value / 63.5 - 1, channel)
            if number == 128
            else control(tick / PER_BEAT, number, value, channel)
        )
    events[0] += [(tick, mido.MetaMessage("set_tempo", tempo=value)) for tick, value in tempos]
    clip = read(folder, encode(*events))
    pitched = [note for note in clip.notes if note.channel != DRUMS and note.start_beats < clip.length_beats]
    if not pitched:
        refusal(ErrorCode.EMPTY, "path", clip, rule)
        return
    line = lead_line(clip, rule)
    assert line.seconds == clip.length_seconds
    assert line.notes[0].start >= 0
    assert line.notes[-1].end <= line.length
    assert all(note.start < note.end for note in line.notes)
    assert all(before.end <= note.start for before, note in zip(line.notes, line.notes[1:], strict=False))
    first = min(note.start_seconds for note in pitched)
    assert Fraction(line.notes[0].start, line.rate) >= first
    if rule != "auto":
        assert Fraction(line.notes[0].start, line.rate) == first
    if not any(number == 128 for _, _, number, _ in moved):
        assert {note.pitch for note in line.notes} <= {note.pitch for note in pitched}
