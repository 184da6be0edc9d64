"""Streams that are asked for a tempo and a key: what the model hears of them, how they change, and how they are made again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.score import GRID, SCALE
from engine.conditioning.words import Directions
from engine.preparation import Preparation
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Generate, Open, StreamRequest, Update
from protocols.settings import Settings
from tests.support.own_models import forget_score, write_own_model
from tests.support.streams import codes_of, frames_of, play, prepare

BAR = GRID + 11
WINDOW, STRIDE = 40, 20


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
def plain(folder: Path) -> ModelBundle:
    """The same model with words only."""
    deaf = folder.with_name("deaf")
    shutil.copytree(folder, deaf)
    forget_score(deaf)
    return load_model(str(deaf), device="cpu")


def test_without_a_score_tempo_and_key_are_told_in_words(plain: ModelBundle) -> None:
    fields = codes_of(play(plain, Generate(prompt="a song", bpm=92.0, key="Am", duration=0.4, seed=1)))
    words = codes_of(play(plain, Generate(prompt="a song, 92 bpm, in A minor", duration=0.4, seed=1)))
    neither = codes_of(play(plain, Generate(prompt="a song", duration=0.4, seed=1)))
    assert np.array_equal(fields, words)
    assert not np.array_equal(fields, neither)


def test_without_a_tempo_a_model_hears_no_beat(scored: ModelBundle) -> None:
    stream = play(scored, Generate(prompt="a song", duration=0.4, seed=1))
    assert not stream.hearing.score.rows(0, 20).any()


def test_a_model_hears_the_score_of_words_and_fields(scored: ModelBundle) -> None:
    def codes(**fields: object) -> NDArray[np.int64]:
        return codes_of(play(scored, Generate(prompt="a song", duration=0.4, seed=1, **fields)))  # type: ignore[arg-type]

    steady = codes(bpm=92.0)
    assert np.array_equal(steady, codes(bpm=92.0))
    assert not np.array_equal(steady, codes(bpm=140.0))
    assert not np.array_equal(steady, codes())
    assert not np.array_equal(steady, codes(bpm=92.0, key="C"))
    assert np.array_equal(codes(key="C"), codes(key="Am")), "the same scale; the words stay as they are"
    spoken = play(scored, Generate(prompt="waltz in A minor, 92 bpm", duration=0.4)).hearing.score
    given = play(scored, Generate(prompt="waltz", bpm=92.0, key="A minor", duration=0.4)).hearing.score
    assert np.array_equal(spoken.rows(0, 200), given.rows(0, 200))


@pytest.mark.parametrize("frames", [1, 9, 16, 100])
def test_the_first_bar_begins_after_the_audio_prompt(scored: ModelBundle, frames: int) -> None:
    generator = np.random.default_rng(1)
    codes = generator.integers(0, scored.card, (scored.num_codebooks, frames)).astype("<u2")
    request = Open(prompt="a song", bpm=97.0, codebooks=scored.num_codebooks)
    stream = prepare(scored, request, codes.tobytes()).stream
    first = min(frames, WINDOW - STRIDE)
    assert stream.prompt_frames == first
    assert stream.hearing.score.rows(first, 1)[0, BAR] == 1
    assert stream.hearing.score.latest.grid is not None
    assert stream.hearing.score.latest.grid.beat_at(first, scored.frame_rate) % 4 == 0


def test_a_change_of_tempo_goes_on_in_the_middle_of_the_beat(scored: ModelBundle) -> None:
    stream = play(scored, Open(prompt="waltz in A minor", bpm=92.0, seed=3))
    preparation = Preparation(scored)
    before = stream.hearing.score
    assert len(list(frames_of(stream, 31))) == 31
    stream.add_change(
        preparation.condition(Change.of(Update(stream=1, bpm=133.0), Directions("waltz in A minor", 92.0)))
    )
    frame = stream.sampler.next_frame
    stream.advance()
    after = stream.hearing.score
    assert after is not before
    old, new = before.latest.grid, after.latest.grid
    assert old is not None
    assert new is not None
    assert (new.bpm, new.beats_per_bar) == (133, 3)
    rate = scored.frame_rate
    assert new.beat_at(frame, rate) % 3 == old.beat_at(frame, rate) % 3 != 0
    rows = after.rows(frame - 30, 60)
    assert np.array_equal(rows[:30], before.rows(frame - 30, 30)), "frames keep the score that they were made under"
    assert not np.array_equal(rows[30:], before.rows(frame, 30))


def test_a_score_remembers_as_much_as_windows_hear_again(scored: ModelBundle) -> None:
    script = json.dumps([{"frame": frame, "bpm": 60.0 + frame} for frame in range(3, 90, 3)])

    def codes(memory: int | None) -> NDArray[np.int64]:
        stream = play(scored, Generate(prompt="a song", bpm=92.0, duration=2.2, seed=5, script=script))
        if memory is not None:
            stream.hearing = replace(stream.hearing, score=replace(stream.hearing.score, memory=memory))
        return codes_of(stream)

    made = codes(None)
    assert np.array_equal(made, codes(10**6))
    assert not np.array_equal(made, codes(2))


@pytest.mark.parametrize("which", ["plain", "scored"])
def test_a_changed_stream_is_made_again_from_its_record(which: str, request: pytest.FixtureRequest) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    asked = Generate(prompt="a song", bpm=92.0, duration=2.4, seed=5)
    directions = Directions("a song", 92.0)
    updates = {
        7: Update(stream=1, bpm=133.5),
        38: Update(stream=1, prompt="sad piano", temperature=0.9),
        39: Update(stream=1, key="F# dorian"),
        80: Update(stream=1, guidance=1.5),
        90: Update(stream=1, bpm=61.0, key="C"),
    }
    stream, preparation = play(bundle, asked), Preparation(bundle)
    made, records = [], []
    for codes, changes in frames_of(stream):
        made.append(codes)
        records += [change.record() for change in changes]
        if (update := updates.get(len(made))) is not None:
            change = Change.of(update, directions)
            directions = change.directions or directions
            stream.add_change(preparation.condition(change))
    assert [record["frame"] for record in records] == list(updates)
    told = {"prompt": "sad piano", "bpm": 133.5, "key": "", "metre": "", "weights": "", "blend": "embedding"}
    assert records[1] == {"frame": 38, **told, "temperature": 0.9}
    assert records[3] == {"frame": 80, "guidance": 1.5}
    assert directions == Directions("sad piano", 61.0, "C")

    again = play(bundle, Generate(prompt="a song", bpm=92.0, duration=2.4, seed=5, script=json.dumps(records)))
    assert np.array_equal(np.concatenate(made, axis=1), codes_of(again))
    without = play(bundle, asked)
    assert not np.array_equal(np.concatenate(made, axis=1), codes_of(without))
    if bundle.score:
        assert np.array_equal(stream.hearing.score.rows(85, 60), again.hearing.score.rows(85, 60))
        scale = np.flatnonzero(again.hearing.score.rows(110, 1)[0, SCALE : SCALE + 12]).tolist()
        assert scale == [0, 2, 4, 5, 7, 9, 11]


def test_a_script_is_read_in_order_and_keeps_what_it_does_not_name(plain: ModelBundle) -> None:
    script = [{"frame": 50, "bpm": 120.0}, {"frame": 20, "prompt": "drums", "key": "Em"}, {"frame": 60, "top_k": 5}]
    request = Generate(prompt="a song", bpm=92.0, script=json.dumps(script))
    plan = Admission(plain, Settings()).plan(request, b"")
    assert plan.directions == Directions("a song", 92.0)
    assert [(change.frame, change.directions) for change in plan.script] == [
        (20, Directions("drums", 92.0, "Em")),
        (50, Directions("drums", 120.0, "Em")),
        (60, None),
    ]


def test_a_sidecar_of_an_earlier_release_is_read(plain: ModelBundle) -> None:
    script = [{"frame": 3, "prompt": "drums"}, {"frame": 4, "prompt": None, "temperature": 0.5}]
    plan = Admission(plain, Settings()).plan(Generate(prompt="x", script=json.dumps(script)), b"")
    assert [change.directions for change in plan.script] == [Directions("drums"), None]


@pytest.mark.parametrize(
    ("request_", "field", "value"),
    [
        (Generate(bpm=10.0), "bpm", "10.0"),
        (Open(key="H minor"), "key", "H minor"),
        (Generate(script='[{"frame": 1, "bpm": 19}]'), "bpm", "19.0"),
        (Generate(script='[{"frame": 1, "key": "loud"}]'), "key", "loud"),
        (Generate(script='[{"frame": 1, "bpm": 301}]'), "bpm", "301"),
    ],
)
def test_what_cannot_be_played_is_refused(plain: ModelBundle, request_: StreamRequest, field: str, value: str) -> None:
    with pytest.raises(RequestError) as refused:
        Admission(plain, Settings()).plan(request_, b"")
    assert (refused.value.code, refused.value.field, refused.value.value) == (ErrorCode.OUT_OF_RANGE, field, value)
    assert refused.value.allowed


def test_a_window_that_moves_by_less_hears_more_of_the_prompt(scored: ModelBundle) -> None:
    codes = np.random.default_rng(1).integers(0, scored.card, (scored.num_codebooks, 39)).astype("<u2")
    request = Open(prompt="a song", codebooks=scored.num_codebooks)
    for stride, heard in ((0.0, WINDOW - STRIDE), (0.1, WINDOW - 5), (0.78, 1)):
        prepared = prepare(scored, structs.replace(request, stride=stride), codes.tobytes())
        assert prepared.stream.prompt_frames == heard


def test_the_stride_decides_where_windows_begin(scored: ModelBundle) -> None:
    asked = Generate(prompt="a song", bpm=92.0, duration=2.4, seed=5)
    made = codes_of(play(scored, asked))
    own = codes_of(play(scored, structs.replace(asked, stride=STRIDE / 50)))
    other = codes_of(play(scored, structs.replace(asked, stride=0.3)))
    assert np.array_equal(made, own)
    assert np.array_equal(made[:, : WINDOW - 3], other[:, : WINDOW - 3])
    assert not np.array_equal(made, other)


@pytest.mark.parametrize("stride", [0.8, 18.0])
def test_a_window_moves_by_less_than_its_length(scored: ModelBundle, stride: float) -> None:
    with pytest.raises(RequestError) as refused:
        prepare(scored, Generate(prompt="a song", stride=stride))
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "stride")
    assert "0, or 0.02 to 0.78 s" in refused.value.text
