"""Whether what runs a model fast draws the same tokens as its plain run in the same precision."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks._steps import GUIDANCE, TOP_K
from engine.runtime.conditions import Condition
from engine.runtime.lm import MusicgenLM
from engine.runtime.onnx import OnnxRunner
from engine.runtime.onnx.reference import PlainKernels
from engine.runtime.runner import Runner
from engine.runtime.sampling import SamplingSettings, guide, sample

TIE = 1e-3
"""In nats: by so little the token that a GPU's modules draw leads the other where both count as equally likely to win.

The kernels of captured graphs sum in another order. On a CPU there are no ties: what is compared there are the same kernels.
"""


@dataclass(frozen=True)
class Equality:
    """What two ways of running a model made of the same past and the same dice.

    Attributes:
        against: what the runner is compared with: ``plain kernels`` or ``modules``.
        tokens: that were compared.
        equal: share of them that is the same.
        different: how many are not.
        ties: how many of those the other way had nearer to the one that it drew than `tie_nats`.
        widest_gap: the largest distance of one that is different, in nats; 0 where none is.
        logits_rms: root mean square of how far guided logits are apart.
        kl_nats: mean Kullback-Leibler divergence of the runner's distributions from the other way's.
        tie_nats: see `TIE`; 0 where nothing counts as one.
        modules: how far the modules' emulation of the kernels is, where the kernels are what is compared with.
    """

    against: str
    tokens: int
    equal: float
    different: int
    ties: int
    widest_gap: float
    logits_rms: float
    kl_nats: float
    tie_nats: float
    modules: Equality | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


@torch.inference_mode()
def compare(
    lm: MusicgenLM, condition: Condition, *, prompt: int, frames: int, seed: int = 1, tie: float = TIE
) -> Equality | None:
    """Sample with the runner, then draw each token again the plain way from what the runner has made before it.

    The plain way is that of the same precision: onnxruntime's kernels one by one (`PlainKernels`), or else the modules. Both
    start from generators in the same state, and a draw takes as much from them whatever comes of it. So one token that differs
    leads to no other.

    Args:
        lm: with its runner, and with the matrices of its modules.
        condition: what it hears.
        prompt: random frames that both hear first.
        frames: that are sampled.
        seed: of prompt and draws.
        tie: what counts as one beside the modules, in nats.

    Returns:
        None where the modules run the model anyway.
    """
    runner = lm.runner
    if runner is None:
        return None
    codes = torch.randint(lm.card, (1, lm.pattern.num_codebooks, prompt), generator=torch.Generator().manual_seed(seed))
    made = lm.pattern.layout(prompt + frames).sequence(codes.to(lm.device), lm.special_token)
    fast = _walk(lm, condition, made, prompt, frames, seed)

    def beside(other: Runner | None, tie: float) -> Equality:
        lm.runner = other
        try:
            plain = _walk(lm, condition, made, prompt, frames, seed, known=True)
        finally:
            lm.runner = runner
        return _apart(fast, plain, "modules" if other is None else other.name, tie)

    if not isinstance(runner, OnnxRunner):
        return beside(None, tie)
    return replace(beside(PlainKernels(lm), 0), modules=beside(None, tie))


def _apart(fast: _Walk, plain: _Walk, against: str, tie: float) -> Equality:
    tokens, gaps = plain.tokens, plain.gaps
    apart = torch.stack(fast.logits).double() - torch.stack(plain.logits).double()
    ours, theirs = (torch.stack(way.logits).double().log_softmax(-1) for way in (fast, plain))
    return Equality(
        against=against,
        tokens=tokens,
        equal=round(1 - len(gaps) / tokens, 6),
        different=len(gaps),
        ties=sum(gap < tie for gap in gaps),
        widest_gap=round(max(gaps, default=0.0), 6),
        logits_rms=float(f"{float(apart.square().mean().sqrt()):.4g}"),
        kl_nats=float(f"{float((theirs.exp() * (theirs - ours)).sum(-1).mean()):.4g}"),
        tie_nats=tie,
    )


@dataclass
class _Walk:
    """One way through a sequence: guided logits of every step, and what was drawn otherwise than it stands there.

    Attributes:
        logits: ``[1, codebooks, card]`` each, on the CPU.
        tokens: how many were drawn.
        gaps: of those that stand otherwise, in nats.
    """

    logits: list[Tensor] = field(default_factory=list)
    tokens: int = 0
    gaps: list[float] = field(default_factory=list)


def _walk(
    lm: MusicgenLM, condition: Condition, sequence: Tensor, prompt: int, frames: int, seed: int, *, known: bool = False
) -> _Walk:
    """Sample into ``sequence`` what comes after the prompt; or, where it is known, compare with what stands there."""
    settings = SamplingSettings(top_k=TOP_K, guidance=GUIDANCE)
    layout = lm.pattern.layout(prompt + frames)
    open_slots = layout.slots(prompt, prompt + frames).to(lm.device)
    session = lm.session([condition], layout.steps)
    generator, walk = torch.Generator(lm.device).manual_seed(seed), _Walk()
    first = layout.first_step(prompt)
    if first > 1:
        lm.hear(sequence[..., : first - 1], session)
    for step in range(first, layout.steps):
        logits = guide(lm(sequence[..., step - 1 : step], session)[:, :, -1], settings.guidance, session.blend)
        walk.logits.append(logits.float().cpu())
        before = generator.get_state()
        drawn, column, here = sample(logits, settings, generator), sequence[..., step], open_slots[:, step]
        walk.tokens += int(here.sum())
        if not known:
            column.copy_(torch.where(here, drawn, column))
            continue
        for book in torch.nonzero((drawn[0] != column[0]) & here).flatten().tolist():
            made, stands = int(drawn[0, book]), int(column[0, book])
            walk.gaps.append(_gap(logits, settings, before, book, made, stands))
    return walk


def _gap(logits: Tensor, settings: SamplingSettings, state: Tensor, book: int, drawn: int, other: int) -> float:
    """By how little another token was not drawn, in nats: in the race that `engine.runtime.sampling.draw` decides, or where one of
    both is hardly among the likeliest, or hardly not.

    Args:
        logits: ``[1, codebooks, card]``, guided.
        settings: what the draw went by.
        state: of the generator before the draw.
        book: the codebook.
        drawn: its token that was drawn.
        other: the one that was not.
    """
    generator = torch.Generator(logits.device)
    generator.set_state(state)
    clocks = torch.empty_like(logits, memory_format=torch.contiguous_format).exponential_(1, generator=generator)
    heard = torch.log_softmax(logits.float() / settings.temperature, dim=-1)[0, book]
    race = heard - clocks[0, book].log()
    border = heard.topk(min(settings.top_k, len(heard))).values[-1]
    lacking = float(border - heard[other])
    return min(float(heard[drawn] - border), lacking if lacking > 0 else float(race[drawn] - race[other]))
