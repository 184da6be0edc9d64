"""Sections of a stream: the same as changing it by hand at these frames, whatever else is changed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.admission import Admission
from engine.change_desk import ChangeDesk
from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.words import Directions
from engine.entries import Entry
from engine.models import LoadedModel
from engine.preparation import Preparation
from engine.scheduler import Alter
from engine.stream import EngineStream, StreamChanged, StreamOvertaken
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Generate, StreamRequest, Update
from protocols.settings import Settings
from tests.support.own_models import forget_score, write_own_model
from tests.support.streams import codes_of, frames_of, play

SECTIONS = "0.4 sad piano || 2b over 1 happy drums || 1.6 techno"
"""At 100 beats per minute frames 20, 60 and 80."""
ASKED = Generate(prompt="a song", bpm=100.0, duration=2.4, seed=5, sections=SECTIONS)


@pytest.fixture(scope="module", params=["scored", "plain"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder, window_seconds=Fraction(40, 50))
    if request.param == "plain":
        forget_score(folder)
    return load_model(str(folder), device="cpu")


def by_hand(bundle: ModelBundle, updates: dict[int, Update]) -> tuple[NDArray[np.int64], list[dict[str, object]]]:
    """The stream without its sections, changed when it has made so many frames."""
    stream = play(bundle, Generate(prompt="a song", bpm=100.0, duration=2.4, seed=5))
    preparation, directions = Preparation(bundle), Directions("a song", 100.0)
    made, records = [], []
    for codes, changes in frames_of(stream):
        made.append(codes)
        records += [change.record() for change in changes]
        if (update := updates.get(len(made))) is not None:
            change = Change.of(update, directions)
            directions = change.directions or directions
            stream.add_change(preparation.condition(change))
    return np.concatenate(made, axis=1), records


HANDS = {
    20: Update(stream=1, prompt="sad piano"),
    60: Update(stream=1, prompt="happy drums", morph=1.0),
    80: Update(stream=1, prompt="techno"),
}


def test_sections_are_changes_at_their_frames(bundle: ModelBundle) -> None:
    expected, records = by_hand(bundle, HANDS)
    stream = play(bundle, ASKED)
    made, told = [], []
    for codes, changes in frames_of(stream):
        made.append(codes)
        told += [change.record() for change in changes]
    sampled = np.concatenate(made, axis=1)
    assert np.array_equal(sampled, expected)
    assert [one.pop("section") for one in told] == [1, 2, 3]
    assert told == records
    assert [one["frame"] for one in told] == [20, 60, 80]
    again = play(bundle, Generate(prompt="a song", bpm=100.0, duration=2.4, seed=5, script=json.dumps(told)))
    assert np.array_equal(codes_of(again), expected)
    assert not np.array_equal(
        codes_of(play(bundle, Generate(prompt="a song", bpm=100.0, duration=2.4, seed=5))), expected
    )


def test_a_section_at_the_beginning_is_the_prompt(bundle: ModelBundle) -> None:
    told = Generate(prompt="a song", bpm=100.0, duration=0.6, seed=1)
    section = Generate(prompt="techno", bpm=100.0, duration=0.6, seed=1, sections="0 a song")
    other = Generate(prompt="techno", bpm=100.0, duration=0.6, seed=1)
    assert np.array_equal(codes_of(play(bundle, section)), codes_of(play(bundle, told)))
    assert not np.array_equal(codes_of(play(bundle, section)), codes_of(play(bundle, other)))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sections": "x"}, ErrorCode.MALFORMED),
        ({"sections": "2b song", "bpm": 0.0}, ErrorCode.MISSING),
        ({"sections": "2.4 song"}, ErrorCode.OUT_OF_RANGE),
        ({"sections": "1 song", "script": "[]"}, ErrorCode.MALFORMED),
    ],
)
def test_what_is_wrong_is_refused(bundle: ModelBundle, fields: dict[str, object], code: ErrorCode) -> None:
    request = Generate(**{"prompt": "a song", "bpm": 100.0, "duration": 2.4, **fields})  # type: ignore[arg-type]
    with pytest.raises(RequestError) as caught:
        Admission(bundle, Settings()).plan(request, b"")
    assert (caught.value.code, caught.value.field) == (code, "sections")


def test_beats_may_be_those_of_the_words(bundle: ModelBundle) -> None:
    plan = Admission(bundle, Settings()).plan(Generate(prompt="song, 100 bpm", sections="2b drums"), b"")
    assert [change.frame for change in plan.script] == [60]
    assert (plan.request.sections, json.loads(plan.request.script)[0]["prompt"]) == ("", "drums")


class Stage:
    """A stream, its service's side and all that is under way between them; `deliver` moves it."""

    def __init__(self, bundle: ModelBundle, request: StreamRequest) -> None:
        model = LoadedModel(bundle, Settings())
        plan = model.admission.plan(request, b"")
        self.stream: EngineStream = model.preparation.prepare(1, plan).stream
        owner: object = None
        self.entry = Entry(1, plan.request, owner, model, plan.seed, 2.4, plan.directions)  # type: ignore[arg-type]
        self.entry.prepared = True
        self.entry.planned = list(plan.script)
        self.desk = ChangeDesk(self, self, lambda call: call())  # type: ignore[arg-type]
        self.posts: list[Alter] = []
        self.records: list[dict[str, object]] = []
        self.overtaken = 0

    def do(self, work: Callable[[], object], answer: Callable[[object], None]) -> None:
        answer(work())

    def post(self, command: Alter) -> None:
        self.posts.append(command)

    def deliver(self) -> None:
        posts, self.posts = self.posts, []
        for command in posts:
            self.stream.add_change(command.change)

    def run(self, frames: int) -> None:
        """Make frames up to this one; what the service says meanwhile is delivered frame by frame."""
        while self.stream.frames < frames and not self.stream.sampler.done:
            for event in self.stream.advance():
                match event:
                    case StreamChanged(change=change):
                        self.records.append(change.record())
                        self.desk.changed(self.entry, change)
                    case StreamOvertaken(change=change):
                        self.overtaken += 1
                        self.desk.overtaken(self.entry, change)
            self.deliver()

    @property
    def told(self) -> list[tuple[object, ...]]:
        return [(one["frame"], one["prompt"], one["bpm"], one.get("section", 0)) for one in self.records]


