"""Whether a `GraphRunner` does what the model's own modules do: tried when a model is loaded, and by `selfcheck`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.sampling import guide

if TYPE_CHECKING:
    from engine.runtime.conditions import Condition
    from engine.runtime.graphs.runner import GraphRunner
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.session import Session

TOLERANCES = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far logits may be from the modules', relative to the largest of them: what some dozens of roundings come to."""
_GUIDANCE = 3.0
_TEXTS = (5, 0, 11)
"""Lengths of the texts that are heard: more than one, so that rows differ, and none."""
_MOST_BESIDE = 16
"""Streams beside the one that is watched: enough for three tiles of rows, and little memory. A prefix takes more of it."""


@dataclass(frozen=True)
class Findings:
    """What a comparison has shown.

    Attributes:
        difference: the largest between a logit and the modules', relative to the largest logit.
        allowed: the difference that roundings explain.
        tokens_equal: share of guided tokens of greatest probability that are the modules', 0 to 1.
        tokens_decided: the same of those whose lead is more than the difference.
        replays_equal: whether replayed graphs give what their operations give one by one, to the bit; None: there are no graphs.
        rows_equal: whether a session's logits are the same to the bit with and without others beside it.
    """

    difference: float
    allowed: float
    tokens_equal: float
    tokens_decided: float
    replays_equal: bool | None
    rows_equal: bool

    @property
    def wrong(self) -> str | None:
        """What is wrong, in words; None: nothing."""
        if not self.difference <= self.allowed:  # not a number is wrong, too
            return (
                f"logits differ from the modules' by {self.difference:.2e} of the largest, more than {self.allowed:.0e}"
            )
        if self.tokens_decided < 1:
            return "greedy tokens that are no close choice differ from the modules'"
        if self.replays_equal is False:
            return "graphs give other logits than their operations one by one"
        if not self.rows_equal:
            return "logits depend on the streams that share a step"
        return None


@torch.inference_mode()
def compare(lm: MusicgenLM, runner: GraphRunner, columns: int = 12) -> Findings:
    """Let a model hear the same columns by its modules and by a runner, alone and with others.

    Args:
        lm: a model that samples frame by frame.
        runner: of it; need not be the model's yet.
        columns: how many.
    """
    generator = torch.Generator().manual_seed(8)
    books, card = lm.config.num_codebooks, lm.config.card
    codes = torch.randint(0, card + 1, (len(_TEXTS), books, columns), generator=generator).to(lm.device)
    with _run_by(lm, None):
        conditions = [_condition(lm, length, generator) for length in _TEXTS]
        expected = _heard(lm, _session(lm, conditions[0], columns), codes[:1])
    with _run_by(lm, runner):
        alone = _heard(lm, _session(lm, conditions[0], columns), codes[:1])
        replays_equal = None
        if runner.captured:
            with runner.uncaptured():
                plainly = _heard(lm, _session(lm, conditions[0], columns), codes[:1])
            replays_equal = torch.equal(alone, plainly)
        beside = _beside(lm, conditions, codes, columns, runner.most)
    largest = float(expected.abs().max())
    difference = float((alone - expected).abs().max())
    theirs, ours = guide(expected, _GUIDANCE), guide(alone, _GUIDANCE)
    agree = theirs.argmax(-1) == ours.argmax(-1)
    first, second = theirs.topk(2, dim=-1).values.unbind(-1)
    decided = first - second > 4 * _GUIDANCE * difference
    return Findings(
        difference=difference / largest if largest else difference,
        allowed=_allowed(lm),
        tokens_equal=float(agree.float().mean()),
        tokens_decided=float(agree[decided].float().mean()) if decided.any() else 1.0,
        replays_equal=replays_equal,
        rows_equal=torch.equal(alone, beside),
    )


def _allowed(lm: MusicgenLM) -> float:
    # Of weights in few bits, the modules' products may go through bfloat16; the kernels' do not.
    rounded = any(isinstance(module, Linear) and module.rounded is not None for module in lm.modules())
    return max(TOLERANCES[lm.dtype], TOLERANCES[torch.bfloat16] if rounded else 0.0)


def _beside(lm: MusicgenLM, conditions: list[Condition], codes: Tensor, columns: int, most: int) -> Tensor:
    """What the first stream's logits are with others of other ages and texts before and behind it, ever more of them."""
    watched = _session(lm, conditions[0], columns)
    count = min(most // watched.rows - 1, _MOST_BESIDE if lm.config.cross_attention else _MOST_BESIDE // 4)
    others = [_session(lm, conditions[(index + 1) % 3], 2 * columns) for index in range(count)]
    for index, other in enumerate(others):
        if index % 3:
            lm.hear(codes[index % 3 : index % 3 + 1, :, : index % columns + 1], other)
    heard = []
    for column in range(columns):
        beside = others[: 1 + (len(others) - 1) * column // max(columns - 1, 1)]
        middle = len(beside) // 2
        sessions = [*beside[:middle], watched, *beside[middle:]]
        steps = [
            Step((codes[:1] if session is watched else codes[1:2])[..., column : column + 1], session)
            for session in sessions
        ]
        heard.append(lm.step(steps)[middle].clone())
    return torch.cat(heard, dim=2).float()


def _heard(lm: MusicgenLM, session: Session, codes: Tensor) -> Tensor:
    """Logits of codes heard column by column, ``[rows, codebooks, columns, card]`` in single precision."""
    columns = [lm.step([Step(codes[..., column : column + 1], session)])[0].clone() for column in range(codes.shape[2])]
    return torch.cat(columns, dim=2).float()


def _session(lm: MusicgenLM, condition: Condition, columns: int) -> Session:
    return lm.session([condition], columns)


def _condition(lm: MusicgenLM, length: int, generator: torch.Generator) -> Condition:
    hidden = torch.randn(length, lm.config.text_dim, generator=generator)
    return lm.condition(hidden if length else None)


@contextmanager
def _run_by(lm: MusicgenLM, runner: GraphRunner | None) -> Iterator[None]:
    before, lm.runner = lm.runner, runner
    try:
        yield
    finally:
        lm.runner = before
