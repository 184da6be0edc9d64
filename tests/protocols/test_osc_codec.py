"""OSC packets: what is written is read, and nothing that arrives raises anything but a RequestError."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage as ReferenceMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from protocols.errors import ErrorCode, RequestError
from protocols.osc.codec import MAX_DEPTH, MAX_MESSAGES, MAX_PACKET, Argument, OscMessage, decode, encode
from tests.support.message_strategies import texts

arguments = st.lists(
    st.integers(-(2**31), 2**31 - 1)
    | st.floats(width=32, allow_nan=False)
    | st.text(texts, max_size=20)
    | st.binary(min_size=1, max_size=20),
    max_size=8,
)


def bundle(*elements: bytes) -> bytes:
    """A bundle of packets, time tag "now"."""
    tagged = b"#bundle\0" + (1).to_bytes(8, "big")
    return tagged + b"".join(len(element).to_bytes(4, "big") + element for element in elements)


def refusal(packet: bytes) -> RequestError:
    """The error that a packet is answered with."""
    with pytest.raises(RequestError) as caught:
        decode(packet)
    return caught.value


def assert_read_or_refused(packet: bytes) -> None:
    """Nothing but a RequestError may come out of a packet that cannot be read."""
    with contextlib.suppress(RequestError):
        decode(packet)


def as_float32(value: Argument) -> Argument:
    """A value as it is once it has gone through 32 bits."""
    return struct.unpack(">f", struct.pack(">f", value))[0] if isinstance(value, float) else value


@settings(max_examples=200, deadline=None)
@given(arguments)
def test_what_is_written_is_read(values: list[Argument]) -> None:
    (message,) = decode(encode("/engine/generate", *values))
    assert message.address == "/engine/generate"
    assert [as_float32(value) for value in message.arguments] == values
    assert [type(value) for value in message.arguments] == [type(value) for value in values]


@settings(max_examples=100, deadline=None)
@given(arguments)
def test_another_implementation_reads_the_same(values: list[Argument]) -> None:
    reference = ReferenceMessage(encode("/a", *values))
    assert reference.params == values


@given(st.integers(-999_999, 999_999))
def test_a_float_is_the_number_that_was_typed(thousandths: int) -> None:
    (message,) = decode(encode("/a", thousandths / 1000))
    assert message.arguments == (thousandths / 1000,)


def test_floats_keep_their_meaning_at_the_edges() -> None:
    largest = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]
    values = (0.8, 0.1, -0.0, 1e-45, largest, -largest, math.inf, -math.inf)
    (message,) = decode(encode("/a", *values))
    assert message.arguments[:2] == (0.8, 0.1)
    for sent, found in zip(values, message.arguments, strict=True):
        assert struct.pack(">f", found) == struct.pack(">f", sent)
    (message,) = decode(encode("/a", math.nan))
    assert isinstance(message.arguments[0], float)
    assert math.isnan(message.arguments[0])


def test_booleans_are_sent_as_numbers_and_text_without_nul() -> None:
    assert decode(encode("/a", True, False, "a\0b")) == [OscMessage("/a", (1, 0, "ab"))]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (2**31, ErrorCode.OUT_OF_RANGE),
        (-(2**31) - 1, ErrorCode.OUT_OF_RANGE),
        (2**63, ErrorCode.OUT_OF_RANGE),
        (1e39, ErrorCode.OUT_OF_RANGE),
        (-1.7e308, ErrorCode.OUT_OF_RANGE),
        (None, ErrorCode.BAD_TYPE),
        ([1], ErrorCode.BAD_TYPE),
        ((1, 2, 3, 4), ErrorCode.BAD_TYPE),
        (b"", ErrorCode.MALFORMED),
        ("\ud800", ErrorCode.MALFORMED),
        ("a" * MAX_PACKET, ErrorCode.TOO_LARGE),
    ],
)
def test_what_a_host_could_misread_is_not_sent(value: Any, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as caught:
        encode("/a", 1, value)
    assert caught.value.code is code
    assert caught.value.field == "/a"


def test_what_controllers_send_is_read() -> None:
    builder = OscMessageBuilder("/a")
    for value, tag in ((True, "T"), (False, "F"), (0.1, "d"), (2**40, "h"), (5, "i")):
        builder.add_arg(value, tag)
    assert decode(builder.build().dgram) == [OscMessage("/a", (True, False, 0.1, 2**40, 5))]


def test_a_message_may_come_without_type_tags() -> None:
    assert decode(b"/status\0") == [OscMessage("/status")]
    assert decode(b"/status\0,\0\0\0") == [OscMessage("/status")]


@pytest.mark.parametrize("tag", ["N", "I", "t", "r", "m", "c", "[", "]", "S", "\x80"])
def test_an_unknown_type_tag_is_refused_and_named(tag: str) -> None:
    error = refusal(b"/a\0\0" + f",i{tag}".encode("latin-1").ljust(4, b"\0") + bytes(12))
    assert error.code is ErrorCode.BAD_TYPE
    assert error.value == tag


def test_bundles_give_their_messages_in_order() -> None:
    inner = bundle(encode("/b", 2), encode("/c", 3.0))
    assert decode(bundle(encode("/a", 1), inner, encode("/d"))) == [
        OscMessage("/a", (1,)),
        OscMessage("/b", (2,)),
        OscMessage("/c", (3.0,)),
        OscMessage("/d"),
    ]
    assert decode(bundle()) == []
    builder = OscBundleBuilder(IMMEDIATELY)
    builder.add_content(ReferenceMessage(encode("/a", "x")))
    assert decode(builder.build().dgram) == [OscMessage("/a", ("x",))]


def test_bundles_are_bounded_in_depth_and_number() -> None:
    packet = encode("/a")
    for _ in range(MAX_DEPTH):
        packet = bundle(packet)
    assert decode(packet) == [OscMessage("/a")]
    assert refusal(bundle(packet)).code is ErrorCode.MALFORMED
    assert len(decode(bundle(*[encode("/a")] * MAX_MESSAGES))) == MAX_MESSAGES
    assert refusal(bundle(*[encode("/a")] * (MAX_MESSAGES + 1))).code is ErrorCode.TOO_LONG
    many = bundle(*[encode("/a")] * MAX_MESSAGES)
    assert refusal(bundle(many, many)).code is ErrorCode.TOO_LONG


def test_one_broken_message_spoils_its_bundle() -> None:
    assert refusal(bundle(encode("/a", 1), b"oops")).code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0\0\0", id="zeros"),
        pytest.param(b"abcd", id="no slash"),
        pytest.param(b"/abc", id="an address without an end"),
        pytest.param(b"/a\0", id="misaligned"),
        pytest.param(b"/a\0\0,i", id="misaligned tags"),
        pytest.param(b"/a\0\0,iii", id="tags without an end"),
        pytest.param(b"/a\0\0iii\0", id="tags without a comma"),
        pytest.param(b"/a\0\0\0\0\0\0", id="empty tags"),
        pytest.param(b"/a\0\0,i\0\0", id="a missing int"),
        pytest.param(b"/a\0\0,f\0\0", id="a missing float"),
        pytest.param(b"/a\0\0,d\0\0\0\0\0\0", id="half a double"),
        pytest.param(b"/a\0\0,s\0\0", id="a missing text"),
        pytest.param(b"/a\0\0,s\0\0abcd", id="a text without an end"),
        pytest.param(b"/a\0\0,s\0\0\xff\0\0\0", id="a text that is no UTF-8"),
        pytest.param(b"/\xff\0\0", id="an address that is no UTF-8"),
        pytest.param(b"/a\0\0,b\0\0\0\0\0\x09abcd", id="a blob that is cut off"),
        pytest.param(b"/a\0\0,b\0\0\x7f\xff\xff\xff", id="a blob of 2 GB"),
        pytest.param(b"/a\0\0,b\0\0\xff\xff\xff\xf8", id="a blob of negative size"),
        pytest.param(b"/a\0\0,bi\0\xff\xff\xff\xf8\0\0\0\1", id="a blob of negative size before an int"),
        pytest.param(b"/a\0\0,i\0\0\0\0\0\1\0\0\0\2", id="more than the tags tell"),
        pytest.param(b"#bundle\0", id="a bundle without a time tag"),
        pytest.param(b"#bundle\0\0\0\0\0", id="a bundle with half a time tag"),
        pytest.param(bundle() + b"\0\0\0", id="a bundle with half a size"),
        pytest.param(bundle() + b"\0\0\0\0", id="an element of size 0"),
        pytest.param(bundle() + b"\0\0\0\6/a\0\0\0\0", id="a misaligned element"),
        pytest.param(bundle() + b"\0\0\0\x10/a\0\0", id="an element that is cut off"),
        pytest.param(bundle() + b"\xff\xff\xff\xfc/a\0\0", id="an element of 4 GB"),
    ],
)
def test_malformed_packets(packet: bytes) -> None:
    assert refusal(packet).code is ErrorCode.MALFORMED


def test_a_packet_is_bounded_in_size() -> None:
    fitting = encode("/a", "x" * (MAX_PACKET - 12))
    assert len(fitting) <= MAX_PACKET
    assert decode(fitting)
    assert refusal(bytes(MAX_PACKET + 4)).code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("tag", [b"N", b"I"])
def test_a_button_that_sends_nothing_sends_no_argument(tag: bytes) -> None:
    assert decode(b"/bridge/stop\0\0\0\0," + tag + b"\0\0") == [OscMessage("/bridge/stop")]
    assert refusal(b"/bridge/stop\0\0\0\0," + tag + tag + b"\0").code is ErrorCode.BAD_TYPE
    assert_read_or_refused(b"/bridge/stop\0\0\0\0," + tag + b"\0\0\0\0\0\0")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"/a\0\0," + rest))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    assert_read_or_refused(packet)


@settings(max_examples=300, deadline=None)
@given(values=arguments, data=st.data())
def test_a_damaged_packet_is_read_or_refused(values: list[Argument], data: st.DataObject) -> None:
    packet = bytearray(bundle(encode("/engine/generate", *values), encode("/b", 1)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    assert_read_or_refused(bytes(packet))


@settings(max_examples=200, deadline=None)
@given(arguments.filter(bool), st.data())
def test_a_message_that_was_cut_off_is_never_read(values: list[Argument], data: st.DataObject) -> None:
    packet = encode("/engine/generate", *values)
    cut = data.draw(st.integers(0, len(packet) - 1))
    try:
        (message,) = decode(packet[:cut])
    except RequestError:
        return
    assert message == OscMessage("/engine/generate")  # all that is left is an address, as senders without tags write it
