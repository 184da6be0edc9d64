"""MIDI clips: exact times, whole bars, a fair description, and one clear refusal for every damaged file."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daw_bridge.midi_clip import MidiClip, TempoMap
from daw_bridge.midi_file import read_midi_clip
from protocols.errors import ErrorCode, RequestError

PER_BEAT = 480
# (absolute tick, message)
Event = tuple[int, mido.Message | mido.MetaMessage]


def on(tick: int, pitch: int = 60, velocity: int = 80, channel: int = 0) -> Event:
    return tick, mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(tick: int, pitch: int = 60, channel: int = 0) -> Event:
    return tick, mido.Message("note_off", note=pitch, channel=channel)


def meta(tick: int, kind: str, **values: object) -> Event:
    return tick, mido.MetaMessage(kind, **values)


def tempo(tick: int, bpm: float) -> Event:
    return meta(tick, "set_tempo", tempo=round(60_000_000 / bpm))


def melody(pitches: list[int], ticks: int = PER_BEAT, channel: int = 0) -> list[Event]:
    events: list[Event] = []
    for index, pitch in enumerate(pitches):
        events += [on(index * ticks, pitch, channel=channel), off((index + 1) * ticks, pitch, channel)]
    return events


def encode(*tracks: list[Event], kind: int = 1, per_beat: int = PER_BEAT) -> bytes:
    file = mido.MidiFile(type=kind, ticks_per_beat=per_beat)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def raw(*tracks: bytes, kind: int = 1, declared: int | None = None, division: int = PER_BEAT) -> bytes:
    count = len(tracks) if declared is None else declared
    header = struct.pack(">4sIHHH", b"MThd", 6, kind, count, division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def read(folder: Path, content: bytes, **options: int) -> MidiClip:
    path = folder / "clip.mid"
    path.write_bytes(content)
    return read_midi_clip(path, allowed_folders=[folder], **options)


def refusal(code: ErrorCode, folder: Path, content: bytes, **options: int) -> str:
    with pytest.raises(RequestError) as caught:
        read(folder, content, **options)
    assert (caught.value.code, caught.value.field) == (code, "path"), caught.value.text
    assert "clip.mid" in caught.value.text
    return caught.value.text


def spans(clip: MidiClip) -> list[tuple[int, int, int]]:
    return [(note.start_tick, note.end_tick, note.pitch) for note in clip.notes]


def lengths(clip: MidiClip) -> tuple[int, Fraction, Fraction]:
    return clip.bar_count, clip.length_beats, clip.length_seconds


END = b"\x00\xff\x2f\x00"


def test_a_plain_clip(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([tempo(0, 120), *melody([57, 60, 64, 69])], kind=0))
    assert clip.name == "clip.mid"
    assert spans(clip) == [(0, 480, 57), (480, 960, 60), (960, 1440, 64), (1440, 1920, 69)]
    note = clip.notes[1]
    assert (float(note.start_beats), float(note.end_beats)) == (1.0, 2.0)
    assert (float(note.start_seconds), float(note.end_seconds)) == (0.5, 1.0)
    assert (note.velocity, note.channel) == (80, 0)
    assert lengths(clip) == (1, Fraction(4), Fraction(2))
    assert (clip.content_ticks, clip.mean_bpm) == (1920, Fraction(120))
    assert (clip.drum_share, clip.key_signature) == (0.0, None)
    assert clip.describe() == "120 bpm, 4/4, A minor (estimated)"
    assert (clip.beat_bpm, clip.key) == (Fraction(120), "A minor")


@pytest.mark.parametrize(
    ("numerator", "denominator", "bpm"), [(6, 8, 80), (12, 8, 80), (9, 8, 80), (3, 8, 120), (6, 4, 120), (7, 8, 120)]
)
def test_the_beat_of_compound_metres_is_the_dotted_quarter(
    tmp_path: Path, numerator: int, denominator: int, bpm: int
) -> None:
    metre = meta(0, "time_signature", numerator=numerator, denominator=denominator)
    assert read(tmp_path, encode([metre, *melody([60, 62])])).beat_bpm == bpm


def test_a_key_that_is_not_clear_is_not_named(tmp_path: Path) -> None:
    assert read(tmp_path, encode(melody(list(range(60, 72))))).key == ""


def test_tracks_of_type_1_play_together_and_the_first_may_hold_the_tempo(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([tempo(0, 90)], melody([60, 62]), [on(240, 36, channel=9), off(300, 36, 9)]))
    assert spans(clip) == [(0, 480, 60), (240, 300, 36), (480, 960, 62)]
    assert clip.drum_share == pytest.approx(1 / 3)
    assert clip.describe().startswith("90 bpm, 4/4")
    assert clip.describe().endswith("with drums")


def test_without_a_tempo_or_a_meter_the_standard_speaks(tmp_path: Path) -> None:
    clip = read(tmp_path, encode(melody([60])))
    assert clip.mean_bpm == 120
    assert [str(sign) for sign in clip.time_signatures] == ["4/4"]


def test_running_status_and_silent_note_ons(tmp_path: Path) -> None:
    # One status byte, then: C on, C released by velocity 0, E on, E released.
    track = b"\x00\x90\x3c\x40" + b"\x60\x3c\x00" + b"\x00\x40\x40" + b"\x60\x40\x00" + END
    assert spans(read(tmp_path, raw(track, kind=0))) == [(0, 96, 60), (96, 192, 64)]


def test_overlapping_notes_of_one_pitch_end_oldest_first(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([on(0), on(100), off(200), off(300)]))
    assert spans(clip) == [(0, 200, 60), (100, 300, 60)]


def test_the_same_pitch_on_other_channels_and_tracks_is_another_note(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([on(0), on(10, channel=1), off(50, channel=1), off(90)], [on(20), off(30)]))
    assert sorted(spans(clip)) == [(0, 90, 60), (10, 50, 60), (20, 30, 60)]


def test_hanging_notes_end_with_the_longest_track(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([on(0), on(100, 64)], [on(0, 67), off(960, 67), meta(1920, "end_of_track")]))
    assert spans(clip) == [(0, 1920, 60), (0, 960, 67), (100, 1920, 64)]


def test_stray_releases_and_pedals_are_ignored(tmp_path: Path) -> None:
    pedal = mido.Message("control_change", control=64, value=127)
    assert spans(read(tmp_path, encode([off(0), (0, pedal), on(10), off(20), off(30)]))) == [(10, 20, 60)]


def test_a_hit_without_length_is_kept(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([on(0, 36, channel=9), off(0, 36, 9)]))
    assert spans(clip) == [(0, 0, 36)]
    assert (clip.bar_count, clip.drum_share, clip.estimated_key) == (1, 1.0, None)
    assert clip.describe() == "120 bpm, 4/4, drums"


def test_tempo_changes_are_exact(tmp_path: Path) -> None:
    # Thirds of a beat at tempos that no float holds.
    changes = [meta(160 * step, "set_tempo", tempo=333_333 + step) for step in range(300)]
    clip = read(tmp_path, encode([*changes, on(0), off(48_000)], kind=0))
    expected = sum((Fraction(333_333 + step, 3 * 10**6) for step in range(300)), Fraction(0))
    assert clip.notes[0].end_seconds == expected
    assert clip.tempo_map.seconds_at(48_000) == expected
    assert clip.tempo_map.seconds_at(Fraction(1, 2)) == Fraction(333_333, 960 * 10**6)
    assert lengths(clip) == (25, Fraction(100), expected)
    assert clip.mean_bpm == 60 * Fraction(100) / expected
    assert clip.describe() == "about 179.9 bpm (179.8 to 180), 4/4"


def test_of_several_tempos_at_one_tick_the_last_counts(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([tempo(0, 60), tempo(0, 240), on(0), off(480)]))
    assert clip.notes[0].end_seconds == Fraction(1, 4)
    assert clip.describe().startswith("240 bpm")


@settings(max_examples=60, deadline=None)
@given(
    per_beat=st.integers(1, 32_767),
    tempos=st.dictionaries(st.integers(0, 10_000), st.integers(1, 2**24 - 1), max_size=8),
    ticks=st.lists(st.integers(0, 20_000), min_size=2, max_size=8),
)
def test_seconds_are_the_sum_of_every_tick(per_beat: int, tempos: dict[int, int], ticks: list[int]) -> None:
    tempo_map = TempoMap(per_beat, sorted(tempos.items()))
    for tick in ticks:
        current, total, last = 500_000, 0, 0
        for change, value in sorted(tempos.items()):
            if change >= tick:
                break
            total += (change - last) * current
            current, last = value, change
        total += (tick - last) * current
        assert tempo_map.seconds_at(tick) == Fraction(total, per_beat * 10**6)


@pytest.mark.parametrize(
    ("end", "last_onset", "bars"),
    [(1920, 0, 1), (1921, 0, 1), (1935, 0, 1), (1936, 0, 2), (1921, 1920, 2), (10, 0, 1), (3839, 0, 2), (3850, 0, 2)],
)
def test_bars_are_whole_and_a_late_release_adds_none(tmp_path: Path, end: int, last_onset: int, bars: int) -> None:
    clip = read(tmp_path, encode([on(0), on(last_onset, 64), off(end), off(end, 64)]))
    assert lengths(clip) == (bars, Fraction(4 * bars), Fraction(2 * bars))


def test_the_end_of_the_track_counts_as_content(tmp_path: Path) -> None:
    clip = read(tmp_path, encode([on(0), off(480), meta(1920 * 4, "end_of_track")]))
    assert (clip.bar_count, clip.content_ticks) == (4, 7680)


def test_meters_change_and_bars_follow(tmp_path: Path) -> None:
    meters = [
        meta(0, "time_signature", numerator=6, denominator=8),
        meta(2 * 1440, "time_signature", numerator=3, denominator=4),
        meta(2 * 1440 + 100, "time_signature", numerator=7, denominator=16),
        meta(2 * 1440 + 100 + 1000, "time_signature", numerator=5, denominator=4),
    ]
    clip = read(tmp_path, encode([*meters, on(0), off(2 * 1440 + 100 + 1000)]))
    # Two bars of 6/8, one of 3/4 that is broken off, two of 7/16.
    assert clip.bar_count == 5
    assert clip.length_beats == 6 + Fraction(100, 480) + Fraction(7, 2)
    assert clip.length_seconds == clip.length_beats / 2
    assert "6/8 then 3/4 then 7/16" in clip.describe()


def test_a_bar_that_is_no_whole_number_of_ticks(tmp_path: Path) -> None:
    meter = meta(0, "time_signature", numerator=3, denominator=8)
    clip = read(tmp_path, encode([meter, on(0), off(4)], per_beat=1))
    assert lengths(clip) == (3, Fraction(9, 2), Fraction(9, 4))


@pytest.mark.parametrize(("written", "name"), [("Am", "A minor"), ("Bb", "Bb major"), ("F#m", "F# minor")])
def test_a_written_key_is_believed(tmp_path: Path, written: str, name: str) -> None:
    clip = read(tmp_path, encode([meta(0, "key_signature", key=written), *melody([60])]))
    assert clip.key_signature == clip.key == name
    assert clip.describe() == f"120 bpm, 4/4, {name}"


@pytest.mark.parametrize(
    ("tonic", "steps", "mode"),
    [(0, [0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0], "major"), (0, [0, 2, 3, 5, 7, 8, 11, 12, 7, 3, 0], "minor")],
)
def test_scales_are_found_in_every_key(tmp_path: Path, tonic: int, steps: list[int], mode: str) -> None:
    for tonic in range(12):
        clip = read(tmp_path, encode(melody([48 + tonic + step for step in steps])))
        assert clip.estimated_key is not None
        assert (clip.estimated_key.tonic, clip.estimated_key.mode) == (tonic, mode)
        assert 0.7 < clip.estimated_key.confidence <= 1.0


def test_no_key_is_claimed_where_none_is_heard(tmp_path: Path) -> None:
    clip = read(tmp_path, encode(melody(list(range(60, 72)))))
    assert clip.estimated_key is None
    clip = read(tmp_path, encode(melody([60, 61, 62, 63, 64, 65, 66, 67])))
    assert clip.estimated_key is not None
    assert clip.estimated_key.confidence < 0.7
    assert clip.describe() == "120 bpm, 4/4"


def test_data_bytes_over_127_are_clipped(tmp_path: Path) -> None:
    clip = read(tmp_path, raw(b"\x00\x90\x3c\xc8" + b"\x60\x80\x3c\x00" + END))
    assert (clip.notes[0].velocity, spans(clip)) == (127, [(0, 96, 60)])


def test_foreign_chunks_and_what_follows_the_last_track_are_passed_over(tmp_path: Path) -> None:
    content = encode(melody([60]))
    foreign = b"XFIH" + struct.pack(">I", 3) + b"abc"
    assert spans(read(tmp_path, content[:14] + foreign + content[14:] + bytes(7))) == [(0, 480, 60)]


def test_long_text_that_is_not_ascii_is_no_fault(tmp_path: Path) -> None:
    lyric = "歌" * 1000
    track = b"\x00\xff\x05" + bytes([0x80 | 3000 >> 7, 3000 & 0x7F]) + lyric.encode()
    assert spans(read(tmp_path, raw(track + b"\x00\x90\x3c\x40\x60\x3c\x00" + END))) == [(0, 96, 60)]


NOTE = b"\x00\x90\x3c\x40\x60\x3c\x00"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", ErrorCode.NOT_MIDI),
        (b"RIFF....WAVEfmt ", ErrorCode.NOT_MIDI),
        (b"not midi at all " * 100, ErrorCode.NOT_MIDI),
        (b"MThd\x00\x00", ErrorCode.MALFORMED),
        (raw(NOTE + END, declared=2), ErrorCode.MALFORMED),
        (raw(NOTE + END)[:-6], ErrorCode.MALFORMED),
        (raw(NOTE + END)[:18], ErrorCode.MALFORMED),
        (raw(NOTE + b"\x00\x90\x3c"), ErrorCode.MALFORMED),
        (raw(b"\x00\x3c\x40" + END), ErrorCode.MALFORMED),
        (raw(b"\x00\xf5" + END), ErrorCode.MALFORMED),
        (raw(NOTE + b"\xff" * 100_000), ErrorCode.MALFORMED),
        (raw(b"\x00\xff\x51\x01\x07" + NOTE + END), ErrorCode.MALFORMED),
        (raw(b"\x00\xff\x59\x02\x30\x00" + NOTE + END), ErrorCode.MALFORMED),
        (raw(b"\x00\xff\x58\x04\x00\x02\x18\x08" + NOTE + END), ErrorCode.MALFORMED),
        (raw(b"\x00\xff\x58\x04\x04\xff\x18\x08" + NOTE + END), ErrorCode.MALFORMED),
        (raw(NOTE + END, division=0), ErrorCode.MALFORMED),
        (raw(NOTE + END, division=0xE728), ErrorCode.UNSUPPORTED),
        (raw(NOTE + END, kind=2), ErrorCode.UNSUPPORTED),
        (raw(NOTE + END, kind=7), ErrorCode.UNSUPPORTED),
        (raw(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE + END), ErrorCode.OUT_OF_RANGE),
        (raw(END), ErrorCode.EMPTY),
        (raw(), ErrorCode.EMPTY),
        (raw(b"\x00\x90\x3c\x00" + END), ErrorCode.EMPTY),
        (raw(NOTE + b"\xff\xff\xff\x7f\xff\x2f\x00"), ErrorCode.TOO_LONG),
        (raw(NOTE + b"\xff" * 4000 + b"\x7f\xff\x2f\x00"), ErrorCode.TOO_LONG),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, content: bytes, code: ErrorCode) -> None:
    refusal(code, tmp_path, content)


def test_a_missing_file_a_folder_and_a_forbidden_one(tmp_path: Path) -> None:
    inside, outside = tmp_path / "project", tmp_path / "a.mid"
    inside.mkdir()
    outside.write_bytes(encode(melody([60])))
    for path, code in (
        (inside / "a.mid", ErrorCode.NOT_FOUND),
        (inside, ErrorCode.BAD_TYPE),
        (outside, ErrorCode.NOT_ALLOWED),
        (inside / ".." / "a.mid", ErrorCode.NOT_ALLOWED),
    ):
        with pytest.raises(RequestError) as caught:
            read_midi_clip(path, allowed_folders=[inside])
        assert (caught.value.code, caught.value.field) == (code, "path")
    assert read_midi_clip(str(outside), allowed_folders=None).bar_count == 1


def test_notes_are_bounded(tmp_path: Path) -> None:
    assert "at most 10 notes" in refusal(ErrorCode.TOO_LARGE, tmp_path, encode(melody([60] * 11)), max_notes=10)
    assert len(read(tmp_path, encode(melody([60] * 10)), max_notes=10).notes) == 10
    assert "3 s" in refusal(ErrorCode.TOO_LONG, tmp_path, encode(melody([60] * 7)), max_seconds=3)


def test_a_million_notes_are_refused_before_they_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mido.MidiFile", None)
    million = raw(b"\x00\x90\x3c\x40" + b"\x01\x3c\x00\x00\x3c\x40" * 1_000_000 + END)
    assert "bytes" in refusal(ErrorCode.TOO_LARGE, tmp_path, million)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5000), st.integers(1, 2000), st.integers(0, 127), st.integers(1, 127), st.integers(0, 15)
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda note: (note[2], note[4]),
    )
)
def test_notes_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, notes: list[tuple[int, int, int, int, int]]
) -> None:
    events: list[Event] = []
    for start, length, pitch, velocity, channel in notes:
        events += [on(start, pitch, velocity, channel), off(start + length, pitch, channel)]
    clip = read(tmp_path_factory.mktemp("clip"), encode(events))
    found = {(n.start_tick, n.end_tick - n.start_tick, n.pitch, n.velocity, n.channel) for n in clip.notes}
    assert found == set(notes)
    assert clip.length_beats >= max(note.end_beats for note in clip.notes) - Fraction(1, 32)
    assert clip.length_beats == 4 * clip.bar_count


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_gives_a_clip_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(encode([tempo(0, 100), meta(0, "key_signature", key="C")], melody([60, 64, 67])))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("clip") / "clip.mid"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        clip = read_midi_clip(path, allowed_folders=None)
    except RequestError:
        return
    assert clip.notes
    assert clip.describe()
