"""The contents of ``daw-bridge``: every command in one line, and where it is.

Help, and any one command, must be there at once: so a command's module, the messages that it knows and its options are loaded
when it is called for, and the others not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

_ROOT = "daw_bridge.cli"
_AS_IS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""All arguments go to the command as they were typed, ``--help`` too."""


class Later(TyperCommand):
    """A command that is loaded when it is called for.

    Args:
        name: what is typed.
        line: the first line of its own help, for the list of commands.
        module: below `daw_bridge.cli`.
        attribute: a function, or a `typer.Typer` with commands of its own.
        context_settings: of a function.
    """

    def __init__(
        self, name: str, line: str, module: str, attribute: str, context_settings: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(name, help=line, rich_markup_mode=None)
        self._module, self._attribute = f"{_ROOT}.{module}", attribute
        self._settings = context_settings

    def load(self) -> Any:
        """The command itself."""
        found = getattr(import_module(self._module), self._attribute)
        if isinstance(found, typer.Typer):
            return get_group(found)
        command = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        settings = dict(self._settings) if self._settings is not None else None
        command.command(self.name, context_settings=settings, add_help_option=settings is None)(found)
        return get_command(command)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As typer's: the context is the loaded command's, so that it is the loaded command that is run."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


CONTENTS = (
    Later("up", "Start engine and bridge; keep them running until Ctrl-C.", "processes", "up"),
    Later("engine", "Run the engine alone.", "processes", "engine"),
    Later("bridge", "Run the bridge alone; it looks for an engine.", "processes", "bridge"),
    Later("play", "Make a piece from words and play it as it appears.", "music", "play"),
    Later("continue", "Go on from the end of a region of an audio file.", "music", "continue_region"),
    Later("midi", "Play along a MIDI file: its lead line, tempo, key and length.", "music", "midi"),
    Later("again", "Make a take again from its sidecar: the same samples.", "music", "again"),
    Later("render", "Make a piece from words into a file, without sound.", "music", "render"),
    Later("stop", "Fade out and end everything that plays.", "music", "stop"),
    Later("clock", "Show and set the clock of the bridge that runs, and let others follow it.", "clock", "clock"),
    Later(
        "upload",
        "Send a file to the engine of `bridge.engine`; prints the path under which requests name it there.",
        "files",
        "upload",
    ),
    Later("download", "Fetch a file from the engine of `bridge.engine`.", "files", "download"),
    Later("models", "List the models, get, check and remove them.", "models", "models"),
    Later("load", "Load another model into the engine that runs; what plays goes on.", "loading", "load"),
    Later(
        "unload",
        "Give the model's memory back, when the last stream that plays on it is over.",
        "loading",
        "unload",
    ),
    Later(
        "codec",
        "Encode sound into a neural codec's codes, decode it, and tell what files of codes hold.",
        "codec",
        "codec",
    ),
    Later("devices", "List the sound cards.", "looking", "devices"),
    Later("templates", "List the prompt templates, and where yours are kept.", "looking", "templates"),
    Later("status", "Show how the running bridge and its engine are.", "looking", "status"),
    Later("settings", "Show the settings that apply, and their file.", "looking", "settings"),
    Later("doctor", "Check what playing needs, and say what mends it.", "looking", "doctor"),
    Later(
        "bench", "Measure how fast this machine makes music: N × real time, and what would be faster.", "bench", "bench"
    ),
    Later("train", "Make a model of your own; see `train --help`.", "train", "train", _AS_IS),
)

app = TyperGroup(
    name="daw-bridge",
    help="A real-time generative-music backend for DAWs: words, audio regions and MIDI clips in, streamed music out.",
    commands={str(command.name): command for command in CONTENTS},
    no_args_is_help=True,
    rich_markup_mode=None,
)
