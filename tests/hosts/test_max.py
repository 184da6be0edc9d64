"""The Max patch's script and the device's reader of Live, with strict stubs of Max and Live, against the real bridge."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from tests.support.live_sets import live_set
from tests.support.max_host import MaxHost, pairs, sent
from tests.support.osc_tap import OscTap
from tests.support.processes import Process, bridge_settings, running, wait_until


def test_a_piece_is_played_and_becomes_a_result(tap: OscTap) -> None:
    with MaxHost(tap.port) as max_host:
        max_host.node("prompt", 1, "warm strings")
        max_host.node("prompt", 2, "harp")
        max_host.node("weight", 2, 0.25)
        max_host.node("set", "duration", 1.0)
        max_host.node("set", "temperature", 0.75)
        max_host.node("set", "key", "by words")
        max_host.node("set", "bpm", 0.0)
        max_host.node("play")
        file = max_host.wait("node", "results", "append")[2]
        max_host.wait("node", "preview", "open")
        assert "done" in max_host.status(file)
        state = max_host.kept(lambda state: state["results"])
    assert file.endswith(".wav")
    assert Path(state["results"][-1]).is_file()
    prompt, *rest = sent(tap, "/bridge/play")[0]
    assert prompt == "warm strings || harp"
    assert pairs(rest) == {"weights": "1 0.25", "duration": 1.0, "temperature": 0.75}


def test_a_live_stream_hears_words_weights_and_dials_and_is_cancelled(tap: OscTap) -> None:
    with MaxHost(tap.port) as max_host:
        max_host.node("prompt", 1, "strings")
        max_host.node("prompt", 2, "brass band")
        max_host.node("set", "at", "now")
        max_host.node("open")
        stream = max_host.wait("node", "stream")[1]
        for step in range(40):  # a dial that is swept
            max_host.node("weight", 2, step / 39)
        wait_until(lambda: sent(tap, "/bridge/weights")[-1:] == [[stream, 1.0, 1.0]])
        max_host.node("set", "morph", 2.0)
        max_host.node("set", "guidance", 4.5)
        wait_until(lambda: sent(tap, "/bridge/update"))
        max_host.node("set", "level", -6.0)
        wait_until(lambda: sent(tap, "/bridge/level"))
        max_host.node("prompt", 1, "choir")
        wait_until(lambda: len(sent(tap, "/bridge/update")) == 2)
        max_host.node("cancel")
        max_host.wait("node", "stream", 0)
        assert "cancelled" in max_host.status("stream")
    assert sent(tap, "/bridge/level") == [[stream, -6.0]]
    changes: dict[str, Any] = {}
    for change in sent(tap, "/bridge/update"):
        assert change[0] == stream
        changes |= pairs(change[1:])
    assert changes["guidance"] == 4.5
    assert changes["prompt"] == "choir || brass band"
    assert changes["morph"] == 2.0


class SlowBridge:
    """A bridge that answers weights when the test says so, and anything else at once."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(20.0)
        self.port: int = self.socket.getsockname()[1]
        self.weights: list[list[Any]] = []
        self.client: Any = None

    def serve(self, until: str) -> None:
        """Answer up to a message at this address, that one too unless it sets weights."""
        address = ""
        while address != until:
            packet, self.client = self.socket.recvfrom(65535)
            message = OscMessage(packet)
            address, values = message.address, list(message.params)
            if address == "/status":
                self.tell("/status.reply", "uptime", time.monotonic())
            elif address == "/bridge/open":
                self.tell("/bridge/queued", values[0], 5, 1, "strings")
            elif address == "/bridge/weights":
                self.weights.append(values)
            else:
                self.tell("/done", address, *values[:1])

    def tell(self, address: str, *values: Any) -> None:
        self.socket.sendto(build_msg(address, list(values)).dgram, self.client)


def test_a_dial_that_is_swept_waits_for_the_answer_and_ends_where_it_stands() -> None:
    bridge = SlowBridge()
    with bridge.socket, MaxHost() as max_host:
        max_host.node("port", bridge.port)
        bridge.serve("/notify")
        max_host.node("prompt", 1, "strings")
        max_host.node("prompt", 2, "brass")
        max_host.node("open")
        bridge.serve("/bridge/open")
        max_host.wait("node", "stream", 5)
        for step in range(40):
            max_host.node("weight", 2, step / 39)
        max_host.node("/bridge/ping")
        bridge.serve("/bridge/ping")
        assert [values[1:] for values in bridge.weights] == [[5, 1.0, 0.0]], "one is under way, the rest waits"
        bridge.tell("/done", "/bridge/weights", bridge.weights[0][0])
        bridge.serve("/bridge/weights")
        assert [values[1:] for values in bridge.weights[1:]] == [[5, 1.0, 1.0]]
        bridge.tell("/done", "/bridge/weights", bridge.weights[1][0])
        max_host.node("/bridge/ping")
        bridge.serve("/bridge/ping")
        assert len(bridge.weights) == 2


