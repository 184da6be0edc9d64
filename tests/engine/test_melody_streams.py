"""Streams that follow a melody: what the model hears of it, frame by frame, how it changes, and how it is made again."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.melody_line import melody_condition
from engine.conditioning.score import GRID, MELODY, SCALE
from engine.conditioning.words import Directions
from engine.hearing import Hearing
from engine.preparation import Preparation
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from protocols.messages import Generate, Open, Update
from protocols.settings import Settings
from tests.support.own_models import forget_score, write_own_model
from tests.support.streams import codes_of, frames_of, play, prepare
from tests.support.tiny_checkpoints import write_tiny_checkpoint

WINDOW = 40
REST, ONSET, BAR = MELODY + 12, MELODY + 13, GRID + 11
TUNE = MelodyLine.of_seconds([(0, Fraction(1, 2), 60), (Fraction(1, 2), 1, 64), (Fraction(3, 2), 2, 67)], 2)
"""C, E, a rest and G, half a second each: one bar at 120 bpm."""
OTHER = MelodyLine.of_seconds([(0, Fraction(1, 2), 62), (Fraction(1, 2), 2, 65)], 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(path, window_seconds=Fraction(WINDOW, 50))
    return path


@pytest.fixture(scope="module")
def scored(folder: Path) -> ModelBundle:
    """A model that hears scores and words."""
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def deaf(folder: Path) -> ModelBundle:
    """The same model with words only."""
    other = folder.with_name("deaf")
    shutil.copytree(folder, other)
    forget_score(other)
    return load_model(str(other), device="cpu")


@pytest.fixture(scope="module")
def melodic(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A model that hears a melody before the codes."""
    folder = tmp_path_factory.mktemp("melodic")
    return load_model(str(write_tiny_checkpoint(folder, chroma_length=31)), device="cpu")


def sung(hearing: Hearing, frame: int, count: int) -> list[int]:
    """Pitch classes of a score's melody, -1 for rests; -2 where it tells nothing."""
    rows = hearing.score.rows(frame, count)[:, MELODY : MELODY + 13]
    return [int(row.argmax()) if row[:12].any() else -1 if row[12] else -2 for row in rows]


def test_a_model_hears_the_melody_from_the_first_frame_on(scored: ModelBundle) -> None:
    request = Generate(prompt="a song", melody=TUNE.encode(), duration=0.4, seed=1)
    prepared = prepare(scored, request)
    hearing = prepared.stream.hearing
    assert sung(hearing, 0, 200) == ([0] * 25 + [4] * 25 + [-1] * 25 + [7] * 25) * 2
    assert np.flatnonzero(hearing.score.rows(0, 200)[:, ONSET]).tolist() == [0, 25, 75, 100, 125, 175]
    assert hearing.condition.score is hearing.score
    assert prepared.note == "the model hears a melody of 3 notes, 2 s long, of which the stream has 0.4 s"
    whole = prepare(scored, msgspec.structs.replace(request, duration=2.0))
    assert whole.note == "the model hears a melody of 3 notes, 2 s long"
    made = codes_of(prepared.stream)
    assert np.array_equal(made, codes_of(play(scored, request)))
    assert not np.array_equal(made, codes_of(play(scored, Generate(prompt="a song", duration=0.4, seed=1))))
    other = Generate(prompt="a song", melody=OTHER.encode(), duration=0.4, seed=1)
    assert not np.array_equal(made, codes_of(play(scored, other)))


def test_the_melody_begins_after_the_audio_prompt(scored: ModelBundle) -> None:
    codes = np.zeros((scored.num_codebooks, 13), "<u2")
    request = Open(melody=TUNE.encode(), bpm=120.0, codebooks=scored.num_codebooks)
    hearing = prepare(scored, request, codes.tobytes()).stream.hearing
    assert sung(hearing, 13, 100) == [0] * 25 + [4] * 25 + [-1] * 25 + [7] * 25
    assert sung(hearing, 0, 13) == [7] * 13, "what is heard of an earlier turn"
    assert np.flatnonzero(hearing.score.rows(0, 240)[:, BAR]).tolist() == [13, 113, 213]


