"""Why a command did not even get to ask: told in one line, with its own exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from protocols.errors import RequestError


class CannotStart(Exception):  # noqa: N818 -- it reads as the sentence that it is
    """Wrong usage, wrong settings, or a process that did not start."""


@contextmanager
def before_asking() -> Iterator[None]:
    """Errors in here are the command line's own, not answers of the bridge.

    Raises:
        CannotStart: in place of any RequestError.
    """
    try:
        yield
    except RequestError as error:
        raise CannotStart(error.text) from error
