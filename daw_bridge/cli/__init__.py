"""The command line: ``daw-bridge``. Options and their help come from the protocol's own classes."""

from __future__ import annotations

import sys

from daw_bridge.cli.failures import CannotStart
from protocols.errors import RequestError


def main() -> None:
    """Run one command: exit code 0 when it was done, 1 when the request failed, 2 when it could not even be made."""
    from daw_bridge.cli.commands import app

    try:
        app()
    except CannotStart as error:
        _leave(str(error), 2)
    except RequestError as error:
        _leave(error.text, 1)


def _leave(text: str, code: int) -> None:
    sys.stderr.write(f"daw-bridge: {text}\n")
    sys.exit(code)
