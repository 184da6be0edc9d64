"""One update for all streams where it is the same for each, else one for each of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from daw_bridge.changing import changes_of
from daw_bridge.wording import Facts, Template, Wording
from protocols.bridge_messages import BridgeUpdate
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Update

SLOW = Wording(Template("slow {style} piece"), Facts(prompt="x"))
FAST = Wording(Template("fast {style} piece"), Facts(prompt="x"))


def stream(number: int, wording: Wording) -> Any:
    """All of a stream that is looked at here; one dict's keys are told apart by identity."""

    class Stream(SimpleNamespace):
        __hash__ = object.__hash__

    return Stream(number=number, wording=wording)


def test_one_update_where_it_is_the_same() -> None:
    streams = [stream(1, SLOW), stream(2, SLOW)]
    updates, wordings = changes_of(BridgeUpdate(stream=0, style="soft"), streams, None, None)
    assert updates == [Update(stream=0, prompt="slow soft piece, x")]
    assert [wording.facts.style for wording in wordings.values()] == ["soft", "soft"]
    assert changes_of(BridgeUpdate(stream=0, temperature=0.5), [stream(1, SLOW), stream(2, FAST)], None, None)[0] == [
        Update(stream=0, temperature=0.5)
    ]


def test_one_for_each_where_words_differ() -> None:
    updates, _ = changes_of(BridgeUpdate(stream=0, style="soft"), [stream(4, SLOW), stream(7, FAST)], None, None)
    assert updates == [
        Update(stream=4, prompt="slow soft piece, x"),
        Update(stream=7, prompt="fast soft piece, x"),
    ]
    with pytest.raises(RequestError) as refused:
        changes_of(BridgeUpdate(stream=0, style="soft"), [stream(4, SLOW), stream(0, FAST)], None, None)
    assert (refused.value.code, refused.value.field) == (ErrorCode.BUSY, "stream")


def test_others_that_are_not_meant_stay_as_they_are() -> None:
    change = BridgeUpdate(stream=0, temperature=0.5)
    updates, _ = changes_of(change, [stream(4, SLOW), stream(7, FAST)], None, None, all_of_them=False)
    assert updates == [Update(stream=4, temperature=0.5), Update(stream=7, temperature=0.5)]
    assert changes_of(change, [], None, None, all_of_them=False) == ([], {})


def test_where_none_is_open_the_engine_is_asked_all_the_same() -> None:
    updates, wordings = changes_of(BridgeUpdate(stream=0, prompt="x"), [], None, None)
    assert (updates, wordings) == ([Update(stream=0, prompt="x")], {})