def test_another_stream_takes_the_place_of_the_one_that_plays(tap: OscTap) -> None:
    with MaxHost(tap.port) as max_host:
        max_host.node("open")
        first = max_host.wait("node", "stream")[1]
        max_host.node("open")
        second = max_host.wait("node", "stream")[1]
        max_host.status(f"stream {first}")
        max_host.node("cancel")
        max_host.status(f"stream {second}")
    assert pairs(sent(tap, "/bridge/open")[1][1:])["replaces"] == first


def test_lives_transport_leads_the_bridges_clock(tap: OscTap) -> None:
    with MaxHost(tap.port) as max_host:
        max_host.node("follow", 0)  # as a switch that is off tells when the patch is opened
        max_host.node("follow", 1)
        wait_until(lambda: sent(tap, "/bridge/clock"))
        assert sent(tap, "/bridge/clock") == [["source", "host"]], "a clock that is not followed is left alone"
        for beat in range(8):
            max_host.node("tick", 120.0, 480.0 * beat, 1, 3, 4)
        max_host.node("tick", 100.0, 480.0 * 3, 1, 7, 8)
        wait_until(lambda: len(ticks(tap)) == 9)
        max_host.node("/bridge/clock")
        answer = max_host.wait("node", "answer", "/bridge/clock")
        assert answer[2] == "host"
        max_host.node("follow", 0)
        wait_until(lambda: len(sent(tap, "/bridge/clock")) == 3)
        max_host.node("tick", 100.0, 0.0, 1, 4, 4)
        max_host.node("/bridge/ping")
        max_host.wait("node", "answer", "/bridge/ping")
    assert ticks(tap)[2] == [2.0, "bpm", 120.0, "beats_per_bar", 3, "playing", 1]
    assert ticks(tap)[8] == [6.0, "bpm", 200.0, "beats_per_bar", 7, "playing", 1], (
        "seven eighths are counted in eighths"
    )
    assert len(ticks(tap)) == 9


def ticks(tap: OscTap) -> list[list[Any]]:
    return [list(message.params) for message in map(OscMessage, tap.sent) if message.address == "/bridge/clock/tick"]


def test_any_request_can_be_typed(port: int) -> None:
    with MaxHost(port) as max_host:
        max_host.node("/bridge/scene/keep", "verse of max", "prompt", "strings", "level", -3)
        max_host.wait("node", "answer", "/bridge/scene/keep")
        max_host.node("/bridge/scenes")
        row = max_host.wait("node", "answer", "/bridge/scenes")
        assert "verse of max" in row
        max_host.node("/bridge/scene/forget", "verse of max")
        max_host.wait("node", "answer", "/bridge/scene/forget")
        max_host.node("/bridge/level", 3)
        max_host.status("level = null")
        max_host.node("/bridge/level", 3, "loud")
        max_host.status('level = "loud"')
        max_host.node("/bridge/scene/forget", "verse of max")
        max_host.status("verse of max")


def test_values_out_of_range_are_refused_before_they_are_sent(tap: OscTap) -> None:
    with MaxHost(tap.port) as max_host:
        for name, value, allowed in (
            ("temperature", 9.0, "a number from 0 to 4"),
            ("top_k", -1.0, "a whole number from 0 to 65536"),
            ("at", "noon", "bar, beat, now"),
            ("loudness", 0.5, "auto, clip, loud"),
            ("sparkle", 1.0, "allowed: "),
        ):
            max_host.node("set", name, value)
            assert max_host.status(name).count(allowed) == 1
        max_host.node("prompt", 7, "one too many")
        max_host.status("1 to 6")
        max_host.node("open")
        max_host.wait("node", "stream")
        max_host.node("cancel")
        max_host.wait("node", "stream", 0)
    assert set(pairs(sent(tap, "/bridge/open")[0][1:])) == {"weights"}


