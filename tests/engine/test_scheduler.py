"""The scheduler, step by step: no thread, no socket, and a clock that the test moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.words import Directions
from engine.preparation import Preparation, StreamPlan
from engine.scheduler import Alter, End, Scheduler, Start, Stop, Take
from engine.stream import (
    AudioBlock,
    EngineEvent,
    EngineStream,
    StreamChanged,
    StreamEnded,
    StreamProgress,
    StreamStarted,
)
from protocols.messages import Generate
from tests.support.tiny_checkpoints import write_tiny_checkpoint

RATE = 32000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu")


class Desk:
    """A scheduler with its events at hand."""

    def __init__(self, bundle: ModelBundle, max_running: int = 2) -> None:
        self.now = 0.0
        self.events: list[EngineEvent] = []
        self.scheduler = Scheduler(self.events.append, max_running=max_running, clock=lambda: self.now)
        self._preparation = Preparation(bundle)

    def start(
        self, number: int, duration: float | None = 0.4, lead: float = 100.0, seed: int = 1, patient: bool = False
    ) -> EngineStream:
        request = Generate(prompt="a song", lead=lead, patient=patient)
        stream = self._preparation.prepare(number, StreamPlan(request, seed, duration)).stream
        self.scheduler.post(Start(stream))
        return stream

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.scheduler.step(wait_seconds=0.001)

    def run(self) -> None:
        """Step until nothing moves any more."""
        for _ in range(2000):
            before = len(self.events), self.scheduler.stats.frames
            self.step(20)
            if before == (len(self.events), self.scheduler.stats.frames):
                return
        raise AssertionError("it never comes to rest")

    def of(self, kind: type, number: int | None = None) -> list:
        return [event for event in self.events if isinstance(event, kind) and number in (None, event.stream)]

    def samples(self, number: int) -> np.ndarray:
        return np.concatenate([block.samples for block in self.of(AudioBlock, number)])


def test_a_stream_starts_sounds_and_ends(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    desk.start(1, 0.4)
    desk.run()
    kinds = [type(event) for event in desk.events if not isinstance(event, AudioBlock | StreamProgress)]
    assert kinds == [StreamStarted, StreamEnded]
    blocks = desk.of(AudioBlock)
    assert [block.sequence for block in blocks] == list(range(len(blocks)))
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert desk.samples(1).shape == (round(0.4 * RATE), 1)


def test_a_streams_samples_do_not_depend_on_its_neighbours(bundle: ModelBundle) -> None:
    alone = Desk(bundle)
    alone.start(1, seed=7)
    alone.run()
    beside = Desk(bundle)
    beside.start(2, 1.0, seed=3)
    beside.step(11)
    beside.start(1, seed=7)
    beside.run()
    assert np.array_equal(alone.samples(1), beside.samples(1))


def test_the_stream_whose_owner_would_run_dry_first_comes_first(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    rich, poor = desk.start(1, None), desk.start(2, None)
    desk.step(40)
    assert rich.frames == poor.frames, "as long as they are of the same age, they share every step"
    desk.scheduler.post(Take(2, poor.samples_out))
    before = rich.frames, poor.frames
    desk.step(10)
    assert rich.frames == before[0]
    assert poor.frames == before[1] + 10


def test_no_more_runs_than_may_and_the_others_follow_in_order(bundle: ModelBundle) -> None:
    desk = Desk(bundle, max_running=1)
    for number in (1, 2, 3):
        desk.start(number, 0.2)
    desk.step(3)
    assert (desk.scheduler.stats.running, desk.scheduler.stats.waiting) == (1, 2)
    desk.run()
    assert [event.stream for event in desk.of(StreamStarted)] == [1, 2, 3]
    assert [event.stream for event in desk.of(StreamEnded)] == [1, 2, 3]


def test_a_stream_goes_no_further_than_its_lead(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    stream = desk.start(1, None, lead=0.5)
    desk.run()
    assert 0.5 * RATE <= stream.samples_out < 0.5 * RATE + 8 * 640 + 640
    desk.scheduler.post(Take(1, 6400))
    before = stream.samples_out
    desk.run()
    assert before < stream.samples_out <= before + 6400 + 8 * 640


def test_an_owner_cannot_take_what_was_not_made(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    stream = desk.start(1, None, lead=0.2)
    desk.run()
    made = stream.samples_out
    desk.scheduler.post(Take(1, 10**12))
    desk.step()
    assert stream.taken <= made


def test_a_stalled_stream_gives_its_place_away_goes_on_and_is_given_up(bundle: ModelBundle) -> None:
    desk = Desk(bundle, max_running=1)
    desk.start(1, None, lead=0.2)
    desk.start(2, 0.2)
    desk.run()
    assert not desk.of(StreamStarted, 2)
    desk.now += 6
    desk.run()
    assert desk.of(StreamEnded, 2)[0].reason == "done"
    made = len(desk.samples(1))
    desk.scheduler.post(Take(1, made))
    desk.run()
    assert len(desk.samples(1)) > made
    desk.now += 601
    desk.step(2)
    assert desk.of(StreamEnded, 1)[0].reason == "owner_lost"


def test_a_patient_stream_takes_no_place_and_steps_aside_until_it_is_played(bundle: ModelBundle) -> None:
    desk = Desk(bundle, max_running=1)
    patient = desk.start(1, None, lead=0.4, patient=True)
    desk.start(2, None, lead=0.6)
    desk.start(3, 0.1)
    desk.start(4, None, lead=0.2, patient=True)
    desk.step()
    assert [event.stream for event in desk.of(StreamStarted)] == [1, 2, 4], "only one that is played waits for a place"
    while desk.scheduler.stats.frames < 25:
        assert not desk.of(AudioBlock, 1), "what is played comes first"
        desk.step()
    desk.run()
    assert patient.samples_out >= 0.4 * RATE, "then it is made"
    desk.scheduler.post(Take(1, 0))
    desk.run()
    desk.scheduler.post(End(2, "cancelled"))
    desk.run()
    assert not desk.of(StreamStarted, 3), "the one that is played now has the place"
    desk.scheduler.post(End(1, "cancelled"))
    desk.run()
    assert desk.of(StreamEnded, 3)


def test_a_request_says_that_nobody_listens(bundle: ModelBundle) -> None:
    prepared = [
        Preparation(bundle).prepare(1, StreamPlan(Generate(prompt="a song", background=background), 1, 1.0)).stream
        for background in (False, True)
    ]
    assert [stream.is_played for stream in prepared] == [True, False]
    assert prepared[0].ahead < prepared[1].ahead, "before both have begun, what is listened to is first"


@pytest.mark.parametrize("steps", [0, 1, 30])
def test_an_end_comes_before_the_next_step(bundle: ModelBundle, steps: int) -> None:
    desk = Desk(bundle)
    stream = desk.start(1, None)
    desk.step(steps)
    frames = stream.sampler.frames_done
    desk.scheduler.post(End(1, "cancelled"))
    desk.step(3)
    # With nothing to do the command is waited for; with a stream at work at most the step in hand is finished.
    assert stream.sampler.frames_done <= frames + 1
    assert desk.of(StreamEnded, 1)[0].reason == "cancelled"
    assert desk.scheduler.stats.running == desk.scheduler.stats.waiting == 0


def test_a_waiting_stream_can_be_ended(bundle: ModelBundle) -> None:
    desk = Desk(bundle, max_running=1)
    desk.start(1, None)
    desk.start(2, None)
    desk.step(3)
    desk.scheduler.post(End(2, "cancelled"))
    desk.step()
    assert desk.of(StreamEnded, 2)
    assert not desk.of(StreamStarted, 2)


def test_changes_take_effect_between_frames_and_a_replay_of_them_is_the_same(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    desk.start(1, 1.0)
    desk.step(13)
    desk.scheduler.post(Alter(1, Change(temperature=0.2, guidance=1.0)))
    desk.step(9)
    condition = bundle.lm.condition(bundle.text.encode("another song").hidden)
    desk.scheduler.post(Alter(1, Change(directions=Directions("another song"), words=((condition, 1.0),))))
    desk.run()
    changes = [event.change for event in desk.of(StreamChanged, 1)]
    assert len(changes) == 2
    assert 0 < changes[0].frame < changes[1].frame

    replay = Desk(bundle)
    stream = replay.start(1, 1.0)
    for change in changes:
        stream.add_change(change)
    replay.run()
    assert np.array_equal(desk.samples(1), replay.samples(1))
    unchanged = Desk(bundle)
    unchanged.start(1, 1.0)
    unchanged.run()
    assert not np.array_equal(desk.samples(1), unchanged.samples(1))


def test_a_fault_ends_its_own_stream_only(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(bundle)
    broken = desk.start(1, 0.4)
    desk.start(2, 0.4)
    desk.step(10)
    monkeypatch.setattr(broken.decoder, "decode", lambda codes: torch.zeros(1) / "x")
    desk.run()
    ended = desk.of(StreamEnded, 1)[0]
    assert ended.reason == "failed"
    assert "TypeError" in ended.text
    assert desk.of(StreamEnded, 2)[0].reason == "done"


def test_stop_ends_everything_in_order(bundle: ModelBundle) -> None:
    desk = Desk(bundle, max_running=1)
    for number in (1, 2):
        desk.start(number, None)
    desk.scheduler.start()
    desk.scheduler.post(Stop())
    assert desk.scheduler.join(20)
    assert {event.stream: event.reason for event in desk.of(StreamEnded)} == {1: "stopping", 2: "stopping"}


def test_progress_is_told_at_intervals_of_the_clock(bundle: ModelBundle) -> None:
    desk = Desk(bundle)
    desk.now = 100.0
    desk.start(1, None)
    desk.step(50)
    assert len(desk.of(StreamProgress)) == 1
    desk.now += 0.3
    desk.step(5)
    assert len(desk.of(StreamProgress)) == 2


def test_sound_goes_on_from_the_audio_prompt(bundle: ModelBundle) -> None:
    """The stream equals the end of the whole-file decode of prompt and new frames together."""
    codes = torch.randint(0, bundle.card, (bundle.num_codebooks, 30), generator=torch.Generator().manual_seed(3))
    plan = StreamPlan(Generate(prompt="x"), 5, 0.5, codes=codes.numpy())
    prepared = Preparation(bundle).prepare(1, plan)
    heard, frames = [], []
    advance = prepared.stream.sampler.advance

    def watched(*given: torch.Tensor | None) -> torch.Tensor | None:
        completed = advance(*given)
        if completed is not None:
            frames.append(completed[0])
        return completed

    prepared.stream.sampler.advance = watched  # type: ignore[method-assign]
    while not prepared.stream.sampler.done:
        heard += [event.samples for event in prepared.stream.advance() if isinstance(event, AudioBlock)]
    whole = bundle.codec.decode(torch.cat([codes, *frames], dim=-1)).numpy()
    assert np.abs(np.concatenate(heard)[:, 0] - whole[0, 30 * 640 :]).max() < 1e-5
    assert len(prepared.prompt_codes) == 2 * codes.numel()
