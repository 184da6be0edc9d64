"""Figures as they are shown: percentiles, and tables for a terminal and for a page."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Summary = dict[str, float]


def summarise(values: Sequence[float]) -> Summary:
    """``p50_ms``, ``p95_ms``, ``p99_ms``, ``min_ms`` and ``max_ms`` of some milliseconds.

    A percentile is the smallest value that so many values do not exceed (nearest rank): of 50 values, the 99th is the largest.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    array = np.asarray(values, np.float64)
    p50, p95, p99 = np.percentile(array, [50, 95, 99], method="inverted_cdf")
    named = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "min_ms": array.min(), "max_ms": array.max()}
    return {name: round(float(value), 3) for name, value in named.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose columns line up, so that it can be read as it is; numbers stand to the right."""
    cells = [[_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]) + "\n"


def show(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Write a result to the standard output: as JSON, or in words."""
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if as_json else text)
    sys.stdout.flush()


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "–"
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return str(cell)
