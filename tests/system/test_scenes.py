"""Scenes and sets over OSC, with real processes: kept, recalled on a bar line, and there again after kill -9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import OscPeer
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until
from tests.system.test_sound import is_ready


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts bridges, one after the other, that keep their state in the same folder; all have one engine."""
    begun: list[Process] = []
    with running("engine", engine_settings(tmp_path), tmp_path / "engine.log") as engine:

        def start() -> Process:
            settings = bridge_settings(tmp_path, engine, f"files.state={tmp_path / 'state' / 'state.json'}")
            begun.append(Process("daw_bridge", settings, tmp_path / "bridge.log"))
            with OscPeer(begun[-1].ports["osc_port"]) as host:
                wait_until(lambda: is_ready(host))
            return begun[-1]

        yield start
        for process in begun:
            if process.popen.poll() is None:
                process.stop()


def done(host: OscPeer, address: str, request: int, *arguments: Any) -> list[Any]:
    """Ask for something that is carried out."""
    outcome, answer = host.ask(address, request, *arguments)
    assert outcome == "/done", answer
    return answer


def listed(host: OscPeer, address: str, request: int) -> dict[str, dict[str, Any]]:
    """The rows of a list, by name."""
    done(host, address, request)
    rows = [given[3:] for found, given in host.heard if found == f"{address}.item" and given[0] == request]
    items = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    return {item["name"]: item for item in items}


def param(host: OscPeer, name: str) -> Any:
    """A default, as the bridge tells it."""
    host.heard.clear()
    host.send(f"/bridge/param/{name}")
    return host.wait(f"/bridge/param/{name}")[0]


def test_what_is_kept_is_there_again_after_kill_9(start: Callable[[], Process], tmp_path: Path) -> None:
    bridge = start()
    with OscPeer(bridge.ports["osc_port"]) as host:
        done(host, "/bridge/notes/begin", 1, "riff", "bpm", 100.0)
        done(host, "/bridge/notes/add", 2, "riff", 0, 60.0, 0.0, 1.0, 90.0, 67.0, 1.0, 2.0, 90.0)
        host.send("/bridge/open", 3, "warm strings || harp", "weights", "0.7 0.3", "bpm", 96.0, "level", -6.0, "seed", 4,
                  "notes", "riff")  # fmt: skip
        stream = host.wait("/bridge/queued", 3)[1]
        done(host, "/bridge/update", 4, stream, "guidance", 2.0, "style", "dark")
        done(host, "/bridge/scene/keep", 5, "verse", "stream", stream)
        done(host, "/bridge/scene/keep", 6, "break", "prompt", "drums alone", "morph", 4.0, "level", -3.0)
        assert host.ask("/bridge/scene/keep", 7, "nothing")[1][0] == "empty"
        assert host.ask("/bridge/scene/recall", 8, "nowhere")[1][0] == "not_found"
        host.send("/bridge/param/temperature", 0.8)
        assert param(host, "temperature") == pytest.approx(0.8)
        done(host, "/bridge/clock", 9, "bpm", 87.5, "beats_per_bar", 3)
        done(host, "/bridge/set/keep", 10, "Tuesday, late")
        done(host, "/bridge/scene/forget", 11, "break")
        done(host, "/bridge/clock", 12, "bpm", 140.0)
        state = tmp_path / "state" / "state.json"

        def on_disk() -> bool:
            text = state.read_text() if state.exists() else ""
            return "140" in text and "verse" in text and "break" not in text

        wait_until(on_disk, what="it is on disk")
        bridge.kill()

    with OscPeer(start().ports["osc_port"]) as host:
        scenes = listed(host, "/bridge/scenes", 1)
        assert list(scenes) == ["verse"]
        verse = scenes["verse"]
        assert (verse["prompt"], verse["bpm"], verse["style"], verse["notes"]) == (
            "warm strings || harp",
            96.0,
            "dark",
            "riff",
        )
        assert param(host, "temperature") == pytest.approx(0.8)
        assert done(host, "/bridge/clock", 2)[1:4] == [0, 140.0, 3]
        host.send("/bridge/param/temperature", 1.3)
        assert list(listed(host, "/bridge/sets", 3)) == ["Tuesday, late"]
        host.send("/notify", 1)
        taken = done(host, "/bridge/set/open", 4, "Tuesday, late")
        assert {"defaults", "scenes", "clock"} <= set(taken[0].split(", "))
        assert taken[1] == ""
        host.wait("/bridge/param/temperature", pytest.approx(0.8))  # whoever listens hears what has changed
        assert list(listed(host, "/bridge/scenes", 5)) == ["verse", "break"]
        assert done(host, "/bridge/clock", 6)[1:4] == [0, 87.5, 3]

        recalled = done(host, "/bridge/scene/recall", 7, "verse", "open", 1, "seed", 4)
        assert recalled[0] == 1
        opened = recalled[1]
        host.wait("/bridge/sounding", opened)
        done(host, "/bridge/scene/keep", 8, "again", "stream", opened)
        again = listed(host, "/bridge/scenes", 9)["again"]
        assert {**again, "name": "verse", "notes": "riff"} == {**verse, "template": "", "sets": again["sets"]}
        done(host, "/bridge/set/forget", 10, "Tuesday, late")
        assert listed(host, "/bridge/sets", 11) == {}
        assert host.ask("/bridge/set/open", 12, "Tuesday, late")[1][0] == "not_found"


def test_a_scene_is_heard_from_the_bar_line_on(start: Callable[[], Process]) -> None:
    with OscPeer(start().ports["osc_port"]) as host:
        host.send("/notify", 1)
        done(host, "/bridge/clock", 1, "bpm", 120.0)
        done(host, "/bridge/scene/keep", 2, "other", "prompt", "solo flute", "guidance", 1.0, "level", -9.0)
        host.send("/bridge/open", 3, "drone", "seed", 5, "latency", 0.4, "at", "bar")
        stream = host.wait("/bridge/queued", 3)[1]
        host.wait("/bridge/sounding", stream)
        began = [given for found, given in host.heard if found == "/bridge/scheduled" and given[0] == stream][-1]
        outcome, answer = host.ask("/bridge/scene/recall", 4, "other", "at", "bar")
        assert (outcome, answer) == ("/done", [1, stream])
        name, number, bar, beat, seconds = host.wait("/bridge/scene", "other")
        assert (name, number, beat) == ("other", stream, 1)
        assert 0 < seconds < 2.5
        updated = host.wait("/bridge/updated", stream)
        line = (bar - began[1]) * 2.0
        # In the stream's own time; less where a busy machine has made it play bars again meanwhile.
        assert 0.4 * line < updated[2] < line + 0.5
