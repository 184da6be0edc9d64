"""Requests, replies and events as OSC messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.bridge_messages import (
    BRIDGE_EVENTS,
    BRIDGE_REQUESTS,
    AddNotes,
    BridgeUpdate,
    DeviceInfo,
    DeviceList,
    Play,
    PlayContinue,
    Sounding,
    Stop,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import (
    ENGINE_REQUESTS,
    EVENTS,
    Cancel,
    Done,
    Ended,
    Event,
    Finished,
    Generate,
    Opened,
    Reply,
    Streams,
    Update,
)
from protocols.osc import form
from protocols.osc.codec import OscMessage, decode, encode
from tests.support.message_strategies import instances_of, texts

SPACE = form.address_space(ENGINE_REQUESTS) | form.address_space(BRIDGE_REQUESTS)
ADDRESSES = [pytest.param(address, id=path) for path, address in SPACE.items()]
REPLIES = dict.fromkeys(request.osc_reply or request.reply for request in (*ENGINE_REQUESTS, *BRIDGE_REQUESTS))
SENT_EVENTS = [event for event in (*EVENTS, *BRIDGE_EVENTS) if event not in form.WITHOUT_OSC]


def given_positional(address: form.Address) -> list[Any]:
    """Something valid for each positional argument."""
    words = [(spec.choices or ("words",))[0][: spec.max_length] for spec in address.positional]
    return [
        word if spec.kind == "str" else max(1, int(spec.minimum or 0))
        for spec, word in zip(address.positional, words, strict=True)
    ]


def refusal(address: form.Address, *arguments: Any) -> form.OscFormError:
    """The error that arguments are answered with."""
    with pytest.raises(form.OscFormError) as caught:
        form.parse(address, arguments)
    return caught.value


def as_sent(value: Any) -> Any:
    """A value as the other side reads it."""
    return int(value) if isinstance(value, bool) else value


def test_the_addresses_are_those_of_the_process() -> None:
    assert set(form.address_space(ENGINE_REQUESTS)) == {
        f"/engine/{verb}"
        for verb in (
            "generate",
            "continue",
            "resume",
            "melody",
            "update",
            "cancel",
            "streams",
            "journals",
            "forget",
            "ping",
            "status",
            "replicas",
            "version",
            "models",
            "models/download",
            "models/download/stop",
            "load",
            "unload",
            "codec/encode",
            "codec/decode",
            "codec/cancel",
            "codec/list",
            "codec/info",
            "codec/export",
            "quit",
        )
    }
    assert len(form.address_space(BRIDGE_REQUESTS)) == len(BRIDGE_REQUESTS)
    assert all(path.startswith("/bridge/") for path in form.address_space(BRIDGE_REQUESTS))


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_parses_with_and_without_an_id(address: form.Address) -> None:
    positional = given_positional(address)
    number, request, port = form.parse(address, positional)
    assert (number, type(request), port) == (0, address.request, None)
    for spec in address.named:
        assert getattr(request, spec.name) == spec.default
    assert form.parse(address, [7, *positional]) == (7, request, None)
    assert form.parse(address, [7.0, *positional]) == (7, request, None)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_takes_its_own_defaults_by_name(address: form.Address) -> None:
    positional = given_positional(address)
    pairs: list[Any] = [
        part for spec in address.named if spec.default is not None for part in (spec.name, spec.default)
    ]
    _, request, _ = form.parse(address, positional)
    for arguments in ([*positional, *pairs], [3, *positional, *pairs], [3, *positional, *pairs, form.REPLY_PORT, 9000]):
        assert form.parse(address, arguments)[1] == request


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_parameter_takes_its_bounds_as_floats(address: form.Address) -> None:
    for spec in address.named:
        if spec.kind in ("int", "float"):
            assert spec.minimum is not None
            for bound in (spec.minimum, spec.maximum):
                _, request, _ = form.parse(address, [1, *given_positional(address), spec.name, float(bound or 0)])
                assert getattr(request, spec.name) == bound


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_valid_request_survives_the_trip(data: st.DataObject) -> None:
    address = data.draw(st.sampled_from(list(SPACE.values())))
    sent = data.draw(instances_of(address.request))
    specs = (*address.positional, *address.named)
    values = {spec.name: getattr(sent, spec.name) for spec in specs}
    arguments = [values[spec.name] for spec in address.positional]
    for spec in address.named:
        if values[spec.name] is not None:
            arguments += [spec.name, values[spec.name]]
    number, request, _ = form.parse(address, [5, *arguments])
    assert number == 5
    for spec in specs:
        assert getattr(request, spec.name) == values[spec.name]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_arguments_are_read_or_refused(data: st.DataObject) -> None:
    address = data.draw(st.sampled_from(list(SPACE.values())))
    names = st.sampled_from([form.REPLY_PORT, *fields_of(address.request)])
    value = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(texts) | st.binary() | names
    arguments = data.draw(st.lists(value, max_size=7))
    try:
        number, request, _ = form.parse(address, arguments)
    except form.OscFormError as error:
        refused = form.fail(address.path, error.request_id, error)
    else:
        assert number >= 0
        assert isinstance(request, address.request)
        return
    assert decode(encode(refused.address, *refused.arguments)) == [refused]
    assert "\n" not in str(refused.arguments[3])


def test_where_the_first_argument_is_text_a_number_is_the_id() -> None:
    play = SPACE["/bridge/play"]
    assert form.parse(play, ["dub"]) == (0, Play(prompt="dub"), None)
    assert form.parse(play, ["dub", "duration", 8]) == (0, Play(prompt="dub", duration=8.0), None)
    assert form.parse(play, [4, "dub", "duration", 8]) == (4, Play(prompt="dub", duration=8.0), None)
    region: list[Any] = [2, "/music/loop.wav", "start", 4, "length", 8.0]
    assert form.parse(SPACE["/bridge/continue"], region)[1] == PlayContinue(
        path="/music/loop.wav", start=4.0, length=8.0
    )


def test_where_the_first_argument_is_a_number_what_follows_it_tells() -> None:
    update, level = SPACE["/engine/update"], SPACE["/bridge/level"]
    assert form.parse(update, [3]) == (0, Update(stream=3), None)
    assert form.parse(update, [7, 3]) == (7, Update(stream=3), None)
    assert form.parse(update, [3, "temperature", 0.5]) == (0, Update(stream=3, temperature=0.5), None)
    assert form.parse(update, [7, 3, "temperature", 0.5]) == (7, Update(stream=3, temperature=0.5), None)
    assert form.parse(update, [3, "prompt", "brass", "top_k", 9.0])[:2] == (
        0,
        Update(stream=3, prompt="brass", top_k=9),
    )
    assert form.parse(level, [0, -6.0])[0] == 0
    assert form.parse(level, [9, 0, -6.0])[0] == 9
    assert form.parse(level, [2, -6.0, form.REPLY_PORT, 9001])[::2] == (0, 9001)
    assert form.parse(level, [9, 2, -6.0, form.REPLY_PORT, 9001])[::2] == (9, 9001)


def test_where_there_is_no_positional_argument_a_number_is_the_id() -> None:
    stop = SPACE["/bridge/stop"]
    assert form.parse(stop, []) == (0, Stop(), None)
    assert form.parse(stop, [5]) == (5, Stop(), None)
    assert form.parse(stop, [form.REPLY_PORT, 9001]) == (0, Stop(), 9001)
    assert form.parse(stop, [5, form.REPLY_PORT, 9001.0]) == (5, Stop(), 9001)


@pytest.mark.parametrize("first", [-1, 2**31, 2.0**40, True, b"1", float("nan"), float("inf")])
def test_an_id_that_cannot_be_one(first: Any) -> None:
    error = refusal(SPACE["/bridge/play"], first, "dub")
    assert (error.code, error.field, error.request_id) == (ErrorCode.BAD_TYPE, "id", 0)


def test_what_is_wrong_is_named_under_the_requests_id() -> None:
    play, level = SPACE["/bridge/play"], SPACE["/bridge/level"]
    for arguments, code, field in (
        ((4, "dub", "temperature", 9.0), ErrorCode.OUT_OF_RANGE, "temperature"),
        ((4, "dub", "temperature", "hot"), ErrorCode.BAD_TYPE, "temperature"),
        ((4, "dub", "temperature"), ErrorCode.MISSING, "temperature"),
        ((4, "dub", "tempo", 120), ErrorCode.UNKNOWN_PARAMETER, "tempo"),
        ((4, "dub", 120, "tempo"), ErrorCode.UNKNOWN_PARAMETER, "120"),
        ((4, "dub", "prompt", "house"), ErrorCode.UNKNOWN_PARAMETER, "prompt"),
        ((4, b"dub"), ErrorCode.BAD_TYPE, "prompt"),
        ((4,), ErrorCode.MISSING, "prompt"),
    ):
        error = refusal(play, *arguments)
        assert (error.code, error.field, error.request_id) == (code, field, 4)
    assert refusal(play).field == "prompt"
    assert refusal(level, 1).code is ErrorCode.MISSING
    assert refusal(SPACE["/engine/generate"], 4, "dub", "script", "[]").code is ErrorCode.UNKNOWN_PARAMETER


def test_a_refusal_knows_the_port_that_wants_it() -> None:
    play = SPACE["/bridge/play"]
    for arguments in (
        (4, "dub", "temperature", 9.0, form.REPLY_PORT, 9001),
        (4, "dub", form.REPLY_PORT, 9001, "tempo", 120),
        (4, "dub", form.REPLY_PORT, 9001, "temperature"),
    ):
        assert refusal(play, *arguments).reply_port == 9001
    for port in (0, 65536, -1, "9001", True, float("nan"), b""):
        error = refusal(play, 4, "dub", form.REPLY_PORT, port)
        assert (error.code, error.field, error.reply_port) == (ErrorCode.OUT_OF_RANGE, form.REPLY_PORT, None)


def test_numbers_without_end_come_before_names() -> None:
    add = SPACE["/bridge/notes/add"]
    page = [60, 0, 1.0, 100, 64, 1, 0.5, 90.0]
    expected = AddNotes(name="tune", index=4, values=[60, 0, 1, 100, 64, 1, 0.5, 90])
    assert form.parse(add, ["tune", 4, *page]) == (0, expected, None)
    assert form.parse(add, [7, "tune", 4.0, *page, form.REPLY_PORT, 9001]) == (7, expected, 9001)
    assert form.parse(add, ["tune", 4])[1] == AddNotes(name="tune", index=4, values=[])
    for arguments, code, field in (
        ((7, "tune", 4, 60, b"1", 2), ErrorCode.BAD_TYPE, "values"),
        ((7, "tune", 4, 60, float("nan")), ErrorCode.OUT_OF_RANGE, "values"),
        ((7, "tune", 4, 60, float("inf")), ErrorCode.OUT_OF_RANGE, "values"),
        ((7, "tune", 4, *[1] * 8193), ErrorCode.TOO_LONG, "values"),
        ((7, "tune", 4, 60, "colour", 3), ErrorCode.UNKNOWN_PARAMETER, "colour"),
        ((7, "tune", 4, 60, "values", 3), ErrorCode.UNKNOWN_PARAMETER, "values"),
        ((7, "tune", 2048, 60), ErrorCode.OUT_OF_RANGE, "index"),
        ((7, "tune"), ErrorCode.MISSING, "index"),
    ):
        error = refusal(add, *arguments)
        assert (error.code, error.field, error.request_id) == (code, field, 7)


def test_defaults_fill_in_what_a_request_has_and_leaves_out() -> None:
    defaults = {"temperature": 0.5, "seed": 7, "no such parameter": 1}
    _, request, _ = form.parse(SPACE["/bridge/play"], ["dub", "seed", 8], defaults)
    assert request == Play(prompt="dub", temperature=0.5, seed=8)
    assert form.parse(SPACE["/bridge/stop"], [], defaults)[1] == Stop()


def test_a_reply_is_one_done_with_its_values_in_order() -> None:
    reply = Finished(
        stream=6, reason="done", seconds=8.0, seed=9, path="/takes/a.wav", underruns=0, first_sound_ms=212.5
    )
    assert list(form.done("/bridge/play", 3, reply)) == [
        OscMessage("/done", ("/bridge/play", 3, 6, "done", 8.0, 9, "/takes/a.wav", 0, 212.5, ""))
    ]
    assert list(form.done("/bridge/stop", 0, Done())) == [OscMessage("/done", ("/bridge/stop", 0))]


def test_a_list_is_one_item_for_each_row_and_then_done() -> None:
    rows = [
        DeviceInfo(
            index=index,
            name=f"card {index}",
            host_api="ALSA",
            channels=2,
            sample_rate=48000.0,
            default=False,
            chosen=True,
        )
        for index in range(2)
    ]
    first, second, last = form.done("/bridge/devices", 5, DeviceList(items=rows))
    assert (first.address, second.arguments[:3]) == ("/bridge/devices.item", (5, 1, 2))
    assert first.arguments[3:7] == ("index", 0, "name", "card 0")
    assert last == OscMessage("/done", ("/bridge/devices", 5, 2))
    assert list(form.done("/bridge/devices", 5, DeviceList(items=[]))) == [
        OscMessage("/done", ("/bridge/devices", 5, 0))
    ]


@pytest.mark.parametrize("reply", REPLIES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_reply_can_be_sent(reply: type[Reply], data: st.DataObject) -> None:
    for message in form.done("/engine/x", 1, data.draw(instances_of(reply))):
        fitting = [0.0 if isinstance(value, float) else value for value in message.arguments]
        assert decode(encode(message.address, *fitting)) == [OscMessage(message.address, tuple(map(as_sent, fitting)))]


@pytest.mark.parametrize("event", SENT_EVENTS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_event_can_be_sent(event: type[Event], data: st.DataObject) -> None:
    message = form.event("engine", data.draw(instances_of(event)))
    assert message.address == f"/engine/{form.tag_of(event)}"
    assert len(message.arguments) == sum(spec.osc for spec in fields_of(event).values())
    encode(message.address, *(value for value in message.arguments if not isinstance(value, float)))


def test_events_leave_out_what_osc_cannot_carry() -> None:
    assert form.event("bridge", Sounding(stream=6, first_sound_ms=1.5)) == OscMessage("/bridge/sounding", (6, 1.5))
    ended = Ended(stream=6, reason="cancelled", samples=2**40, seconds=2.0)
    assert form.event("engine", ended) == OscMessage("/engine/ended", (6, "cancelled", 2.0, ""))


def test_large_counters_are_sent_as_the_largest_number_there_is() -> None:
    assert form.values_of(Opened(stream=1, seed=1, waiting=2**40)) == (1, 1, 2**31 - 1, "")


def test_a_failure_is_short_even_where_the_address_is_not() -> None:
    message = form.fail("/" + "x" * 8000, 3, RequestError(ErrorCode.UNKNOWN_ADDRESS, "address", "/x", "others"))
    assert len(encode(message.address, *message.arguments)) < 400
    assert message.arguments[1:3] == (3, "unknown_address")


def test_a_bridge_request_is_the_engines_where_the_engine_carries_it_out() -> None:
    _, request, _ = form.parse(SPACE["/bridge/update"], [3, "prompt", "brass"])
    assert isinstance(request, BridgeUpdate)
    assert isinstance(request, Update)
    assert isinstance(form.parse(SPACE["/bridge/cancel"], [3])[1], Cancel)
    assert isinstance(form.parse(SPACE["/bridge/streams"], [])[1], Streams)
    assert not isinstance(form.parse(SPACE["/bridge/play"], ["dub"])[1], Generate)
