"""Sections and metres over OSC, through a real bridge and a real engine, and takes made again from their sidecars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.clients import OscPeer, ZmqPeer
from tests.support.processes import Process

SECTIONS = "0.5 dark strings || 4b over 1 full orchestra"
"""At 240 beats per minute the second one begins with second 1: frames 25 and 50."""


def sidecar_of(take: str) -> dict[str, Any]:
    return dict(json.loads(Path(take).with_suffix(".json").read_text()))


def again(host: OscPeer, take: str) -> None:
    """Make a take again, and compare every sample."""
    outcome, answer = host.ask("/bridge/again", 99, str(Path(take).with_suffix(".json")), "sound", 0)
    assert (outcome, answer[1]) == ("/done", "done")
    assert np.array_equal(soundfile.read(take)[0], soundfile.read(answer[4])[0])


def test_a_piece_has_sections_and_is_made_again(host: OscPeer) -> None:
    asked = ["duration", 1.5, "bpm", 240.0, "key", "A minor", "sound", 0, "seed", 7, "sections", SECTIONS]
    outcome, answer = host.ask("/bridge/play", 1, "harp", *asked)
    assert outcome == "/done", answer
    sidecar = sidecar_of(answer[4])
    told = [(one["frame"], one["section"], one["prompt"], one.get("morph", 0)) for one in sidecar["changes"]]
    assert told == [(25, 1, "dark strings", 0), (50, 2, "full orchestra", 1.0)]
    assert {(one["bpm"], one["key"]) for one in sidecar["changes"]} == {(240.0, "A minor")}
    assert sidecar["host_request"]["sections"] == SECTIONS
    assert host.wait("/bridge/updated", answer[0], 50)[2:] == [1.0, 2]
    again(host, answer[4])

    outcome, plain = host.ask("/bridge/play", 2, "harp", *asked[:-2])
    assert outcome == "/done"
    with_sections, without = (soundfile.read(path)[0] for path in (answer[4], plain[4]))
    assert np.array_equal(with_sections[:12_000], without[:12_000])
    assert not np.array_equal(with_sections, without)


def test_a_template_makes_the_words_of_each_section(host: OscPeer) -> None:
    host.ask("/bridge/templates/keep", 1, "sectioned", "warm {style}, {bpm} bpm, {prompt}")
    asked = ["duration", 1.5, "bpm", 240.0, "sound", 0, "template", "sectioned", "style", "jazz", "sections", SECTIONS]
    outcome, answer = host.ask("/bridge/play", 2, "harp", *asked)
    assert outcome == "/done", answer
    sidecar = sidecar_of(answer[4])
    words = [sidecar["request"]["prompt"], *(one["prompt"] for one in sidecar["changes"])]
    assert words == [f"warm jazz, 240 bpm, {part}" for part in ("harp", "dark strings", "full orchestra")]
    again(host, answer[4])


def test_what_is_changed_on_the_way_holds_in_the_sections_to_come(host: OscPeer) -> None:
    asked = ["bpm", 240.0, "sound", 0, "save", 1, "latency", 0.3, "sections", "1 drums || 6 choir"]
    host.send("/bridge/open", 1, "harp", *asked)
    stream = host.wait("/bridge/queued", 1)[1]
    host.wait("/bridge/started", stream)
    assert host.ask("/bridge/update", 2, stream, "key", "D major", "metre", "3/4")[0] == "/done"
    while [at[3] for name, at in host.heard if name == "/bridge/updated" and at[0] == stream][-1:] != [2]:
        assert host.receive(30) is not None
    host.ask("/bridge/cancel", 3, stream)
    take = host.wait("/done", "/bridge/open", 1)[6]
    last = sidecar_of(take)["changes"][-1]
    assert (last["frame"], last["section"], last["prompt"]) == (300, 2, "choir")
    assert (last["key"], last["metre"], last["bpm"]) == ("D major", "3/4", 240.0)
    again(host, take)


def test_a_metre_is_told_and_made_again(host: OscPeer) -> None:
    outcome, answer = host.ask("/bridge/play", 1, "jazz", "duration", 1.0, "bpm", 170.0, "metre", "5/4", "sound", 0)
    assert outcome == "/done", answer
    sidecar = sidecar_of(answer[4])
    assert sidecar["request"]["metre"] == "5/4"
    again(host, answer[4])
    outcome, other = host.ask(
        "/bridge/play", 2, "jazz", "duration", 1.0, "bpm", 170.0, "seed", sidecar["seed"], "sound", 0
    )
    assert outcome == "/done"
    assert not np.array_equal(soundfile.read(answer[4])[0], soundfile.read(other[4])[0]), "the model hears the metre"


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["sections", "drums"], "malformed", "part 1: drums"),
        (["sections", "1 drums || 2b"], "empty", "part 2: 2b"),
        (["sections", "1b drums"], "missing", "sections = 1b drums"),
        (["sections", "5 drums", "duration", 4.0], "out_of_range", "part 1: 5 drums"),
        (["metre", "4/5"], "out_of_range", "metre = 4/5"),
    ],
)
def test_what_cannot_be_is_refused(host: OscPeer, arguments: list[object], code: str, named: str) -> None:
    outcome, answer = host.ask("/bridge/play", 1, "harp", *arguments)
    assert (outcome, answer[0]) == ("/fail", code)
    assert named in answer[1]


def test_a_stream_that_goes_back_has_its_sections_to_come(engine: Process) -> None:
    asked: dict[str, Any] = {"prompt": "harp", "seed": 6, "duration": 3.0, "bpm": 120.0}
    with ZmqPeer(engine.ports["port"]) as peer:
        opened = peer.ask("generate", **asked, sections="0.5 drums || 4b choir")
        _, whole = peer.finish(opened["stream"])
        back = peer.reply(peer.send("resume", journal=opened["journal"], seconds=1.0))
        assert back["type"] == "opened", back
        _, rest = peer.finish(back["stream"])
        recipe = peer.event("recipe", back["stream"])
        assert [(one["frame"], one["section"]) for one in recipe["changes"]] == [(25, 1), (100, 2)]
        assert np.abs(rest - whole[32_000:]).max() < 1e-4
        assert not np.allclose(whole[64_000:], peer.stream("generate", **asked)[1][64_000:], atol=1e-3)


def test_sections_over_the_engines_own_osc(engine: Process) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        outcome, answer = peer.ask(
            "/engine/generate", 1, "harp", "duration", 1.0, "seed", 3, "sections", "0.5 drums", seconds=60
        )
        assert outcome == "/done", answer
        assert peer.wait("/engine/updated", answer[0])[1:] == [25, 0.5, 1]