def test_a_loop_of_no_whole_number_of_frames_stays_with_its_bars(scored: ModelBundle) -> None:
    beat = Fraction(60, 97)
    line = MelodyLine.of_seconds([(0, beat, 60), (beat, 4 * beat, 64)], 4 * beat)
    hearing = prepare(scored, Open(melody=line.encode(), bpm=97.0)).stream.hearing
    bar = 4 * beat * scored.frame_rate
    for turn in (1, 7, 10_000):
        first = int(turn * bar)  # the frame in which the bar begins
        rows = hearing.score.rows(first - 1, 4)
        assert rows[:, ONSET].tolist() == [0, 1, 0, 0]
        assert rows[:, BAR].any()


def test_a_melody_model_hears_it_before_the_codes(melodic: ModelBundle) -> None:
    assert melodic.melody is not None
    codes = np.zeros((melodic.num_codebooks, 13), "<u2")
    request = Generate(prompt="a song", melody=TUNE.encode(), bpm=120.0, duration=0.4, seed=1)
    prepared = prepare(melodic, request)
    prefix = prepared.stream.hearing.condition.prefix
    assert prefix is not None
    assert prefix.prelude.melody is not None
    expected = melody_condition(TUNE, melodic.melody)
    assert torch.equal(prefix.prelude.melody.window(7), expected.window(7))
    assert prepared.note == "the model hears a melody of 3 notes, 2 s long, of which the stream has 0.4 s"
    made = codes_of(prepared.stream)
    assert not np.array_equal(made, codes_of(play(melodic, msgspec.structs.replace(request, melody=OTHER.encode()))))
    assert not np.array_equal(made, codes_of(play(melodic, msgspec.structs.replace(request, melody=""))))
    opened = Open(melody=TUNE.encode(), codebooks=melodic.num_codebooks)
    after_prompt = prepare(melodic, opened, codes.tobytes()).stream.hearing.melody
    assert after_prompt is not None
    assert torch.equal(after_prompt.window(13), expected.window(0))


def test_words_beside_a_melody_may_count_more(melodic: ModelBundle) -> None:
    request = Generate(prompt="a song", melody=TUNE.encode(), bpm=120.0, duration=0.4, seed=1)
    doubly = msgspec.structs.replace(request, double_guidance=2.0)
    condition = prepare(melodic, doubly).stream.hearing.condition
    assert [weight for _, weight in condition.parts] == [2.0, -1.0]
    both, alone = (part.prefix.rows(0)[0] for part, _ in condition.parts)
    melody = both.shape[0] - len(condition.parts[0][0].prefix.text)
    assert torch.equal(both[:melody], alone[:melody])
    assert not alone[melody:].any()
    assert not np.array_equal(codes_of(play(melodic, request)), codes_of(play(melodic, doubly)))


def test_a_melody_model_changes_its_melody_on_the_way(melodic: ModelBundle) -> None:
    assert melodic.melody is not None
    stream = play(melodic, Open(prompt="a song", bpm=120.0, melody=TUNE.encode(), seed=3))
    list(frames_of(stream, 11))
    stream.add_change(changed(melodic, Update(stream=1, melody=OTHER.encode())))
    stream.advance()
    heard = stream.hearing.condition.prefix
    assert heard is not None
    assert heard.prelude.melody is not None
    assert torch.equal(heard.prelude.melody.window(100), melody_condition(OTHER, melodic.melody).window(0)), (
        "from the bar line"
    )
    stream.add_change(changed(melodic, Update(stream=1, prompt="sad piano"), Directions("a song", 120.0)))
    list(frames_of(stream, 14))
    words = stream.hearing.condition.prefix
    assert words is not None
    assert words.prelude.melody is heard.prelude.melody
    assert not torch.equal(words.text, heard.text)
    stream.add_change(changed(melodic, Update(stream=1, melody="")))
    list(frames_of(stream, 17))
    silent = stream.hearing.condition.prefix
    assert silent is not None
    assert silent.prelude.melody is None


