"""Reaper's scripts under a strict stub of its API, against the real bridge: over its file queue, and over UDP."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from protocols.description import describe
from protocols.osc.codec import decode
from tests.support.clients import OscPeer
from tests.support.gfx_picture import picture
from tests.support.hosts import host_of
from tests.support.osc_tap import OscTap, recorded
from tests.support.processes import Process, bridge_settings, wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "host_examples" / "reaper"
STUB = Path(__file__).parent / "reaper"
LIMIT_S = 150
TABLE = describe().bridge


LUA = "lua5.4"  # Reaper 7; Reaper 6 has 5.3


def has_sockets(lua: str) -> bool:
    """Whether this Lua is installed with lua-socket, which the stub's clock needs."""
    if shutil.which(lua) is None:
        return False
    return subprocess.run([lua, "-e", "require('socket')"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not has_sockets(LUA), reason="lua5.4 with lua-socket is not installed")


class Session:
    """One session of the stub in a process of its own.

    Args:
        name: of a file in ``reaper/sessions``.
        exchange: the bridge's exchange folder.
        studio: a folder that both may use.
        transport: the way to the bridge: ``files``, ``udp``, or empty for the first that answers.
        port: the bridge's UDP port.
        lua: the Lua that runs it.
    """

    def __init__(
        self, name: str, exchange: Path, studio: Path, transport: str = "files", port: int = 1, lua: str = LUA
    ) -> None:
        environment = {
            "SCRIPTS": str(SCRIPTS),
            "EXCHANGE": str(exchange),
            "STUDIO": str(studio),
            "TRANSPORT": transport,
            "PORT": str(port),
        }
        self.popen = subprocess.Popen(
            [lua, str(STUB / "run_session.lua"), name],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, line: str, act: Callable[[], object]) -> None:
        """Wait until the session says this line, act, and let it go on."""
        assert self.popen.stdout is not None
        assert self.popen.stdin is not None
        for heard in self.popen.stdout:
            if heard.strip() == line:
                act()
                self.popen.stdin.write("\n")
                self.popen.stdin.flush()
                return
        raise AssertionError(f"it never said {line}: {self._errors()}")

    def end(self) -> dict[str, Any]:
        """The world as it is at the end."""
        try:
            out, errors = self.popen.communicate(timeout=LIMIT_S)
        finally:
            self.popen.kill()
        assert self.popen.returncode == 0, errors
        world: dict[str, Any] = json.loads(out.splitlines()[-1])
        return world

    def _errors(self) -> str:
        assert self.popen.stderr is not None
        self.popen.kill()
        return self.popen.stderr.read()


@pytest.fixture(scope="module")
def loop(studio: Path) -> Path:
    """Eight seconds of audio in a file."""
    path = studio / "reaper loop.wav"
    time = np.arange(8 * 32000) / 32000
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 220 * time), 32000, subtype="PCM_16")
    return path


@pytest.fixture
def play(bridge: Process, studio: Path, loop: Path) -> Callable[..., dict[str, Any]]:
    """Replays a session with the bridge and gives the world at its end."""
    assert loop.is_file()

    def replay(name: str, **options: Any) -> dict[str, Any]:
        return Session(name, studio / "exchange", studio, **options).end()

    return replay


@pytest.fixture
def own_clock(bridge: Process) -> Iterator[OscPeer]:
    """A host beside the bridge; at the end its clock is its own again."""
    with host_of(bridge) as peer:
        yield peer
        answer, _ = peer.ask("/bridge/clock", 1, "source", "internal", "bpm", 120.0, "beats_per_bar", 4)
        assert answer == "/done"


def takes_of(world: dict[str, Any]) -> list[dict[str, Any]]:
    return [take for track in world["project"]["tracks"] for item in track["items"] for take in item["takes"]]


def sidecar(take: dict[str, Any]) -> dict[str, Any]:
    """What the bridge wrote beside a take: the whole request."""
    content: dict[str, Any] = json.loads(Path(take["path"]).with_suffix(".json").read_text("utf-8"))
    return content


@pytest.mark.parametrize("lua", [LUA, "lua5.3"])
def test_generate_into_the_time_selection(play: Callable[..., dict[str, Any]], lua: str) -> None:
    if not has_sockets(lua):
        pytest.skip(f"{lua} with lua-socket is not installed")
    world = play("generate", lua=lua)
    (take,) = takes_of(world)
    assert take["length"] >= 7 * 60 / 87.5  # the file reaches to the item's end
    assert take["name"].startswith("dark strings [")
    assert sidecar(take)["request"]["bpm"] == 87.5


def test_continue_hands_over_path_start_and_length(play: Callable[..., dict[str, Any]], loop: Path) -> None:
    world = play("continue")
    (take,) = [take for take in takes_of(world) if take["made_here"]]
    request = sidecar(take)["request"]
    assert (request["bpm"], request["prompt"]) == (
        125.0,
        "warm strings",
    )  # 100 beats a minute, as the file has them at rate 0.8


def test_a_midi_item_is_the_melody(play: Callable[..., dict[str, Any]]) -> None:
    take, again = [take for take in takes_of(play("melody")) if take["made_here"]]
    assert sidecar(take)["request"]["seed"] != sidecar(again)["request"]["seed"]
    assert sidecar(take)["request"]["bpm"] == 80.0  # the dotted quarters of 6/8 at 120 quarters a minute


