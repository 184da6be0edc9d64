"""The one error type: its text, and its codes."""

from __future__ import annotations

import copy
import pickle

import pytest

from protocols.errors import ErrorCode, RequestError, shorten


def test_the_text_names_code_field_value_and_what_is_allowed() -> None:
    error = RequestError(ErrorCode.OUT_OF_RANGE, "temperature", 9.0, "0 to 4")
    assert error.text == str(error) == "out_of_range: temperature = 9.0 (allowed: 0 to 4)"
    assert RequestError(ErrorCode.BUSY).text == "busy"
    assert RequestError(ErrorCode.MISSING, "path", None, "a file").text == "missing: path (allowed: a file)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("two\n\tlines", "two lines"),
        (1.5, "1.5"),
        (b"\0", "b'\\x00'"),
        ("a" * 200, "a" * 79 + "…"),
        pytest.param(10**5000, "(int, too long to write)", id="huge"),
    ],
)
def test_values_are_shown_on_one_line_of_bounded_length(value: object, text: str) -> None:
    assert shorten(value) == text


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_code_is_its_text_and_has_a_meaning(code: ErrorCode) -> None:
    assert ErrorCode(code.value) is code
    assert str(code) == code.value == code.name.lower()
    assert code.meaning.endswith(".")
    assert pickle.loads(pickle.dumps(code)) is code
    assert copy.deepcopy(code) is code
