"""One error type for everything a client can get wrong, and the codes that name each case."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request was refused. The value is what travels over OSC and ZeroMQ; `meaning` is for the reference page."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> ErrorCode:
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    BAD_TYPE = "bad_type", "A value is of the wrong kind, such as text where a number is meant."
    OUT_OF_RANGE = "out_of_range", "A value is outside its range, or not one of the choices."
    MISSING = "missing", "A parameter that is needed was left out, or a name came without its value."
    UNKNOWN_ADDRESS = "unknown_address", "There is no such OSC address or request."
    UNKNOWN_PARAMETER = "unknown_parameter", "The request has no parameter of this name."
    UNKNOWN_MODEL = "unknown_model", "No model has this name."
    UNKNOWN_STREAM = "unknown_stream", "No stream has this number; it may be over already."
    UNKNOWN_DEVICE = "unknown_device", "No sound card or computing device has this name."
    NOT_FOUND = "not_found", "A file or folder does not exist."
    NOT_ALLOWED = "not_allowed", "A file is outside the allowed folders, or there is no permission for what was asked."
    NOT_AUDIO = "not_audio", "The file is not an audio file that can be read."
    NOT_MIDI = "not_midi", "The file is not a standard MIDI file."
    EMPTY = "empty", "There is nothing in it: no sound, no notes."
    TOO_LONG = "too_long", "A text, a region, a clip or a list is longer than allowed."
    TOO_LARGE = "too_large", "A message or a file has more bytes than allowed."
    MALFORMED = "malformed", "A message, a text or a file is damaged or not in its format."
    HANDSHAKE = "handshake", "A ZeroMQ client asked for something before its hello."
    VERSION = "version", "The client speaks another version of the protocol."
    BUSY = "busy", "Too much is under way, or the port is taken; try again later."
    NOT_DOWNLOADED = "not_downloaded", "The model is not on this disk yet; the text says how to download it."
    NO_MEMORY = "no_memory", "The model needs more memory than there is; the text says what would fit."
    NO_MODEL = "no_model", "The engine has no model at the moment; load one."
    ENGINE_LOST = "engine_lost", "The bridge has no engine at the moment; it goes on looking for one."
    UNSUPPORTED = "unsupported", "It is valid, but this model, file type, device or machine cannot do it."
    INTERNAL = "internal", "A fault of ours; the log of the process tells more."


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


def no_model() -> RequestError:
    """The refusal of a stream while no model is loaded."""
    return RequestError(ErrorCode.NO_MODEL, "model", None, "a model that is loaded first: /bridge/load or /engine/load")


def shorten(value: object, limit: int = 80) -> str:
    """Write a value in at most ``limit`` characters, on one line; None becomes the empty string."""
    if value is None:
        return ""
    try:
        text = " ".join((value if isinstance(value, str) else repr(value)).split())
    except ValueError:  # Python refuses to write an integer of thousands of digits
        text = f"({type(value).__name__}, too long to write)"
    return text if len(text) <= limit else text[: limit - 1] + "…"
