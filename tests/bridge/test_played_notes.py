"""Notes that are played live: a clock that is moved by hand, and the same clip that a file with these events gives."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daw_bridge.lead_line import lead_line
from daw_bridge.midi_file import read_midi_clip
from daw_bridge.played_notes import MAX_NOTES, MAX_SECONDS, Phrase, PlayedNotes
from protocols.errors import ErrorCode, RequestError

BEAT = 500_000_000
"""ns at 120 beats per minute."""
BEGIN = 7 * BEAT + 123
"""When the first note is played, on the clock of the input."""

Event = tuple[float, mido.Message]


def key(pitch: int, start: float, end: float | None, velocity: int = 90, channel: int = 0) -> list[Event]:
    """A key that is struck and let go, in beats; None: it stays down."""
    events = [(start, mido.Message("note_on", note=pitch, velocity=velocity, channel=channel))]
    if end is not None:
        events.append((end, mido.Message("note_off", note=pitch, channel=channel)))
    return events


def control(beat: float, number: int, value: int) -> Event:
    return beat, mido.Message("control_change", control=number, value=value)


def bend(beat: float, value: int) -> Event:
    return beat, mido.Message("pitchwheel", pitch=value)


def moment(beat: float) -> int:
    return BEGIN + round(beat * BEAT)


def timed(*parts: Iterable[Event]) -> list[tuple[int, mido.Message]]:
    events = sorted((event for part in parts for event in part), key=lambda event: event[0])
    return [(moment(beat), message) for beat, message in events]


def play(played: PlayedNotes, *parts: Iterable[Event], until: float, stop: bool = False) -> list[Phrase]:
    """Let the input's events come in as they are played, ten times a beat; then look at the clock, or stop."""
    events, found = timed(*parts), []
    steps = [moment(step / 10) for step in range(-20, round(until * 10) + 1)]
    for now in steps:
        found += played.take([event for event in events if event[0] <= now], now)
        events = [event for event in events if event[0] > now]
    return found + (played.stop(moment(until)) if stop else [])


def heard(phrase: Phrase) -> list[tuple[float, float, int]]:
    """The notes in beats."""
    return [(float(note.start_beats), float(note.end_beats), note.pitch) for note in phrase.clip.notes]


def near(phrase: Phrase, *notes: tuple[float, float, int]) -> bool:
    found = heard(phrase)
    return [note[2] for note in found] == [note[2] for note in notes] and all(
        abs(a - b) < 1e-4
        for one, other in zip(found, notes, strict=True)
        for a, b in zip(one[:2], other[:2], strict=True)
    )


TUNE = (*key(60, 0, 1), *key(64, 1, 2.5), *key(67, 2.5, 3.5))


def test_the_first_note_begins_the_loop_and_the_length_ends_it() -> None:
    played = PlayedNotes("riff", 120, 4)
    assert play(played, TUNE, until=4.05) == [], "what was played before the line may still be on its way"
    (phrase,) = played.take([], moment(4.1))
    assert played.over
    assert near(phrase, (0, 1, 60), (1, 2.5, 64), (2.5, 3.5, 67))
    assert (phrase.clip.length_beats, phrase.clip.length_seconds) == (4, 2)


@pytest.mark.parametrize(
    ("stop", "beats"), [(3.6, 4), (4.0, 4), (4.9, 4), (5.9, 4), (6.1, 8), (0.7, 4), (7.8, 8), (9.0, 8)]
)
def test_a_stop_means_the_nearest_bar_line(stop: float, beats: int) -> None:
    played = PlayedNotes("riff", 120)
    (phrase,) = play(played, key(60, 0, 0.5), until=stop, stop=True)
    assert phrase.clip.length_beats == beats
    assert near(phrase, (0, 0.5, 60))


