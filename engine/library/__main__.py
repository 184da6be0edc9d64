"""``python -m engine.library``: models listed, downloaded, checked and removed, as ``daw-bridge models`` asks for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from engine.library import commands
from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import LogSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it was done, 1 when it was refused or something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m engine.library", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("list", "disk"):
        command = verbs.add_parser(verb)
        command.add_argument("--json", action="store_true")
        command.add_argument("--all", action="store_true")
        _add_place(command)
    for verb in ("show", "download", "verify", "remove", "path"):
        command = verbs.add_parser(verb)
        command.add_argument("name")
        command.add_argument("--json", action="store_true")
        _add_place(command)
        if verb == "download":
            command.add_argument("--accept-licence", action="store_true")
        if verb == "verify":
            command.add_argument("--repair", action="store_true")
        if verb == "remove":
            command.add_argument("--yes", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        return commands.run(asked)
    except RequestError as error:
        sys.stderr.write(f"daw-bridge: {error.text}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ndaw-bridge: stopped; what has come is kept, and the same command goes on from there\n")
        return 1
    except BrokenPipeError:
        return 1


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto")
    command.add_argument("--dtype", default="auto")
    command.add_argument("--limit-mb", type=int, default=0)


if __name__ == "__main__":
    configure_logs(LogSettings(level="warning"), "models")
    sys.exit(main())
