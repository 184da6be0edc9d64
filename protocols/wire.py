"""The ZeroMQ form of the protocol: which frames make a message, and how they are read without trusting them.

Client to engine (DEALER to ROUTER), two or three frames::

    b"Q"  msgpack [request id, {"type": "generate", ...}]  [raw payload]

Engine to client::

    b"R"  msgpack [request id, {"type": "opened", ...}]     the one reply to a request
    b"E"  msgpack {"type": "progress", ...}                 an event
    b"A"  msgpack AudioHeader as an array, raw float32      a block of audio

The payload of a request is audio (float32, interleaved, little-endian) or codes (uint16). Nothing here opens a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import INT32_MAX, build
from protocols.messages import ENGINE_REQUESTS, EVENTS, REPLIES, AudioHeader, Ended, Event, Fail, Recipe, Reply, Request

REQUEST, REPLY, EVENT, AUDIO = b"Q", b"R", b"E", b"A"
MAX_MESSAGE = 32 * 2**20
"""Largest request in bytes, payload included: 120 s of stereo float32 at 32 kHz."""

_REQUESTS = {kind.__struct_config__.tag: kind for kind in ENGINE_REQUESTS}
_ANSWERS = {kind.__struct_config__.tag: kind for kind in (*REPLIES, *EVENTS)}
_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(AudioHeader)


@dataclass(frozen=True)
class IncomingRequest:
    """A request as it arrived: its id, the checked message and the raw payload (empty when there was none)."""

    id: int
    message: Request
    payload: bytes = b""


class WireError(RequestError):
    """A request that could not be read; ``request_id`` is 0 when not even that could be made out."""

    def __init__(self, error: RequestError, request_id: int) -> None:
        super().__init__(error.code, error.field, error.value, error.allowed)
        self.request_id = request_id


def encode_request(request_id: int, message: Request, payload: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """The frames of a request."""
    frames: list[bytes | memoryview] = [REQUEST, _encoder.encode((request_id, message))]
    return [*frames, payload] if payload else frames


def decode_request(frames: Sequence[bytes]) -> IncomingRequest:
    """Read the frames of a request.

    Raises:
        WireError: what is wrong with it, and the id to answer to.
    """
    size = sum(len(frame) for frame in frames)
    if size > MAX_MESSAGE:
        raise WireError(
            RequestError(ErrorCode.TOO_LARGE, "message", f"{size} bytes", f"at most {MAX_MESSAGE} bytes"),
            _peek_id(frames),
        )
    if not 2 <= len(frames) <= 3 or frames[0] != REQUEST:
        raise WireError(RequestError(ErrorCode.MALFORMED, "message", f"{len(frames)} frames", "Q, msgpack, payload"), 0)
    try:
        content: Any = msgspec.msgpack.decode(frames[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(RequestError(ErrorCode.MALFORMED, "message", str(error), "msgpack [id, request]"), 0) from None
    if not (isinstance(content, list) and len(content) == 2 and isinstance(content[1], dict)):
        raise WireError(RequestError(ErrorCode.MALFORMED, "message", content, "msgpack [id, request]"), 0)
    request_id, values = content
    if not _is_id(request_id):
        raise WireError(RequestError(ErrorCode.BAD_TYPE, "id", request_id, f"a whole number to {INT32_MAX}"), 0)
    try:
        return IncomingRequest(request_id, _request(values), frames[2] if len(frames) == 3 else b"")
    except RequestError as error:
        raise WireError(error, request_id) from None


def encode_reply(request_id: int, reply: Reply) -> list[bytes | memoryview]:
    """The frames of a reply."""
    return [REPLY, _encoder.encode((request_id, reply))]


def encode_event(event: Event) -> list[bytes | memoryview]:
    """The frames of an event."""
    return [EVENT, _encoder.encode(event)]


def encode_audio(header: AudioHeader, samples: memoryview | bytes) -> list[bytes | memoryview]:
    """The frames of a block of audio."""
    return [AUDIO, _encoder.encode(header), samples]


def failure(error: RequestError) -> Fail:
    """The reply that tells of an error."""
    return Fail(code=str(error.code), field=error.field, value=error.value, allowed=error.allowed, text=error.text)


def error_of(fail: Fail) -> RequestError:
    """The error that a reply tells of, on the client's side."""
    code = ErrorCode(fail.code) if fail.code in set(ErrorCode) else ErrorCode.INTERNAL
    return RequestError(code, fail.field, fail.value, fail.allowed)


def decode_answer(frames: Sequence[bytes]) -> tuple[int, Reply | Event] | tuple[AudioHeader, memoryview]:
    """Read what the engine sent: ``(request id, reply)``, ``(0, event)`` or ``(header, samples)``.

    Raises:
        RequestError: ``malformed`` when it is none of these.
    """
    kind = frames[0] if frames else b""
    try:
        match kind, len(frames):
            case (b"A", 3):
                return _header_decoder.decode(frames[1]), memoryview(frames[2])
            case (b"R", 2):
                request_id, values = msgspec.msgpack.decode(frames[1])
                return int(request_id), _answer(values)
            case (b"E", 2):
                return 0, _answer(msgspec.msgpack.decode(frames[1]))
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RequestError(ErrorCode.MALFORMED, "message", str(error)) from None
    raise RequestError(ErrorCode.MALFORMED, "message", f"{len(frames)} frames of kind {shorten(kind[:8])}")


def sidecar_of(recipe: Recipe, ended: Ended) -> dict[str, Any]:
    """What is kept beside a take so that it can be made again; bytes are written as base64."""
    return {**msgspec.to_builtins(recipe), "reason": ended.reason}


def _request(values: dict[Any, Any]) -> Request:
    name = values.pop("type", None)
    kind = _REQUESTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise RequestError(ErrorCode.UNKNOWN_ADDRESS, "type", name, ", ".join(map(str, _REQUESTS)))
    return build(kind, values)


def _answer(values: dict[str, Any]) -> Any:
    return msgspec.convert(values, _ANSWERS[values["type"]])


def _peek_id(frames: Sequence[bytes]) -> int:
    """The id of a request that is too large to be read whole, if its first kilobytes hold one."""
    try:
        content = msgspec.msgpack.decode(frames[1]) if len(frames) > 1 and len(frames[1]) < 2**16 else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return content[0] if isinstance(content, list) and content and _is_id(content[0]) else 0


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INT32_MAX