def test_a_model_without_melody_says_so(deaf: ModelBundle) -> None:
    asked = Generate(prompt="a song", duration=0.4, seed=1)
    prepared = prepare(deaf, msgspec.structs.replace(asked, melody=TUNE.encode()))
    assert prepared.note == "this model hears no melody: the notes are left out"
    assert np.array_equal(codes_of(prepared.stream), codes_of(play(deaf, asked)))
    note = prepare(deaf, msgspec.structs.replace(asked, melody=TUNE.encode(), bpm=92.0)).note
    assert note == "this model hears no melody: tempo and key are told in words, the notes are left out"
    assert prepare(deaf, asked).note == ""
    with pytest.raises(RequestError) as refused:
        Admission(deaf, Settings()).change(Update(stream=1, melody=TUNE.encode()), Directions(asked.prompt))
    assert (refused.value.code, refused.value.field) == (ErrorCode.UNSUPPORTED, "melody")


def test_a_new_melody_is_heard_at_once_in_step_with_the_bars(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a song", bpm=120.0, melody=TUNE.encode(), seed=3))
    list(frames_of(stream, 31))
    before, frame = stream.hearing, stream.sampler.next_frame
    stream.add_change(changed(scored, Update(stream=1, melody=OTHER.encode())))
    stream.advance()
    after = stream.hearing
    assert sung(after, 0, frame) == sung(before, 0, frame), "frames keep the melody that they were made under"
    assert sung(after, frame, 200) == (([2] * 25 + [5] * 75) * 4)[frame : frame + 200], (
        "the bar's first note is at the bar line"
    )


def test_without_bars_a_new_melody_begins_here(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a song", seed=3))
    list(frames_of(stream, 31))
    frame = stream.sampler.next_frame
    assert sung(stream.hearing, 0, 100) == [-2] * 100
    stream.add_change(changed(scored, Update(stream=1, melody=OTHER.encode())))
    stream.advance()
    assert sung(stream.hearing, frame, 100) == [2] * 25 + [5] * 75
    assert sung(stream.hearing, frame - 3, 3) == [-2] * 3


def test_a_new_tempo_and_a_new_melody_at_once_have_the_same_bars(scored: ModelBundle) -> None:
    beat = Fraction(60, 97)
    line = MelodyLine.of_seconds([(0, beat, 60), (beat, 4 * beat, 64)], 4 * beat)
    stream = play(scored, Open(prompt="a song", bpm=120.0, seed=3))
    list(frames_of(stream, 31))
    stream.add_change(changed(scored, Update(stream=1, melody=line.encode(), bpm=97.0), Directions("a song", 120.0)))
    stream.advance()
    rows = stream.hearing.score.rows(31, 2000)
    bars, notes = np.flatnonzero(rows[:, BAR]), np.flatnonzero(rows[:, ONSET])
    assert all(min(abs(notes - bar)) <= 1 for bar in bars)
    assert len(bars) == 16


def test_a_melody_goes_on_when_something_else_changes(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="a song", bpm=120.0, melody=TUNE.encode(), seed=3))
    list(frames_of(stream, 9))
    stream.add_change(
        changed(scored, Update(stream=1, prompt="sad piano", key="C", bpm=90.0), Directions("a song", 120.0))
    )
    stream.advance()
    assert sung(stream.hearing, 0, 100) == [0] * 25 + [4] * 25 + [-1] * 25 + [7] * 25
    assert stream.hearing.score.rows(60, 1)[0, SCALE : SCALE + 12].sum() == 7
    stream.add_change(changed(scored, Update(stream=1, melody="")))
    list(frames_of(stream, 12))
    frame = stream.sampler.next_frame
    assert sung(stream.hearing, frame, 50) == [-2] * 50
    assert stream.hearing.score.rows(60, 1)[0, SCALE : SCALE + 12].sum() == 7


@pytest.mark.parametrize("which", ["scored", "melodic"])
def test_a_stream_whose_melody_changes_is_made_again_from_its_record(
    which: str, request: pytest.FixtureRequest
) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    asked = Generate(prompt="a song", bpm=97.0, melody=TUNE.encode(), duration=2.4, seed=5)
    updates = {
        7: Update(stream=1, melody=OTHER.encode()),
        38: Update(stream=1, prompt="sad piano"),
        61: Update(stream=1, melody="", guidance=1.5),
        80: Update(stream=1, melody=TUNE.encode(), bpm=61.0),
    }
    stream, directions = play(bundle, asked), Directions("a song", 97.0)
    made, records = [], []
    for codes, changes in frames_of(stream):
        made.append(codes)
        records += [change.record() for change in changes]
        if (update := updates.get(len(made))) is not None:
            change = changed(bundle, update, directions)
            directions = change.directions or directions
            stream.add_change(change)
    assert [record["frame"] for record in records] == list(updates)
    assert records[0] == {"frame": 7, "melody": OTHER.encode()}
    assert records[2] == {"frame": 61, "melody": "", "guidance": 1.5}
    assert "melody" not in records[1]

    again = play(bundle, msgspec.structs.replace(asked, script=json.dumps(records)))
    assert np.array_equal(np.concatenate(made, axis=1), codes_of(again))
    assert sung(again.hearing, 60, 90) == sung(stream.hearing, 60, 90)
    for left_out in range(len(records)):
        fewer = json.dumps([record for index, record in enumerate(records) if index != left_out])
        other = play(bundle, msgspec.structs.replace(asked, script=fewer))
        assert not np.array_equal(np.concatenate(made, axis=1), codes_of(other)), "each change is heard"


@pytest.mark.parametrize("which", ["scored", "melodic"])
@pytest.mark.parametrize("seed", range(3))
def test_any_changes_at_any_frames_are_made_again(which: str, seed: int, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    generator = np.random.default_rng(seed)
    asked = Open(prompt="a song", melody=TUNE.encode(), key_hint="C", seed=seed)
    stream, directions = play(bundle, asked), Directions("a song", key_hint="C")
    made, records = [], []
    for codes, changes in frames_of(stream, 120):
        made.append(codes)
        records += [change.record() for change in changes]
        if generator.random() < 0.1:
            choices = {
                "prompt": ["sad piano", "drums in A minor", ""],
                "bpm": [0.0, 61.0, 133.7],
                "key": ["", "F# dorian"],
                "melody": [TUNE.encode(), OTHER.encode(), ""],
                "guidance": [1.0, 4.0],
                "top_k": [0, 5],
            }
            named = generator.choice(list(choices), size=generator.integers(1, 4), replace=False)
            fields = {name: generator.choice(choices[name]).item() for name in named}
            change = changed(bundle, Update(stream=1, **fields), directions)
            directions = change.directions or directions
            stream.add_change(change)
    assert len(records) > 3
    again = play(bundle, msgspec.structs.replace(asked, script=json.dumps(records)))
    assert np.array_equal(np.concatenate(made, axis=1), codes_of(again, 120))


@pytest.mark.parametrize(
    ("melody", "code"),
    [
        ("do re mi", ErrorCode.MALFORMED),
        ('{"rate":2,"length":4,"notes":[]}', ErrorCode.EMPTY),
        ('{"rate":2,"length":4,"notes":[[0,1,128]]}', ErrorCode.OUT_OF_RANGE),
        ('{"rate":2,"length":4,"notes":[[0,2,60],[1,3,62]]}', ErrorCode.MALFORMED),
        ('{"rate":1,"length":3601,"notes":[[0,2,60]]}', ErrorCode.TOO_LONG),
        ('{"rate":0,"length":4,"notes":[[0,2,60]]}', ErrorCode.OUT_OF_RANGE),
    ],
)
def test_a_melody_that_cannot_be_is_refused(scored: ModelBundle, melody: str, code: ErrorCode) -> None:
    admission = Admission(scored, Settings())
    script = json.dumps([{"frame": 1, "melody": melody}])
    for ask in (
        lambda: admission.plan(Generate(melody=melody), b""),
        lambda: admission.plan(Generate(script=script), b""),
        lambda: admission.change(Update(stream=1, melody=melody), Directions()),
    ):
        with pytest.raises(RequestError) as refused:
            ask()
        assert (refused.value.code, refused.value.field) == (code, "melody")
        assert refused.value.allowed


def changed(bundle: ModelBundle, update: Update, before: Directions | None = None) -> Change:
    """An update as it reaches a stream that is asked to play ``before``."""
    change = Admission(bundle, Settings()).change(update, before or Directions("a song"))
    return Preparation(bundle).condition(change)
