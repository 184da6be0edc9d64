"""Streams that share the steps of their LM: each is what it would be alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import scheduler as scheduler_module
from engine import stream as stream_module
from engine.changes import Change
from engine.conditioning.words import Directions
from engine.runtime.language_model import Step
from engine.runtime.lm import MusicgenLM
from engine.runtime.readback import Readback
from engine.runtime.sampler import draw_together
from engine.scheduler import End, Start
from engine.stream import AudioBlock, EngineEvent, EngineStream, FramesMade, StreamEnded
from tests.support.random_lms import Kind, random_lm
from tests.support.shared_streams import HOP, RATE, Desk, condition, stream

OTHERS = Directions("another song")

_models: dict[tuple[Kind, str], MusicgenLM] = {}


def model(kind: Kind, runner: str) -> MusicgenLM:
    if (kind, runner) not in _models:
        lm = random_lm(kind)
        if runner == "onnx":
            onnx = pytest.importorskip("engine.runtime.onnx")
            lm.pack("int8")
            onnx.attach(lm, 1)
        _models[kind, runner] = lm
    return _models[kind, runner]


# --- what a stream is made of


@dataclass(frozen=True)
class Plan:
    """A stream, when it joins (after how many pieces of work), when it is ended if ever, and what changes at which frame."""

    number: int
    joins: int
    prompt: int
    ends: int | None
    words: tuple[int, ...]
    changes: tuple[Change, ...]

    def stream(self, lm: MusicgenLM) -> EngineStream:
        share = 1 / len(self.words)
        made = stream(lm, self.number, [(condition(lm, word), share) for word in self.words], prompt=self.prompt)
        for change in self.changes:
            made.add_change(change)
        return made


def plans_of(seed: int, lm: MusicgenLM) -> list[Plan]:
    """Two to four streams, as chance has it."""
    chance = random.Random(seed)
    texts = [condition(lm, number) for number in range(4)]

    def change() -> Change:
        frame, word = chance.randint(1, 29), chance.randint(0, 3)
        kinds: list[dict[str, Any]] = [
            {"seed": chance.randint(0, 9)},
            {"guidance": chance.uniform(0, 5)},
            {"top_p": chance.choice([0.0, 0.5, 1.0])},
            {"directions": OTHERS, "words": ((texts[word], 1.0),)},
            {"directions": OTHERS, "words": ((texts[word], 0.25), (texts[word - 1], 0.75))},
        ]
        return Change(frame, **chance.choice(kinds))

    return [
        Plan(
            number,
            joins=chance.randint(0, 40),
            prompt=chance.choice([0, 0, 3, 20, 30]),
            ends=chance.choice([None, chance.randint(1, 60)]),
            words=tuple(chance.sample(range(4), chance.randint(1, 3))),
            changes=tuple(change() for _ in range(chance.randint(0, 3))),
        )
        for number in range(1, chance.randint(3, 5))
    ]


@pytest.mark.parametrize(
    ("kind", "runner"), [("cross", "plain"), ("cross", "onnx"), ("score", "onnx"), ("prefix", "onnx")]
)
@settings(max_examples=3, deadline=None, phases=(Phase.reuse, Phase.generate))
@given(seed=st.integers(0, 2**32))
def test_a_stream_is_what_it_is_alone_whoever_joins_and_leaves(kind: Kind, runner: str, seed: int) -> None:
    lm = model(kind, runner)
    plans = plans_of(seed, lm)
    alone = {}
    for plan in plans:
        desk = Desk()
        desk.scheduler.post(Start(plan.stream(lm)))
        while desk.ended(plan.number) is None:
            desk.step()
        alone[plan.number] = desk.samples(plan.number)
        assert len(alone[plan.number]) == 30 * HOP

    desk, pieces = Desk(), 0
    waiting, ends = {plan.number: plan for plan in plans}, {plan.ends: plan.number for plan in plans if plan.ends}
    while waiting or desk.scheduler.stats.running:
        for plan in [plan for plan in waiting.values() if plan.joins <= pieces]:
            desk.scheduler.post(Start(waiting.pop(plan.number).stream(lm)))
        if pieces in ends:
            desk.scheduler.post(End(ends[pieces], "cancelled"))
        desk.step()
        pieces += 1
    for plan in plans:
        end = desk.ended(plan.number)
        made = desk.samples(plan.number)
        assert end is not None
        assert end.reason == "cancelled" or len(made) == 30 * HOP, end
        assert np.array_equal(made, alone[plan.number][: len(made)])


def test_steps_are_shared() -> None:
    lm, desk = model("cross", "plain"), Desk()
    sizes: list[int] = []
    step = lm.step

    def counted(steps: Sequence[Step]) -> list[Tensor]:
        sizes.append(len(steps))
        return step(steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "step", counted)
        for number in range(1, 5):
            desk.scheduler.post(Start(stream(lm, number, [(condition(lm, number), 1.0)], total=20)))
        while not all(desk.ended(number) for number in range(1, 5)):
            desk.step()
    # Each stream takes 20 steps and 3 for the delays, and all of them are of the same age.
    assert sizes == [4] * 23
    assert desk.scheduler.stats.shared == pytest.approx(4)


def test_tokens_drawn_together_are_those_that_each_draws_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model("cross", "plain")
    texts = [condition(lm, number) for number in range(3)]
    changes = {
        1: (),
        2: (Change(9, temperature=0.7),),
        3: (Change(6, temperature=0.0), Change(12, temperature=1.0)),
        4: (Change(5, OTHERS, words=((texts[0], 0.5), (texts[1], 0.5))), Change(14, OTHERS, words=((texts[2], 1.0),))),
        5: (Change(7, top_p=0.6), Change(16, top_p=0.0)),
    }

    def made() -> dict[int, np.ndarray]:
        desk = Desk()
        for number, coming in changes.items():
            each = stream(lm, number, [(texts[number % 3], 1.0)], total=20)
            for change in coming:
                each.add_change(change)
            desk.scheduler.post(Start(each))
        while not all(desk.ended(number) for number in changes):
            desk.step()
        return {number: desk.samples(number) for number in changes}

    alone = made()
    asked: list[int] = []

    def counted(samplers: Sequence[Any], logits: Sequence[Tensor]) -> list[Tensor | None]:
        tokens = draw_together(samplers, logits)
        asked.append(sum(each is not None for each in tokens))
        return tokens

    monkeypatch.setattr(scheduler_module, "_DRAWN_ALONE", ())
    monkeypatch.setattr(scheduler_module, "draw_together", counted)
    together = made()
    assert max(asked) == 5
    assert min(asked) == 3, "a mix and top-p are drawn by themselves"
    for number, samples in alone.items():
        assert np.array_equal(together[number], samples)


# --- what comes back late from a device


class Slow(Readback):
    """As from a device that is asked three times before it has done its work."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__(*tensors)
        self.asked = 0

    @property
    def ready(self) -> bool:
        self.asked += 1
        return self.asked > 3