def test_what_is_held_at_the_end_ends_there_and_what_comes_later_is_left_out() -> None:
    played = PlayedNotes("riff", 120)
    (phrase,) = play(played, key(60, 0, 1), key(64, 2, None), key(67, 4.2, 4.4), until=4.6, stop=True)
    assert near(phrase, (0, 1, 60), (2, 4, 64))
    played = PlayedNotes("riff", 120)
    (phrase,) = play(played, key(64, 0, None), until=3.2, stop=True)
    assert near(phrase, (0, 4, 64)), "a key that is down when the stop comes early"


def test_a_player_lands_on_the_line_a_little_early() -> None:
    played = PlayedNotes("riff", 120)
    (phrase,) = play(played, key(60, 0, 1), key(72, 3.95, 4.5), until=4.6, stop=True)
    assert near(phrase, (0, 1, 60))
    played = PlayedNotes("riff", 120, 4)
    (phrase,) = play(played, key(60, 0, 1), key(72, 3.95, 3.99), until=4.6)
    assert near(phrase, (0, 1, 60), (3.95, 3.99, 72)), "a grace note that is over before the line"
    played = PlayedNotes("riff", 120, 4)
    (phrase,) = play(played, key(60, 0, 1), key(72, 3.9, 4), until=4.6)
    assert near(phrase, (0, 1, 60), (3.9, 4, 72)), "one that ends on the line"


def test_turn_follows_turn_and_each_is_whole() -> None:
    played = PlayedNotes("riff", 120, 4, turns=0)
    first, second, third = play(
        played,
        key(60, 0, 4.05),  # let go late
        key(62, 3.95, 5),  # struck early, for the line
        key(64, 6, 9),  # held over it
        key(65, 10, 10.5),
        until=12.2,
    )
    assert near(first, (0, 4, 60))
    assert near(second, (0, 1, 62), (2, 4, 64))
    assert near(third, (0, 1, 64), (2, 2.5, 65))
    assert not played.over
    assert played.stop(moment(13.0)) == [], "a turn that is not whole"


def test_a_turn_without_a_new_note_leaves_the_phrase_as_it_is() -> None:
    played = PlayedNotes("riff", 120, 4, turns=0)
    phrases = play(played, key(60, 0, 9), key(64, 13, 14), until=20.2)
    assert [heard(phrase)[-1][2] for phrase in phrases] == [60, 64]


def test_as_many_turns_as_asked_for() -> None:
    played = PlayedNotes("riff", 120, 4, turns=2)
    assert len(play(played, key(60, 0, 1), key(62, 5, 6), key(64, 9, 10), until=12.2)) == 2
    assert played.over


def test_a_later_turn_counts_where_the_stop_is_a_little_early() -> None:
    played = PlayedNotes("riff", 120, 4, turns=0)
    first, second = play(played, key(60, 0, 1), key(62, 5, 6), until=7.5, stop=True)
    assert near(second, (1, 2, 62))
    assert second.clip.length_beats == first.clip.length_beats == 4


def test_wheel_and_pedal_that_were_set_before_are_heard() -> None:
    played = PlayedNotes("riff", 120, 4, turns=2)
    before = (
        [control(-1.5, number, value) for number, value in ((101, 0), (100, 0), (6, 12), (101, 127), (100, 127))]
        + [bend(-1.2, 4000), bend(-1, 8191), control(-0.5, 64, 127)]
    )  # fmt: skip
    first, second = play(played, before, key(60, 0, 1), key(62, 4, 5), until=8.2)
    for phrase, pitch in ((first, 72), (second, 74)):
        line = lead_line(phrase.clip)
        assert [(note.start, note.end / line.rate, note.pitch) for note in line.notes] == [(0, 2.0, pitch)]


def write(path: Path, events: list[tuple[int, mido.Message]], bpm: int, per_beat: int = 480) -> Path:
    file = mido.MidiFile(ticks_per_beat=per_beat)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))])
    tick = 0
    for at, message in events:
        track.append(message.copy(time=at - tick))
        tick = at
    file.tracks.append(track)
    file.save(path)
    return path


