"""``python -m engine.bench``: see ``daw-bridge bench``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from engine.cores import wait_quietly
from protocols.errors import RequestError
from protocols.logs import configure_logs
from protocols.settings import LogSettings, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell: exit code 0, or 2 with the reason on the standard error stream."""
    parser = argparse.ArgumentParser(prog="daw-bridge bench", description="How fast this machine makes music.")
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="any setting")
    parser.add_argument("--model-shape", default="", help="random weights of this shape instead of a model")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each setting is measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    wait_quietly()
    try:
        settings = load_settings(given.set)
        configure_logs(LogSettings(level="error"), "bench")
        from engine.bench.comparison import compare
        from engine.bench.report import headline, told

        def hear(line: str) -> None:
            if not given.json:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

        result = compare(
            settings.engine,
            shape=given.model_shape,
            seconds=given.seconds,
            when_first=lambda result: hear(headline(result)),
        )
    except RequestError as error:
        sys.stderr.write(f"bench: {error.text}\n")
        return 2
    if given.json:
        sys.stdout.write(json.dumps({"headline": headline(result), **asdict(result)}, indent=2) + "\n")
    else:
        hear(told(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