def test_what_comes_back_late_goes_out_in_order_and_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model("cross", "plain")

    def made(number: int) -> list[EngineEvent]:
        desk = Desk()
        desk.scheduler.post(Start(stream(lm, number, [(condition(lm, 1), 1.0)], total=20, journaled=True)))
        while desk.ended(number) is None:
            desk.step()
        return desk.events

    at_once = made(1)
    monkeypatch.setattr(stream_module, "Readback", Slow)
    late = made(1)
    assert isinstance(late[-1], StreamEnded)
    for kind in (AudioBlock, FramesMade):
        before, after = ([event for event in events if isinstance(event, kind)] for events in (at_once, late))
        assert len(before) > 3
        assert list(map(plain, after)) == list(map(plain, before))


def test_nobody_waits_for_an_answer_while_sound_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, desk = model("cross", "plain"), Desk()
    monkeypatch.setattr(stream_module, "Readback", Slow)
    made = stream(lm, 1, [(condition(lm, 1), 1.0)], total=None, lead=0.1)
    desk.scheduler.post(Start(made))
    while not made.samples_out or made.has_room:
        desk.step()
    assert len(desk.samples(1)) < made.samples_out
    desk.step()
    assert len(desk.samples(1)) == made.samples_out >= 0.1 * RATE


def plain(event: Any) -> dict[str, Any]:
    """An event's content, arrays as lists."""
    return {name: getattr(value, "tolist", lambda value=value: value)() for name, value in vars(event).items()}


# --- faults


def test_a_step_that_fails_ends_those_whose_fault_it_is_only(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model("cross", "plain")
    alone = Desk()
    alone.scheduler.post(Start(stream(lm, 1, [(condition(lm, 1), 1.0)])))
    while alone.ended(1) is None:
        alone.step()
    desk = Desk()
    good, bad = (stream(lm, number, [(condition(lm, number), 1.0)]) for number in (1, 2))
    forward, broken = MusicgenLM.forward, False

    def breaking(self: MusicgenLM, codes: Tensor, session: Any) -> Tensor:
        if broken and session is bad.sampler._session:  # type: ignore[attr-defined]
            raise RuntimeError("no more")
        return forward(self, codes, session)

    monkeypatch.setattr(MusicgenLM, "forward", breaking)
    for each in (good, bad):
        desk.scheduler.post(Start(each))
    desk.step(12)
    broken = True
    while desk.ended(1) is None:
        desk.step()
    failed = desk.ended(2)
    assert failed is not None
    assert (failed.reason, failed.text) == ("failed", "RuntimeError: no more")
    assert np.array_equal(desk.samples(1), alone.samples(1))
