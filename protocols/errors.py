"""One error type for everything a client can get wrong, and the codes that name each case."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request was refused. The value is what travels over OSC and ZeroMQ."""

    BAD_TYPE = "bad_type"
    OUT_OF_RANGE = "out_of_range"
    MISSING = "missing"
    UNKNOWN_ADDRESS = "unknown_address"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_STREAM = "unknown_stream"
    UNKNOWN_DEVICE = "unknown_device"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    NOT_AUDIO = "not_audio"
    NOT_MIDI = "not_midi"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    HANDSHAKE = "handshake"
    VERSION = "version"
    BUSY = "busy"
    ENGINE_LOST = "engine_lost"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class RequestError(Exception):
    """A request that cannot be served: names the field, the value and what is allowed.

    Args:
        code: which kind of error it is.
        field: the parameter that is wrong, as the schema spells it ("" when it is the message itself).
        value: what was given; shortened to 80 characters in the text.
        allowed: the range or the choices, in words a musician can act on.
    """

    def __init__(self, code: ErrorCode, field: str = "", value: object = None, allowed: str = "") -> None:
        self.code = code
        self.field = field
        self.value = shorten(value)
        self.allowed = allowed
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """The whole error in one line: ``out_of_range: temperature = 9.0 (allowed: 0 to 4)``."""
        line = str(self.code)
        if self.field:
            line += f": {self.field}"
        if self.value:
            line += f" = {self.value}"
        if self.allowed:
            line += f" (allowed: {self.allowed})"
        return line


def shorten(value: object, limit: int = 80) -> str:
    """Write a value in at most ``limit`` characters, on one line; None becomes the empty string."""
    if value is None:
        return ""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
