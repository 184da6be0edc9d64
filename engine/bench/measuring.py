"""One loaded model, measured as streams use it: step by step, with guidance, and decoded a few frames at a time."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.checkpoints import ModelBundle
from engine.memory import MB, weights_of
from engine.runtime.linear import Linear
from engine.runtime.lm import MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings

CONTEXT_FRAMES = 500
"""What a stream has heard when the clock starts, where the model's window has room for it."""
CHUNK_FRAMES = 8
"""Decoded at once by a stream that has been running for a moment."""
MARGIN = 0.85
"""Share of real time that streams may fill: the rest is for prompts, texts, and a host that is busy now and then."""

_TEXT = "slow jazz piano trio in A minor, 92 bpm"
_ROOM_FRAMES = 64
_WARM_UP_CHUNKS = 2
_LEAST_CHUNKS = 3
_ROUNDS = 12
_MOST_STREAMS = 64
_PASS_BYTES = (1 << 26, 1 << 29)
_PASSES_S = 0.3


@dataclass(frozen=True)
class Figures:
    """What was measured of one setting.

    Attributes:
        realtime: seconds of sound made in a second by one stream, all of it: LM with guidance, draws, decoding.
        step_ms: one guided step, with the draw: the median.
        codec_ms: decoding one frame, `CHUNK_FRAMES` at a time: the median.
        floor_ms: a step that did nothing but read what it must from memory; None where that is not known.
        context: frames that were heard when the clock started.
        weights_mb: memory of all weights, MiB.
        stream_mb: what one stream keeps of what it has heard, at most, MiB; 0 where that is not known.
        live_streams: how many streams hold real time side by side.
        rounds_ms: a step of so many streams at once.
    """

    realtime: float
    step_ms: float
    codec_ms: float
    floor_ms: float | None
    context: int
    weights_mb: float
    stream_mb: float
    live_streams: int
    rounds_ms: dict[int, float] = field(default_factory=dict)


@torch.inference_mode()
def measure(bundle: ModelBundle, seconds: float) -> Figures:
    """Measure a model that samples frame by frame, with as many threads as torch has now.

    Args:
        bundle: loaded, with its runner.
        seconds: how long one stream is made.
    """
    context = max(1, min(CONTEXT_FRAMES, bundle.window_frames - _ROOM_FRAMES))
    realtime, step_ms, codec_ms = one_stream(bundle, context, seconds)
    rounds_ms, streams = _side_by_side(bundle, context, codec_ms)
    step_bytes, stream_bytes = _read_by_a_step(bundle, context)
    floor = 1000 * step_bytes / _bandwidth(step_bytes, bundle.device) if step_bytes else None
    return Figures(
        realtime=round(realtime, 3),
        step_ms=round(step_ms, 3),
        codec_ms=round(codec_ms, 3),
        floor_ms=None if floor is None else round(floor, 3),
        context=context,
        weights_mb=round(weights_of(bundle) / MB, 1),
        stream_mb=round(stream_bytes / MB, 1),
        live_streams=streams,
        rounds_ms={count: round(value, 3) for count, value in rounds_ms.items()},
    )


def one_stream(bundle: ModelBundle, context: int, seconds: float) -> tuple[float, float, float]:
    """Real-time factor, milliseconds of a step, and of decoding a frame."""
    sampler, decoder = _sampler(bundle, context, seed=0), bundle.codec.stream()
    steps: list[float] = []
    decodes: list[float] = []
    chunks, began = 0, 0.0
    while chunks < _WARM_UP_CHUNKS + _LEAST_CHUNKS or time.perf_counter() - began < seconds:
        if chunks == _WARM_UP_CHUNKS:
            steps, decodes, began = [], [], time.perf_counter()
        made: list[Tensor] = []
        while sum(part.shape[2] for part in made) < CHUNK_FRAMES:
            at = time.perf_counter()
            completed = sampler.advance()
            _wait_for(bundle.device)
            if completed is not None:  # other pieces of work are no steps: what the next window hears ahead, a prompt
                steps.append(time.perf_counter() - at)
                made.append(completed)
        at = time.perf_counter()
        decoder.decode(torch.cat(made, dim=2)[0]).cpu()
        decodes.append((time.perf_counter() - at) / CHUNK_FRAMES)
        chunks += 1
    sound = (chunks - _WARM_UP_CHUNKS) * CHUNK_FRAMES / float(bundle.codec.frame_rate)
    elapsed = time.perf_counter() - began
    return sound / elapsed, 1000 * statistics.median(steps), 1000 * statistics.median(decodes)


