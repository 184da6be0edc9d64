"""Several conditions of one stream: what guidance makes of them, and what is kept when they change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from engine.runtime.lm import Condition, Mix, MusicgenLM, Session
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings, guide
from tests.support.random_lms import CHROMA_FRAMES, KINDS, Kind, Scale, Waves, codes, random_lm, text

GUIDANCE = 3.0
LENGTHS = (5, 5, 9)
"""Of texts. In a prefix, the null row is as long as the first part's, whose length decides about its positions."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    value: Kind = request.param
    return value


@pytest.fixture(scope="module")
def lm(kind: Kind) -> MusicgenLM:
    return random_lm(kind)


def condition(lm: MusicgenLM, number: int, length: int | None = None) -> Condition:
    """The condition of this number, with a score or a melody of its own where the model hears one."""
    score = Waves(0.1 + 0.07 * number) if lm.score_weight is not None else None
    melody = Scale(number) if lm.config.chroma_frames else None
    return lm.condition(text(number, length or LENGTHS[number]), score=score, melody=melody)


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def guided(lm: MusicgenLM, session: Session, heard: Tensor) -> Tensor:
    return guide(lm(heard, session), GUIDANCE, session.blend)


def composed(lm: MusicgenLM, parts: list[tuple[Condition, float]], heard: Tensor) -> Tensor:
    """By hand, from sessions of one condition each; the null row of the first."""
    rows = [lm(heard, lm.session([part], heard.shape[2])) for part, _ in parts]
    null = rows[0][1]
    weighed = [weight * (row[0] - null) for row, (_, weight) in zip(rows, parts, strict=True)]
    return (null + GUIDANCE * torch.stack(weighed).sum(0))[None]


# --- what is heard


def test_a_mix_of_one_is_the_plain_condition_bit_for_bit(lm: MusicgenLM) -> None:
    one, heard = condition(lm, 0), codes(20)
    plain, mixed = lm.session([one], 20), lm.session([Mix(((one, 1.0),))], 20)
    assert mixed.blend is None
    assert torch.equal(guided(lm, mixed, heard), guided(lm, plain, heard))


def test_two_parts_with_one_condition_equal_one(lm: MusicgenLM) -> None:
    one, heard = condition(lm, 0), codes(20)
    twice = lm.session([Mix(((one, 0.25), (one, 0.75)))], 20)
    assert twice.rows == 3
    close(guided(lm, twice, heard), guided(lm, lm.session([one], 20), heard))


@pytest.mark.parametrize("weights", [(0.3, 0.7), (0.5, 0.25, 0.25), (1.6, -0.6)])
def test_a_mix_is_composed_from_its_parts(lm: MusicgenLM, weights: tuple[float, ...]) -> None:
    heard = codes(20)
    parts = [(condition(lm, number), weight) for number, weight in enumerate(weights)]
    mixed = guided(lm, lm.session([Mix(tuple(parts))], 20), heard)
    close(mixed, composed(lm, parts, heard))
    assert not torch.allclose(mixed, guided(lm, lm.session([parts[0][0]], 20), heard), atol=0.1)


def test_streams_of_different_numbers_of_parts_are_deaf_to_each_other(lm: MusicgenLM) -> None:
    first, second, third = (condition(lm, number) for number in range(3))
    streams = [first, Mix(((second, 0.4), (third, 0.6))), Mix(((third, 1.0),)), Mix(((first, 0.2), (second, 0.8)))]
    heard = codes(20, streams=4)
    session = lm.session(streams, 20)
    together = guided(lm, session, heard)
    assert (session.streams, session.rows) == (4, 10)
    for row, stream in enumerate(streams):
        alone = guided(lm, lm.session([stream], 20), heard[row : row + 1])
        close(together[row : row + 1], alone)


def test_a_single_row_among_mixes_counts_as_it_is() -> None:
    logits = torch.randn(5, 4, 32, generator=torch.Generator().manual_seed(1))
    lm = random_lm("cross")
    one, two = condition(lm, 0), condition(lm, 1)
    session = lm.session([one, Mix(((one, 0.5), (two, 0.5)))], 4)
    joined = guide(logits, GUIDANCE, session.blend)
    assert torch.equal(joined[:1], guide(logits[[0, 3]], GUIDANCE))


def test_parts_and_weights_that_are_refused() -> None:
    one = condition(random_lm("cross"), 0)
    for parts in ((), ((one, 0.0625),) * 18):
        with pytest.raises(ValueError, match="not 1 to 17"):
            Mix(parts)
    for weights in ((0.5, 0.4), (float("nan"), 1.0), (float("inf"), 0.0)):
        with pytest.raises(ValueError, match="add up"):
            Mix(tuple((one, weight) for weight in weights))


# --- changes


