"""Journals on disk: written as streams go, read as far as they are whole, within their bound."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.journal.journals import Journals
from engine.journal.log import MAGIC, Header, Journal, read_journal
from engine.journal.replay import Recording
from engine.stream import FramesMade
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Recipe

CODES = np.arange(4 * 40, dtype=np.uint16).reshape(40, 4)


def header(**changes: Any) -> Header:
    recipe = Recipe(
        stream=1,
        request={"type": "open", "prompt": "a song"},
        seed=3,
        model="tiny",
        fingerprint="abc",
        status="preview",
        device="cpu",
        dtype="float32",
        engine_version="0",
        torch_version="0",
        prompt_codes=b"",
        codebooks=4,
        changes=[],
    )
    return Header(recipe=recipe, began=0.0, sample_rate=32000, frame_samples=640, **changes)


def made(first: int, end: int, state: bytes = b"") -> FramesMade:
    return FramesMade(1, first, CODES[first:end], -20.0, state)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., Journals]]:
    begun: list[Journals] = []

    def keep(most_bytes: int = 1 << 20) -> Journals:
        begun.append(Journals(tmp_path, most_bytes))
        return begun[-1]

    yield keep
    for journals in begun:
        journals.stop(5)


def on_thread(journals: Journals, work: Callable[[], Any]) -> Any:
    answers: list[Any] = []
    there = threading.Event()
    journals.do(work, lambda answer: (answers.append(answer), there.set()))
    assert there.wait(5)
    return answers[0]


def write(journals: Journals, *, end: bool = True) -> str:
    name = journals.new_id()
    journals.begin(name, header(), None)
    journals.frames(name, made(0, 10, b"state"))
    journals.change(name, {"frame": 8, "seed": 5})
    journals.frames(name, made(10, 25))
    if end:
        journals.end(name, "cancelled", "")
    return name


def test_what_was_written_is_read(keep: Callable[..., Journals], tmp_path: Path) -> None:
    journals = keep()
    name = write(journals)
    journal = on_thread(journals, lambda: journals.read(name))
    assert np.array_equal(journal.codes, CODES[:25])
    assert (journal.frames, journal.seconds) == (25, 0.5)
    assert journal.states == [(10, b"state")]
    assert journal.changes == [{"frame": 8, "seed": 5}]
    assert journal.levels == [(0, -20.0), (10, -20.0)]
    assert journal.end.reason == "cancelled"
    (item,) = on_thread(journals, journals.items)
    assert (item.journal, item.prompt, item.seconds, item.state) == (name, "a song", 0.5, "cancelled")
    assert item.bytes == (tmp_path / f"{name}.journal").stat().st_size


def test_what_goes_on_holds_all_that_lies_behind(keep: Callable[..., Journals]) -> None:
    journals = keep()
    name = journals.new_id()
    journals.begin(name, header(first_frame=20), Recording(CODES[:20], ((10, b"state"),)))
    journals.frames(name, made(20, 30))
    journal = on_thread(journals, lambda: journals.read(name))
    assert np.array_equal(journal.codes, CODES[:30])
    assert journal.states == [(10, b"state")]


def whole_part(path: Path) -> Journal | None:
    """What can be read of a journal; None when not even its header can."""
    try:
        return read_journal(path)
    except RequestError as error:
        if error.code is not ErrorCode.MALFORMED:
            raise
        return None


def test_a_journal_is_read_up_to_where_it_is_broken(keep: Callable[..., Journals], tmp_path: Path) -> None:
    journals = keep()
    name = write(journals)
    on_thread(journals, journals.items)
    path = tmp_path / f"{name}.journal"
    content = path.read_bytes()
    lengths = set()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        journal = whole_part(path)
        if journal is None:
            continue
        assert np.array_equal(journal.codes, CODES[: journal.frames])
        assert journal.end is None
        lengths.add(journal.frames)
    assert lengths == {0, 10, 25}
    for at in range(len(MAGIC), len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        journal = whole_part(path)
        if journal is None:
            continue
        assert np.array_equal(journal.codes, CODES[: journal.frames])
        assert journal.end is None


def test_a_stream_that_plays_is_seen_by_other_engines_and_stays(keep: Callable[..., Journals]) -> None:
    journals, other = keep(), keep()
    name = write(journals, end=False)
    on_thread(journals, lambda: None)
    (item,) = on_thread(other, other.items)
    assert item.state == "playing"
    assert on_thread(other, lambda: other.forget(name)).code is ErrorCode.BUSY
    journals.stop(5)
    (item,) = on_thread(other, other.items)
    assert item.state == "cut_short"
    assert on_thread(other, lambda: other.forget(name)) is None
    assert on_thread(other, other.items) == []


def test_all_of_them_stay_within_their_bound(keep: Callable[..., Journals], tmp_path: Path) -> None:
    oldest = tmp_path / "20200101-000000-abcdef.journal"
    oldest.write_bytes(bytes(3000))
    newer = tmp_path / "20210101-000000-abcdef.journal"
    newer.write_bytes(bytes(2000))
    journals = keep(6000)
    name = journals.new_id()
    journals.begin(name, header(), None)
    on_thread(journals, lambda: None)
    assert oldest.exists()
    for first in range(0, 20_000, 20):
        journals.frames(name, FramesMade(1, first, CODES[:20], -20.0, b""))
        on_thread(journals, lambda: None)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 6000
        if journals.trouble:
            break
    assert not oldest.exists()
    assert not newer.exists()
    assert "fill their" in journals.trouble
    assert read_journal(tmp_path / f"{name}.journal").frames == first
    assert on_thread(journals, journals.items)[0].state == "cut_short", "it is written no more"


def test_a_disk_that_is_too_slow_ends_the_journal_and_holds_nobody_up(
    keep: Callable[..., Journals], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.journal.journals._MOST_WAITING", 8)
    journals = keep()
    name = write(journals, end=False)
    on_thread(journals, lambda: None)
    slow = threading.Event()
    journals.do(lambda: slow.wait(10), lambda answer: None)
    first = 25
    while not journals.trouble:
        journals.frames(name, made(first, first + 1))
        first += 1
        assert first < 40
    journals.frames(name, made(38, 39))
    slow.set()
    assert "keep up" in journals.trouble
