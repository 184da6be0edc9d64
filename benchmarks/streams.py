"""``python -m benchmarks.streams``: how many live streams one engine holds in real time, without a single late frame.

A real engine runs as a process. A client opens streams without an end and takes each of them as fast as it sounds, as a bridge
does: it begins once the prebuffer is there, tells every 10 ms what it has played, and never waits. A frame is late when it comes
after the moment at which it was due. The number is searched: twice as many as long as that holds, then in between, each tried for a
few seconds; the highest is then played for the whole time, and one less where that fails.

Beside it stand the same streams of an engine as plain as there is one (single precision, ``runner=plain``, one stream after the
other), and how many the memory lets anybody hold: each step reads the weights once and the caches of every stream.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks._engine import Engine, confined, engine
from benchmarks._figures import show, table
from benchmarks._limits import at_least, at_most, lines
from benchmarks._live import LEAD_S, PREBUFFER_S
from benchmarks._machine import describe_machine, load
from benchmarks._players import Players
from benchmarks._shapes import SHAPES, checkpoint
from benchmarks._steps import measure_bandwidth
from benchmarks._traffic import checkpoint_folder, traffic_of
from engine.checkpoints.devices import pick_device, pick_precision
from engine.cores import model_threads
from protocols.errors import RequestError
from protocols.messages import EngineStatus, Open

MOST = 64
_JOIN_S = 0.1
"""Between two streams that join."""
_READY_S = 60.0
_SETTLE_S = 2.0
_FULL_S = 35.0
"""Longer than any window."""
_PROMPTS = ("warm strings", "distorted guitar", "slow jazz piano trio", "techno, 120 bpm", "solo flute", "happy disco")


def measure(
    model: str = "pocket",
    *,
    by_shape: bool = False,
    threads: int = 0,
    cores: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    runner: str = "auto",
    seconds: float = 60.0,
    probe_seconds: float = 8.0,
    most: int = MOST,
    peer: bool = True,
    flags: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        model: one of `SHAPES`, or a model to load.
        by_shape: which of both it is.
        threads: CPU threads of the model; 0 for the engine's own choice.
        cores: keep engine and client to so many cores; 0 for all.
        device: as the engine's setting.
        dtype: as the engine's setting.
        runner: as the engine's setting.
        seconds: how long the highest number must hold.
        probe_seconds: how long each number is tried while it is searched.
        most: where the search ends.
        peer: measure the plain engine as well.
        flags: more settings, as ``section.name=value``.

    Raises:
        RequestError, RuntimeError: an engine did not start or does not answer.
    """
    machine = describe_machine()
    with ExitStack() as stack:
        chosen = stack.enter_context(confined(cores))
        folder = stack.enter_context(checkpoint(model)) if by_shape else model
        usual = (f"engine.device={device}", f"engine.max_running={most}", *flags)
        chosen_flags = (f"engine.dtype={dtype}", *([] if runner == "auto" else [f"engine.runner={runner}"]))
        with engine(folder, threads=threads, flags=(*usual, *chosen_flags)) as running:
            ours = _search(running, most, probe_seconds, seconds)
        their: dict[str, Any] | None = None
        if peer:
            exact = "float32" if ours["status"].device == "cpu" else dtype
            plain = ("engine.runner=plain", f"engine.dtype={exact}")
            with engine(folder, threads=threads, flags=(*usual, *plain)) as running:
                their = _search(running, most, probe_seconds, probe_seconds)
        where = pick_device(device)
        torch.set_num_threads(model_threads(threads))
        status: EngineStatus = ours["status"]
        precision = pick_precision(status.dtype, where)
        traffic = traffic_of(checkpoint_folder(folder), precision, where)
        bandwidth = None if traffic is None else measure_bandwidth(where, traffic.weights)
    return {
        "benchmark": "streams",
        "model": model,
        "weights": "random, of this shape" if by_shape else "of this checkpoint",
        "streams": ours["streams"],
        "seconds": seconds,
        "peer_streams": None if their is None else their["streams"],
        "peer": None if their is None else f"this project's plain engine, {their['status'].dtype}, unbatched",
        "peer_seconds": probe_seconds,
        "floor_streams": None if traffic is None or bandwidth is None else traffic.most_streams(bandwidth),
        "memory_per_stream_mb": ours["memory_per_stream_mb"],
        "engine_mb": ours["engine_mb"],
        "engine_idle_mb": ours["engine_idle_mb"],
        "gpu_one_stream_mb": ours["gpu_one_stream_mb"],
        "gpu_per_stream_mb": ours["gpu_per_stream_mb"],
        "tries": ours["tries"],
        "peer_tries": None if their is None else their["tries"],
        "lead_s": LEAD_S,
        "prebuffer_s": PREBUFFER_S,
        "settle_s": _SETTLE_S,
        "probe_seconds": probe_seconds,
        "bandwidth_gb_s": None if bandwidth is None else round(bandwidth, 2),
        "weights_mb": None if traffic is None else round(traffic.weights / 1e6, 2),
        "cache_mb_per_stream": None if traffic is None else round(traffic.cache / 1e6, 2),
        "limits": _limits(model, status.device, cores or machine["cores"], ours),
        "dtype": status.dtype,
        "runner": getattr(status, "runner", runner),
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": status.threads,
        "cores": len(chosen) or machine["cores"],
        "settings": list(flags),
        "load_after": load(),
        "machine": machine,
    }