def test_variations_are_takes_of_one_item(play: Callable[..., dict[str, Any]]) -> None:
    takes = takes_of(play("variations"))
    assert len({take["path"] for take in takes}) == 6
    assert len({sidecar(take)["request"]["seed"] for take in takes}) == 6


def test_cancel(play: Callable[..., dict[str, Any]]) -> None:
    play("cancel")


@pytest.mark.usefixtures("own_clock")
def test_over_udp_where_a_socket_library_is_installed(bridge: Process, studio: Path, loop: Path) -> None:
    """What the scripts send says what the project says, to the last digit, and is what is recorded for the servers' tests."""
    assert loop.is_file()
    with OscTap(bridge.ports["osc_port"]) as tap:
        for name in ("generate", "continue", "melody", "cancel", "transport"):
            Session(name, studio / "exchange", studio, "udp", tap.port).end()
        messages = [message for packet in tap.sent for message in decode(packet)]
    recorded("reaper", tap.sent, "Reaper (scripts under a stub, lua5.4)")

    def sent(address: str) -> list[tuple[list[Any], dict[str, Any]]]:
        """Positional and named arguments of each message to an address, without its id."""
        positional = len(TABLE.address(address).positional)
        found = [list(message.arguments[1:]) for message in messages if message.address == f"/bridge/{address}"]
        return [
            (each[:positional], dict(zip(each[positional::2], each[positional + 1 :: 2], strict=True)))
            for each in found
        ]

    (prompt,), generated = sent("play")[0]
    assert prompt == "dark strings"
    assert (generated["bpm"], generated["metre"]) == (87.5, "7/4")
    assert generated["duration"] == pytest.approx(7 * 60 / 87.5 + 0.05, abs=1e-12)
    assert generated["sections"] == "2.0000 dark strings, full orchestra"
    (path,), continued = sent("continue")[0]
    assert (path, continued["start"], continued["length"]) == (str(loop), 1.0, pytest.approx(2.0, abs=1e-12))
    assert continued["duration"] == pytest.approx(4 * 0.8 + 0.05, abs=1e-12)

    ((name,), begun) = sent("notes/begin")[0]
    assert (name, begun["count"]) == ("reaper", 39)
    assert (begun["bpm"], begun["length"]) == (80.0, pytest.approx(10 / 1.5))
    pages = [list(message.arguments[1:]) for message in messages if message.address == "/bridge/notes/add"]
    assert [page[1] for page in pages] == [0, 30] * 2
    assert pages[:2] == pages[2:]  # asked again from what the take remembers
    notes = np.reshape(pages[0][2:] + pages[1][2:], (39, 4))
    expected = [(60 + i % 12, i * 0.25 / 1.5, 0.2 / 1.5, 96) for i in range(39)]
    np.testing.assert_allclose(notes, expected, atol=1e-12)


@pytest.mark.usefixtures("own_clock")
def test_files_take_over_where_nobody_answers_over_udp(bridge: Process, studio: Path, loop: Path) -> None:
    """The first way that answers is taken."""
    assert loop.is_file()
    with OscTap(bridge.ports["osc_port"]) as tap:
        Session("transport", studio / "exchange", studio, "", tap.port).end()
        assert tap.sent
    Session("transport", studio / "exchange", studio, "", 1).end()


def test_what_is_read_from_a_project(tmp_path: Path) -> None:
    Session("readings", tmp_path, tmp_path).end()


def test_without_a_bridge(tmp_path: Path) -> None:
    """The folder is not there; and it is there, but nobody takes what is put in."""
    Session("absent", tmp_path / "nowhere", tmp_path).end()
    for name in ("in", "out"):
        (tmp_path / "exchange" / "queue" / name).mkdir(parents=True)
    Session("absent", tmp_path / "exchange", tmp_path, transport="").end()
    assert not [path for path in (tmp_path / "exchange").rglob("*") if path.is_file()]  # no later bridge carries it out


def test_nothing_is_lost_when_projects_and_tracks_go(play: Callable[..., dict[str, Any]]) -> None:
    play("closed")


def test_the_window(play: Callable[..., dict[str, Any]]) -> None:
    world = play("window")
    drawn = picture(world["frame"], world["width"], world["height"])
    assert "dark strings — low brass swells" in drawn
    if os.environ.get("DRAW_PICTURES"):
        (SCRIPTS / "window.svg").write_text(drawn, "utf-8")


def test_the_window_with_reaimgui(play: Callable[..., dict[str, Any]]) -> None:
    play("window_imgui")


def test_the_clock_follows_the_project(play: Callable[..., dict[str, Any]], own_clock: OscPeer) -> None:
    """Its tempo too, which Reaper's control surface tells only when it changes."""
    play("transport")

    requests = itertools.count(2)

    def clock() -> bool:
        answer, state = own_clock.ask("/bridge/clock", next(requests))
        return answer == "/done" and (state[0], state[2], state[3]) == ("host", 132.5, 3)

    wait_until(clock)


def test_a_bridge_that_is_killed(tmp_path: Path, engine: Process) -> None:
    bridge = Process("daw_bridge", bridge_settings(tmp_path, engine), tmp_path / "bridge.log")
    try:
        session = Session("killed", tmp_path / "exchange", tmp_path)
        session.wait_for("kill it", bridge.kill)
        (take,) = takes_of(session.end())
        assert Path(take["path"]).is_file()
    finally:
        bridge.kill()
