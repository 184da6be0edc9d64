"""The table of a message class, and the checks of values against it."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import pytest
from _pytest.mark import ParameterSet

from protocols.bridge_messages import BRIDGE_EVENTS, BRIDGE_REQUESTS, Play, SetDefaults, SetLevel
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import FieldSpec, about, build, fields_of, plain
from protocols.messages import ENGINE_REQUESTS, EVENTS, REPLIES, Acknowledge, Generate, Recipe, Update

REQUESTS = tuple(dict.fromkeys((*ENGINE_REQUESTS, *BRIDGE_REQUESTS)))


def cases(*kinds: str) -> list[ParameterSet]:
    """Every parameter of every request, as a test case; those of some kinds only, if any are named."""
    return [
        pytest.param(spec, id=f"{request.__name__}.{spec.name}")
        for request in REQUESTS
        for spec in fields_of(request).values()
        if not kinds or spec.kind in kinds
    ]


def refusal(spec: FieldSpec, value: Any, *, cast: bool = False) -> RequestError:
    """The error that a field answers a value with."""
    with pytest.raises(RequestError) as caught:
        spec.check(value, cast=cast)
    assert caught.value.field == spec.name
    return caught.value


@pytest.mark.parametrize("spec", cases())
def test_every_parameter_is_documented_and_its_default_is_valid(spec: FieldSpec) -> None:
    assert spec.meaning
    assert spec.allowed
    if not spec.required:
        assert spec.check(spec.default) == spec.default


@pytest.mark.parametrize("spec", cases("int", "float"))
def test_every_number_is_taken_up_to_its_bounds_and_refused_beyond(spec: FieldSpec) -> None:
    assert spec.minimum is not None
    assert spec.maximum is not None
    beyond = 1 if spec.kind == "int" else 1e-6 * max(1.0, abs(spec.maximum))
    for bound in (spec.minimum, spec.maximum):
        taken = spec.check(bound)
        assert taken == bound
        assert type(taken) is {"int": int, "float": float}[spec.kind]
    for value in (spec.minimum - beyond, spec.maximum + beyond):
        error = refusal(spec, value)
        assert error.code is ErrorCode.OUT_OF_RANGE
        assert error.value == shorten(value)
        assert plain(spec.minimum) in error.allowed
        assert plain(spec.maximum) in error.allowed


@pytest.mark.parametrize("spec", cases("int", "float"))
@pytest.mark.parametrize("cast", [False, True])
def test_numbers_refuse_what_is_not_finite_and_what_is_no_number(spec: FieldSpec, cast: bool) -> None:
    endless: tuple[Any, ...] = (math.nan, math.inf, -math.inf, 10**400, -(10**400), 10**5000)
    for value in endless:
        assert refusal(spec, value, cast=cast).code is ErrorCode.OUT_OF_RANGE
    no_numbers: tuple[Any, ...] = ("1", b"1", True, [1], {}, object())
    for value in no_numbers:
        assert refusal(spec, value, cast=cast).code is ErrorCode.BAD_TYPE


@pytest.mark.parametrize("spec", cases("int"))
def test_a_float_is_a_whole_number_only_where_controllers_send_it(spec: FieldSpec) -> None:
    value = float(max(spec.minimum or 0, 2))
    assert refusal(spec, value).code is ErrorCode.BAD_TYPE
    taken = spec.check(value, cast=True)
    assert taken == value
    assert type(taken) is int
    assert spec.check(value + 0.2, cast=True) == value
    assert spec.maximum is not None
    assert refusal(spec, float(spec.maximum) * 2 + 1, cast=True).code is ErrorCode.OUT_OF_RANGE


@pytest.mark.parametrize("spec", cases("str"))
def test_texts_have_a_length_or_choices_and_hold_no_nul(spec: FieldSpec) -> None:
    if spec.choices:
        assert all(spec.check(choice) == choice for choice in spec.choices)
        assert refusal(spec, "neither").code is ErrorCode.OUT_OF_RANGE
        assert refusal(spec, "neither").allowed == ", ".join(spec.choices)
    else:
        assert spec.max_length
        assert spec.check("ä" * spec.max_length) == "ä" * spec.max_length
        assert refusal(spec, "a" * (spec.max_length + 1)).code is ErrorCode.TOO_LONG
        assert refusal(spec, "a\0b").code is ErrorCode.MALFORMED
    for value in (b"a", ["a"], True):
        assert refusal(spec, value, cast=True).code is ErrorCode.BAD_TYPE
    for value in (1, 1.0):
        assert refusal(spec, value, cast=not spec.from_number).code is ErrorCode.BAD_TYPE
        assert not spec.from_number or spec.check(value, cast=True) == "1"


@pytest.mark.parametrize("spec", cases("bool"))
def test_booleans_take_one_and_zero_only_where_controllers_send_them(spec: FieldSpec) -> None:
    assert spec.check(True) is True
    assert spec.check(False) is False
    assert spec.check(1, cast=True) is True
    assert spec.check(0.0, cast=True) is False
    assert refusal(spec, 1).code is ErrorCode.BAD_TYPE
    for value in (2, 0.5, math.nan, "true", b"", *([] if spec.nullable else [None])):
        assert refusal(spec, value, cast=True).code is ErrorCode.BAD_TYPE


@pytest.mark.parametrize("spec", cases())
def test_none_is_taken_only_where_left_out_means_as_it_is(spec: FieldSpec) -> None:
    if spec.nullable:
        assert spec.check(None) is None
    else:
        assert refusal(spec, None).code is ErrorCode.BAD_TYPE


def test_lists_hold_texts_only() -> None:
    class Folders(msgspec.Struct):
        folders: Annotated[list[str], about("Folders.")] = []

    spec = fields_of(Folders)["folders"]
    assert spec.allowed == "a list of texts"
    assert spec.check(["a", "b"]) == ["a", "b"]
    for value in ("a", ("a",), ["a", 1], {"a": 1}, 1):
        assert refusal(spec, value, cast=True).code is ErrorCode.BAD_TYPE


def test_a_message_is_built_from_checked_values() -> None:
    assert build(Generate, {"prompt": "dub", "duration": 8}) == Generate(prompt="dub", duration=8.0)
    assert type(build(Generate, {"duration": 8}).duration) is float
    assert build(Update, {"stream": 3, "prompt": None}) == Update(stream=3)
    assert build(SetLevel, {"stream": 0.0, "level": -6}, cast=True) == SetLevel(stream=0, level=-6.0)
    assert build(Acknowledge, {"stream": 1, "position": 2**62}).position == 2**62


def test_what_is_unknown_or_missing_is_named() -> None:
    with pytest.raises(RequestError) as caught:
        build(Generate, {"tempo": 120})
    assert (caught.value.code, caught.value.field, caught.value.value) == (ErrorCode.UNKNOWN_PARAMETER, "tempo", "120")
    assert "temperature" in caught.value.allowed
    with pytest.raises(RequestError) as caught:
        build(SetLevel, {"stream": 1})
    assert (caught.value.code, caught.value.field) == (ErrorCode.MISSING, "level")
    assert "-120 to 12 dB" in caught.value.allowed


@pytest.mark.parametrize("name", [7, None, ("a",), "x" * 10_000, "two\nlines"])
def test_a_strange_name_is_refused_on_one_short_line(name: Any) -> None:
    with pytest.raises(RequestError) as caught:
        build(Generate, {name: 1})
    assert caught.value.code is ErrorCode.UNKNOWN_PARAMETER
    assert len(caught.value.field) <= 40
    assert "\n" not in caught.value.text


def test_bounds_are_written_as_people_write_them() -> None:
    assert [plain(value) for value in (2**31 - 1, 2**62, 0.05, 1e6, -120.0)] == [
        "2147483647",
        "4611686018427387904",
        "0.05",
        "1000000",
        "-120",
    ]
    assert fields_of(Generate)["seed"].allowed == "a whole number from -1 to 2147483647"

    class OneSided(msgspec.Struct):
        above: Annotated[float, about("Above.", unit="s", ge=0.5)]
        below: Annotated[int, about("Below.", le=7)]
        free: Annotated[float, about("Free.")]

    assert [spec.allowed for spec in fields_of(OneSided).values()] == [
        "a number of at least 0.5 s",
        "a whole number of at most 7",
        "a number",
    ]


def test_a_bridge_request_has_the_engines_own_limits() -> None:
    for name in ("prompt", "temperature", "top_k", "top_p", "guidance", "seed", "duration"):
        assert fields_of(Play)[name] == fields_of(Generate)[name]
    for spec in fields_of(SetDefaults).values():
        engine = fields_of(Generate)[spec.name]
        assert (spec.minimum, spec.maximum, spec.nullable) == (engine.minimum, engine.maximum, True)


def test_positional_arguments_are_parameters_and_come_over_osc() -> None:
    for request in REQUESTS:
        specs = fields_of(request)
        assert all(specs[name].osc for name in request.osc_positional)
        first = (*request.osc_positional, request.osc_rest)
        assert all(spec.name in first for spec in specs.values() if spec.required and spec.osc) or (
            request.__name__ in ("Listen", "Unlisten", "Acknowledge", "Hello")
        )


def test_every_value_that_is_sent_has_a_meaning() -> None:
    for message in (*REPLIES, *EVENTS, *BRIDGE_EVENTS):
        if message is not Recipe:
            assert [name for name, spec in fields_of(message).items() if not spec.meaning] == []


def test_a_type_that_no_parameter_can_have_is_refused_when_the_table_is_made() -> None:
    class Strange(msgspec.Struct):
        when: dict[str, int]

    with pytest.raises(TypeError, match="parameters are"):
        fields_of(Strange)
