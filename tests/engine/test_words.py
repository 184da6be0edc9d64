"""Tempo, key and metre in words: many spellings, and words that only look like them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from engine.conditioning.words import Directions, key_in, metre_in, tempo_in
from protocols.errors import ErrorCode, RequestError

A_MINOR = frozenset({9, 11, 0, 2, 4, 5, 7})
B_FLAT_MAJOR = frozenset({10, 0, 2, 3, 5, 7, 9})
C_SHARP_MINOR = frozenset({1, 3, 4, 6, 8, 9, 11})
F_SHARP_MINOR = frozenset({6, 8, 9, 11, 1, 2, 4})


def in_words(directions: Directions) -> str:
    """The one prompt of directions as a model hears it that hears nothing else."""
    ((text, share),) = directions.prompts(scored=False)
    assert share == 1
    return text


def beside_a_score(directions: Directions) -> str:
    """The one prompt of directions as a model hears it that is told tempo and key frame by frame."""
    ((text, share),) = directions.prompts(scored=True)
    assert share == 1
    return text


@pytest.mark.parametrize(
    ("words", "bpm"),
    [
        ("120bpm", 120),
        ("slow jazz piano trio in A minor, 92 bpm", 92),
        ("at 92.5 BPM", Fraction(185, 2)),
        ("120.5555 bpm", Fraction(120556, 1000)),
        ("tempo: 140", 140),
        ("tempo of 96, then silence", 96),
        ("Tempo 84 bpm", 84),
        ("bpm=128.", 128),
        ("100 beats per minute", 100),
        ("174 beats/min jungle", 174),
        ("♩ = 72", 72),
        ("808 bass at 140 bpm", 140),
        ("1990s house, 124-bpm", 124),
        ("first 400 bpm, no: 200 bpm", 200),
        ("20 bpm", 20),
        ("300 bpm", 300),
    ],
)
def test_a_tempo_is_found(words: str, bpm: int | Fraction) -> None:
    assert tempo_in(words) == bpm


@pytest.mark.parametrize(
    "words",
    [
        "",
        "1990s house",
        "808 bass",
        "80s synth pop, mid-tempo",
        "uptempo 90s rock",
        "slow tempo 80s ballad",
        "400 bpm",
        "19 bpm",
        "1120 bpm",
        "92,5 bpm",
        "v1.120 bpm",
        "tempo 1990",
        "12 bars of 6/8",
        "120 bpmx",
    ],
)
def test_a_number_that_is_no_tempo(words: str) -> None:
    assert tempo_in(words) is None


@pytest.mark.parametrize(
    ("words", "scale"),
    [
        ("A minor", A_MINOR),
        ("slow jazz piano trio in A minor, 92 bpm", A_MINOR),
        ("slow, in a minor", A_MINOR),
        ("a minor, 92 bpm", A_MINOR),
        ("waltz in a minor with strings", A_MINOR),
        ("in Am", A_MINOR),
        ("lofi, Am, 90 bpm", A_MINOR),
        ("C major", A_MINOR),
        ("key of C", A_MINOR),
        ("in D dorian", A_MINOR),
        ("E phrygian guitar", A_MINOR),
        ("in A aeolian", A_MINOR),
        ("in A natural minor", A_MINOR),
        ("Bb major", B_FLAT_MAJOR),
        ("B♭ Major march", B_FLAT_MAJOR),
        ("key: Bb", B_FLAT_MAJOR),
        ("in the key of B flat", B_FLAT_MAJOR),
        ("b-flat major", B_FLAT_MAJOR),
        ("F mixolydian", B_FLAT_MAJOR),
        ("in c sharp minor", C_SHARP_MINOR),
        ("C# min", C_SHARP_MINOR),
        ("db minor", C_SHARP_MINOR),
        ("F#m", F_SHARP_MINOR),
        ("techno in F#m", F_SHARP_MINOR),
        ("F♯ minor", F_SHARP_MINOR),
        ("A harmonic minor", frozenset({9, 11, 0, 2, 4, 5, 8})),
        ("A melodic minor", frozenset({9, 11, 0, 2, 4, 6, 8})),
        ("C lydian", frozenset({0, 2, 4, 6, 7, 9, 11})),
        ("B locrian", A_MINOR),
        ("Cb major", frozenset({11, 1, 3, 4, 6, 8, 10})),
    ],
)
def test_a_key_is_found(words: str, scale: frozenset[int]) -> None:
    assert key_in(words) == scale


@pytest.mark.parametrize(
    "words",
    [
        "",
        "a minor issue",
        "in a minor mood",
        "in a minor key",
        "A minor setback, then hope",
        "a major hit",
        "It is loud. A major chorus",
        "I am",
        "Am I dreaming",
        "with a minor third",
        "key of a song",
        "the minor key",
        "Cmaj7 chords",
        "be major",
        "in C",
        "band's minor hit",
    ],
)
def test_words_that_name_no_key(words: str) -> None:
    assert key_in(words) is None


@pytest.mark.parametrize(
    ("words", "metre"),
    [
        ("waltz", (3, 2)),
        ("two Waltzes", (3, 2)),
        ("in 3/4 time", (3, 2)),
        ("6/8", (2, 3)),
        ("a jig", (2, 3)),
        ("slow 12/8 blues", (4, 3)),
        ("4/4 waltz", (4, 2)),
        ("", None),
        ("jigsaw", None),
        ("waltzing", None),
        ("16/8", None),
        ("3/4/5", None),
        ("7/8", (Fraction(7, 2), 2)),
        ("5/4 jazz", (5, 2)),
        ("9/8", (3, 3)),
        ("1/16 hats", None),
        ("24/7", None),
    ],
)
def test_a_metre_is_found(words: str, metre: tuple[int | Fraction, int] | None) -> None:
    assert metre_in(words) == metre


@pytest.mark.parametrize("key", ["A minor", "a minor", "Am", "A min", " A  natural minor ", "A aeolian", "a-minor"])
def test_a_given_key_has_many_spellings(key: str) -> None:
    assert Directions(key=key).scale == A_MINOR


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("F# dorian", "F sharp dorian"),
        ("bb", "B flat major"),
        ("G", "G major"),
        ("CM", "C major"),
        ("Cm", "C minor"),
        ("E flat", "E flat major"),
        ("Db", "D flat major"),
    ],
)
def test_a_given_key_is_put_into_words(key: str, name: str) -> None:
    assert in_words(Directions("strings", key=key)) == f"strings, in {name}"


def test_what_is_given_wins_over_the_words() -> None:
    given = Directions("waltz in A minor, 92 bpm", bpm=120.0, key="C# minor")
    assert given.tempo == 120
    assert given.scale == C_SHARP_MINOR
    assert beside_a_score(given) == in_words(given) == "waltz in C sharp minor, 120 bpm"
    spoken = Directions("waltz in A minor, 92 bpm")
    assert (spoken.tempo, spoken.scale) == (92, A_MINOR)


@pytest.mark.parametrize(
    ("prompt", "bpm", "key", "words", "text"),
    [
        ("", 0.0, "", "", ""),
        ("a song", 0.0, "", "a song", "a song"),
        ("a song", 92.0, "", "a song", "a song, 92 bpm"),
        ("a song", 92.5, "Am", "a song", "a song, 92.5 bpm, in A minor"),
        ("", 92.0, "Am", "", "92 bpm, in A minor"),
        ("song at 92 bpm", 92.0, "", "song at 92 bpm", "song at 92 bpm"),
        ("song, tempo: 90", 92.0, "", "song, 92 bpm", "song, 92 bpm"),
        ("song in Bbm", 0.0, "A# minor", "song in Bbm", "song in Bbm"),
        ("song in Em, slow", 0.0, "G mixolydian", "song in G mixolydian, slow", "song in G mixolydian, slow"),
    ],
)
def test_facts_become_words(prompt: str, bpm: float, key: str, words: str, text: str) -> None:
    directions = Directions(prompt, bpm, key)
    assert beside_a_score(directions) == words
    assert in_words(directions) == text


def test_what_is_put_into_words_is_read_from_them() -> None:
    told = Directions("drums", 97.123, "Ab lydian")
    heard = Directions(in_words(told))
    assert (heard.tempo, heard.scale) == (told.tempo, told.scale) == (Fraction(97123, 1000), heard.scale)


@pytest.mark.parametrize("bpm", [-1.0, 19.9, 300.1, float("nan")])
def test_a_tempo_out_of_range_is_refused(bpm: float) -> None:
    with pytest.raises(RequestError) as refused:
        Directions(bpm=bpm)
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "bpm")
    assert "20 to 300" in refused.value.text


@pytest.mark.parametrize("key", ["H minor", "A minorish", "minor", "in A minor", "A minor 92 bpm", "♯", "AA", "A b c"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(RequestError) as refused:
        Directions(key=key)
    assert (refused.value.code, refused.value.field, refused.value.value) == (ErrorCode.OUT_OF_RANGE, "key", key)
    assert "A minor" in refused.value.text


def test_a_change_keeps_what_it_does_not_name() -> None:
    before = Directions("a song", 92.0, "A minor")
    assert before.changed(bpm=100.0) == Directions("a song", 100.0, "A minor")
    assert before.changed(prompt="drums") == Directions("drums", 92.0, "A minor")
    assert before.changed(key="", bpm=0.0) == Directions("a song")
    assert before.changed() == before
    with pytest.raises(RequestError):
        before.changed(key="H")


def test_a_score_says_what_the_words_say() -> None:
    rate = Fraction(50)
    nothing = Directions("a song").score(rate)
    assert (nothing.grid, nothing.scale) == (None, None)
    waltz = Directions("waltz in A minor, 90 bpm").score(rate, first=75)
    assert waltz.grid is not None
    assert (waltz.grid.bpm, waltz.grid.beats_per_bar, waltz.grid.division) == (90, 3, 2)
    assert waltz.grid.beat_at(75, rate) % 3 == 0, "a bar begins with the new material"
    assert waltz.scale == A_MINOR


def test_a_score_goes_on_where_it_is() -> None:
    rate = Fraction(50)
    before = Directions("a song in A minor, 92 bpm").score(rate)
    assert before.grid is not None
    for frame in (1, 77, 10_001):
        after = Directions("drums", bpm=133.7).score_after(before, frame)
        assert after.grid is not None
        assert after.grid.bpm == Fraction(1337, 10)
        assert after.scale == A_MINOR, "nothing is said about the key"
        assert (after.grid.beat_at(frame, rate) - before.grid.beat_at(frame, rate)) % 4 == 0
    silent = Directions("drums").score_after(before, 50)
    assert silent.grid is not None
    assert silent.grid.bpm == 92, "nothing is said about the tempo"
    begun = Directions("6/8, 60 bpm").score_after(Directions().score(rate), 33)
    assert begun.grid is not None
    assert (begun.grid.beats_per_bar, begun.grid.division, begun.grid.beat_at(33, rate) % 2) == (2, 3, 0)


def test_a_hint_counts_where_nothing_else_tells_the_key() -> None:
    rate = Fraction(50)
    hinted = Directions("a song", key_hint="Bb major")
    assert in_words(hinted) == "a song, in B flat major"
    assert beside_a_score(hinted) == "a song"
    assert hinted.score(rate).scale == B_FLAT_MAJOR
    worded = Directions("a song in A minor", key_hint="Bb major")
    assert in_words(worded) == "a song in A minor"
    assert worded.score(rate).scale == A_MINOR
    given = Directions("a song in A minor", key="C# minor", key_hint="Bb major")
    assert in_words(given) == "a song in C sharp minor"
    assert given.score(rate).scale == C_SHARP_MINOR


def test_a_hint_gives_way_to_what_was_told_earlier() -> None:
    rate = Fraction(50)
    hinted = Directions("a song", key_hint="Bb major")
    later = hinted.changed(prompt="drums in A minor")
    assert later.key_hint == "Bb major"
    score = later.score_after(hinted.score(rate), 10)
    assert score.scale == A_MINOR
    assert later.changed(prompt="drums").score_after(score, 20).scale == A_MINOR
    with pytest.raises(RequestError) as refused:
        Directions(key_hint="H")
    assert refused.value.field == "key_hint"


def test_several_prompts_have_shares() -> None:
    assert Directions("warm strings || harp").prompts(scored=True) == (("warm strings", 0.5), ("harp", 0.5))
    assert Directions("a||b||c", weights="2, 1 1").prompts(scored=True) == (("a", 0.5), ("b", 0.25), ("c", 0.25))
    assert Directions("a || b", weights="0 3").prompts(scored=True) == (("b", 1.0),), "what has no weight is left out"
    assert Directions("a || b || a", weights="1 2 1").prompts(scored=True) == (("a", 0.5), ("b", 0.5))
    told = Directions("a || b, 100 bpm", bpm=92.0, key="Am").prompts(scored=False)
    assert told == (("a, 92 bpm, in A minor", 0.5), ("b, 92 bpm, in A minor", 0.5))


def test_new_prompts_have_equal_weights_and_new_weights_the_same_prompts() -> None:
    directions = Directions("a || b", weights="3 1", blend="guidance")
    assert directions.changed(weights="1 3") == Directions("a || b", weights="1 3", blend="guidance")
    assert directions.changed(prompt="c") == Directions("c", blend="guidance")
    assert directions.changed(bpm=92.0).weights == "3 1"


@pytest.mark.parametrize(
    ("prompt", "weights", "field", "allowed"),
    [
        ("a || b", "1", "weights", "2 numbers"),
        ("a", "1 1", "weights", "1 number from"),
        ("a || b", "0 0", "weights", "not all 0"),
        ("a || b", "1 -1", "weights", "from 0 to 1000"),
        ("a || b", "1 nan", "weights", "from 0 to 1000"),
        ("a || b", "1e4 1", "weights", "from 0 to 1000"),
        ("a || b", "much little", "weights", "2 numbers"),
        (" || ".join("abcdefghi"), "", "prompt", "at most 8 prompts"),
    ],
)
def test_wrong_weights_are_refused(prompt: str, weights: str, field: str, allowed: str) -> None:
    with pytest.raises(RequestError) as refused:
        Directions(prompt, weights=weights)
    assert refused.value.field == field
    assert allowed in refused.value.text


def test_a_metre_is_told_to_a_model_that_hears_words_only() -> None:
    assert in_words(Directions("a song", metre="5/4")) == "a song, in 5/4 time"
    assert in_words(Directions("a song in 3/4", metre="5/4")) == "a song in 5/4"
    assert in_words(Directions("a song in 3/4", metre="3/4")) == "a song in 3/4"
    assert beside_a_score(Directions("a song", metre="5/4")) == "a song"
    assert beside_a_score(Directions("a song in 3/4", metre="5/4")) == "a song in 5/4"


def test_a_metre_that_is_given_counts_more_than_words() -> None:
    grid = Directions("a waltz", 120.0, metre="7/8").score(Fraction(50)).grid
    assert grid is not None
    assert (grid.beats_per_bar, grid.division) == (Fraction(7, 2), 2)
    waltz = Directions("a waltz", 120.0)
    assert waltz.changed(metre="6/8").bars == (2, 3)
    assert waltz.changed(metre="6/8").changed(metre="").bars == (3, 2)
    later = waltz.changed(metre="6/8").score_after(waltz.score(Fraction(50)), 100).grid
    assert later is not None
    assert (later.beats_per_bar, later.division) == (2, 3)
    with pytest.raises(RequestError) as caught:
        Directions("a song", metre="4/5")
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "metre")