def _side_by_side(bundle: ModelBundle, context: int, codec_ms: float) -> tuple[dict[int, float], int]:
    """Milliseconds of a round by the number of streams, doubled until they do not hold real time; and how many of them do."""
    budget = MARGIN * 1000 / float(bundle.codec.frame_rate)
    rounds: dict[int, float] = {}
    samplers: list[FrameSampler] = []
    count = 1
    while count <= _MOST_STREAMS:
        samplers += [_sampler(bundle, context, seed=seed) for seed in range(len(samplers), count)]
        rounds[count] = statistics.median(_round(bundle, samplers) for _ in range(_ROUNDS))
        if rounds[count] + count * codec_ms > budget:
            break
        count *= 2
    most = max((n for n in rounds if rounds[n] + n * codec_ms <= budget), default=0)
    if 2 * most not in rounds:
        return rounds, most
    # Between two measured numbers a round takes as much longer as there are more streams.
    slope = (rounds[2 * most] - rounds[most]) / most + codec_ms if most else 0.0
    more = int((budget - rounds[most] - most * codec_ms) / slope) if slope > 0 else 0
    return rounds, most + max(0, min(more, most - 1))


def _round(bundle: ModelBundle, samplers: list[FrameSampler]) -> float:
    """Milliseconds for one column of each stream, in one step of the LM."""
    coming = []
    for sampler in samplers:
        while (step := sampler.next_step()) is None:
            sampler.advance()
        coming.append(step)
    at = time.perf_counter()
    for sampler, logits in zip(samplers, bundle.lm.step(coming), strict=True):
        sampler.advance(logits)
    _wait_for(bundle.device)
    return 1000 * (time.perf_counter() - at)


def _sampler(bundle: ModelBundle, context: int, seed: int) -> FrameSampler:
    """A stream that has heard so many frames, of which it has forgotten how they sound."""
    text = bundle.text.encode(_TEXT)
    codes = torch.randint(bundle.lm.card, (1, bundle.pattern.num_codebooks, context))
    sampler = FrameSampler(
        bundle.lm,
        [bundle.lm.condition(text.hidden, text.mask)],
        SamplingSettings(guidance=bundle.usual.guidance, top_k=bundle.usual.top_k),
        total_frames=None,
        prompt=codes,
        window_frames=bundle.window_frames,
        stride_frames=bundle.stride_frames,
        seed=seed,
    )
    while sampler.advance() is None:
        pass
    return sampler


def _read_by_a_step(bundle: ModelBundle, context: int) -> tuple[int, int]:
    """Bytes that a step of one guided stream must read, and what its caches may come to; zeros for a network that is not ours."""
    lm = bundle.lm
    if not isinstance(lm, MusicgenLM):
        return 0, 0
    matrices = 0
    for name, module in lm.named_modules():
        if isinstance(module, Linear) and not name.endswith("cross_kv"):  # that is done once for a text
            packed = module.packed_bytes
            matrices += packed or sum(parameter.nbytes for parameter in module.parameters())
    config = lm.config
    number = 1 if bundle.narrow_caches else lm.dtype.itemsize
    slot = 2 * 2 * config.layers * config.kv_heads * config.head_dim * number  # keys and values of both rows
    return matrices + slot * context, slot * config.pattern.positions(bundle.window_frames)


def _bandwidth(size: int, device: torch.device) -> float:
    """Bytes per second that the device reads, by passes over as much as a step reads: the fastest of many."""
    data = torch.ones(min(max(size, _PASS_BYTES[0]), _PASS_BYTES[1]) // 8, dtype=torch.int64, device=device)
    best, until = float("inf"), time.perf_counter() + _PASSES_S
    while time.perf_counter() < until:
        at = time.perf_counter()
        data.sum()
        _wait_for(device)
        best = min(best, time.perf_counter() - at)
    return data.nbytes / best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