def test_what_is_changed_on_the_way_stays_changed_in_the_sections_to_come(bundle: ModelBundle) -> None:
    stage = Stage(bundle, ASKED)
    stage.run(10)
    stage.desk.update(stage.entry, Update(stream=1, bpm=140.0))
    stage.deliver()
    stage.run(70)
    stage.desk.update(stage.entry, Update(stream=1, key="A minor"))
    stage.deliver()
    stage.run(120)
    assert stage.told == [
        (10, "a song", 140.0, 0),
        (20, "sad piano", 140.0, 1),
        (60, "happy drums", 140.0, 2),
        (70, "happy drums", 140.0, 0),
        (80, "techno", 140.0, 3),
    ]
    assert stage.records[-1]["key"] == "A minor"
    assert stage.overtaken == 0, "what could be foreseen was made anew in time"
    assert stage.entry.planned == []


def test_a_change_that_meets_a_section_on_its_way_does_not_undo_it(bundle: ModelBundle) -> None:
    stage = Stage(bundle, ASKED)
    stage.run(19)
    stage.desk.update(stage.entry, Update(stream=1, bpm=140.0))
    late, stage.posts = stage.posts, []
    stage.run(22)  # the section has begun, with the tempo of before
    stage.posts = late + stage.posts
    stage.deliver()
    stage.run(120)
    assert stage.overtaken >= 1
    assert stage.told[0] == (20, "sad piano", 100.0, 1)
    assert [one[1:] for one in stage.told[1:]] == [
        ("sad piano", 140.0, 0),
        ("happy drums", 140.0, 2),
        ("techno", 140.0, 3),
    ]
    assert [one[0] for one in stage.told[2:]] == [60, 80]


def test_a_section_that_meets_a_change_comes_all_the_same(bundle: ModelBundle) -> None:
    stage = Stage(bundle, ASKED)
    stage.run(15)
    stage.desk.update(stage.entry, Update(stream=1, bpm=140.0))
    update, *amended = stage.posts
    stage.posts = [update]
    stage.deliver()
    stage.run(20)
    stage.run(24)  # the section of frame 20 was made for the old tempo
    stage.posts += amended
    stage.run(120)
    assert stage.told[0] == (15, "a song", 140.0, 0)
    assert stage.told[1][1:] == ("sad piano", 140.0, 1)
    assert 20 < int(str(stage.told[1][0])) < 24
    assert [one[1:] for one in stage.told[2:]] == [("happy drums", 140.0, 2), ("techno", 140.0, 3)]


def test_a_stream_that_was_changed_among_its_sections_is_made_again(bundle: ModelBundle) -> None:
    stage = Stage(bundle, ASKED)
    made: list[NDArray[np.int64]] = []
    advance = stage.stream.sampler.advance

    def watched(*logits: object) -> object:
        codes = advance(*logits)
        if codes is not None:
            made.append(codes[0].numpy())
        return codes

    stage.stream.sampler.advance = watched  # type: ignore[method-assign, assignment]
    stage.run(19)
    stage.desk.update(stage.entry, Update(stream=1, bpm=140.0))
    late, stage.posts = stage.posts, []
    stage.run(22)
    stage.posts = late + stage.posts
    stage.run(120)
    sampled = np.concatenate(made, axis=1)
    script = json.dumps(stage.records)
    again = play(bundle, Generate(prompt="a song", bpm=100.0, duration=2.4, seed=5, script=script))
    assert np.array_equal(codes_of(again), sampled)