def test_a_melody_that_came_in_part_is_not_used(tmp_path: Path) -> None:
    with MaxHost() as max_host:
        max_host.node("melody_add", 60, 0, 1, 90)
        max_host.status("melody_begin comes first")
        max_host.node("melody_begin", 2, 4.0, 120.0)
        max_host.node("melody_add", 60, 0, 1, 90)
        max_host.node("melody_end")
        max_host.status("1 notes of 2")


def test_the_patch_has_its_words_and_results_back(tmp_path: Path) -> None:
    state = {
        "version": 1,
        "slots": [{"text": "strings", "weight": 0.5}, {"text": "", "weight": 1.0}],
        "parameters": {"temperature": 0.7, "key": "", "at": "bar", "seed": 123456789},
        "results": ["/music/one.wav", "C:\\music\\two.wav"],
        "stream": 4,
    }
    with MaxHost(state=state) as plain:
        restored = [line["message"][1:] for line in plain.said if line.get("message", [""])[0] == "restore"]
        listed = [line["message"][1:] for line in plain.said if line.get("message", [""])[0] in ("results", "preview")]
    assert ["prompt1", "strings"] in restored
    assert ["weight1", 0.5] in restored
    assert ["temperature", 0.7] in restored
    assert ["key", "by words"] in restored
    assert listed == [["clear"], ["append", "one.wav"], ["append", "two.wav"], ["open", "C:/music/two.wav"], ["set", 1]]
    with MaxHost(state=state, live=live_set(tmp_path)) as device:
        restored = [line["message"][1:] for line in device.said if line.get("message", [""])[0] == "restore"]
    assert restored == [["seed", 123456789]], "Live keeps its dials itself"


def test_a_broken_state_does_no_harm() -> None:
    for state in (
        {"version": 7},
        {"version": 1, "slots": [{}] * 99, "parameters": {"temperature": 99}, "results": [3, None]},
    ):
        with MaxHost(state=state) as max_host:
            max_host.node("prompt", 1, "strings")
            max_host.kept(lambda state: state["slots"][0]["text"] == "strings")


def test_two_devices_have_each_their_own_stream(port: int) -> None:
    with OscTap(port) as tap, MaxHost(tap.port) as one, MaxHost(tap.port) as other:
        one.node("prompt", 1, "strings")
        other.node("prompt", 1, "brass")
        one.node("open")
        first = one.wait("node", "stream")[1]
        other.node("open")
        second = other.wait("node", "stream")[1]
        assert first != second
        one.node("cancel")
        one.wait("node", "stream", 0)
        other.node("prompt", 1, "choir")
        wait_until(lambda: sent(tap, "/bridge/update"))
        assert sent(tap, "/bridge/update")[-1][0] == second
        other.node("cancel")
        other.wait("node", "stream", 0)
        assert [entry["message"][1] for entry in other.said if entry.get("message", [""])[0] == "stream"] == [second, 0]


def test_a_bridge_that_is_started_anew_is_found_again(studio: Path, engine: Process, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = bridge_settings(studio, engine, f"bridge.osc_port={port}")
    with MaxHost() as max_host:
        max_host.node("port", port)
        max_host.wait("node", "connection", 0)
        with running("daw_bridge", settings, tmp_path / "first.log") as first:
            max_host.wait("node", "connection", 1)
            opened_stream(max_host)
            first.kill()
            with running("daw_bridge", settings, tmp_path / "second.log"):
                assert "started anew" in max_host.status("anew", seconds=30)
                stream = opened_stream(max_host)
                max_host.wait("node", "event", "/bridge/sounding", stream)
                max_host.node("cancel")
                max_host.wait("node", "stream", 0)
    states = [line["message"][1] for line in max_host.said if line.get("message", [""])[0] == "stream"]
    assert states[1] == 0, "a stream of the bridge that is gone is over"


def opened_stream(max_host: MaxHost) -> int:
    """Open a stream, again while the bridge has not found its engine yet."""

    def told(line: dict[str, Any]) -> bool:
        kind, value, *_ = [*line.get("message", []), "", ""]
        return (kind == "stream" and value > 0) or (kind == "status" and "engine_lost" in value)

    while True:
        max_host.node("open")
        message = max_host.next(told, "a stream")["message"]
        if message[0] == "stream":
            return int(message[1])


def test_a_bridge_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with MaxHost() as max_host:
        max_host.status("looking for the bridge at port 9")
        max_host.node("port", 70000)
        max_host.status("1 to 65535")
        max_host.node("stop")
        assert "daw-bridge up" in max_host.status("no answer")
