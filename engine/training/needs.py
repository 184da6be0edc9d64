"""What rendering needs beside this package, and the line that installs it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from audio_files.soundfonts import find_soundfont
from engine.training.rendering import import_fluidsynth
from protocols.errors import ErrorCode, RequestError

EXTRA_LINE = "pip install 'daw-bridge[train]'"

_SYSTEM = {
    "apt-get": "sudo apt-get install libfluidsynth3 fluid-soundfont-gm",
    "dnf": "sudo dnf install fluidsynth-libs fluid-soundfont-gm",
    "zypper": "sudo zypper install libfluidsynth3 fluid-soundfont-gm",
    "pacman": "sudo pacman -S fluidsynth soundfont-fluid",
    "brew": "brew install fluid-synth",
}


def check_rendering(soundfont: Path | str | None = None) -> Path:
    """Find what composed music is rendered with, before anything is begun; returns the soundfont.

    Raises:
        RequestError: ``unsupported`` without pyfluidsynth or FluidSynth's library, ``not_found`` without a soundfont; each with
            the line that installs it.
    """
    if importlib.util.find_spec("fluidsynth") is None:
        raise RequestError(ErrorCode.UNSUPPORTED, "data", "pyfluidsynth is missing", f"to install it: {EXTRA_LINE}")
    try:
        import_fluidsynth()
    except (ImportError, OSError) as error:
        held = "FluidSynth's library is missing"
        raise RequestError(ErrorCode.UNSUPPORTED, "data", held, f"to install it: {system_line()}") from error
    try:
        return find_soundfont(soundfont)
    except RequestError as error:
        if soundfont is not None:
            raise
        allowed = f"a General MIDI soundfont: --soundfont FILE, or {system_line()}"
        raise RequestError(ErrorCode.NOT_FOUND, "soundfont", allowed=allowed) from error


def system_line(which: Callable[[str], str | None] = shutil.which) -> str:
    """What to type to get FluidSynth's library and its soundfont here."""
    line = next((line for manager, line in _SYSTEM.items() if which(manager) is not None), None)
    return line or "FluidSynth from https://www.fluidsynth.org, and any General MIDI soundfont with --soundfont FILE"
