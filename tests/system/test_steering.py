"""Streams governed and kept in time by a real bridge, over OSC, and their takes made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.clients import OscPeer

QUIET = ["sound", 0, "save", 1, "latency", 0.3, "bpm", 120.0]
GOVERNOR = ("stream", "on", "lufs", "reference", "gain", "bands", "steered", "learning")


def opened(host: OscPeer, request: int, *arguments: object) -> int:
    host.send("/bridge/open", request, "drone", *arguments)
    stream = int(host.wait("/bridge/queued", request)[1])
    host.wait("/bridge/started", stream)
    return stream


def made(host: OscPeer, stream: int, seconds: float) -> None:
    while host.wait("/bridge/progress", stream)[1] < seconds:
        host.heard.clear()
    host.heard.clear()


def governor(host: OscPeer, request: int, stream: int, *arguments: object) -> dict[str, object]:
    outcome, values = host.ask("/bridge/govern", request, stream, *arguments)
    assert outcome == "/done", values
    return dict(zip(GOVERNOR, values, strict=True))


def test_a_governed_take_is_made_again(host: OscPeer) -> None:
    stream = opened(host, 1, *QUIET, "seed", 4, "reference", -34)
    made(host, stream, 3.5)
    state = governor(host, 2, stream)
    assert (state["on"], state["reference"]) == (1, -34)
    assert float(str(state["gain"])) < -0.2
    assert governor(host, 3, stream, "reference", "-14 LUFS")["stream"] == stream
    made(host, stream, 4.5)
    assert not governor(host, 4, stream, "on", 0)["on"]
    made(host, stream, 5)
    host.ask("/bridge/cancel", 5, stream)
    take = Path(host.wait("/done", "/bridge/open", 1)[6])
    sidecar = json.loads(take.with_suffix(".json").read_text())
    assert [(entry["on"], entry["reference"] and entry["reference"]["lufs"]) for entry in sidecar["governor"]] == [
        (True, -34),
        (None, -14),
        (False, None),
    ]

    outcome, answer = host.ask("/bridge/again", 6, str(take.with_suffix(".json")), "sound", 0)
    assert (outcome, answer[1]) == ("/done", "done")
    assert np.array_equal(soundfile.read(take)[0], soundfile.read(answer[4])[0])
    raw = take.with_name("raw.json")
    raw.write_text(json.dumps({name: value for name, value in sidecar.items() if name != "governor"}))
    outcome, answer = host.ask("/bridge/again", 7, str(raw), "sound", 0)
    assert not np.array_equal(soundfile.read(take)[0], soundfile.read(answer[4])[0])


def test_a_region_is_a_reference(host: OscPeer, studio: Path) -> None:
    file = studio / "reference.wav"
    tone = 0.05 * np.sin(2 * np.pi * 997 * np.arange(5 * 16_000) / 16_000)
    soundfile.write(file, tone, 16_000, subtype="FLOAT")
    stream = opened(host, 1, *QUIET, "reference", str(file))
    assert governor(host, 2, stream)["reference"] == pytest.approx(-29.0, abs=0.3)
    answer = governor(host, 3, stream, "reference", str(file), "start", 1.0, "length", 2.0)
    assert answer["on"]
    host.ask("/bridge/cancel", 4, stream)
    host.wait("/done", "/bridge/open", 1)


def test_a_stream_that_is_not_governed_is_as_the_engine_made_it(host: OscPeer) -> None:
    stream = opened(host, 1, *QUIET, "govern", 0)
    made(host, stream, 1)
    assert not governor(host, 2, stream)["on"]
    host.ask("/bridge/cancel", 3, stream)
    take = Path(host.wait("/done", "/bridge/open", 1)[6])
    assert "governor" not in json.loads(take.with_suffix(".json").read_text())


def test_what_cannot_be_is_refused(host: OscPeer) -> None:
    refused = {
        "/no/such.wav": "not_allowed",
        "-100": "out_of_range",
    }
    for reference, code in refused.items():
        outcome, answer = host.ask("/bridge/open", 1, "drone", *QUIET, "reference", reference)
        assert (outcome, answer[0]) == ("/fail", code), answer
        host.heard.clear()
    assert host.ask("/bridge/govern", 2, 31_000)[1][0] == "unknown_stream"
    host.send("/bridge/play", 3, "drone", "duration", 60.0, "sound", 0)
    stream = host.wait("/bridge/queued", 3)[1]
    assert host.ask("/bridge/govern", 4, stream)[1][0] == "unsupported"
    host.ask("/bridge/cancel", 5, stream)
    host.wait("/done", "/bridge/play", 3)


def test_how_it_stands_is_told(host: OscPeer) -> None:
    stream = opened(host, 1, "at", "bar", "save", 0, "bpm", 120.0, "reference", -20, "latency", 0.5)
    told = host.wait("/bridge/governor", stream)
    assert told[2] == -20
    assert len(str(told[4]).split()) in (4, 5, 6)
    host.wait("/bridge/scheduled", stream)
    for _ in range(2):
        error, confidence, corrected, _ = host.wait("/bridge/lock", stream)[1:]
        assert 0 <= confidence <= 1
        if confidence < 0.5:
            assert (error, corrected) == (0, 0)
        host.heard.clear()
    host.ask("/bridge/cancel", 2, stream)
    host.wait("/done", "/bridge/open", 1)
    host.ask("/bridge/clock/stop", 3)
