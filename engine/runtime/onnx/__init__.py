"""Models whose matrices are in few bits, run by onnxruntime on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

import torch

from engine.runtime.caches import CacheScales, find_scales
from engine.runtime.onnx.graph import unsupported, unsupported_shape, weights_of
from engine.runtime.onnx.runner import OnnxRunner
from engine.runtime.onnx.texts import Texts
from engine.runtime.transformer import DecoderLayer

if TYPE_CHECKING:
    from engine.runtime.lm import MusicgenLM

__all__ = ["CacheForm", "OnnxRunner", "attach", "cache_form", "unsupported", "unsupported_shape"]

CacheForm = Literal["auto", "float32", "int8"]

_NARROW_FROM = 256
"""Width of models whose caches are worth rounding. From here on they are what a step for several streams reads most of."""


def cache_form(dim: int, wanted: CacheForm = "auto") -> CacheForm:
    """How a model of this width keeps keys and values."""
    return wanted if wanted != "auto" else "int8" if dim >= _NARROW_FROM else "float32"


def attach(lm: MusicgenLM, threads: int = 0, *, kv_cache: CacheForm = "auto", keep: bool = False) -> OnnxRunner:
    """Let onnxruntime run a model from now on; sessions that were made before are of no use any more.

    Args:
        lm: the model, packed.
        threads: of the CPU; 0 for as many as torch has.
        kv_cache: how keys and values are kept; see `cache_form`. Those of eight bits are also what the modules then hear.
        keep: whether the modules keep their matrices, so that the model still runs without the runner.

    Raises:
        ValueError: a model that the graph cannot run; see `unsupported`.
    """
    if (reason := unsupported(lm)) is not None:
        raise ValueError(f"onnxruntime cannot run this model: {reason}")
    threads = threads or torch.get_num_threads()
    scales: list[CacheScales] | None = None
    texts = Texts(lm) if Texts.covers(lm) else None
    if cache_form(lm.config.dim, kv_cache) == "int8":
        lm.runner = OnnxRunner(lm, threads, texts=texts)
        scales = find_scales(lm)
        lm.runner = None  # before the next one is made, which is as large
        for layer, own in zip(cast("Sequence[DecoderLayer]", lm.layers), scales, strict=True):
            layer.cache_scales = own
    lm.runner = runner = OnnxRunner(lm, threads, scales, texts)
    if not keep:
        for weight in weights_of(lm):
            weight.release()
    return runner
