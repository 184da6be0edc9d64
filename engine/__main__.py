"""``python -m engine``: the engine process. ``daw-bridge engine`` and ``daw-bridge up`` start it this way."""

from __future__ import annotations

import argparse
import sys

from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Read the settings, run the engine; 2 when it could not start, with the reason on the standard error stream."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="Serve a model over ZeroMQ and OSC.")
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="override a setting")
    parser.add_argument("--announce", action="store_true", help="print the ports as one JSON line when ready")
    parser.add_argument("--follow-stdin", action="store_true", help="leave when the standard input ends")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.set)
        configure_logs(settings.log, "engine")
        from engine.process import run_engine  # torch is loaded here: wrong settings are told before that

        run_engine(settings, announced=options.announce, with_parent=options.follow_stdin)
    except RequestError as error:
        sys.stderr.write(f"engine: {error.text}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
