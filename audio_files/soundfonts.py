"""Where FluidSynth and General MIDI soundfonts are found, and how they are installed, on each system."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from protocols.errors import ErrorCode, RequestError

SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/soundfonts/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf2/default-GM.sf2"),
    Path("/usr/share/soundfonts/default.sf2"),
    Path("/opt/homebrew/share/soundfonts/default.sf2"),
    Path("/usr/local/share/soundfonts/default.sf2"),
)
"""Where systems keep a General MIDI soundfont."""

_PROGRAM_AND_SOUNDFONT = {
    "apt-get": "sudo apt-get install fluidsynth fluid-soundfont-gm",
    "dnf": "sudo dnf install fluidsynth fluid-soundfont-gm",
    "zypper": "sudo zypper install fluidsynth fluid-soundfont-gm",
    "pacman": "sudo pacman -S fluidsynth soundfont-fluid",
    "brew": "brew install fluid-synth",
}
_ELSEWHERE = "FluidSynth from https://www.fluidsynth.org, and any General MIDI soundfont"


def find_soundfont(soundfont: Path | str | None = None) -> Path:
    """The soundfont that is meant.

    Raises:
        RequestError: ``not_found`` when it, or every one of `SOUNDFONTS`, is missing.
    """
    if soundfont is None:
        found = next((path for path in SOUNDFONTS if path.is_file()), None)
        if found is None:
            allowed = "a General MIDI soundfont, such as the package fluid-soundfont-gm brings"
            raise RequestError(ErrorCode.NOT_FOUND, "soundfont", allowed=allowed)
        return found
    if not Path(soundfont).is_file():
        raise RequestError(ErrorCode.NOT_FOUND, "soundfont", str(soundfont), "a file that exists")
    return Path(soundfont)


def fluidsynth_line(which: Callable[[str], str | None] = shutil.which) -> str:
    """What to type to get the program ``fluidsynth`` and a soundfont here."""
    line = next((line for manager, line in _PROGRAM_AND_SOUNDFONT.items() if which(manager) is not None), None)
    return line or _ELSEWHERE
