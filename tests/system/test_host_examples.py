"""What a musician copies works as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import Process

EXAMPLES = Path(__file__).resolve().parents[2] / "host_examples" / "python"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_stream_goes_into_numpy(engine: Process) -> None:
    assert run("stream_to_numpy.py", "warm strings", "1", str(engine.ports["port"])).endswith("32000 samples, done\n")


def test_a_piece_is_played_by_osc(bridge: Process) -> None:
    last = run("play_by_osc.py", "warm strings", "1", str(bridge.ports["osc_port"])).splitlines()[-1]
    assert last.startswith("/done /bridge/play 1")
    assert " done 1.0 " in last


def test_a_clip_is_sent_in_pages_and_followed(bridge: Process) -> None:
    lines = run("follow_notes.py", "warm strings", "1", str(bridge.ports["osc_port"])).splitlines()
    sent = [line for line in lines if line.startswith("/done /bridge/notes/add")]
    assert [line.split()[-1] for line in sent] == ["16", "32", "36"], "the notes that are there after each page"
    assert lines[-1].startswith("/done /bridge/play ")
    assert " done 1.0 " in lines[-1]
    assert "riff: 96 bpm, 4/4, A minor (estimated)" in lines[-1]
