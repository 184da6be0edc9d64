"""Install PortAudio where it is missing. Run by ``make play`` with the environment's Python; never fails: without it there is no
sound, but takes are written all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from daw_bridge.cli.system_libraries import needs_root, portaudio_command, portaudio_line

_LIMIT_S = 300


def main() -> int:
    """Look for the library, install it with the system's package manager if that can be done, else say what to type."""
    if _loads():
        return 0
    command = portaudio_command()
    if command is None or not _install(command):
        _say(f"PortAudio is missing, so nothing will sound. To install it: {portaudio_line()}")
    return 0


def _loads() -> bool:
    found = subprocess.run([sys.executable, "-c", "import sounddevice"], capture_output=True, check=False)
    return found.returncode == 0


def _install(command: list[str]) -> bool:
    as_root = _root_prefix() if needs_root(command) else []
    if as_root is None:
        return False
    _say(f"installing PortAudio: {' '.join([*as_root, *command])}")
    update = [[command[0], "update", "-q"]] if command[0] == "apt-get" else []
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (*update, command):
        try:
            subprocess.run([*as_root, *step], env=environment, timeout=_LIMIT_S, check=True, stdout=sys.stderr)
        except (OSError, subprocess.SubprocessError) as error:
            _say(str(error))
            if step is command:
                return False
    return _loads()


def _root_prefix() -> list[str] | None:
    """What makes a command root's: nothing for root itself, sudo where it is; None when there is no way."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    return ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
