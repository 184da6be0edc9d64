"""Sidecars that can be remade, and those that cannot, with the reason."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from daw_bridge.again import remake
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Continue, Generate, Open
from tests.support.facts import WELCOME

CODES = bytes(range(16))
SIDECAR: dict[str, Any] = {
    "fingerprint": "abc",
    "model": "pocket",
    "seed": 7,
    "request": {
        "type": "generate",
        "prompt": "x",
        "bpm": 92.0,
        "key": "A minor",
        "seed": -1,
        "duration": 2.0,
        "temperature": 0.5,
    },
    "prompt_codes": "",
    "codebooks": 4,
    "changes": [{"frame": 3, "prompt": "y", "bpm": 133.5, "key": "A minor"}],
    "reason": "done",
    "audio": {"frames": 64000},
}


def test_the_request_comes_back_with_the_seed_that_was_used() -> None:
    made = remake(SIDECAR, WELCOME)
    assert isinstance(made.message, Generate)
    assert (made.message.prompt, made.message.seed, made.message.temperature) == ("x", 7, 0.5)
    assert json.loads(made.message.script) == SIDECAR["changes"]
    assert (made.message.bpm, made.message.key) == (92.0, "A minor")
    assert (made.payload, made.samples) == (b"", None)


def test_a_take_of_a_stream_that_waited_to_be_played_is_made_at_once() -> None:
    made = remake({**SIDECAR, "request": {**SIDECAR["request"], "patient": True}}, WELCOME)
    assert isinstance(made.message, Generate)
    assert not made.message.patient


def test_a_take_of_an_earlier_release_has_no_tempo_beside_its_words() -> None:
    made = remake({**SIDECAR, "request": {"type": "generate", "prompt": "x"}}, WELCOME)
    assert (made.message.bpm, made.message.key) == (0.0, "")


def test_the_codes_stand_for_the_file() -> None:
    request = {"type": "continue", "path": "/gone.wav", "start": 3.0, "duration": 1.0}
    codes = base64.b64encode(CODES).decode()
    made = remake({**SIDECAR, "request": request, "prompt_codes": codes}, WELCOME)
    assert isinstance(made.message, Continue)
    assert (made.message.path, made.message.start, made.message.codebooks) == ("", 0.0, 4)
    assert made.payload == CODES
    assert (made.message.seam, made.message.seam_record) == (True, ""), "takes of earlier releases have no seam"


def test_the_seam_comes_with_the_codes() -> None:
    request = {"type": "continue", "path": "/gone.wav", "duration": 1.0, "seam": True}
    codes = base64.b64encode(CODES).decode()
    made = remake({**SIDECAR, "request": request, "prompt_codes": codes, "seam_record": '{"own": ""}'}, WELCOME)
    assert isinstance(made.message, Continue)
    assert (made.message.seam, made.message.seam_record) == (True, '{"own": ""}')


def test_a_take_that_was_cut_short_is_cut_at_the_same_sample() -> None:
    made = remake({**SIDECAR, "request": {"type": "open", "prompt": "x"}, "reason": "cancelled"}, WELCOME)
    assert isinstance(made.message, Open)
    assert made.samples == 64000


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"fingerprint": "other"}, ErrorCode.UNSUPPORTED, "model"),
        ({"fingerprint": None}, ErrorCode.MISSING, "fingerprint"),
        ({"request": {"type": "dance"}}, ErrorCode.MALFORMED, "request.type"),
        ({"request": None}, ErrorCode.MISSING, "request"),
        ({"prompt_codes": "&&&"}, ErrorCode.MALFORMED, "prompt_codes"),
        ({"seed": "seven"}, ErrorCode.MISSING, "seed"),
        ({"request": {"type": "open"}, "prompt_codes": "AAAA", "seam_record": 7}, ErrorCode.BAD_TYPE, "seam_record"),
        ({"audio": {}}, ErrorCode.MISSING, "frames"),
        ({"request": {"type": "generate", "duration": 1e9}}, ErrorCode.OUT_OF_RANGE, "duration"),
    ],
)
def test_what_cannot_be_remade_is_refused(change: dict[str, Any], code: ErrorCode, field: str) -> None:
    with pytest.raises(RequestError) as refused:
        remake({**SIDECAR, **change}, WELCOME)
    assert (refused.value.code, refused.value.field) == (code, field)
