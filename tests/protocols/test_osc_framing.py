"""OSC over a stream of bytes: packets come out whole, however they are cut, and memory stays bounded."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc import slip

from protocols.errors import ErrorCode, RequestError
from protocols.osc.codec import MAX_PACKET, decode, encode
from protocols.osc.framing import Deframer

packets = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6)


def by_length(sent: list[bytes]) -> bytes:
    """OSC 1.0: a length before each packet."""
    return b"".join(len(packet).to_bytes(4, "big") + packet for packet in sent)


def by_slip(sent: list[bytes]) -> bytes:
    """OSC 1.1: SLIP around each packet."""
    return b"".join(bytes(slip.encode(packet)) for packet in sent)


def fed(deframer: Deframer, stream: bytes, cuts: list[int]) -> list[bytes]:
    """What comes out when a stream arrives in pieces."""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    return [packet for piece in pieces for packet in deframer.feed(piece)]


@settings(max_examples=200, deadline=None)
@given(packets, st.lists(st.integers(0, 10**6), max_size=12))
def test_lengths_in_any_pieces(sent: list[bytes], cuts: list[int]) -> None:
    deframer = Deframer()
    assert fed(deframer, by_length(sent), cuts) == sent
    assert deframer.frame(b"/a\0\0") == b"\0\0\0\4/a\0\0"


@settings(max_examples=200, deadline=None)
@given(packets, st.lists(st.integers(0, 10**6), max_size=12))
def test_slip_in_any_pieces(sent: list[bytes], cuts: list[int]) -> None:
    deframer = Deframer()
    assert fed(deframer, by_slip(sent), cuts) == sent
    assert deframer.frame(b"/\xc0\xdb\0") == b"\xc0/\xdb\xdc\xdb\xdd\0\xc0"


def test_slip_may_begin_with_the_packet_itself() -> None:
    deframer = Deframer()
    assert deframer.feed(encode("/status") + slip.END) == [encode("/status")]
    assert deframer.frame(b"/a\0\0").startswith(slip.END)


def test_one_byte_at_a_time() -> None:
    sent = [encode("/engine/generate", 1, "dub", 192.0), encode("/status")]
    for stream in (by_length(sent), by_slip(sent)):
        deframer = Deframer()
        found = [packet for byte in stream for packet in deframer.feed(bytes([byte]))]
        assert [decode(packet) for packet in found] == [decode(packet) for packet in sent]


def test_ends_without_a_packet_between_them_are_nothing() -> None:
    assert Deframer().feed(slip.END * 5 + by_slip([b"/a\0\0"]) + slip.END * 5) == [b"/a\0\0"]


def test_before_anything_was_sent_a_length_goes_before() -> None:
    deframer = Deframer()
    assert deframer.feed(b"") == []
    assert deframer.frame(b"/a\0\0") == b"\0\0\0\4/a\0\0"


@pytest.mark.parametrize("escaped", [b"\xdb", b"a\xdb", b"a\xdb\xdb\xdc", b"a\xdb\0b", b"a\xdb\xffb"])
def test_a_broken_escape_is_refused(escaped: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        Deframer().feed(slip.END + escaped + slip.END)
    assert caught.value.code is ErrorCode.MALFORMED


def test_a_length_beyond_the_limit_is_refused_before_its_packet_comes() -> None:
    assert Deframer().feed(by_length([bytes(MAX_PACKET)])) == [bytes(MAX_PACKET)]
    with pytest.raises(RequestError) as caught:
        Deframer().feed((MAX_PACKET + 1).to_bytes(4, "big"))
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_slip_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    largest = b"\xdb" * MAX_PACKET  # each byte is escaped as two
    assert Deframer().feed(by_slip([largest])) == [largest]
    deframer = Deframer()
    fed_bytes = 0
    with pytest.raises(RequestError) as caught:  # noqa: PT012 (it is refused at some point, not at once)
        while fed_bytes < 10 * MAX_PACKET:
            deframer.feed(b"/" * 1024)
            fed_bytes += 1024
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert fed_bytes <= 2 * MAX_PACKET + 1024


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_are_cut_or_refused(pieces: list[bytes]) -> None:
    deframer = Deframer()
    with contextlib.suppress(RequestError):
        for piece in pieces:
            deframer.feed(piece)
