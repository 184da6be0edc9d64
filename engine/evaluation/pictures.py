"""Pictures of clips: a spectrogram, and below it the piano roll that can be heard in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.chroma import MELODY_RATE, ROLL_KEYS, ROLL_LOWEST, piano_roll
from protocols.errors import ErrorCode, RequestError

_WINDOW, _HOP = 2048, 512
_LOWEST, _HIGHEST = 40.0, 14_000.0
_ROWS = 128
_RANGE_DB = 70.0
_ROLL_RANGE_DB = 36.0
_INCHES = (8.0, 3.6)
_DPI = 75
_COLOURS = 128
Note = tuple[float, float, int]
"""Start and end in seconds, and MIDI key."""

_GIVEN, _SEAM = "#e4572e", "#29b6f6"


def check_matplotlib() -> None:
    """Find matplotlib, which comes with the extra for training, before anything is begun.

    Raises:
        RequestError: ``unsupported`` without it, with the line that installs it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        allowed = "to install it: pip install 'daw-bridge[train]'"
        raise RequestError(ErrorCode.UNSUPPORTED, "pictures", "matplotlib is missing", allowed)


def draw_clip(
    path: Path,
    samples: NDArray[np.float32],
    sample_rate: int,
    *,
    melody: Sequence[Note] = (),
    seam: float | None = None,
    bar_seconds: float = 0.0,
) -> None:
    """Draw a clip ``[samples]`` into a PNG file.

    Args:
        path: is replaced.
        samples: mono.
        sample_rate: in Hz.
        melody: that was given; drawn over the roll.
        seam: where an audio prompt ends, in seconds; marked in both.
        bar_seconds: length of a bar; above 0 the roll has a line at each.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    seconds = len(samples) / sample_rate
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    above.imshow(
        _spectrogram(samples, sample_rate).T,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, _ROWS),
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
    )
    marks = [hertz for hertz in (100, 300, 1000, 3000, 10_000) if hertz < sample_rate / 2]
    above.set_yticks(
        [_row_of(hertz) for hertz in marks], [f"{hertz / 1000:g}k" if hertz >= 1000 else str(hertz) for hertz in marks]
    )
    above.set_ylabel("Hz", fontsize=8)

    roll = piano_roll(np.nan_to_num(samples), sample_rate)
    level = 10 * np.log10(np.maximum(roll / max(float(roll.max(initial=0)), 1e-12), 1e-9))
    extent = (0, len(roll) / MELODY_RATE, ROLL_LOWEST - 0.5, ROLL_LOWEST + ROLL_KEYS - 0.5)
    below.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="Greys",
        vmin=-_ROLL_RANGE_DB,
        vmax=0,
        interpolation="nearest",
    )
    for start, end, key in melody:
        below.plot([max(0.0, start), min(seconds, end)], [key, key], color=_GIVEN, linewidth=2.2, solid_capstyle="butt")
    for bar in np.arange(bar_seconds, seconds, bar_seconds) if bar_seconds > 0 else ():
        below.axvline(bar, color="0.7", linewidth=0.6, zorder=0.5)
    if seam is not None:
        for axes in (above, below):
            axes.axvline(seam, color=_SEAM, linewidth=1.6)
    octaves = range(ROLL_LOWEST, ROLL_LOWEST + ROLL_KEYS, 12)
    below.set_yticks(list(octaves), [f"C{key // 12 - 1}" for key in octaves])
    below.set_ylim(extent[2], extent[3])
    below.set_xlim(0, seconds)
    below.set_xlabel("seconds", fontsize=8)
    for axes in (above, below):
        axes.tick_params(labelsize=7)
    canvas.draw()
    # A picture of few colours is a third of the size.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


def _spectrogram(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Decibels below the loudest, ``[frames, _ROWS]``, on a logarithmic scale of frequency."""
    padded = np.pad(np.nan_to_num(samples).astype(np.float64), _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW)))
    hertz = _LOWEST * (_HIGHEST / _LOWEST) ** ((np.arange(_ROWS) + 0.5) / _ROWS)
    at = np.minimum(hertz / (sample_rate / _WINDOW), _WINDOW // 2 - 1)
    low = at.astype(np.int64)
    rows = magnitude[:, low] * (low + 1 - at) + magnitude[:, low + 1] * (at - low)
    return np.asarray(20 * np.log10(np.maximum(rows / max(float(rows.max()), 1e-9), 1e-6)))


def _row_of(hertz: float) -> float:
    return _ROWS * float(np.log(hertz / _LOWEST) / np.log(_HIGHEST / _LOWEST))