def search(holds: Callable[[int], bool], most: int) -> int:
    """The highest number up to ``most`` that holds, 0 for none: twice as many while that holds, then halving what is between."""
    held, fails, number = 0, most + 1, 1
    while number <= most:
        if not holds(number):
            fails = number
            break
        held = number
        number = min(2 * number, most) if number < most else most + 1
    while fails - held > 1:
        between = (held + fails) // 2
        if holds(between):
            held = between
        else:
            fails = between
    return held


def _search(running: Engine, most: int, probe_seconds: float, seconds: float) -> dict[str, Any]:
    """The highest number that one engine holds, and every try on the way."""
    tries: list[dict[str, Any]] = []
    # Warms everything up that a first stream does; on a GPU until its window is full, so that its memory can be told.
    first = _try(running, 1, 1.0 if running.status().device == "cpu" else _FULL_S)
    idle = running.resident_mb

    def holds(number: int) -> bool:
        tries.append(_try(running, number, probe_seconds))
        return bool(tries[-1]["held"])

    number = search(holds, most)
    if seconds > probe_seconds:
        while number:
            tries.append(_try(running, number, seconds))
            if tries[-1]["held"]:
                break
            number -= 1
    whole = next((one for one in reversed(tries) if one["held"] and one["streams"] == number), None)
    return {
        "streams": number,
        "tries": tries,
        "engine_idle_mb": round(idle, 1),
        "engine_mb": None if whole is None else whole["engine_mb"],
        "memory_per_stream_mb": None if whole is None else round((whole["engine_mb"] - idle) / number, 1),
        "gpu_one_stream_mb": first["gpu_mb"],
        "gpu_per_stream_mb": None
        if whole is None or number < 2
        else round((whole["gpu_mb"] - first["gpu_mb"]) / (number - 1), 1),
        "status": running.status(),
    }


def _try(running: Engine, number: int, seconds: float) -> dict[str, Any]:
    """So many streams, which join one after the other, settle and then play for so long."""
    before = getattr(running.status(), "late_frames", None)
    players = Players(running.line, PREBUFFER_S)
    fault = ""
    late_joining = 0
    spent = 0.0
    memory = running.resident_mb
    try:
        for index in range(number):
            prompt = f"{_PROMPTS[index % len(_PROMPTS)]}, take {index}"
            players.join(Open(prompt=prompt, seed=index, lead=LEAD_S))
            players.play(_JOIN_S)
        players.play(_READY_S, lambda: all(one.began is not None for one in players.listeners.values()))
        players.play(_SETTLE_S)
        late_joining = sum(one.late_frames for one in players.listeners.values())
        players.forgive()
        began = running.cpu_seconds
        players.play(seconds)
        spent, memory = running.cpu_seconds - began, running.resident_mb
    except RequestError as error:
        fault = error.text
    finally:
        players.close()
    listeners = players.listeners.values()
    fault = fault or next((one.fault for one in listeners if one.fault), "")
    late = sum(one.late_frames for one in listeners)
    status = running.status()
    after = getattr(status, "late_frames", None)
    closest = min((one.closest for one in listeners), default=0.0)
    return {
        "streams": number,
        "seconds": seconds,
        "held": not late and not fault and len(listeners) == number and closest >= 0,
        "late_frames": late,
        "late_frames_joining": late_joining,
        "engine_late_frames": None if before is None or after is None else after - before,
        "closest_ms": round(1000 * closest, 1),
        "joined_ms_max": round(1000 * max((one.joined_s for one in listeners), default=0.0), 1),
        "cores_used": round(spent / seconds, 2),
        "engine_mb": round(memory, 1),
        "gpu_mb": round(status.gpu_reserved_mb, 1),
        "fault": fault or None,
    }


