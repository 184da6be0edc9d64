"""The present setting beside the others that there are: which would be the fastest here."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch

from engine.bench.measuring import Figures, measure
from engine.bench.random_models import random_model
from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.devices import pick_device
from engine.cores import model_cores, model_threads, physical_cores, pinned
from engine.memory import hand_back
from protocols.errors import ErrorCode, RequestError
from protocols.settings import EngineSettings

WORTH_IT = 1.1
"""How much faster another setting must be to be suggested: less is the machine's mood."""

_PRECISIONS = {"cpu": ("int8", "int4", "float32"), "cuda": ("float16", "bfloat16", "int8", "int4")}
_USUAL = ("float32", "float16")
_LOOK_S = 0.3


@dataclass(frozen=True)
class Setting:
    """What may be chosen in the section ``engine`` of the settings."""

    dtype: str
    runner: str
    threads: int


@dataclass(frozen=True)
class Measured:
    """One setting, what it turned out to be, and its figures; or why there are none.

    Attributes:
        setting: as asked for.
        dtype: the precision that was run.
        runner: what ran it.
        figures: None where it cannot be had here.
        reason: why.
    """

    setting: Setting
    dtype: str = ""
    runner: str = ""
    figures: Figures | None = None
    reason: str = ""


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and what else went on: figures of a busy machine are those of its rest.

    Attributes:
        processor, cores, device: of it; cores without hyperthreads.
        threads: of the model.
        load: processes that wanted a core in the minute before, on average; None where the system does not tell.
        busy: share of the processors that others took in the moment before.
        packages: versions of what the figures depend on.
    """

    processor: str
    cores: int
    device: str
    threads: int
    load: float | None
    busy: float
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All that was measured, the present setting first.

    Attributes:
        suggestion: settings of the section ``engine`` that would be clearly faster, if any.
        gain: how much faster.
    """

    model: str
    machine: Machine
    measured: list[Measured]
    suggestion: dict[str, str | int] = field(default_factory=dict)
    gain: float = 1.0
    seconds: float = 0.0


def compare(
    engine: EngineSettings,
    *,
    shape: str = "",
    seconds: float = 2.0,
    when_first: Callable[[Comparison], None] = lambda result: None,
) -> Comparison:
    """Measure the present setting, then every other that this machine has.

    Args:
        engine: the settings; its model, device, precision, runner and threads are the present setting.
        shape: random weights of this shape instead of the model.
        seconds: how long each is measured.
        when_first: hears what there is when the present setting is measured.

    Raises:
        RequestError: the present setting cannot be had: as `load_model`; or the model does not sample frame by frame.
    """
    began = time.monotonic()
    machine = _machine(engine)
    present = Setting(engine.dtype, engine.runner, machine.threads)
    first = _measured(engine, shape, present, seconds)
    result = Comparison(shape or engine.model, machine, [first])
    when_first(result)
    measured = [first]
    for setting in _others(machine, first):
        try:
            one = _measured(engine, shape, setting, seconds)
        except (RequestError, MemoryError) as error:
            reason = error.text if isinstance(error, RequestError) else "not enough memory"
            measured.append(Measured(setting, reason=reason))
            continue
        if not any(_same(one, before) for before in measured):
            measured.append(one)
    suggestion, gain = _suggestion(measured)
    took = round(time.monotonic() - began, 1)
    return replace(result, measured=measured, suggestion=suggestion, gain=gain, seconds=took)


def _measured(engine: EngineSettings, shape: str, setting: Setting, seconds: float) -> Measured:
    gc.collect()
    hand_back()
    torch.set_num_threads(setting.threads)
    cores = model_cores(setting.threads) if engine.pin else ()
    with pinned(cores):
        bundle = _load(engine, shape, setting)
        if bundle.magnet is not None or bundle.flow is not None:
            allowed = "a model that samples frame by frame: MusicGen, AudioGen, pocket"
            raise RequestError(ErrorCode.UNSUPPORTED, "model", engine.model, allowed)
        return Measured(setting, bundle.precision, bundle.runner, measure(bundle, seconds))


def _load(engine: EngineSettings, shape: str, setting: Setting) -> ModelBundle:
    if shape:
        return random_model(
            shape,
            device=engine.device,
            dtype=setting.dtype,
            runner=setting.runner,
            kv_cache=engine.kv_cache,
            threads=setting.threads,
        )
    return load_model(
        engine.model,
        device=engine.device,
        text_encoder=engine.text_encoder,
        memory_limit_mb=engine.memory_limit_mb,
        dtype=setting.dtype,
        runner=setting.runner,
        kv_cache=engine.kv_cache,
        threads=setting.threads,
    )


def _others(machine: Machine, present: Measured) -> Iterator[Setting]:
    """Each precision with the runner that it has by itself, the usual one without; then other numbers of threads."""
    kind = machine.device.partition(":")[0]
    for precision in _PRECISIONS.get(kind, _USUAL):
        yield Setting(precision, "auto", machine.threads)
    if kind != "cpu":
        yield Setting(present.dtype, "plain", machine.threads)
        return
    # A small model may be fastest with fewer threads than it gets; one more than that leaves the host less than it should have.
    for threads in sorted({1, 2, machine.threads // 2, machine.cores} - {0, machine.threads}):
        if threads <= machine.cores:
            yield Setting(present.setting.dtype, present.setting.runner, threads)


def _same(one: Measured, other: Measured) -> bool:
    return (one.dtype, one.runner, one.setting.threads) == (other.dtype, other.runner, other.setting.threads)


def _suggestion(measured: list[Measured]) -> tuple[dict[str, str | int], float]:
    """What to set to be clearly faster, without taking more of the host's cores, and by how much."""
    present = measured[0]
    assert present.figures is not None
    allowed = [one for one in measured if one.figures is not None and one.setting.threads <= present.setting.threads]
    best = max(allowed, key=lambda one: one.figures.realtime if one.figures is not None else 0.0)
    assert best.figures is not None
    gain = best.figures.realtime / present.figures.realtime
    if gain < WORTH_IT:
        return {}, 1.0
    before, after = asdict(present.setting), asdict(best.setting)
    return {name: value for name, value in after.items() if value != before[name]}, round(gain, 2)


def _machine(engine: EngineSettings) -> Machine:
    import psutil

    busy = psutil.cpu_percent(_LOOK_S) / 100
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    packages = {name: version(name) for name in ("torch", "onnxruntime", "daw-bridge")}
    device = pick_device(engine.device)
    return Machine(
        processor=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        cores=len(physical_cores()),
        device=str(device),
        threads=model_threads(engine.threads),
        load=None if load is None else round(load, 2),
        busy=round(busy, 3),
        packages=packages,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
