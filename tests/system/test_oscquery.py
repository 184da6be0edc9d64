"""A controller that knows nothing of ours finds a bridge, walks its addresses, turns knobs, and hears them."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.clients import OscPeer
from tests.support.controller import KINDS, Browser, Controller, fetch, walk
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, running, wait_until

RATE = 32000
GUIDANCE, PROMPT = "/bridge/live/guidance", "/bridge/live/prompt"


@pytest.fixture
def controller(bridge: Process) -> Iterator[Controller]:
    with Controller(bridge.ports["oscquery_port"]) as one:
        yield one


def opened(host: OscPeer, number: int, *arguments: Any) -> int:
    """Open a stream that is not played; its number."""
    host.send("/bridge/open", number, "drone", "govern", 0, "lock", 0, *arguments)
    return int(host.wait("/bridge/queued", number)[1])


def progressed(host: OscPeer, stream: int, seconds: float) -> None:
    """Wait until so much of a stream is made."""
    while host.wait("/bridge/progress", stream)[1] < seconds:
        host.heard.clear()


def until(host: OscPeer, stream: int, number: int, seconds: float) -> NDArray[np.float32]:
    """Let a stream run for so long; its take."""
    progressed(host, stream, seconds)
    return cancelled(host, number, stream)


def cancelled(host: OscPeer, number: int, stream: int) -> NDArray[np.float32]:
    """End a stream; its take."""
    host.send("/bridge/cancel", 99, stream)
    path = host.wait("/done", "/bridge/open", number)[6]
    return soundfile.read(path, dtype="float32")[0] if path else np.zeros(0, np.float32)


def test_it_is_found_by_zeroconf_and_gone_when_it_leaves(studio: Path, engine: Process, tmp_path: Path) -> None:
    settings = bridge_settings(studio, engine, "bridge.zeroconf=1")
    with Browser() as browser:
        with running("daw_bridge", settings, tmp_path / "bridge.log") as found:
            wanted = set(zip(KINDS, (found.ports["oscquery_port"], found.ports["osc_port"]), strict=True))
            assert browser.wait(lambda: wanted <= browser.found.keys()), browser.found.keys()
            info = browser.found[KINDS[0], found.ports["oscquery_port"]]
            assert info.parsed_addresses() == ["127.0.0.1"]
            assert info.port is not None
            told = json.loads(fetch(info.port, "/?HOST_INFO")[1])
            assert (told["OSC_PORT"], told["OSC_TRANSPORT"]) == (found.ports["osc_port"], "UDP")
            assert told["NAME"] == info.get_name()
        assert browser.wait(lambda: not wanted & browser.found.keys()), "it says goodbye"


def test_every_node_of_both_trees_is_sound(engine: Process, controller: Controller, host: OscPeer) -> None:
    stream = opened(host, 1)
    added = ("PATH_ADDED", f"/bridge/stream/{stream}")
    controller.wait(lambda: added in controller.notices)
    nodes = {node["FULL_PATH"]: node for node in walk(controller.get())}
    for path in (GUIDANCE, f"/bridge/stream/{stream}/prompt", "/bridge/param/seed", "/bridge/live/level"):
        assert nodes[path]["ACCESS"] == 3
    for name in ("state", "model", "clock_bpm", "clock_position", "clock_playing", "first_sound_ms"):
        assert nodes[f"/bridge/status/{name}"]["ACCESS"] == 1
    assert nodes["/bridge/play"]["TYPE"] == "s"
    assert nodes["/bridge/status/engine"]["VALUE"] == ["ready"]
    cancelled(host, 1, stream)
    removed = ("PATH_REMOVED", f"/bridge/stream/{stream}")
    controller.wait(lambda: removed in controller.notices and ("PATH_CHANGED", "/bridge/stream") in controller.notices)
    assert fetch(controller.port, f"/bridge/stream/{stream}")[0] == 404
    _, body = fetch(engine.ports["oscquery_port"], "/")
    of_engine = {node["FULL_PATH"] for node in walk(json.loads(body))}
    assert {"/engine/generate", "/engine/status/memory_mb"} <= of_engine


@pytest.mark.parametrize(("path", "value"), [(GUIDANCE, 11.5), (PROMPT, "distorted guitar")])
def test_a_knob_that_is_turned_is_heard_and_told_to_the_others(
    controller: Controller, bridge: Process, host: OscPeer, path: str, value: float | str
) -> None:
    made = ("seed", 5, "sound", 0, "save", 1)
    untouched = until(host, opened(host, 1, *made), 1, 2.0)
    with Controller(bridge.ports["oscquery_port"]) as other:
        other.listen(path)
        stream = opened(host, 2, *made)
        progressed(host, stream, 0.5)
        controller.send(path, value)
        changed = host.wait("/bridge/updated", stream)[2]
        other.wait(lambda: other.values.get(path) == value)
        take = until(host, stream, 2, changed + 1)
    shared = min(len(take), len(untouched))
    differ = np.flatnonzero(take[:shared] != untouched[:shared])
    assert len(differ), "it is heard"
    # Codebooks are sampled some steps apart: the first that change belong to frames a little earlier.
    assert changed - 0.12 <= differ[0] / RATE <= changed + 0.1, "from the moment of the change on"


SET: dict[str, int | float | str] = {
    "prompt": "harp || strings",
    "weights": "0.2 0.8",
    "blend": "guidance",
    "morph": 2.0,
    "bpm": 100.0,
    "key": "A minor",
    "metre": "3/4",
    "temperature": 0.75,
    "top_k": 40,
    "top_p": 0.5,
    "guidance": 5.0,
    "seed": 9,
    "style": "warm",
    "level": -3.0,
}


def test_every_parameter_holds_what_it_was_set_to(controller: Controller, host: OscPeer) -> None:
    # What they name must be there, or is heard by other models.
    names_of_others = {
        "notes",
        "template",
        "style_path",
        "style_start",
        "style_length",
        "style_detail",
        "double_guidance",
    }
    assert {*SET, *names_of_others} == {
        node["FULL_PATH"].split("/")[-1] for node in controller.get("/bridge/live")["CONTENTS"].values()
    }
    stream = opened(host, 1)
    folder = f"/bridge/stream/{stream}"
    controller.wait(lambda: ("PATH_ADDED", folder) in controller.notices)
    for name, value in SET.items():
        host.send(f"{folder}/{name}", value)
    controller.listen(*(f"{folder}/{name}" for name in SET))
    expected = {
        f"{folder}/{name}": pytest.approx(value) if isinstance(value, float) else value for name, value in SET.items()
    }
    controller.wait(lambda: controller.values == expected)
    assert not [given for address, given in host.heard if address == "/fail"]
    cancelled(host, 1, stream)


def test_two_controllers_and_a_listener_agree(controller: Controller, bridge: Process, host: OscPeer) -> None:
    host.send("/notify", 1)
    host.wait("/done", "/notify")
    stream = opened(host, 1)
    one = f"/bridge/stream/{stream}/guidance"
    with Controller(bridge.ports["oscquery_port"]) as other:
        for each in (controller, other):
            each.wait(lambda each=each: ("PATH_ADDED", f"/bridge/stream/{stream}") in each.notices)
            each.listen(GUIDANCE, one)
        for value in np.linspace(4, 8, 60):
            controller.send(GUIDANCE, float(value))
        other.wait(lambda: other.values.get(GUIDANCE) == 8)
        for value in (5.0, 6.0, 7.25):
            other.send(one, value)
        other.wait(lambda: other.values.get(GUIDANCE) == 7.25)
        controller.wait(lambda: controller.values.get(GUIDANCE) == controller.values.get(one) == 7.25)
        while other.receive(0.5):
            pass
        assert (one, [7.25]) not in other.heard, "a fader is not told what it has sent"
        host.wait(GUIDANCE, 7.25)
        host.wait(one, 7.25)
        other.listen("/bridge/live/level")
        controller.send("/bridge/live/level", -6.0)
        other.wait(lambda: other.values.get("/bridge/live/level") == pytest.approx(-6, abs=0.01))
        controller.send("/bridge/live/level", 0.0)
        other.wait(lambda: other.values.get("/bridge/live/level") == 0)
    cancelled(host, 1, stream)
    controller.wait(lambda: controller.values[GUIDANCE] == 3, seconds=10)
    host.send("/notify", 0)
    host.wait("/done", "/notify")


def test_what_is_refused_is_said_with_the_value_that_holds(controller: Controller) -> None:
    controller.send(GUIDANCE, 77.0)
    controller.wait(
        lambda: [given for address, given in controller.heard if address == "/fail" and given[2] == "out_of_range"]
    )
    assert controller.values[GUIDANCE] == 3
    controller.send("/bridge/status/state", "playing")
    controller.wait(lambda: [given for address, given in controller.heard if given[2:3] == ["unsupported"]])
    controller.send("/bridge/live/volume", 1)
    controller.wait(lambda: [given for address, given in controller.heard if given[2:3] == ["unknown_parameter"]])


def test_a_request_is_answered_over_the_websocket(controller: Controller) -> None:
    controller.send("/bridge/play", 7, "noise", "duration", 0.2, "sound", 0, "save", 0)
    controller.wait(lambda: [given for address, given in controller.heard if given[:2] == ["/bridge/play", 7]])
    controller.socket.send(b"/bridge/ping\0\0\0\0,N\0\0")
    controller.wait(lambda: ("/done", ["/bridge/ping", 0]) in controller.heard)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:7773"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "192.168.0.9:1"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_pages_of_strangers_are_refused(bridge: Process, headers: dict[str, str], status: int) -> None:
    assert fetch(bridge.ports["oscquery_port"], "/?HOST_INFO", headers)[0] == status
    if "Origin" in headers and status == 403:
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{bridge.ports['oscquery_port']}/", additional_headers=headers)


def test_only_reading_is_done_over_http(bridge: Process) -> None:
    port = bridge.ports["oscquery_port"]
    assert fetch(port, "/", method="POST")[0] == 405
    assert fetch(port, "/", method="HEAD") == (200, b"")


def test_noise_on_the_port_does_no_harm(bridge: Process, controller: Controller, host: OscPeer) -> None:
    noise = random.Random(6)
    port = bridge.ports["oscquery_port"]
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(_broken_request(noise))
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    for _ in range(300):
        controller.socket.send(_broken_message(noise))
    controller.send("/bridge/ping", 5)
    controller.wait(lambda: ("/done", ["/bridge/ping", 5]) in controller.heard)
    assert fetch(port, "/?HOST_INFO")[0] == 200
    assert host.ask("/bridge/ping", 6)[0] == "/done"


def _broken_request(noise: random.Random) -> bytes:
    """Bytes that are HTTP more or less."""
    target = "".join(noise.choice(string.printable) for _ in range(noise.randrange(60)))
    match noise.randrange(5):
        case 0:
            return noise.randbytes(noise.randrange(400))
        case 1:
            return f"GET /{target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
        case 2:
            return b"GET /" + b"x" * noise.randrange(20_000) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        case 3:
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            return f"GET / HTTP/1.1\r\nHost: localhost\r\n{upgrade}Sec-WebSocket-Key: {target}\r\n\r\n".encode()
    return b"GET / HTTP/1.1\r\n" + b"".join(b"X: %d\r\n" % count for count in range(noise.randrange(300))) + b"\r\n"


def _broken_message(noise: random.Random) -> str | bytes:
    """Messages that are commands or OSC more or less."""
    data = "".join(noise.choice(string.printable) for _ in range(noise.randrange(80)))
    match noise.randrange(5):
        case 0:
            return noise.randbytes(noise.randrange(200))
        case 1:
            return data
        case 2:
            return json.dumps(
                {"COMMAND": noise.choice(["LISTEN", "IGNORE", data]), "DATA": noise.choice([data, 1, None])}
            )
        case 3:
            return json.dumps([data] * noise.randrange(5))
    return b"/bridge/live/guidance\0\0\0,f\0\0" + noise.randbytes(noise.randrange(8))


def test_a_client_that_does_not_read_is_dropped_and_the_others_are_served(bridge: Process, host: OscPeer) -> None:
    port = bridge.ports["oscquery_port"]
    many = b"#bundle\0" + bytes(7) + b"\1" + b"\0\0\0\x0c/status\0,\0\0\0" * 60

    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", port))

    def ask_without_end() -> None:
        while True:
            deaf.send(many)

    url = f"ws://127.0.0.1:{port}/"
    with connect(url, sock=small, max_queue=1, close_timeout=1) as deaf, Controller(port) as one:
        with pytest.raises(ConnectionClosed):
            ask_without_end()
        one.send("/bridge/ping", 1)
        one.wait(lambda: ("/done", ["/bridge/ping", 1]) in one.heard)
    assert host.ask("/bridge/ping", 6)[0] == "/done"


def test_connections_that_say_nothing_keep_nobody_out_for_long(bridge: Process) -> None:
    port = bridge.ports["oscquery_port"]
    with contextlib.ExitStack() as stack:
        for _ in range(80):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))

        def served() -> bool:
            with contextlib.suppress(OSError):
                return fetch(port, "/?HOST_INFO")[0] == 200
            return False

        assert not served(), "there are as many as there may be"
        wait_until(served)


def test_a_port_that_is_taken_is_no_hindrance(studio: Path, engine: Process, bridge: Process, tmp_path: Path) -> None:
    taken = f"bridge.oscquery_port={bridge.ports['oscquery_port']}"
    with running("daw_bridge", bridge_settings(studio, engine, taken), tmp_path / "b.log") as other:
        assert other.ports["oscquery_port"] != bridge.ports["oscquery_port"]
        assert json.loads(fetch(other.ports["oscquery_port"], "/?HOST_INFO")[1])["OSC_PORT"] == other.ports["osc_port"]
    off = bridge_settings(studio, engine, "bridge.oscquery=0")
    with running("daw_bridge", off, tmp_path / "b.log") as other, host_of(other) as host:
        assert "oscquery_port" not in other.ports
        assert host.ask("/bridge/ping", 6)[0] == "/done"


def test_the_engine_answers_controllers_too(engine: Process) -> None:
    with Controller(engine.ports["oscquery_port"]) as one:
        one.listen("/engine/status/requests")
        one.send("/engine/ping", 3)
        one.wait(lambda: ("/done", ["/engine/ping", 3]) in one.heard)
        before = one.wait(lambda: one.values.get("/engine/status/requests"))
        one.send("/engine/models", 4)
        one.wait(lambda: one.values["/engine/status/requests"] > before)
