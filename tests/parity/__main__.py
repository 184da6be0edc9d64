"""``python -m tests.parity DIR``: every recorded model, pattern and utility of a folder, beside ours."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from tests.parity.codebooks import compare_patterns
from tests.parity.comparisons import compare
from tests.parity.figures import Figures
from tests.parity.recorded import RecordedModel, models_in
from tests.parity.utilities import compare_utilities

LEAST_LU, LEAST_NORMALISATION, LEAST_RESAMPLING = 0.1, 1e-3, 1e-3
NOTES = {
    "batches": "AudioCraft's cross-attention has no mask: in its batches a shorter text also looks at zero padding. What was "
    "recorded of batches is met with that padding laid out by hand; ours alone equals what was recorded alone.",
    "two_step": "AudioCraft's two-step guidance takes the checkpoint's coefficient, whatever was asked for: both arrays are equal.",
    "loudness": "torchaudio's filters clip at full scale, so that the hot sound was measured as too quiet. It is met with a meter "
    "that clips too; `hot_as_standard` is what ours gives it.",
}


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, and tell by the exit status whether all is equal: 0, or 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path, help="laid out as the reference data is: models, arrays, T5 encoder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these models, `patterns` or `utils`")
    given = parser.parse_args(arguments)
    report = everything(given.folder, set(given.only))
    if given.json:
        print(json.dumps(report, indent=1, default=str))  # noqa: T201 - the report is what is asked for
    else:
        print("\n".join(lines(report)))  # noqa: T201
    return 0 if report and all(is_equal(figures) for key, figures in report.items() if key != "notes") else 1


def everything(folder: Path, only: set[str]) -> dict[str, Any]:
    """The report: a key per model, ``patterns`` and ``utils`` where the folder has them, and what has to be said of them.

    A model that cannot be loaded is in it with the reason, as one with nothing equal.
    """
    ensure_torchaudio()
    torch.set_num_threads(1)
    report: dict[str, Any] = {}
    for name in models_in(folder):
        if only and name not in only:
            continue
        report[name] = _made(lambda name=name: compare(RecordedModel(folder, name)))
    if (folder / "patterns.json").is_file() and (not only or "patterns" in only):
        report["patterns"] = _made(lambda: _patterns(folder / "patterns.json"))
    if (folder / "utils.npz").is_file() and (not only or "utils" in only):
        report["utils"] = _made(lambda: _utilities(folder / "utils.npz"))
    if report:
        report["notes"] = NOTES
    return report


def _made(make: Callable[[], Figures]) -> Figures:
    try:
        return make()
    except Exception as error:  # one part that fails must not hide the others
        return {"equal": 0.0, "error": f"{type(error).__name__}: {error}"}


def _patterns(path: Path) -> Figures:
    by_name = compare_patterns(path)
    return {"equal": sum(by_name.values()) / max(len(by_name), 1), **by_name}


def _utilities(path: Path) -> Figures:
    with tempfile.TemporaryDirectory() as takes:
        figures = compare_utilities(path, Path(takes))
    return {"equal": float(utilities_equal(figures)), **figures}


def utilities_equal(figures: Figures) -> bool:
    """Whether the utilities are within what they may differ by."""
    measured, chroma = figures["loudness"], figures["chroma"]
    return (
        max(measured[name] for name in ("mono", "stereo", "hot")) <= LEAST_LU
        and max(figures["normalisation_max_difference"].values()) <= LEAST_NORMALISATION
        and figures["int16_max_difference"] <= 1
        and figures["resampling_max_difference"] <= LEAST_RESAMPLING
        and all(chroma[name] for name in ("equal", "short_equal", "null_equal"))
        and figures["draws_equal"]
    )


def is_equal(figures: Figures) -> bool:
    """Whether a part of the report says that all is equal."""
    return bool(figures["equal"] == 1.0)


def lines(report: dict[str, Any]) -> list[str]:
    """The report to be read: a line per comparison."""
    written = []
    for name, figures in report.items():
        for key, value in figures.items():
            written.append(f"{name:10} {key:32} {_words(value)}")
    return written


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
