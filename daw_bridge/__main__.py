"""``python -m daw_bridge``: the bridge process. ``daw-bridge bridge`` and ``daw-bridge up`` start it this way."""

from __future__ import annotations

import argparse
import sys

from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Read the settings, run the bridge; 2 when it could not start, with the reason on the standard error stream."""
    parser = argparse.ArgumentParser(prog="python -m daw_bridge", description="Connect a host to the engine by OSC.")
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="override a setting")
    parser.add_argument("--announce", action="store_true", help="print the ports as one JSON line when ready")
    parser.add_argument("--follow-stdin", action="store_true", help="leave when the standard input ends")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.set)
        configure_logs(settings.log, "bridge")
        from daw_bridge.process import run_bridge

        run_bridge(settings, announced=options.announce, with_parent=options.follow_stdin)
    except RequestError as error:
        sys.stderr.write(f"bridge: {error.text}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
