"""The list of commands: what it says, what it loads, and what it leaves alone until a command is called for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daw_bridge.cli.commands import CONTENTS, Later, app

HELP = """
import sys
sys.argv = ["daw-bridge", *sys.argv[1:]]
from daw_bridge.cli import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n".join(sys.modules))
"""
UNNEEDED = (
    "daw_bridge.osc_client",
    "daw_bridge.supervisor",
    "daw_bridge.audio",
    "numpy",
    "zmq",
    "rich",
    "torch",
    "engine",
)


def run(*words: str) -> tuple[str, set[str]]:
    """What a command prints, and the modules that it has loaded."""
    done = subprocess.run([sys.executable, "-c", HELP, *words], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.splitlines())


def test_the_list_needs_no_command_no_message_and_no_library() -> None:
    text, loaded = run("--help")
    assert all(f"\n  {command.name} " in text for command in CONTENTS)
    assert not loaded & {*UNNEEDED, "msgspec", "protocols.messages", "protocols.bridge_messages"}
    assert {name for name in loaded if name.startswith("daw_bridge.cli.")} == {
        "daw_bridge.cli.commands",
        "daw_bridge.cli.failures",
    }


@pytest.mark.parametrize("words", [("play",), ("models",), ("bridge",), ("clock",), ("bench",), ("status",)])
def test_help_of_one_command_loads_no_other(words: tuple[str, ...]) -> None:
    text, loaded = run(*words, "--help")
    assert text.startswith(f"Usage: daw-bridge {words[0]}")
    assert "--install-completion" not in text
    assert not loaded & set(UNNEEDED)


@pytest.mark.parametrize("command", CONTENTS, ids=lambda command: str(command.name))
def test_the_list_says_what_the_command_says(command: Later) -> None:
    found = command.load()
    assert found.name == command.name or found.name == ""
    assert (found.help or "").strip().splitlines()[0] == command.help


def test_every_command_stands_in_the_list_once() -> None:
    assert list(app.commands) == [command.name for command in CONTENTS]


def test_a_name_that_is_nearly_right_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from daw_bridge.cli import main; main()", "modles"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "models" in done.stderr
