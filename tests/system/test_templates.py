"""Prompt templates at a real engine and bridge: kept and listed by OSC, filled by requests, changes and clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answers import sidecar
from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, running, wait_until
from tests.system.test_melodies import write_clip

WARM = "warm {style} strings, {bpm} bpm, in {key}, {prompt}"


@pytest.fixture(scope="module")
def folder(studio: Path) -> Path:
    place = studio / "templates"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def own_bridge(folder: Path, engine: Process) -> Iterator[Process]:
    with running("daw_bridge", bridge_settings(folder, engine), folder / "bridge.log") as process:
        yield process


@pytest.fixture
def host(own_bridge: Process, folder: Path) -> Iterator[OscPeer]:
    (folder / "templates.toml").unlink(missing_ok=True)
    with host_of(own_bridge) as peer:
        yield peer


def listed(peer: OscPeer, request: int) -> dict[str, dict[str, str]]:
    outcome, answer = peer.ask("/bridge/templates", request)
    assert outcome == "/done"
    items = [item[3:] for path, item in peer.heard if path == "/bridge/templates.item" and item[0] == request]
    assert len(items) == answer[0]
    rows = [dict(zip(item[::2], item[1::2], strict=True)) for item in items]
    return {row["name"]: row for row in rows}


def test_a_template_is_kept_used_and_forgotten(host: OscPeer, folder: Path) -> None:
    # All at once: each is there for the one that follows.
    host.send("/bridge/templates/keep", 1, "warm", WARM)
    asked = ("bpm", 92.0, "key", "A minor", "style", "slow", "duration", 0.5, "sound", 0)
    host.send("/bridge/play", 2, "with a harp", "template", "warm", *asked)
    host.wait("/done", "/bridge/templates/keep", 1)
    words = "warm slow strings, 92 bpm, in A minor, with a harp"
    assert host.wait("/bridge/queued", 2)[3] == words
    answer = host.wait("/done", "/bridge/play", 2)[2:]
    written = sidecar(answer)
    assert (written["request"]["prompt"], written["words"]) == (words, words)
    assert (written["host_request"]["template"], written["host_request"]["prompt"]) == ("warm", "with a harp")
    rows = listed(host, 3)
    assert (rows["warm"]["text"], rows["warm"]["source"]) == (WARM, str(folder / "templates.toml"))
    assert rows["rock"]["source"] == "built in"
    assert host.ask("/bridge/templates/forget", 4, "warm")[0] == "/done"
    outcome, answer = host.ask("/bridge/play", 5, "x", "template", "warm")
    assert (outcome, answer[0]) == ("/fail", "not_found")
    assert "rock" in answer[1], "those that there are"


def test_a_clip_fills_tempo_and_key(host: OscPeer, folder: Path) -> None:
    path = write_clip(folder / "tune.mid")
    host.ask("/bridge/templates/keep", 1, "warm", WARM)
    outcome, answer = host.ask("/bridge/midi", 2, str(path), "template", "warm", "style", "slow", "sound", 0)
    assert outcome == "/done", answer
    request = sidecar(answer)["request"]
    assert request["prompt"].startswith("warm slow strings, 97 bpm, in ")
    assert request["key_hint"] in request["prompt"]
    outcome, answer = host.ask(
        "/bridge/midi", 3, str(path), "template", "warm", "bpm", 110.0, "key", "D minor", "sound", 0
    )
    assert sidecar(answer)["request"]["prompt"] == "110 bpm, in D minor"


def test_the_words_of_running_streams_follow(host: OscPeer) -> None:
    host.ask("/bridge/templates/keep", 1, "warm", WARM)
    common = ("save", 1, "sound", 0, "latency", 0.3, "seed", 5)
    streams = {}
    for request, bpm in ((2, 90.0), (3, 120.0)):
        host.send("/bridge/open", request, "one", "template", "warm", "bpm", bpm, *common)
        streams[request] = host.wait("/bridge/queued", request)[1]
        host.wait("/bridge/started", streams[request])
    one, other = streams.values()
    assert host.ask("/bridge/update", 4, 0, "style", "dark")[0] == "/done", "each stream in its own words"
    hear_updates(host, one, 1)
    hear_updates(host, other, 1)
    # Both at once, and the second needs no file: it comes second all the same.
    host.send("/bridge/update", 5, one, "template", "rock")
    host.send("/bridge/update", 6, one, "template", "", "style", "", "prompt", "alone")
    hear_updates(host, one, 3)
    prompts = {}
    for request, stream in streams.items():
        host.wait("/bridge/progress", stream)
        host.send("/bridge/cancel", 7, stream)
        changes = sidecar(host.wait("/done", "/bridge/open", request)[2:])["changes"]
        prompts[stream] = [change["prompt"] for change in changes]
    rock = "rock band, dark, one, with distorted guitar, bass and drums, 90 bpm"
    assert prompts == {
        one: ["warm dark strings, 90 bpm, one", rock, "alone"],
        other: ["warm dark strings, 120 bpm, one"],
    }


def hear_updates(peer: OscPeer, stream: int, count: int) -> None:
    def told() -> bool:
        peer.receive(0.1)
        return sum(path == "/bridge/updated" and arguments[0] == stream for path, arguments in peer.heard) == count

    wait_until(told)


def test_a_broken_file_is_an_error_and_the_bridge_goes_on(host: OscPeer, folder: Path) -> None:
    (folder / "templates.toml").write_text('a = "x"\nb = "{tempo}"\n')
    for request, (address, *arguments) in enumerate(
        [
            ("/bridge/templates",),
            ("/bridge/templates/keep", "c", "x"),
            ("/bridge/play", "x", "template", "rock"),
            ("/bridge/update", 0, "template", "a"),
        ],
        1,
    ):
        outcome, (code, text) = host.ask(address, request, *arguments)
        assert (outcome, code) == ("/fail", "unknown_parameter")
        assert f"{folder / 'templates.toml'}, line 2" in text
    assert host.ask("/bridge/play", 9, "x", "duration", 0.2, "sound", 0)[0] == "/done"
    (folder / "templates.toml").write_text('a = "x, {prompt}"\n')
    outcome, answer = host.ask("/bridge/play", 10, "y", "template", "a", "duration", 0.2, "sound", 0)
    assert sidecar(answer)["words"] == "x, y", "what is mended is read anew"


@pytest.mark.parametrize(
    ("name", "text", "code", "told"),
    [
        ("a", "{tempo}", "unknown_parameter", "{bpm}, {key}, {style}, {prompt}"),
        ("a", "{key", "malformed", "{{"),
        ("a", " ", "empty", "words"),
        ("", "x", "empty", "name"),
        ("a", "x" * 1001, "too_long", "1000"),
        ("a" * 81, "x", "too_long", "80"),
    ],
)
def test_what_is_no_template_is_not_kept(
    host: OscPeer, folder: Path, name: str, text: str, code: str, told: str
) -> None:
    outcome, answer = host.ask("/bridge/templates/keep", 1, name, text)
    assert (outcome, answer[0]) == ("/fail", code)
    assert told in answer[1]
    assert not (folder / "templates.toml").exists()
