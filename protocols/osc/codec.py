"""OSC packets to messages and back, with nothing trusted and nothing sent that a host could misread.

What is sent uses ``i f s b`` only: the set that Pure Data, sclang, Max and TouchOSC all read. What is received may also hold
``T F d h``, which some controllers send, and ``N`` or ``I`` alone, which means nothing. Packets themselves are read and written by
python-osc; its gaps (unknown type tags are dropped so that arguments shift, large integers silently become 64-bit, a float that
was cut off is read as zero, a blob of negative size sends the reader backwards) are closed here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pythonosc.osc_message import OscMessage as _Parsed
from pythonosc.osc_message import ParseError
from pythonosc.osc_message_builder import BuildError, OscMessageBuilder

from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import INT32_MAX

Argument = int | float | str | bytes
MAX_PACKET = 8192
"""Largest packet that is read or sent, in bytes: macOS loses UDP packets above 9216, other stacks those above 4 kB or so."""
MAX_DEPTH = 4
MAX_MESSAGES = 64
"""Most messages in one packet: each of them costs an answer, and a bundle of empty ones would cost a thousand."""
READABLE = frozenset("ifsbTFdh")
_IMPULSES = (b",N", b",I")
"""Nil and impulse alone: what some controllers send where there is nothing to send."""
_BUNDLE = b"#bundle\0"
_BUNDLE_HEAD = len(_BUNDLE) + 8  # the time tag
_AT_ONCE = 1  # the time tag that says so; 0 is what careless senders write for it
_NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


@dataclass(frozen=True)
class OscMessage:
    """One message: its address and arguments.

    Attributes:
        when: the time tag of the bundle that it came in, in seconds of the system's clock (since 1970); None for at once.
    """

    address: str
    arguments: tuple[Argument, ...] = ()
    when: float | None = None


def encode(address: str, *arguments: Argument) -> bytes:
    """Write one message, from ints within 32 bits, floats, text and bytes; booleans are sent as 0 and 1.

    Raises:
        RequestError: an argument cannot be sent, or the message is larger than `MAX_PACKET`.
    """
    builder = OscMessageBuilder(address=address)
    for argument in arguments:
        match argument:
            case bool():
                builder.add_arg(int(argument), "i")
            case int():
                if not -INT32_MAX - 1 <= argument <= INT32_MAX:
                    raise RequestError(ErrorCode.OUT_OF_RANGE, address, argument, "32-bit integers")
                builder.add_arg(argument, "i")
            case float():
                if math.isfinite(argument) and abs(argument) > _FLOAT32_MAX:
                    raise RequestError(ErrorCode.OUT_OF_RANGE, address, argument, "32-bit floats")
                builder.add_arg(argument, "f")
            case str():
                builder.add_arg(argument.replace("\0", ""), "s")
            case bytes():
                builder.add_arg(argument, "b")
            case _:
                raise RequestError(ErrorCode.BAD_TYPE, address, argument, "i f s b")
    try:
        packet = builder.build().dgram
    except BuildError as error:
        raise RequestError(ErrorCode.MALFORMED, address, str(error)) from None
    if len(packet) > MAX_PACKET:
        raise RequestError(ErrorCode.TOO_LARGE, address, f"{len(packet)} bytes", f"at most {MAX_PACKET} bytes")
    return bytes(packet)


def decode(packet: bytes) -> list[OscMessage]:
    """Read a packet: the messages in it, in order, those of bundles too, each with the time tag of its own bundle.

    Raises:
        RequestError: ``malformed`` or ``too_large``; nothing of the packet is used then.
    """
    if len(packet) > MAX_PACKET:
        raise RequestError(ErrorCode.TOO_LARGE, "packet", f"{len(packet)} bytes", f"at most {MAX_PACKET} bytes")
    messages = list(islice(_messages(packet, 0, None), MAX_MESSAGES + 1))
    if len(messages) > MAX_MESSAGES:
        raise RequestError(ErrorCode.TOO_LONG, "bundle", None, f"at most {MAX_MESSAGES} messages")
    return messages


def seconds_of(time_tag: int) -> float | None:
    """A time tag, 64 bits of NTP, in seconds of the system's clock (since 1970); None for "at once"."""
    if time_tag <= _AT_ONCE:
        return None
    seconds, fraction = divmod(time_tag, 2**32)
    if seconds < 2**31:  # NTP counts from 0 again in February 2036
        seconds += 2**32
    return seconds - _NTP_EPOCH + fraction / 2**32


