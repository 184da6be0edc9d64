"""Which stream comes first: no listener waits for others, be they many, long in beginning, or files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.runtime.custom_lm import CustomLM
from engine.runtime.language_model import Step
from engine.runtime.patterns import DelayPattern
from engine.scheduler import Start, Take
from engine.stream import EngineStream
from tests.support.random_lms import CARD
from tests.support.shared_streams import HOP, RATE, Desk, stream


class Counted:
    """A network whose work is counted: so many seconds for a column or a chunk of them, however many rows there are."""

    def __init__(self, step_seconds: float, chunk_seconds: float) -> None:
        self.pattern, self.card, self.text_dim, self.max_positions = DelayPattern.parallel(4), CARD, 1, 400
        self.desk = Desk()
        self._step_seconds, self._chunk_seconds = step_seconds, chunk_seconds

    def begin(self, texts: Sequence[Tensor], positions: int) -> int:
        return 0

    def step(self, codes: Tensor, state: int) -> Tensor:
        if codes.shape[2] > 1:
            self.desk.now += self._chunk_seconds
        return torch.zeros(len(codes), 4, codes.shape[2], CARD)


class CountedLM(CustomLM):
    """Its streams share a step, which takes as long as one of them does."""

    network: Counted

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        self.network.desk.now += self.network._step_seconds
        return super().step(steps)


class Room:
    """An engine of a certain speed, and listeners who play what they get from the first sample on, by its clock."""

    def __init__(self, step_seconds: float = 0.005, chunk_seconds: float = 0.03) -> None:
        network = Counted(step_seconds, chunk_seconds)
        self.desk = network.desk
        self.lm = CountedLM(network, device=torch.device("cpu"))
        self.began: dict[int, float] = {}
        self.streams: dict[int, EngineStream] = {}
        self.most_wait: dict[int, float] = {}
        self._lately: dict[int, tuple[int, float]] = {}

    def join(self, number: int, *, played: bool = True, **how: Any) -> EngineStream:
        words = [(self.lm.condition(None), 1.0)]
        made = stream(self.lm, number, words, total=None, chunk=16, window=(200, 150), **how)
        self.streams[number] = made
        if played:
            self.began[number] = -1.0
        self.desk.scheduler.post(Start(made))
        return made

    def run(self, seconds: float) -> None:
        """So much time goes by; where nothing is to be done, a millisecond at a time."""
        until = self.desk.now + seconds
        while self.desk.now < until:
            before = self.desk.now
            self.desk.step()
            if self.desk.now == before:
                self.desk.now += 0.001
            for number, made in self.streams.items():
                self._listen(number, made)

    def _listen(self, number: int, made: EngineStream) -> None:
        if number not in self.began:  # it writes what it gets
            self.desk.scheduler.post(Take(number, made.samples_out))
            return
        if self.began[number] < 0 and made.samples_out:
            self.began[number] = self.desk.now
        if self.began[number] >= 0:
            played = int((self.desk.now - self.began[number]) * RATE) // HOP * HOP
            if played > made.taken:
                self.desk.scheduler.post(Take(number, played))
            frames, at = self._lately.get(number, (0, self.desk.now))
            if made.frames != frames:
                self.most_wait[number] = max(self.most_wait.get(number, 0.0), self.desk.now - at)
                self._lately[number] = made.frames, self.desk.now

    @property
    def late(self) -> int:
        return self.desk.scheduler.stats.late_frames


def test_joining_makes_nobody_late() -> None:
    room = Room()
    for number in (1, 2, 3):
        room.join(number, lead=0.3)
    room.run(2)
    assert room.late == 0
    # Three more begin, each after a prompt of six chunks: more than half a second of work, and a lead is 0.3 s.
    for number in (4, 5, 6):
        room.join(number, lead=0.3, prompt=100)
    room.run(2)
    assert room.late == 0
    assert all(made.samples_out >= 1 * RATE for made in room.streams.values())


def test_a_stream_that_joins_is_heard_before_others_run_further_ahead() -> None:
    room = Room()
    room.join(1, lead=5.0)
    room.run(0.7)
    before = room.streams[1].frames
    joining = room.join(2, lead=5.0, prompt=33)
    began = room.desk.now
    while not joining.samples_out:
        room.run(0.001)
    # Two chunks of its prompt and one step: nobody else's work in between.
    assert room.desk.now - began <= 2 * 0.03 + 0.005 + 0.003
    assert room.streams[1].frames == before


def test_between_two_pieces_of_a_long_beginning_those_who_run_dry_have_their_turn() -> None:
    """The machine is just fast enough: then a prompt is heard in the gaps, and all the same it is heard."""
    room = Room(step_seconds=0.015, chunk_seconds=0.06)
    room.join(1, lead=0.3)
    room.run(1)
    joining = room.join(2, lead=0.3, prompt=100)
    room.run(3)
    assert room.late == 0
    assert joining.samples_out
    assert room.most_wait[1] < 0.3


def test_who_wants_to_begin_is_not_kept_out_by_those_who_cannot_be_served() -> None:
    room = Room(step_seconds=0.025)
    for number in (1, 2):
        room.join(number, lead=0.3)
    room.run(2)
    assert room.late, "the machine is too slow for them"
    joining = room.join(3, lead=0.3, prompt=40)
    room.run(2.5)
    assert joining.samples_out


def test_what_nobody_listens_to_takes_what_is_left() -> None:
    room = Room(step_seconds=0.018)
    room.join(1, lead=0.4)
    file = room.join(2, played=False, background=True)
    room.run(4)
    assert room.late == 0
    assert file.frames > 20, "what is left is used"
    # While a listener has little left, the step is his alone.
    alone = room.join(3, lead=0.15)
    room.run(0.5)
    sizes = []
    step = room.lm.step

    def counted(steps: Sequence[Step]) -> list[Tensor]:
        sessions = [each.session for each in steps]
        played = (made for made in (room.streams[1], alone) if made.sampler._session in sessions)  # type: ignore[attr-defined]
        if any(made.ahead < 0.2 for made in played):
            sizes.append(file.sampler._session in sessions)  # type: ignore[attr-defined]
        return step(steps)

    room.lm.step = counted  # type: ignore[method-assign]
    room.run(1)
    assert sizes
    assert not any(sizes)
    assert alone.samples_out


def test_a_listener_who_pauses_is_not_late_and_one_who_waits_is() -> None:
    room = Room()
    made = room.join(1, lead=0.4)
    room.run(1)
    room.streams.clear()  # the owner's host is stopped: nothing is taken
    room.run(5)
    room.streams[1] = made
    room.began[1] = room.desk.now - made.taken / RATE
    room.run(1)
    assert room.late == 0
    room.desk.now += 1.0  # the machine was somewhere else
    room.run(0.2)
    # 0.4 s were there; the others came too late.
    assert 29 <= room.late <= 33


def test_rows_of_a_step_are_bounded() -> None:
    room = Room()
    sizes: list[int] = []
    step = room.lm.step

    def counted(steps: Sequence[Step]) -> list[Tensor]:
        sizes.append(sum(each.rows for each in steps))
        return step(steps)

    room.lm.step = counted  # type: ignore[method-assign]
    for number in range(1, 13):
        room.join(number, lead=0.4)
    room.run(0.8)
    assert max(sizes) == 16
    assert room.late == 0


# --- the collector


def test_everything_is_looked_through_when_there_is_nothing_to_do_and_once_only() -> None:
    room = Room()
    room.join(1, lead=0.4)
    room.run(0.1)
    desk = room.desk
    assert not desk.collected
    for _ in range(40):
        desk.step()
    for _ in range(3):
        desk.scheduler.step(wait_seconds=0.3)
    assert desk.collected == [2]


def test_a_stream_that_is_far_enough_ahead_is_no_rest() -> None:
    """A player takes a frame every 20 ms: in between nothing is looked through, but now and then, while all have enough."""
    room = Room()
    room.join(1, lead=0.8)
    room.run(9.9)
    assert 2 not in room.desk.collected
    room.run(1)
    assert room.desk.collected.count(2) == 1
