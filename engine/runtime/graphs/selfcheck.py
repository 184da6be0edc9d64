"""``python -m engine.runtime.graphs.selfcheck``: what graphs promise, tried with random weights, and figures.

For whoever has a GPU: one command that says whether steps are the modules' and do not depend on who shares them, what they take
beside the modules and beside the time in which the device's memory could be read, and what memory an engine with one stream
needs. Without a GPU it runs the same step uncaptured on a CPU, which says whether it is right, and nothing of its speed. The exit
status is 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.runtime.graphs import MOST_ROWS, unsupported
from engine.runtime.graphs.check import compare
from engine.runtime.graphs.ops import Ops, TorchOps
from engine.runtime.graphs.runner import GraphRunner
from engine.runtime.graphs.tables import Tables
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from engine.runtime.quantised import Int8Weight
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings

SHAPES = {
    "tiny": (64, 2, 4, 64),
    "musicgen-small": (1024, 24, 16, 2048),
    "musicgen-medium": (1536, 48, 24, 2048),
    "musicgen-large": (2048, 48, 32, 2048),
}
"""Width, layers, heads and entries per codebook."""
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
_BOOKS, _TEXT_DIM, _POSITIONS, _TEXT = 4, 768, 2048, 16
_WINDOW, _SHARED = 1503, 603
"""Columns of a window of 30 seconds, and of the 12 that the next one shares with it."""
_COPIED = 1 << 30
_MB = 1e6


def _config(shape: str) -> LMConfig:
    dim, layers, heads, card = SHAPES[shape]
    return LMConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        ff_dim=4 * dim,
        pattern=DelayPattern.musicgen(_BOOKS, 1),
        card=card,
        text_dim=_TEXT_DIM,
        text_projection=True,
        max_positions=_POSITIONS,
    )


def footprint(shape: str, precision: str) -> dict[str, int]:
    """Bytes that an LM of this shape takes on a GPU while a stream without end plays: told from shapes, nothing is allocated."""
    half = torch.float32 if precision == "float32" else torch.float16
    lm = MusicgenLM(_config(shape), device="meta", dtype=half)
    rounded = sum(
        module.weight.numel()
        for name, module in lm.named_modules()
        if precision == "int8" and isinstance(module, Linear) and not name.endswith("cross_kv")
    )
    weights = sum(parameter.nbytes for parameter in lm.parameters()) - rounded * (half.itemsize - 1)
    grain = GraphRunner.grain
    # While a window plays to its end, the next one has heard what both share.
    slots = sum(-(-heard // grain) * grain for heard in (_WINDOW, _SHARED))
    parts = {
        "weights": weights + lm.position_table.nbytes,
        "caches": slots * 2 * 2 * lm.config.layers * lm.config.dim * half.itemsize,
        "tables": Tables(lm, MOST_ROWS).nbytes,
    }
    return parts | {"total": sum(parts.values())}


def random_model(shape: str, precision: str, device: torch.device) -> MusicgenLM:
    """An LM of this shape, whose weights are noise that keeps the scale of what passes through."""
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    lm = MusicgenLM(_config(shape), device=device, dtype=dtype if precision == "int8" else getattr(torch, precision))
    generator = torch.Generator(device).manual_seed(2)
    for name, parameter in lm.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        elif parameter.dim() == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
        else:
            parameter.zero_()
    if precision == "int8":
        # Of the products that a step makes; what hears a text once may stay as it is.
        for name, module in lm.named_modules():
            if isinstance(module, Linear) and not name.endswith("cross_kv"):
                module.rounded = Int8Weight(module.weight)
                module.weight = torch.nn.Parameter(module.weight.new_empty(0), requires_grad=False)
    return lm


@torch.inference_mode()
def check(shape: str, precision: str, device: torch.device, streams: int, context: int) -> dict[str, Any]:
    """All figures; ``wrong`` says what is not as promised, None where all is."""
    lm = random_model(shape, precision, device)
    cuda = device.type == "cuda"
    figures: dict[str, Any] = {
        "shape": shape,
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "footprint_mb": {part: round(size / _MB) for part, size in footprint(shape, precision).items()},
    }
    if cuda and (reason := unsupported(lm)) is not None:
        return figures | {"wrong": reason}
    began = time.perf_counter()
    runner = GraphRunner(lm, _ops(cuda), MOST_ROWS if cuda else 8)
    if cuda:
        runner.capture()
        torch.cuda.synchronize()
    figures["capture_s"] = time.perf_counter() - began if cuda else None
    found = compare(lm, runner)
    figures["comparison"] = {
        "difference": found.difference,
        "tokens_equal": found.tokens_equal,
        "replays_equal": found.replays_equal,
        "rows_equal": found.rows_equal,
    }
    figures["wrong"] = found.wrong
    tokens = [_tokens(lm, runner)]
    with runner.uncaptured():
        tokens.append(_tokens(lm, runner))
    figures["frames_equal_uncaptured"] = torch.equal(*tokens)
    figures["frames_equal_modules"] = float((tokens[0] == _tokens(lm, None)).float().mean())
    if not figures["frames_equal_uncaptured"] and figures["wrong"] is None:
        figures["wrong"] = "a stream's tokens are others by graphs than operation by operation"
    if cuda:
        figures |= _speed(lm, runner, streams, context)
    return figures


def _ops(cuda: bool) -> Ops:
    if not cuda:
        return TorchOps()
    from engine.runtime.graphs.kernels import TritonOps

    return TritonOps()


def _tokens(lm: MusicgenLM, runner: GraphRunner | None) -> Tensor:
    """Two windows of a stream, ``[1, codebooks, frames]``."""
    lm.runner = runner
    sampler = FrameSampler(
        lm,
        [lm.condition(_text())],
        SamplingSettings(),
        total_frames=70,
        window_frames=50,
        stride_frames=30,
        seed=3,
    )
    frames = []
    while not sampler.done:
        if (made := sampler.advance()) is not None:
            frames.append(made)
    lm.runner = None
    return torch.cat(frames, dim=2)


def _speed(lm: MusicgenLM, runner: GraphRunner, streams: int, context: int) -> dict[str, Any]:
    """Milliseconds of a step at a context, and memory; on a CUDA device."""
    figures: dict[str, Any] = {"context": context, "streams": streams}
    lm.runner = None
    figures["modules_ms"] = _step_ms(lm, 1, context)
    lm.runner = runner
    with runner.uncaptured():
        figures["uncaptured_ms"] = _step_ms(lm, 1, context)
    figures["graph_ms"] = _step_ms(lm, 1, context)
    figures[f"graph_{streams}_streams_ms"] = _step_ms(lm, streams, context)
    weights = _weight_bytes(lm)
    bandwidth = _bandwidth(lm.device)
    caches = 2 * 2 * lm.config.layers * lm.config.dim * context * lm.dtype.itemsize
    figures["bandwidth_gb_s"] = bandwidth / 1e9
    figures["floor_ms"] = 1000 * (weights + caches) / bandwidth
    figures["of_floor"] = figures["floor_ms"] / figures["graph_ms"]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(lm.device)
    session = lm.session([lm.condition(_text())], _WINDOW)
    session.make_room(_WINDOW)
    column = torch.zeros(1, _BOOKS, 1, dtype=torch.long, device=lm.device)
    lm.step([Step(column, session)])
    figures["model_and_one_window_mb"] = torch.cuda.max_memory_allocated(lm.device) / _MB
    figures["tables_mb"] = runner.tables.nbytes / _MB
    lm.runner = None
    return figures


def _step_ms(lm: MusicgenLM, streams: int, context: int, count: int = 50) -> float:
    condition = lm.condition(_text())
    sessions = [lm.session([condition], context + count + 10) for _ in range(streams)]
    known = torch.zeros(1, _BOOKS, 64, dtype=torch.long, device=lm.device)
    for session in sessions:
        for start in range(0, context, 64):
            lm.hear(known[..., : min(64, context - start)], session)
    steps = [Step(known[..., :1], session) for session in sessions]
    return _timed(lambda: lm.step(steps), count, lm.device)


def _timed(work: Callable[[], object], count: int, device: torch.device) -> float:
    for _ in range(10):
        work()
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        work()
    torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - began) / count


def _weight_bytes(lm: MusicgenLM) -> int:
    """What a step reads: all matrices but those that hear a text once."""
    return sum(
        module.weight.nbytes + (0 if module.rounded is None else module.rounded.nbytes)
        for name, module in lm.named_modules()
        if isinstance(module, Linear) and not name.endswith("cross_kv")
    )


def _bandwidth(device: torch.device) -> float:
    """Bytes per second that the device reads and writes in a plain copy."""
    source = torch.empty(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * _COPIED / (_timed(lambda: target.copy_(source), 20, device) / 1000)


def _text() -> Tensor:
    return torch.randn(_TEXT, _TEXT_DIM, generator=torch.Generator().manual_seed(4))


def main(arguments: list[str] | None = None) -> int:
    """Check and print."""
    parser = argparse.ArgumentParser(prog="python -m engine.runtime.graphs.selfcheck", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--model-shape", choices=SHAPES, default="musicgen-medium" if torch.cuda.is_available() else "tiny"
    )
    parser.add_argument("--dtype", choices=PRECISIONS, default="float16" if torch.cuda.is_available() else "float32")
    parser.add_argument("--streams", type=int, default=48, help="of a shared step")
    parser.add_argument("--context", type=int, default=500, help="positions that a stream has heard")
    given = parser.parse_args(arguments)
    figures = check(given.model_shape, given.dtype, torch.device(given.device), given.streams, given.context)
    print(json.dumps(figures, indent=1))  # noqa: T201 - a command's own words
    return 0 if figures["wrong"] is None else 1


if __name__ == "__main__":
    sys.exit(main())
