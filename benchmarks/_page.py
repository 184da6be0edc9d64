"""The tables of the benchmarks' page, made from the results on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from benchmarks._figures import table

DESCRIBED = ("start",)
"""Benchmarks whose own words are their part of the page."""


def figures(results: Iterable[Mapping[str, Any]], missing: Mapping[str, str] | None = None) -> str:
    """All tables.

    Args:
        results: as the benchmarks write them.
        missing: what has not been measured, by name, and the command that would.
    """
    results = list(results)
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_kind.setdefault(str(result["benchmark"]), []).append(result)
    parts = []
    for kind, make in _TABLES.items():
        if kind in by_kind:
            parts += make(by_kind[kind])
    for kind in DESCRIBED:
        parts += [import_module(f"benchmarks.{kind}").describe(result) for result in by_kind.get(kind, ())]
    if limits := [[_named(result), limit] for result in results for limit in result.get("limits", ())]:
        parts.insert(0, _limits(limits))
    machines = {_machine(result["machine"]) for result in results}
    parts.append("\n".join(sorted(machines)) + "\n")
    if missing:
        rows = [[name, f"`{command}`"] for name, command in missing.items()]
        parts.append(table(["not measured yet", "what would measure it"], rows))
    return "\n".join(parts)


def _limits(limits: Iterable[Sequence[Any]]) -> str:
    words = {True: "kept", False: "**missed**", None: "open"}
    rows = [
        [
            f"{name}: {limit['what']}",
            f"{limit['sense']} {limit['limit']:g}",
            None if limit["value"] is None else f"{limit['value']:.4g}",
            words[limit["kept"]],
        ]
        for name, limit in limits
    ]
    return table(["what has been set", "limit", "measured", ""], rows)


def _named(result: Mapping[str, Any]) -> str:
    where = str(result.get("device", "cpu"))
    told = f"{result['threads']} threads" if where == "cpu" and isinstance(result.get("threads"), int) else where
    return " ".join(str(part) for part in (result["benchmark"], result.get("model", ""), f"({told})") if part)


def _sounds(results: Sequence[Mapping[str, Any]]) -> list[str]:
    from benchmarks.first_sound import STAGES

    header = [
        "first sound, ms",
        "p50",
        "p95",
        "p99",
        "engine alone p50",
        "prebuffer",
        "underruns",
        "cores",
        "load",
        "date",
    ]
    rows = [
        [
            f"{result['model']}, {result['output']}",
            *(result[key] for key in ("p50_ms", "p95_ms", "p99_ms")),
            result["engine_only"]["prebuffer_full"]["p50_ms"],
            result["prebuffer_ms"],
            result["underruns"],
            result.get("cores"),
            *_when(result),
        ]
        for result in results
    ]
    parts = [table(header, rows)]
    for result in results:
        stages = [
            [text, *(result["split"][name][key] for key in ("p50_ms", "p95_ms", "max_ms"))]
            for name, text in STAGES.items()
        ]
        parts.append(table([f"where the time goes ({result['model']}), ms", "p50", "p95", "max"], stages))
    return parts


def _steps(results: Sequence[Mapping[str, Any]]) -> list[str]:
    from benchmarks.decode import describe_tokens

    header = [
        "one step, ms",
        "this project",
        "floor",
        "of its speed",
        "codec",
        "realtime",
        "transformers",
        "its realtime",
    ]
    header += ["its int8", "tokens equal", "context", "GB/s", "threads", "load", "date"]
    rows: list[list[object]] = []
    for result in results:
        for number, one in enumerate(result.get("precisions", [result])):
            share = one["floor_step_ms"] / one["step_ms"]
            first = number == 0
            rows.append(
                [
                    ", ".join(str(part) for part in (result["model"], one["dtype"], one.get("runner")) if part),
                    one["step_ms"],
                    one["floor_step_ms"],
                    f"{share:.0%}",
                    one["codec_ms_per_frame"],
                    one["realtime"],
                    result["peer_step_ms"] if first else None,
                    result["peer_realtime"] if first else None,
                    result.get("peer_int8_step_ms") if first else None,
                    describe_tokens(one.get("tokens")),
                    result["context"],
                    result["bandwidth_gb_s"],
                    result["threads"],
                    *_when(result),
                ]
            )
    return [table(header, rows)]


def _streams(results: Sequence[Mapping[str, Any]]) -> list[str]:
    header = [
        "live streams",
        "without a late frame",
        "s",
        "plain engine",
        "memory's bound",
        "MB for each",
        "engine, MB",
    ]
    header += ["threads", "load", "date"]
    keys = ("streams", "seconds", "peer_streams", "floor_streams", "memory_per_stream_mb", "engine_mb", "threads")
    rows = [
        [
            f"{result['model']}, {result['dtype']}, {result['runner']}",
            *(_whole(result[key]) for key in keys),
            *_when(result),
        ]
        for result in results
    ]
    return [table(header, rows)]


def _codecs(results: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["codec, ms per frame", "one frame", "in eights", "whole file", "transformers", "floor"]
    header += ["first minute", "last", "of", "old over fresh", "threads", "load", "date"]
    rows = [
        [
            f"{result['model']}, {result['device']}",
            result["ms_per_frame"]["1"],
            result["ms_per_frame"]["8"],
            result["ms_per_frame_whole_file"],
            result["peer_ms_per_frame"],
            result["floor_ms_per_frame"],
            result["first_minute"]["ms"],
            result["last_minute"]["ms"],
            f"{result['minutes']:g}",
            f"{result['side_by_side']['ratio']:.3f}",
            result["threads"],
            *_when(result),
        ]
        for result in results
    ]
    return [table(header, rows)]


def _conditionings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_conditioning(result) for result in results]


def _lives(results: Sequence[Mapping[str, Any]]) -> list[str]:
    from benchmarks.live import describe

    return [describe(dict(result)) for result in results]


def _endless(results: Sequence[Mapping[str, Any]]) -> list[str]:
    from benchmarks._endless import describe_endless

    return [describe_endless(dict(result)) for result in results]


def _conditioning(result: Mapping[str, Any]) -> str:
    clip, live = result["clip_to_condition_ms"], result["live"]
    rows: list[list[object]] = [
        [f"frames of chroma that agree with the sound of {result['clips']} clips", f"{result['agreement']:.1%}"],
        [
            f"from a clip of {result['bars']} bars to the condition, ms (p50, p95)",
            f"{clip['p50_ms']:g}, {clip['p95_ms']:g}",
        ],
    ]
    if live is not None:
        change, endless = live["changes"]["change_to_frame"], live["endless"]
        rows += [
            [
                "from a change of the words to a frame under it, ms (p50, p95)",
                f"{change['p50_ms']:g}, {change['p95_ms']:g}",
            ],
            [f"frames that come late in {endless['minutes']:g} minutes ({live['model']})", endless["late_frames"]],
            ["the closest that any of them comes, ms", f"{endless['margin']['min_ms']:.0f}"],
        ]
    rows.append(["load, date", ", ".join(_when(result))])
    return table(["conditioning", ""], rows)


def _whole(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) and value == int(value) else value


def _when(result: Mapping[str, Any]) -> tuple[str, str]:
    return f"{result['machine']['load']} → {result['load_after']}", result["machine"]["date"]


def _machine(machine: Mapping[str, Any]) -> str:
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:g} GB, {machine['system']}; "
        f"Python {machine['python']}, torch {machine['torch']}, transformers {machine['transformers']}."
    )


_TABLES = {
    "first_sound": _sounds,
    "decode": _steps,
    "streams": _streams,
    "codec": _codecs,
    "conditioning": _conditionings,
    "live": _lives,
    "endless": _endless,
}
"""A benchmark's name in its results, and what makes its part of the page; in the order of the page."""
