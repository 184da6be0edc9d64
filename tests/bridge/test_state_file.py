"""What the bridge remembers: whole on disk, never lost, and never in the loop's way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from daw_bridge.state_file import StateFile
from tests.support.processes import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state.json"


def content(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    return found


def test_sections_survive_and_do_not_touch_each_other(path: Path) -> None:
    first = StateFile(path)
    assert first.get("clock") == {}
    first.put("clock", {"bpm": 87.3, "outputs": ["a", "ü"]})
    first.put("scenes", {"1": {"prompt": "x"}})
    first.put("clock", {"bpm": 90.0, "outputs": []})
    assert first.get("clock") == {"bpm": 90.0, "outputs": []}
    first.close()
    second = StateFile(path)
    assert second.get("clock") == {"bpm": 90.0, "outputs": []}
    assert second.get("scenes") == {"1": {"prompt": "x"}}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing is left beside it"


def test_it_is_written_without_being_closed_and_what_comes_together_is_written_once(path: Path) -> None:
    state = StateFile(path)
    for value in range(500):
        state.put("fader", {"value": value})
    wait_until(lambda: content(path) == {"fader": {"value": 499}})
    before = path.stat().st_ino
    state.put("fader", {"value": 499})
    state.close()
    assert path.stat().st_ino == before, "what has not changed is not written"


def test_two_bridges_keep_their_own_sections(path: Path) -> None:
    one, other = StateFile(path), StateFile(path)
    one.put("clock", {"bpm": 80})
    one.close()
    other.put("scenes", {"a": 1})
    other.close()
    assert content(path) == {"clock": {"bpm": 80}, "scenes": {"a": 1}}


@pytest.mark.parametrize(
    "broken", [b"{", b"[1]", b'{"clock": 7}', b"\xff\xfe", b'{"clock": {"bpm": }}', b"[" * 100_000]
)
def test_a_broken_file_is_moved_aside(path: Path, broken: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(broken)
    state = StateFile(path)
    assert state.get("clock") == {}
    state.put("clock", {"bpm": 100})
    state.close()
    assert content(path) == {"clock": {"bpm": 100}}
    aside = [entry for entry in path.parent.iterdir() if "broken" in entry.name]
    assert [entry.read_bytes() for entry in aside] == [broken]


def test_a_file_that_breaks_while_we_run_loses_nothing_of_ours(path: Path) -> None:
    state = StateFile(path)
    state.put("clock", {"bpm": 80})
    wait_until(lambda: content(path))
    path.write_text("not ours")
    state.put("scenes", {"a": 1})
    state.close()
    assert content(path) == {"clock": {"bpm": 80}, "scenes": {"a": 1}}


@pytest.mark.skipif(os.name != "posix", reason="a file in the place of a folder")
def test_a_disk_that_refuses_is_tried_again(path: Path) -> None:
    path.parent.write_text("in the way")
    state = StateFile(path)
    state.put("clock", {"bpm": 80})
    state.put("scenes", {"a": 1})
    path.parent.unlink()
    state.close()
    assert content(path) == {"clock": {"bpm": 80}, "scenes": {"a": 1}}


def test_without_a_path_it_is_kept_for_this_run() -> None:
    state = StateFile(None)
    state.put("clock", {"bpm": 80})
    assert state.get("clock") == {"bpm": 80}
    state.close()
