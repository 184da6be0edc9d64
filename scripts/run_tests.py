"""Runs the tests: those that only compute side by side on all cores, then those that listen in real time one after the other.

Arguments go to pytest: ``python scripts/run_tests.py -k wire``. Without any selection everything is run. The exit status is 0 where
all that was selected has passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"

SIDE_BY_SIDE = ("engine", "evaluation", "files", "parity", "protocols", "steering", "training")
ONE_BY_ONE = ("benchmarks", "bridge", "hosts", "system")
"""These have sound cards, clocks and hosts, which a busy machine makes late."""
ALONE = (
    "protocols/test_beacon.py",
    "protocols/test_oscquery.py",
    "training/test_codec_training.py",
    "training/test_lm_training.py",
)
"""What is announced on the network is heard by all that listen there. Training is equal to the bit with two threads only."""

MOST_WORKERS = 8
NOTHING_SELECTED = 5


def main(arguments: list[str]) -> int:
    """Run both parts and give the first exit status that is no success."""
    _refuse_unknown_rooms()
    alone = [str(TESTS / name) for name in ALONE]
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    ignored = [f"--ignore={path}" for path in alone]
    computing = ["-n", str(workers), "--dist", "loadfile", *ignored, *(str(TESTS / room) for room in SIDE_BY_SIDE)]
    listening = [*alone, *(str(TESTS / room) for room in ONE_BY_ONE)]
    # One thread each: more of them than cores make each other wait.
    statuses = [_pytest([*computing, *arguments], {"OMP_NUM_THREADS": "1"}), _pytest([*listening, *arguments], {})]
    if all(status == NOTHING_SELECTED for status in statuses):
        return NOTHING_SELECTED
    return next((status for status in statuses if status not in (0, NOTHING_SELECTED)), 0)


def _pytest(arguments: list[str], environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


def _refuse_unknown_rooms() -> None:
    """A folder of tests that is in neither part would never be run."""
    found = {path.parent.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    if unknown := found - {*SIDE_BY_SIDE, *ONE_BY_ONE}:
        sys.exit(f"{Path(__file__).name} does not know tests/{', tests/'.join(sorted(unknown))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
