"""Streams asked for while their voices are made; and those that wait for another engine: not for ever, unless they are heard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import daw_bridge.opening
from daw_bridge.opening import UNHEARD_S, Opening
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Cancel, Generate, Opened, Resume


class Stream:
    """A stream whose engine is gone."""

    def __init__(self, holding: bool) -> None:
        self.lost, self.holding = True, holding
        self.journal = self.over = ""

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


def test_what_there_is_no_room_for_is_asked_for_again() -> None:
    """A replica died, and the others are full at first: one request at a time, until one of them goes on with the stream."""
    moment = 0.0
    stream = Stream(True)
    stream.journal = "left"
    gone_on: list[Opened] = []
    lost: Any = stream
    lost.cancelled, lost.gone_on = False, gone_on.append
    lost.go_on_request = lambda: Resume(journal="left", frame=7)
    engine = Engine([])
    host: Any = SimpleNamespace(ready_engine=lambda: engine)
    table: Any = Table(stream)
    nothing: Any = None
    opening = Opening(host, table, nothing, nothing, clock=lambda: moment)
    opening.go_on()
    moment = 10.0
    opening.pump()
    assert engine.told == [Resume(journal="left", frame=7)], "no second one while the first is not answered"
    engine.answers.pop()(RequestError(ErrorCode.BUSY, "queue", 20))
    opening.pump()
    assert len(engine.told) == 1, "not at once"
    moment = 11.0
    opening.pump()
    assert engine.told == 2 * [Resume(journal="left", frame=7)]
    engine.answers.pop()(Opened(stream=1, seed=1))
    assert len(gone_on) == 1
    assert not stream.over


class Engine:
    """Takes requests, and answers when the test says so."""

    def __init__(self, told: list[object]) -> None:
        self.told = told
        self.welcome = SimpleNamespace(model="pocket", fingerprint="1")
        self.answers: list[Any] = []

    def request(self, message: Any, answer: Any, payload: bytes = b"") -> None:
        self.told.append(message)
        self.answers.append(answer)

    def tell(self, message: Any) -> None:
        self.told.append(message)


class Made:
    """In place of a `BridgeStream`."""

    def __init__(self, told: list[object], error: RequestError | None) -> None:
        told.append("made")
        if error is not None:
            raise error
        self.cancelled = False
        self.numbers: list[int] = []

    def opened(self, reply: Opened, number: int) -> None:
        self.numbers.append(number)


def opened(monkeypatch: pytest.MonkeyPatch, error: RequestError | None = None) -> tuple[Opening, Engine, Any, Any]:
    told: list[object] = []
    engine = Engine(told)
    monkeypatch.setattr(daw_bridge.opening, "BridgeStream", lambda *_: Made(told, error))
    table = SimpleNamespace(opening=[], next_number=lambda: 7, opened=lambda stream: None)
    host: Any = SimpleNamespace(ready_engine=lambda: engine)
    settings: Any = SimpleNamespace(files=SimpleNamespace(takes_folder=""))
    prepared = SimpleNamespace(message=Generate(prompt="a"), payload=b"")
    order = SimpleNamespace(patient=False)
    return Opening(host, table, None, settings), engine, table, (order, prepared)  # type: ignore[arg-type]


def test_the_engine_is_asked_before_the_voice_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    opening, engine, table, (order, prepared) = opened(monkeypatch)
    opening.open(order, prepared)
    assert [type(one) for one in engine.told] == [Generate, str]
    stream = table.opening[0]
    engine.answers[0](Opened(stream=3, seed=1))
    assert stream.numbers == [7]
    assert not table.opening


def test_a_voice_that_cannot_be_made_leaves_the_engine_nothing_to_make(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = RequestError(ErrorCode.BUSY, "voices")
    opening, engine, table, (order, prepared) = opened(monkeypatch, busy)
    with pytest.raises(RequestError):
        opening.open(order, prepared)
    engine.answers[0](Opened(stream=3, seed=1))
    assert engine.told[-1] == Cancel(stream=3)
    assert not table.opening
