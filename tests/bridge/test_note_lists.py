"""Notes that arrive in pages: kept by client and name, whole or refused, forgotten in time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from daw_bridge.note_lists import IDLE_SECONDS, MAX_LISTS, MAX_NOTES, NoteLists
from protocols.bridge_messages import NOTES_PER_LIST, AddNotes, BeginNotes
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine

TUNE: list[list[float]] = [[60, 0, 1, 100], [64, 1, 1, 90], [67, 2.5, 1.5, 80]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lists(clock: Clock) -> NoteLists:
    return NoteLists(clock)


def send(
    lists: NoteLists, notes: Sequence[Sequence[float]], client: str = "max", name: str = "tune", **begin: Any
) -> None:
    lists.begin(client, BeginNotes(name=name, **begin))
    for index, note in enumerate(notes):
        lists.add(client, AddNotes(name=name, index=index, values=list(map(float, note))))


def line(lists: NoteLists, client: str = "max", name: str = "tune", bpm: float = 0.0) -> MelodyLine:
    return MelodyLine.decode(lists.clip(client, name).at(bpm).melody)


def heard(line: MelodyLine) -> list[tuple[float, float, int]]:
    return [(note.start / line.rate, note.end / line.rate, note.pitch) for note in line.notes]


def refusal(lists: NoteLists, code: ErrorCode, field: str, act: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        act()
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.text
    assert caught.value.allowed
    return caught.value


def test_notes_become_a_line_of_whole_bars(lists: NoteLists) -> None:
    send(lists, TUNE)
    assert heard(line(lists)) == [(0, 0.5, 60), (0.5, 1, 64), (1.25, 2, 67)]
    assert line(lists).seconds == 2
    assert lists.clip("max", "tune").description.startswith("tune: 120 bpm, 4/4")


def test_pages_arrive_in_any_order_and_twice(lists: NoteLists) -> None:
    send(lists, TUNE)
    first = line(lists)
    lists.begin("max", BeginNotes(name="tune", count=3))
    last = AddNotes(name="tune", index=1, values=[64.0, 1.0, 1.0, 90.0, 67.0, 2.5, 1.5, 80.0])
    assert lists.add("max", last).held == 2
    assert lists.add("max", last).held == 2
    assert "first is note 0" in refusal(lists, ErrorCode.MISSING, "notes", lambda: lists.clip("max", "tune")).value
    assert lists.add("max", AddNotes(name="tune", index=0, values=[60.0, 0.0, 1.0, 100.0])).held == 3
    assert line(lists) == first


def test_a_last_page_that_is_lost_is_missed_where_the_count_is_known(lists: NoteLists) -> None:
    send(lists, TUNE, count=4)
    error = refusal(lists, ErrorCode.MISSING, "notes", lambda: lists.clip("max", "tune"))
    assert "1 of 4 notes are missing, the first is note 3" in error.value


def test_a_list_that_grows_is_heard_as_it_is(lists: NoteLists) -> None:
    send(lists, TUNE)
    assert len(line(lists).notes) == 3
    lists.add("max", AddNotes(name="tune", index=3, values=[72.0, 4.0, 1.0, 80.0]))
    assert len(line(lists).notes) == 4
    assert line(lists).seconds == 4


@pytest.mark.parametrize("bpm", [60.0, 97.123, 174.0])
def test_notes_are_played_at_their_own_tempo_or_at_another(lists: NoteLists, bpm: float) -> None:
    exact = Fraction(round(bpm * 1000), 1000)
    send(lists, TUNE, bpm=bpm)
    played = lists.clip("max", "tune").at()
    assert (played.bpm, played.seconds) == (bpm, 240 / exact)
    assert line(lists).seconds == 240 / exact, "no rounding: the loop stays with the engine's bars"
    assert lists.clip("max", "tune").at(2 * bpm if bpm < 150 else bpm / 2).seconds in (120 / exact, 480 / exact)


def test_a_loop_may_have_any_length(lists: NoteLists) -> None:
    send(lists, TUNE, length=3.0)
    assert line(lists).seconds == Fraction(3, 2)
    assert heard(line(lists)) == [(0, 0.5, 60), (0.5, 1, 64), (1.25, 1.5, 67)], "cut where the loop ends"
    send(lists, TUNE, length=11.0)
    assert line(lists).seconds == Fraction(11, 2)
    thirds = [[60, index / 3, 1 / 3, 100] for index in range(12)]
    send(lists, thirds, bpm=60.0)
    assert line(lists).rate == 3, "a third of a beat is one, though no binary number is"


def test_one_melody_is_found_in_chords(lists: NoteLists) -> None:
    chords = [[pitch, beat, 1, velocity] for beat in range(4) for pitch, velocity in ((60, 120), (72 + beat, 40))]
    send(lists, chords, lead="highest")
    assert [pitch for _, _, pitch in heard(line(lists))] == [72, 73, 74, 75]
    send(lists, chords, lead="loudest")
    assert [pitch for _, _, pitch in heard(line(lists))] == [60] * 4


def test_clients_do_not_see_each_others_notes(lists: NoteLists) -> None:
    send(lists, TUNE, "max")
    send(lists, [[48, 0, 1, 1]], "pd")
    assert len(line(lists, "max").notes) == 3
    assert len(line(lists, "pd").notes) == 1
    error = refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda: lists.clip("sc", "tune"))
    assert "there are none" in error.allowed
    error = refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda: lists.clip("max", "other"))
    assert error.allowed == "tune"


def test_notes_are_forgotten_on_demand(lists: NoteLists) -> None:
    for name in ("one", "two", "three"):
        send(lists, TUNE, name=name)
    send(lists, TUNE, "pd", "one")
    lists.forget("max", "two")
    refusal(lists, ErrorCode.NOT_FOUND, "name", lambda: lists.forget("max", "two"))
    assert line(lists, name="three") == line(lists, name="one")
    lists.forget("max", "")
    for name in ("one", "three"):
        refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda name=name: lists.clip("max", name))
    assert line(lists, "pd", "one").notes


def test_notes_are_forgotten_in_time(lists: NoteLists, clock: Clock) -> None:
    send(lists, TUNE, name="used")
    send(lists, TUNE, name="idle")
    clock.now = IDLE_SECONDS - 1
    assert line(lists, name="used").notes
    clock.now = IDLE_SECONDS + 1
    assert line(lists, name="used").notes
    refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda: lists.clip("max", "idle"))


def test_the_oldest_make_room_for_new_ones(lists: NoteLists) -> None:
    for number in range(MAX_LISTS):
        send(lists, TUNE, name=str(number))
    assert line(lists, name="0").notes
    send(lists, TUNE, name="one more")
    assert line(lists, name="0").notes, "it was used since"
    refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda: lists.clip("max", "1"))
    page = [60.0, 0.0, 1.0, 100.0] * NOTES_PER_LIST
    for number in range(MAX_NOTES // NOTES_PER_LIST + 1):
        lists.begin("flood", BeginNotes(name=str(number)))
        assert lists.add("flood", AddNotes(name=str(number), index=0, values=page)).held == NOTES_PER_LIST
    refusal(lists, ErrorCode.NOT_FOUND, "notes", lambda: lists.clip("max", "0"))
    refusal(lists, ErrorCode.NOT_FOUND, "name", lambda: lists.forget("flood", "0"))
    lists.forget("flood", "1")


@pytest.mark.parametrize(
    ("values", "code", "found"),
    [
        ([60, 0, 1], ErrorCode.MALFORMED, "3 numbers"),
        ([], ErrorCode.MALFORMED, "0 numbers"),
        ([128, 0, 1, 100], ErrorCode.OUT_OF_RANGE, "note 5: pitch 128"),
        ([60.5, 0, 1, 100], ErrorCode.OUT_OF_RANGE, "note 5: pitch 60.5"),
        ([60, 0, 1, 100, 60, -1, 1, 100], ErrorCode.OUT_OF_RANGE, "note 6: start -1"),
        ([60, 0, -1, 100], ErrorCode.OUT_OF_RANGE, "note 5: length -1"),
        ([60, 1e9, 1, 100], ErrorCode.OUT_OF_RANGE, "note 5: start 1e+09"),
        ([60, 0, 1, 0], ErrorCode.OUT_OF_RANGE, "note 5: velocity 0"),
        ([60, 0, 1, 100] * NOTES_PER_LIST, ErrorCode.TOO_LONG, f"note {NOTES_PER_LIST + 5}"),
    ],
)
def test_notes_that_cannot_be(lists: NoteLists, values: list[float], code: ErrorCode, found: str) -> None:
    lists.begin("max", BeginNotes(name="tune"))
    page = AddNotes(name="tune", index=5, values=list(map(float, values)))
    assert refusal(lists, code, "values", lambda: lists.add("max", page)).value == found
    refusal(lists, ErrorCode.EMPTY, "notes", lambda: lists.clip("max", "tune"))


def test_lists_that_cannot_be(lists: NoteLists) -> None:
    refusal(lists, ErrorCode.EMPTY, "name", lambda: lists.begin("max", BeginNotes(name=" ")))
    refusal(lists, ErrorCode.OUT_OF_RANGE, "lead", lambda: lists.begin("max", BeginNotes(name="x", lead="lowest")))
    refusal(lists, ErrorCode.NOT_FOUND, "name", lambda: lists.add("max", AddNotes(name="x", index=0, values=[])))
    send(lists, TUNE, lead="channel:2")
    refusal(lists, ErrorCode.OUT_OF_RANGE, "lead", lambda: lists.clip("max", "tune"))
    send(lists, [[60, 8, 1, 100]], length=4.0)
    refusal(lists, ErrorCode.EMPTY, "notes", lambda: lists.clip("max", "tune"))
    send(lists, TUNE, length=16384.0, bpm=20.0)
    refusal(lists, ErrorCode.TOO_LONG, "melody", lambda: lists.clip("max", "tune"))


def test_a_kept_clip_is_not_added_to(lists: NoteLists) -> None:
    send(lists, TUNE)
    clip = lists.clip("max", "tune")
    assert lists.keep("max", "file", clip).held == 3
    assert lists.clip("max", "file") is clip
    page = AddNotes(name="file", index=3, values=[60.0, 0.0, 1.0, 1.0])
    refusal(lists, ErrorCode.UNSUPPORTED, "name", lambda: lists.add("max", page))
    refusal(lists, ErrorCode.EMPTY, "name", lambda: lists.keep("max", "", clip))