def _limits(model: str, device: str, cores: int, ours: dict[str, Any]) -> list[dict[str, Any]]:
    """What has been set for this model on such a machine."""
    if device == "cpu" and model == "pocket" and cores == 4:
        return [at_least("live streams", 4, ours["streams"])]
    if device.startswith("cuda") and model == "musicgen-medium":
        whole = at_most("the GPU's memory with one stream, MB", 5000, ours["gpu_one_stream_mb"])
        return [at_least("live streams", 48, ours["streams"]), whole]
    return []


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    rows = [
        ["live streams without a late frame", result["streams"], result["peer_streams"], result["floor_streams"]],
    ]
    tried = [
        [
            one["streams"],
            f"{one['seconds']:g}",
            "yes" if one["held"] else "no",
            one["late_frames"],
            one["closest_ms"],
            one["cores_used"],
            one["engine_mb"],
        ]
        for one in result["tries"]
    ]
    facts = (
        f"\n{result['model']}, {result['weights']}, {result['dtype']}, runner {result['runner']}; {result['device']}, "
        f"{result['threads']} threads of {result['cores']} cores; {result['seconds']:g} s, lead {1000 * result['lead_s']:g} ms; "
        f"engine {result['engine_mb'] or result['engine_idle_mb']:g} MB, {result['memory_per_stream_mb'] or 0:g} MB for each "
        f"stream; load {result['machine']['load']} before, {result['load_after']} after\n"
    )
    header = ["streams", "s", "held", "late frames", "closest, ms", "cores used", "engine, MB"]
    return (
        table(["", "this project", "plain", "memory's bound"], rows)
        + "\n"
        + table(header, tried)
        + facts
        + lines(result["limits"])
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=(__doc__ or "").split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-shape", choices=list(SHAPES), help="random weights of this shape")
    which.add_argument("--model", default="pocket", help="what the engine loads: a name, a folder, a hub id")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model; 0 for the engine's choice")
    parser.add_argument("--cores", type=int, default=0, help="keep engine and client to so many cores; 0 for all")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="precision, as the engine's setting")
    parser.add_argument("--runner", default="auto", help="as the engine's setting: auto, plain, onnx, graphs")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the highest number must hold")
    parser.add_argument("--probe-seconds", type=float, default=8.0, help="how long each number is tried in the search")
    parser.add_argument("--most", type=int, default=MOST, help="where the search ends")
    parser.add_argument("--no-peer", action="store_true", help="leave the plain engine out")
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="override a setting")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if not 1 <= options.most <= MOST or min(options.seconds, options.probe_seconds) <= 0:
        parser.error(f"seconds are above 0, and streams 1 to {MOST}")
    try:
        result = measure(
            options.model_shape or options.model,
            by_shape=options.model_shape is not None,
            threads=options.threads,
            cores=options.cores,
            device=options.device,
            dtype=options.dtype,
            runner=options.runner,
            seconds=options.seconds,
            probe_seconds=options.probe_seconds,
            most=options.most,
            peer=not options.no_peer,
            flags=tuple(options.set),
        )
    except RequestError as error:
        sys.stderr.write(f"streams: {error.text}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"streams: {error}\n")
        return 1
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