def test_new_weights_move_nothing(lm: MusicgenLM) -> None:
    one, two, heard = condition(lm, 0), condition(lm, 1), codes(20)
    session = lm.session([Mix(((one, 0.9), (two, 0.1)))], 20)
    lm(heard[..., :12], session)
    prefix, layers = session.prefix, session.layers
    session.set_condition(0, Mix(((one, 0.2), (two, 0.8))))
    assert session.prefix is prefix
    assert session.layers is layers
    assert session.position == 12
    close(guided(lm, session, heard[..., 12:]), composed(lm, [(one, 0.2), (two, 0.8)], heard)[:, :, 12:])


@pytest.mark.parametrize("kept", [0, 1])
def test_a_part_that_stays_keeps_what_it_has_heard(lm: MusicgenLM, kept: int) -> None:
    """Of two parts one is dropped: what is left is as though it had been alone, and nothing is heard anew."""
    parts, heard = [condition(lm, 0), condition(lm, 1)], codes(20, streams=2)
    session = lm.session([Mix(((parts[0], 0.5), (parts[1], 0.5))), condition(lm, 2)], 20)
    steady = lm.session([parts[kept], condition(lm, 2)], 20)
    for one in (session, steady):
        lm(heard[..., :12], one)
    session.set_condition(0, parts[kept])
    assert (session.position, session.prefix_pending, session.rows, session.blend) == (12, 0, 4, None)
    close(guided(lm, session, heard[..., 12:]), guided(lm, steady, heard[..., 12:]))


def test_dropping_the_longest_text_hears_nothing_anew(lm: MusicgenLM) -> None:
    short, long, heard = condition(lm, 0), condition(lm, 2), codes(20)
    session = lm.session([Mix(((short, 0.5), (long, 0.5)))], 20)
    lm(heard[..., :12], session)
    length = session.prefix_length
    session.set_condition(0, short)
    assert (session.position, session.prefix_length) == (12, length)
    steady = lm.session([short], 20)
    lm(heard[..., :12], steady)
    close(guided(lm, session, heard[..., 12:]), guided(lm, steady, heard[..., 12:]))
    # At the next window nothing is left of it.
    session.begin(30)
    close(guided(lm, session, heard), guided(lm, lm.session([short], 20, frame=30), heard))


@pytest.mark.parametrize("kind", ["cross", "score"], scope="module")
def test_a_new_part_goes_on_from_the_heaviest(lm: MusicgenLM) -> None:
    first, second, third = (condition(lm, number) for number in range(3))
    heard = codes(20)
    session = lm.session([Mix(((first, 0.3), (second, 0.7)))], 20)
    lm(heard[..., :12], session)
    session.set_condition(0, Mix(((third, 0.4), (first, 0.6))))
    rows = lm(heard[..., 12:], session)
    assert rows.shape[0] == 3
    for row, before, now in ((0, second, third), (1, first, first)):
        alone = lm.session([before], 20)
        lm(heard[..., :12], alone)
        alone.set_condition(0, now)
        close(rows[row], lm(heard[..., 12:], alone)[0])


@pytest.mark.parametrize("kind", ["cross", "score"], scope="module")
def test_a_part_that_joins_leaves_the_others_as_they_are(lm: MusicgenLM) -> None:
    first, second, third = (condition(lm, number) for number in range(3))
    heard = codes(20, streams=2)
    session, steady, other = (lm.session([first, third], 20) for _ in range(3))
    for one in (session, steady, other):
        lm(heard[..., :12], one)
    session.set_condition(0, Mix(((first, 0.5), (second, 0.5))))
    other.set_condition(0, second)
    assert (session.position, session.rows) == (12, 5)
    rows, before, after = (lm(heard[..., 12:], one) for one in (session, steady, other))
    close(rows[[0, 2, 3, 4]], before)
    close(rows[1], after[0])


def test_rows_come_and_go(lm: MusicgenLM) -> None:
    """However the parts got there, at the beginning of a window only those of now are heard."""
    parts = [condition(lm, number) for number in range(3)]
    heard = codes(20, streams=2)
    session = lm.session([parts[0], parts[1]], 20)
    history: list[tuple[int, tuple[int, ...]]] = [
        (1, (1, 2)),
        (0, (2, 0, 1)),
        (1, (0, 2)),
        (0, (1, 0)),
        (0, (0, 1)),
        (1, (2,)),
        (0, (2, 1, 0, 2)),
    ]
    now: list[Condition | Mix] = [parts[0], parts[1]]
    for stream, numbers in history:
        lm(heard[..., session.position : session.position + 2], session)
        now[stream] = Mix(tuple((parts[number], 1 / len(numbers)) for number in numbers))
        session.set_condition(stream, now[stream])
    session.begin(7)
    close(guided(lm, session, heard), guided(lm, lm.session(now, 20, frame=7), heard))


