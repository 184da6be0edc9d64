"""How much memory models take, and how it is handed back once one is gone."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from engine.checkpoints.bundle import ModelBundle
from engine.runtime.linear import Linear

MB = 1 << 20


def weights_of(bundle: ModelBundle) -> int:
    """What a model's weights take, in bytes: the LM in its own precision, codec and text encoder in single."""
    lm = bundle.lm
    matrices = [module for module in lm.modules() if isinstance(module, Linear)]
    numbers = sum(parameter.numel() for parameter in lm.parameters())
    counted = numbers + sum(module.packed_numbers for module in matrices)
    packed = sum(module.packed_bytes for module in matrices)
    tables = sum(table.nbytes for table in lm.buffers())
    return packed + numbers * bundle.dtype.itemsize + tables + (bundle.parameters - counted) * 4


def gpu_memory() -> tuple[int, int]:
    """What is in use on all GPUs, and what this process holds there, in bytes."""
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        return sum(map(torch.cuda.memory_allocated, devices)), sum(map(torch.cuda.memory_reserved, devices))
    if torch.backends.mps.is_available():
        return torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
    return 0, 0


def hand_back() -> None:
    """Give what is free inside this process back to the system, and to the GPU's other users. Takes a while; any thread.

    Freed weights stay with PyTorch's allocator on a GPU, and in part with the C library on a CPU, until they are asked to let go.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    """The C library's own way to hand memory back, where it has one (glibc)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
