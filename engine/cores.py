"""Which of the machine's cores the models get, how many threads run on them, and how those threads wait for each other.

The host, its plug-ins and the sound come first. A model whose threads are as many as the cores is not a little slower beside a busy
host but many times: each of its hundred operations a step ends when the last thread has had its turn, and a thread that waits by
spinning takes the core from the one it waits for. So some cores are left alone, and who waits sleeps. What it amounts to is
measured by ``benchmarks.start --only neighbour``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT_TO_THE_HOST = 2
"""Cores that a model leaves to the host and the sound."""
MOST_THREADS = 16
"""A step is read from memory, which a few cores do as fast as many: more of them only wait for each other."""

WAITING = {
    # GNU's OpenMP, which torch brings on Linux: as many turns as take tens of microseconds, the pause between two operations.
    # Workers spin for milliseconds otherwise; without any turn, a step of small operations takes three times as long.
    "GOMP_SPINCOUNT": "5000",
    # LLVM's, on macOS, and Intel's, in milliseconds: 200 otherwise.
    "KMP_BLOCKTIME": "1",
}
"""How OpenMP's threads wait for work: hardly at a core's expense."""
_POLICY = "OMP_WAIT_POLICY"

_SYSTEM = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def wait_quietly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads sleep where they wait for long. Before torch is loaded; what the user set stays."""
    if _POLICY in environment:
        return
    for name, value in WAITING.items():
        environment.setdefault(name, value)


def model_threads(wanted: int, cores: int | None = None) -> int:
    """How many CPU threads the model gets.

    Args:
        wanted: by the user; 0 for all cores but two, which belong to the host and the sound.
        cores: there are; this process's own when left out, hyperthreads of one core counted once.
    """
    available = cores if cores is not None else len(physical_cores())
    return wanted if wanted else max(1, min(available - LEFT_TO_THE_HOST, MOST_THREADS))


def loading_threads(model: int, cores: int | None = None) -> int:
    """How many CPU threads loading another model gets beside ``model`` threads that play: the cores they leave, less one."""
    available = cores if cores is not None else len(physical_cores())
    return max(1, min(available - model - 1, MOST_THREADS))


def model_cores(threads: int, cores: Iterable[int] | None = None) -> tuple[int, ...]:
    """The cores that a model of so many threads is pinned to: the last ones, since systems do their own work on the first.

    Empty where there are fewer cores than threads, which had better move about.
    """
    available = tuple(physical_cores() if cores is None else cores)
    return available[len(available) - threads :] if threads <= len(available) else ()


def pin(cores: Collection[int]) -> bool:
    """Keep the calling thread, and all threads that it starts from now on, on these cores; False where that cannot be done.

    Linux alone keeps single threads on cores. No cores are none to be kept on.
    """
    set_affinity: Callable[[int, Collection[int]], None] | None = getattr(os, "sched_setaffinity", None)
    if set_affinity is None or not cores:
        return False
    set_affinity(0, cores)
    return True


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[bool]:
    """As `pin` for the length of a ``with``: threads that are started in it stay there. Gives what `pin` returns."""
    before = _usable()
    done = pin(cores)
    try:
        yield done
    finally:
        if done:
            pin(before)


def physical_cores() -> tuple[int, ...]:
    """The cores that this process may use, one number for each: of two hyperthreads of a core the first. In order.

    As many as a container's share of processor time is worth, where it has one.
    """
    usable = sorted(_usable())
    siblings: dict[str, int] = {}
    for core in usable:
        siblings.setdefault(_siblings(core), core)
    first = tuple(siblings.values())
    share = _share()
    return first if share is None else first[: max(1, share)]


def _usable() -> set[int]:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        return affinity(0)
    logical = os.cpu_count() or 1
    with suppress(ImportError):
        import psutil

        return set(range(psutil.cpu_count(logical=False) or logical))
    return set(range(logical))


def _siblings(core: int) -> str:
    """Names the hyperthreads of a core, all by the same name; where the system does not tell, each is a core of its own."""
    try:
        return (_SYSTEM / f"cpu{core}" / "topology" / "thread_siblings_list").read_text("ascii").strip()
    except (OSError, ValueError):
        return str(core)


def _share() -> int | None:
    """Whole cores' worth of processor time that this control group may take, None for all there is."""
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return None if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
