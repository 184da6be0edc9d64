"""How many of the machine's cores the models get."""

from __future__ import annotations

import os


def model_threads(wanted: int, cores: int | None = None) -> int:
    """How many CPU threads the model gets: as wanted, or all cores but two, which belong to the host and the sound."""
    available = cores if cores is not None else len(_usable_cores())
    return wanted if wanted else max(1, available - 2)


def loading_threads(model: int, cores: int | None = None) -> int:
    """How many CPU threads loading another model gets beside ``model`` threads that play: the cores they leave, less one."""
    available = cores if cores is not None else len(_usable_cores())
    return max(1, available - model - 1)


def _usable_cores() -> list[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return list(affinity(0)) if affinity is not None else list(range(os.cpu_count() or 1))
