"""Damaged and hostile checkpoints: none crashes, none is executed, each is refused with a reason or read as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FILES = 2000
MOST_MB = 200
"""How much memory may grow by, over all files; the largest of them claims exabytes, and unpacks to 8 MB at every entry."""

ROOT = Path(__file__).resolve().parents[2]


def test_damaged_checkpoints() -> None:
    """A process of its own: it may crash, and its memory is measured."""
    program = [sys.executable, "-m", "tests.support.mutated_checkpoints", "0", str(FILES)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    report = json.loads(ended.stdout)
    assert not report["failures"], report["failures"][:20]
    outcomes = report["outcomes"]
    assert outcomes["refused"] + outcomes["loaded"] == FILES
    assert outcomes["refused"] > FILES // 2
    assert outcomes["loaded"] > 0  # some damage is none: a comment, a key that nobody reads
    assert report["grown_mb"] < MOST_MB
