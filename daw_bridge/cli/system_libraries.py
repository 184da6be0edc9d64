"""How the system libraries that Python packages cannot bring are installed, on each system."""

from __future__ import annotations

import shutil
from collections.abc import Callable

_PORTAUDIO = {
    "apt-get": ("install", "-y", "--no-install-recommends", "libportaudio2"),
    "dnf": ("install", "-y", "portaudio"),
    "zypper": ("--non-interactive", "install", "portaudio"),
    "pacman": ("-S", "--noconfirm", "--needed", "portaudio"),
    "apk": ("add", "portaudio"),
    "brew": ("install", "portaudio"),
}
"""PortAudio's package, by the program that installs it; elsewhere (Windows) it comes inside the Python package."""
_WITHOUT_ROOT = ("brew",)


def portaudio_command(which: Callable[[str], str | None] = shutil.which) -> list[str] | None:
    """The command that installs PortAudio here, without sudo; None when no known package manager is there."""
    for manager, arguments in _PORTAUDIO.items():
        if which(manager) is not None:
            return [manager, *arguments]
    return None


def needs_root(command: list[str]) -> bool:
    """Whether only root may run the command."""
    return command[0] not in _WITHOUT_ROOT


def portaudio_line() -> str:
    """What to type to get PortAudio."""
    command = portaudio_command()
    if command is None:
        return "pip install --force-reinstall sounddevice"
    return " ".join((["sudo"] if needs_root(command) else []) + command)
