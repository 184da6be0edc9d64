"""A score in the running LM: against the network as it is trained, and against itself in other orders of work."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.score import FEATURES, BeatGrid, ChangingScore, Melody, Score
from engine.runtime.lm import Condition, MusicgenLM, Session
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.training.lm.network import TrainableLM
from tests.support.own_models import CARD, CODEBOOKS, TEXTS, forget_score, write_own_model

RATE = Fraction(50)
GREEDY = SamplingSettings(temperature=0.0, guidance=3.0)
WINDOW, STRIDE = 40, 24
WALTZ = Score(RATE, grid=BeatGrid(Fraction(140), beats_per_bar=3), scale=frozenset((0, 2, 4, 5, 7, 9, 11)))
TUNE = Score(
    RATE,
    grid=BeatGrid(Fraction(120), origin=Fraction(3, 2)),
    melody=Melody.of_pitches([0] * 9 + [4] * 11 + [-1] * 3 + [7] * 8),
    chords=np.tile(np.eye(12, dtype=np.float32)[[0, 4, 7]].sum(0), (5, 1)),
    origin=4,
)


class Own:
    """One model, as it is trained and as it runs."""

    def __init__(self, folder: Path) -> None:
        self.trained: TrainableLM = write_own_model(folder)
        self.bundle: ModelBundle = load_model(str(folder), device="cpu", dtype="float32")

    @property
    def lm(self) -> MusicgenLM:
        return self.bundle.lm

    def condition(self, text: str | None, score: Score | ChangingScore | None = None) -> Condition:
        encoded = self.bundle.text.encode(text)
        return self.lm.condition(encoded.hidden, encoded.mask, score=score)

    @torch.no_grad()
    def reference(self, columns: Tensor, text: str | None, rows: Tensor) -> Tensor:
        """Logits ``[codebooks, n, card]`` of the network as it is trained, for one stream's columns and rows of a score."""
        tokens = self.bundle.text._tokenizer(text or "a", return_tensors="pt")["input_ids"]
        seen = torch.full_like(tokens, text is not None, dtype=torch.bool)
        logits: Tensor = self.trained(columns[None], rows[None], tokens, seen)
        return logits[0].transpose(0, 1)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return Own(tmp_path_factory.mktemp("models") / "tiny")


def rows_of(score: Score | ChangingScore | None, frame: int, count: int) -> Tensor:
    return torch.zeros(count, FEATURES) if score is None else torch.from_numpy(score.rows(frame, count))


def columns_of(streams: int, n: int) -> Tensor:
    """Codes in which special tokens occur."""
    return torch.randint(0, CARD + 1, (streams, CODEBOOKS, n), generator=torch.Generator().manual_seed(5))


def sampler_of(
    own: Own, conditions: Sequence[Condition], *, total: int | None, settings: SamplingSettings = GREEDY
) -> FrameSampler:
    return FrameSampler(
        own.lm,
        conditions,
        settings,
        total_frames=total,
        window_frames=WINDOW,
        stride_frames=STRIDE,
        seed=list(range(len(conditions))),
        prefill_chunk=7,
    )


def read(sampler: FrameSampler, frames: int | None = None) -> Tensor:
    """``[rows, codebooks, frames]``; as many more frames as asked for, or all."""
    made: list[Tensor] = []
    while not sampler.done and len(made) != frames:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)


# --- what is heard


@pytest.mark.parametrize("frame", [0, 37], ids=["beginning", "later_window"])
def test_logits_equal_those_of_the_trained_network(own: Own, frame: int) -> None:
    columns = columns_of(3, 90)
    heard = [(TEXTS[0], WALTZ), (None, TUNE), (TEXTS[1], None)]
    session = own.lm.session([own.condition(*one) for one in heard], 90, frame=frame)
    conditional, null = own.lm(columns, session).chunk(2)
    for stream, (text, score) in enumerate(heard):
        expected = own.reference(columns[stream], text, rows_of(score, frame, 90))
        torch.testing.assert_close(conditional[stream], expected, rtol=1e-4, atol=1e-4)
        expected = own.reference(columns[stream], None, torch.zeros(90, FEATURES))
        torch.testing.assert_close(null[stream], expected, rtol=1e-4, atol=1e-4)


