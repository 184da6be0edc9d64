"""The next window, prepared ahead: the same tokens, and no call that does much at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.conditioning.score import ChangingScore
from engine.runtime.lm import Condition, Mix, MusicgenLM, Session
from engine.runtime.patterns import DelayPattern
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from tests.support.random_lms import CARD, CHROMA_FRAMES, KINDS, Kind, Scale, Waves, random_lm, text

WINDOW, STRIDE, CHUNK = 40, 24, 4
MODELS: dict[Kind, MusicgenLM] = {kind: random_lm(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def lm(request: pytest.FixtureRequest) -> MusicgenLM:
    kind: Kind = request.param
    return MODELS[kind]


def condition(lm: MusicgenLM, number: int) -> Condition:
    score = Waves(0.1 + 0.07 * number) if lm.score_weight is not None else None
    melody = Scale(number) if lm.config.chroma_frames else None
    return lm.condition(text(number, 5 + number), score=score, melody=melody)


def stream(
    lm: MusicgenLM,
    conditions: Sequence[Condition | Mix] = (),
    *,
    ahead: bool = True,
    total: int | None = 85,
    window: int = WINDOW,
    stride: int = STRIDE,
    prompt: int = 0,
    chunk: int = CHUNK,
) -> FrameSampler:
    conditions = conditions or [condition(lm, 0)]
    generator = torch.Generator().manual_seed(9)
    shape = (len(conditions), lm.config.num_codebooks, prompt)
    return FrameSampler(
        lm,
        conditions,
        SamplingSettings(),
        total_frames=total,
        prompt=torch.randint(0, CARD, shape, generator=generator),
        window_frames=window,
        stride_frames=stride,
        seed=list(range(len(conditions))),
        prefill_chunk=chunk,
        ahead=ahead,
    )


def read(sampler: FrameSampler, frames: int = 10**6) -> Tensor:
    made: list[Tensor] = []
    while not sampler.done and len(made) < frames:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)


def changed_at(sampler: FrameSampler, changes: dict[int, Callable[[FrameSampler], None]]) -> Tensor:
    """The whole stream, with changes before these frames."""
    made: list[Tensor] = []
    while not sampler.done:
        if (change := changes.pop(len(made), None)) is not None:
            change(sampler)
        made.append(read(sampler, 1))
    assert not changes
    return torch.cat(made, dim=2)


def windows_of(window: int, stride: int, prompt: int) -> int:
    """The length of a stream that fills a window and two more, and begins another."""
    return max(window, prompt) + 2 * stride + 1


# --- the same tokens


@pytest.mark.parametrize(
    ("window", "stride", "prompt"),
    [
        (40, 24, 0),
        (40, 20, 0),
        (40, 20, 33),
        (40, 5, 0),
        (40, 37, 0),
        (40, 39, 10),
        (40, 1, 39),
        (2, 1, 0),
        (40, 24, 70),
    ],
)
def test_the_tokens_are_those_of_windows_that_start_over(lm: MusicgenLM, window: int, stride: int, prompt: int) -> None:
    shape = {"window": window, "stride": stride, "prompt": prompt, "total": windows_of(window, stride, prompt)}
    expected = read(stream(lm, ahead=False, **shape))
    assert torch.equal(read(stream(lm, **shape)), expected)
    assert len(set(expected.flatten().tolist())) > 5


@settings(max_examples=8, deadline=None)
@given(window=st.integers(2, 24), data=st.data(), chunk=st.integers(1, 20), prompt=st.integers(0, 30))
def test_any_shape_of_windows(window: int, data: st.DataObject, chunk: int, prompt: int) -> None:
    stride = data.draw(st.integers(1, window - 1))
    shape = {"window": window, "stride": stride, "prompt": prompt, "chunk": chunk}
    shape["total"] = windows_of(window, stride, prompt)
    for lm in MODELS.values():
        assert torch.equal(read(stream(lm, **shape)), read(stream(lm, ahead=False, **shape)))


@pytest.mark.parametrize("delays", [(0, 0, 0, 0), (0, 0, 1, 1), (2, 0, 5, 1)])
def test_other_delays(delays: tuple[int, ...]) -> None:
    lm = random_lm("score", DelayPattern(delays))
    assert torch.equal(read(stream(lm)), read(stream(lm, ahead=False)))


def test_streams_side_by_side(lm: MusicgenLM) -> None:
    conditions = [condition(lm, 0), Mix(((condition(lm, 1), 0.5), (condition(lm, 2), 0.5)))]
    together = read(stream(lm, conditions))
    assert torch.equal(together, read(stream(lm, conditions, ahead=False)))
    assert torch.equal(together[:1], read(stream(lm, conditions[:1])))


# --- bounded work


class Watch:
    """What each call of `advance` does: positions of the LM, sessions made, and how often melodies were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lm: MusicgenLM) -> None:
        self.positions = self.sessions = 0
        append, session = lm._append, lm.session

        def appended(embedded: Tensor, *rest: Session | int) -> Tensor:
            self.positions += embedded.shape[1]
            return append(embedded, *rest)  # type: ignore[arg-type]

        def made(*arguments: object, **named: object) -> Session:
            self.sessions += 1
            return session(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(lm, "_append", appended)
        monkeypatch.setattr(lm, "session", made)

    def call(self, sampler: FrameSampler) -> tuple[bool, int, int]:
        """Whether a frame came of it, positions, sessions."""
        positions, sessions = self.positions, self.sessions
        completed = sampler.advance() is not None
        return completed, self.positions - positions, self.sessions - sessions


@pytest.mark.parametrize(("stride", "prompt"), [(24, 0), (20, 0), (35, 30)])
def test_no_call_does_much_and_the_switch_takes_steps_only(
    lm: MusicgenLM, monkeypatch: pytest.MonkeyPatch, stride: int, prompt: int
) -> None:
    sampler = stream(lm, total=None, stride=stride, prompt=prompt)
    watch = Watch(monkeypatch, lm)
    while not watch.call(sampler)[0]:
        pass
    delay = lm.pattern.layout(WINDOW).max_delay
    for _ in range(4):
        offset, waits = sampler._offset, []
        while sampler._offset == offset:
            waits.append(0)
            while not (call := watch.call(sampler))[0]:
                assert call[1] <= CHUNK
                waits[-1] += 1
            assert call[1:] == (1, 0), "a frame is one step, and nothing is made for it"
        # Of the frames after the first, which waits for the delays, each waits for a chunk at most.
        assert max(waits[1:]) <= 2
        assert waits[0] <= delay + 1
        assert sampler._session.position == WINDOW - sampler._stride, "all that is shared was heard"
    assert watch.sessions == 1, "two sessions take turns"


def test_a_stream_within_its_window_has_one_session(lm: MusicgenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, lm)
    read(stream(lm, total=WINDOW))
    assert watch.sessions == 1
    endless = stream(lm, total=None)
    read(endless, STRIDE - CHROMA_FRAMES - 10)
    assert watch.sessions == 2
    read(endless, WINDOW)
    assert watch.sessions == 3


def test_the_last_window_lets_the_second_session_go(lm: MusicgenLM) -> None:
    sampler = stream(lm, total=WINDOW + STRIDE)
    read(sampler, WINDOW - 1)
    assert sampler._ahead is not None
    assert sampler._ahead._session is not None
    read(sampler, 1)
    assert sampler._ahead is None


def test_melodies_are_worked_out_before_the_switch() -> None:
    lm, melody = MODELS["prefix"], Scale(2)
    sampler = stream(lm, [lm.condition(text(0), melody=melody)], total=None)
    for _ in range(4):
        offset = sampler._offset
        while sampler._offset == offset:
            asked = melody.asked
            sampler.advance()
        assert melody.asked == asked


# --- changes


@pytest.mark.parametrize("at", [3, 20, 30, 36, 39, 40, 41, 62])
def test_changes_at_the_same_frames_make_the_same_stream(lm: MusicgenLM, at: int) -> None:
    one, two, three = (condition(lm, number) for number in range(3))

    def change(sampler: FrameSampler) -> None:
        sampler.set_condition(0, Mix(((two, 0.5), (three, 0.5))))

    def again(sampler: FrameSampler) -> None:
        sampler.set_condition(0, two)

    made = changed_at(stream(lm, [one]), {at: change, at + 7: again})
    assert torch.equal(changed_at(stream(lm, [one]), {at: change, at + 7: again}), made)
    steady = read(stream(lm, [one]))
    assert torch.equal(made[..., :at], steady[..., :at])
    assert not torch.equal(made[..., at:], steady[..., at:])


@pytest.mark.parametrize("at", [3, 20, 30, 36, 37, 38, 39, 40, 41, 62])
def test_another_score_reaches_both_windows(at: int) -> None:
    """Frames keep the score that they were sampled under: so it does not matter when they are heard again."""
    lm, before, after = MODELS["score"], Waves(0.1), Waves(0.4)
    words = text(0)

    def change(sampler: FrameSampler) -> None:
        score = ChangingScore.steady(before, WINDOW).changed(sampler.next_frame, after)  # type: ignore[arg-type]
        sampler.set_condition(0, lm.condition(words, score=score))

    def made(ahead: bool) -> Tensor:
        return changed_at(stream(lm, [lm.condition(words, score=before)], ahead=ahead), {at: change})

    expected = made(ahead=False)
    assert torch.equal(made(ahead=True), expected)
    assert not torch.equal(expected, read(stream(lm, [lm.condition(words, score=before)])))


@pytest.mark.parametrize("at", [3, 20, 30, 36, 39, 40, 41, 62])
def test_another_melody_reaches_both_windows(at: int) -> None:
    """What stands before the codes is heard anew, and the shared frames after it, whenever that is."""
    lm = MODELS["prefix"]
    one, two = condition(lm, 0), condition(lm, 2)

    def change(sampler: FrameSampler) -> None:
        sampler.set_condition(0, two)

    expected = changed_at(stream(lm, [one], ahead=False), {at: change})
    assert torch.equal(changed_at(stream(lm, [one]), {at: change}), expected)


def test_new_words_leave_the_next_window_as_it_was_heard() -> None:
    lm = MODELS["cross"]
    sampler = stream(lm)
    read(sampler, 38)
    ahead = sampler._ahead
    assert ahead is not None
    assert ahead._session is not None
    heard = ahead._session.position
    assert heard > 8
    caches = [layer.keys_values[:, :, :, :heard].clone() for layer in ahead._session.layers]
    sampler.set_condition(0, condition(lm, 1))
    assert ahead._session.position == heard
    for layer, cache in zip(ahead._session.layers, caches, strict=True):
        assert torch.equal(layer.keys_values[:, :, :, :heard], cache)
    position = sampler._session.position
    assert ahead._session.layers[0].cross_keys is not None
    assert ahead._session.layers[0].cross_keys.shape == sampler._session.layers[0].cross_keys.shape  # type: ignore[union-attr]
    assert sampler._session.position == position


# --- seeds


def test_a_new_seed_holds_from_the_next_step() -> None:
    lm = MODELS["score"]

    def reseed(sampler: FrameSampler) -> None:
        sampler.reseed(77)

    steady = read(stream(lm))
    made = changed_at(stream(lm), {20: reseed})
    assert torch.equal(changed_at(stream(lm), {20: reseed}), made)
    delay = lm.pattern.layout(WINDOW).max_delay
    assert torch.equal(made[:, 0, : 20 + delay], steady[:, 0, : 20 + delay])
    assert not torch.equal(made[..., 20:], steady[..., 20:])
    # From there on it draws as a stream does that begins with this seed, whatever was drawn before.
    drawn_before = stream(lm)
    drawn_before.reseed(0)
    assert torch.equal(read(drawn_before), steady)


def test_a_new_seed_reaches_the_generators_of_all_rows() -> None:
    lm = MODELS["cross"]
    one = condition(lm, 0)
    sampler = stream(lm, [one, one])
    read(sampler, 5)
    sampler.reseed(4)
    states = [generator.get_state() for generator in sampler._generators]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], torch.Generator().manual_seed(4).get_state())