def test_a_score_is_projected_once_while_words_change() -> None:
    lm, score, heard = random_lm("score"), Waves(0.3), codes(20)
    words = [lm.condition(text(number), score=score) for number in range(3)]
    session = lm.session([words[0]], 20)
    lm(heard[..., :10], session)
    assert score.asked == 1
    session.set_condition(0, words[1])
    session.set_condition(0, Mix(((words[1], 0.5), (words[2], 0.5))))
    rows = session.scores(10, 11)
    assert rows is not None
    assert torch.equal(rows[0], rows[1])
    assert score.asked == 1
    other = Waves(0.2)
    session.set_condition(0, Mix(((words[1], 0.5), (lm.condition(text(2), score=other), 0.5))))
    rows = session.scores(10, 11)
    assert rows is not None
    assert not torch.equal(rows[0], rows[1])
    assert (score.asked, other.asked) == (1, 1)


def test_the_same_words_under_another_score_keep_what_they_have_heard() -> None:
    lm, heard = random_lm("score"), codes(20)
    first, second = condition(lm, 0), condition(lm, 1)
    session = lm.session([Mix(((first, 0.8), (second, 0.2)))], 20)
    lm(heard[..., :12], session)
    told = [dataclasses.replace(one, score=Waves(0.5)) for one in (first, second)]
    session.set_condition(0, Mix(((told[0], 0.8), (told[1], 0.2))))
    rows = lm(heard[..., 12:], session)
    for row, (before, now) in enumerate(zip((first, second), told, strict=True)):
        alone = lm.session([before], 20)
        lm(heard[..., :12], alone)
        alone.set_condition(0, now)
        close(rows[row], lm(heard[..., 12:], alone)[0])


# --- before the codes


def test_a_new_part_before_the_codes_is_heard_from_the_beginning() -> None:
    lm, heard = random_lm("prefix"), codes(20)
    first, second = condition(lm, 0), condition(lm, 2)
    session = lm.session([first], 20)
    lm(heard[..., :12], session)
    session.set_condition(0, Mix(((first, 0.5), (second, 0.5))))
    assert session.position == 0
    close(guided(lm, session, heard), composed(lm, [(first, 0.5), (second, 0.5)], heard))


def test_a_new_part_with_the_same_melody_hears_only_its_text() -> None:
    lm, tune = random_lm("prefix"), Scale(3)
    first, second = (lm.condition(text(number), melody=tune) for number in range(2))
    session = lm.session([first], 20)
    lm(codes(12), session)
    session.set_condition(0, Mix(((first, 0.5), (second, 0.5))))
    assert (session.prefix_heard, session.position) == (CHROMA_FRAMES, 0)
    close(guided(lm, session, codes(20)), composed(lm, [(first, 0.5), (second, 0.5)], codes(20)))


def test_a_part_for_which_there_are_no_positions_changes_nothing() -> None:
    lm, heard = random_lm("prefix"), codes(20)
    first = condition(lm, 0)
    positions = lm.config.max_positions - CHROMA_FRAMES - LENGTHS[0]
    session, steady = lm.session([first], positions), lm.session([first], positions)
    for one in (session, steady):
        lm(heard[..., :12], one)
    with pytest.raises(ValueError, match="more than the model's"):
        session.set_condition(0, Mix(((first, 0.5), (condition(lm, 1, length=6), 0.5))))
    assert torch.equal(guided(lm, session, heard[..., 12:]), guided(lm, steady, heard[..., 12:]))


# --- a stream


def sampler_of(lm: MusicgenLM, heard: Condition | Mix) -> FrameSampler:
    return FrameSampler(
        lm, [heard], SamplingSettings(), total_frames=60, window_frames=32, stride_frames=16, seed=3, prefill_chunk=5
    )


def read(sampler: FrameSampler, frames: int = 10**6) -> Tensor:
    made: list[Tensor] = []
    while not sampler.done and len(made) < frames:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)


def test_a_stream_of_a_mix_beyond_its_window(lm: MusicgenLM) -> None:
    one, two = condition(lm, 0), condition(lm, 1)
    plain = read(sampler_of(lm, one))
    assert torch.equal(read(sampler_of(lm, Mix(((one, 1.0),)))), plain)
    assert torch.equal(read(sampler_of(lm, Mix(((one, 1.0), (two, 0.0))))), plain)
    assert not torch.equal(read(sampler_of(lm, Mix(((one, 0.5), (two, 0.5))))), plain)


def test_a_stream_whose_mix_moves_with_every_frame_is_made_again(lm: MusicgenLM) -> None:
    one, two = condition(lm, 0), condition(lm, 1)

    def morphed() -> Tensor:
        sampler, made = sampler_of(lm, one), []
        for frame in range(60):
            if 10 <= frame <= 40:
                weight = (frame - 10) / 30
                sampler.set_condition(0, two if weight == 1 else Mix(((one, 1 - weight), (two, weight))))
            made.append(read(sampler, 1))
        return torch.cat(made, dim=2)

    first = morphed()
    assert torch.equal(morphed(), first)
    steady = read(sampler_of(lm, one))
    assert torch.equal(first[..., :10], steady[..., :10])
    assert not torch.equal(first, steady)