PLAYED = st.one_of(
    st.builds(
        lambda note, channel, velocity: mido.Message("note_on", note=note, channel=channel, velocity=velocity),
        st.integers(55, 67), st.sampled_from((0, 1, 9)), st.integers(0, 127),
    ),
    st.builds(
        lambda note, channel: mido.Message("note_off", note=note, channel=channel), st.integers(55, 67), st.sampled_from((0, 1))
    ),
    st.builds(lambda value: mido.Message("control_change", control=64, value=value), st.sampled_from((0, 127))),
    st.builds(lambda value: mido.Message("pitchwheel", pitch=value), st.integers(-8192, 8191)),
    st.just(mido.Message("control_change", control=121)),
    st.just(mido.Message("program_change", program=5)),
)  # fmt: skip


@given(
    events=st.lists(st.tuples(st.integers(0, 8 * 480 - 61), PLAYED), max_size=40),
    bpm=st.sampled_from((60, 97, 120, 171)),
    rule=st.sampled_from(("auto", "highest", "loudest")),
)
def test_played_or_in_a_file_it_is_the_same_clip(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, mido.Message]], bpm: int, rule: str
) -> None:
    first = (0, mido.Message("note_on", note=60, velocity=80))
    last = (7 * 480, mido.Message("note_on", note=61, velocity=80)), (8 * 480, mido.Message("note_off", note=61))
    events = [first, *sorted(events, key=lambda event: event[0]), *last]
    events.sort(key=lambda event: event[0])
    path = write(tmp_path_factory.mktemp("clip") / "riff", events, bpm)
    filed = read_midi_clip(path, allowed_folders=None)
    played = PlayedNotes("riff", bpm, 8)
    tick = Fraction(mido.bpm2tempo(bpm) * 1000, 480)
    came = [(BEGIN + round(at * tick), message) for at, message in events]
    (phrase,) = played.take(came, came[-1][0] + 10**9)
    assert phrase.clip.length_seconds == filed.length_seconds
    assert lead_line(phrase.clip, rule) == lead_line(filed, rule)
    assert len(phrase.clip.notes) == len(filed.notes)
    assert [data for _, data in phrase.clip.channel_messages] == [data for _, data in filed.channel_messages]


def test_nothing_is_played() -> None:
    played = PlayedNotes("riff", 120)
    assert play(played, [control(0, 64, 127)], until=4, stop=True) == []
    waiting = PlayedNotes("riff", 120, began=5)
    assert waiting.take([], MAX_SECONDS * 10**9) == []
    assert not waiting.over
    assert waiting.take([], (MAX_SECONDS + 1) * 10**9) == []
    assert waiting.over


def test_too_many_notes_and_too_long_end_it_with_what_there_is() -> None:
    played = PlayedNotes("riff", 120)
    (phrase,) = played.take(timed(*(key(60, n / 100, n / 100 + 0.005) for n in range(MAX_NOTES + 9))), moment(90))
    assert played.over
    assert len(phrase.clip.notes) == MAX_NOTES
    assert phrase.note == f"it ended at {MAX_NOTES} notes, the most"
    played = PlayedNotes("riff", 120)
    played.take(timed(key(60, 0, 1)), moment(2))
    (phrase,) = played.take([], moment(2 * MAX_SECONDS + 1))
    assert phrase.note == f"it ended after {MAX_SECONDS} s, the longest"
    played = PlayedNotes("riff", 120)
    (phrase,) = played.take(timed(key(60, 0, 1), [bend(n / 1000, n % 100) for n in range(70_000)]), moment(90))
    assert "MIDI messages, the most" in phrase.note


@pytest.mark.parametrize(
    ("length", "turns", "code"),
    [(0.5, 1, ErrorCode.OUT_OF_RANGE), (1201, 1, ErrorCode.OUT_OF_RANGE), (0, 0, ErrorCode.MISSING)],
)
def test_a_length_that_cannot_be_is_refused(length: float, turns: int, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as caught:
        PlayedNotes("riff", 120, length, turns)
    assert (caught.value.code, caught.value.field) == (code, "length")
    assert caught.value.allowed
