"""Streams that wait for another engine: not for ever, unless they are heard."""

from __future__ import annotations

from typing import Any

from daw_bridge.opening import UNHEARD_S, Opening


class Stream:
    """A stream whose engine is gone."""

    def __init__(self, holding: bool) -> None:
        self.lost, self.holding = True, holding
        self.over = ""

    def give_up(self, why: str) -> None:
        self.lost, self.over = False, why


class Table:
    def __init__(self, *streams: Stream) -> None:
        self.open = streams


def test_what_nobody_hears_waits_for_an_engine_for_a_while_only() -> None:
    moment = 0.0
    heard, unheard, late = Stream(True), Stream(False), Stream(True)
    nothing: Any = None
    table: Any = Table(heard, unheard, late)
    opening = Opening(nothing, table, nothing, nothing, clock=lambda: moment)
    opening.pump()
    moment = UNHEARD_S
    late.holding = False
    opening.pump()
    assert [heard.over, unheard.over, late.over] == ["", "", ""]
    unheard.lost = False  # an engine has come just in time, and goes again
    opening.pump()
    unheard.lost = True
    moment = 2 * UNHEARD_S
    opening.pump()
    assert [heard.over, unheard.over, late.over] == ["", "", ""]
    moment = 2 * UNHEARD_S + 1
    opening.pump()
    assert late.over
    assert [heard.over, unheard.over] == ["", ""]
    moment = 10 * UNHEARD_S
    opening.pump()
    assert unheard.over
    assert not heard.over, "its last bars play until somebody ends it"
