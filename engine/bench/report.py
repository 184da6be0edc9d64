"""A comparison in words."""

from __future__ import annotations

from engine.bench.comparison import Comparison, Measured

_BUSY = 0.25
"""Share of the processors that others may take before the figures are no longer the machine's."""
_COLUMNS = (
    "precision",
    "runner",
    "threads",
    "x real time",
    "step ms",
    "floor ms",
    "codec ms",
    "weights MB",
    "live streams",
)


def headline(result: Comparison) -> str:
    """``on this machine: 4.1 × real time``, and with what."""
    first = result.measured[0]
    assert first.figures is not None
    where = f"{result.machine.threads} of {result.machine.cores} cores"
    if result.machine.device != "cpu":
        where = result.machine.processor
    return (
        f"on this machine: {first.figures.realtime:.1f} × real time "
        f"({result.model}, {first.dtype} by {first.runner}, {where}; {first.figures.context} frames heard, guidance, decoding)"
    )


def told(result: Comparison) -> str:
    """All that follows the headline."""
    rows = [_COLUMNS, *(_row(one) for one in result.measured if one.figures is not None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += [
        f"{one.setting.dtype} by {one.setting.runner}, {one.setting.threads} threads: {one.reason}"
        for one in result.measured
        if one.figures is None
    ]
    machine = result.machine
    load = "" if machine.load is None else f"; load {machine.load:.1f}"
    lines.append(f"{machine.processor}, {machine.cores} cores; others took {machine.busy:.0%} of them{load}")
    if machine.busy > _BUSY:
        lines.append("The machine was busy: these are figures of what was left of it. Try again when it is not.")
    if result.suggestion:
        options = " ".join(f"--set engine.{name}={value}" for name, value in result.suggestion.items())
        lines.append(f"{result.gain:.1f} times as fast: daw-bridge up {options}")
    else:
        lines.append("The present setting is as fast as any other, give or take a tenth.")
    return "\n".join(lines)


def _row(one: Measured) -> tuple[str, ...]:
    figures = one.figures
    assert figures is not None
    return (
        one.dtype,
        one.runner,
        str(one.setting.threads),
        f"{figures.realtime:.2f}",
        f"{figures.step_ms:.2f}",
        "?" if figures.floor_ms is None else f"{figures.floor_ms:.2f}",
        f"{figures.codec_ms:.2f}",
        f"{figures.weights_mb:.0f}",
        str(figures.live_streams),
    )
