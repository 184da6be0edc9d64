"""The bridge's side of the exchange folder: paths on request, cleaning beside the loop, and what is in use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daw_bridge.exchange import desk as desk_module
from daw_bridge.exchange.desk import ExchangeDesk, files_of
from protocols.bridge_messages import PlayContinue, PlayOpen, Stop
from protocols.errors import RequestError
from protocols.exchange_messages import Exchange
from protocols.messages import Reply
from protocols.osc.front import Asker, Peer
from protocols.settings import FileSettings
from tests.support.processes import wait_until

ASKER = Asker(Peer("file", "reaper", 0), "/bridge/exchange", 3)


class Host:
    """The bridge's loop, which runs when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.answers: list[Reply | RequestError] = []
        self.loop = threading.get_ident()
        self.asked_on: list[int] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        try:
            self.answers.append(reply(work()))
        except RequestError as error:
            self.answers.append(error)


def old(folder: Path, number: int) -> Path:
    path = folder / f"handed-20200101-000000-{number:012d}.wav"
    path.write_bytes(b"sound")
    os.utime(path, (0, 0))
    return path


def test_paths_are_handed_out_and_bad_suffixes_are_not(tmp_path: Path) -> None:
    host = Host()
    desk = ExchangeDesk(FileSettings(exchange=str(tmp_path)), host, list)
    desk.handle(Exchange(suffix="aif"), ASKER)
    desk.handle(Exchange(suffix="a/b"), ASKER)
    path, refusal = host.answers
    assert Path(getattr(path, "path", "")).parent == tmp_path
    assert getattr(path, "path", "").endswith(".aif")
    assert isinstance(refusal, RequestError)
    desk.close()


def test_the_cleaner_asks_the_loop_first_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "CLEAN_S", 0.02)
    host = Host()
    busy, idle = old(tmp_path, 1), old(tmp_path, 2)
    in_use = [busy]

    def asked() -> list[Path]:
        host.asked_on.append(threading.get_ident())
        return in_use

    desk = ExchangeDesk(FileSettings(exchange=str(tmp_path)), host, asked)
    wait_until(lambda: host.calls)
    assert idle.exists()  # nothing is removed before the loop has said what is in use
    host.run()
    wait_until(lambda: not idle.exists())
    assert busy.exists()
    in_use.clear()
    os.utime(busy, (0, 0))

    def cleaned() -> bool:
        host.run()
        return not busy.exists()

    wait_until(cleaned)
    assert set(host.asked_on) == {host.loop}
    desk.close()


def test_streams_and_loops_say_which_files_they_need(tmp_path: Path) -> None:
    streams = [
        SimpleNamespace(request=PlayContinue(path="/a/region.wav")),
        SimpleNamespace(request=PlayOpen(prompt="drone")),
        SimpleNamespace(request=Stop()),
    ]
    file = SimpleNamespace(path=Path("/a/loop.wav"))
    layers = [SimpleNamespace(take=SimpleNamespace(file=file)), SimpleNamespace(take=SimpleNamespace(file=None))]
    found = files_of(streams, [*layers, SimpleNamespace(take=None)])  # type: ignore[arg-type, list-item]
    assert found == [Path("/a/region.wav"), Path("/a/loop.wav")]
