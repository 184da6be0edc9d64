"""A GPU's way of running a `MusicgenLM`: one step of any set of sessions as one CUDA graph.

A step launches some hundreds of small kernels. From Python that takes many times as long as the kernels do; captured once and
replayed, they follow each other within a microsecond or two. What differs from step to step (rows, places, caches, texts) is read
by the kernels from tables of pointers and numbers, so that one graph per number of rows serves streams of any age, text and
window.

`tables` holds what a graph reads and writes, `step` is the sequence of operations, `ops` what each of them computes in plain
torch, `kernels` the same in Triton, `runner` captures and replays, `check` compares all of it with the model's own modules, and
``python -m engine.runtime.graphs.selfcheck`` does so with figures on a machine that has a GPU.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch

from engine.runtime.graphs.step import unsupported_shape
from engine.runtime.lm import MusicgenLM

if TYPE_CHECKING:
    from engine.runtime.graphs.runner import GraphRunner

MOST_ROWS = 128


def unsupported(lm: MusicgenLM) -> str | None:
    """Why graphs cannot run a model here, as far as its shape and the machine say it; None where they can."""
    if lm.device.type != "cuda":
        return "graphs are captured on CUDA devices"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if lm.config.head_dim * lm.dtype.itemsize % 16:
        return f"heads of {lm.config.head_dim} numbers"
    return unsupported_shape(lm.config)


def attach(lm: MusicgenLM, most_rows: int = MOST_ROWS) -> GraphRunner:
    """Let captured graphs run a model's steps from now on; sessions that were made before are of no use any more.

    The graphs are compared with the model's modules first, so that a machine on which they do not do the same never plays them.

    Args:
        lm: the model, its weights final, on a CUDA device.
        most_rows: of a step.

    Raises:
        RuntimeError: they cannot run it, with the reason; the model is as it was.
    """
    if (reason := unsupported(lm)) is not None:
        raise RuntimeError(reason)
    # Triton is slow to import, and not installed everywhere.
    from engine.runtime.graphs.check import compare
    from engine.runtime.graphs.kernels import TritonOps
    from engine.runtime.graphs.runner import GraphRunner

    try:
        for wide in (True, False):
            runner = GraphRunner(lm, TritonOps(wide=wide), most_rows)
            runner.capture()
            found = compare(lm, runner)
            if found.rows_equal:
                break
    except Exception as error:  # compilers, drivers and allocators raise what they like
        raise RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    if (wrong := found.wrong) is not None:
        raise RuntimeError(wrong)
    torch.cuda.empty_cache()  # of the sessions that the comparison had
    lm.runner = runner
    return runner
