"""What a musician copies works as it stands."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage

from tests.support.clients import OscPeer
from tests.support.hearing import hearing_bridge
from tests.support.osc_tap import OscTap
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


def read_me(language: str) -> list[str]:
    """The lines of the page's code in a language."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (EXAMPLES / "README.md").read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_the_pages_shell_lines_run_as_they_are_written(engine: Process, bridge: Process, host: OscPeer) -> None:
    ran = []
    for line in read_me("bash"):
        python, name, *arguments = shlex.split(line)
        assert python == "python"
        if name == "play_live.py":
            continue  # it needs a keyboard: tests/system/test_played_notes.py runs it
        ports = [] if arguments[-1] == "7770" else [str(bridge.ports["osc_port"])]
        arguments = [str(engine.ports["port"]) if argument == "7770" else argument for argument in arguments]
        assert "done" in run(name, *arguments, *ports).splitlines()[-1]
        ran.append(name)
    assert ran == ["play_by_osc.py", "follow_notes.py", "stream_to_numpy.py"]


def test_the_pages_lines_for_the_prompt_run_as_they_are_written(tmp_path: Path) -> None:
    lines = read_me("python")
    assert lines.pop(0) == "from live_coding import *"
    with hearing_bridge(tmp_path) as bridge, OscTap(bridge.ports["osc_port"]) as tap:
        done = live(tap, *lines)
    assert done.returncode == 0, done.stderr
    assert [words for words, *_ in sent(tap, "/bridge/open")] == ["warm strings", "drums"]


def test_the_numpy_client_has_twenty_lines() -> None:
    tree = ast.parse((EXAMPLES / "stream_to_numpy.py").read_text("utf-8"))
    assert isinstance(tree.body.pop(0), ast.Expr), "the docstring"
    lines = {number for node in tree.body for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    source = (EXAMPLES / "stream_to_numpy.py").read_text("utf-8").splitlines()
    assert len([number for number in lines if source[number - 1].strip()]) <= 20


def live(tap: OscTap, *lines: str) -> subprocess.CompletedProcess[str]:
    """Type lines at Python's prompt, in the folder of the examples."""
    typed = ["from live_coding import *", f"bridge.port = {tap.port}", *lines]
    command = [sys.executable, "-c", "\n".join(typed)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=EXAMPLES)


def sent(tap: OscTap, address: str) -> list[list[Any]]:
    """What was sent to an address, without the ids."""
    messages = [OscMessage(packet) for packet in tap.sent]
    return [list(message.params)[1:] for message in messages if message.address == address]


def test_the_examples_own_lines_run_as_they_are_written(tmp_path: Path) -> None:
    told = ast.get_docstring(ast.parse((EXAMPLES / "live_coding.py").read_text("utf-8"))) or ""
    lines = re.findall(r">>> (.*)", told)
    assert lines[0] == "from live_coding import *"
    with hearing_bridge(tmp_path) as bridge, OscTap(bridge.ports["osc_port"]) as tap:
        done = live(tap, *lines[1:])
        assert done.returncode == 0, done.stderr
    stream = sent(tap, "/bridge/level")[0][0]
    assert sent(tap, "/bridge/open") == [["warm strings", "at", "bar"]]
    assert sent(tap, "/bridge/update") == [
        [stream, "bpm", 96.0],
        [stream, "prompt", "warm strings || brass"],
        [stream, "prompt", "a choir enters", "morph", 8.0],
        [stream, "notes", f"live{stream}"],
    ]
    assert sent(tap, "/bridge/weights")[0][1:] == pytest.approx([0.8, 0.2])
    assert sent(tap, "/bridge/notes/begin") == [[f"live{stream}", "count", 6, "length", 8.0, "bpm", 120.0]]
    # a2 c3 e3 held for two, d3, a rest, then c3 and e3 together for two; C3 is note 60.
    assert sent(tap, "/bridge/notes/add")[0][2:] == [
        *(57.0, 0.0, 1.0, 100.0, 60.0, 1.0, 1.0, 100.0, 64.0, 2.0, 2.0, 100.0),
        *(62.0, 4.0, 1.0, 100.0, 60.0, 6.0, 2.0, 100.0, 64.0, 6.0, 2.0, 100.0),
    ]
    assert sent(tap, "/bridge/cancel") == [[stream]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("s.temperature = 9", "temperature = 9 (allowed: 0 to 4)"),
        ("s.sparkle = 1", "has no sparkle"),
        ("s.blend = 'glue'", "blend = 'glue' (allowed: embedding, guidance)"),
        ("s.notes('h2')", "'h2' is no note"),
        ("s.weights(0, 0)", "weights"),
    ],
)
def test_a_mistake_at_the_prompt_is_told(bridge: Process, host: OscPeer, line: str, said: str) -> None:
    with OscTap(bridge.ports["osc_port"]) as tap:
        done = live(tap, "s = open('strings || brass')", f"try: {line}", "finally: s.stop()")
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1], done.stderr
