"""Pictures of a training's numbers."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from engine.training.journal import MetricsFile

_LOG = logging.getLogger(__name__)


def plot_curves(lines: Path, picture: Path) -> bool:
    """Draw the numbers of a metrics file (JSON lines with ``step``) over the steps.

    Returns:
        Whether it was drawn: matplotlib is an optional package.

    Raises:
        OSError: as the operating system has it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        _say_once("no curves are drawn: matplotlib is not installed (pip install 'daw-bridge[train]')")
        return False
    series: dict[str, list[tuple[int, float]]] = {}
    for line in MetricsFile(lines).read():
        step = line.pop("step")
        for name, value in line.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, []).append((step, float(value)))
    if not series:
        return False
    columns = 3
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(5 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (name, points) in enumerate(sorted(series.items())):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=80)
    return True


@cache
def _say_once(text: str) -> None:
    _LOG.info(text)