def test_the_null_rows_hear_no_score(own: Own) -> None:
    columns = columns_of(1, 30)
    told, plain = (
        own.lm(columns, own.lm.session([own.condition(TEXTS[0], score)], 30)).chunk(2) for score in (TUNE, None)
    )
    assert torch.equal(told[1], plain[1])
    assert (told[0] - plain[0]).abs().max() > 0.5, "and the conditional ones do"


class _Silence:
    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        return np.zeros((count, FEATURES), dtype=np.float32)


def test_without_a_score_it_is_the_plain_model_bit_for_bit(own: Own, tmp_path: Path) -> None:
    write_own_model(tmp_path)
    forget_score(tmp_path)
    plain = load_model(str(tmp_path), device="cpu", dtype="float32")
    assert (own.bundle.score, plain.score) == (True, False)
    columns = columns_of(2, 50)
    text = plain.text.encode(TEXTS[0])
    conditions = [plain.lm.condition(text.hidden, text.mask), plain.lm.condition(None)]
    wanted = plain.lm(columns, plain.lm.session(conditions, 50))
    for score in (None, _Silence()):
        conditions = [own.lm.condition(text.hidden, text.mask, score=score), own.lm.condition(None, score=score)]
        assert torch.equal(own.lm(columns, own.lm.session(conditions, 50)), wanted)
    with pytest.raises(ValueError, match="hears none"):
        plain.lm.condition(None, score=TUNE)


# --- orders of work


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=9), frame=st.integers(0, 200))
def test_any_split_hears_the_same_rows(own: Own, sizes: list[int], frame: int) -> None:
    conditions = [own.condition(None, TUNE), own.condition(TEXTS[0]), own.condition(TEXTS[1], WALTZ)]
    total = min(sum(sizes), 150)
    whole = heard(own.lm.session(conditions, 150, frame=frame), 0, total)
    session, start = own.lm.session(conditions, 150, frame=frame), 0
    for size in sizes:
        end = min(start + size, total)
        if end > start:
            assert torch.equal(heard(session, start, end), whole[:, start:end])
        start = end
    for stream, condition in enumerate(conditions):
        alone = own.lm.session([condition], 150, frame=frame)
        if condition.score is None:
            assert alone.scores(0, total) is None
            assert not whole[stream].any()
        else:
            assert torch.equal(heard(alone, 0, total)[0], whole[stream]), "a neighbour is not heard"


def heard(session: Session, start: int, end: int) -> Tensor:
    rows = session.scores(start, end)
    assert rows is not None
    return rows


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_give_the_logits_of_the_whole(own: Own, chunk: int) -> None:
    columns = columns_of(2, 130)
    conditions = [own.condition(TEXTS[0], TUNE), own.condition(None, WALTZ)]
    whole = own.lm(columns, own.lm.session(conditions, 130, frame=9))
    session = own.lm.session(conditions, 130, frame=9)
    parts = [own.lm(part, session) for part in torch.split(columns, chunk, dim=2)]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-4, atol=1e-4)


def test_tokens_of_a_stream_are_the_same_beside_any_other(own: Own) -> None:
    conditions = [own.condition(TEXTS[0], TUNE), own.condition(TEXTS[0]), own.condition(None, WALTZ)]
    drawn = SamplingSettings(guidance=2.0)
    together = read(sampler_of(own, conditions, total=60, settings=drawn))
    for row, condition in enumerate(conditions):
        sampler = FrameSampler(
            own.lm, [condition], drawn, total_frames=60, window_frames=WINDOW, stride_frames=STRIDE, seed=[row]
        )
        assert torch.equal(together[row : row + 1], read(sampler))
    assert not torch.equal(together[0], together[1])


# --- a stream


