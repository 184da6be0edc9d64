"""The ZeroMQ form: every message survives the trip, and nothing that arrives can do harm."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX
from protocols.messages import (
    ENGINE_REQUESTS,
    EVENTS,
    REPLIES,
    AudioHeader,
    Ended,
    Event,
    Fail,
    Generate,
    Ping,
    Recipe,
    Reply,
    Request,
)
from protocols.wire import (
    MAX_MESSAGE,
    IncomingRequest,
    WireError,
    decode_answer,
    decode_request,
    encode_audio,
    encode_event,
    encode_reply,
    encode_request,
    error_of,
    failure,
    sidecar_of,
)
from tests.support.message_strategies import instances_of, texts

ids = st.integers(0, INT32_MAX)
# Everything that MessagePack can say, in wrong places too.
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(texts) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(texts, max_size=12) | ids, inner, max_size=4),
    max_leaves=12,
)


def received(frames: list[bytes | memoryview]) -> list[bytes]:
    """Frames as the other side gets them."""
    return [bytes(frame) for frame in frames]


def assert_read_or_refused(frames: list[bytes]) -> None:
    """Nothing but a RequestError may come out of frames that cannot be read."""
    with contextlib.suppress(WireError):
        decode_request(frames)
    with contextlib.suppress(RequestError):
        decode_answer(frames)


def refusal(frames: list[bytes]) -> WireError:
    """The error that a request's frames are answered with."""
    with pytest.raises(WireError) as caught:
        decode_request(frames)
    return caught.value


@pytest.mark.parametrize("kind", ENGINE_REQUESTS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_request_arrives_as_it_was_sent(kind: type[Request], data: st.DataObject) -> None:
    message, number = data.draw(instances_of(kind)), data.draw(ids)
    payload = data.draw(st.binary(max_size=64))
    incoming = decode_request(received(encode_request(number, message, payload)))
    assert incoming == IncomingRequest(number, message, payload)
    assert type(incoming.message) is kind


@pytest.mark.parametrize("kind", REPLIES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_reply_arrives_as_it_was_sent(kind: type[Reply], data: st.DataObject) -> None:
    message, number = data.draw(instances_of(kind)), data.draw(ids)
    assert decode_answer(received(encode_reply(number, message))) == (number, message)


@pytest.mark.parametrize("kind", EVENTS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_event_arrives_as_it_was_sent(kind: type[Event], data: st.DataObject) -> None:
    message = data.draw(instances_of(kind))
    assert decode_answer(received(encode_event(message))) == (0, message)


@settings(max_examples=25, deadline=None)
@given(instances_of(AudioHeader), st.binary(max_size=64))
def test_audio_arrives_with_its_header(header: AudioHeader, samples: bytes) -> None:
    found, block = decode_answer(received(encode_audio(header, memoryview(samples))))
    assert (found, bytes(block)) == (header, samples)  # type: ignore[arg-type]


def test_requests_replies_and_events_have_distinct_types() -> None:
    for group in (ENGINE_REQUESTS, (*REPLIES, *EVENTS)):
        tags = [kind.__struct_config__.tag for kind in group]
        assert len(set(tags)) == len(tags)


def test_every_reply_to_a_request_can_be_read_by_its_client() -> None:
    assert {request.reply for request in ENGINE_REQUESTS} <= set(REPLIES)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"Q", b"R", b"E", b"A"]), max_size=4))
def test_any_bytes_are_refused_politely(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode_request(frames)
    with pytest.raises(RequestError):
        decode_answer(frames)


@settings(max_examples=400, deadline=None)
@given(content=anything, kind=st.sampled_from([b"Q", b"R", b"E", b"A"]), payload=st.none() | st.binary(max_size=16))
def test_any_valid_msgpack_is_read_or_refused(content: Any, kind: bytes, payload: bytes | None) -> None:
    frames = [kind, msgspec.msgpack.encode(content), *([] if payload is None else [payload])]
    assert_read_or_refused(frames)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_request_with_strange_values_is_read_or_refused_under_its_id(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(ENGINE_REQUESTS))
    names = st.sampled_from([*kind.__struct_fields__, "type"]) | st.text(texts, max_size=6)
    values = data.draw(st.dictionaries(names, anything, max_size=4))
    body = {"type": kind.__struct_config__.tag, **values}
    number = data.draw(ids)
    try:
        incoming = decode_request([b"Q", msgspec.msgpack.encode([number, body])])
    except WireError as error:
        refused = error
    else:
        assert incoming.id == number
        return
    assert refused.request_id == number
    assert "\n" not in refused.text


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_message_is_read_or_refused(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from([*ENGINE_REQUESTS, *REPLIES, *EVENTS]).flatmap(instances_of))
    match message:
        case Request():
            frames = received(encode_request(1, message))
        case Reply():
            frames = received(encode_reply(1, message))
        case _:
            frames = received(encode_event(message))
    body = bytearray(frames[1])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        assert_read_or_refused([frames[0], damaged])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x91" * 100_000, id="nested without end"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list of four billion"),
        pytest.param(b"\x92\x01\x81\xa1\xff\x03", id="a name that is no UTF-8"),
        pytest.param(b"\x92\x01\x81\x81\x01\x02\x03", id="a map as a name"),
        pytest.param(b"\xc7\x0c\xff" + b"\xff" * 12, id="a moment that is none"),
        pytest.param(msgspec.msgpack.encode([1, {"type": "ping"}, 3]), id="three parts"),
        pytest.param(msgspec.msgpack.encode({"id": 1, "type": "ping"}), id="a map"),
        pytest.param(msgspec.msgpack.encode([1, "ping"]), id="no map inside"),
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    error = refusal([b"Q", body])
    assert (error.code, error.request_id) == (ErrorCode.MALFORMED, 0)
    for kind in (b"R", b"E"):
        with pytest.raises(RequestError):
            decode_answer([kind, body])


