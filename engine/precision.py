"""What a precision costs: logits beside those of single precision, memory and time, on this device.

All hear the same codes, which single precision has sampled, so that an error does not grow by what it leads to. Few bits are
measured as they are run (on a CPU by onnxruntime), as the model's own modules compute them, and with caches of eight bits.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.devices import FORMS, PRECISIONS
from engine.cores import model_threads
from engine.memory import MB, hand_back, weights_of
from engine.runtime.lm import Condition, MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings, guide
from protocols.errors import ErrorCode, RequestError

TEXT = "slow jazz piano trio in A minor, 92 bpm"
FRAMES = 150
GUIDANCE = 3.0

_NARROW = "int8 caches"
_PLAIN = "plain"
_SEED = 2036
_CHUNK = 32
_TIMED_STEPS = 40


@dataclass(frozen=True)
class PrecisionFigures:
    """How a precision compares with single precision.

    Attributes:
        precision: its name, and behind it "plain" where the model's own modules ran it though there is something faster, and
            "int8 caches" where what was heard was kept so.
        runner: what ran it.
        weights_mb: memory of all weights, in MiB.
        cache_mb: what a guided stream keeps of a whole window, in MiB.
        step_ms: one guided step of the LM, in milliseconds: the median of 40.
        logits_rms: root mean square of the difference of guided logits.
        logits_max: the largest difference.
        kl_nats: mean Kullback-Leibler divergence from single precision's distributions, at temperature 1.
        top_equal: share of tokens on which greedy sampling agrees, 0 to 1.
    """

    precision: str
    runner: str
    weights_mb: float
    cache_mb: float
    step_ms: float
    logits_rms: float
    logits_max: float
    kl_nats: float
    top_equal: float


def measure(
    name: str, *, device: str = "auto", precisions: list[str] | None = None, frames: int = FRAMES
) -> list[PrecisionFigures]:
    """Load a model once in single precision, then once in each other, one at a time.

    Args:
        name: as for `load_model`.
        device: as for `load_model`.
        precisions: names; all that there are by default. One of few bits on a CPU is measured in each way that it can be run.
        frames: how many are heard, no more than the window.

    Raises:
        RequestError: as `load_model`.
    """
    reference = load_model(name, device=device, dtype="float32")
    if not isinstance(reference.lm, MusicgenLM) or reference.magnet is not None:
        allowed = "a model that samples frame by frame with a network of ours: MusicGen, AudioGen, pocket"
        raise RequestError(ErrorCode.UNSUPPORTED, "model", name, allowed)
    codes = _sampled(reference, min(frames, reference.window_frames))
    expected = _logits(reference, codes)
    figures = [_figures("float32", reference, expected, expected)]
    del reference
    for way in _ways(precisions or [name for name in PRECISIONS if name != "float32"]):
        gc.collect()
        hand_back()
        bundle = load_model(name, device=device, dtype=way.precision, runner=way.runner, kv_cache=way.kv_cache)
        # What has no other way to be run, or no such caches, has been measured.
        if way.name == way.precision or (bundle.form and bundle.device.type == "cpu" and way.has_come_true(bundle)):
            figures.append(_figures(way.name, bundle, _logits(bundle, codes), expected))
        del bundle
    return figures


class _Way(NamedTuple):
    """How a model is loaded to be measured."""

    name: str
    precision: str
    runner: str = "auto"
    kv_cache: str = "float32"

    def has_come_true(self, bundle: ModelBundle) -> bool:
        return bundle.narrow_caches if self.kv_cache == "int8" else bundle.runner == self.runner


def _ways(precisions: list[str]) -> Iterator[_Way]:
    for precision in precisions:
        yield _Way(precision, precision)
        if precision in FORMS:
            yield _Way(f"{precision}, {_NARROW}", precision, kv_cache="int8")
            yield _Way(f"{precision}, {_PLAIN}", precision, runner="plain")


def table(figures: list[PrecisionFigures]) -> str:
    """The figures to be read."""
    width = max(len(one.precision) for one in figures)
    head = (
        f"{'precision':{width}} {'runner':>7} {'weights':>10} {'caches':>9} {'step':>9} {'logits rms':>11} {'max':>8} {'KL':>10} "
        f"{'same token':>11}"
    )
    rows = [
        f"{one.precision:{width}} {one.runner:>7} {one.weights_mb:7.1f} MB {one.cache_mb:6.1f} MB {one.step_ms:6.2f} ms "
        f"{one.logits_rms:11.4f} {one.logits_max:8.3f} {one.kl_nats:10.2e} {one.top_equal:11.2%}"
        for one in figures
    ]
    return "\n".join([head, *rows])


def _sampled(bundle: ModelBundle, frames: int) -> Tensor:
    """Codes ``[1, codebooks, frames]`` such as the model makes."""
    sampler = FrameSampler(
        bundle.lm,
        [_condition(bundle)],
        SamplingSettings(guidance=GUIDANCE),
        total_frames=frames,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=_SEED,
    )
    made = []
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2).cpu()


def _condition(bundle: ModelBundle) -> Condition:
    text = bundle.text.encode(TEXT)
    return bundle.lm.condition(text.hidden, text.mask)


def _logits(bundle: ModelBundle, codes: Tensor) -> Tensor:
    """Guided logits of every token of ``codes``, ``[tokens, card]`` in single precision on the CPU."""
    lm, pattern = bundle.lm, bundle.pattern
    frames = codes.shape[2]
    layout = pattern.layout(frames)
    sequence = layout.sequence(codes, lm.config.special_token).to(lm.device)
    session = lm.session([_condition(bundle)], layout.steps)
    heard = []
    for start in range(0, layout.steps - 1, _CHUNK):
        logits = lm(sequence[..., start : min(start + _CHUNK, layout.steps - 1)], session)
        heard.append(guide(logits.float(), GUIDANCE, session.blend)[0].cpu())
    # A column is sampled from what its predecessor says.
    return torch.cat(heard, dim=1)[layout.mask[:, 1:]]


def _figures(precision: str, bundle: ModelBundle, logits: Tensor, expected: Tensor) -> PrecisionFigures:
    difference = (logits - expected).double()
    sure, heard = expected.double().log_softmax(-1), logits.double().log_softmax(-1)
    return PrecisionFigures(
        precision=precision,
        runner=bundle.runner,
        weights_mb=weights_of(bundle) / MB,
        cache_mb=_cache_bytes(bundle) / MB,
        step_ms=_step_ms(bundle),
        logits_rms=float(difference.square().mean().sqrt()),
        logits_max=float(difference.abs().max()),
        kl_nats=float((sure.exp() * (sure - heard)).sum(-1).mean()),
        top_equal=float((logits.argmax(-1) == expected.argmax(-1)).double().mean()),
    )


def _cache_bytes(bundle: ModelBundle) -> int:
    config = bundle.lm.config
    width = 1 if bundle.narrow_caches else bundle.lm.cache_dtype.itemsize
    columns = bundle.pattern.layout(bundle.window_frames).steps
    return 2 * 2 * config.layers * config.kv_heads * config.head_dim * columns * width


def _step_ms(bundle: ModelBundle) -> float:
    lm = bundle.lm
    session = lm.session([_condition(bundle)], 2 * _TIMED_STEPS)
    column = torch.full((1, lm.config.num_codebooks, 1), lm.config.special_token, device=lm.device)
    times = []
    for _ in range(2 * _TIMED_STEPS):
        begun = time.perf_counter()
        lm(column, session).sum().item()
        times.append(time.perf_counter() - begun)
    return 1000 * sorted(times[_TIMED_STEPS:])[_TIMED_STEPS // 2]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 0, or 1 with the reason where the model does not load."""
    parser = argparse.ArgumentParser(prog="python -m engine.precision", description=__doc__)
    parser.add_argument("model", help="a catalogue name, a folder or a hub id")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="again for more; all by default")
    parser.add_argument("--frames", type=int, default=FRAMES, help="how many are compared")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves two cores to others")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args(arguments)
    torch.set_num_threads(model_threads(given.threads))
    try:
        figures = measure(given.model, device=given.device, precisions=given.precision, frames=given.frames)
    except RequestError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own words
        return 1
    text = json.dumps({one.precision: asdict(one) for one in figures}, indent=1) if given.json else table(figures)
    print(text)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
