"""The machine that figures were taken on, in words and numbers; no names or paths of it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("torch", "transformers", "numpy", "pyzmq")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system and versions, and when this was asked. ``load`` is the system's, one minute's mean.

    A load well above what the benchmark itself uses means that others took part of the machine, and that the figures are worse
    than they would be alone.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu_name(),
        "cores": usable,
        "physical_cores": psutil.cpu_count(logical=False) or usable,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
        "load": load(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def load() -> float:
    """How many processes wanted to run, on average over the last minute."""
    return round(float(psutil.getloadavg()[0]), 2)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