@pytest.mark.parametrize("number", [-1, INT32_MAX + 1, 1.0, True, "1", None, [1]])
def test_an_id_is_a_whole_number_within_32_bits(number: Any) -> None:
    error = refusal([b"Q", msgspec.msgpack.encode([number, {"type": "ping"}])])
    assert (error.code, error.field, error.request_id) == (ErrorCode.BAD_TYPE, "id", 0)


@pytest.mark.parametrize("name", ["fetch", "", None, 7, ["ping"], "opened"])
def test_an_unknown_request_is_told_the_known_ones(name: Any) -> None:
    error = refusal([b"Q", msgspec.msgpack.encode([9, {"type": name}])])
    assert (error.code, error.request_id) == (ErrorCode.UNKNOWN_ADDRESS, 9)
    assert "generate" in error.allowed


def test_values_are_checked_strictly() -> None:
    for values, code in (
        ({"top_k": 2.0}, ErrorCode.BAD_TYPE),
        ({"duration": "8"}, ErrorCode.BAD_TYPE),
        ({"temperature": float("nan")}, ErrorCode.OUT_OF_RANGE),
        ({"prompt": "a" * 2001}, ErrorCode.TOO_LONG),
        ({"tempo": 120}, ErrorCode.UNKNOWN_PARAMETER),
    ):
        error = refusal([b"Q", msgspec.msgpack.encode([5, {"type": "generate", **values}])])
        assert (error.code, error.field, error.request_id) == (code, next(iter(values)), 5)


def test_a_request_that_is_too_large_is_refused_under_its_id_where_that_can_be_read() -> None:
    payload = bytes(MAX_MESSAGE)
    fitting = received(encode_request(7, Ping()))
    assert decode_request([*fitting, payload[: MAX_MESSAGE - sum(map(len, fitting))]]).id == 7
    error = refusal([*fitting, payload])
    assert (error.code, error.request_id) == (ErrorCode.TOO_LARGE, 7)
    for body in (
        b"",
        b"\xff",
        b"\x91" * 60_000,
        bytes(2**17),
        *(msgspec.msgpack.encode(content) for content in ([], 7, [float("inf"), {}], [True, {}], ["1", {}], [-1, {}])),
    ):
        error = refusal([b"Q", body, payload])
        assert (error.code, error.request_id) == (ErrorCode.TOO_LARGE, 0)
    assert refusal([bytes(MAX_MESSAGE + 1)]).code is ErrorCode.TOO_LARGE


def test_an_error_arrives_as_it_was_raised() -> None:
    error = RequestError(ErrorCode.OUT_OF_RANGE, "temperature", 9.0, "0 to 4")
    number, reply = decode_answer(received(encode_reply(3, failure(error))))
    assert number == 3
    assert isinstance(reply, Fail)
    assert error_of(reply).text == error.text == reply.text
    assert error_of(Fail(code="a code of a later release", field="x")).code is ErrorCode.INTERNAL


@settings(max_examples=25, deadline=None)
@given(instances_of(Recipe), instances_of(Ended))
def test_a_sidecar_is_plain_json_with_the_codes_as_base64(recipe: Recipe, ended: Ended) -> None:
    sidecar = msgspec.json.decode(msgspec.json.encode(sidecar_of(recipe, ended)))
    assert base64.b64decode(sidecar["prompt_codes"]) == recipe.prompt_codes
    assert sidecar["reason"] == ended.reason
    assert sidecar["seed"] == recipe.seed


def test_defaults_are_filled_in_by_the_reader() -> None:
    frames = [b"Q", msgspec.msgpack.encode([1, {"type": "generate"}])]
    assert decode_request(frames).message == Generate()