def time_tag_of(seconds: float) -> int:
    """A moment of the system's clock as a time tag; see `seconds_of`."""
    whole = math.floor(seconds)
    return (whole + _NTP_EPOCH) % 2**32 * 2**32 + round((seconds - whole) * 2**32)


def _messages(packet: bytes, depth: int, when: float | None) -> Iterator[OscMessage]:
    if depth > MAX_DEPTH:
        raise _malformed("packet", f"bundles nested deeper than {MAX_DEPTH}")
    if not packet.startswith(_BUNDLE):
        yield _message(packet, when)
        return
    if len(packet) < _BUNDLE_HEAD:
        raise _malformed("bundle", "no time tag")
    when = seconds_of(int.from_bytes(packet[len(_BUNDLE) : _BUNDLE_HEAD], "big"))
    position = _BUNDLE_HEAD
    while position < len(packet):
        size = int.from_bytes(packet[position : position + 4], "big")
        position += 4
        if size == 0 or size % 4 or position + size > len(packet):
            raise _malformed("bundle", f"an element of {size} bytes")
        yield from _messages(packet[position : position + size], depth + 1, when)
        position += size


def _message(packet: bytes, when: float | None) -> OscMessage:
    if len(packet) % 4 or not packet.startswith(b"/"):
        raise _malformed("packet", packet[:16])
    address_end = packet.find(b"\0")
    tags_start = (address_end // 4 + 1) * 4
    tags_end = packet.find(b"\0", tags_start)
    if address_end < 0 or (tags_start < len(packet) and tags_end < 0):
        raise _malformed("packet", "text without an end")
    tags = packet[tags_start:tags_end]
    if tags in _IMPULSES and tags_end + 2 == len(packet):  # a button of ossia, of a controller
        tags, packet = b",", packet[:tags_start] + b",\0\0\0"
        tags_end = tags_start + 1
    unknown = set(tags[1:].decode("latin-1")) - READABLE
    if tags and not tags.startswith(b","):
        raise _malformed("type tags", tags)
    if unknown:
        raise RequestError(ErrorCode.BAD_TYPE, "type tags", "".join(sorted(unknown)), "i f s b (and T F d h)")
    try:
        parsed = _Parsed(packet)
        address = parsed.address
        arguments: tuple[Any, ...] = tuple(parsed.params)
    except (ParseError, ValueError) as error:
        raise _malformed("packet", str(error)) from None
    if len(arguments) != max(0, len(tags) - 1):
        raise _malformed("packet", f"{len(arguments)} arguments for tags {tags!r}")
    position = tags_start + _padded(len(tags) + 1) if tags else tags_start
    kinds = tags[1:].decode()
    for kind, argument in zip(kinds, arguments, strict=True):
        if kind == "b" and int.from_bytes(packet[position : position + 4], "big") != len(argument):
            raise _malformed("packet", "a blob of another size than it says")
        position += _size(kind, argument)
    if position != len(packet):
        raise _malformed("packet", f"{len(packet)} bytes where the tags {tags!r} need {position}")
    meant = tuple(_as_meant(kind, value) for kind, value in zip(kinds, arguments, strict=True))
    return OscMessage(address, meant, when)


def _as_meant(kind: str, value: Argument) -> Argument:
    """A 32-bit float as the shortest decimal number that it stands for: 0.8, not 0.800000011920929.

    Lengths are counted exactly here: the difference would be one more codec frame, and other music for the same seed.
    """
    if kind != "f" or not isinstance(value, float) or not math.isfinite(value):
        return value
    for digits in range(6, 9):
        shorter = float(f"{value:.{digits}g}")
        if abs(shorter) < _FLOAT32_MAX and struct.unpack(">f", struct.pack(">f", shorter))[0] == value:
            return shorter
    return value


def _size(kind: str, argument: Any) -> int:
    """How many bytes an argument takes in a packet."""
    match kind:
        case "s":
            return _padded(len(argument.encode()) + 1)
        case "b":
            return 4 + _padded(len(argument))
        case "T" | "F":  # they are their own values
            return 0
    return 8 if kind in "dh" else 4


def _padded(size: int) -> int:
    return -(-size // 4) * 4


def _malformed(field: str, value: object) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, field, shorten(value), "one whole OSC message or bundle")