@torch.no_grad()
def naive_stream(own: Own, text: str, score: Score | ChangingScore | None, total: int) -> Tensor:
    """Greedy tokens ``[codebooks, total]``, each window and each step of it computed anew from its first position."""
    codes = torch.zeros(CODEBOOKS, total, dtype=torch.long)
    offset, known = 0, 0
    while known < total:
        frames = min(WINDOW, total - offset)
        steps = frames + CODEBOOKS
        sequence = torch.full((CODEBOOKS, steps), CARD)
        for codebook in range(CODEBOOKS):
            sequence[codebook, 1 + codebook : 1 + codebook + known - offset] = codes[codebook, offset:known]
        for step in range(known - offset + 1, steps):
            rows = rows_of(score, offset, step)
            conditional = own.reference(sequence[:, :step], text, rows)[:, -1]
            null = own.reference(sequence[:, :step], None, torch.zeros_like(rows))[:, -1]
            tokens = (null + GREEDY.guidance * (conditional - null)).argmax(-1)
            for codebook in range(CODEBOOKS):
                frame = step - 1 - codebook
                if known - offset <= frame < frames:
                    sequence[codebook, step] = codes[codebook, offset + frame] = tokens[codebook]
        known = offset + frames
        offset += STRIDE
    return codes


@pytest.mark.parametrize("score", [None, WALTZ, TUNE], ids=["none", "waltz", "tune"])
def test_a_stream_longer_than_the_window_hears_its_rows_at_their_frames(own: Own, score: Score | None) -> None:
    made = read(sampler_of(own, [own.condition(TEXTS[0], score)], total=70))
    assert torch.equal(made[0], naive_stream(own, TEXTS[0], score, 70))
    assert len(set(made.flatten().tolist())) > 5, "a model that repeats itself would agree with anything"


@pytest.mark.parametrize("at", [11, 33], ids=["first_window", "later_window"])
def test_a_change_is_heard_from_the_next_frame_on(own: Own, at: int) -> None:
    sampler = sampler_of(own, [own.condition(TEXTS[0], TUNE)], total=70)
    before = read(sampler, at)
    # Frames are complete once their last codebook is: the first one is ahead by the pattern's delay.
    frame, position = sampler.next_frame, sampler._session.position
    assert frame == at + max(own.bundle.delays)
    changed = ChangingScore.steady(TUNE, WINDOW).changed(frame, WALTZ)
    sampler.set_condition(0, own.condition(TEXTS[0], changed))
    assert sampler._session.position == position, "nothing is heard anew"
    made = torch.cat((before, read(sampler)), dim=2)

    from_the_start = read(sampler_of(own, [own.condition(TEXTS[0], changed)], total=70))
    assert torch.equal(made, from_the_start)
    assert torch.equal(made[0], naive_stream(own, TEXTS[0], changed, 70))
    unchanged = read(sampler_of(own, [own.condition(TEXTS[0], TUNE)], total=70))
    same = (made == unchanged).all(dim=0)
    assert same[0, :frame].all()
    assert not same[:, frame:].all()


def test_a_score_may_be_taken_away_and_come_back(own: Own) -> None:
    sampler = sampler_of(own, [own.condition(None, TUNE), own.condition(None, WALTZ)], total=None)
    read(sampler, 5)
    sampler.set_condition(0, own.condition(None))
    frame = sampler.next_frame
    taken = sampler._session
    assert not heard(taken, frame, frame + 1)[0].any()
    assert heard(taken, frame, frame + 1)[1].any()
    sampler.set_condition(1, own.condition(None))
    assert taken.scores(frame, frame + 1) is None
    read(sampler, 50)
    sampler.set_condition(0, own.condition(None, TUNE))
    position = sampler.next_frame - sampler._offset
    expected = rows_of(TUNE, sampler.next_frame, 1) @ own.trained.score.weight.T
    torch.testing.assert_close(heard(sampler._session, position, position + 1)[0], expected)


def test_the_stream_of_a_whole_model_sounds_like_its_file(own: Own) -> None:
    """Score and words to tokens to sound: what comes out piece by piece is what the codec's network makes of all codes at once."""
    bundle = own.bundle
    sampler = sampler_of(own, [own.condition(TEXTS[1], TUNE)], total=70, settings=SamplingSettings())
    decoder, parts, codes = bundle.codec.stream(), [], []
    while not sampler.done:
        if (frames := sampler.advance()) is not None:
            codes.append(frames[0])
            parts.append(decoder.decode(frames[0]))
    streamed = torch.cat([*parts, decoder.flush()], dim=1)
    assert streamed.shape == (1, 70 * bundle.hop_length)
    assert streamed.abs().max() > 1e-3
    assert (streamed - bundle.codec.decode(torch.cat(codes, dim=1))).abs().max() < 1e-5
